//! The monitor's sockets: who is at it, in bounds, and for how long. What is answered is for `monitor` to say.

use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::State;
use crate::connection::Socket;
use crate::limits::Handshakes;
use crate::listener::Listening;

/// Accepts and answers, as long as the process lives.
pub(super) async fn serve(listening: Listening, state: Arc<State>) -> io::Result<Infallible> {
    let listening = listening.register()?;
    let crowd = Crowd::default();
    loop {
        match listening.accept().await {
            Ok(socket) => drop(tokio::task::spawn_local(connection(socket, Arc::clone(&state), crowd.clone()))),
            // Out of file descriptors, most often: the data plane frees some sooner or later.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Everybody at the monitor, in bounds, so that a crowd can neither take every file descriptor nor shut a scraper out: the oldest
/// has to go, and whoever has not said anything yet goes only for another such.
#[derive(Clone, Default)]
struct Crowd {
    silent: Rc<Handshakes>,
    speaking: Rc<Handshakes>,
}

/// A socket of the monitor's.
trait Stream: AsyncRead + AsyncWrite + Unpin {
    async fn has_bytes(&self) -> io::Result<()>;
}

impl Stream for TcpStream {
    async fn has_bytes(&self) -> io::Result<()> {
        self.readable().await
    }
}

impl Stream for UnixStream {
    async fn has_bytes(&self) -> io::Result<()> {
        self.readable().await
    }
}

async fn connection(socket: Socket, state: Arc<State>, crowd: Crowd) {
    // How a scrape ends is the scraper's business.
    match socket {
        Socket::Tcp(stream, _) => {
            if let Ok(stream) = TcpStream::from_std(stream) {
                greet(stream, state, crowd).await;
            }
        }
        Socket::Unix(stream) => {
            if let Ok(stream) = UnixStream::from_std(stream) {
                greet(stream, state, crowd).await;
            }
        }
    }
}

/// Waits for the first byte, or for the end of the handshake, and answers.
async fn greet(stream: impl Stream, state: Arc<State>, crowd: Crowd) {
    let tls = state.view.shown.now();
    let mut silent = crowd.silent.begin(MAX_CONNECTIONS);
    let greeted = async {
        Ok::<_, io::Error>(match tls {
            Some(tls) => (None, Some(tls.accept(stream).await?)),
            None => {
                stream.has_bytes().await?;
                (Some(stream), None)
            }
        })
    };
    let greeted = tokio::select! {
        greeted = tokio::time::timeout(GREETING, greeted) => greeted,
        () = silent.shed() => return,
    };
    drop(silent);
    let mut speaking = crowd.speaking.begin(MAX_CONNECTIONS);
    let answered = async {
        match greeted {
            Ok(Ok((Some(plain), _))) => exchange(plain, state).await,
            Ok(Ok((None, Some(tls)))) => exchange(tls, state).await,
            _ => {}
        }
    };
    tokio::select! {
        () = answered => {}
        () = speaking.shed() => {}
    }
}

async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<State>) {
    let service = service_fn(|request| std::future::ready(Ok::<_, Infallible>(state.answer(&request))));
    let mut builder = hyper::server::conn::http1::Builder::new();
    let connection = builder.timer(TokioTimer::new()).header_read_timeout(IDLE).serve_connection(TokioIo::new(stream), service);
    let _ = tokio::time::timeout(MAX_AGE, connection).await;
}

const MAX_CONNECTIONS: usize = 64;
/// Until a client has said something, or shaken hands.
const GREETING: Duration = Duration::from_secs(10);
/// Between two requests of a scraper.
const IDLE: Duration = Duration::from_secs(120);
const MAX_AGE: Duration = Duration::from_secs(3600);
