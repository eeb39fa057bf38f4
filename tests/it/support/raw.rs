//! Bytes on a TLS connection, exactly as written: for what no well-behaved client would send.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{Client, within};

/// A TLS connection without an HTTP engine on it.
pub struct Raw(pub TlsStream<TcpStream>);

/// What came back: the answers as text, and how the connection ended.
#[derive(Debug)]
pub struct Back {
    pub text: String,
    /// The other side closed the connection.
    pub closed: bool,
}

impl Raw {
    pub async fn open(client: &Client) -> Self {
        Self(client.handshake().await.expect("a handshake"))
    }

    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        // The other side may have answered and closed already: then reading tells.
        let _ = self.0.write_all(bytes.as_ref()).await;
        let _ = self.0.flush().await;
    }

    /// Reads until the other side closes.
    pub async fn read_to_end(&mut self) -> Back {
        let mut bytes = Vec::new();
        let _ = within("the connection to close", self.0.read_to_end(&mut bytes)).await;
        Back { text: String::from_utf8_lossy(&bytes).into_owned(), closed: true }
    }

    /// Reads until a text is there, or the other side closes.
    pub async fn read_until(&mut self, wanted: &str) -> Back {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if text.contains(wanted) {
                return Back { text, closed: false };
            }
            match within(&format!("{wanted:?} in {text:?}"), self.0.read(&mut buffer)).await {
                Ok(0) | Err(_) => return Back { text, closed: true },
                Ok(read) => bytes.extend_from_slice(&buffer[..read]),
            }
        }
    }

    /// Reads one HTTP/2 frame; `None`: the other side closed.
    pub async fn frame(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        let mut payload = Vec::new();
        let read = async {
            self.0.read_exact(&mut head).await?;
            payload.resize(usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]), 0);
            self.0.read_exact(&mut payload).await
        };
        within("a frame", read).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Reads HTTP/2 frames until stream 1 has its answer, or is reset, or the connection ends.
    pub async fn first_answer(&mut self) -> Ended {
        loop {
            match self.frame().await {
                // HPACK's static table: index 8 is `:status: 200`.
                Some(Frame { kind: 0x1, payload, .. }) => return Ended::Answered { success: payload.first() == Some(&0x88) },
                Some(Frame { kind: 0x3, .. }) => return Ended::Reset,
                Some(Frame { kind: 0x7, .. }) => return Ended::GoAway,
                Some(_) => {}
                None => return Ended::Closed,
            }
        }
    }

    /// Sends bytes on a new connection and reads to the end.
    pub async fn exchange(client: &Client, bytes: impl AsRef<[u8]>) -> Back {
        let mut raw = Self::open(client).await;
        raw.write(bytes).await;
        raw.read_to_end().await
    }
}

/// A frame of HTTP/2.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// How an HTTP/2 stream ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    Answered { success: bool },
    Closed,
    GoAway,
    Reset,
}

impl Ended {
    pub fn is_success(&self) -> bool {
        *self == Self::Answered { success: true }
    }
}

impl Back {
    /// Returns the status of each answer.
    pub fn statuses(&self) -> Vec<u16> {
        self.text.match_indices("HTTP/1.1 ").filter_map(|(at, _)| self.text.get(at + 9..at + 12)?.parse().ok()).collect()
    }
}
