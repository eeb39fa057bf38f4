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
    /// How many at most: 1 to 1000; fewer, where their text comes to more than 4 MiB.
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
        page(ledger, from, (limit, MOST_BYTES), fits)
    });
    Ok(Json(page.await?))
}

/// Collects what fits, up to a number of entries and of bytes: one entry may hold a CRL. There is one at least, if any fits, so that whoever
/// goes on gets on.
fn page(ledger: &Reader, from: u64, (limit, most): (usize, usize), fits: impl Fn(&Entry) -> bool) -> Result<Page, AccessError> {
    let (mut entries, mut next, mut last) = (Vec::new(), None, None);
    let (mut told, mut read) = (0, 0);
    for (looked, entry) in ledger.entries(from).enumerate() {
        let entry = entry?;
        let long = length(&entry);
        let is_full = !entries.is_empty() && told + long > most && fits(&entry);
        if entries.len() == limit || looked == MOST_LOOKED || is_full || read > MOST_READ {
            next = last;
            break;
        }
        (last, read) = (Some(entry.index), read + long);
        if fits(&entry) {
            told += long;
            entries.push(entry);
        }
    }
    Ok(Page { size: ledger.size(), entries, next })
}

/// Returns about how many bytes an entry is long.
fn length(entry: &Entry) -> usize {
    fn of(value: &serde_json::Value) -> usize {
        match value {
            serde_json::Value::Array(items) => items.iter().map(|item| of(item) + 1).sum(),
            serde_json::Value::Object(members) => members.iter().map(|(key, value)| key.len() + of(value) + 4).sum(),
            serde_json::Value::String(text) => text.len() + 2,
            serde_json::Value::Bool(_) | serde_json::Value::Null | serde_json::Value::Number(_) => 8,
        }
    }
    512 + entry.object.len() + entry.reason.as_ref().map_or(0, String::len) + of(&entry.data)
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
/// Of what was looked at for a page, and of what is in it.
const MOST_READ: usize = 64 << 20;
const MOST_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ledger::{Actor, ActorKind, Ledger, NewEntry};

    #[test]
    fn a_page_ends_by_its_bytes_and_says_where_to_go_on() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut ledger = Ledger::open(directory.path(), None).expect("opened").ledger;
        let entry = |number: usize, length: usize| NewEntry {
            action: "crl.put".to_owned(),
            object: format!("crl-{number}"),
            actor: Actor::new(ActorKind::Socket),
            before: String::new(),
            after: String::new(),
            reason: None,
            data: serde_json::json!({"der": "A".repeat(length)}),
            more: false,
        };
        let lengths = [100, 300_000, 300_000, 100, 900_000, 100];
        let entries = lengths.iter().enumerate().map(|(number, length)| entry(number, *length)).collect();
        ledger.append(entries, std::time::Duration::from_secs(1)).expect("recorded");
        let (reader, mut from, mut pages) = (ledger.reader(), 0, Vec::new());
        loop {
            let page = page(&reader, from, (1000, 500_000), |_| true).expect("read");
            pages.push(page.entries.iter().map(|entry| entry.index).collect::<Vec<_>>());
            let Some(next) = page.next else { break };
            from = next + 1;
        }
        assert_eq!(pages, [vec![0, 1], vec![2, 3], vec![4], vec![5]]);
        let few = page(&reader, 0, (1000, 500_000), |entry| entry.object == "crl-4").expect("read");
        assert_eq!((few.entries.len(), few.next), (1, None), "what is left out is nothing to the page");
    }
}
