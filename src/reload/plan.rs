//! Planning changes: each on the state that those before it made, so that what it checks holds when it is made. What could never be
//! recorded, or cannot stand beside what files say, is refused here.

use std::collections::VecDeque;
use std::sync::Arc;

use aws_lc_rs::rand;
use tokio::sync::oneshot;

use super::commit::entry;
use super::control::{ChangeError, Mutation, Pending, Prospect, Recorded};
use super::{Install, Thread};
use crate::admission::layer::Entry;
use crate::admission::{Allowlist, Claim, Conflict};
use crate::clock::{self, Date};
use crate::store::ledger::{Actor, Appended, NewEntry};
use crate::store::managed::{Change, Invalid, Refusal, Stamp, State};

/// A mutation that was planned, with the state that it makes.
pub(super) struct Planned {
    pub(super) answer: oneshot::Sender<Result<Recorded, ChangeError>>,
    pub(super) mutation: Mutation,
    pub(super) changes: Vec<Change>,
    /// What is recorded of each, but for the policy before and after.
    pub(super) entries: Vec<NewEntry>,
    /// The documents among them.
    pub(super) compiled: Vec<Entry>,
    pub(super) state: Arc<State>,
    pub(super) tightens: bool,
}

impl Planned {
    /// Answers that it was made, or would be.
    pub(super) fn answer(self, entries: Vec<Appended>, generation: u64) {
        let Self { answer, changes, state, .. } = self;
        drop(answer.send(Ok(Recorded { entries, generation, state, changes })));
    }

    pub(super) fn refuse(self, error: ChangeError) {
        drop(self.answer.send(Err(error)));
    }

    /// Asks whether it may be made, by the rules that come of it.
    pub(super) fn check(&self, prospect: &Prospect<'_>) -> Result<(), Refusal> {
        self.mutation.guard.as_ref().map_or(Ok(()), |guard| guard(prospect))
    }

    /// Has it wait again.
    pub(super) fn again(self) -> Pending {
        Pending { mutation: self.mutation, answer: self.answer }
    }
}

/// What a plan comes to: the state after it, what is recorded of it, its documents compiled, and whether it only takes away.
struct Outcome {
    after: Arc<State>,
    changes: Vec<Change>,
    entries: Vec<NewEntry>,
    compiled: Vec<Entry>,
    tightens: bool,
}

impl<F: FnMut(Install)> Thread<F> {
    /// Takes as many as can be committed together: those of one kind, `most` of them. One of the other kind is planned again, once it is
    /// known what became of these; and so is whatever would be answered at once (it is refused, it changes nothing, it is only tried): not
    /// by a state that may never come to be.
    pub(super) fn plan(&self, waiting: &mut VecDeque<Pending>, most: usize) -> Vec<Planned> {
        let mut state = Arc::clone(self.loader.managed());
        let mut run: Vec<Planned> = Vec::new();
        while run.len() < most
            && let Some(Pending { mutation, answer }) = waiting.pop_front()
        {
            let planned = self.plan_one(&state, &mutation);
            let goes_along = |first: &Planned| match &planned {
                Err(_) => false,
                Ok(Outcome { changes, tightens, .. }) => !(mutation.dry_run || changes.is_empty()) && first.tightens == *tightens,
            };
            if run.first().is_some_and(|first| !goes_along(first)) {
                waiting.push_front(Pending { mutation, answer });
                break;
            }
            match planned {
                Err(error) => drop(answer.send(Err(error))),
                Ok(Outcome { after, changes, .. }) if changes.is_empty() => {
                    drop(answer.send(Ok(Recorded { entries: Vec::new(), generation: self.generation(), state: after, changes })));
                }
                Ok(Outcome { after: state, changes, entries, compiled, tightens }) if mutation.dry_run => {
                    let planned = Planned { answer, mutation, changes, entries, compiled, state, tightens };
                    if let Some((_, run)) = self.compile(vec![planned], waiting) {
                        run.into_iter().for_each(|planned| planned.answer(Vec::new(), self.generation()));
                    }
                }
                Ok(Outcome { after, changes, entries, compiled, tightens }) => {
                    state = Arc::clone(&after);
                    run.push(Planned { answer, mutation, changes, entries, compiled, state: after, tightens });
                }
            }
        }
        run
    }

    fn generation(&self) -> u64 {
        self.loader.rules().map_or(0, |rules| rules.generation)
    }

    fn plan_one(&self, state: &Arc<State>, mutation: &Mutation) -> Result<Outcome, ChangeError> {
        let rules = self.loader.rules().ok_or(ChangeError::Unready("there are no rules in force yet"))?;
        let (snapshot, now) = (&rules.snapshot, clock::wall());
        let stamp = Stamp { at: Date::of(now.as_secs()).to_string(), by: name_of(&mutation.actor) };
        let mut after = State::clone(state);
        let mut tightens = true;
        let (mut changes, mut compiled) = (Vec::new(), Vec::new());
        check_text("reason", mutation.reason.as_deref().unwrap_or_default())?;
        for change in (mutation.plan)(state, snapshot)? {
            if let Change::RevocationAdd { reason: Some(reason), .. } = &change {
                check_text("reason", reason)?;
            }
            let change = change.settled(&after, &stamp, &random(rand::fill)?);
            let entry = check_static(&change, &after, &snapshot.allowlist)?;
            let left = change.leaves(&after);
            tightens &= change.tightens(&after);
            after.make(after.entries(), &change, entry.as_ref())?;
            changes.push(change);
            compiled.extend(entry);
            for kept in left {
                let kept = kept.settled(&after, &stamp, &[0; 12]);
                after.make(after.entries(), &kept, None)?;
                changes.push(kept);
            }
        }
        if !after.bootstrap_closed() && after.admins().next().is_some() {
            let closed = Change::BootstrapClosed {};
            after.make(after.entries(), &closed, None)?;
            changes.push(closed);
        }
        let entries = self.entries_of(&changes, mutation)?;
        Ok(Outcome { after: Arc::new(after), changes, entries, compiled, tightens })
    }

