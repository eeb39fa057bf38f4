//! What a request asks: the route that its target leads to, what a decision about it is about, and what only an
//! admitted client may hear of it. Pure. `request` serves by it and `explain` tells by it, so that neither can drift.

use std::sync::Arc;

use http::{HeaderMap, Method};

use crate::admission::{Access, RequestScope, RouteAuth, Surface};
use crate::failure::Failure;
use crate::routing::cross_site::{self, Preflight};
use crate::routing::{Authority, NormalPath, Route, Routes};
use crate::upstream::tunnel;

/// A request whose target was read.
pub struct Asked<'a> {
    routes: &'a Routes,
    pub authority: Authority<'a>,
    pub path: NormalPath<'a>,
    pub route: Option<&'a Arc<Route>>,
}

impl<'a> Asked<'a> {
    /// Finds the route of a target.
    pub fn of(routes: &'a Routes, authority: Authority<'a>, path: NormalPath<'a>) -> Self {
        let route = routes.find(&authority.host, &path);
        Self { routes, authority, path, route }
    }

    /// Says what the decision is about. `upgrade`: one is offered that is not ignored.
    pub fn scope<'s>(&'s self, method: &Method, headers: &'s HeaderMap, scheme: &str, upgrade: bool) -> RequestScope<'s> {
        RequestScope {
            surface: Surface::Proxy,
            route: self.route.map(|route| &route.scope),
            access: self.access(method, upgrade),
            clearance: None,
            origin: cross_site::classify(headers, scheme, &self.authority),
            unsafe_method: !is_safe(method, upgrade),
        }
    }

    /// Says what a request needs.
    pub fn access(&self, method: &Method, upgrade: bool) -> Access {
        match self.route {
            Some(route) => route.access(method, &self.path, upgrade),
            None if is_safe(method, upgrade) => Access::Read,
            None => Access::Write,
        }
    }

    /// A preflight to a route that asks for no certificate is the upstream's own affair.
    pub fn preflight<'h>(&self, method: &Method, headers: &'h HeaderMap) -> Option<Preflight<'h>> {
        if self.route.is_some_and(|route| route.scope.auth == RouteAuth::None) {
            return None;
        }
        Preflight::of(method, headers)
    }

    /// Returns the route, if it takes the path and the method. For admitted clients only: to a stranger a 404 would tell
    /// which routes exist, and a 400 what they say.
    pub fn served(&self, method: &Method) -> Result<&'a Route, Failure> {
        let route = self.route.ok_or(Failure::NoRoute)?;
        self.routes.check_path(&self.authority.host, &self.path, route)?;
        if *method == Method::TRACE {
            return Err(Failure::MethodNotAllowed);
        }
        Ok(route)
    }
}

fn is_safe(method: &Method, upgrade: bool) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(method) && !upgrade
}

/// Nobody opens a tunnel for a bare CONNECT, whoever asks and whatever for: there is no route to it, so nothing is given away.
pub fn check_connect(method: &Method, is_extended: bool) -> Result<(), Failure> {
    if *method == Method::CONNECT && !is_extended { Err(Failure::MethodNotAllowed) } else { Ok(()) }
}

/// Returns the protocol to upgrade to: one that is offered and that the route lists.
pub fn upgrade_to<'o>(offered: &'o http::HeaderValue, route: &Route) -> Result<&'o [u8], Failure> {
    tunnel::chosen(offered, &route.upgrades).ok_or(Failure::UpgradeRefused)
}
