//! What is told of a request when it has ended: one line in the access log, and the metrics. Kept with the
//! answer's body, so that a request ends with its last byte.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use std::time::{Duration, Instant};

use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri, Version};
use http_body::Body as _;

use super::Context;
use super::current::{Current, Handles, label};
use super::ids::is_request_id;
use super::service::Refused;
use crate::admission::{Candidate, Surface};
use crate::failure::Failure;
use crate::gate::{Grant, Hold, Inquiry, Lapse, Standing};
use crate::limits::Entered;
use crate::log::Entry;
use crate::message::{Name, RequestHead};
use crate::metrics::RouteMetrics;
use crate::upstream::{BodyError, Incoming, Sent, Watch};

/// One request, from its head to the last byte of its answer.
pub(super) struct Record {
    context: Rc<Context>,
    /// Not the rules themselves: a stream may live for weeks, and would keep every generation alive that one began under.
    generation: u64,
    /// Where it is counted that no route has.
    unrouted: Option<Arc<RouteMetrics>>,
    started: Instant,
    id: HeaderValue,
    method: Method,
    version: Version,
    /// `None`: nobody logged when it began.
    spoken: Option<Rc<Spoken>>,
    grant: Option<Grant>,
    /// By which it was judged: the connection's, or that of a token.
    standing: Rc<Standing>,
    status: Option<StatusCode>,
    code: Option<&'static str>,
    /// What is wrong with the request, in words for the operator.
    reason: Option<&'static str>,
    denied: bool,
    bytes_out: u64,
    told: bool,
    pub(super) client: Option<IpAddr>,
    pub(super) route: Option<Rc<Handles>>,
    /// The surface of ours that it is for, and the path of the call.
    surface: Option<(Surface, Box<str>)>,
    pub(super) entered: Option<Entered>,
    pub(super) hold: Option<Hold>,
    /// The body, until somebody takes it.
    pub(super) unread: Option<Incoming>,
    pub(super) sent: Option<Rc<Sent>>,
    upstream_took: Option<Duration>,
}

/// What the log says in the client's words.
struct Spoken {
    uri: Uri,
    host: Option<HeaderValue>,
    agent: Option<HeaderValue>,
    referer: Option<HeaderValue>,
}

/// A tunnel that was opened: its end is told by itself.
pub(super) struct Tunnelled(Record);

impl Spoken {
    /// Rare enough to lie out of the way of requests that nobody logs.
    #[inline(never)]
    fn of(head: &RequestHead) -> Self {
        let field = |name: HeaderName| head.headers.get_owned(name);
        let host = head.headers.get_owned(Name::Host);
        Self { uri: head.uri.clone(), host, agent: field(header::USER_AGENT), referer: field(header::REFERER) }
    }
}

impl Record {
    pub(super) fn begin(context: Rc<Context>, current: &Current, head: &RequestHead, body: Incoming) -> Self {
        let spoken = context.worker.log.is_on().then(|| Rc::new(Spoken::of(head)));
        Self {
            id: head.headers.get_owned(Name::XRequestId).filter(is_request_id).unwrap_or_else(|| context.worker.ids.next()),
            method: head.method.clone(),
            version: head.version,
            spoken,
            started: Instant::now(),
            grant: None,
            standing: Rc::clone(&context.standing),
            status: None,
            code: None,
            reason: None,
            denied: false,
            bytes_out: 0,
            told: false,
            client: context.peer.address.ip(),
            route: None,
            surface: None,
            entered: None,
            hold: None,
            unread: Some(body),
            sent: None,
            upstream_took: None,
            context,
            generation: current.rules.generation,
            unrouted: None,
        }
    }

    /// The request is ours to answer.
    pub(super) fn ours(&mut self, surface: Surface, uri: &Uri) {
        self.surface = Some((surface, uri.path().into()));
    }

    fn surface(&self) -> Option<Surface> {
        self.surface.as_ref().map(|(surface, _)| *surface)
    }

