//! The side of a client: one task a connection, which reads a head, has it answered, and writes the answer, one exchange
//! after another. A connection is never closed on bytes that nobody read, lest a reset takes the answer away from a
//! client that is still sending.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::body::{Incoming, Source};
use super::encode::{self, Asked};
use super::head::{Asking, Fault, Framing, read_request};
use super::later;
use super::outbound::Encoder;
use super::wire::Wire;
use super::{End, Ending, EndingKind, Io, Refusal, Settings};
use crate::message::{Request, Response};
use crate::ticker::Timer;

/// Serves one connection of a client: one request after another, until it ends, `ending` says so, or a tunnel has
/// taken it over.
pub fn serve<IO, S, F, B>(io: IO, service: S, settings: Settings, mut ending: impl Ending) -> impl Future<Output = End>
where
    IO: Io + 'static,
    S: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<B>> + Unpin,
    B: Body<Data = Bytes> + Unpin,
{
    let timer = settings.ticker.timer();
    // A silent client is as slow as one that sends its head byte by byte.
    timer.arm(settings.head);
    let wire = Wire::new(io);
    let mut connection = Connection { wire, service, settings, timer, state: State::Head, leaving: false, served: false };
    // Made here, and served where it lies: an `async fn` keeps room for its arguments beside what it makes of them.
    async move {
        let close = poll_fn(|context| connection.poll_ended(&mut ending, context)).await;
        // RFC 9112, 8: of a body that the connection's end ends, a goodbye would say that it is whole.
        let torn = matches!(&connection.state, State::Writing(writing) if writing.encoder.ends_with_connection());
        // Whatever is under way goes first: it may hold the connection, too.
        connection.state = State::Head;
        let unread = connection.wire.is_unread();
        connection.wire.catch_up();
        let Some(io) = connection.wire.take() else { return End::Upgraded };
        let timer = &connection.timer;
        // On the heap, so that what closing needs does not lie in the task of every idle connection.
        match close {
            Close::Clean if torn => End::Closed,
            Close::Cut if torn => End::Cut,
            Close::Clean => {
                Box::pin(self::close(io, None, unread, timer)).await;
                End::Closed
            }
            Close::Cut => {
                Box::pin(close_now(io)).await;
                End::Cut
            }
            Close::Refuse(refusal) => {
                Box::pin(self::close(io, Some((connection.settings.refusal)(refusal)), unread, timer)).await;
                End::Refused(refusal)
            }
        }
    }
}

/// How the connection is to be closed.
#[derive(Clone, Copy, Debug)]
enum Close {
    Clean,
    Cut,
    Refuse(Refusal),
}

struct Connection<IO, S, F, B> {
    wire: Rc<Wire<IO>>,
    service: S,
    settings: Settings,
    timer: Timer,
    state: State<F, B>,
    /// No request is taken behind the one under way.
    leaving: bool,
    served: bool,
}

enum State<F, B> {
    /// The request is with the service.
    Answering(F, Asked),
    /// Nothing is under way.
    Head,
    /// The answer is written.
    Writing(Writing<B>),
}

struct Writing<B> {
    /// `None`: all of it is gathered.
    body: Option<B>,
    encoder: Encoder,
    /// Another request may follow.
    persists: bool,
    /// The connection is no longer HTTP behind this answer.
    switches: bool,
    /// The client takes nothing; its time runs.
    stalled: bool,
}

