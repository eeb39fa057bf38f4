//! One connection, handshake to close; leaves when its standing lapses, when the drain begins, when it is idle
//! or old. `listener` spawns `run` for each socket on the worker that got it; nothing here outlives that task
//! but tunnels, which hold their own end.

mod http2;
mod transport;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::address::Peer;
use crate::address::proxy::{self, Proxied};
use crate::admission::ClientAddress;
use crate::failure::{self, Failure};
use crate::gate::{Asker, Cuts, Gate, Lifeline, Review, Standing};
use crate::http1::{self, Ending, EndingKind};
use crate::identity;
use crate::limits::{Handshakes, Limits, Place};
use crate::message::Request;
use crate::metrics::{HandshakeKind, HandshakeResult, ListenerMetrics, Metrics};
use crate::request;
use crate::rules::{ListenerRules, Rules};
use crate::ticker::Ticker;
use crate::tls::handshake::{self, Session, TlsError};
use crate::tls::{self, acceptor::ClientAuth};
use crate::upstream::Incoming;

pub use transport::Socket;
use transport::Transport;

/// What the connections of one worker share.
pub struct Worker {
    pub gate: Rc<Gate>,
    pub requests: Rc<request::Worker>,
    pub rules: RefCell<Arc<Rules>>,
    pub handshakes: Rc<Handshakes>,
    pub ticker: Rc<Ticker>,
    pub metrics: Arc<Metrics>,
}

/// A socket that was accepted, on its way to a worker.
#[derive(Debug)]
pub struct Accepted {
    pub socket: Socket,
    pub listener: Arc<str>,
    pub number: u64,
    pub place: Place,
}

impl Worker {
    /// Puts rules in force for whatever is asked from now on; the review is the caller's to carry out.
    pub fn install(&self, rules: &Arc<Rules>, cuts: Option<&Arc<Cuts>>) -> Review {
        *self.rules.borrow_mut() = Arc::clone(rules);
        self.requests.install(Arc::clone(rules));
        self.gate.limit_refusals(rules.limits.denial_lines);
        self.gate.install(Arc::clone(&rules.snapshot), Rc::new(request::Ways::of(Arc::clone(rules))), cuts)
    }
}

/// Serves one connection to its end.
pub fn run(worker: Rc<Worker>, accepted: Accepted) -> impl Future<Output = ()> {
    // On the heap, each as large as it is, so that what a handshake needs does not lie in the task of every idle connection.
    let establishing = Box::pin(establish(worker, accepted));
    async move {
        if let Some(serving) = establishing.await {
            serving.await;
        }
    }
}

/// The rest of a connection whose client was judged. It holds no `Rules`: those of its beginning must not live as long as it does.
type Serving = Pin<Box<dyn Future<Output = ()>>>;

/// Boxed: it is moved about.
type Stream = Box<tls::Stream<Transport>>;

/// Takes a socket to an open standing; in every other end it is closed.
async fn establish(worker: Rc<Worker>, accepted: Accepted) -> Option<Serving> {
    let rules = Arc::clone(&worker.rules.borrow());
    // A listener that a reload took out of the rules still has its socket until the restart: nobody is let in there.
    let listener = rules.listener(&accepted.listener)?;
    let metrics = worker.metrics.listener(&accepted.listener);
    let peer = accepted.socket.peer();
    let asker = Asker { listener: accepted.listener, peer, connection: accepted.number };
    let transport = Transport::new(accepted.socket, (accepted.place, metrics.connections.hold())).ok()?;
    let arriving = Arriving { worker: &worker, rules: &rules, listener, metrics: &metrics };
    let (session, asker, address) = arriving.shake_hands(transport, asker).await?;
    let (session, standing) = arriving.admit(session, asker, address).await?;
    session.sni.iter().for_each(|sni| standing.opened_for(sni));
    let context = Rc::new(request::Context {
        worker: Rc::clone(&worker.requests),
        standing: Rc::clone(&standing),
        peer: Peer::new(address),
        sni: session.sni,
        listener: Arc::clone(&listener.name),
        names: session.names,
        uris: session.uris,
        secure: true,
        http2: session.http2,
        identity: identity::Remembered::new(Arc::clone(&worker.metrics)),
        counted: RefCell::default(),
        shown: RefCell::default(),
        told: Default::default(),
        serves: RefCell::new((rules.generation, Arc::clone(&listener.serves))),
    });
    let limits = worker.rules.borrow().limits.clone();
    let leaving = Leaving::new(standing, limits.max_connection_age);
    let stream = Box::new(session.stream);
    Some(match context.http2 {
        true => Box::pin(async move { http2::serve(stream, context, &limits, leaving).await }),
        false => Box::pin(serve_http1(stream, &worker, context, &limits, leaving)),
    })
}

