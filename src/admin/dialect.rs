//! The forms in which a call is refused: ours, or that of the system whose protocol its path belongs to, so that clients written for
//! that one understand it. What is refused, and with which code, is the same in all of them.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use serde::Serialize;

use super::{Error, akeyless, azure, raven};
use crate::pki::Certificate;
use crate::request::service::{Caller, CallingLeaf};

/// Whose protocol a call speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Akeyless,
    /// Azure confidential ledger.
    Azure,
    Ours,
    /// RavenDB.
    Raven,
}

/// What was asked for, and by whom.
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    pub(super) request_id: &'a str,
    /// What was presented, and its key proven.
    pub(super) leaf: Option<&'a Certificate>,
}

/// The same, kept beside a call that is given away to be answered.
pub(super) struct Asking {
    method: Method,
    path: Box<str>,
    request_id: Box<str>,
    leaf: Option<CallingLeaf>,
}

impl Asking {
    pub(super) fn of<B>(request: &Request<B>, caller: &Caller) -> Self {
        let (method, path) = (request.method().clone(), request.uri().path().into());
        Self { method, path, request_id: caller.request_id.clone(), leaf: caller.leaf.clone() }
    }

    /// Tells a refusal in the form of the call's protocol.
    pub(super) fn refused(&self, error: Error) -> Response<Bytes> {
        let leaf = self.leaf.as_ref().and_then(|leaf| Certificate::parse(leaf.der.clone()).ok());
        let asked = Asked { method: &self.method, path: &self.path, request_id: &self.request_id, leaf: leaf.as_ref() };
        Dialect::of(&self.path).render(error, &asked)
    }
}

impl Dialect {
    /// Tells it from the path.
    pub(super) fn of(path: &str) -> Self {
        let below = |root: &&str| path.strip_prefix(*root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let known = [(Self::Akeyless, akeyless::ROOTS), (Self::Azure, azure::ROOTS), (Self::Raven, raven::ROOTS)];
        known.into_iter().find(|(_, roots)| roots.iter().any(below)).map_or(Self::Ours, |(dialect, _)| dialect)
    }

    /// Makes the answer.
    pub(super) fn render(self, error: Error, asked: &Asked<'_>) -> Response<Bytes> {
        match self {
            Self::Akeyless => akeyless::refusal(&error),
            Self::Azure => azure::refusal(&error, asked),
            Self::Ours => return error.render(asked.request_id),
            Self::Raven => raven::refusal(&error, asked),
        }
        .with_headers(&error)
    }
}

/// A refusal in a form of another system.
pub(super) struct Foreign(pub(super) Response<Bytes>);

impl Foreign {
    pub(super) fn new(status: StatusCode, body: &impl Serialize) -> Self {
        // INVARIANT: strings and lists always serialise.
        let mut response = Response::new(Bytes::from(serde_json::to_vec(body).unwrap_or_default()));
        *response.status_mut() = status;
        Self(response)
    }

    /// Adds what the status demands, and what keeps it from caches and browsers.
    fn with_headers(self, error: &Error) -> Response<Bytes> {
        let Self(mut response) = self;
        let status = response.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        // RFC 9110, 15.5.2: a 401 carries a challenge.
        if status == StatusCode::UNAUTHORIZED {
            // RFC 6750, 3.1, where it was a token that was shown.
            let challenge = match error.code {
                "token_expired" | "token_invalid" => r#"Bearer realm="portcullis", error="invalid_token""#,
                _ => r#"ClientCertificate realm="portcullis""#,
            };
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(allow) = &error.allow {
            headers.insert(header::ALLOW, allow.clone());
        }
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// Tells whether a code says that nobody was recognised by what was presented, not that somebody may not do something.
pub(super) fn is_of_the_certificate(error: &Error) -> bool {
    matches!(
        error.code,
        "no_credential"
            | "not_listed"
            | "chain_invalid"
            | "issuer_unknown"
            | "expired"
            | "not_yet_valid"
            | "revoked"
            | "revocation_unknown"
            | "unsuitable"
            | "bounds_mismatch"
            | "ambiguous_common_name"
            | "identifier_missing"
            | "principal_disabled"
            | "principal_expired"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_belongs_to_one_protocol() {
        for (path, dialect) in [
            ("/app/users", Dialect::Azure),
            ("/app/users/ab", Dialect::Azure),
            ("/app/usersx", Dialect::Ours),
            ("/api/v2/auth-method-get", Dialect::Akeyless),
            ("/api/v20", Dialect::Ours),
            ("/admin/certificates", Dialect::Raven),
            ("/admin/certificates/purge", Dialect::Raven),
            ("/admin/certificatesx", Dialect::Ours),
            ("/certificates/whoami", Dialect::Raven),
            ("/v1/whoami", Dialect::Ours),
            ("/", Dialect::Ours),
        ] {
            assert_eq!(Dialect::of(path), dialect, "{path}");
        }
    }
}
