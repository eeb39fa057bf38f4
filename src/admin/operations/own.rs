//! The certificate that somebody asks with: it is admitted still where the change is made, and afterwards; nobody locks itself out by its own
//! call. Judged by the one `decide`, as the call itself was judged, on the rules in force and on those that would come of the change:
//! whatever the reason is for which it would be denied.

use std::sync::Arc;

use rustls_pki_types::{CertificateDer, UnixTime};

use crate::admission::{Access, Candidate, Origin, RequestScope, Scope, Verdict};
use crate::clock::Clock;
use crate::reload::control::Guard;
use crate::request::service::{Arrival, Caller, Via};
use crate::rules::Rules;
use crate::store::managed::Refusal;

/// What somebody called with, and where.
struct Own {
    /// Leaf first. Of a token: what it was issued for; who takes back its tokens has the certificate still.
    chain: Vec<CertificateDer<'static>>,
    arrival: Arc<Arrival>,
}

/// Keeps whoever calls from what would deny it the same call afterwards, or is denied it by now; `None`: it has no certificate to lose by
/// it. That of the server begins, and is done with.
pub(super) fn guard(caller: &Caller) -> Option<Guard> {
    let (leaf, arrival) = match caller.via {
        Via::Bootstrap | Via::Socket => return None,
        Via::Tls => caller.leaf.as_ref().zip(caller.arrival.as_ref())?,
    };
    let chain = std::iter::once(&leaf.der).chain(&leaf.intermediates).cloned().collect();
    let own = Own { chain, arrival: Arc::clone(arrival) };
    Some(Box::new(move |prospect| own.check(prospect.before, prospect.after, Clock::default().now())))
}

impl Own {
    fn check(&self, before: &Rules, after: &Rules, now: UnixTime) -> Result<(), Refusal> {
        match (self.is_admitted(before, now), self.is_admitted(after, now)) {
            (true, true) => Ok(()),
            (true, false) => Err(Refusal::OwnCertificate),
            // It was taken off while its call was on the way.
            (false, _) => Err(Refusal::ClearanceTooLow),
        }
    }

    fn is_admitted(&self, rules: &Rules, now: UnixTime) -> bool {
        let Self { chain, arrival } = self;
        let candidate = Candidate::presented(chain);
        let connection = Scope { address: arrival.address, request: None, control: arrival.control };
        let request = RequestScope {
            surface: arrival.surface,
            route: None,
            access: Access::Read,
            clearance: arrival.clearance,
            begins: false,
            // From where the page came that asked was judged, and is no matter of the rules.
            origin: Origin::Absent,
            unsafe_method: false,
        };
        // A principal's own gateways may say where the client is: known only with the principal.
        let principal = rules.snapshot.decide_in_brief(candidate.as_ref(), &connection, now).principal;
        let gateways = principal.as_ref().map(|principal| &*principal.terms.gateway_ips).unwrap_or_default();
        let address = rules.trust.request(arrival.address, gateways, &arrival.forwarded).address;
        let scope = Scope { address, request: Some(request), ..connection };
        matches!(rules.snapshot.decide_in_brief(candidate.as_ref(), &scope, now).verdict, Verdict::Admit(_))
    }
}