/// A connection that nobody vouched for yet.
struct Arriving<'a> {
    worker: &'a Rc<Worker>,
    rules: &'a Rules,
    listener: &'a ListenerRules,
    metrics: &'a ListenerMetrics,
}

impl Arriving<'_> {
    /// Takes a socket through its handshake; in every other end it is closed.
    async fn shake_hands(&self, transport: Transport, mut asker: Asker) -> Option<(Session<Transport>, Asker, ClientAddress)> {
        let limits = &self.rules.limits;
        let mut under_way = self.worker.handshakes.begin(limits.handshakes);
        let ended = {
            let mut handshake = pin!(async {
                let began = Instant::now();
                let mut transport = transport;
                let address = self.locate(&mut transport, &mut asker).await?;
                let left = limits.handshake.saturating_sub(began.elapsed());
                let shaken = handshake::accept(&self.listener.tls, &self.worker.gate, transport, address, &asker, left).await;
                Some((shaken, address))
            });
            let handshake = poll_fn(|context| {
                // A key takes its time: nobody's answer waits for it.
                http1::send_put_off();
                handshake.as_mut().poll(context)
            });
            tokio::select! {
                biased;
                ended = handshake => ended,
                () = under_way.shed() => {
                    self.worker.metrics.overloaded("handshakes");
                    None
                }
            }
        };
        drop(under_way);
        match ended? {
            (Ok(session), address) => Some((session, asker, address)),
            (Err(failed), _) => {
                self.metrics.handshake(result_of(&failed.error), HandshakeKind::Full);
                note(&asker, &failed.error);
                failed.close().await;
                None
            }
        }
    }

    /// Says where the client stands: what PROXY says where the listener requires it, else the socket's peer. Without
    /// the header, or from somebody who has no say, there is no connection.
    async fn locate(&self, transport: &mut Transport, asker: &mut Asker) -> Option<ClientAddress> {
        let trust = &self.rules.trust;
        let peer = asker.peer.map(|peer| peer.ip());
        if !self.listener.proxy_protocol {
            return Some(trust.connection(peer));
        }
        if !trust.takes_proxy_from(peer) {
            note(asker, "it is not in [trust] proxy_from, and this listener requires PROXY");
            return None;
        }
        match tokio::time::timeout(self.rules.limits.handshake, proxy::read(transport)).await {
            Ok(Ok(Proxied::Client(client))) => {
                asker.peer = Some(client);
                Some(trust.connection(Some(client.ip())))
            }
            Ok(Ok(Proxied::Local)) => Some(trust.connection(peer)),
            Ok(Ok(Proxied::Unknown)) => {
                asker.peer = None;
                Some(ClientAddress::Unknown)
            }
            Ok(Err(error)) => {
                note(asker, &error);
                None
            }
            Err(_) => {
                note(asker, "the PROXY header took too long");
                None
            }
        }
    }

    /// The lock: whatever the handshake said, full or resumed, the standing is opened under the rules of now.
    async fn admit(&self, session: Session<Transport>, asker: Asker, address: ClientAddress) -> Option<(Session<Transport>, Rc<Standing>)> {
        let kind = if session.resumed { HandshakeKind::Resumed } else { HandshakeKind::Full };
        let anonymous = session.possession.is_none();
        // Rules may have changed since the handshake began: denials are answers only if both say so.
        let now = self.worker.rules.borrow().listener(&asker.listener).map(|listener| listener.tls.client_auth());
        let http_denials = self.listener.tls.client_auth() == ClientAuth::Request && now == Some(ClientAuth::Request);
        let opened = Standing::open_on(
            &self.worker.gate,
            session.possession.clone(),
            (address, self.listener.tls.serves_only_ours),
            asker,
            http_denials,
        );
        self.metrics.handshake(
            match &opened {
                Ok(_) if anonymous => HandshakeResult::Anonymous,
                Ok(standing) if standing.denied().is_none() => HandshakeResult::Admitted,
                Ok(_) | Err(_) => HandshakeResult::Denied,
            },
            kind,
        );
        match opened {
            Ok(standing) => Some((session, standing)),
            Err(_) => {
                handshake::slow_close(session.stream).await;
                None
            }
        }
    }
}

