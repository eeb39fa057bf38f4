//! A refusal of the API: status, code, words, and what is wrong with each key. One form for all of them, as everywhere:
//! `{"error":{"code","message","request_id"}}`.

use std::collections::BTreeMap;

use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::response::IntoResponse;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::openapi::{Content, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use crate::failure::Failure;

/// Why a call is not answered as asked.
#[derive(Clone, Debug)]
pub struct Error {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    pub details: Vec<Detail>,
    /// Of a change that could not be recorded: whether it is in force all the same.
    pub in_force: Option<bool>,
    /// RFC 9110, 15.5.6: what would be allowed.
    pub allow: Option<HeaderValue>,
}

/// What is wrong with one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Detail {
    /// Where: `certificates[0].der`; empty for the whole.
    pub key: String,
    pub why: String,
}

/// A refusal, as it is sent.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    error: Words,
}

/// The words of a refusal.
#[derive(Debug, Serialize, ToSchema)]
struct Words {
    /// Stable.
    code: String,
    message: String,
    /// The same as in the log.
    request_id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Detail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_force: Option<bool>,
}

impl Error {
    /// Refuses a call.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), details: Vec::new(), in_force: None, allow: None }
    }

    /// Refuses what a call says.
    pub fn invalid(details: Vec<Detail>) -> Self {
        Self { details, ..Self::new(StatusCode::BAD_REQUEST, "invalid", "the request says what cannot be done") }
    }

    /// Makes the answer.
    pub(super) fn render(self, request_id: &str) -> Response<Bytes> {
        let Self { status, code, message, details, in_force, allow } = self;
        let words = Words { code: code.to_owned(), message, request_id: request_id.to_owned(), details, in_force };
        // INVARIANT: strings and lists always serialise.
        let mut body = serde_json::to_vec(&ErrorBody { error: words }).unwrap_or_default();
        body.push(b'\n');
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(allow) = allow {
            headers.insert(header::ALLOW, allow);
        }
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::new(failure.status(), failure.code(), failure.message())
    }
}

/// Carried out of the handler; whoever answers makes the body, which names the request, in the form of its protocol.
impl IntoResponse for Error {
    fn into_response(self) -> axum::response::Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Reads a handler's answer whole. What the library refuses by itself is an error of ours too.
pub(super) async fn told(mut response: axum::response::Response) -> Result<Response<Bytes>, Error> {
    if let Some(error) = response.extensions_mut().remove::<Error>() {
        return Err(error);
    }
    let (head, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.map_err(|_| Failure::Internal)?;
    let is_ours = head.headers.get(header::CONTENT_TYPE).is_some_and(|kind| !kind.as_bytes().starts_with(b"text/plain"));
    if head.status.as_u16() < 400 || is_ours {
        return Ok(Response::from_parts(head, body));
    }
    Err(match head.status {
        StatusCode::NOT_FOUND => Failure::NoRoute.into(),
        StatusCode::METHOD_NOT_ALLOWED => Failure::MethodNotAllowed.into(),
        status if status.is_server_error() => Failure::Internal.into(),
        _ => Error::invalid(vec![Detail { key: String::new(), why: String::from_utf8_lossy(&body).into_owned() }]),
    })
}

/// A body in JSON, as an argument of a handler.
#[derive(Debug)]
pub struct Input<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Input<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let body = Bytes::from_request(request, state).await.map_err(|_| Failure::BodyTooLarge)?;
        let read = axum::Json::from_bytes(&body).map_err(|rejection| {
            let text = rejection.body_text();
            // `Failed to deserialize …: certificates[0].der: invalid type: …`: the path first, where there is one.
            let why = text.split_once(": ").map_or(&*text, |(_, why)| why);
            let (key, why) = why.split_once(": ").filter(|(key, _)| is_key(key)).unwrap_or(("", why));
            Error::invalid(vec![Detail { key: key.to_owned(), why: why.to_owned() }])
        });
        read.map(|axum::Json(value)| Self(value))
    }
}

/// The query, as an argument of a handler.
#[derive(Debug)]
pub struct Wanted<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Wanted<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let read = Query::<T>::from_request_parts(parts, state).await;
        read.map(|Query(value)| Self(value)).map_err(|rejection| {
            let text = rejection.body_text();
            let why = text.split_once(": ").map_or(&*text, |(_, why)| why);
            let (key, why) = why.split_once(": ").filter(|(key, _)| is_key(key)).unwrap_or(("", why));
            Error::invalid(vec![Detail { key: key.to_owned(), why: why.to_owned() }])
        })
    }
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && !text.contains(' ')
}

/// What any call may be answered beside its own: for the document.
pub struct Refusals;

impl IntoResponses for Refusals {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let row = |(status, why): &(&str, &str)| {
            let content = Content::new(Some(RefOr::Ref(utoipa::openapi::Ref::from_schema_name("ErrorBody"))));
            let response = ResponseBuilder::new().description(*why).content("application/json", content).build();
            ((*status).to_owned(), RefOr::T(response))
        };
        STATUSES.iter().map(row).collect()
    }
}

const STATUSES: &[(&str, &str)] = &[
    ("400", "not HTTP, or a body or query that says what cannot be done: `details` has each key"),
    ("401", "no certificate was presented"),
    ("403", "the caller is not admitted, ranks too low, or is a page of another origin"),
    ("404", "there is no such thing"),
    ("405", "not by this method"),
    ("409", "the state of things forbids it: `code` says what"),
    ("412", "it has changed meanwhile: `If-Match` names another version"),
    ("413", "the body is too large"),
    ("415", "the body is not JSON, or does not say so"),
    ("417", "an Expect other than 100-continue"),
    ("421", "this connection was opened for another host"),
    ("429", "too many calls"),
    ("500", "a mistake of ours"),
    ("503", "not ready yet"),
    ("507", "the ledger cannot be written to; `in_force` says whether the change holds all the same"),
];
