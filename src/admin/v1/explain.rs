//! `POST /v1/explain`: what the decision would be, and why, by the rules in force on the workers.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use http::{HeaderValue, Method, Uri};
use rustls_pki_types::UnixTime;
use serde::Deserialize;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::certificates::Secret;
use super::invalid;
use crate::admin::operations::{certificates, control};
use crate::admin::{Error, Input, Refusals, Shared};
use crate::admission::{Candidate, ClientAddress};
use crate::clock::Clock;
use crate::date::rfc3339;
use crate::explain::{Question, Report, Request};
use crate::failure::Failure;

/// The question.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asking {
    /// What a client presents: PEM, leaf first, or base64 of DER or of a PFX. Left out: nothing.
    certificate: Option<String>,
    /// Of a PFX.
    password: Option<String>,
    /// A bearer token that the client shows, beside the certificate of its connection if there is one.
    #[schema(value_type = Option<String>)]
    token: Option<Secret>,
    /// `POST https://host/path`; a URL alone is a GET. Left out: the connection is asked about.
    route: Option<String>,
    /// The request's `Origin`.
    origin: Option<String>,
    /// The request's `Upgrade`.
    upgrade: Option<String>,
    /// The listener, by name. Left out: for a request, one that its host is for.
    listener: Option<String>,
    /// The name that the handshake asked for. Left out: the URL's host.
    sni: Option<String>,
    /// Where the client comes from.
    client_ip: Option<String>,
    /// When, RFC 3339. Left out: now.
    at: Option<String>,
}

/// Replays a decision.
#[utoipa::path(post, path = "/v1/explain", tag = "about", request_body = Asking, responses((status = 200, description = "the decision: verdict, code, principal, and every step of the reasoning", body = Report), Refusals))]
pub(crate) async fn explain(State(shared): State<Arc<Shared>>, Input(asking): Input<Asking>) -> Result<Json<Report>, Error> {
    let Asking { certificate, password, token, route, origin, upgrade, listener, sni, client_ip, at } = asking;
    let field = |key: &'static str, text: Option<String>| {
        text.map(|text| HeaderValue::try_from(text).map_err(|_| invalid(key, "cannot be a header's value"))).transpose()
    };
    let address = client_ip.map(|text| text.parse::<IpAddr>().map_err(|_| invalid("client_ip", "is no address"))).transpose()?;
    let at = at.map(|text| rfc3339(&text).ok_or_else(|| invalid("at", "is no time like 2027-01-31T12:00:00Z"))).transpose()?;
    let (origin, upgrade) = (field("origin", origin)?, field("upgrade", upgrade)?);
    let request = route.map(|text| request_line(&text)).transpose()?;
    let chain = match certificate {
        Some(text) => certificates::read_chain(text, password.map(Zeroizing::new)).await?,
        None => Vec::new(),
    };
    let view = control(&shared)?.view();
    if listener.as_ref().is_some_and(|name| view.rules.listener(name).is_none()) {
        return Err(invalid("listener", "is no listener's name"));
    }
    let question = move || {
        let question = Question {
            candidate: Candidate::presented(&chain).map(Rc::new),
            token: token.map(Secret::take),
            address: address.map_or(ClientAddress::Unknown, |ip| ClientAddress::Settled(ip.to_canonical())),
            listener: listener.map(String::into_boxed_str),
            request: request.map(|(method, uri)| Request { method, uri, origin, upgrade, sni: sni.map(String::into_boxed_str) }),
            at: at.map_or_else(|| Clock::default().now(), |at| UnixTime::since_unix_epoch(Duration::from_secs(at))),
        };
        question.ask(&view.rules, crate::admin::asks)
    };
    // Paths are built, signatures checked: not on the thread that serves others.
    let report = tokio::task::spawn_blocking(question).await.map_err(|_| Failure::Internal)?;
    Ok(Json(report))
}

fn request_line(text: &str) -> Result<(Method, Uri), Error> {
    let (method, url) = text.trim().split_once(' ').unwrap_or(("GET", text.trim()));
    let method = method.parse().map_err(|_| invalid("route", "begins with no method"))?;
    let uri: Uri = url.trim().parse().map_err(|error| invalid("route", format!("is no URL: {error}")))?;
    match uri.scheme_str() {
        Some("https") if uri.host().is_some() => Ok((method, uri)),
        _ => Err(invalid("route", "is not METHOD https://host/path")),
    }
}
