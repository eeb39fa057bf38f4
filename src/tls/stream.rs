//! A connection behind its handshake: what its client sends, opened where it was read, and what is sent to it, sealed where
//! it is written from. An idle connection has no buffer; whoever reads or writes is lent one by the worker. rustls has made
//! the keys and makes the next ones; here is what records there may be, and in what order (RFC 8446, 4.6.3, 5, 6).

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::kernel::KernelConnection;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::{AlertDescription, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::fault::Fault;
use super::lent::{Inbound, Outbound};
use super::records::{ALERT, APPLICATION_DATA, HANDSHAKE, Keys, MAX_TEXT};

/// The bytes of one client, in the clear.
pub struct Stream<IO> {
    io: IO,
    kernel: KernelConnection<ServerConnectionData>,
    opening: Keys,
    sealing: Keys,
    inbound: Inbound,
    outbound: Outbound,
    state: State,
}

#[derive(Debug, Default)]
struct State {
    /// The client said that it sends no more.
    ended: bool,
    /// We said so.
    closed: bool,
    /// The client broke the protocol, or says that we did: nothing may come any more.
    failed: bool,
    /// The beginning of a key update.
    partial: [u8; KEY_UPDATE],
    partial_length: usize,
    /// Key updates since the client last sent something.
    updates: u8,
    /// An answer to a key update waits to be sent: one is enough for all that were asked for.
    replies: bool,
    warnings: u8,
    renegotiations: u8,
    /// Records without text, one behind the other.
    empty: u8,
    /// Who writes waits for the client to take something: the socket knows whom to wake, and no read may take the place.
    blocked: bool,
}

impl<IO> Stream<IO> {
    /// Takes a connection over whose handshake is done, with the records that came behind it.
    pub(super) fn new(io: IO, connection: UnbufferedServerConnection, rest: Vec<u8>) -> Result<Self, rustls::Error> {
        let (secrets, kernel) = connection.dangerous_into_kernel_connection()?;
        let suite = kernel.negotiated_cipher_suite();
        let opening = Keys::new(suite, (secrets.rx.0, &secrets.rx.1))?;
        let sealing = Keys::new(suite, (secrets.tx.0, &secrets.tx.1))?;
        let (inbound, outbound, state) = (Inbound::of(rest), Outbound::default(), State::default());
        Ok(Self { io, kernel, opening, sealing, inbound, outbound, state })
    }

    /// Returns what the bytes come over.
    pub fn get_ref(&self) -> &IO {
        &self.io
    }

    /// Says whether a read could find nothing but what the client sends next. While something is to be sent it has more to do: it sends
    /// that along.
    pub fn waits_for_more(&self) -> bool {
        self.inbound.is_empty() && self.outbound.is_empty() && !self.state.ended && !self.state.failed
    }

    /// Returns how many bytes its buffers have.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.inbound.held() + self.outbound.held()
    }

    /// Leaves the key that seals so many records, its last one among them.
    #[cfg(test)]
    pub(super) fn spend(&mut self, left: u64) {
        self.sealing.spend(left);
    }

    fn is_tls13(&self) -> bool {
        self.kernel.protocol_version() == ProtocolVersion::TLSv1_3
    }

    /// Opens the next record that is here, and does what it says; `false`: none is here.
    fn next(&mut self) -> Result<bool, Fault> {
        let Some((header, body)) = self.inbound.record().map_err(Fault::Alert)? else { return Ok(false) };
        let (kind, text) = self.opening.open(header, body).map_err(Fault::Alert)?;
        // RFC 8446, 5.1: nothing comes between the pieces of one message.
        if kind != HANDSHAKE && self.state.partial_length > 0 {
            return Err(Fault::Alert(AlertDescription::UnexpectedMessage));
        }
        match kind {
            APPLICATION_DATA => {
                if text.is_empty() {
                    self.state.empty += 1;
                    if self.state.empty > MAX_EMPTY {
                        return Err(Fault::Alert(AlertDescription::UnexpectedMessage));
                    }
                } else {
                    (self.state.empty, self.state.updates) = (0, 0);
                }
                self.inbound.opened(text);
            }
            ALERT => {
                let told = <[u8; 2]>::try_from(&body[text]);
                self.inbound.passed();
                self.alert(told.map_err(|_| Fault::Alert(AlertDescription::DecodeError))?)?;
            }
            HANDSHAKE => {
                let (mut message, length) = ([0; KEY_UPDATE], text.len());
                for (byte, from) in message.iter_mut().zip(&body[text]) {
                    *byte = *from;
                }
                self.inbound.passed();
                self.handshake(&message[..length.min(KEY_UPDATE)], length)?;
            }
            _ => return Err(Fault::Alert(AlertDescription::UnexpectedMessage)),
        }
        Ok(true)
    }

    #[cold]
    fn alert(&mut self, [level, description]: [u8; 2]) -> Result<(), Fault> {
        let description = AlertDescription::from(description);
        match (level, description) {
            (WARNING | FATAL, AlertDescription::CloseNotify) => {
                self.state.ended = true;
                // RFC 8446, 6.1: whatever comes behind it is ignored.
                self.inbound.clear();
                Ok(())
            }
            (WARNING, _) if self.is_tls13() && description != AlertDescription::UserCanceled => {
                Err(Fault::Alert(AlertDescription::DecodeError))
            }
            (WARNING, _) => {
                self.state.warnings += 1;
                if self.state.warnings > MAX_WARNINGS { Err(Fault::Alert(AlertDescription::UnexpectedMessage)) } else { Ok(()) }
            }
            (FATAL, _) => Err(Fault::Told(description)),
            _ => Err(Fault::Alert(AlertDescription::IllegalParameter)),
        }
    }

    /// Takes a piece of a message of the handshake: `begin` of it, of so many bytes.
    #[cold]
    fn handshake(&mut self, begin: &[u8], length: usize) -> Result<(), Fault> {
        let unexpected = Fault::Alert(AlertDescription::UnexpectedMessage);
        if !self.is_tls13() {
            // RFC 5246, 7.4.1.1, 7.2.2: a client may ask for another handshake, and hears that there is none; once.
            self.state.renegotiations += 1;
            if begin.first() != Some(&CLIENT_HELLO) || self.state.renegotiations > 1 {
                return Err(unexpected);
            }
            return self.send(ALERT, &[WARNING, AlertDescription::NoRenegotiation.into()]);
        }
        // RFC 8446, 4.6: of all messages behind the handshake a client of ours may send one kind, and 5.1: nothing behind it in
        // its record.
        let known = self.state.partial_length;
        if length == 0 || known + length > KEY_UPDATE {
            return Err(unexpected);
        }
        self.state.partial[known..known + length].copy_from_slice(begin);
        self.state.partial_length += length;
        if self.state.partial[0] != KEY_UPDATE_TYPE {
            return Err(unexpected);
        }
        if self.state.partial_length < KEY_UPDATE {
            return Ok(());
        }
        self.state.partial_length = 0;
        match self.state.partial {
            [_, 0, 0, 1, requested @ 0..=1] => self.key_update(requested == 1),
            [_, 0, 0, 1, _] => Err(Fault::Alert(AlertDescription::IllegalParameter)),
            _ => Err(Fault::Alert(AlertDescription::DecodeError)),
        }
    }

    fn key_update(&mut self, requested: bool) -> Result<(), Fault> {
        self.state.updates += 1;
        // Each costs us more than the client.
        if self.state.updates > MAX_UPDATES {
            return Err(Fault::Alert(AlertDescription::UnexpectedMessage));
        }
        let (number, secrets) = self.kernel.update_rx_secret()?;
        self.opening = Keys::new(self.kernel.negotiated_cipher_suite(), (number, &secrets))?;
        if requested && !std::mem::replace(&mut self.state.replies, true) {
            self.renew()?;
        }
        Ok(())
    }

    /// Goes on sealing with the next key, and says so.
    #[cold]
    fn renew(&mut self) -> Result<(), Fault> {
        // TLS 1.2 has no other keys.
        if !self.is_tls13() {
            return Err(Fault::Keys(rustls::Error::EncryptError));
        }
        self.send(HANDSHAKE, &[KEY_UPDATE_TYPE, 0, 0, 1, 0])?;
        let (number, secrets) = self.kernel.update_tx_secret()?;
        self.sealing = Keys::new(self.kernel.negotiated_cipher_suite(), (number, &secrets))?;
        Ok(())
    }

    fn send(&mut self, kind: u8, text: &[u8]) -> Result<(), Fault> {
        // RFC 8446, 6.1: behind our goodbye we say nothing.
        if self.state.closed {
            return Ok(());
        }
        Ok(self.sealing.seal(kind, self.outbound.room(), |out| out.extend_from_slice(text))?)
    }

    /// Seals as much as there is room for; returns how much that is.
    fn seal(&mut self, slices: &[IoSlice<'_>]) -> Result<usize, Fault> {
        let total = slices.iter().map(|slice| slice.len()).sum();
        let mut taken = 0;
        while taken < total && !self.outbound.is_full() {
            if self.sealing.is_spent() {
                self.renew()?;
            }
            let length = MAX_TEXT.min(total - taken);
            self.sealing.seal(APPLICATION_DATA, self.outbound.room(), |out| copy(slices, taken, length, out))?;
            taken += length;
        }
        Ok(taken)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Stream<IO> {
    /// Ends the connection over a fault, and says which if it is the client's, as far as it takes it.
    #[cold]
    fn fail(&mut self, fault: Fault, context: &mut Context<'_>) -> io::Error {
        self.state.failed = true;
        self.inbound.clear();
        if let Fault::Alert(description) = fault {
            let _ = self.send(ALERT, &[FATAL, description.into()]);
            self.state.closed = true;
            self.send_along(context);
        }
        io::Error::new(io::ErrorKind::InvalidData, fault)
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = self.outbound.poll_send(&mut self.io, context);
        self.state.blocked = sent.is_pending();
        self.state.replies &= sent.is_pending();
        sent
    }

    /// Sends what a read gave rise to, if nobody waits to write: who does takes it along.
    fn send_along(&mut self, context: &mut Context<'_>) {
        if !self.outbound.is_empty() && !self.state.blocked {
            self.state.replies &= self.outbound.poll_send(&mut self.io, context).is_pending();
        }
    }

    fn poll_write_slices(&mut self, slices: &[IoSlice<'_>], context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.state.closed || self.state.failed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if self.outbound.is_full() {
            ready!(self.poll_send(context))?;
        }
        let taken = match self.seal(slices) {
            Ok(taken) => taken,
            Err(fault) => return Poll::Ready(Err(self.fail(fault, context))),
        };
        // What the socket does not take now goes with the next write, or the flush.
        match self.poll_send(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(taken)),
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<IO> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        loop {
            this.inbound.hand_over(into);
            if into.remaining() == 0 || this.state.ended {
                return Poll::Ready(Ok(()));
            }
            if this.state.failed {
                return Poll::Ready(if into.filled().len() > before { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) });
            }
            match this.next() {
                Ok(true) => {}
                Ok(false) if into.filled().len() > before => return Poll::Ready(Ok(())),
                Ok(false) => {
                    // An answer to a message of the handshake is not kept until there is something to write.
                    this.send_along(context);
                    match ready!(this.inbound.poll_fill(&mut this.io, context)) {
                        Ok(1..) => {}
                        // RFC 8446, 6.1: without a goodbye, what came may not be all.
                        Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                }
                Err(fault) => {
                    let error = this.fail(fault, context);
                    return Poll::Ready(if into.filled().len() > before { Ok(()) } else { Err(error) });
                }
            }
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<IO> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_slices(&[IoSlice::new(bytes)], context)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_slices(slices, context)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(context))?;
        Pin::new(&mut this.io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Without a key there is no goodbye, but there is an end.
        let _ = this.send(ALERT, &[WARNING, AlertDescription::CloseNotify.into()]);
        this.state.closed = true;
        ready!(this.poll_send(context))?;
        Pin::new(&mut this.io).poll_shutdown(context)
    }
}

/// Appends a part of what lies in several places.
fn copy(slices: &[IoSlice<'_>], mut skip: usize, mut length: usize, out: &mut Vec<u8>) {
    for slice in slices {
        let from = skip.min(slice.len());
        let piece = &slice[from..slice.len().min(from + length)];
        out.extend_from_slice(piece);
        skip -= from;
        length -= piece.len();
    }
}

impl<IO: fmt::Debug> fmt::Debug for Stream<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("io", &self.io).field("state", &self.state).finish_non_exhaustive()
    }
}

const CLIENT_HELLO: u8 = 1;
const KEY_UPDATE_TYPE: u8 = 24;
/// RFC 8446, 4, 4.6.3: a type, a length of three bytes, and whether the other side is to do the same.
const KEY_UPDATE: usize = 5;
const WARNING: u8 = 1;
const FATAL: u8 = 2;
/// As many as rustls and BoringSSL allow.
const MAX_UPDATES: u8 = 32;
const MAX_EMPTY: u8 = 32;
const MAX_WARNINGS: u8 = 4;
