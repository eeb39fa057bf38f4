//! The lines about denials. Each says everything, to the operator; above a number a second from one source,
//! one counted line says the rest, so that nobody can fill the disk or hide behind noise.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use super::{Asker, Checkpoint};
use crate::admission::{Candidate, Decision, Denial};

/// Who caused how many lines in the second that runs.
pub(super) struct Refusals {
    limit: u32,
    began: Instant,
    sources: HashMap<Option<IpAddr>, u32>,
    /// Denials of sources that came after the table was full.
    crowd: u32,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { limit: 10, began: Instant::now(), sources: HashMap::new(), crowd: 0 }
    }
}

impl Refusals {
    pub(super) fn limit(&mut self, lines: u32) {
        self.limit = lines;
    }

    /// Counts a denial, and tells whether it gets a line of its own.
    pub(super) fn may_log(&mut self, asker: &Asker) -> bool {
        self.flush();
        let source = asker.peer.map(|peer| source(peer.ip()));
        if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&source) {
            self.crowd = self.crowd.saturating_add(1);
            return false;
        }
        let lines = self.sources.entry(source).or_default();
        *lines = lines.saturating_add(1);
        *lines <= self.limit
    }

    /// Writes the counted lines when the second is over; the tick sees to it that it ends.
    pub(super) fn flush(&mut self) {
        if self.sources.is_empty() || self.began.elapsed() < SECOND {
            if self.sources.is_empty() {
                self.began = Instant::now();
            }
            return;
        }
        let limit = self.limit;
        if limit == 0 {
            // Not wanted at all: `[audit] refusals = false`.
            self.sources.clear();
            self.crowd = 0;
        }
        for (source, lines) in self.sources.drain().filter(|(_, lines)| *lines > limit) {
            let source = source.map_or_else(|| "unix".to_owned(), |ip| ip.to_string());
            tracing::info!(source, count = lines - limit, "more denials, not logged one by one");
        }
        if self.crowd > 0 {
            tracing::info!(source = "others", count = self.crowd, "more denials, not logged one by one");
        }
        self.crowd = 0;
        self.began = Instant::now();
    }
}

/// One subscriber is one source: of IPv6 it has a /64.
fn source(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
    }
}

/// Writes one denial's line. What the client chose (its subject) comes escaped and cut.
pub(super) fn log(denial: Denial, decision: &Decision, candidate: Option<&Candidate>, asker: &Asker, checkpoint: Checkpoint) {
    let leaf = candidate.and_then(|candidate| candidate.leaf().ok());
    let subject = leaf.map(|leaf| cut(leaf.subject.rfc2253()));
    tracing::info!(
        checkpoint = checkpoint.name(),
        code = denial.code(),
        connection = asker.connection,
        fingerprint = leaf.map(|leaf| tracing::field::display(leaf.fingerprint)),
        generation = decision.generation,
        listener = &*asker.listener,
        peer = asker.peer.map(tracing::field::display),
        principal = decision.principal.as_ref().map(|principal| tracing::field::display(&principal.name)),
        steps = steps(decision),
        subject,
        "denied"
    );
}

fn steps(decision: &Decision) -> String {
    let mut text = String::new();
    for step in decision.steps.iter() {
        let separator = if text.is_empty() { "" } else { "; " };
        let _ = write!(text, "{separator}{}: {}", step.rule, step.finding);
        if let Some(denial) = step.denial {
            let _ = write!(text, " [{}]", denial.code());
        }
    }
    text
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_SUBJECT {
        let end = (0..=MAX_SUBJECT).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    text
}

const SECOND: Duration = Duration::from_secs(1);
const MAX_SOURCES: usize = 1024;
const MAX_SUBJECT: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(peer: &str) -> Asker {
        Asker { listener: "edge".into(), peer: Some(peer.parse().unwrap()), connection: 1 }
    }

    #[test]
    fn one_source_has_so_many_lines_and_others_have_theirs() {
        let mut refusals = Refusals::default();
        refusals.limit(2);
        // One subscriber, whatever port and address inside its /64 it comes from.
        let noisy = ["[2001:db8::1]:1", "[2001:db8::2]:2", "[2001:db8::ffff]:3", "[2001:db8::1]:4"];
        assert_eq!(noisy.map(|peer| refusals.may_log(&asker(peer))), [true, true, false, false]);
        let others = ["[2001:db8:0:1::1]:1", "192.0.2.1:1", "[::ffff:192.0.2.1]:1", "192.0.2.1:2"];
        assert_eq!(others.map(|peer| refusals.may_log(&asker(peer))), [true, true, true, false]);
    }

    #[test]
    fn more_sources_than_are_kept_are_counted_together() {
        let mut refusals = Refusals::default();
        for host in 0..MAX_SOURCES as u32 {
            assert!(refusals.may_log(&asker(&format!("{}:1", std::net::Ipv4Addr::from_bits(host)))));
        }
        assert!(!refusals.may_log(&asker("203.0.113.1:1")));
        assert_eq!((refusals.crowd, refusals.sources.len()), (1, MAX_SOURCES));
    }
}
