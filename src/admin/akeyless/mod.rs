//! The protocol of Akeyless, under `/api/v2`: every call is a POST with its arguments in a JSON body, whose names are those of the
//! published SDKs, and is refused with `{"error": "…"}`. Methods of authentication by certificate are our managed principals:
//! `methods.rs`. A key is proven by `proving.rs`, and what comes of it is asked of `creds.rs`. `docs/adapters.md` says what differs.

pub mod bodies;
mod creds;
mod form;
mod incoming;
mod kind;
mod method;
mod methods;
mod proving;

use std::sync::Arc;

use axum::Router;
use http::StatusCode;
use serde::Serialize;
use zeroize::Zeroizing;

use super::dialect::{Foreign, is_of_the_certificate};
use super::{Error, Shared};
pub(crate) use kind::Kind;

/// The paths that speak it.
pub(super) const ROOTS: &[&str] = &["/api/v2"];

pub(super) fn router() -> Router<Arc<Shared>> {
    creds::router().merge(methods::router()).merge(proving::router())
}

/// Finds the token of a call whose body says by whom it is made; of a body that is none it finds nothing.
pub(super) fn token(body: &[u8]) -> Option<Zeroizing<String>> {
    bodies::Held::read(body).ok()?.token.map(Zeroizing::new).filter(|token| !token.is_empty())
}

/// Tells a refusal in a sentence, which is all that the original's clients print.
pub(super) fn refusal(error: &Error) -> Foreign {
    #[derive(Serialize)]
    struct Body {
        error: String,
    }
    let mut message = format!("{}: {}", error.code, error.message);
    for detail in &error.details {
        message.push_str("; ");
        if !detail.key.is_empty() {
            message.push_str(&format!("{}: ", detail.key));
        }
        message.push_str(&detail.why);
    }
    let status = match error.status {
        _ if is_of_the_certificate(error) => StatusCode::UNAUTHORIZED,
        // The original knows no other word for what is too much.
        StatusCode::PAYLOAD_TOO_LARGE => StatusCode::BAD_REQUEST,
        status => status,
    };
    Foreign::new(status, &Body { error: message })
}
