//! `/v1/principals/{id}/tokens`: bearer tokens are kept by who holds them, and taken back here, all of a principal at once.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{AskedOf, Receipt};
use crate::admin::operations::tokens;
use crate::admin::{Error, Refusals, Shared, Wanted};
use crate::clock::Date;
use crate::request::service::Caller;

/// Tokens, taken back.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TakenBack {
    principal: String,
    principal_id: String,
    /// Whatever it was given until this second, inclusive, counts no more.
    until: String,
    /// How many of them were shown on connections that live: what came over those ends, the connections do not.
    shown: usize,
    /// Requests, streams and upgrades that were open by them: they are cut.
    open: usize,
    #[serde(flatten)]
    #[schema(inline)]
    receipt: Receipt,
}

/// Takes all bearer tokens of a principal back, whoever holds them. Its certificates count as before, and new tokens may come of them.
#[utoipa::path(delete, path = "/v1/principals/{id}/tokens", tag = "principals", params(("id" = String, Path, description = "its id, or `-`"), AskedOf), responses((status = 200, description = "none of them counts; `index` is `null` where that was said in this very second", body = TakenBack), Refusals))]
pub(crate) async fn take_back(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
    Wanted(asked): Wanted<AskedOf>,
) -> Result<Json<TakenBack>, Error> {
    let (which, how) = asked.split(id)?;
    let dry_run = how.dry_run;
    // Afterwards there is nothing left to count.
    let before = tokens::owner(&shared, &which).await?;
    let id = before.id;
    let counted = shared.running()?.workers.ask(move |gate| gate.shown_tokens(&id)).await;
    let (shown, open) = counted.into_iter().fold((0, 0), |(shown, open), (more, others)| (shown + more, open + others));
    let (until, recorded) = tokens::take_back_all(&shared, &caller, how, before.id).await?;
    Ok(Json(TakenBack {
        principal: before.name,
        principal_id: id.to_string(),
        until: Date::of(until).to_string(),
        shown,
        open,
        receipt: Receipt::of(&recorded, dry_run),
    }))
}
