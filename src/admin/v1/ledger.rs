//! `/v1/ledger`: what was changed, by whom; and the proofs.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::admin::operations::control;
use crate::admin::{Error, Refusals, Shared, Wanted};
use crate::failure::Failure;
use crate::store::ledger::{AccessError, Entry, Reader};
use crate::store::managed::Refusal;

/// Which entries to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filter {
    /// How many at most: 1 to 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// The `next` of the page before: an index.
    after: Option<u64>,
    /// Only of this: a principal's id, a revoked id, a CRL's name.
    object: Option<String>,
    /// Only these: `principal.put`, …
    action: Option<String>,
}

/// Entries, oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LedgerPage)]
pub(crate) struct Page {
    /// How many entries the ledger has.
    size: u64,
    entries: Vec<Entry>,
    /// Give it as `after` for the next page; `null`: there is none.
    next: Option<u64>,
}

/// Lists entries.
#[utoipa::path(get, path = "/v1/ledger", tag = "ledger", params(Filter), responses((status = 200, description = "a page of them", body = Page), Refusals))]
pub(crate) async fn list(State(shared): State<Arc<Shared>>, Wanted(filter): Wanted<Filter>) -> Result<Json<Page>, Error> {
    let limit = super::limit(filter.limit)?;
    let from = filter.after.map_or(0, |after| after.saturating_add(1));
    let page = read(&shared, move |ledger| {
        let fits = |entry: &Entry| {
            filter.object.as_ref().is_none_or(|object| *object == entry.object)
                && filter.action.as_ref().is_none_or(|action| *action == entry.action)
        };
        let (mut entries, mut next, mut last) = (Vec::new(), None, None);
        for (looked, entry) in ledger.entries(from).enumerate() {
            let entry = entry?;
            if entries.len() == limit || looked == MOST_LOOKED {
                next = last;
                break;
            }
            last = Some(entry.index);
            if fits(&entry) {
                entries.push(entry);
            }
        }
        Ok(Page { size: ledger.size(), entries, next })
    });
    Ok(Json(page.await?))
}

/// Returns an entry.
#[utoipa::path(get, path = "/v1/ledger/{index}", tag = "ledger", params(("index" = u64, Path)), responses((status = 200, description = "it", body = Entry), Refusals))]
pub(crate) async fn get(State(shared): State<Arc<Shared>>, Path(index): Path<u64>) -> Result<Json<Entry>, Error> {
    let entry = read(&shared, move |ledger| ledger.entry(index)).await?;
    Ok(Json(entry.ok_or(Refusal::NotFound)?))
}

/// Returns the proof that an entry is in the ledger: C2SP tlog-proof, verified offline.
#[utoipa::path(get, path = "/v1/ledger/{index}/receipt", tag = "ledger", params(("index" = u64, Path)), responses((status = 200, description = "the proof, and the signed head that it leads to", body = String, content_type = "text/plain"), Refusals))]
pub(crate) async fn receipt(State(shared): State<Arc<Shared>>, Path(index): Path<u64>) -> Result<Response, Error> {
    let receipt = read(&shared, move |ledger| ledger.receipt(index)).await?;
    Ok(receipt.ok_or(Refusal::NotFound)?.into_response())
}

/// Returns the head of the ledger: a C2SP checkpoint in a signed note.
#[utoipa::path(get, path = "/v1/ledger/checkpoint", tag = "ledger", responses((status = 200, description = "the signed head", body = String, content_type = "text/plain"), Refusals))]
pub(crate) async fn checkpoint(State(shared): State<Arc<Shared>>) -> Result<Response, Error> {
    Ok(read(&shared, |ledger| Ok(ledger.checkpoint())).await?.into_response())
}

/// Reads the ledger, on a thread that may wait for the disk.
async fn read<T: Send + 'static>(
    shared: &Arc<Shared>,
    read: impl FnOnce(&Reader) -> Result<T, AccessError> + Send + 'static,
) -> Result<T, Error> {
    let none = || Error::new(StatusCode::NOT_FOUND, "no_ledger", "there is no ledger: `[store] path` is empty");
    let ledger = control(shared)?.ledger().ok_or_else(none)?;
    let read = tokio::task::spawn_blocking(move || read(&ledger)).await.map_err(|_| Failure::Internal)?;
    read.map_err(|error| {
        tracing::error!(%error, "the ledger cannot be read");
        Error::new(StatusCode::INSUFFICIENT_STORAGE, "ledger_unavailable", "the ledger cannot be read: the log says why")
    })
}

/// Where few entries fit, a page ends before it is full.
const MOST_LOOKED: usize = 100_000;
