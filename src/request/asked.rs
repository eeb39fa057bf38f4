//! What a request asks: the route that its target leads to, what a decision about it is about, and what only an
//! admitted client may hear of it. Pure. `request` serves by it and `explain` tells by it, so that neither can drift.

use std::sync::Arc;

use http::Method;

use super::service::Needs;
use crate::admission::{Access, Denial, RequestScope, RouteAuth, RouteScope, Snapshot, Surface};
use crate::failure::Failure;
use crate::message::Fields;
use crate::routing::cross_site::{self, Preflight};
use crate::routing::{self, Authority, NormalPath, Route, Routes};
use crate::rules::Serves;
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
    pub fn scope<'s>(&'s self, method: &Method, headers: &'s Fields, scheme: &str, upgrade: bool) -> RequestScope<'s> {
        RequestScope {
            surface: Surface::Proxy,
            route: self.route.map(|route| &route.scope),
            access: self.access(method, upgrade),
            clearance: None,
            begins: false,
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

    /// Says whether it takes a credential. Where there is no route it does: a stranger learns nothing.
    pub fn auth(&self) -> RouteAuth {
        self.route.map_or(RouteAuth::Required, |route| route.scope.auth)
    }

    /// A preflight to a route that asks for no certificate is the upstream's own affair.
    pub fn preflight(&self, method: &Method, headers: &Fields) -> Option<Preflight> {
        if self.auth() == RouteAuth::None { None } else { Preflight::of(method, headers) }
    }

    /// Says what a preflight is told. Browsers send them without a certificate: they are answered alike whether or not a route
    /// exists, by whether anybody who can reach it lists the origin.
    pub fn check_preflight(&self, snapshot: &Snapshot, preflight: &Preflight) -> Result<(), Failure> {
        let asked = self.route.zip(preflight.origin());
        let listed = asked.is_some_and(|(route, origin)| snapshot.preflight_allows(&route.scope, origin));
        if listed { Ok(()) } else { Err(Failure::Denied(Denial::OriginDenied)) }
    }

    /// Fails where the connection was opened for another name, under which this is not to be had. `covered`: the names of the
    /// certificate that was shown.
    pub fn check_directed(&self, sni: Option<&str>, covered: &[Box<str>]) -> Result<(), Failure> {
        let misdirected = self.routes.misdirected(sni, &self.authority.host, covered, self.route.map(|route| &**route));
        if misdirected { Err(Failure::Misdirected) } else { Ok(()) }
    }

    /// Tells whether it is ours to answer. A connection is for the surface that its SNI names: what was opened for an upstream's
    /// host calls nothing of ours, nor the other way round.
    pub fn is_ours(&self, serves: &Serves, sni: Option<&str>, covered: &[Box<str>]) -> Result<bool, Failure> {
        let host = &*self.authority.host;
        let is_ours = serves.is_ours(host);
        let other = sni.map(|sni| sni.trim_end_matches('.')).filter(|sni| !sni.eq_ignore_ascii_case(host));
        if let Some(sni) = other
            && (serves.is_ours(&sni.to_ascii_lowercase()) != is_ours || (is_ours && !routing::covers(covered, host)))
        {
            return Err(Failure::Misdirected);
        }
        Ok(is_ours)
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

/// A request for one of our own surfaces.
pub struct Call<'a> {
    asked: &'a Asked<'a>,
    /// The one that has the path; where none has it, the first says so.
    pub surface: Surface,
    needs: Option<Needs>,
    /// Nameless: no configured route has this name, so that no reload takes it for one.
    endpoint: RouteScope,
}

impl<'a> Call<'a> {
    /// Finds the surface that has the path, and what it asks for.
    pub fn of(asked: &'a Asked<'a>, serves: &Serves, method: &Method, needs: impl Fn(Surface, &Method, &str) -> Option<Needs>) -> Self {
        let found = serves.ours().find_map(|surface| needs(surface, method, &asked.path.text).map(|needs| (surface, needs)));
        let (surface, needs) = match found {
            Some((surface, needs)) => (surface, Some(needs)),
            // INVARIANT: what is ours to answer has a surface of ours; were it not so, the admin's is the strictest.
            None => (serves.ours().next().unwrap_or(Surface::Admin), None),
        };
        let auth = needs.map_or(RouteAuth::Required, |needs| needs.auth);
        Self { asked, surface, needs, endpoint: RouteScope { name: "".into(), auth, csrf: true } }
    }

    /// Says what the decision is about.
    pub fn scope<'s>(&'s self, method: &Method, headers: &'s Fields, scheme: &str) -> RequestScope<'s> {
        let is_safe = is_safe(method, false);
        RequestScope {
            surface: self.surface,
            route: Some(&self.endpoint),
            access: if is_safe { Access::Read } else { Access::Write },
            clearance: self.needs.and_then(|needs| needs.clearance),
            // A path that is none asks for nothing: it is told so.
            begins: self.needs.is_none_or(|needs| needs.begins),
            origin: cross_site::classify(headers, scheme, &self.asked.authority),
            unsafe_method: !is_safe,
        }
    }

    /// Who proves a key here may do it from a page; where somebody else is asked for a certificate, no page of another origin calls.
    pub fn preflight(&self, method: &Method, headers: &Fields) -> Option<Preflight> {
        Preflight::of(method, headers).filter(|_| self.surface == Surface::Challenge)
    }

    /// Tells whether pages of an origin may read what is answered here: whether anybody who may prove a key here lists it. Alike for
    /// every path: browsers ask before anybody is known.
    pub fn lists(&self, snapshot: &Snapshot, origin: Option<&str>) -> bool {
        self.surface == Surface::Challenge && origin.is_some_and(|origin| snapshot.preflight_allows_on(self.surface, origin))
    }

    /// Says whether it takes a credential.
    pub fn auth(&self) -> RouteAuth {
        self.endpoint.auth
    }

    /// Tells whether the call may have its bearer token in its body.
    pub fn takes_token_in_body(&self) -> bool {
        self.needs.is_some_and(|needs| needs.has_method && needs.token_in_body)
    }

    /// Returns what the call asks for, if there is such a call. For admitted clients only.
    pub fn served(&self, method: &Method) -> Result<Needs, Failure> {
        let needs = self.needs.ok_or(Failure::NoRoute)?;
        if *method == Method::CONNECT || *method == Method::TRACE {
            return Err(Failure::MethodNotAllowed);
        }
        // No name of ours holds either: another reading of the path would be another call.
        if self.asked.path.has_parameters || self.asked.path.has_encoded_slash {
            return Err(Failure::Malformed("a path parameter or an encoded slash, and no call has one"));
        }
        Ok(needs)
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
