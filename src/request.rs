//! One request, as a list of steps: authority, path, route, who may, then hop-by-hop, identity, upstream.
//! `connection` calls `serve` for each request of either HTTP version. A stranger is denied before learning
//! whether a route exists, and nothing is forwarded that was not judged.

pub mod asked;
pub mod bearer;
mod bodies;
mod call;
mod carried;
mod current;
mod ids;
mod onward;
mod record;
pub mod service;
pub mod told;
mod unread;
mod ways;

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use http::header::{self, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, StatusCode};

use crate::address::Peer;
use crate::admission::{Origin, PrincipalId, Scope};
use crate::failure::{Failure, prefers_html};
use crate::gate::{Gate, Grant, Hold, Inquiry, Lifeline, Standing, Target};
use crate::identity;
use crate::limits::{Excess, Principals};
use crate::log::AccessLog;
use crate::message::{Fields, Request, RequestHead, Response};
use crate::metrics::{Counter, Metrics};
use crate::routing::Route;
use crate::routing::cross_site::{self, Preflight};
use crate::routing::path::normalise;
use crate::rules::{Rules, Serves};
use crate::ticker::Ticker;
use crate::upstream::{Body, Incoming, Pools, Upload};
use asked::Asked;
use bodies::Bodies;
use call::OurCall;
use carried::Offer;
use current::Current;
pub use current::label;
use ids::Ids;
use record::Record;
use service::Service;
use unread::Unread;
pub use ways::Ways;

/// What one worker's requests share. `install` is called on the worker's own thread.
pub struct Worker {
    pub gate: Rc<Gate>,
    /// A line for each request answered; the worker's tick flushes it.
    pub log: Rc<AccessLog>,
    pub ticker: Rc<Ticker>,
    metrics: Arc<Metrics>,
    principals: Arc<Principals>,
    pools: Rc<Pools>,
    current: RefCell<Rc<Current>>,
    ids: Ids,
    bodies: Bodies,
    unread: Unread,
    /// Answers what is ours to answer; `None`: nothing is.
    service: Option<Arc<dyn Service>>,
}

/// What one connection's requests share.
pub struct Context {
    pub worker: Rc<Worker>,
    pub standing: Rc<Standing>,
    /// The socket's peer, or what PROXY said.
    pub peer: Peer,
    /// As sent: lower case.
    pub sni: Option<Box<str>>,
    pub listener: Arc<str>,
    /// What the certificate that we showed covers: lower case, wildcards included.
    pub names: Arc<[Box<str>]>,
    /// Its URI SANs: what we are called in identity headers.
    pub uris: Arc<[Box<str>]>,
    pub secure: bool,
    pub http2: bool,
    pub identity: identity::Remembered,
    /// Whose requests were counted last.
    pub counted: RefCell<Option<(PrincipalId, Arc<Counter>)>>,
    /// The bearer tokens that came over it.
    pub shown: RefCell<bearer::Shown>,
    /// What its latest request was told to the upstream with.
    pub told: told::Told,
    /// What its listener serves, by the rules that the latest request found; kept where a reload took the listener away.
    pub serves: RefCell<(u64, Arc<Serves>)>,
}

impl Worker {
    /// Makes a worker's share, with empty pools. Call it on the worker's `LocalSet`.
    pub fn new(
        gate: Rc<Gate>,
        metrics: Arc<Metrics>,
        log: Rc<AccessLog>,
        ticker: Rc<Ticker>,
        principals: Arc<Principals>,
        rules: Arc<Rules>,
        service: Option<Arc<dyn Service>>,
    ) -> Rc<Self> {
        let pools = Pools::new(Rc::clone(&ticker));
        let current = RefCell::new(Rc::new(Current::new(rules, &pools, &metrics)));
        let (ids, bodies, unread) = (Ids::new(), Bodies::default(), Unread::default());
        Rc::new(Self { gate, log, ticker, metrics, principals, pools, current, ids, bodies, unread, service })
    }

    /// Uses other rules from the next request on. Pools of unchanged upstreams keep their connections.
    pub fn install(&self, rules: Arc<Rules>) {
        self.pools.keep(&rules.upstreams);
        self.current.replace(Rc::new(Current::new(rules, &self.pools, &self.metrics)));
    }
}

