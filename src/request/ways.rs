//! Where the rules lead a request that is open already: the gate asks when others come in force, so that a stream is
//! judged as the request that it was. The same steps as for a new one, from the same functions.

use std::sync::Arc;

use super::asked::{Asked, upgrade_to};
use crate::admission::{Access, ClientAddress};
use crate::gate::{self, Target, Way};
use crate::routing::Authority;
use crate::routing::path::normalise;
use crate::rules::Rules;
use crate::tls::acceptor::ClientAuth;

/// Rules, as the gate asks them.
pub struct Ways(Arc<Rules>);

impl Ways {
    /// Answers for these rules.
    pub fn of(rules: Arc<Rules>) -> Self {
        Self(rules)
    }
}

impl gate::Ways for Ways {
    fn way<'a>(&'a self, target: &'a Target) -> Way<'a> {
        let authority = target.authority.to_str().ok().and_then(|authority| Authority::parse(authority).ok());
        // INVARIANT: both were read before; whatever cannot be read leads nowhere.
        let (Some(authority), Ok(path)) = (authority, normalise(target.path.path())) else {
            return Way { route: None, access: Access::Write, served: false };
        };
        let asked = Asked::of(&self.0.routes, authority, path);
        let access = asked.access(&target.method, target.upgrade.is_some());
        let served = asked.served(&target.method).is_ok_and(|route| {
            let offered = target.upgrade.as_ref();
            offered.is_none_or(|offered| upgrade_to(offered, route).is_ok())
        });
        Way { route: asked.route.map(|route| &route.scope), access, served }
    }

    fn hears(&self, peer: ClientAddress) -> bool {
        self.0.trust.hears(peer)
    }

    /// As for whoever comes now: see `connection`.
    fn answers_denied(&self, listener: &str) -> bool {
        self.0.listener(listener).is_some_and(|listener| listener.tls.client_auth() == ClientAuth::Request)
    }

    fn takes_tokens(&self, listener: &str) -> bool {
        self.0.listener(listener).is_some_and(|listener| listener.serves.tokens)
    }
}
