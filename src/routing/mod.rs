//! (host, path) -> Route; pure. Names `admission` for its scope types only.

pub mod path;

use std::sync::Arc;

use crate::admission::{Access, RouteScope};
use path::NormalPath;

/// One route, compiled.
#[derive(Debug)]
pub struct Route {
    pub scope: RouteScope,
    /// Index-free: the name of the upstream.
    pub upstream: Box<str>,
    pub hosts: Vec<HostPattern>,
    /// Prefix on a segment boundary.
    pub path: Box<str>,
    pub upgrades: Vec<Box<str>>,
    pub rules: Vec<AccessRule>,
    pub case_sensitive: bool,
    /// `encoded_slash = "keep"`.
    pub keep_encoded_slash: bool,
    /// `path_parameters = "judge-without"`.
    pub judge_without_parameters: bool,
    /// Principals that may ever use it are a policy of their own for 421: filled by `config`.
    pub policy: Box<str>,
}

/// An exact host or a wildcard (`*.example.org`: one or more labels).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    Exact(Box<str>),
    Wildcard(Box<str>),
}

/// `{ methods, path, access }`: the first match says what a request needs.
#[derive(Clone, Debug)]
pub struct AccessRule {
    /// Empty: any.
    pub methods: Vec<http::Method>,
    /// A path with `*` for a segment and `/**` for the rest.
    pub path: Box<str>,
    pub access: Access,
}

/// Every route, compiled for lookup.
#[derive(Debug, Default)]
pub struct Routes {}

/// Two routes that would match the same request with equal rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tie {
    pub first: usize,
    pub second: usize,
}

impl Routes {
    /// Compiles routes; a tie is an error.
    pub fn compile(routes: Vec<Route>) -> Result<Self, Tie> {
        let _ = routes;
        todo!()
    }

    /// Finds the route of a host (lower case, no port, no final dot) and a normal path.
    pub fn find(&self, host: &str, path: &NormalPath) -> Option<&Arc<Route>> {
        let _ = (host, path);
        todo!()
    }

    /// Returns the default route policy for a host: what a connection with this SNI was opened for (421).
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        std::iter::empty()
    }
}

impl Route {
    /// Says what a request needs: the first rule that matches, else read for GET, HEAD and OPTIONS, write for the rest and for upgrades.
    pub fn access(&self, method: &http::Method, path: &NormalPath, upgrade: bool) -> Access {
        let _ = (method, path, upgrade);
        todo!()
    }
}
