//! Why a connection cannot go on behind its handshake.

use std::fmt;

use rustls::AlertDescription;

#[derive(Debug)]
pub(super) enum Fault {
    /// The client broke the protocol: the alert that says how.
    Alert(AlertDescription),
    /// There is no key to go on with.
    Keys(rustls::Error),
    /// The client says that we broke it.
    Told(AlertDescription),
}

impl From<rustls::Error> for Fault {
    fn from(error: rustls::Error) -> Self {
        Self::Keys(error)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alert(description) => write!(f, "the client broke TLS: {description:?}"),
            Self::Keys(_) => f.write_str("there is no key to go on with"),
            Self::Told(description) => write!(f, "the client gave up: {description:?}"),
        }
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Alert(_) | Self::Told(_) => None,
            Self::Keys(error) => Some(error),
        }
    }
}
