//! One exchange with an upstream: sent once, again only while that is safe, and waited for only so long.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Method, Version, header};

use super::body::{Body, BodyError, Download, Pace, TrailerFilter};
use super::hop_by_hop;
use super::incoming::Incoming;
use super::pool::{Lease, Line, Pool, Ready};
use super::upload::{Sent, Upload};
use crate::gate::Grant;
use crate::http1::{Answered, SendError, Upgraded};
use crate::message::{Fields, Name, Request, Response};

/// Why an upstream gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It broke off: 502.
    Broken,
    /// The request's own body broke off: nobody's fault but the client's.
    Client(BodyError),
    /// What it said is no HTTP that we take: 502.
    Malformed,
    /// As many connections as are allowed.
    Overloaded,
    /// Not within the time.
    Timeout,
    /// No endpoint takes a connection: 503.
    Unavailable,
}

/// What an upstream answers.
#[derive(Debug)]
pub enum Answer {
    /// Its head, and its body as it comes.
    Response(Response<Body>),
    /// It took the upgrade that was offered; not yet checked.
    Switched(Response<()>, Upgraded),
}

impl Pool {
    /// Sends a request whose headers are done, in origin form, with its `Host`, and returns the answer. What is left of the request is
    /// the caller's. Only a grant lets a request go on.
    pub async fn forward(
        self: &Rc<Self>,
        request: &mut Request<Upload>,
        sent: Option<Rc<Sent>>,
        trailers: TrailerFilter,
        _admitted: &Grant,
    ) -> Result<Answer, Error> {
        self.send(request, sent, trailers).await
    }

    pub(super) async fn send(
        self: &Rc<Self>,
        request: &mut Request<Upload>,
        sent: Option<Rc<Sent>>,
        trailers: TrailerFilter,
    ) -> Result<Answer, Error> {
        let mut lease = self.lease(sent);
        let limit = self.upstream.settings.first_byte;
        lease.pace.timer.arm(limit);
        let answered = match &mut lease.line {
            Some(line) if line.sender.begin(request) => {
                let asked = poll_fn(|context| match line.sender.poll_answer(request, context) {
                    Poll::Ready(answered) => Poll::Ready(Ok(answered)),
                    Poll::Pending => poll_silent(&lease.pace, lease.sent.as_ref(), limit, context),
                });
                asked.await?
            }
            _ => Err(SendError::Unsent),
        };
        let exchanged = match answered {
            Ok(answered) => Exchanged::from(answered),
            // On the heap: hardly any request needs it.
            Err(error) => Box::pin(self.send_anew(error, &mut lease, request)).await?,
        };
        lease.pace.timer.disarm();
        Ok(exchanged.answer(lease, trailers))
    }

    /// Sends it where no idle connection took it: on a new one, on the one of HTTP/2 that all share, or on any that is left.
    async fn send_anew(&self, error: SendError, lease: &mut Lease, request: &mut Request<Upload>) -> Result<Exchanged, Error> {
        let fresh = match lease.line.take() {
            Some(line) => {
                self.unsent(error, &line, request, lease.sent.as_ref())?;
                true
            }
            None => false,
        };
        let limit = self.upstream.settings.first_byte;
        let mut exchange = pin!(self.exchange(request, fresh, lease.sent.as_ref()));
        let (exchanged, line) = poll_fn(|context| match exchange.as_mut().poll(context) {
            Poll::Ready(exchanged) => Poll::Ready(exchanged),
            Poll::Pending => poll_silent(&lease.pace, lease.sent.as_ref(), limit, context),
        })
        .await?;
        lease.line = line;
        Ok(exchanged)
    }

    async fn exchange(
        &self,
        request: &mut Request<Upload>,
        mut fresh: bool,
        sent: Option<&Rc<Sent>>,
    ) -> Result<(Exchanged, Option<Line>), Error> {
        let upgrade = request.head.headers.contains_key(Name::Upgrade);
        for _ in usize::from(fresh)..MAX_TRIES {
            match self.ready(upgrade, fresh).await? {
                Ready::Http1(mut line) => match line.sender.send(request).await {
                    Ok(answered) => return Ok((answered.into(), Some(line))),
                    Err(error) => self.unsent(error, &line, request, sent)?,
                },
                Ready::Http2(mut sender, scheme) => {
                    let mut failed = match sender.try_send_request(for_http2(std::mem::take(request), scheme)?).await {
                        Ok(response) => return Ok((judged_http2(response.map(Incoming::Http2).into())?, None)),
                        Err(failed) => failed,
                    };
                    *request = match failed.take_message() {
                        Some(unsent) => for_http1(unsent),
                        None => return Err(self.broken(sent, &failed.into_error())),
                    };
                }
            }
            fresh = true;
        }
        Err(Error::Unavailable)
    }

    /// Says whether a request that got no answer may be sent again.
    fn unsent(&self, error: SendError, line: &Line, request: &Request<Upload>, sent: Option<&Rc<Sent>>) -> Result<(), Error> {
        match error {
            SendError::Unsent => Ok(()),
            // The upstream may have been closing just then what it had left open: what has no effect twice is sent again.
            SendError::Broken { is_whole: true, .. } if line.reused && may_be_repeated(request) => Ok(()),
            SendError::Broken { error, .. } => Err(self.broken(sent, &error)),
            SendError::Malformed(why) => {
                self.warn(why, None);
                Err(Error::Malformed)
            }
        }
    }

