//! `POST /v1/reload`: everything is read again, as SIGHUP does; and the answer says what came of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::operations::control;
use super::status::Wrong;
use super::{Error, Refusals, Shared, Wanted};
use crate::failure::Failure;

/// How to reload.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct How {
    /// Past `max_shrink`: a list may lose as much as it says now.
    #[serde(default)]
    force: bool,
}

/// What came of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Reloaded {
    /// The number of the rules in force.
    generation: u64,
    policy_hash: String,
    /// Principals in force.
    entries: usize,
    /// What is wrong: the last good content of it stays in force. Empty: everything in force is what the files say.
    problems: Vec<Wrong>,
    warnings: Vec<Wrong>,
}

/// Reads everything again.
#[utoipa::path(
    post,
    path = "/v1/reload",
    tag = "about",
    params(How),
    responses((status = 200, description = "what is in force now; `problems` says what is not", body = Reloaded), Refusals)
)]
pub(super) async fn reload(State(shared): State<Arc<Shared>>, Wanted(how): Wanted<How>) -> Result<Json<Reloaded>, Error> {
    let report = control(&shared)?.reload(how.force).await.ok_or(Failure::Internal)?;
    Ok(Json(Reloaded {
        generation: report.generation,
        policy_hash: report.status.hash,
        entries: report.status.entries,
        problems: report.problems.iter().map(Wrong::of).collect(),
        warnings: report.warnings.iter().map(Wrong::of).collect(),
    }))
}
