//! The log of a proxy elsewhere, page by page, its receipts, and whether it is what was signed.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::Path;

use http::Method;
use serde::Deserialize;

use super::{Listed, LogArguments, refused};
use crate::cli::progress::Progress;
use crate::cli::remote::Remote;
use crate::cli::{Failure, Output};
use crate::store::ledger::{Entry, Follower, Report, Verifier, keep_checkpoint};

#[derive(Deserialize)]
struct Page {
    size: u64,
    entries: Vec<Entry>,
    next: Option<u64>,
}

/// Asks for entries from an index on.
fn page(remote: &Remote, from: u64) -> Result<Page, Failure> {
    let after = from.checked_sub(1).map(|after| format!("&after={after}")).unwrap_or_default();
    let page = remote.get(&format!("/v1/ledger?limit=1000{after}"))?;
    serde_json::from_value(page).map_err(|error| Failure::network(format_args!("the answer is not the proxy's: {error}")))
}

pub(super) fn log(arguments: &LogArguments, remote: &Remote, output: Output) -> Result<Listed, Failure> {
    let mut from = match arguments.from {
        Some(from) => from,
        // Only the newest are asked for.
        None if !arguments.is_filtered() => page(remote, u64::MAX)?.size.saturating_sub(arguments.limit as u64),
        None => 0,
    };
    let (mut found, mut bar, first) = (VecDeque::new(), None, from);
    loop {
        let Page { size, entries, next } = page(remote, from)?;
        let bar = bar.get_or_insert_with(|| Progress::new("entries read", arguments.reads(first, size), output));
        bar.reach(next.map_or(size, |next| next + 1).saturating_sub(first));
        let goes_on = entries.into_iter().all(|entry| arguments.take(&mut found, entry));
        match next.filter(|_| goes_on) {
            Some(next) => from = next + 1,
            None => return Ok(Listed { size, entries: found }),
        }
    }
}

/// Verifies every entry against the checkpoint, and that against the one in `file`, where it then stays.
pub(super) fn verify(remote: &Remote, verifier: Verifier, file: Option<&Path>, output: Output) -> Result<Report, Failure> {
    let seen = match file.map(|path| (path, std::fs::read_to_string(path))) {
        Some((_, Ok(note))) => Some(note),
        Some((path, Err(error))) if error.kind() != ErrorKind::NotFound => return Err(Failure::file(path, error)),
        Some(_) | None => None,
    };
    let note = text(remote, "/v1/ledger/checkpoint")?;
    let mut follower = Follower::new(&note, seen.as_deref(), verifier).map_err(refused)?;
    let mut bar = Progress::new("entries verified", follower.size(), output);
    while let Some(from) = follower.next() {
        let Page { entries, .. } = page(remote, from)?;
        if entries.is_empty() {
            break;
        }
        let size = follower.size();
        // More came since the checkpoint, maybe.
        for entry in entries.into_iter().take_while(|entry| entry.index < size) {
            follower.take(entry).map_err(refused)?;
        }
        bar.reach(follower.next().unwrap_or(size));
    }
    drop(bar);
    let report = follower.finish().map_err(refused)?;
    if let Some(path) = file {
        keep_checkpoint(path, &note).map_err(|error| Failure::file(path, error))?;
    }
    Ok(report)
}

pub(super) fn receipt(index: u64, remote: &Remote) -> Result<String, Failure> {
    text(remote, &format!("/v1/ledger/{index}/receipt"))
}

fn text(remote: &Remote, target: &str) -> Result<String, Failure> {
    let reply = remote.send(&Method::GET, target, None, None)?;
    if !reply.status.is_success() {
        return Err(reply.refusal());
    }
    Ok(String::from_utf8_lossy(&reply.body).into_owned())
}
