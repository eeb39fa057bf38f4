//! The operator API: what answers on listeners that serve `admin`, and on the local socket. `request` admits the caller and
//! asks `needs` for the rank that a call takes; handlers judge nobody. `cli/run.rs` makes it once for all workers.

pub mod akeyless;
mod azure;
mod dialect;
mod error;
mod needs;
mod operations;
mod raven;
mod reload;
mod replays;
mod rights;
mod socket;
mod status;
mod v1;
mod whoami;

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts, State};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use tower::ServiceExt as _;
use utoipa::OpenApi as _;
use utoipa::openapi::security::SecurityScheme;
use utoipa::openapi::{OpenApi, RefOr, Schema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zeroize::Zeroizing;

use crate::admission::{RouteAuth, Surface};
use crate::challenge::Challenges;
use crate::clock;
use crate::drain::Drain;
use crate::failure::Failure;
use crate::gate::Desk;
use crate::limits::{Limits, Principals, Sources};
use crate::listener::{Bind, Running};
use crate::log::AccessLog;
use crate::metrics::Metrics;
use crate::pki::Fingerprint;
use crate::reload::Control;
use crate::request::service::{Answer, Call, Caller, Needs, Refused, Service, Via};
pub(crate) use akeyless::Kind;
use dialect::{Asked, Asking, Dialect};
pub use error::{Detail, Error, ErrorBody, Input, Refusals, Wanted};
use needs::Found;
use replays::{Begun, Replays};
pub use socket::{ControlSocket, Reachable, SocketError, path as socket_path};

/// Answers every call, on whatever worker it came.
#[derive(Clone)]
pub struct Admin {
    router: Router,
    shared: Arc<Shared>,
}

/// What every call may use.
pub(crate) struct Shared {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) drain: Drain,
    /// In seconds since the epoch.
    pub(crate) started: u64,
    api: OpenApi,
    calls: Arc<Principals>,
    replays: Replays,
    ready: OnceLock<Ready>,
}

/// What there is once the proxy runs: listeners listen a moment before it does.
pub struct Ready {
    pub control: Control,
    pub workers: Arc<Running>,
    /// Where changes are told, and tokens.
    pub audit: Mutex<AccessLog>,
    /// Judges whoever proves a key to a call.
    pub desk: Desk,
    pub challenges: Arc<Challenges>,
    /// How often each source has called what answers before anybody is known.
    pub sources: Sources,
    pub listeners: Vec<Bind>,
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Portcullis", description = "Who gets in, and what is known of it. Callers are judged by their certificates, as every client is."),
    components(schemas(error::ErrorBody)),
    security(("certificate" = []))
)]
struct Document;

impl Admin {
    /// Makes it; it answers 503 until `ready`.
    pub fn new(metrics: Arc<Metrics>, drain: Drain) -> Arc<Self> {
        let (router, api) = routes();
        let shared = Shared {
            metrics,
            drain,
            started: clock::wall().as_secs(),
            api,
            calls: Arc::default(),
            replays: Replays::default(),
            ready: OnceLock::new(),
        };
        let shared = Arc::new(shared);
        Arc::new(Self { router: router.with_state(Arc::clone(&shared)), shared })
    }

    /// Tells that the proxy runs.
    pub fn ready(&self, ready: Ready) {
        // The first call counts; there is no second.
        let _ = self.shared.ready.set(ready);
    }

    /// Answers a call whose caller was judged, and says that the answer is of the API.
    async fn answer(self, call: Call) -> Response<Bytes> {
        let mut response = self.answered(call).await;
        response.headers_mut().insert(API, HeaderValue::from_static("v1"));
        response
    }

    async fn answered(self, call: Call) -> Response<Bytes> {
        let Call { request, caller } = call;
        let asking = Asking::of(&request, &caller);
        let answered: Result<std::convert::Infallible, Error> =
            match self.check(request.method(), request.uri().path(), request.headers(), request.body()) {
                Ok(()) => {
                    let entered =
                        caller.principal.as_ref().map(|principal| self.shared.calls.enter(&principal.id, &limits(), Instant::now()));
                    match entered.transpose() {
                        Ok(entered) => {
                            let response = self.once(request, caller).await;
                            drop(entered);
                            return response;
                        }
                        Err(_) => Err(Failure::RateLimited.into()),
                    }
                }
                Err(error) => Err(error),
            };
        match answered {
            Ok(never) => match never {},
            Err(error) => asking.refused(error),
        }
    }

