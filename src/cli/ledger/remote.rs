//! The log of a proxy elsewhere, page by page, and its receipts.

use std::collections::VecDeque;

use http::Method;
use serde::Deserialize;

use super::{Listed, LogArguments};
use crate::cli::Failure;
use crate::cli::remote::Remote;
use crate::store::ledger::Entry;

#[derive(Deserialize)]
struct Page {
    size: u64,
    entries: Vec<Entry>,
    next: Option<u64>,
}

pub(super) fn log(arguments: &LogArguments, remote: &Remote) -> Result<Listed, Failure> {
    let page = |from: u64| -> Result<Page, Failure> {
        let after = from.checked_sub(1).map(|after| format!("&after={after}")).unwrap_or_default();
        let page = remote.get(&format!("/v1/ledger?limit=1000{after}"))?;
        serde_json::from_value(page).map_err(|error| Failure::network(format_args!("the answer is not the proxy's: {error}")))
    };
    let is_filtered = arguments.since.is_some() || arguments.actor.is_some() || arguments.action.is_some();
    let mut from = match arguments.from {
        Some(from) => from,
        // Only the newest are asked for.
        None if !is_filtered => page(u64::MAX)?.size.saturating_sub(arguments.limit as u64),
        None => 0,
    };
    let mut found = VecDeque::new();
    loop {
        let Page { size, entries, next } = page(from)?;
        let goes_on = entries.into_iter().all(|entry| arguments.take(&mut found, entry));
        match next.filter(|_| goes_on) {
            Some(next) => from = next + 1,
            None => return Ok(Listed { size, entries: found }),
        }
    }
}

pub(super) fn receipt(index: u64, remote: &Remote) -> Result<String, Failure> {
    let reply = remote.send(&Method::GET, &format!("/v1/ledger/{index}/receipt"), None, None)?;
    if !reply.status.is_success() {
        return Err(reply.refusal());
    }
    Ok(String::from_utf8_lossy(&reply.body).into_owned())
}
