//! Who was here of late: with which leaf, on which listener, for what, from where. Written down once for a connection, when it ends, and told
//! when somebody considers other rules. Nothing is judged by it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;

use super::answer::Question;
use super::live::Stranger;
use super::{Gate, Standing};
use crate::admission::{Candidate, Scope};
use crate::pki::Fingerprint;

/// Somebody who proved a key, as seen last.
#[derive(Clone, Debug)]
pub struct Sighting {
    pub fingerprint: Fingerprint,
    /// As presented, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    pub listener: Arc<str>,
    /// Seconds since the epoch.
    pub last: u64,
    /// The connection lives.
    pub live: bool,
    /// The name that its connection was opened for, where it gave one; not known of strangers.
    pub sni: Option<Box<str>>,
    question: Question,
}

/// What tells one sighting from another: of the same, the latest counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spot {
    fingerprint: Fingerprint,
    listener: Arc<str>,
    route: Option<Box<str>>,
    address: Option<IpAddr>,
}

/// Clients whose connections ended, the newest so many.
#[derive(Default)]
pub(super) struct Sightings {
    entries: HashMap<Spot, Entry>,
    /// Numbers them in their order.
    count: u64,
}

struct Entry {
    candidate: Rc<Candidate>,
    question: Question,
    sni: Option<Box<str>>,
    last: u64,
    number: u64,
}

impl Sighting {
    /// Returns what was asked last: the request, or the connection itself where there was none.
    pub fn scope(&self) -> Scope<'_> {
        self.question.scope()
    }

    /// Returns method, host and path of the request that asked so, where they are known: where it leads is for other rules to say anew.
    pub fn place(&self) -> Option<(&str, &str, &str)> {
        self.question.place()
    }

    /// Returns what tells it from others.
    pub fn spot(&self) -> Spot {
        spot(self.fingerprint, &self.listener, &self.question)
    }

    fn of(candidate: &Candidate, listener: &Arc<str>, asked: (Question, Option<Box<str>>), last: u64, live: bool) -> Option<Self> {
        let (question, sni) = asked;
        let leaf = candidate.leaf().ok()?;
        let chain = std::iter::once(&leaf.der).chain(candidate.intermediates()).cloned().collect();
        Some(Self { fingerprint: leaf.fingerprint, chain, listener: Arc::clone(listener), last, live, sni, question })
    }
}

impl Stranger {
    /// Tells where a stranger was seen.
    pub fn sighting(&self) -> Sighting {
        Sighting {
            fingerprint: self.fingerprint,
            chain: std::iter::once(&self.der).chain(&self.intermediates).cloned().collect(),
            listener: self.listener.as_str().into(),
            last: self.last,
            live: false,
            sni: None,
            question: self.question.clone(),
        }
    }
}

impl Gate {
    /// Tells of clients that were admitted on this worker and are gone.
    pub fn sightings(&self) -> Vec<Sighting> {
        let entries = self.sightings.borrow();
        let told = |(spot, entry): (&Spot, &Entry)| {
            let asked = (entry.question.clone(), entry.sni.clone());
            Sighting::of(&entry.candidate, &spot.listener, asked, entry.last, false)
        };
        entries.entries.iter().filter_map(told).collect()
    }

    /// Tells of clients that are connected: those at so many slots from this one on. `None`: there are no more.
    pub fn live_sightings(&self, from: usize, slots: usize) -> Option<Vec<Sighting>> {
        let end = self.standings.borrow().slots.len();
        let now = self.clock.now().as_secs();
        let told = |slot| self.standing_at(slot)?.sighting(now);
        (from < end).then(|| (from..end.min(from + slots)).filter_map(told).collect())
    }
}

impl Sightings {
    /// Forgets the oldest quarter, where there are too many: seldom, so that an end costs little.
    fn forget(&mut self) {
        if self.entries.len() <= MOST {
            return;
        }
        let mut numbers: Vec<u64> = self.entries.values().map(|entry| entry.number).collect();
        let (_, oldest_kept, _) = numbers.select_nth_unstable(MOST / 4);
        let oldest_kept = *oldest_kept;
        self.entries.retain(|_, entry| entry.number >= oldest_kept);
    }
}

impl Standing {
    /// Writes down where a connection's client was, now that it is gone.
    pub(super) fn note_sighting(&self, candidate: &Rc<Candidate>) {
        let Some(leaf) = candidate.leaf().ok().filter(|_| is_short(candidate)) else { return };
        let question = self.last_question();
        let spot = spot(leaf.fingerprint, &self.asker.listener, &question);
        let mut sightings = self.gate.sightings.borrow_mut();
        sightings.count += 1;
        let (sni, last) = (self.sni.get().cloned(), self.gate.clock.now().as_secs());
        let entry = Entry { candidate: Rc::clone(candidate), question, sni, last, number: sightings.count };
        sightings.entries.insert(spot, entry);
        sightings.forget();
    }

    fn sighting(&self, now: u64) -> Option<Sighting> {
        Sighting::of(self.candidate()?, &self.asker.listener, (self.last_question(), self.sni.get().cloned()), now, true)
    }

    /// Returns what was asked last: about a request, or about the connection where there was none.
    fn last_question(&self) -> Question {
        match self.answers.borrow().first() {
            Some(answer) => answer.question.clone(),
            None => Question::keep(&Scope { address: self.address, request: None, control: self.control }, None),
        }
    }
}

/// A chain longer than any that people use is not kept.
pub(super) fn is_short(candidate: &Candidate) -> bool {
    let leaf = candidate.leaf().map_or(0, |leaf| leaf.der.len());
    leaf + candidate.intermediates().iter().map(|der| der.len()).sum::<usize>() <= MOST_BYTES
}

fn spot(fingerprint: Fingerprint, listener: &Arc<str>, question: &Question) -> Spot {
    let scope = question.scope();
    let route = scope.request.and_then(|request| request.route).map(|route| route.name.clone());
    Spot { fingerprint, listener: Arc::clone(listener), route, address: scope.address.ip() }
}

/// Of one worker: some hundred KB of certificates, as a rule.
const MOST: usize = 1024;
const MOST_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn note(sightings: &mut Sightings, number: u64) {
        let nowhere = Scope { address: crate::admission::ClientAddress::Unknown, request: None, control: false };
        let question = Question::keep(&nowhere, None);
        let fingerprint = Fingerprint::of(&number.to_be_bytes());
        let entry = Entry {
            candidate: Rc::new(Candidate::presented(&[CertificateDer::from(vec![0])]).expect("presented")),
            question: question.clone(),
            sni: None,
            last: number,
            number,
        };
        sightings.entries.insert(spot(fingerprint, &"edge".into(), &question), entry);
        sightings.forget();
    }

    #[test]
    fn the_newest_are_kept_and_never_more_than_so_many() {
        let mut sightings = Sightings::default();
        for number in 0..3 * MOST as u64 {
            note(&mut sightings, number);
            assert!(sightings.entries.len() <= MOST);
        }
        let oldest = sightings.entries.values().map(|entry| entry.number).min();
        assert!(sightings.entries.len() > MOST / 2 && oldest >= Some(2 * MOST as u64), "{oldest:?}");
    }
}