    /// Describes a call of ours that failed; `None`: it is no call of ours.
    pub(super) fn refused(&self, failure: Failure) -> Option<Refused<'_>> {
        let (_, path) = self.surface.as_ref()?;
        let leaf = self.standing.candidate().and_then(|candidate| candidate.leaf().ok());
        Some(Refused { method: &self.method, path, failure, request_id: self.id(), leaf })
    }

    /// It is judged by this standing.
    pub(super) fn asks(&mut self, standing: &Rc<Standing>) {
        self.standing = Rc::clone(standing);
    }

    /// The request was admitted. Counted by principal.
    pub(super) fn admitted(&mut self, grant: &Grant) {
        self.grant = Some(grant.clone());
        let Some(admitted) = grant.admitted() else { return };
        let principal = &admitted.admission.principal;
        let mut counted = self.context.counted.borrow_mut();
        // A reload may give a connection another principal; looked up by name or id only then.
        let (_, counter) = match counted.take().filter(|(id, _)| *id == principal.id) {
            Some(known) => counted.insert(known),
            None => counted.insert((principal.id, self.context.worker.metrics.principal(principal.id, &principal.name))),
        };
        counter.inc();
    }

    /// The head of the answer is known.
    pub(super) fn answered(&mut self, status: StatusCode, current: &Current) {
        self.status = Some(status);
        if self.route.is_none() {
            self.unrouted = Some(Arc::clone(current.unrouted(self.surface())));
        }
    }

    /// The upstream has answered, or has not; returns how long that took.
    pub(super) fn upstream_ended(&mut self) -> Duration {
        *self.upstream_took.insert(self.started.elapsed())
    }

    /// The request is answered by us. Denials were counted where they were decided.
    pub(super) fn failed(&mut self, failure: Failure) {
        self.code = Some(failure.code());
        self.reason = reason(failure);
        self.denied = matches!(failure, Failure::Denied(_) | Failure::Misdirected);
        if !matches!(failure, Failure::Denied(_)) {
            self.count(failure);
        }
    }

    /// Writes the line of a refusal that no decision wrote, and counts what is a denial all the same.
    pub(super) fn refuse(&mut self, failure: Failure, host: &str, path: &str) -> Failure {
        let inquiry = Inquiry { request_id: self.id(), method: self.method.as_str(), host, path };
        self.standing.refuse(failure.code(), failure.message(), self.grant.as_ref(), inquiry);
        if let Failure::Denied(_) = failure {
            self.count(failure);
        }
        failure
    }

    fn count(&self, failure: Failure) {
        self.context.worker.metrics.listener(&self.context.listener).denied(failure.code());
    }

    /// More is to come than the head.
    pub(super) fn has_body(&self) -> bool {
        self.unread.as_ref().is_some_and(|incoming| !incoming.is_end_stream())
    }

    pub(super) fn is_connect(&self) -> bool {
        self.method == Method::CONNECT
    }

    /// Returns the request's id.
    pub(super) fn id(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }

    pub(super) fn id_value(&self) -> HeaderValue {
        self.id.clone()
    }

    /// Returns a record of the tunnel that this request becomes.
    pub(super) fn tunnelled(&mut self) -> Tunnelled {
        Tunnelled(Self {
            context: Rc::clone(&self.context),
            unrouted: None,
            id: self.id.clone(),
            method: self.method.clone(),
            spoken: self.spoken.clone(),
            surface: self.surface.clone(),
            grant: self.grant.clone(),
            standing: Rc::clone(&self.standing),
            route: self.route.clone(),
            entered: self.entered.take(),
            hold: None,
            unread: None,
            sent: None,
            ..*self
        })
    }

    /// The client went away before its answer was complete, or was cut off: then the whole connection goes at once.
    fn broke_off(&mut self) {
        let lapse = self.hold.as_ref().and_then(Hold::lapse).or(self.context.standing.denied().map(Lapse::Denied));
        if let Some(lapse) = lapse {
            self.denied = true;
            self.code.get_or_insert(lapse.code());
        }
        self.code.get_or_insert("client_gone");
    }

    /// Tells the end, once.
    fn tell(&mut self, event: &str, bytes_in: u64) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        let duration = self.started.elapsed();
        let counted = self.route.as_ref().map(|handles| &handles.metrics).or(self.unrouted.as_ref());
        if let Some((status, metrics)) = self.status.filter(|_| event == REQUEST).zip(counted) {
            metrics.request(status.as_u16(), duration);
        }
        if self.context.worker.log.is_on() {
            self.log(event, bytes_in, duration);
        }
    }

    fn log(&self, event: &str, bytes_in: u64, duration: Duration) {
        let spoken = self.spoken.as_deref();
        let admitted = self.grant.as_ref().and_then(Grant::admitted);
        let leaf = self.standing.candidate().and_then(|candidate| candidate.leaf().ok());
        let token = self.standing.candidate().and_then(Candidate::claims).and_then(|claims| claims.token.as_ref());
        let token = token.map(|token| token.id.to_string());
        let principal = admitted.map(|admitted| &admitted.admission.principal);
        let asker = self.context.standing.asker();
        // Attributes of a leaf are told only of one that was admitted by them.
        let named = self.grant.as_ref().and_then(Grant::leaf);
        let claims: Vec<(String, String)> = principal
            .zip(named)
            .map(|(principal, leaf)| {
                principal.terms.audit_claims.iter().map(|claim| (claim.to_string(), claim.values(leaf).join(","))).collect()
            })
            .unwrap_or_default();
        let claims: Vec<(&str, &str)> = claims.iter().map(|(name, value)| (&**name, &**value)).collect();
        let subject = leaf.map(|leaf| leaf.subject.rfc2253());
        let (name, id) = (principal.map(|principal| principal.name.to_string()), principal.map(|principal| principal.id.to_string()));
        self.context.worker.log.line(&Entry {
            event,
            principal: name.as_deref(),
            principal_id: id.as_deref(),
            identifier: admitted.map(|admitted| &*admitted.admission.identifier),
            fingerprint: leaf.map(|leaf| leaf.fingerprint.as_bytes()),
            subject: subject.as_deref(),
            token: token.as_deref(),
            claims: &claims,
            listener: &self.context.listener,
            connection: asker.connection,
            peer: asker.peer,
            client: self.client,
            user_agent: spoken.and_then(|spoken| text(spoken.agent.as_ref())),
            referer: spoken.and_then(|spoken| text(spoken.referer.as_ref())),
            request_id: Some(self.id()),
            method: Some(self.method.as_str()),
            host: spoken.and_then(|spoken| spoken.uri.host().or(text(spoken.host.as_ref()))),
            path: spoken.map(|spoken| spoken.uri.path()),
            protocol: Some(protocol(self.version)),
            route: self.route.as_ref().map(|handles| &*handles.route.scope.name).or(self.surface().map(label)),
            upstream: self.upstream_took.and(self.route.as_ref()).map(|handles| &*handles.route.upstream),
            verdict: Some(match (self.denied, admitted) {
                (true, _) => "deny",
                (false, Some(_)) => "admit",
                (false, None) => "open",
            }),
            code: self.code,
            reason: self.reason,
            status: self.status.map(|status| status.as_u16()),
            generation: self.generation,
            bytes_in,
            bytes_out: self.bytes_out,
            duration: Some(duration),
            upstream_duration: self.upstream_took,
            ..Entry::default()
        });
    }
}

