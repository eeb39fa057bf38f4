//! Changes to managed principals, made together as they were planned: compiled, recorded and put in force at once. What only takes away
//! is in force before it is recorded; what may let somebody in is recorded before it is in force.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::control::{ChangeError, Pending, Prospect};
use super::plan::Planned;
use super::{Install, Report, Thread, lock};
use crate::admission::{PrincipalId, Snapshot};
use crate::clock;
use crate::config::{Loaded, Prepared, Problem, Status};
use crate::rules::Rules;
use crate::store::ledger::{Actor, ActorKind, Appended, NewEntry};
use crate::store::managed::{Change, FilesReloaded, Touched};

/// Changes in force that could not be recorded yet.
#[derive(Debug, Default)]
pub(super) struct Unrecorded {
    entries: Vec<NewEntry>,
    said: bool,
    /// What the last of them says, where that is a reload of files.
    files: Option<FilesReloaded>,
}

impl Unrecorded {
    /// Takes a reload of files into the one before it, where that waits still: files may change each second for as long as a disk is
    /// full. False where there is none.
    fn merge(&mut self, later: &FilesReloaded, after: &str) -> bool {
        let (Some(entry), Some(files)) = (self.entries.last_mut(), &mut self.files) else { return false };
        files.merge(later, MOST_NAMES);
        entry.data = Change::FilesReloaded(files.clone()).data();
        after.clone_into(&mut entry.after);
        true
    }

    fn push(&mut self, change: &Change, entry: NewEntry) {
        self.files = if let Change::FilesReloaded(files) = change { Some(files.clone()) } else { None };
        self.entries.push(entry);
    }
}

impl<F: FnMut(Install)> Thread<F> {
    /// Makes changes, in the order in which they came.
    pub(super) fn change(&mut self, noticed: Instant, pending: Vec<Pending>) {
        let mut waiting: VecDeque<Pending> = pending.into();
        if self.journal.is_none() {
            waiting.drain(..).for_each(|pending| drop(pending.answer.send(Err(ChangeError::NoLedger))));
        }
        let mut alone = 0_usize;
        while !waiting.is_empty() {
            let run = self.plan(&mut waiting, if alone == 0 { usize::MAX } else { 1 });
            let (tightens, most) = (run.first().is_some_and(|planned| planned.tightens), run.len());
            alone = alone.saturating_sub(1);
            if run.is_empty() {
                continue;
            }
            match self.compile(run, &mut waiting) {
                None => alone = alone.max(if most > 1 { most } else { 0 }),
                Some((prepared, run)) if tightens => self.tighten(noticed, prepared, run),
                Some((prepared, run)) => self.widen(noticed, prepared, run),
            }
        }
    }

    /// In force first, then recorded: what is taken away holds though the disk is full.
    fn tighten(&mut self, noticed: Instant, prepared: Prepared, mut run: Vec<Planned>) {
        let entries = self.entries(&mut run);
        let generation = self.put_in_force(noticed, prepared);
        let first = self.unrecorded.entries.len();
        self.unrecorded.entries.extend(entries);
        self.unrecorded.files = None;
        match self.record() {
            Ok(appended) => {
                answer(run, &appended[first..], generation);
                self.make_public();
            }
            Err(why) => {
                run.into_iter().for_each(|planned| planned.refuse(ChangeError::LedgerUnavailable { in_force: true, why: why.clone() }));
            }
        }
    }

    /// Recorded first: nobody gets in of whom a restart would know nothing.
    fn widen(&mut self, noticed: Instant, prepared: Prepared, mut run: Vec<Planned>) {
        // What waits was first.
        let recorded = self.record().and_then(|_| {
            let entries = self.entries(&mut run);
            self.append(entries)
        });
        match recorded {
            Ok(appended) => {
                let generation = self.put_in_force(noticed, prepared);
                answer(run, &appended, generation);
                self.make_public();
            }
            Err(why) => {
                tracing::error!(why, "nothing was changed, since it could not be recorded in the ledger");
                run.into_iter().for_each(|planned| planned.refuse(ChangeError::LedgerUnavailable { in_force: false, why: why.clone() }));
            }
        }
    }

