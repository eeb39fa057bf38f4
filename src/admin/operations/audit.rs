//! The access log's line for each change that was asked for: made or refused, by whom, of what, and which entry of the ledger says so.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError};

use super::How;
use super::acting::Acting;
use crate::admin::{Error, Shared};
use crate::log::Entry;
use crate::reload::{ChangeError, Recorded, is_recordable};
use crate::request::service::Caller;
use crate::store::ledger::Actor;

/// Who asked for a change, kept until it is known what became of it.
pub(crate) struct Trail {
    shared: Arc<Shared>,
    actor: Actor,
    client: Option<IpAddr>,
    request_id: Box<str>,
    listener: Arc<str>,
    reason: Option<String>,
    dry_run: bool,
}

impl Trail {
    pub(super) fn new(shared: &Arc<Shared>, caller: &Caller, acting: &Acting, how: &How) -> Self {
        // What the ledger refuses to keep is in no other log either: a private key where the reason belongs, a book.
        let reason = how.reason.clone().filter(|reason| is_recordable(reason));
        Self { reason, dry_run: how.dry_run, ..Self::of(shared, caller, acting.actor()) }
    }

    /// Of a change for which nobody gives a reason.
    pub(super) fn of(shared: &Arc<Shared>, caller: &Caller, actor: Actor) -> Self {
        Self {
            shared: Arc::clone(shared),
            actor,
            client: caller.address,
            request_id: caller.request_id.clone(),
            listener: Arc::clone(&caller.listener),
            reason: None,
            dry_run: false,
        }
    }

    /// Tells what became of it; what was only tried out is nothing to tell.
    pub(super) fn tell(&self, made: &Result<Recorded, ChangeError>) {
        if self.dry_run {
            return;
        }
        match made {
            Ok(recorded) => {
                for (at, change) in recorded.changes.iter().enumerate().take(MOST_LINES) {
                    let index = recorded.entries.get(at).map(|entry| entry.index);
                    self.line(change.action(), Some(change.object()), index, recorded.generation, None);
                }
            }
            Err(error) => {
                let refusal = Error::from(error.clone());
                // It took something away and holds: whoever reads `refused` would do it again, or believe that it was not done.
                let action = if refusal.in_force == Some(true) { UNRECORDED } else { "refused" };
                self.line(action, None, None, 0, Some(refusal.code));
            }
        }
    }

    fn line(&self, action: &str, object: Option<&str>, index: Option<u64>, generation: u64, code: Option<&'static str>) {
        let actor = self.actor.kind.to_string();
        tracing::info!(
            action,
            actor,
            client = self.client.map(tracing::field::display),
            code,
            generation,
            ledger_index = index,
            object,
            principal = self.actor.name,
            reason = self.reason,
            request_id = &*self.request_id,
            token = self.actor.token,
            "change"
        );
        let Ok(ready) = self.shared.running() else { return };
        let fingerprint = self.actor.fingerprint.as_deref().and_then(|text| text.parse::<crate::pki::Fingerprint>().ok());
        let log = ready.audit.lock().unwrap_or_else(PoisonError::into_inner);
        log.line(&Entry {
            event: "change",
            principal: self.actor.name.as_deref(),
            principal_id: self.actor.id.as_deref(),
            fingerprint: fingerprint.as_ref().map(|fingerprint| fingerprint.as_bytes()),
            listener: &self.listener,
            client: self.client,
            request_id: Some(&self.request_id),
            token: self.actor.token.as_deref(),
            action: Some(action),
            object,
            ledger_index: index,
            actor: Some(&actor),
            verdict: Some(if code.is_none() || action == UNRECORDED { "admit" } else { "deny" }),
            code,
            reason: self.reason.as_deref(),
            generation,
            ..Entry::default()
        });
        log.flush();
    }
}

/// What a change is called that is in force and waits for the ledger.
const UNRECORDED: &str = "unrecorded";
/// A set that is replaced is told by its first changes; the ledger has them all.
const MOST_LINES: usize = 1000;
