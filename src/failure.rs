//! Every way a request can fail, its status and its public words. Two audiences: the client reads a status,
//! a code and a few fixed words; names, bounds and whether a route exists are the operator's, and stay in the log.
//! `request` answers with these; `connection` with `refusal` where no request ever came to be.

mod answer;

use http::StatusCode;

use crate::admission::Denial;
use crate::gate::Lapse;
use crate::http1::Refusal;
use crate::routing::{AuthorityError, PathError};

pub use answer::{prefers_html, refusal};

/// Why a request is not answered by its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// More bytes than `[limits]` lets a body have.
    BodyTooLarge,
    /// The decision's no.
    Denied(Denial),
    /// An `Expect` other than 100-continue.
    ExpectationFailed,
    HeadTooLarge,
    Internal,
    /// Not HTTP as RFC 9110 and 9112 have it, or a path or authority without a normal form; what exactly, for the log.
    Malformed(&'static str),
    /// TRACE, or CONNECT where no tunnel is meant.
    MethodNotAllowed,
    Misdirected,
    /// Told only after admission.
    NoRoute,
    Overloaded,
    RateLimited,
    RequestTimeout,
    /// A request line longer than `[limits] head_bytes`, or than any target may be.
    TargetTooLong,
    /// An upgrade that the route does not list.
    UpgradeRefused,
    /// The upstream broke off or spoke no HTTP that we take: 502.
    UpstreamFailed,
    UpstreamTimeout,
    /// No endpoint takes a connection: 503.
    UpstreamUnavailable,
    /// HTTP in another version than 1.0, 1.1 and 2.
    VersionNotSupported,
}

/// Who has to do something about it: decides the level of the log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Client,
    Upstream,
    Us,
}

impl Failure {
    /// Every failure, each denial included: for the docs and the tests that compare them.
    pub fn all() -> impl Iterator<Item = Self> {
        let others = [
            Self::BodyTooLarge,
            Self::ExpectationFailed,
            Self::HeadTooLarge,
            Self::Internal,
            Self::Malformed(""),
            Self::MethodNotAllowed,
            Self::Misdirected,
            Self::NoRoute,
            Self::Overloaded,
            Self::RateLimited,
            Self::RequestTimeout,
            Self::TargetTooLong,
            Self::UpgradeRefused,
            Self::UpstreamFailed,
            Self::UpstreamTimeout,
            Self::UpstreamUnavailable,
            Self::VersionNotSupported,
        ];
        Denial::ALL.iter().copied().map(Self::Denied).chain(others)
    }

    /// Returns the stable code: the same in the body, the log, the metrics and the docs.
    pub fn code(self) -> &'static str {
        match self {
            Self::BodyTooLarge => "body_too_large",
            Self::Denied(denial) => denial.code(),
            Self::ExpectationFailed => "expectation_failed",
            Self::HeadTooLarge => "head_too_large",
            Self::Internal => "internal",
            Self::Malformed(_) => "malformed_request",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Misdirected => "misdirected",
            Self::NoRoute => "no_route",
            Self::Overloaded => "overloaded",
            Self::RateLimited => "rate_limited",
            Self::RequestTimeout => "request_timeout",
            Self::TargetTooLong => "target_too_long",
            Self::UpgradeRefused => "upgrade_refused",
            Self::UpstreamFailed | Self::UpstreamUnavailable => "upstream_unavailable",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::VersionNotSupported => "version_not_supported",
        }
    }

    /// Returns the status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Denied(denial) => status_of(denial),
            Self::ExpectationFailed => StatusCode::EXPECTATION_FAILED,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Malformed(_) | Self::UpgradeRefused => StatusCode::BAD_REQUEST,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Overloaded | Self::UpstreamUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::UpstreamFailed => StatusCode::BAD_GATEWAY,
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::VersionNotSupported => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        }
    }

    /// Returns the words for whoever sent the request: fixed, so that nothing of ours or theirs can slip in.
    pub fn message(self) -> &'static str {
        match self {
            Self::BodyTooLarge => "the body is larger than this gateway takes",
            Self::Denied(denial) => words_for(denial),
            Self::ExpectationFailed => "this expectation cannot be met",
            Self::HeadTooLarge => "the header fields are larger than this gateway takes",
            Self::Internal => "something went wrong in the gateway",
            Self::Malformed(_) => "the request is malformed",
            Self::MethodNotAllowed => "this method is not served here",
            Self::Misdirected => "this connection was opened for another host; open a new one",
            Self::NoRoute => "nothing is served at this address",
            Self::Overloaded => "the gateway has no room for this request now",
            Self::RateLimited => "too many requests",
            Self::RequestTimeout => "the request did not arrive in time",
            Self::TargetTooLong => "the request target is longer than this gateway takes",
            Self::UpgradeRefused => "this upgrade is not served here",
            Self::UpstreamFailed => "the service behind the gateway gave no usable answer",
            Self::UpstreamTimeout => "the service behind the gateway did not answer in time",
            Self::UpstreamUnavailable => "the service behind the gateway cannot be reached",
            Self::VersionNotSupported => "this version of HTTP is not served here",
        }
    }

    /// Says who has to do something about it.
    pub fn fault(self) -> Fault {
        match self {
            Self::BodyTooLarge
            | Self::Denied(_)
            | Self::ExpectationFailed
            | Self::HeadTooLarge
            | Self::Malformed(_)
            | Self::MethodNotAllowed
            | Self::Misdirected
            | Self::NoRoute
            | Self::RateLimited
            | Self::RequestTimeout
            | Self::TargetTooLong
            | Self::UpgradeRefused
            | Self::VersionNotSupported => Fault::Client,
            Self::Internal | Self::Overloaded => Fault::Us,
            Self::UpstreamFailed | Self::UpstreamTimeout | Self::UpstreamUnavailable => Fault::Upstream,
        }
    }

    /// After this, what else comes on an HTTP/1.1 connection cannot be trusted to begin where it seems to.
    pub fn closes(self) -> bool {
        matches!(
            self,
            Self::BodyTooLarge
                | Self::HeadTooLarge
                | Self::Malformed(_)
                | Self::RequestTimeout
                | Self::TargetTooLong
                | Self::VersionNotSupported
        )
    }
}

