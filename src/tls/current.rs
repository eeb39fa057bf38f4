//! The connection being served. The verifier, the session store and the certificate resolver are shared by all
//! connections of a listener; rustls calls them in the middle of a handshake, on the worker's thread, and they find
//! the connection they are called for here. No connection, no admission.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use rustls::{CertificateError, server::danger::ClientCertVerified};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::acceptor::ClientAuth;
use super::alert;
use super::credentials::Names;
use super::sessions::Proven;
use crate::admission::{Candidate, ClientAddress, Decision, Denial, Scope, Verdict};
use crate::gate::{About, Asker, Checkpoint, Gate};
use crate::pki::Certificate;
use crate::pki::certificate::KeyKind;

/// One handshake, as far as what is shared has to know it.
pub(super) struct Current {
    gate: Rc<Gate>,
    scope: Scope<'static>,
    asker: Asker,
    client_auth: ClientAuth,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// Its key is not proven yet.
    presented: Option<Rc<Candidate>>,
    /// Its key is proven: here, or on the full handshake that this session resumes.
    proven: Option<(Rc<Candidate>, Proven)>,
    /// What the client was told, or would be told over HTTP.
    denial: Option<Denial>,
    /// The session that the store handed out last.
    found: Option<Proven>,
    /// When the first full handshake of this session was, if the session is resumed.
    resumed: Option<Proven>,
    /// Which server the client asked for: lower case, without a final dot.
    sni: Option<Box<str>>,
    /// `strict_sni`, and we have no certificate for that name.
    unknown_name: bool,
    /// The names of the certificate we showed: hosts, and URIs.
    names: Names,
    uris: Names,
}

tokio::task_local! {
    static CURRENT: Rc<Current>;
}

impl Current {
    pub(super) fn new(gate: &Rc<Gate>, (address, control): (ClientAddress, bool), asker: &Asker, client_auth: ClientAuth) -> Rc<Self> {
        Rc::new(Self {
            gate: Rc::clone(gate),
            scope: Scope { address, request: None, control },
            asker: asker.clone(),
            client_auth,
            state: RefCell::default(),
        })
    }

    /// Runs a handshake as this one.
    pub(super) async fn run<F: Future>(self: &Rc<Self>, handshake: F) -> F::Output {
        CURRENT.scope(Rc::clone(self), handshake).await
    }

    /// Finds the connection being served.
    pub(super) fn with<R>(ask: impl FnOnce(&Self) -> R) -> Option<R> {
        CURRENT.try_with(|current| ask(current)).ok()
    }

    pub(super) fn now(&self) -> UnixTime {
        self.gate.clock().now()
    }