impl<IO, S, F, B> Connection<IO, S, F, B>
where
    IO: Io + 'static,
    S: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<B>> + Unpin,
    B: Body<Data = Bytes> + Unpin,
{
    fn poll_ended(&mut self, ending: &mut impl Ending, context: &mut Context<'_>) -> Poll<Close> {
        loop {
            match ending.poll_ending(context) {
                Poll::Ready(EndingKind::Cut) => return Poll::Ready(Close::Cut),
                Poll::Ready(EndingKind::Drain) => self.leaving = true,
                Poll::Pending => break,
            }
        }
        let late = self.timer.poll_expired(context).is_ready();
        let polled = self.poll(late, context);
        if late && polled.is_pending() {
            // It was armed anew, and has to know whom to wake.
            let _ = self.timer.poll_expired(context);
        }
        match polled {
            Poll::Ready(close) => Poll::Ready(close),
            // A body is asked for more, or for its end, only when there is room for it.
            Poll::Pending if ending.is_stalled() => Poll::Ready(Close::Cut),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll(&mut self, mut late: bool, context: &mut Context<'_>) -> Poll<Close> {
        later::relieve();
        if matches!(self.state, State::Head) && self.wire.is_behind() {
            self.state = State::Writing(Writing::behind());
        }
        loop {
            match &mut self.state {
                // Nothing is begun before the last answer is written.
                State::Head if self.wire.is_behind() => return self.wire.poll_gone(context).map(|()| Close::Clean),
                State::Head => {
                    let asking = match ready!(self.poll_head(late, context)) {
                        Ok(asking) => asking,
                        Err(close) => return Poll::Ready(close),
                    };
                    self.begin(asking);
                    late = false;
                }
                State::Answering(answer, asked) => match Pin::new(answer).poll(context) {
                    Poll::Ready(response) => {
                        let asked = *asked;
                        self.answer(response, asked);
                    }
                    Poll::Pending => return self.wire.poll_waiting(context).map(|()| Close::Clean),
                },
                State::Writing(writing) => {
                    match ready!(self.wire.poll_write(writing, late, self.leaving, &self.timer, self.settings.progress, context)) {
                        Written::Broken => return Poll::Ready(Close::Clean),
                        Written::Whole => {}
                    }
                    if let Some(close) = self.rest() {
                        return Poll::Ready(close);
                    }
                }
            }
        }
    }

    /// Waits for the next request's head.
    fn poll_head(&mut self, late: bool, context: &mut Context<'_>) -> Poll<Result<Asking, Close>> {
        let (is_partial, taken) = match self.wire.poll_head(self.settings.head_bytes, context) {
            Poll::Ready(taken) => (false, Some(taken)),
            Poll::Pending => (!self.wire.is_empty(), None),
        };
        match taken {
            Some(Ok(Some(head))) => {
                self.timer.disarm();
                Poll::Ready(read_request(&head).map_err(refuse))
            }
            // The client is gone, with or without a goodbye; half a head is no request.
            Some(Ok(None)) => Poll::Ready(Err(Close::Clean)),
            Some(Err(fault)) => Poll::Ready(Err(refuse(fault))),
            None if late => Poll::Ready(Err(if is_partial { Close::Refuse(Refusal::SlowHead) } else { Close::Clean })),
            // A request that may be on its way on a new connection is waited for.
            None if self.leaving && self.served && !is_partial => Poll::Ready(Err(Close::Clean)),
            None => {
                if is_partial && self.wire.begins_head() {
                    self.timer.arm(self.settings.head);
                }
                Poll::Pending
            }
        }
    }

    fn begin(&mut self, asking: Asking) {
        let Asking { head, framing, persists, expects, takes_trailers } = asking;
        let asked = Asked { version: head.version, head: head.method == Method::HEAD, persists, takes_trailers };
        let number = self.wire.begin(framing, expects, asked.version);
        let body = Incoming::new(Rc::clone(&self.wire) as _, number);
        self.state = State::Answering((self.service)(Request { head, body }), asked);
    }

    /// Writes the head of an answer, and all of its body that there is.
    fn answer(&mut self, response: Response<B>, mut asked: Asked) {
        // RFC 9112, 9.6: whoever still sends what nobody reads is told that the connection ends with this.
        asked.persists &= !self.leaving && !self.wire.is_abandoned() && !self.wire.is_ended();
        let switches = response.status == StatusCode::SWITCHING_PROTOCOLS;
        let size = response.body.size_hint();
        let (framing, persists) = self.wire.put_head(|out| encode::answer(out, &response, &size, asked));
        let body = Some(response.body);
        let encoder = Encoder::new(framing, asked.takes_trailers);
        self.served = true;
        self.state = State::Writing(Writing { body, encoder, persists, switches, stalled: false });
    }

    /// The answer is written: says how the connection is closed, or goes on to the next request.
    fn rest(&mut self) -> Option<Close> {
        let State::Writing(writing) = std::mem::replace(&mut self.state, State::Head) else { return None };
        if writing.switches {
            self.wire.switch();
            return Some(Close::Clean);
        }
        if !writing.persists || !self.wire.finish() {
            return Some(Close::Clean);
        }
        let waits = self.wire.is_empty();
        self.timer.arm(if waits { self.settings.idle } else { self.settings.head });
        None
    }
}

impl<IO: Io + 'static> Wire<IO> {
    fn poll_write<B>(
        self: &Rc<Self>,
        writing: &mut Writing<B>,
        late: bool,
        leaving: bool,
        timer: &Timer,
        progress: Duration,
        context: &mut Context<'_>,
    ) -> Poll<Written>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        loop {
            // The connection is not held meanwhile: the answer's body may be the request's.
            let mut out = self.take_out();
            let gathered = match &mut writing.body {
                Some(body) if !writing.stalled => writing.encoder.gather(body, &mut out, context),
                _ => Ok(false),
            };
            let before = out.left();
            self.put_out(out);
            // Whoever leaves closes behind this: nobody would come back to do so.
            if gathered.is_ok() && !leaving && writing.may_be_put_off() && self.put_off(context) {
                return Poll::Ready(Written::Whole);
            }
            let (flushed, left) = self.poll_flush(context);
            let waits = match gathered {
                Ok(waits) => waits,
                Err(_) => return Poll::Ready(Written::Broken),
            };
            match flushed {
                Poll::Pending => {
                    if !writing.stalled || left < before {
                        timer.arm(progress);
                        writing.stalled = true;
                    } else if late {
                        return Poll::Ready(Written::Broken);
                    }
                    return self.poll_gone(context).map(|()| Written::Broken);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Written::Broken),
                Poll::Ready(Ok(())) if std::mem::take(&mut writing.stalled) => timer.disarm(),
                Poll::Ready(Ok(())) => {}
            }
            if writing.encoder.is_done() {
                return Poll::Ready(Written::Whole);
            }
            if waits {
                return self.poll_gone(context).map(|()| Written::Broken);
            }
        }
    }
}