impl Context {
    /// Returns what the listener serves if the request is ours to answer, by the rules of now.
    fn ours(&self, rules: &Rules, asked: &Asked<'_>) -> Result<Option<Arc<Serves>>, Failure> {
        let mut serves = self.serves.borrow_mut();
        if serves.0 != rules.generation {
            let now = rules.listener(&self.listener).map(|listener| Arc::clone(&listener.serves));
            *serves = (rules.generation, now.unwrap_or_else(|| Arc::clone(&serves.1)));
        }
        Ok(asked.is_ours(&serves.1, self.sni.as_deref(), &self.names)?.then(|| Arc::clone(&serves.1)))
    }
}

/// Answers one request. Never fails: a failure is an answer too, and a body that must not go on ends with an error.
///
/// `lifeline`: of the task that it is answered by.
///
/// On the heap: engines move such a future about, and keep room for one on every idle connection.
pub fn serve(context: Rc<Context>, lifeline: Rc<Lifeline>, request: Request<Incoming>) -> Pin<Box<impl Future<Output = Response<Body>>>> {
    let current = Rc::clone(&context.worker.current.borrow());
    let mut record = Box::new(Record::begin(Rc::clone(&context), &current, &request.head, request.body));
    let mut request = Request { head: request.head, body: Upload::empty() };
    let html = prefers_html(&request.head.headers);
    Box::pin(async move {
        let answer = answer(&context, &current, &lifeline, &mut request, &mut record).await;
        if let Some(unread) = record.unread.take().filter(|_| context.http2) {
            context.worker.unread.discard(unread, &context.worker.ticker);
        }
        match answer {
            Ok(response) => {
                record.answered(response.status, &current);
                response.map(|body| body.watched(record))
            }
            Err(failure) => refused(&context, &current, failure, html, record),
        }
    })
}

/// Writes the line of what never became a request: its method and path were not read, or not to be believed.
pub fn refused_unread(context: &Context, failure: Failure) {
    if context.worker.log.is_on() {
        record::log_unread(context, failure);
    }
}

