//! What a revoked id reaches, where it does not hold everywhere: a certificate, or a key, of the leaf or of an anchor.

use std::fmt;
use std::str::FromStr;

use crate::pki::fingerprint::NotADigest;
use crate::pki::{Fingerprint, SpkiPin};

/// One thing that an id reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reach {
    /// A leaf.
    Certificate(Fingerprint),
    /// A leaf's, or that of an anchor which a path leads to.
    Key(SpkiPin),
}

/// `sha256:HEX` or `sha256/BASE64`.
impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(fingerprint) => write!(f, "sha256:{fingerprint}"),
            Self::Key(key) => key.fmt(f),
        }
    }
}

impl FromStr for Reach {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        match text.strip_prefix("sha256:") {
            Some(hex) => hex.parse().map(Self::Certificate),
            None => text.parse().map(Self::Key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_written() {
        let (fingerprint, key) = (Fingerprint::of(b"leaf"), SpkiPin::of(b"key"));
        for reach in [Reach::Certificate(fingerprint), Reach::Key(key)] {
            assert_eq!(reach.to_string().parse(), Ok(reach));
        }
        assert!("sha256:12".parse::<Reach>().is_err() && "12".parse::<Reach>().is_err() && "".parse::<Reach>().is_err());
    }
}
