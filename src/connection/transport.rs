//! The socket of one connection, whichever kind it is, with what has to live exactly as long as it.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::limits::Place;
use crate::metrics;

/// A socket as the acceptor hands it over.
#[derive(Debug)]
pub enum Socket {
    Tcp(std::net::TcpStream, SocketAddr),
    Unix(std::os::unix::net::UnixStream),
}

/// The client's end of the wire. Dropped, it is closed, and then the connection is counted no more.
#[derive(Debug)]
pub(super) struct Transport {
    stream: Stream,
    progress: Rc<Progress>,
    _counted: (Place, metrics::Held),
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Whether the client takes what is written to it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    blocked: Cell<bool>,
    written: Cell<u64>,
}

impl Progress {
    /// Returns how much was written, if more waits to be.
    pub(super) fn blocked_at(&self) -> Option<u64> {
        self.blocked.get().then(|| self.written.get())
    }
}

impl Transport {
    /// Takes a socket into this worker's reactor.
    pub(super) fn new(socket: Socket, counted: (Place, metrics::Held)) -> io::Result<Self> {
        let stream = match socket {
            Socket::Tcp(stream, _) => Stream::Tcp(TcpStream::from_std(stream)?),
            Socket::Unix(stream) => Stream::Unix(UnixStream::from_std(stream)?),
        };
        Ok(Self { stream, progress: Rc::default(), _counted: counted })
    }

    /// Returns what tells whether the client takes what is written.
    pub(super) fn progress(&self) -> Rc<Progress> {
        Rc::clone(&self.progress)
    }

    fn note(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.progress.blocked.set(result.is_pending());
        if let Poll::Ready(Ok(count)) = &result {
            self.progress.written.set(self.progress.written.get().wrapping_add(*count as u64));
        }
        result
    }

    /// Waits until a read may find something.
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        match &self.stream {
            Stream::Tcp(stream) => stream.poll_read_ready(context).map(drop),
            Stream::Unix(stream) => stream.poll_read_ready(context).map(drop),
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(context, into),
            Stream::Unix(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        };
        self.note(result)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        // A record of TLS, nearly always: the kernel has less to do for one piece than for a list of one.
        if let [alone] = bytes {
            return self.poll_write(context, alone);
        }
        let result = match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(context, bytes),
        };
        self.note(result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        })?;
        Poll::Ready(Ok(()))
    }
}
