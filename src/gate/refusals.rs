//! The lines about denials. Each says everything, to the operator; above a number a second from one source,
//! one counted line says the rest, so that nobody can fill the disk or hide behind noise.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use super::{Asker, Checkpoint};
use crate::admission::{Candidate, Decision, Denial, Principal, Scope, TokenId};
use crate::log::{Entry, RefusalLog, Way};
use crate::pki::Certificate;

/// What a decision was about: for the log, never for the decision.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    pub checkpoint: Checkpoint,
    pub scope: Option<Scope<'a>>,
    pub inquiry: Option<Inquiry<'a>>,
}

/// What a request asked for, in its own words.
#[derive(Clone, Copy, Debug)]
pub struct Inquiry<'a> {
    pub request_id: &'a str,
    pub method: &'a str,
    pub host: &'a str,
    /// Without the query: those carry tokens.
    pub path: &'a str,
}

/// Who was refused, and by which code.
#[derive(Clone, Copy)]
pub(super) struct Refused<'a> {
    pub(super) code: &'static str,
    pub(super) generation: u64,
    pub(super) principal: Option<&'a Principal>,
    pub(super) leaf: Option<&'a Certificate>,
    pub(super) token: Option<TokenId>,
    /// Only its key was matched: what else its holder wrote into it is no claim.
    pub(super) by_key_alone: bool,
}

impl<'a> Refused<'a> {
    /// By a decision.
    pub(super) fn by(decision: &'a Decision, denial: Denial, candidate: Option<&'a Candidate>) -> Self {
        Self {
            code: denial.code(),
            generation: decision.generation,
            principal: decision.principal.as_deref(),
            leaf: candidate.and_then(|candidate| candidate.leaf().ok()),
            token: candidate.and_then(token_of),
            by_key_alone: decision.steps.iter().any(|step| step.rule == "spki_pin" && step.denial.is_none()),
        }
    }

    /// Returns the principal's audit claims. Attributes of a leaf are told only where more than its key was matched: its holder
    /// writes them itself otherwise.
    fn claims(&self) -> Vec<(String, String)> {
        let (Some(principal), Some(leaf), false) = (self.principal, self.leaf, self.by_key_alone) else { return Vec::new() };
        principal.terms.audit_claims.iter().map(|claim| (claim.to_string(), claim.values(leaf).join(","))).collect()
    }
}

/// Returns the token that speaks for a candidate.
pub(super) fn token_of(candidate: &Candidate) -> Option<TokenId> {
    Some(candidate.claims()?.token.as_ref()?.id)
}

impl<'a> About<'a> {
    /// Tells the scope that was judged.
    pub fn of(checkpoint: Checkpoint, scope: Scope<'a>) -> Self {
        Self { checkpoint, scope: Some(scope), inquiry: None }
    }
}

impl From<Checkpoint> for About<'_> {
    fn from(checkpoint: Checkpoint) -> Self {
        Self { checkpoint, scope: None, inquiry: None }
    }
}

/// Who caused how many lines in the second that runs.
pub(super) struct Refusals {
    limit: u32,
    /// `None`: the operational log.
    log: Option<RefusalLog>,
    began: Instant,
    sources: HashMap<Option<IpAddr>, u32>,
    /// Denials of sources that came after the table was full.
    crowd: u32,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { limit: 10, log: None, began: Instant::now(), sources: HashMap::new(), crowd: 0 }
    }
}

impl Refusals {
    pub(super) fn limit(&mut self, lines: u32) {
        self.limit = lines;
    }

    pub(super) fn tell(&mut self, log: RefusalLog) {
        self.log = Some(log);
    }

