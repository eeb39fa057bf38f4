//! `/v1/connections` and `/v1/refusals`: what lives on the workers, each asked in its turn; nothing is kept for it on a request's way.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use utoipa::ToSchema;

use crate::admin::{Error, Refusals, Shared};
use crate::admission::{Clearance, Snapshot};
use crate::clock::Date;
use crate::gate::{Live, Stranger};
use crate::pki::Certificate;
use crate::request::service::Caller;
use crate::store::managed::Refusal;

/// What is open now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Connections {
    connections: Vec<Connection>,
}

/// A live connection.
#[derive(Debug, Serialize, ToSchema)]
struct Connection {
    id: u64,
    listener: String,
    peer: Option<String>,
    since: String,
    /// SHA-256 of what was presented, and its key proven.
    fingerprint: Option<String>,
    principal: Option<String>,
    principal_id: Option<String>,
    /// Why its client is denied, where denials are answers.
    denied: Option<String>,
    /// Requests, streams and upgrades that are open.
    open: usize,
}

/// Who came of late and was denied.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Strangers {
    refusals: Vec<Refused>,
}

/// Somebody who proved a key, and was denied.
#[derive(Debug, Serialize, ToSchema)]
struct Refused {
    fingerprint: String,
    /// RFC 2253, as its holder wrote it.
    subject: Option<String>,
    not_after: Option<String>,
    code: String,
    listener: String,
    peer: Option<String>,
    first: String,
    last: String,
    count: u64,
    /// Base64 of the DER: what `POST /v1/principals` takes, to let it in.
    certificate: String,
}

/// An end.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Dismissed {
    id: u64,
}

/// Lists live connections.
#[utoipa::path(get, path = "/v1/connections", tag = "live", responses((status = 200, description = "all of them", body = Connections), Refusals))]
pub(crate) async fn connections(State(shared): State<Arc<Shared>>) -> Result<Json<Connections>, Error> {
    let mut connections: Vec<Connection> = all(&shared).await?.into_iter().map(Connection::of).collect();
    connections.sort_by_key(|connection| connection.id);
    Ok(Json(Connections { connections }))
}

/// Ends a connection. Its client may come again, if it is admitted: to keep it out, revoke.
#[utoipa::path(delete, path = "/v1/connections/{id}", tag = "live", params(("id" = u64, Path)), responses((status = 200, description = "it was told to end", body = Dismissed), Refusals))]
pub(crate) async fn dismiss(State(shared): State<Arc<Shared>>, caller: Caller, Path(id): Path<u64>) -> Result<Json<Dismissed>, Error> {
    let live = all(&shared).await?.into_iter().find(|live| live.connection == id).ok_or(Refusal::NotFound)?;
    let running = shared.running()?;
    let snapshot = Arc::clone(&running.control.view().rules.snapshot);
    if caller.clearance() == Some(Clearance::Operator) && is_above(&live, &snapshot) {
        return Err(Refusal::ClearanceTooLow.into());
    }
    if !running.workers.ask(move |gate| gate.dismiss(id)).await.contains(&true) {
        return Err(Refusal::NotFound.into());
    }
    tracing::info!(connection = id, caller = caller.principal.map(|principal| principal.name.to_string()), "a connection was ended");
    Ok(Json(Dismissed { id }))
}

/// Lists strangers that proved their key of late, so that one can be let in.
#[utoipa::path(get, path = "/v1/refusals", tag = "live", responses((status = 200, description = "the latest first, each certificate once", body = Strangers), Refusals))]
pub(crate) async fn refusals(State(shared): State<Arc<Shared>>) -> Result<Json<Strangers>, Error> {
    let found = shared.running()?.workers.ask(|gate| gate.strangers()).await;
    Ok(Json(Strangers { refusals: Stranger::latest_first(found.into_iter().flatten()).into_iter().map(Refused::of).collect() }))
}

async fn all(shared: &Arc<Shared>) -> Result<Vec<Live>, Error> {
    Ok(shared.running()?.workers.ask(|gate| gate.live()).await.into_iter().flatten().collect())
}

fn is_above(live: &Live, snapshot: &Snapshot) -> bool {
    let ranks = [Clearance::Admin, Clearance::Node];
    let id = live.principal.as_ref().map(|(id, _)| id);
    id.is_some_and(|id| snapshot.allowlist.ranked(&ranks).any(|(principal, _)| principal.id.to_string() == *id))
}

impl Connection {
    fn of(live: Live) -> Self {
        let (principal_id, principal) = live.principal.unzip();
        Self {
            id: live.connection,
            listener: live.listener,
            peer: live.peer.map(|peer| peer.to_string()),
            since: Date::of(live.since).to_string(),
            fingerprint: live.fingerprint.map(|fingerprint| fingerprint.to_string()),
            principal,
            principal_id,
            denied: live.denied.map(ToOwned::to_owned),
            open: live.open,
        }
    }
}

impl Refused {
    fn of(stranger: Stranger) -> Self {
        let read = Certificate::parse(stranger.der.clone()).ok();
        Self {
            fingerprint: stranger.fingerprint.to_string(),
            subject: read.as_ref().map(|read| crate::explain::printable(&read.subject.rfc2253())),
            not_after: read.as_ref().map(|read| Date::of(read.not_after).to_string()),
            code: stranger.code.to_owned(),
            listener: stranger.listener,
            peer: stranger.peer.map(|peer| peer.to_string()),
            first: Date::of(stranger.first).to_string(),
            last: Date::of(stranger.last).to_string(),
            count: stranger.count,
            certificate: STANDARD.encode(&stranger.der),
        }
    }
}