/// Writes the line of a request that could not be read. Whose connection it came over was judged; what it says was not.
pub(super) fn log_unread(context: &Context, failure: Failure) {
    let standing = &context.standing;
    let (asker, leaf) = (standing.asker(), standing.candidate().and_then(|candidate| candidate.leaf().ok()));
    let decision = standing.decision();
    let principal = decision.admission().map(|admission| &admission.principal);
    let (name, id) = (principal.map(|principal| principal.name.to_string()), principal.map(|principal| principal.id.to_string()));
    let subject = leaf.map(|leaf| leaf.subject.rfc2253());
    context.worker.log.line(&Entry {
        event: REQUEST,
        principal: name.as_deref(),
        principal_id: id.as_deref(),
        fingerprint: leaf.map(|leaf| leaf.fingerprint.as_bytes()),
        subject: subject.as_deref(),
        listener: &context.listener,
        connection: asker.connection,
        peer: asker.peer,
        client: context.peer.address.ip(),
        protocol: Some(protocol(Version::HTTP_11)),
        code: Some(failure.code()),
        reason: reason(failure),
        status: Some(failure.status().as_u16()),
        generation: decision.generation,
        ..Entry::default()
    });
}

fn reason(failure: Failure) -> Option<&'static str> {
    match failure {
        Failure::Malformed(why) => Some(why),
        _ => None,
    }
}

impl Watch for Record {
    fn poll_cut(&mut self, context: &mut Task<'_>) -> Poll<()> {
        let Some(hold) = &self.hold else { return Poll::Pending };
        hold.poll_lapsed(context).map(|lapse| {
            self.code = Some(lapse.code());
            self.denied = true;
        })
    }

    fn passed(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
    }

    fn ended(&mut self, end: Result<(), BodyError>) {
        match end {
            Ok(()) => {}
            Err(BodyError::Abandoned | BodyError::Denied) => self.broke_off(),
            Err(BodyError::Malformed | BodyError::TooLarge | BodyError::Truncated) => {
                self.code.get_or_insert(Failure::UpstreamFailed.code());
            }
            Err(BodyError::TimedOut) => {
                self.code.get_or_insert(Failure::UpstreamTimeout.code());
            }
        }
        self.hold = None;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.broke_off();
        }
        let bytes_in = self.sent.as_ref().map_or(0, |sent| sent.bytes());
        self.tell(REQUEST, bytes_in);
    }
}

impl Tunnelled {
    /// It was cut: how many bytes went through, nobody counted.
    pub(super) fn cut(mut self, lapse: Lapse) {
        self.0.denied = true;
        self.0.code = Some(lapse.code());
        self.ended(0, 0);
    }

    pub(super) fn ended(mut self, bytes_in: u64, bytes_out: u64) {
        self.0.bytes_out = bytes_out;
        self.0.tell("upgrade", bytes_in);
    }
}

fn text(value: Option<&HeaderValue>) -> Option<&str> {
    value.and_then(|value| value.to_str().ok())
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

const REQUEST: &str = "request";