    /// Writes one denial's line, if its source may have one more. What the client chose (its subject) comes escaped and cut.
    pub(super) fn log(&mut self, refused: &Refused<'_>, steps: impl FnOnce() -> String, asker: &Asker, about: &About<'_>) {
        let way = self.way();
        if way == Way::Nowhere || !self.may_log(asker) {
            return;
        }
        let Refused { code, generation, principal, leaf, .. } = *refused;
        let subject = leaf.map(|leaf| cut(leaf.subject.rfc2253()));
        let token = refused.token.map(|token| token.to_string());
        let steps = steps();
        let client = about.scope.and_then(|scope| scope.address.ip());
        let route = about.scope.and_then(|scope| scope.request?.route).map(|route| &*route.name);
        let Some(log) = self.log.as_ref().filter(|_| way == Way::Own) else {
            tracing::info!(
                checkpoint = about.checkpoint.name(),
                client = client.map(tracing::field::display),
                code,
                connection = asker.connection,
                fingerprint = leaf.map(|leaf| tracing::field::display(leaf.fingerprint)),
                generation,
                listener = &*asker.listener,
                peer = asker.peer.map(tracing::field::display),
                principal = principal.map(|principal| tracing::field::display(&principal.name)),
                request_id = about.inquiry.map(|inquiry| inquiry.request_id),
                route,
                steps,
                subject,
                token,
                "denied"
            );
            return;
        };
        let (name, id) = (principal.map(|principal| principal.name.to_string()), principal.map(|principal| principal.id.to_string()));
        let claims = refused.claims();
        let claims: Vec<(&str, &str)> = claims.iter().map(|(name, value)| (&**name, &**value)).collect();
        log.line(&Entry {
            event: "denied",
            checkpoint: Some(about.checkpoint.name()),
            principal: name.as_deref(),
            principal_id: id.as_deref(),
            fingerprint: leaf.map(|leaf| leaf.fingerprint.as_bytes()),
            subject: subject.as_deref(),
            token: token.as_deref(),
            claims: &claims,
            listener: &asker.listener,
            connection: asker.connection,
            peer: asker.peer,
            client,
            request_id: about.inquiry.map(|inquiry| inquiry.request_id),
            method: about.inquiry.map(|inquiry| inquiry.method),
            host: about.inquiry.map(|inquiry| inquiry.host),
            path: about.inquiry.map(|inquiry| inquiry.path),
            route,
            verdict: Some("deny"),
            code: Some(code),
            generation,
            steps: Some(&steps),
            ..Entry::default()
        });
    }

    /// Counts a denial, and tells whether it gets a line of its own.
    fn may_log(&mut self, asker: &Asker) -> bool {
        self.sum_up();
        let source = asker.peer.map(|peer| source(peer.ip()));
        if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&source) {
            self.crowd = self.crowd.saturating_add(1);
            return false;
        }
        let lines = self.sources.entry(source).or_default();
        *lines = lines.saturating_add(1);
        *lines <= self.limit
    }

    /// Lets a second end, and what is buffered out: twice a second.
    pub(super) fn tick(&mut self) {
        self.sum_up();
        if let Some(log) = &self.log {
            log.flush();
        }
    }

    /// Writes the counted lines when the second is over.
    fn sum_up(&mut self) {
        if self.sources.is_empty() || self.began.elapsed() < SECOND {
            if self.sources.is_empty() {
                self.began = Instant::now();
            }
            return;
        }
        let limit = self.limit;
        let over: Vec<_> = self.sources.drain().filter(|(_, lines)| *lines > limit).collect();
        for (source, lines) in over {
            self.more(&source.map_or_else(|| "unix".to_owned(), |ip| ip.to_string()), lines - limit);
        }
        if self.crowd > 0 {
            self.more("others", self.crowd);
        }
        self.crowd = 0;
        self.began = Instant::now();
    }

    fn more(&self, source: &str, count: u32) {
        match (self.way(), &self.log) {
            (Way::Own, Some(log)) => {
                log.line(&Entry { event: "more_denied", source: Some(source), count: Some(count.into()), ..Entry::default() });
            }
            (Way::Nowhere, _) => {}
            _ => tracing::info!(source, count, "more denials, not logged one by one"),
        }
    }

    fn way(&self) -> Way {
        self.log.as_ref().map_or(Way::Operational, RefusalLog::way)
    }
}

/// Returns the source that an address belongs to. One subscriber is one: of IPv6 it has a /64.
pub fn source(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
    }
}

/// Tells a decision's steps in one line.
pub(super) fn steps(decision: &Decision) -> String {
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