    /// Compiles what a run leads to, and asks each whether it may be made. Where that fails it is refused if it is alone; of many each is
    /// then asked by itself, so that nobody is refused for what another asked. That is rare: each was compared with the static ones alone.
    pub(super) fn compile(&self, mut run: Vec<Planned>, waiting: &mut VecDeque<Pending>) -> Option<(Prepared, Vec<Planned>)> {
        let state = Arc::clone(&run.last()?.state);
        let mut touched = touched(run.iter().flat_map(|planned| &planned.changes));
        // Of two for one principal the last is as the state has it.
        let compiled = run.iter_mut().flat_map(|planned| std::mem::take(&mut planned.compiled));
        touched.compiled = compiled.map(|entry| (entry.0.id, entry)).collect();
        let why = match self.loader.prepare(state, touched) {
            Ok(prepared) => {
                let prospect = |before| Prospect { state: self.loader.managed(), before, after: prepared.rules() };
                let prospect = self.loader.rules().map(|before| prospect(before));
                let refused = prospect.and_then(|prospect| run.iter().find_map(|planned| planned.check(&prospect).err()));
                match refused {
                    None => return Some((prepared, run)),
                    Some(refusal) => ChangeError::Refused(refusal),
                }
            }
            Err(problems) => {
                ChangeError::Conflict(problems.iter().map(|problem: &Problem| problem.message.as_str()).collect::<Vec<_>>().join("; "))
            }
        };
        if run.len() > 1 {
            run.into_iter().rev().for_each(|planned| waiting.push_front(planned.again()));
        } else {
            run.into_iter().for_each(|planned| planned.refuse(why.clone()));
        }
        None
    }

    fn put_in_force(&mut self, noticed: Instant, prepared: Prepared) -> u64 {
        let Some(loaded) = self.loader.put_in_force(prepared) else { return 0 };
        self.install(noticed, &loaded);
        self.publish_change(&loaded);
        loaded.rules.generation
    }

    fn entries(&self, run: &mut [Planned]) -> Vec<NewEntry> {
        let mut entries = Vec::new();
        let mut before = self.loader.policy_hash(self.loader.managed());
        for planned in run {
            let after = self.loader.policy_hash(&planned.state);
            let last = planned.entries.len().saturating_sub(1);
            for (at, entry) in std::mem::take(&mut planned.entries).into_iter().enumerate() {
                entries.push(NewEntry { before: before.clone(), after: after.clone(), more: at < last, ..entry });
            }
            before = after;
        }
        entries
    }

    /// Records what is in force already.
    pub(super) fn record(&mut self) -> Result<Vec<Appended>, String> {
        if self.unrecorded.entries.is_empty() {
            return Ok(Vec::new());
        }
        let entries = self.unrecorded.entries.clone();
        let waiting = entries.len();
        let recorded = self.append(entries);
        match &recorded {
            Ok(_) => {
                self.unrecorded.entries.clear();
                self.unrecorded.files = None;
                if std::mem::take(&mut self.unrecorded.said) {
                    tracing::info!(entries = waiting, "the ledger can be written to again: what was in force is recorded");
                }
            }
            Err(why) => {
                if !std::mem::replace(&mut self.unrecorded.said, true) {
                    tracing::error!(why, waiting, "changes are in force and could not be recorded; trying again each second");
                }
            }
        }
        self.tell_unrecorded();
        recorded
    }

    fn append(&mut self, entries: Vec<NewEntry>) -> Result<Vec<Appended>, String> {
        let Some(journal) = &mut self.journal else { return Err("there is no ledger".to_owned()) };
        journal.append(entries, clock::wall())
    }

    /// Checkpoint and tiles, after the answer. What fails is tried again each second.
    pub(super) fn make_public(&mut self) {
        let failed = self.journal.as_mut().and_then(|journal| journal.publish().err());
        if let Some(why) = failed.as_ref().filter(|_| !self.unpublished) {
            tracing::error!(why, "the ledger's checkpoint and tiles are behind its entries; trying again each second");
        } else if self.unpublished && failed.is_none() {
            tracing::info!("the ledger's checkpoint and tiles are of its last entry again");
        }
        self.unpublished = failed.is_some();
        if let Some(journal) = self.journal.as_mut().filter(|_| self.unrecorded.entries.is_empty()) {
            journal.store(self.loader.managed());
        }
    }

