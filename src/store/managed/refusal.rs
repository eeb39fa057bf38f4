//! Why a change is not made.

use std::fmt;

use serde::Serialize;

/// One thing that is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Invalid {
    /// Where: `permissions[0].access`; empty where it is the whole.
    pub key: String,
    pub why: String,
}

/// Why a change is not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is an admin, or was: the server certificate registers nobody any more.
    BootstrapClosed,
    /// It would change what holds for somebody above the one who asks.
    ClearanceTooLow,
    FingerprintTaken {
        /// The name of the principal whose it is.
        by: String,
    },
    Invalid(Vec<Invalid>),
    LastAdmin,
    /// It may change what holds for somebody above the one who asks, and nobody can tell.
    MaybeAbove {
        /// Whom, and why not.
        why: String,
    },
    NameTaken,
    NotFound,
    /// Whoever asks would lock itself out.
    OwnCertificate,
    /// Whoever asks shows one of the tokens that it would take back.
    OwnToken,
    Protected,
    /// A file says so, not the ledger.
    Static {
        name: String,
    },
    VersionMismatch {
        is: u64,
    },
}

impl Invalid {
    /// Says what is wrong, and where.
    pub fn new(key: impl Into<String>, why: impl Into<String>) -> Self {
        Self { key: key.into(), why: why.into() }
    }
}

impl Refusal {
    /// Returns the stable name of the answer.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BootstrapClosed => "bootstrap_closed",
            Self::ClearanceTooLow | Self::MaybeAbove { .. } => "clearance_too_low",
            Self::FingerprintTaken { .. } => "fingerprint_taken",
            Self::Invalid(_) => "invalid",
            Self::LastAdmin => "last_admin",
            Self::NameTaken => "name_taken",
            Self::NotFound => "not_found",
            Self::OwnCertificate => "own_certificate",
            Self::OwnToken => "own_token",
            Self::Protected => "protected",
            Self::Static { .. } => "static",
            Self::VersionMismatch { .. } => "version_mismatch",
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => f.write_str(&self.why),
            key => write!(f, "{key}: {}", self.why),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BootstrapClosed => f.write_str("there is an admin, or was one: the server certificate registers nobody any more"),
            Self::ClearanceTooLow => f.write_str("this concerns somebody above your clearance"),
            Self::FingerprintTaken { by } => write!(f, "the certificate or key belongs to {by} already"),
            Self::Invalid(wrong) => {
                f.write_str("not valid")?;
                wrong.iter().enumerate().try_for_each(|(at, invalid)| write!(f, "{} {invalid}", if at == 0 { ":" } else { ";" }))
            }
            Self::LastAdmin => f.write_str("this is the last admin: make another one first"),
            Self::MaybeAbove { why } => {
                write!(f, "this may concern somebody above your clearance, and nobody can tell: {why}; an admin may do it")
            }
            Self::NameTaken => f.write_str("another principal has this name"),
            Self::NotFound => f.write_str("there is no such principal, certificate, id or CRL"),
            Self::OwnCertificate => f.write_str("this would take away the certificate that you ask with"),
            Self::OwnToken => f.write_str("this would take back the token that you ask with: ask with the certificate"),
            Self::Protected => f.write_str("it is protected: take `protected` away first"),
            Self::Static { name } => write!(f, "{name} stands in the configuration or an allowlist file: change it there"),
            Self::VersionMismatch { is } => write!(f, "it has changed meanwhile: this is version {is}"),
        }
    }
}

impl std::error::Error for Refusal {}