    fn broken(&self, sent: Option<&Rc<Sent>>, error: &dyn std::error::Error) -> Error {
        if let Some(failure) = sent.and_then(|sent| sent.failure()) {
            return Error::Client(failure);
        }
        self.warn(&error.to_string(), error.source());
        Error::Broken
    }

    fn warn(&self, error: &str, source: Option<&(dyn std::error::Error + 'static)>) {
        let why = source.map(ToString::to_string);
        tracing::warn!(upstream = &*self.upstream.settings.name, error, why, "the upstream gave no answer");
    }
}

/// RFC 9113, 8.3.1: the authority stands in the target, not in `Host`; and nothing is said about the connection.
fn for_http2(mut request: Request<Upload>, scheme: Scheme) -> Result<http::Request<Upload>, Error> {
    let headers = &mut request.head.headers;
    let authority = headers.get(header::HOST).and_then(|host| Authority::try_from(host).ok()).ok_or(Error::Malformed)?;
    headers.remove(header::HOST);
    headers.remove(header::CONNECTION);
    let mut parts = std::mem::take(&mut request.head.uri).into_parts();
    parts.scheme = Some(scheme);
    parts.authority = Some(authority);
    request.head.uri = Uri::from_parts(parts).map_err(|_| Error::Malformed)?;
    request.head.version = Version::HTTP_2;
    Ok(request.into())
}

/// Takes back what HTTP/2 needed: the next endpoint may speak HTTP/1.1.
fn for_http1(request: http::Request<Upload>) -> Request<Upload> {
    let mut request = Request::from(request);
    let parts = std::mem::take(&mut request.head.uri).into_parts();
    if let Some(host) = parts.authority.and_then(|authority| header::HeaderValue::from_str(authority.as_str()).ok()) {
        request.head.headers.insert(header::HOST, host);
    }
    request.head.uri = Uri::from(parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/")));
    request.head.version = Version::HTTP_11;
    request
}

/// Says whether a request has the same effect twice as once (RFC 9110, 9.2.2).
fn may_be_repeated(request: &Request<Upload>) -> bool {
    let idempotent = [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE].contains(&request.head.method);
    idempotent && !request.head.headers.contains_key(Name::Upgrade)
}

/// The engine reads one Content-Length of several.
fn judged_http2(response: Response<Incoming>) -> Result<Exchanged, Error> {
    let lengths = response.headers.get_all(&Name::ContentLength).count();
    if lengths > 1 { Err(Error::Malformed) } else { Ok(Exchanged::Answer(response)) }
}

/// What came back.
enum Exchanged {
    Answer(Response<Incoming>),
    Switch(Response<()>, Upgraded),
}

impl Exchanged {
    fn answer(self, lease: Box<Lease>, trailers: TrailerFilter) -> Answer {
        match self {
            Self::Answer(mut response) => {
                hop_by_hop::strip_answer(&mut response.headers);
                Answer::Response(response.map(|incoming| Body::stream(Download::new(incoming, trailers, lease))))
            }
            Self::Switch(response, upgraded) => Answer::Switched(response, upgraded),
        }
    }
}

impl From<Answered> for Exchanged {
    fn from(answered: Answered) -> Self {
        match answered {
            Answered::Response(response) => Self::Answer(response.map(Incoming::Http1)),
            Answered::Switched(response, upgraded) => Self::Switch(response, upgraded),
        }
    }
}

/// Waits for the end of the time for an answer.
fn poll_silent<T>(pace: &Pace, sent: Option<&Rc<Sent>>, limit: Duration, context: &mut Context<'_>) -> Poll<Result<T, Error>> {
    while pace.timer.poll_expired(context).is_ready() {
        // An upload that moves on is no silence.
        if !sent.is_some_and(|sent| sent.has_moved()) {
            return Poll::Ready(Err(Error::Timeout));
        }
        pace.timer.arm(limit);
    }
    Poll::Pending
}

/// Removes what a trailer may not say (RFC 9110, 6.5.1): what frames, routes or authenticates a message.
pub fn remove_forbidden_trailers(trailers: &mut Fields) {
    for name in [
        header::AUTHORIZATION,
        header::CONNECTION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::COOKIE,
        header::FORWARDED,
        header::HOST,
        header::SET_COOKIE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ] {
        trailers.remove(name);
    }
    hop_by_hop::remove_respelled(trailers);
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken => f.write_str("the upstream broke off"),
            Self::Client(error) => write!(f, "the request's body: {error}"),
            Self::Malformed => f.write_str("the upstream's answer is malformed"),
            Self::Overloaded => f.write_str("the upstream has as many connections as it may"),
            Self::Timeout => f.write_str("the upstream did not answer in time"),
            Self::Unavailable => f.write_str("no endpoint takes a connection"),
        }
    }
}

impl std::error::Error for Error {}

const MAX_TRIES: usize = 4;