    /// Takes down what the client presents. Says nothing that depends on the rules: the key is not proven.
    pub(super) fn present(&self, chain: &[CertificateDer<'_>]) -> Result<ClientCertVerified, CertificateError> {
        let candidate = self.gate.candidate(chain).ok_or(CertificateError::ApplicationVerificationFailure)?;
        match candidate.leaf() {
            Err(_) => return Err(alert::UNPARSABLE),
            Ok(leaf) if !is_verifiable(leaf.key) => return Err(alert::UNVERIFIABLE),
            Ok(_) => {}
        }
        self.state.borrow_mut().presented = Some(candidate);
        Ok(ClientCertVerified::assertion())
    }

    /// Checks the proof of the key with `verify`, and only then lets the client hear the verdict.
    ///
    /// The decision is asked for here and not in `present`: a stranger with somebody's certificate then causes no path to
    /// be built and cannot tell by the time it takes whether it is listed.
    pub(super) fn prove(
        &self,
        der: &CertificateDer<'_>,
        verify: impl FnOnce(&Certificate) -> Result<(), rustls::Error>,
    ) -> Result<(), CertificateError> {
        let candidate = self.state.borrow_mut().presented.take().ok_or(CertificateError::ApplicationVerificationFailure)?;
        let leaf = candidate.leaf().map_err(|_| alert::UNPARSABLE)?;
        // INVARIANT: rustls hands over the leaf that `present` saw.
        if leaf.der.as_ref() != der.as_ref() {
            return Err(CertificateError::ApplicationVerificationFailure);
        }
        verify(leaf).map_err(|_| alert::UNPROVEN)?;

        let decision = self.gate.decide(Some(&candidate), &self.scope);
        let denial = denial_of(&decision);
        if let (Some(denial), ClientAuth::Require) = (denial, self.client_auth) {
            self.gate.record(&decision, Some(&candidate), &self.asker, About::of(Checkpoint::Handshake, self.scope));
            self.state.borrow_mut().denial = Some(denial);
            return Err(alert::for_denial(denial));
        }
        let mut state = self.state.borrow_mut();
        state.denial = denial;
        state.proven = Some((candidate, self.proven_now()));
        Ok(())
    }

    /// Judges whose session rustls is about to resume, before a byte of its answer is sent. False: it must not.
    pub(super) fn resume(&self, chain: Option<&[CertificateDer<'static>]>) -> bool {
        let Some(found) = self.state.borrow().found else { return false };
        let candidate = chain.and_then(|chain| self.gate.candidate(chain));
        let denial = match (&candidate, self.client_auth) {
            // Nothing was presented, which `request` listeners leave to the route.
            (None, ClientAuth::Request) => None,
            (None, ClientAuth::Require) => return false,
            (Some(candidate), _) => denial_of(&self.gate.decide(Some(candidate), &self.scope)),
        };
        // Nothing is recorded: a session id or a ticket seen on the wire proves no key. The full handshake will tell.
        if denial.is_some() && self.client_auth == ClientAuth::Require {
            return false;
        }
        let mut state = self.state.borrow_mut();
        state.denial = denial;
        state.proven = candidate.map(|candidate| (candidate, found));
        state.resumed = Some(found);
        true
    }

    /// Records that no certificate was presented where one is required.
    pub(super) fn nothing_presented(&self) {
        let decision = self.gate.decide(None, &self.scope);
        self.gate.record(&decision, None, &self.asker, About::of(Checkpoint::Handshake, self.scope));
        self.state.borrow_mut().denial = Some(Denial::NoCredential);
    }

    /// Takes down when the first full handshake of a session was.
    pub(super) fn session_found(&self, proven: Proven) {
        self.state.borrow_mut().found = Some(proven);
    }

    /// Returns whose session may be kept, and since when its key is proven; `None` for the denied.
    pub(super) fn session_to_keep(&self) -> Option<(Option<Rc<Candidate>>, Proven)> {
        let state = self.state.borrow();
        // On `request` listeners strangers get as far as a session: it would only push out the sessions of clients.
        if state.denial.is_some() {
            return None;
        }
        let candidate = state.proven.as_ref().map(|(candidate, _)| Rc::clone(candidate));
        let proven = state.proven.as_ref().map(|(_, proven)| *proven).or(state.resumed);
        Some((candidate, proven.unwrap_or_else(|| self.proven_now())))
    }

    /// Takes down which certificate we show, and to whom: by the name that the client asked for.
    pub(super) fn shows(&self, sni: Option<&str>, names: &Names, uris: &Names) {
        let mut state = self.state.borrow_mut();
        (state.sni, state.names, state.uris) = (sni.map(Into::into), Arc::clone(names), Arc::clone(uris));
    }

    /// Takes down that we show none to a client that asks for such a name.
    pub(super) fn knows_no_name(&self) {
        self.state.borrow_mut().unknown_name = true;
    }

    pub(super) fn is_unknown_name(&self) -> bool {
        self.state.borrow().unknown_name
    }

    /// Returns the name that the client asked for, and those of the certificate we showed: hosts, then URIs.
    pub(super) fn shown(&self) -> (Option<Box<str>>, Names, Names) {
        let state = self.state.borrow();
        (state.sni.clone(), Arc::clone(&state.names), Arc::clone(&state.uris))
    }

    pub(super) fn client_auth(&self) -> ClientAuth {
        self.client_auth
    }

    /// Says, for the operator, that plain HTTP arrived where TLS is spoken.
    pub(super) fn log_plain_http(&self) {
        tracing::warn!(listener = %self.asker.listener, "a client speaks plain HTTP to this TLS listener; said once");
    }

    /// Returns why the client is denied, as far as that is known.
    pub(super) fn denial(&self) -> Option<Denial> {
        self.state.borrow().denial
    }

    /// Returns whose key was proven, and when.
    pub(super) fn proven(&self) -> Option<(Rc<Candidate>, UnixTime)> {
        self.state.borrow().proven.as_ref().map(|(candidate, proven)| (Rc::clone(candidate), proven.wall))
    }

    /// Tells whether `resume` let a session go on.
    pub(super) fn was_resumed(&self) -> bool {
        self.state.borrow().resumed.is_some()
    }

    fn proven_now(&self) -> Proven {
        Proven { wall: self.now(), monotonic: Instant::now() }
    }
}

fn denial_of(decision: &Decision) -> Option<Denial> {
    match decision.verdict {
        Verdict::Admit(_) => None,
        Verdict::Deny(denial) => Some(denial),
        // Open is for requests on open routes; whoever presents a certificate to a connection is admitted or not.
        Verdict::Open => Some(Denial::NoCredential),
    }
}

/// Tells whether aws-lc checks signatures by this key at all. What it knows by other names is left for it to say.
fn is_verifiable(key: KeyKind) -> bool {
    match key {
        KeyKind::Rsa { bits } | KeyKind::RsaPss { bits } => (2048..=8192).contains(&bits),
        KeyKind::Ec { .. } | KeyKind::Ed25519 | KeyKind::Other => true,
    }
}
