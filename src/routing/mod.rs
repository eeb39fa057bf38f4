//! (host, path) -> Route; pure. Names `admission` for its scope types only. `config` compiles the routes,
//! `request` asks; the hop-by-hop and identity work is not here.

pub mod authority;
pub mod cross_site;
pub mod path;
mod table;

use std::collections::HashMap;
use std::sync::Arc;

use crate::admission::{Access, RouteScope};
pub use authority::{Authority, AuthorityError};
pub use path::{NormalPath, PathError};
use table::{Policy, Table};

/// One route, compiled.
#[derive(Debug)]
pub struct Route {
    pub scope: RouteScope,
    /// Index-free: the name of the upstream.
    pub upstream: Box<str>,
    /// Empty: any host.
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
    /// Empty: any. GET stands for HEAD too.
    pub methods: Vec<http::Method>,
    /// A path with `*` for a segment and `/**` for the rest, which may be nothing.
    pub path: Box<str>,
    pub access: Access,
}

/// Every route, compiled for lookup: by host in a hash table, then by path in a sorted one.
#[derive(Debug, Default)]
pub struct Routes {
    routes: Vec<Arc<Route>>,
    exact: HashMap<Box<str>, Table>,
    /// By what follows the `*.`.
    wildcard: HashMap<Box<str>, Table>,
    any: Table,
}

/// Two routes that would match the same request with equal rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tie {
    pub first: usize,
    pub second: usize,
}

impl Routes {
    /// Compiles routes; a tie is an error.
    pub fn compile(routes: Vec<Route>) -> Result<Self, Tie> {
        let mut compiled = Self { routes: routes.into_iter().map(Arc::new).collect(), ..Self::default() };
        for (index, route) in compiled.routes.iter().enumerate() {
            if route.hosts.is_empty() {
                compiled.any.add(index, route);
            }
            for host in &route.hosts {
                let table = match host {
                    HostPattern::Exact(host) => compiled.exact.entry(as_authorities_have_it(host)),
                    HostPattern::Wildcard(host) => {
                        let host = host.to_ascii_lowercase();
                        compiled.wildcard.entry(host.trim_start_matches('*').trim_start_matches('.').into())
                    }
                };
                table.or_default().add(index, route);
            }
        }
        for table in compiled.exact.values_mut().chain(compiled.wildcard.values_mut()).chain([&mut compiled.any]) {
            table.finish()?;
        }
        compiled.settle_policies();
        Ok(compiled)
    }

    /// Says for each table what a host that it is the first one of can reach.
    fn settle_policies(&mut self) {
        let reachable = |host: &str| Table::reachable(&self.tables(host).collect::<Vec<_>>(), &self.routes);
        let exact: Vec<_> = self.exact.keys().map(|host| (host.clone(), reachable(host))).collect();
        // One more label, which no exact host has: what the wildcard itself is first for.
        let wildcard: Vec<_> = self.wildcard.keys().map(|parent| (parent.clone(), reachable(&format!("*.{parent}")))).collect();
        let any = Table::reachable(&[&self.any], &self.routes);
        for (tables, settled) in [(&mut self.exact, exact), (&mut self.wildcard, wildcard)] {
            for (host, policies) in settled {
                if let Some(table) = tables.get_mut(&host) {
                    table.set_policies(policies);
                }
            }
        }
        self.any.set_policies(any);
    }

    /// Finds the route of a host (lower case, no port, no final dot) and a normal path: exact host, then
    /// longest wildcard, then any; then the longest prefix.
    pub fn find(&self, host: &str, path: &NormalPath<'_>) -> Option<&Arc<Route>> {
        self.lookup(host, &path.text)
    }

    /// Checks, once the client is admitted (a stranger must not learn what a route says), that the route takes
    /// this path, and that no other reading of it leads to another route.
    pub fn check_path(&self, host: &str, path: &NormalPath<'_>, route: &Route) -> Result<(), PathError> {
        if !path.has_parameters && !path.has_encoded_slash {
            return Ok(());
        }
        if path.has_encoded_slash && !route.keep_encoded_slash {
            return Err(PathError::EncodedSlash);
        }
        if path.has_parameters && !route.rules.is_empty() && !route.judge_without_parameters {
            return Err(PathError::Parameters);
        }
        if path.has_parameters && path.has_encoded_slash {
            // `/;x%2Fadmin`: too many readings to try.
            return Err(PathError::Ambiguous);
        }
        // `/admin;x/` goes to the route of `/` here and is `/admin/` to a servlet container behind it.
        for reading in [path.without_parameters(), path.with_slashes_decoded()] {
            if !self.lookup(host, &reading).is_some_and(|other| std::ptr::eq(&**other, route)) {
                return Err(PathError::Ambiguous);
            }
        }
        Ok(())
    }

    /// Tells whether a request has to be answered 421: its connection was opened for another name, and our
    /// certificate does not cover the one it asks for, or the route stands under another policy than any that the SNI's
    /// host has. `covered`: the names of the certificate that was shown. Without SNI nothing was asked for.
    ///
    /// Where no route matches, every route of the host has to be under a policy of the SNI's: else a 421
    /// here and a 403 there would tell a stranger which paths have routes.
    pub fn misdirected(&self, sni: Option<&str>, host: &str, covered: &[Box<str>], route: Option<&Route>) -> bool {
        let Some(sni) = sni.map(|sni| sni.trim_end_matches('.')).filter(|sni| !sni.eq_ignore_ascii_case(host)) else { return false };
        if !covers(covered, host) {
            return true;
        }
        let sni = sni.to_ascii_lowercase();
        let opened_for = |policy: &Policy| self.policies(&sni).contains(policy);
        match route {
            Some(route) => !opened_for(&Policy::of(route)),
            None => !self.policies(host).iter().all(opened_for),
        }
    }