    /// Answers; a call with an idempotency key once only, however often it is made.
    async fn once(self, request: Request<Bytes>, caller: Caller) -> Response<Bytes> {
        // Where nobody is asked who it is, one's answer would be another's, and a challenge be answered twice.
        let keeps = caller.via == Via::Socket || caller.arrival.as_ref().is_some_and(|arrival| arrival.clearance.is_some());
        let Some(given) = request.headers().get("idempotency-key").filter(|_| keeps && !request.method().is_safe()) else {
            return self.route(request, caller).await;
        };
        let Some(given) = given.to_str().ok().filter(|given| (1..=MOST_KEY).contains(&given.len())) else {
            let why = format!("is no text of 1 to {MOST_KEY} characters of ASCII");
            return Asking::of(&request, &caller).refused(Error::invalid(vec![Detail { key: "Idempotency-Key".to_owned(), why }]));
        };
        let asking = Asking::of(&request, &caller);
        let who = caller.principal.as_ref().map_or_else(|| caller.listener.to_string(), |principal| principal.id.to_string());
        let key = (who, given.to_owned());
        let line = format!("{} {}\n", request.method(), request.uri());
        let call = Fingerprint::of(&[line.as_bytes(), &request.body()[..]].concat());
        match self.shared.replays.begin(&key, call) {
            Begun::Answered(response) => *response,
            Begun::Refused(error) => asking.refused(error),
            Begun::New => {
                let shared = Arc::clone(&self.shared);
                // A task of its own: whoever asked may be gone before the answer, and asks again for that.
                let answered = tokio::spawn(async move {
                    let response = self.route(request, caller).await;
                    shared.replays.end(&key, &response);
                    response
                });
                answered.await.unwrap_or_else(|_| asking.refused(Failure::Internal.into()))
            }
        }
    }

    async fn route(self, mut request: Request<Bytes>, caller: Caller) -> Response<Bytes> {
        let asking = Asking::of(&request, &caller);
        request.extensions_mut().insert(caller);
        match self.router.oneshot(request.map(axum::body::Body::from)).await {
            Ok(response) => error::told(response).await.unwrap_or_else(|error| asking.refused(error)),
            Err(never) => match never {},
        }
    }

    /// Refuses what no handler should see: a method without a row in the table, whatever the router knows, and a body that
    /// a page of another origin can have sent without being asked for leave (it chooses among three types, and JSON is none).
    fn check(&self, method: &Method, path: &str, headers: &HeaderMap, body: &Bytes) -> Result<(), Error> {
        // On which surface, `asks` has told.
        let found = if needs::challenge(method, path).is_some() { needs::find_challenge(method, path) } else { needs::find(method, path) };
        match found {
            Found::Row(_) => {}
            Found::OtherMethods(methods) => {
                let mut error = Error::from(Failure::MethodNotAllowed);
                error.allow = HeaderValue::try_from(methods).ok();
                return Err(error);
            }
            Found::Nothing => return Err(Failure::NoRoute.into()),
        }
        let kind = headers.get(header::CONTENT_TYPE);
        let is_json = kind.is_some_and(|kind| kind.to_str().is_ok_and(is_json));
        let says_something = kind.is_some() || !body.is_empty();
        if !matches!(*method, Method::GET | Method::HEAD) && says_something && !is_json {
            let message = "the body of a call is JSON, and says so: Content-Type: application/json";
            return Err(Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message));
        }
        Ok(())
    }
}

impl Service for Admin {
    fn needs(&self, surface: Surface, method: &Method, path: &str) -> Option<Needs> {
        asks(surface, method, path)
    }

    fn call(&self, call: Call) -> Answer {
        Box::pin(self.clone().answer(call))
    }

    fn token(&self, body: &[u8]) -> Option<Zeroizing<String>> {
        akeyless::token(body)
    }

    fn refuse(&self, refused: &Refused<'_>) -> Option<Response<Bytes>> {
        let Refused { method, path, failure, request_id, leaf } = *refused;
        let dialect = Some(Dialect::of(path)).filter(|dialect| *dialect != Dialect::Ours)?;
        Some(dialect.render(failure.into(), &Asked { method, path, request_id, leaf }))
    }
}

/// Says what a call asks for: of a request, and of `explain`, where nothing runs.
pub fn asks(surface: Surface, method: &Method, path: &str) -> Option<Needs> {
    match surface {
        Surface::Admin => {}
        Surface::Challenge => return needs::challenge(method, path),
        Surface::Console | Surface::Proxy => return None,
    }
    match needs::find(method, path) {
        // Who has no certificate is told so there, by an answer without content.
        Found::Row(None) if path == raven::WHOAMI => Some(Needs { auth: RouteAuth::Optional, begins: true, ..Needs::ANY }),
        Found::Row(clearance) => {
            let (begins, token_in_body) = (needs::begins(method, path), needs::token_in_body(path));
            Some(Needs { clearance, begins, body: needs::body(method, path), token_in_body, ..Needs::ANY })
        }
        Found::OtherMethods(_) => Some(Needs { has_method: false, ..Needs::ANY }),
        Found::Nothing => None,
    }
}

