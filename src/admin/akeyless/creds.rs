//! `validate-token`, `describe-sub-claims`, `revoke-creds` and the public keys: what a token of ours is worth, told to whoever has it; who has
//! it may take it back.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use serde::Serialize;

use super::bodies::Held;
use super::incoming::{Incoming, Refused, malformed};
use crate::admin::{Error, Shared, operations};
use crate::admission::{Candidate, ClientAddress, Decision, Denial, Scope};
use crate::challenge::{Bearer, Ours};
use crate::date::Date;
use crate::failure::Failure;
use crate::request::bearer::bearer_token;
use crate::request::service::Caller;

pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new().route(VALIDATE, post(validate)).route(DESCRIBE, post(describe)).route(REVOKE, post(revoke)).route(JWKS, get(jwks))
}

/// What it is worth.
#[derive(Debug, Default, Serialize)]
struct Worth {
    is_valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// In seconds.
    ttl: u64,
}

async fn validate(State(shared): State<Arc<Shared>>, caller: Caller, body: Bytes) -> Response {
    let asked = || -> Result<Worth, Refused> {
        let incoming = Incoming::of(&shared, &caller, VALIDATE)?;
        let ours = match held(&incoming, read(&body)?)? {
            Ok(ours) => ours,
            Err(denial) => return Ok(Worth { reason: Some(reason(denial)), ..Worth::default() }),
        };
        // A question: nothing is denied by it.
        Ok(match judged(&incoming, &ours).denial() {
            Some(denial) => Worth { reason: Some(reason(denial)), ..Worth::default() },
            None => {
                let expires = ours.token.expires;
                let expiration = Some(Date::of(expires).to_string());
                Worth { is_valid: true, expiration, ttl: expires.saturating_sub(incoming.now()), ..Worth::default() }
            }
        })
    };
    asked().map_or_else(|refused| *refused, |worth| Json(worth).into_response())
}

async fn describe(State(shared): State<Arc<Shared>>, caller: Caller, body: Bytes) -> Response {
    let asked = || -> Result<BTreeMap<String, Vec<String>>, Refused> {
        let incoming = Incoming::of(&shared, &caller, DESCRIBE)?;
        let refuse = |denial: Denial| incoming.refuse(denial, "the claims of a token that counts for nothing were asked for", "", None);
        let ours = held(&incoming, read(&body)?)?.map_err(refuse)?;
        if let Some(denial) = judged(&incoming, &ours).denial() {
            return Err(refuse(denial));
        }
        let mut claims: BTreeMap<String, Vec<String>> =
            ours.sub_claims.iter().map(|(name, value)| (name.clone(), vec![value.clone()])).collect();
        claims.insert("access_id".to_owned(), vec![ours.principal.to_string()]);
        claims.insert("principal".to_owned(), vec![ours.name.clone()]);
        claims.extend(ours.identifier.clone().map(|identifier| ("identifier".to_owned(), vec![identifier])));
        Ok(claims)
    };
    asked().map_or_else(|refused| *refused, |claims| Json(serde_json::json!({ "sub_claims": claims })).into_response())
}

/// Takes a token back, for good. Whoever has it may, whatever else became of its holder: it only takes away.
async fn revoke(State(shared): State<Arc<Shared>>, caller: Caller, headers: HeaderMap, body: Bytes) -> Result<Response, Error> {
    let asked = || -> Result<Box<Ours>, Refused> {
        let incoming = Incoming::of(&shared, &caller, REVOKE)?;
        let refuse = |denial: Denial| incoming.refuse(denial, "a token that is none was to be taken back", "", None);
        let ours = held(&incoming, to_revoke(&headers, &body)?)?.map_err(refuse)?;
        if ours.token.expires <= incoming.now() {
            return Err(refuse(Denial::TokenExpired));
        }
        Ok(ours)
    };
    match asked() {
        Ok(ours) => {
            operations::take_back(&shared, &caller, &ours).await?;
            Ok(Json(serde_json::json!({})).into_response())
        }
        Err(refused) => Ok(*refused),
    }
}

fn read(body: &[u8]) -> Result<Held, Refused> {
    Held::read(body).map_err(|why| malformed(&why))
}

/// Takes the token from the body; of a call without one, from its head: the published SDKs have no argument for it.
fn to_revoke(headers: &HeaderMap, body: &[u8]) -> Result<Held, Refused> {
    let given = if body.is_empty() { Held { token: None } } else { read(body)? };
    let mut shown = headers.get_all(header::AUTHORIZATION).iter();
    match (given.token, shown.next(), shown.next()) {
        (None, Some(value), None) => Ok(Held { token: bearer_token(value.as_bytes()).map(str::to_owned) }),
        (token, ..) => Ok(Held { token }),
    }
}

/// RFC 7517, 5.
async fn jwks(State(shared): State<Arc<Shared>>, caller: Caller) -> Response {
    let keys = Incoming::of(&shared, &caller, JWKS).map(|incoming| incoming.view.rules.tokens.jwks(incoming.now()));
    keys.map_or_else(
        |refused| *refused,
        |keys| {
            let mut response = keys.into_response();
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
            // Public; a new key is shown five minutes before it signs.
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
            response
        },
    )
}

/// Reads the token; the inner `Err`: it is none that counts.
fn held(incoming: &Incoming<'_>, held: Held) -> Result<Result<Box<Ours>, Denial>, Refused> {
    let token = held.token.ok_or_else(|| malformed(&"token is missing"))?;
    Ok(match incoming.view.rules.tokens.read(token.trim_ascii(), incoming.now()) {
        Bearer::Ours(ours) => Ok(ours),
        Bearer::Foreign | Bearer::Refused(_) => Err(Denial::TokenInvalid),
    })
}

/// Judges a token as a connection's credential is, whoever asks and from where: routes and addresses are for the request that it is used in.
fn judged(incoming: &Incoming<'_>, ours: &Ours) -> Decision {
    let desk = incoming.desk();
    let shown = incoming.caller.leaf.as_ref().and_then(|leaf| Candidate::presented(std::slice::from_ref(&leaf.der)));
    let candidate = ours.candidate().map(|candidate| candidate.beside(shown.map(Rc::new)));
    let address = incoming.arrival.address.ip().map_or(ClientAddress::Unknown, ClientAddress::Unsettled);
    let scope = Scope { address, request: None, control: false };
    desk.snapshot().decide(candidate.as_ref(), &scope, desk.clock().now())
}

fn reason(denial: Denial) -> String {
    Failure::Denied(denial).message().to_owned()
}

const VALIDATE: &str = "/api/v2/validate-token";
const DESCRIBE: &str = "/api/v2/describe-sub-claims";
const REVOKE: &str = "/api/v2/revoke-creds";
const JWKS: &str = "/.well-known/jwks.json";
