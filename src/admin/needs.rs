//! Which calls there are, and the rank that each takes: the table that `request` judges by. A call without a row is none,
//! whatever the router would answer; a test holds the rows against the OpenAPI document.

use http::Method;

use crate::admission::{Clearance, RouteAuth};
use crate::request::service::Needs;

/// What the table says of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// The path is there, by other methods: these.
    OtherMethods(String),
    /// The rank; `None`: whoever is admitted.
    Row(Option<Clearance>),
}

/// Finds a call. `{}` in a row stands for one segment.
pub(super) fn find(method: &Method, path: &str) -> Found {
    // RFC 9110, 9.3.2: HEAD is GET without the body.
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    let mut others = Vec::new();
    for (has, _, clearance) in TABLE.iter().filter(|(_, pattern, _)| matches(pattern, path)) {
        if *has == *method {
            return Found::Row(*clearance);
        }
        others.push(*has);
    }
    if others.is_empty() { Found::Nothing } else { Found::OtherMethods(others.join(", ")) }
}

fn matches(pattern: &str, path: &str) -> bool {
    let (mut wanted, mut got) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), got.next()) {
            (None, None) => return true,
            (Some("{}"), Some(segment)) if !segment.is_empty() => {}
            (Some(wanted), Some(segment)) if wanted == segment => {}
            _ => return false,
        }
    }
}

const OPERATOR: Option<Clearance> = Some(Clearance::Operator);

/// Returns how many bytes a call's body may have: a whole set of principals is longer than anything else.
pub(super) fn body(method: &Method, path: &str) -> u64 {
    if *method == Method::PUT && path == "/v1/principals" { 256 << 20 } else { Needs::ANY.body }
}

/// Tells whether a call may have its token in its body, as the SDKs of the third system send it.
pub(super) fn token_in_body(path: &str) -> bool {
    path.starts_with("/api/v2/auth-method-")
}

/// Method, path, rank; by path.
const TABLE: &[(&str, &str, Option<Clearance>)] = &[
    ("DELETE", "/admin/certificates", OPERATOR),
    ("GET", "/admin/certificates", OPERATOR),
    ("POST", "/admin/certificates", OPERATOR),
    ("PUT", "/admin/certificates", OPERATOR),
    ("POST", "/admin/certificates/edit", OPERATOR),
    ("GET", "/admin/certificates/export", OPERATOR),
    ("DELETE", "/admin/certificates/purge", Some(Clearance::Admin)),
    ("POST", "/api/v2/auth-method-create-cert", OPERATOR),
    ("POST", "/api/v2/auth-method-delete", OPERATOR),
    ("POST", "/api/v2/auth-method-get", OPERATOR),
    ("POST", "/api/v2/auth-method-list", OPERATOR),
    ("POST", "/api/v2/auth-method-update-cert", OPERATOR),
    ("GET", "/app/users", OPERATOR),
    ("DELETE", "/app/users/{}", OPERATOR),
    ("GET", "/app/users/{}", OPERATOR),
    ("PATCH", "/app/users/{}", OPERATOR),
    ("GET", "/certificates/whoami", None),
    ("GET", "/v1/adapters.json", None),
    ("GET", "/v1/openapi.json", None),
    ("GET", "/v1/connections", OPERATOR),
    ("DELETE", "/v1/connections/{}", OPERATOR),
    ("GET", "/v1/refusals", OPERATOR),
    ("GET", "/v1/crls", OPERATOR),
    ("GET", "/v1/crls/{}", OPERATOR),
    ("PUT", "/v1/crls/{}", OPERATOR),
    ("DELETE", "/v1/crls/{}", OPERATOR),
    ("POST", "/v1/explain", OPERATOR),
    ("GET", "/v1/ledger", OPERATOR),
    ("GET", "/v1/ledger/checkpoint", OPERATOR),
    ("GET", "/v1/ledger/{}", OPERATOR),
    ("GET", "/v1/ledger/{}/receipt", OPERATOR),
    ("POST", "/v1/preview", Some(Clearance::Admin)),
    ("GET", "/v1/revocations", OPERATOR),
    ("POST", "/v1/revocations", OPERATOR),
    ("DELETE", "/v1/revocations", OPERATOR),
    ("GET", "/v1/principals", OPERATOR),
    ("POST", "/v1/principals", OPERATOR),
    ("PUT", "/v1/principals", OPERATOR),
    ("POST", "/v1/purge-expired", OPERATOR),
    ("GET", "/v1/principals/export", OPERATOR),
    ("GET", "/v1/principals/{}", OPERATOR),
    ("PATCH", "/v1/principals/{}", OPERATOR),
    ("PUT", "/v1/principals/{}", OPERATOR),
    ("DELETE", "/v1/principals/{}", OPERATOR),
    ("POST", "/v1/principals/{}/certificates", OPERATOR),
    ("POST", "/v1/principals/{}/certificates/generate", OPERATOR),
    ("DELETE", "/v1/principals/{}/certificates/{}", OPERATOR),
    ("DELETE", "/v1/principals/{}/tokens", OPERATOR),
    ("POST", "/v1/reload", Some(Clearance::Admin)),
    ("GET", "/v1/status", Some(Clearance::Admin)),
    ("GET", "/v1/whoami", None),
];

