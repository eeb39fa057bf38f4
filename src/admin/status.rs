//! `GET /v1/status`: how things stand, for an admin: what is in force, where from, and what is wrong with it now.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Error, Refusals, Shared};
use crate::clock::{self, Date};
use crate::config::Problem;
use crate::config::gather::SourceStatus;
use crate::reload::{Ending, Report};

/// How things stand.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Status {
    version: &'static str,
    /// `ready`, `draining`, or `unrecorded`: in force is what a restart would forget.
    state: &'static str,
    uptime_seconds: u64,
    /// The number of the rules in force.
    generation: u64,
    /// Changes exactly when any content does.
    policy_hash: String,
    /// Principals in force.
    entries: usize,
    /// Changes in force that the ledger could not take yet.
    unrecorded: usize,
    sources: Vec<Source>,
    listeners: Vec<Listener>,
    /// What ends soon, or has ended, and notice was given of it: soonest first, a hundred at most.
    expiring: Vec<Expiring>,
    /// How many more there are.
    expiring_more: usize,
    /// What is wrong now; what is in force is the last good content of it.
    problems: Vec<Wrong>,
    warnings: Vec<Wrong>,
}

/// One supplier of rules.
#[derive(Debug, Serialize, ToSchema)]
struct Source {
    name: String,
    /// When what is in force of it was last read whole and found good.
    last_good: Option<String>,
    /// Why what it holds now is not in force.
    error: Option<String>,
}

/// A certificate or principal near its end.
#[derive(Debug, Serialize, ToSchema)]
struct Expiring {
    /// `allowlist`, `anchor`, `pin`, `principal` (its `valid_until`), `server`, `upstream_ca`, `upstream_client`.
    kind: String,
    /// A principal's name, or a file.
    name: String,
    /// SHA-256, of a managed certificate.
    fingerprint: Option<String>,
    not_after: String,
    /// Whole days that are left; below 0: it has ended.
    days_left: i64,
}

/// Where we listen.
#[derive(Debug, Serialize, ToSchema)]
struct Listener {
    name: String,
    address: String,
    connections: i64,
}

/// Something wrong, and where.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Wrong {
    file: String,
    /// 1-based; 0 where the whole file is meant.
    line: u32,
    column: u32,
    message: String,
    help: Option<String>,
}

/// Says how things stand.
#[utoipa::path(get, path = "/v1/status", tag = "about", responses((status = 200, description = "how things stand", body = Status), Refusals))]
pub(super) async fn status(State(shared): State<Arc<Shared>>) -> Result<Json<Status>, Error> {
    let running = shared.running()?;
    let Report { generation, status, problems, warnings, unrecorded } = running.control.view().report.clone();
    let expiring = running.control.expiring();
    let now = clock::wall().as_secs();
    let listeners = running.listeners.iter().map(|bind| Listener {
        name: bind.name.to_string(),
        address: bind.address.to_string(),
        connections: shared.metrics.listener(&bind.name).connections.get(),
    });
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        state: match (shared.drain.has_started(), unrecorded) {
            (true, _) => "draining",
            (false, 0) => "ready",
            (false, _) => "unrecorded",
        },
        uptime_seconds: clock::wall().as_secs().saturating_sub(shared.started),
        generation,
        policy_hash: status.hash,
        entries: status.entries,
        unrecorded,
        sources: status.sources.into_iter().map(Source::of).collect(),
        listeners: listeners.collect(),
        expiring: expiring.ends.iter().take(MOST_ENDS).map(|end| Expiring::of(end, now)).collect(),
        expiring_more: expiring.ends.len().saturating_sub(MOST_ENDS) + expiring.more,
        problems: problems.iter().map(Wrong::of).collect(),
        warnings: warnings.iter().map(Wrong::of).collect(),
    }))
}

impl Expiring {
    fn of(end: &Ending, now: u64) -> Self {
        Self {
            kind: end.kind.to_owned(),
            name: end.name.clone(),
            fingerprint: end.fingerprint.map(|fingerprint| fingerprint.to_string()),
            not_after: Date::of(end.not_after).to_string(),
            days_left: (end.not_after.cast_signed() - now.cast_signed()).div_euclid(86_400),
        }
    }
}

impl Source {
    fn of(source: SourceStatus) -> Self {
        let last_good = source.last_good.map(|time| Date::of(time.as_secs()).to_string());
        Self { name: source.name, last_good, error: source.error }
    }
}

impl Wrong {
    pub(super) fn of(problem: &Problem) -> Self {
        Self {
            file: problem.file.to_string(),
            line: problem.line,
            column: problem.column,
            message: problem.message.clone(),
            help: problem.help.clone(),
        }
    }
}

const MOST_ENDS: usize = 100;
