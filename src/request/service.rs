//! What answers where a listener serves something else than an upstream: told here as a trait, since `request` may not
//! name those who implement it. It gets whole bodies of callers that were admitted, and never decides who is.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use crate::admission::{Basis, Candidate, Clearance, ClientAddress, Origin, PrincipalId, PrincipalName, RouteAuth, Surface, Token};
use crate::failure::Failure;
use crate::gate::{Admitted, Asker, Grant};
use crate::message::Fields;
use crate::pki::{Certificate, Fingerprint};

/// Answers the calls of every worker.
pub trait Service: Send + Sync {
    /// Says what a call asks for; `None`: there is no such path, which only an admitted client is told.
    fn needs(&self, surface: Surface, method: &Method, path: &str) -> Option<Needs>;

    /// Answers. Dropped before it is done where its caller is no longer admitted: what it began elsewhere goes on.
    fn call(&self, call: Call) -> Answer;

    /// Finds the bearer token in the body of a call that may have it there.
    fn token(&self, body: &[u8]) -> Option<Zeroizing<String>>;

    /// Tells why a call is not answered, where its path belongs to a protocol with a form of its own for that; `None`: in ours.
    fn refuse(&self, refused: &Refused<'_>) -> Option<Response<Bytes>>;
}

/// A call that is not answered.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    pub method: &'a Method,
    /// As far as is known: it may have no normal form.
    pub path: &'a str,
    pub failure: Failure,
    pub request_id: &'a str,
    /// What was presented, and its key proven: admitted or not.
    pub leaf: Option<&'a Certificate>,
}

/// An answer to come, whole.
pub type Answer = Pin<Box<dyn Future<Output = Response<Bytes>> + Send>>;

/// What a call asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// `None`: whoever is admitted may call.
    pub clearance: Option<Clearance>,
    pub auth: RouteAuth,
    /// The certificate that we serve with may make it before there is an admin.
    pub begins: bool,
    /// The path is there, by this method too; where not, the service says by which.
    pub has_method: bool,
    /// How many bytes a body may have: all of it is in memory.
    pub body: u64,
    /// Its bearer token may stand in the body: then the body is read before anybody is judged.
    pub token_in_body: bool,
}

impl Needs {
    /// Asks for an admitted client of any rank.
    pub const ANY: Self =
        Self { clearance: None, auth: RouteAuth::Required, begins: true, has_method: true, body: MAX_BODY, token_in_body: false };
}

/// Few calls need more.
const MAX_BODY: u64 = 16 << 20;

/// One call: a request with its body, and who makes it.
#[derive(Debug)]
pub struct Call {
    /// Its path in its normal form; without what the client claimed to be.
    pub request: Request<Bytes>,
    pub caller: Caller,
}

/// Who calls.
#[derive(Clone, Debug)]
pub struct Caller {
    /// `None`: whoever may use the local socket; or nobody in particular, where a call asks for no certificate.
    pub principal: Option<CallingPrincipal>,
    /// What was presented and proved.
    pub leaf: Option<CallingLeaf>,
    /// The bearer token that says so, where one was shown.
    pub token: Option<Token>,
    /// That token stood in the body.
    pub token_in_body: bool,
    /// The effective client address.
    pub address: Option<IpAddr>,
    pub listener: Arc<str>,
    pub request_id: Box<str>,
    pub via: Via,
    /// `None`: the local socket.
    pub arrival: Option<Arc<Arrival>>,
}

/// Where a call came in: for answers that are decisions themselves.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// What the client dialled, as far as we are that: scheme, host and port, without a port that the scheme implies.
    pub dialled: Box<str>,
    /// From which page it was sent.
    pub page: Page,
    /// The socket's peer, or what PROXY said.
    pub address: ClientAddress,
    pub asker: Asker,
    /// Its listener serves our own surfaces and no upstream.
    pub control: bool,
    pub surface: Surface,
    /// The rank that the call asked for.
    pub clearance: Option<Clearance>,
    /// What gateways said of the address, should they be trusted.
    pub forwarded: Fields,
}

/// An [`Origin`] that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    Absent,
    CrossSite,
    Other(Box<str>),
    Same,
}

/// The principal that was admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallingPrincipal {
    pub id: PrincipalId,
    pub name: PrincipalName,
    pub clearance: Clearance,
    /// What proved it.
    pub basis: Basis,
}

/// The certificate that was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallingLeaf {
    pub fingerprint: Fingerprint,
    pub der: CertificateDer<'static>,
    /// What came along to lead it to an anchor.
    pub intermediates: Box<[CertificateDer<'static>]>,
}

/// By which way somebody calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// A listener, by the certificate that it serves with, before the first admin. Where that may always, it is `Tls`.
    Bootstrap,
    /// The local socket: our own user, or root.
    Socket,
    /// A listener.
    Tls,
}

impl Caller {
    /// Describes whom a grant admits.
    pub(super) fn of(grant: &Grant, address: Option<IpAddr>, arrival: Arrival, request_id: &str) -> Self {
        let admitted = grant.admitted();
        Self {
            principal: admitted.map(|admitted| CallingPrincipal::of(admitted)),
            leaf: admitted.and_then(|admitted| CallingLeaf::of(&admitted.candidate)),
            token: admitted.and_then(|admitted| admitted.candidate.claims()?.token.clone()),
            token_in_body: false,
            address,
            listener: Arc::clone(&arrival.asker.listener),
            request_id: request_id.into(),
            via: match admitted.map(|admitted| &admitted.admission.basis) {
                Some(Basis::ServerCertificate { first_only: true }) => Via::Bootstrap,
                _ => Via::Tls,
            },
            arrival: Some(Arc::new(arrival)),
        }
    }

    /// Describes whoever calls over the local socket: its file says who may.
    pub fn local(request_id: &str) -> Self {
        let (listener, request_id) = ("local".into(), request_id.into());
        Self {
            principal: None,
            leaf: None,
            token: None,
            token_in_body: false,
            address: None,
            listener,
            request_id,
            via: Via::Socket,
            arrival: None,
        }
    }

    /// Returns the caller's rank; `None` for nobody in particular.
    pub fn clearance(&self) -> Option<Clearance> {
        match self.via {
            Via::Socket => Some(Clearance::Admin),
            Via::Bootstrap | Via::Tls => self.principal.as_ref().map(|principal| principal.clearance),
        }
    }
}

impl Page {
    /// Keeps what a request's headers say.
    pub(super) fn of(origin: Origin<'_>) -> Self {
        match origin {
            Origin::Absent => Self::Absent,
            Origin::CrossSite => Self::CrossSite,
            Origin::Other(text) => Self::Other(text.into()),
            Origin::Same => Self::Same,
        }
    }

    /// Returns it as decisions take it.
    pub fn origin(&self) -> Origin<'_> {
        match self {
            Self::Absent => Origin::Absent,
            Self::CrossSite => Origin::CrossSite,
            Self::Other(text) => Origin::Other(text),
            Self::Same => Origin::Same,
        }
    }
}

impl CallingLeaf {
    fn of(candidate: &Candidate) -> Option<Self> {
        let leaf = candidate.leaf().ok()?;
        Some(Self { fingerprint: leaf.fingerprint, der: leaf.der.clone(), intermediates: candidate.intermediates().into() })
    }
}

impl CallingPrincipal {
    fn of(admitted: &Admitted) -> Self {
        let principal = &admitted.admission.principal;
        let basis = admitted.admission.basis.clone();
        Self { id: principal.id, name: principal.name.clone(), clearance: principal.terms.clearance, basis }
    }
}