    /// Records that files changed who gets in; it is in force already.
    pub(super) fn record_files(&mut self, (before, hash): (Option<Arc<Rules>>, String), loaded: &Loaded) {
        let Some(before) = before.filter(|_| self.journal.is_some()) else { return };
        let after = self.loader.policy_hash(self.loader.managed());
        let (old, new) = (&before.snapshot, &loaded.rules.snapshot);
        let names = new.allowlist.static_names_since(&old.allowlist, MOST_NAMES);
        let gone = old.allowlist.static_names_since(&new.allowlist, MOST_NAMES);
        let restrictions = |snapshot: &Snapshot| snapshot.revocation.ids().count() as u64;
        let files = FilesReloaded {
            generation: loaded.rules.generation,
            added: names.0,
            removed: gone.0,
            added_names: names.1,
            removed_names: gone.1,
            restrictions_before: restrictions(old),
            restrictions_after: restrictions(new),
            merged: 0,
        };
        if self.unrecorded.merge(&files, &after) {
            self.metrics.ledger_merged.inc();
            tracing::warn!(
                generation = files.generation,
                "files changed again before their last change could be recorded: one entry of the ledger will tell of both"
            );
        } else {
            let change = Change::FilesReloaded(files);
            self.loader.count_entry(&change);
            self.unrecorded.push(&change, entry(&change, (&Actor::new(ActorKind::File), None), (hash, after), false));
        }
        // Told where it is said; tried again each second.
        let _ = self.record();
    }

    /// A file's admin is the first admin too: the server certificate registers nobody beside it.
    pub(super) fn close_bootstrap(&mut self) {
        let has_admin = self.loader.rules().is_some_and(|rules| rules.snapshot.allowlist.has_admin());
        if self.journal.is_none() || self.loader.managed().bootstrap_closed() || !has_admin {
            return;
        }
        let change = Change::BootstrapClosed {};
        let before = self.loader.policy_hash(self.loader.managed());
        self.loader.count_entry(&change);
        let after = self.loader.policy_hash(self.loader.managed());
        self.unrecorded.push(&change, entry(&change, (&Actor::new(ActorKind::File), None), (before, after), false));
        let _ = self.record();
        let report = lock(&self.view).report.clone();
        self.show(report);
    }

    /// Shows what a change put in force.
    fn publish_change(&mut self, loaded: &Loaded) {
        let before = lock(&self.view).report.clone();
        self.show(Report {
            generation: loaded.rules.generation,
            status: Status { sources: before.status.sources, ..loaded.status.clone() },
            warnings: self.with_what_waits(&loaded.warnings),
            problems: before.problems,
            unrecorded: self.unrecorded(),
        });
        self.publish(&loaded.status);
    }

    /// Shows how many changes wait to be recorded: while there are any, the proxy is not ready.
    fn tell_unrecorded(&self) {
        let waiting = self.unrecorded();
        let report = lock(&self.view).report.clone();
        if report.unrecorded != waiting {
            self.show(Report { unrecorded: waiting, ..report });
        }
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        self.metrics.ledger_unrecorded.set(waiting as f64);
    }

    pub(super) fn unrecorded(&self) -> usize {
        self.unrecorded.entries.len()
    }
}

/// The names that a record of a reload of files holds at most, of those that came and of those that went.
const MOST_NAMES: usize = 1000;

pub(super) fn entry(change: &Change, (actor, reason): (&Actor, Option<String>), (before, after): (String, String), more: bool) -> NewEntry {
    let (action, object) = (change.action().to_owned(), change.object().to_owned());
    NewEntry { action, object, actor: actor.clone(), before, after, reason, data: change.data(), more }
}

/// Answers a run that was recorded so.
fn answer(run: Vec<Planned>, mut appended: &[Appended], generation: u64) {
    if let (Some(first), Some(last)) = (appended.first(), appended.last()) {
        tracing::info!(generation, first_entry = first.index, last_entry = last.index, "new rules in force, by the ledger");
    }
    for planned in run {
        let (own, rest) = appended.split_at(planned.changes.len().min(appended.len()));
        appended = rest;
        planned.answer(own.to_vec(), generation);
    }
}

fn touched<'c>(changes: impl Iterator<Item = &'c Change>) -> Touched {
    let mut touched = Touched::default();
    for change in changes {
        match change {
            Change::PrincipalPut { document } => touched.principals.extend(document.id.parse::<PrincipalId>()),
            Change::PrincipalRemove { id, .. } => touched.principals.extend(id.parse::<PrincipalId>()),
            Change::RevocationAdd { id, .. } | Change::RevocationRemove { id } => touched.ids.push(id.clone()),
            Change::BootstrapClosed {}
            | Change::CrlPut { .. }
            | Change::CrlRemove { .. }
            | Change::FilesReloaded(_)
            | Change::TokenRevoked { .. }
            | Change::TokensRevoked { .. } => {}
        }
    }
    // One principal of two changes is put once, as the last one left it.
    touched.principals.sort_unstable();
    touched.principals.dedup();
    touched.ids.sort_unstable();
    touched.ids.dedup();
    touched
}