impl<B> Writing<B> {
    /// An answer that was put off, and that nobody has sent.
    fn behind() -> Self {
        Self { body: None, encoder: Encoder::new(Framing::Empty, false), persists: true, switches: false, stalled: false }
    }

    fn may_be_put_off(&self) -> bool {
        self.body.is_some() && self.encoder.is_done() && self.persists && !self.switches && !self.stalled
    }
}

/// How the writing of an answer ended.
enum Written {
    /// The client is gone, or is told by the missing end of its answer, or of its connection.
    Broken,
    Whole,
}

fn refuse(fault: Fault) -> Close {
    Close::Refuse(match fault {
        Fault::Malformed(words) => Refusal::Malformed(words),
        Fault::TargetTooLong => Refusal::TargetTooLong,
        Fault::TooLarge => Refusal::TooLarge,
        Fault::Version => Refusal::Version,
    })
}

/// Says that the connection ends, if that goes without waiting; the client may be gone, or not listen.
async fn close_now(mut io: impl AsyncWrite + Unpin) {
    let _ = tokio::time::timeout(GOODBYE, io.shutdown()).await;
}

/// Tells the last words, closes our side, and takes in what is still coming, within bounds.
async fn close(mut io: impl AsyncRead + AsyncWrite + Unpin, words: Option<Bytes>, unread: bool, timer: &Timer) {
    let linger = words.is_some() || unread;
    let closing = pin!(async {
        if let Some(words) = words {
            io.write_all(&words).await?;
        }
        io.flush().await?;
        io.shutdown().await?;
        if !linger {
            return Ok(());
        }
        let (mut scratch, mut left) = ([0; 4096], LINGER_BYTES);
        while left > 0 {
            match io.read(&mut scratch).await? {
                0 => break,
                length => left = left.saturating_sub(length),
            }
        }
        Ok::<_, std::io::Error>(())
    });
    // Whatever fails here fails for a client that is gone.
    let _ = timer.limit(LINGER, closing).await;
}

const GOODBYE: Duration = Duration::from_millis(20);
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

#[cfg(test)]
pub(super) mod tests;