/// Tells a failure; the connection ends with it where nothing more may come over it.
fn refused(context: &Context, current: &Current, failure: Failure, html: bool, mut record: Box<Record>) -> Response<Body> {
    record.failed(failure);
    let refused = record.refused(failure).filter(|_| !html);
    let in_its_form = refused.zip(context.worker.service.as_deref()).and_then(|(refused, service)| service.refuse(&refused));
    let mut response = in_its_form.map_or_else(|| failure.response(record.id(), html), Response::from);
    record.answered(response.status, current);
    // Behind a CONNECT comes what was meant for its tunnel.
    let ends = failure.closes() || record.is_connect() || context.standing.denied().is_some();
    if ends && !context.http2 {
        response.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response.headers.insert(X_REQUEST_ID, record.id_value());
    response.map(|body| Body::full(body).watched(record))
}

/// The steps. Their order is the policy.
async fn answer(
    context: &Rc<Context>,
    current: &Rc<Current>,
    lifeline: &Rc<Lifeline>,
    sent: &mut Request<Upload>,
    record: &mut Record,
) -> Result<Response<Body>, Failure> {
    let head = &mut sent.head;
    if context.http2 {
        carried::check(head)?;
    }
    let mut offer = Offer::of(head, record.unread.as_ref());
    asked::check_connect(&head.method, offer.as_ref().is_some_and(Offer::is_extended_connect))?;
    let named = context.told.named(&head.uri, &head.headers)?;
    let asked = Asked::of(&current.rules.routes, named.authority(), normalise(head.uri.path())?);
    let refuse = |failure, record: &mut Record| record.refuse(failure, &asked.authority.host, head.uri.path());
    if let Some(serves) = context.ours(&current.rules, &asked).map_err(|failure| refuse(failure, record))? {
        let call = OurCall { context, current, serves: &serves, asked: &asked };
        return Box::pin(call.answer(head, lifeline, record)).await;
    }
    asked.check_directed(context.sni.as_deref(), &context.names).map_err(|failure| refuse(failure, record))?;
    if let Some(preflight) = asked.preflight(&head.method, &head.headers) {
        asked.check_preflight(&current.rules.snapshot, &preflight).map_err(|failure| refuse(failure, record))?;
        return Ok(preflight_answer(&preflight));
    }

    // Before routing speaks: a 404 would tell a stranger which routes exist.
    let standing = context.asking(&current.rules, asked.auth(), &head.headers);
    record.asks(&standing);
    let origin = current.rules.trust.request(context.peer.address, &standing.gateway_ips(), &head.headers);
    record.client = origin.address.ip();
    let upgrades = offer.as_ref().is_some_and(|offer| !offer.is_idle());
    let handles = asked.route.and_then(|route| current.handles(route));
    record.route = handles.cloned();
    // Whatever is borrowed here stays where a request waits for its answer, unless its block ends.
    let (needed, grant, hold, cross_origin) = {
        let request = asked.scope(&head.method, &head.headers, if context.secure { "https" } else { "http" }, upgrades);
        let scope = Scope { address: origin.address, request: Some(request), control: context.standing.is_control() };
        let inquiry = Inquiry { request_id: record.id(), method: head.method.as_str(), host: &asked.authority.host, path: head.uri.path() };
        let target = || {
            Some(Target {
                method: head.method.clone(),
                authority: named.value.clone(),
                path: head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")),
                upgrade: offer.as_ref().filter(|_| upgrades).map(|offer| offer.protocols().clone()),
            })
        };
        let (grant, hold) = standing.admit(&scope, inquiry, target)?;
        let cross_origin = permitted(&head.headers, &scope, &grant);
        (request.access, grant, hold, cross_origin)
    };
    record.admitted(&grant);
    // What comes from the client ends by itself: its body is another task's, and a tunnel outlives this one.
    let other = if record.has_body() || upgrades { hold.twin() } else { None };
    let hold = hold.on(lifeline);
    record.entered = enter(context, current, &grant).map_err(|failure| refuse(failure, record))?;

    let Some(handles) = handles else { return no_route(head) };
    let chosen = taken_up(offer.as_mut(), asked.served(&head.method)?, &head.headers)?;
    let target = head.uri.path_and_query().map(|original| asked.path.target(original));
    let onward = onward::Onward { context, current, lifeline, handles, grant: &grant, named: &named, needed, origin, target };
    onward.prepare(head, chosen.as_deref(), record.id_value())?;
    let mut response = within(&hold, pin!(onward.send(sent, other, chosen, record))).await?;
    if let Some(origin) = cross_origin {
        cross_site::permit(&mut response.headers, &origin);
    }
    identity::guard_vary(&mut response.headers);
    record.hold = Some(hold);
    Ok(response)
}

fn preflight_answer(preflight: &Preflight) -> Response<Body> {
    Response { status: StatusCode::NO_CONTENT, headers: preflight.answer(), body: Body::empty() }
}

fn enter(context: &Context, current: &Current, grant: &Grant) -> Result<Option<crate::limits::Entered>, Failure> {
    let limits = &current.rules.limits;
    let Some(admitted) = grant.admitted().filter(|_| limits.principal_rate > 0 || limits.principal_concurrency > 0) else {
        return Ok(None);
    };
    context.worker.principals.enter(&admitted.admission.principal.id, limits, Instant::now()).map_err(|excess| {
        context.worker.metrics.overloaded(match excess {
            Excess::Concurrency => "principal_concurrency",
            Excess::Rate => "principal_rate",
        });
        Failure::RateLimited
    })
}

/// An admitted client may know that there is no such route. `OPTIONS *` asks about us.
fn no_route(head: &RequestHead) -> Result<Response<Body>, Failure> {
    if head.method != Method::OPTIONS || head.uri.path() != "*" {
        return Err(Failure::NoRoute);
    }
    let mut response = Response::new(StatusCode::NO_CONTENT, Body::empty());
    response.headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    Ok(response)
}

/// Takes an offer to upgrade up, if the route lists it.
fn taken_up(offer: Option<&mut Offer>, route: &Route, headers: &Fields) -> Result<Option<Box<carried::Chosen>>, Failure> {
    let Some(offer) = offer.filter(|offer| !offer.is_idle()) else { return Ok(None) };
    let protocol = asked::upgrade_to(offer.protocols(), route)?.to_vec();
    offer.chosen(protocol, headers).map(Box::new).map(Some)
}

/// Returns the foreign origin whose page may read the answer.
fn permitted(headers: &Fields, scope: &Scope<'_>, grant: &Grant) -> Option<HeaderValue> {
    let Some(Origin::Other(origin)) = scope.request.map(|request| request.origin) else { return None };
    let admitted = grant.admitted()?;
    let listed = admitted.admission.principal.terms.cors_origins.iter().any(|pattern| pattern.matches(origin));
    headers.get_owned(header::ORIGIN).filter(|_| listed)
}

/// Waits for an answer no longer than its hold stands.
fn within<T>(hold: &Hold, mut answer: Pin<&mut impl Future<Output = Result<T, Failure>>>) -> impl Future<Output = Result<T, Failure>> {
    poll_fn(move |context| match hold.poll_lapsed(context) {
        Poll::Ready(lapse) => Poll::Ready(Err(lapse.into())),
        Poll::Pending => answer.as_mut().poll(context),
    })
}

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[cfg(test)]
mod tests;