/// Says what a call of the surface `challenge` asks for: nobody has to be known before it, and a certificate that is there counts where a
/// token may be bound to it.
pub(super) fn challenge(method: &Method, path: &str) -> Option<Needs> {
    let (has, _, auth) = CHALLENGE.iter().find(|(_, has, _)| *has == path)?;
    Some(Needs { auth: *auth, begins: false, has_method: *has == *method, body: CHALLENGE_BODY, ..Needs::ANY })
}

/// Finds a call of that surface.
pub(super) fn find_challenge(method: &Method, path: &str) -> Found {
    match CHALLENGE.iter().find(|(_, has, _)| *has == path) {
        Some((has, _, _)) if *has == *method => Found::Row(None),
        Some((has, _, _)) => Found::OtherMethods((*has).to_owned()),
        None => Found::Nothing,
    }
}

/// Method, path, and whether a certificate is asked for; by path.
const CHALLENGE: &[(&str, &str, RouteAuth)] = &[
    ("GET", "/.well-known/jwks.json", RouteAuth::None),
    ("POST", "/api/v2/auth", RouteAuth::Optional),
    ("POST", "/api/v2/describe-sub-claims", RouteAuth::None),
    ("POST", "/api/v2/get-cert-challenge", RouteAuth::None),
    ("POST", "/api/v2/revoke-creds", RouteAuth::None),
    ("POST", "/api/v2/validate-token", RouteAuth::Optional),
];

/// 64 KiB of a chain are 88 in base64; then a challenge and a signature.
const CHALLENGE_BODY: u64 = 128 << 10;

/// Whether the certificate that a listener serves with may call this before there is an admin. Whatever registers the first one
/// has to see to it that it is the first, and an admin.
pub(super) fn begins(method: &Method, path: &str) -> bool {
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    BEGINNING.iter().any(|(begins, pattern)| *begins == *method && matches(pattern, path))
}

const BEGINNING: &[(&str, &str)] = &[
    ("POST", "/admin/certificates"),
    ("PUT", "/admin/certificates"),
    ("GET", "/certificates/whoami"),
    ("POST", "/v1/principals"),
    ("GET", "/v1/whoami"),
];

/// The rows, with `{}` for each parameter.
#[cfg(test)]
pub(super) fn rows() -> impl Iterator<Item = (String, String)> {
    let challenge = CHALLENGE.iter().map(|(method, path, _)| (*method, *path));
    TABLE.iter().map(|(method, path, _)| (*method, *path)).chain(challenge).map(|(method, path)| (method.to_owned(), path.to_owned()))
}