impl From<AuthorityError> for Failure {
    fn from(error: AuthorityError) -> Self {
        Self::Malformed(error.why())
    }
}

impl From<Denial> for Failure {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

impl From<Lapse> for Failure {
    fn from(lapse: Lapse) -> Self {
        match lapse {
            Lapse::Denied(denial) => Self::Denied(denial),
            Lapse::NoRoute => Self::NoRoute,
            // Asked again, it hears what the rules of now say; a 404 would be taken for good.
            Lapse::Dismissed | Lapse::Withdrawn => Self::UpstreamUnavailable,
        }
    }
}

impl From<PathError> for Failure {
    fn from(error: PathError) -> Self {
        Self::Malformed(error.why())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Malformed(why) => Self::Malformed(why),
            Refusal::SlowHead => Self::RequestTimeout,
            Refusal::TargetTooLong => Self::TargetTooLong,
            Refusal::TooLarge => Self::HeadTooLarge,
            Refusal::Version => Self::VersionNotSupported,
        }
    }
}

/// The status of each denial: no `_`, so that a new one has to choose before anything compiles.
fn status_of(denial: Denial) -> StatusCode {
    match denial {
        Denial::ChallengeExpired
        | Denial::ChallengeInvalid
        | Denial::NoCredential
        | Denial::SignatureInvalid
        | Denial::TokenExpired
        | Denial::TokenInvalid => StatusCode::UNAUTHORIZED,
        Denial::AmbiguousCommonName
        | Denial::BoundsMismatch
        | Denial::ChainInvalid
        | Denial::ClearanceTooLow
        | Denial::ClientIpDenied
        | Denial::Expired
        | Denial::IdentifierMissing
        | Denial::IssuerUnknown
        | Denial::NotListed
        | Denial::NotPermitted
        | Denial::NotYetValid
        | Denial::OriginDenied
        | Denial::PrincipalDisabled
        | Denial::PrincipalExpired
        | Denial::RevocationUnknown
        | Denial::Revoked
        | Denial::SurfaceDenied
        | Denial::Unsuitable => StatusCode::FORBIDDEN,
    }
}

/// What a stranger may read: that it failed, never at which name, bound or address.
fn words_for(denial: Denial) -> &'static str {
    match denial {
        Denial::AmbiguousCommonName => "the client certificate has more than one common name",
        Denial::BoundsMismatch => "the client certificate is outside the bounds of its authority",
        Denial::ChainInvalid => "no valid path leads from the client certificate to a trust anchor",
        // Which of them it was would help whoever guesses.
        Denial::ChallengeExpired | Denial::ChallengeInvalid | Denial::SignatureInvalid => "authentication failed",
        Denial::ClearanceTooLow => "this needs a higher clearance",
        Denial::ClientIpDenied => "this client is not admitted from this address",
        Denial::Expired => "the client certificate, or one of its chain, has expired",
        Denial::IdentifierMissing => "the client certificate lacks the attribute that identifies its holder",
        Denial::IssuerUnknown => "the issuer of the client certificate is not known",
        Denial::NoCredential => "a client certificate is required",
        Denial::NotListed => "this client certificate is not on the allowlist",
        Denial::NotPermitted => "this client may not do this here",
        Denial::NotYetValid => "the client certificate, or one of its chain, is not valid yet",
        Denial::OriginDenied => "a page of this origin may not do this here",
        Denial::PrincipalDisabled => "this client is disabled",
        Denial::PrincipalExpired => "this client is outside its time of validity",
        Denial::RevocationUnknown => "whether the client certificate is revoked cannot be told now",
        Denial::Revoked => "the client certificate, or one of its chain, is revoked",
        Denial::SurfaceDenied => "this client may not use this listener's service",
        Denial::TokenExpired => "the bearer token has expired",
        Denial::TokenInvalid => "the bearer token is not valid",
        Denial::Unsuitable => "this certificate is not fit to identify a client",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn each_code_has_its_status() {
        let mut statuses: BTreeMap<&str, BTreeSet<u16>> = BTreeMap::new();
        for failure in Failure::all() {
            statuses.entry(failure.code()).or_default().insert(failure.status().as_u16());
        }
        for (code, expected) in [
            ("no_credential", vec![401]),
            ("not_listed", vec![403]),
            ("chain_invalid", vec![403]),
            ("origin_denied", vec![403]),
            ("misdirected", vec![421]),
            ("rate_limited", vec![429]),
            ("overloaded", vec![503]),
            ("no_route", vec![404]),
            ("upstream_unavailable", vec![502, 503]),
            ("upstream_timeout", vec![504]),
            ("target_too_long", vec![414]),
            ("version_not_supported", vec![505]),
        ] {
            assert_eq!(statuses[code].iter().copied().collect::<Vec<_>>(), expected, "{code}");
        }
        assert_eq!(Failure::all().count(), Denial::ALL.len() + 17);
    }

    #[test]
    fn public_words_need_no_escaping() {
        for failure in Failure::all() {
            let safe = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" _,;'".contains(&byte));
            assert!(safe(failure.code()) && safe(failure.message()), "{failure:?}");
        }
    }
}
