//! The rules in force on one worker, with what each request would otherwise look up: pools and metrics.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::admission::Surface;
use crate::metrics::{Metrics, RouteMetrics, UpstreamMetrics};
use crate::routing::Route;
use crate::rules::Rules;
use crate::upstream::{Pool, Pools};

/// One generation's rules. A request takes one and uses it throughout.
pub(super) struct Current {
    pub(super) rules: Arc<Rules>,
    /// In the order of the routes' addresses; `rules` keeps them where they are.
    routes: Vec<(*const Route, Rc<Handles>)>,
    /// For requests that no route matched.
    unrouted: Arc<RouteMetrics>,
    /// For requests that were ours to answer, by surface.
    ours: HashMap<Surface, Arc<RouteMetrics>>,
}

/// What belongs to one route.
pub(super) struct Handles {
    pub(super) route: Arc<Route>,
    pub(super) metrics: Arc<RouteMetrics>,
    pub(super) upstream: Option<Reached>,
}

/// Whom a route leads to.
pub(super) struct Reached {
    pub(super) pool: Rc<Pool>,
    pub(super) metrics: Arc<UpstreamMetrics>,
}

impl Current {
    pub(super) fn new(rules: Arc<Rules>, pools: &Pools, metrics: &Metrics) -> Self {
        let handles = |route: &Arc<Route>| {
            let upstream = rules.upstreams.find(&route.upstream);
            let upstream = upstream.map(|upstream| Reached { pool: pools.of(upstream), metrics: metrics.upstream(&route.upstream) });
            Rc::new(Handles { route: Arc::clone(route), metrics: metrics.route(&route.scope.name), upstream })
        };
        let mut routes: Vec<_> = rules.routes.iter().map(|route| (Arc::as_ptr(route), handles(route))).collect();
        routes.sort_unstable_by_key(|(route, _)| *route);
        let surfaces = rules.listeners.iter().flat_map(|listener| listener.serves.ours());
        let ours = surfaces.map(|surface| (surface, metrics.route(label(surface)))).collect();
        Self { routes, unrouted: metrics.route(""), ours, rules }
    }

    /// Returns what counts the requests for a surface of ours, or those that no route matched.
    pub(super) fn unrouted(&self, surface: Option<Surface>) -> &Arc<RouteMetrics> {
        surface.and_then(|surface| self.ours.get(&surface)).unwrap_or(&self.unrouted)
    }

    /// Returns what belongs to a route of these rules.
    pub(super) fn handles(&self, route: &Arc<Route>) -> Option<&Rc<Handles>> {
        let at = self.routes.binary_search_by_key(&Arc::as_ptr(route), |(route, _)| *route).ok()?;
        Some(&self.routes[at].1)
    }
}

/// What stands for a route where one of our surfaces answered: no route can have a name with parentheses.
pub fn label(surface: Surface) -> &'static str {
    match surface {
        Surface::Admin => "(admin)",
        Surface::Challenge => "(challenge)",
        Surface::Console => "(console)",
        Surface::Proxy => "",
    }
}