    /// Returns every route, as configured.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter()
    }

    fn lookup(&self, host: &str, path: &str) -> Option<&Arc<Route>> {
        self.tables(host).find_map(|table| table.longest(path)).and_then(|index| self.routes.get(index))
    }

    fn policies(&self, host: &str) -> &[Policy] {
        self.tables(host).next().map_or(&[], Table::policies)
    }

    /// The tables that a host can match, in the order of their rank.
    fn tables<'a>(&'a self, host: &str) -> impl Iterator<Item = &'a Table> {
        let exact = (!self.exact.is_empty()).then(|| self.exact.get(host)).flatten();
        let parents = if self.wildcard.is_empty() { None } else { host.split_once('.').map(|(_, parent)| parent) };
        let wildcards = std::iter::successors(parents, |parent| parent.split_once('.').map(|(_, parent)| parent));
        exact.into_iter().chain(wildcards.filter_map(|parent| self.wildcard.get(parent))).chain([&self.any])
    }
}

impl Route {
    /// Says what a request needs: the first rule that matches, else read for GET, HEAD and OPTIONS, write for the rest and for upgrades.
    pub fn access(&self, method: &http::Method, path: &NormalPath<'_>, upgrade: bool) -> Access {
        if self.rules.is_empty() {
            return default_access(method, upgrade);
        }
        let judged = if self.judge_without_parameters { path.without_parameters() } else { (&*path.text).into() };
        let literal = self.ruled(method, &judged, upgrade);
        if !path.has_encoded_slash {
            return literal;
        }
        // The upstream may read `%2F` as a slash or not: the stricter reading counts.
        literal.max(self.ruled(method, &path.with_slashes_decoded(), upgrade))
    }

    fn ruled(&self, method: &http::Method, path: &str, upgrade: bool) -> Access {
        let rule = self.rules.iter().find(|rule| rule.matches(method, path, upgrade, self.case_sensitive));
        rule.map_or_else(|| default_access(method, upgrade), |rule| rule.access)
    }
}

impl AccessRule {
    fn matches(&self, method: &http::Method, path: &str, upgrade: bool, case_sensitive: bool) -> bool {
        self.names_method(method, upgrade) && self.matches_path(path, case_sensitive)
    }

    fn names_method(&self, method: &http::Method, upgrade: bool) -> bool {
        let stands_for = match *method {
            http::Method::HEAD => http::Method::GET,
            // RFC 8441: the CONNECT of HTTP/2 where HTTP/1.1 upgrades with GET.
            http::Method::CONNECT if upgrade => http::Method::GET,
            _ => method.clone(),
        };
        self.methods.is_empty() || self.methods.iter().any(|named| named == method || *named == stands_for)
    }

    /// A final slash makes no difference: a rule for `/admin` must not be passed by asking for `/admin/`.
    fn matches_path(&self, path: &str, case_sensitive: bool) -> bool {
        let (pattern, any_rest) = match self.path.strip_suffix("/**") {
            Some(pattern) => (pattern, true),
            None => (&*self.path, false),
        };
        let mut path = segments(path);
        for expected in segments(pattern) {
            let matches = path.next().is_some_and(|segment| {
                expected == "*" || segment == expected || (!case_sensitive && segment.eq_ignore_ascii_case(expected))
            });
            if !matches {
                return false;
            }
        }
        any_rest || path.next().is_none()
    }
}

/// Says why a rule could never match a request on its route: it would restrict nothing, and nobody would notice.
pub fn check_rule_path(rule: &str, route: &str, case_sensitive: bool) -> Result<(), &'static str> {
    let (pattern, any_rest) = rule.strip_suffix("/**").map_or((rule, false), |pattern| (pattern, true));
    if segments(pattern).any(|segment| segment.contains('*') && segment != "*") {
        return Err("`*` stands for one whole segment, and `/**` for the rest, at the end only");
    }
    let mut pattern = segments(pattern);
    for expected in segments(route) {
        match pattern.next() {
            Some(segment) if segment == "*" || segment == expected => {}
            Some(segment) if !case_sensitive && segment.eq_ignore_ascii_case(expected) => {}
            None if any_rest => return Ok(()),
            _ => return Err("it lies outside the path of its route, so that it would never match"),
        }
    }
    Ok(())
}

/// An IPv6 address in brackets, as `Authority` has it; else in lower case.
fn as_authorities_have_it(host: &str) -> Box<str> {
    match host.trim_matches(['[', ']']).parse::<std::net::Ipv6Addr>() {
        Ok(address) => format!("[{address}]").into(),
        Err(_) => host.to_ascii_lowercase().into(),
    }
}

fn default_access(method: &http::Method, upgrade: bool) -> Access {
    match *method {
        http::Method::GET | http::Method::HEAD | http::Method::OPTIONS if !upgrade => Access::Read,
        _ => Access::Write,
    }
}

/// The segments of a normal path; none for `/`.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    path.split('/').filter(|segment| !segment.is_empty())
}

/// Tells whether a certificate's names cover a host. RFC 6125, 6.4.3: a wildcard covers one label, the leftmost.
pub fn covers(names: &[Box<str>], host: &str) -> bool {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let parent = host.split_once('.').filter(|(label, _)| !label.is_empty()).map(|(_, parent)| parent);
    names.iter().any(|name| match name.strip_prefix("*.") {
        Some(wildcard) => parent.is_some_and(|parent| parent.eq_ignore_ascii_case(wildcard)),
        None => name.eq_ignore_ascii_case(host),
    })
}

#[cfg(test)]
mod tests;
