//! Times, sizes and numbers that bound what a client may cost us: plain data from `[limits]`, and the
//! counters that hold to it. Rates per principal and source live here too.

use std::time::Duration;

/// `[limits]`, compiled. One value for the whole proxy; it may change with every install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From accept to the end of the handshake.
    pub handshake: Duration,
    /// From the first byte of a request head to its last.
    pub head: Duration,
    /// A connection without a request.
    pub idle: Duration,
    /// Between two pieces of a body, either way.
    pub body_progress: Duration,
    /// Connecting to an upstream endpoint, TLS included.
    pub connect: Duration,
    pub head_bytes: usize,
    /// `None`: no limit.
    pub body_bytes: Option<u64>,
    /// How long connections may finish after the drain began.
    pub drain: Duration,
    /// Open connections, all listeners together.
    pub connections: usize,
    /// Handshakes under way on one worker.
    pub handshakes: usize,
    /// `None`: a connection may live for ever.
    pub max_connection_age: Option<Duration>,
    /// Lines about denials that one source may cause in a second; what is above becomes one counted line.
    pub denial_lines: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            body_progress: Duration::from_secs(30),
            connect: Duration::from_secs(5),
            head_bytes: 64 * 1024,
            body_bytes: None,
            drain: Duration::from_secs(30),
            connections: 20_000,
            handshakes: 64,
            max_connection_age: None,
            denial_lines: 10,
        }
    }
}