impl Shared {
    /// Returns what there is once the proxy runs.
    pub(crate) fn running(&self) -> Result<&Ready, Error> {
        self.ready.get().ok_or_else(|| Failure::Overloaded.into())
    }
}

/// Every route with its description; `needs` has the same paths (a test compares).
fn routes() -> (Router<Arc<Shared>>, OpenApi) {
    let mut document = Document::openapi();
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    let certificate =
        SecurityScheme::MutualTls { description: Some("a client certificate".to_owned()), deprecated: None, extensions: None };
    document.components.get_or_insert_default().add_security_scheme("certificate", certificate);
    let (router, mut api) = OpenApiRouter::with_openapi(document)
        .routes(routes!(whoami::whoami))
        .routes(routes!(status::status))
        .routes(routes!(reload::reload))
        .routes(routes!(v1::principals::list, v1::principals::create, v1::principals::replace_all))
        .routes(routes!(v1::principals::get, v1::principals::replace, v1::principals::patch, v1::principals::delete))
        .routes(routes!(v1::principals::purge))
        .routes(routes!(v1::principals::export))
        .routes(routes!(v1::certificates::add))
        .routes(routes!(v1::certificates::generate))
        .routes(routes!(v1::certificates::remove))
        .routes(routes!(v1::tokens::take_back))
        .routes(routes!(v1::revocations::list, v1::revocations::revoke, v1::revocations::unrevoke))
        .routes(routes!(v1::crls::list))
        .routes(routes!(v1::crls::get, v1::crls::put, v1::crls::remove))
        .routes(routes!(v1::explain::explain))
        .routes(routes!(v1::preview::preview))
        .routes(routes!(v1::live::connections))
        .routes(routes!(v1::live::dismiss))
        .routes(routes!(v1::live::refusals))
        .routes(routes!(v1::ledger::list))
        .routes(routes!(v1::ledger::checkpoint))
        .routes(routes!(v1::ledger::get))
        .routes(routes!(v1::ledger::receipt))
        .routes(routes!(adapters))
        .routes(routes!(openapi))
        .split_for_parts();
    let router = router.merge(akeyless::router()).merge(azure::router()).merge(raven::router());
    open_up(&mut api);
    // `request` bounds the body, for every call alike.
    (router.layer(DefaultBodyLimit::disable()), api)
}

/// A document takes no other keys where it is sent; where it is told, more stands beside them.
fn open_up(api: &mut OpenApi) {
    let told = api.components.as_mut().and_then(|components| components.schemas.get_mut("Principal"));
    let Some(RefOr::T(Schema::AllOf(told))) = told else { return };
    for item in &mut told.items {
        if let RefOr::T(Schema::Object(object)) = item {
            object.additional_properties = None;
        }
    }
}

/// This description.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "about", responses((status = 200, description = "OpenAPI 3.1", body = Object), Refusals))]
async fn openapi(State(shared): State<Arc<Shared>>) -> axum::Json<OpenApi> {
    axum::Json(shared.api.clone())
}

/// The description of the protocols of others: written by hand, as are their forms, which are not ours to choose.
#[utoipa::path(get, path = "/v1/adapters.json", tag = "about", responses((status = 200, description = "OpenAPI 3.1", body = Object), Refusals))]
async fn adapters() -> Result<axum::Json<serde_json::Value>, Error> {
    let mut document: serde_json::Value = serde_json::from_str(ADAPTERS).map_err(|_| Failure::Internal)?;
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    Ok(axum::Json(document))
}

/// Marks the answers of the API: whoever calls a proxy's listener by mistake is answered by what stands behind it, and a 200 to a
/// revocation is no revocation.
pub const API: HeaderName = HeaderName::from_static("portcullis-api");

const ADAPTERS: &str = include_str!("adapters.json");

/// Handlers take the caller as an argument.
impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        // INVARIANT: `answer` put it there.
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Failure::Internal.into())
    }
}

/// `application/json`, or what is built on it: `application/merge-patch+json`.
fn is_json(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind.strip_prefix("application/").is_some_and(|subtype| subtype.ends_with("+json"))
}

/// How much one principal may call: a program in a loop, not a careful script.
fn limits() -> Limits {
    Limits { principal_rate: 500, principal_concurrency: 256, ..Limits::default() }
}

const MOST_KEY: usize = 255;

#[cfg(test)]
mod tests;