fn serve_http1(
    stream: Stream,
    worker: &Worker,
    context: Rc<request::Context>,
    limits: &Limits,
    leaving: Leaving,
) -> impl Future<Output = ()> + 'static {
    let metrics = worker.metrics.listener(&context.listener);
    let settings = http1::Settings {
        head: limits.head,
        idle: limits.idle,
        progress: limits.body_progress,
        head_bytes: limits.head_bytes,
        ticker: Rc::clone(&worker.ticker),
        refusal: Rc::new({
            let context = Rc::clone(&context);
            move |refusal| {
                let failure = Failure::from(refusal);
                metrics.denied(failure.code());
                request::refused_unread(&context, failure);
                failure::refusal(refusal)
            }
        }),
    };
    let connection = context.standing.asker().connection;
    let lifeline = Rc::clone(&leaving.lifeline);
    let service = move |request: Request<_>| request::serve(Rc::clone(&context), Rc::clone(&lifeline), request.map(Incoming::Http1));
    let serving = http1::serve(stream, service, settings, leaving);
    async move {
        let end = serving.await;
        tracing::debug!(connection, ?end, "connection ended");
    }
}

impl http1::Io for Stream {
    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.waits_for_more() { self.get_ref().poll_readable(context) } else { Poll::Ready(()) }
    }
}

/// The reasons for a connection to end before its client ends it.
struct Leaving {
    standing: Rc<Standing>,
    left: bool,
    /// Of the one request under way over HTTP/1.1.
    lifeline: Rc<Lifeline>,
    age: Option<Pin<Box<Sleep>>>,
}

impl Leaving {
    fn new(standing: Rc<Standing>, age: Option<Duration>) -> Self {
        // Spread over a tenth, so that what came together does not leave, and come back, together.
        let spread = |age: Duration| age - age.mul_f64(f64::from(standing.asker().connection as u8) / 2560.0);
        let age = age.map(|age| Box::pin(tokio::time::sleep_until(Instant::now() + spread(age))));
        Self { standing, left: false, lifeline: Rc::default(), age }
    }
}

impl Ending for Leaving {
    fn poll_ending(&mut self, context: &mut Context<'_>) -> Poll<EndingKind> {
        if self.standing.poll_lapsed(context).is_ready() {
            return Poll::Ready(EndingKind::Cut);
        }
        if self.standing.is_leaving() && !std::mem::replace(&mut self.left, true) {
            return Poll::Ready(EndingKind::Drain);
        }
        if self.age.as_mut().is_some_and(|age| age.as_mut().poll(context).is_ready()) {
            self.age = None;
            return Poll::Ready(EndingKind::Drain);
        }
        Poll::Pending
    }

    fn is_stalled(&self) -> bool {
        self.lifeline.is_stalled()
    }
}

impl Socket {
    fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(_, peer) => Some(*peer),
            Self::Unix(_) => None,
        }
    }
}

fn result_of(error: &TlsError) -> HandshakeResult {
    match error {
        TlsError::Denied(_) => HandshakeResult::Denied,
        TlsError::Io(_) | TlsError::Protocol(_) | TlsError::UnknownName => HandshakeResult::Failed,
        TlsError::Timeout => HandshakeResult::TimedOut,
    }
}

/// Says why there is no session: at debug, since anybody can cause it as often as they like.
fn note(asker: &Asker, error: impl std::fmt::Display) {
    tracing::debug!(
        connection = asker.connection,
        %error,
        listener = &*asker.listener,
        peer = asker.peer.map(tracing::field::display),
        "no session"
    );
}