    /// Says what is recorded of changes, and keeps out what the ledger would never take: once in force it would wait to be recorded for
    /// ever, and all that widens behind it.
    fn entries_of(&self, changes: &[Change], mutation: &Mutation) -> Result<Vec<NewEntry>, Refusal> {
        let Some(journal) = &self.journal else { return Ok(Vec::new()) };
        let hash = self.loader.policy_hash(self.loader.managed());
        let entry = |change| {
            let entry = entry(change, (&mutation.actor, mutation.reason.clone()), (hash.clone(), hash.clone()), false);
            let refused = |why| Refusal::Invalid(vec![Invalid::new("", format!("cannot be recorded: {why}"))]);
            journal.check(&entry).map_err(refused).map(|()| entry)
        };
        changes.iter().map(entry).collect()
    }
}

/// Draws what a new id is made of. One that is not random could be a used one.
fn random(fill: impl FnOnce(&mut [u8]) -> Result<(), aws_lc_rs::error::Unspecified>) -> Result<[u8; 12], ChangeError> {
    let mut random = [0; 12];
    fill(&mut random).map_err(|_| ChangeError::Unready("the machine gives no random bytes"))?;
    Ok(random)
}

/// Refuses what a file or the configuration says something else of; returns a document compiled.
fn check_static(change: &Change, state: &State, allowlist: &Allowlist) -> Result<Option<Entry>, Refusal> {
    let document = match change {
        Change::PrincipalPut { document } => document,
        Change::PrincipalRemove { id, name } if state.principal(id).is_none() => {
            let named = allowlist.find(name).filter(|principal| !principal.provenance.is_ledger());
            return Err(named.map_or(Refusal::NotFound, |principal| Refusal::Static { name: principal.name.to_string() }));
        }
        _ => return Ok(None),
    };
    let texts = [("id", Some(&document.id)), ("name", Some(&document.name)), ("display_name", document.display_name.as_ref())];
    texts.into_iter().try_for_each(|(key, text)| check_text(key, text.map_or("", String::as_str)))?;
    let (principal, credentials) = document.compile(state.entries()).map_err(Refusal::Invalid)?;
    let untimely = document.untimely(clock::Clock::default().now());
    if !untimely.is_empty() {
        return Err(Refusal::Invalid(untimely));
    }
    match allowlist.check_static(&principal, &credentials) {
        Ok(()) => Ok(Some((principal, credentials))),
        Err(conflict) => Err(refused(&conflict, principal.name.as_str(), allowlist)),
    }
}

fn refused(conflict: &Conflict, name: &str, allowlist: &Allowlist) -> Refusal {
    let owner = match conflict.claim {
        Claim::Certificate => conflict.value.parse().ok().and_then(|pin| allowlist.owner_of_pin(&pin)),
        Claim::SpkiPin => conflict.value.parse().ok().and_then(|pin| allowlist.owner_of_spki_pin(&pin)),
        Claim::Id | Claim::Name => return Refusal::Static { name: name.to_owned() },
    };
    Refusal::FingerprintTaken { by: owner.map_or_else(|| conflict.first.to_string(), |owner| owner.name.to_string()) }
}

/// Keeps out what the ledger would never take: a change in force that can never be recorded would block all after it.
fn check_text(key: &str, text: &str) -> Result<(), Refusal> {
    let why = match text {
        _ if is_recordable(text) => return Ok(()),
        text if text.len() > LONGEST_TEXT => format!("is longer than {LONGEST_TEXT} bytes"),
        _ => "holds a private key, and the ledger is kept for ever".to_owned(),
    };
    Err(Refusal::Invalid(vec![Invalid::new(key, why)]))
}

/// Tells whether what somebody says in its own words is kept.
pub fn is_recordable(text: &str) -> bool {
    text.len() <= LONGEST_TEXT && !text.contains("PRIVATE KEY-----")
}

fn name_of(actor: &Actor) -> String {
    let named = actor.name.as_ref().or(actor.id.as_ref()).or(actor.via.as_ref());
    named.cloned().unwrap_or_else(|| format!("{:?}", actor.kind).to_lowercase())
}

const LONGEST_TEXT: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_random_bytes_nobody_gets_an_id() {
        assert_eq!(random(|_| Err(aws_lc_rs::error::Unspecified)), Err(ChangeError::Unready("the machine gives no random bytes")));
        assert!(random(rand::fill).is_ok_and(|drawn| drawn != [0; 12]));
    }
}
