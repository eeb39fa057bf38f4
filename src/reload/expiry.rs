//! What comes to its end: certificates and principals, of files and of the ledger. Looked through on a thread of its own, for there may be a
//! million of them; each notice is given once, and whatever is near its end is listed until it is gone or renewed.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::control::{Control, View};
use super::lock;
use crate::clock::{self, Date};
use crate::metrics::{CertificateExpiry, Metrics};
use crate::pki::Fingerprint;
use crate::store::managed::{EndKind, Managed};
use crate::store::notices::{self, Given};

/// What is near its end, soonest first.
#[derive(Clone, Debug, Default)]
pub struct Expiring {
    pub ends: Vec<Ending>,
    /// How many more there are.
    pub more: usize,
}

/// Something near its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// As in the metric; `principal`: its `valid_until`; `crl`: its nextUpdate.
    pub kind: &'static str,
    /// A principal's name, or a file.
    pub name: String,
    pub fingerprint: Option<Fingerprint>,
    /// Seconds since the epoch.
    pub not_after: u64,
    /// The notice that is due: so many days before; 0: it has ended.
    pub notice: u32,
}

/// The thread that looks. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Watcher(#[expect(dead_code, reason = "its end is what is heard")] Sender<()>);

/// What the thread has in hand.
struct Thread {
    view: Arc<Mutex<Arc<View>>>,
    metrics: Arc<Metrics>,
    /// Principals by name in labels; else by id.
    names: bool,
    state: Option<PathBuf>,
    notices: Notices,
    expiring: Arc<Mutex<Arc<Expiring>>>,
}

/// Which notices were given.
#[derive(Debug, Default)]
struct Notices(HashMap<Fingerprint, Given>);

/// What a look finds.
struct Found {
    ends: Soonest<Ending>,
    /// Of managed principals and CRLs, for the metric.
    pins: Soonest<CertificateExpiry>,
    anchors: Soonest<CertificateExpiry>,
    crls: Soonest<CertificateExpiry>,
}

/// The so many that end first.
struct Soonest<T> {
    most: usize,
    kept: Vec<T>,
    dropped: usize,
    end: fn(&T) -> u64,
}

/// Starts to watch what is in force.
pub(super) fn start(control: &Control, metrics: &Arc<Metrics>, names: bool, state: Option<PathBuf>) -> io::Result<Watcher> {
    let (stop, stopped) = mpsc::channel();
    let thread = Thread {
        view: Arc::clone(&control.view),
        metrics: Arc::clone(metrics),
        names,
        notices: Notices::since_yesterday(state.as_deref().map(notices::load).unwrap_or_default(), clock::wall().as_secs()),
        state,
        expiring: Arc::clone(&control.expiring),
    };
    std::thread::Builder::new().name("expiry".to_owned()).spawn(move || thread.run(&stopped))?;
    Ok(Watcher(stop))
}

impl Thread {
    /// Looks at the start, when what is in force changes, and each hour; the longer it takes the more seldom.
    fn run(mut self, stopped: &Receiver<()>) {
        let mut seen: Option<(Arc<View>, Instant)> = None;
        let mut rested = Instant::now();
        loop {
            let view = Arc::clone(&lock(&self.view));
            let began = Instant::now();
            if began >= rested && seen.as_ref().is_none_or(|(seen, at)| is_other(seen, &view) || at.elapsed() >= HOUR) {
                self.look(&view, clock::wall().as_secs());
                // Hourly, whatever changes: the key that signs tokens comes to its end too.
                view.rules.prepare_tokens(clock::wall().as_secs());
                rested = Instant::now() + began.elapsed() * 50;
                seen = Some((view, began));
            }
            if stopped.recv_timeout(SECOND) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    fn look(&mut self, view: &View, now: u64) {
        let found = Found::of(view, self.names, now);
        let managed = [found.pins, found.anchors, found.crls].into_iter().flat_map(|soonest| soonest.sorted().0).collect();
        self.metrics.set_managed_certificates(managed);
        let (mut ends, more) = found.ends.sorted();
        // One file may be named in several places.
        let mut known = HashSet::new();
        ends.retain(|end| known.insert(end.key()));
        let due = self.notices.due(&ends, now);
        tell(&due, now);
        if let Some(state) = self.state.as_deref().filter(|_| !due.is_empty())
            && let Err(error) = notices::store(state, &self.notices.0)
        {
            tracing::debug!(%error, "the notices that were given are not kept: a restart gives them again");
        }
        *lock(&self.expiring) = Arc::new(Expiring { ends, more });
    }
}

/// Content tells, not the moment at which it was looked at.
fn is_other(seen: &View, now: &View) -> bool {
    !Arc::ptr_eq(&seen.state, &now.state)
        || seen.report.status.expiries != now.report.status.expiries
        || seen.report.status.expiry_notice != now.report.status.expiry_notice
}

impl Notices {
    /// Begins with what was given within a day: older ones are given again.
    fn since_yesterday(mut given: HashMap<Fingerprint, Given>, now: u64) -> Self {
        given.retain(|_, given| now.saturating_sub(given.at) < DAY);
        Self(given)
    }

    /// Returns those of which notice is to be given now, and counts them as given. What is not near its end any more is forgotten.
    fn due<'e>(&mut self, ends: &'e [Ending], now: u64) -> Vec<&'e Ending> {
        let mut given = HashMap::with_capacity(ends.len());
        let mut due = Vec::new();
        for end in ends {
            let key = end.key();
            let before = self.0.get(&key).copied().or_else(|| given.get(&key).copied());
            let is_due = before.is_none_or(|before| end.notice < before.days);
            if is_due {
                due.push(end);
            }
            given.insert(key, before.filter(|_| !is_due).unwrap_or(Given { days: end.notice, at: now }));
        }
        self.0 = given;
        due
    }
}

impl Ending {
    /// Tells one end from another: what is renewed ends anew.
    fn key(&self) -> Fingerprint {
        Fingerprint::of(format!("{}\0{}\0{:?}\0{}", self.kind, self.name, self.fingerprint, self.not_after).as_bytes())
    }
}

impl Found {
    fn of(view: &View, names: bool, now: u64) -> Self {
        let series = || Soonest::new(MOST_SERIES, |expiry: &CertificateExpiry| expiry.not_after);
        let mut found = Self { ends: Soonest::new(MOST, |end| end.not_after), pins: series(), anchors: series(), crls: series() };
        let status = &view.report.status;
        for file in &status.expiries {
            // CRLs are gone through below: those that count.
            if file.kind == "crl" {
                continue;
            }
            let notice = if file.notice.is_empty() { &status.expiry_notice } else { &file.notice };
            let name = file.principal.as_ref().unwrap_or(&file.name);
            found.near(file.kind, name, None, file.not_after, (notice, now));
        }
        for kept in view.state.principals(None) {
            found.managed(kept, names, &status.expiry_notice, now);
        }
        for (name, kept) in view.state.crls() {
            let expiry = |not_after| CertificateExpiry::new("crl", format!("ledger:{name}"), not_after);
            kept.crl.next_update.map(expiry).into_iter().for_each(|expiry| found.crls.push(expiry));
        }
        if !status.expiry_notice.is_empty() {
            found.stale(view, now);
        }
        found
    }

    /// CRLs are short-lived by nature: notice of one is given when a quarter of its life is left, whatever that is in days.
    fn stale(&mut self, view: &View, now: u64) {
        for (crl, written) in view.rules.snapshot.revocation.crls() {
            let Some(next_update) = crl.next_update else { continue };
            let Some(notice) = reached_of_crl(crl.this_update, next_update, now) else { continue };
            let named = view.state.crls().find(|(_, kept)| written.is_ledger() && Arc::ptr_eq(&kept.crl, crl));
            let name = named.map_or_else(|| written.file.to_string(), |(name, _)| format!("ledger:{name}"));
            self.ends.push(Ending { kind: "crl", name, fingerprint: None, not_after: next_update, notice });
        }
    }

    fn managed(&mut self, kept: &Managed, names: bool, general: &[u32], now: u64) {
        let document = &kept.document();
        let label = if names { &document.name } else { &document.id };
        let notice = if document.expiry_notice.is_empty() { general } else { &document.expiry_notice };
        for end in document.ends() {
            self.near(end.kind.name(), &document.name, end.fingerprint, end.not_after, (notice, now));
            let expiry = |label: String| CertificateExpiry::new(end.kind.name(), label, end.not_after);
            match end.kind {
                EndKind::Anchor => self.anchors.push(expiry(format!("ledger:{label}"))),
                EndKind::Pin => self.pins.push(expiry(label.clone())),
                // No certificate.
                EndKind::Principal => {}
            }
        }
    }

    fn near(&mut self, kind: &'static str, name: &str, fingerprint: Option<Fingerprint>, not_after: u64, (notice, now): (&[u32], u64)) {
        if let Some(notice) = reached(not_after, notice, now) {
            self.ends.push(Ending { kind, name: name.to_owned(), fingerprint, not_after, notice });
        }
    }
}

/// Returns the notice that is due: the shortest of those that began.
fn reached(not_after: u64, notice: &[u32], now: u64) -> Option<u32> {
    match not_after.checked_sub(now) {
        None => (!notice.is_empty()).then_some(0),
        Some(left) => notice.iter().copied().filter(|days| left <= u64::from(*days) * DAY).min(),
    }
}

/// The same of a CRL, by its life; in days, rounded up.
fn reached_of_crl(this_update: u64, next_update: u64, now: u64) -> Option<u32> {
    let quarter = next_update.saturating_sub(this_update) / 4;
    match next_update.checked_sub(now) {
        None => Some(0),
        Some(left) => (left <= quarter).then(|| u32::try_from(quarter.div_ceil(DAY)).unwrap_or(u32::MAX).max(1)),
    }
}

impl<T> Soonest<T> {
    fn new(most: usize, end: fn(&T) -> u64) -> Self {
        Self { most, kept: Vec::new(), dropped: 0, end }
    }

    fn push(&mut self, value: T) {
        self.kept.push(value);
        if self.kept.len() >= 2 * self.most {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if self.kept.len() > self.most {
            self.kept.select_nth_unstable_by_key(self.most, self.end);
            self.dropped += self.kept.len() - self.most;
            self.kept.truncate(self.most);
        }
    }

    /// Returns them, the first first, and how many were left out.
    fn sorted(mut self) -> (Vec<T>, usize) {
        self.cut();
        self.kept.sort_by_key(self.end);
        (self.kept, self.dropped)
    }
}

/// A line each, as long as there are not too many to read.
fn tell(due: &[&Ending], now: u64) {
    for Ending { kind, name, fingerprint, not_after, notice } in due.iter().take(MOST_LINES) {
        let (fingerprint, until) = (fingerprint.map(tracing::field::display), Date::of(*not_after));
        match not_after.checked_sub(now) {
            None => tracing::warn!(kind, name, fingerprint, %until, "this has ended"),
            Some(left) => tracing::warn!(kind, name, fingerprint, %until, days_left = left / DAY, notice, "this ends soon"),
        }
    }
    if due.len() > MOST_LINES {
        tracing::warn!(count = due.len() - MOST_LINES, "more end soon: `portcullis status` and `allow list` have them");
    }
}

const DAY: u64 = 86_400;
const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);
/// How many ends are listed, and known to have been told of.
const MOST: usize = 10_000;
/// As of the metric's other kinds: it keeps fewer still.
const MOST_SERIES: usize = 200;
const MOST_LINES: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn end(name: &str, not_after: u64, notice: &[u32], now: u64) -> Vec<Ending> {
        let ending = |notice| Ending { kind: "pin", name: name.to_owned(), fingerprint: None, not_after, notice };
        reached(not_after, notice, now).map(ending).into_iter().collect()
    }

    #[test]
    fn each_notice_is_given_once_as_time_goes_on() {
        let mut notices = Notices::default();
        let until = NOW + 40 * DAY;
        let mut given = Vec::new();
        for hour in 0..50 * 24 {
            let now = NOW + hour * 3600;
            let ends = end("alice", until, &[30, 7, 1], now);
            given.extend(notices.due(&ends, now).iter().map(|end| (end.notice, (until.saturating_sub(now)) / DAY)));
        }
        assert_eq!(given, [(30, 30), (7, 7), (1, 1), (0, 0)]);
    }

    #[test]
    fn a_clock_that_jumps_gives_the_shortest_notice_only_and_one_that_goes_back_gives_none_twice() {
        let mut notices = Notices::default();
        let due = |notices: &mut Notices, now| notices.due(&end("alice", NOW + 20 * DAY, &[30, 14, 7, 1], now), now).len();
        assert_eq!((due(&mut notices, NOW), due(&mut notices, NOW + 19 * DAY)), (1, 1));
        assert_eq!(due(&mut notices, NOW + 10 * DAY), 0);
    }

    #[test]
    fn what_is_renewed_ends_anew_and_what_is_gone_is_forgotten() {
        let mut notices = Notices::default();
        let due = |notices: &mut Notices, until| notices.due(&end("alice", until, &[30], NOW), NOW).len();
        assert_eq!((due(&mut notices, NOW + 5 * DAY), due(&mut notices, NOW + 29 * DAY)), (1, 1));
        assert_eq!(notices.0.len(), 1);
        assert_eq!((due(&mut notices, NOW + 31 * DAY), notices.0.len()), (0, 0));
    }

    #[test]
    fn a_restart_gives_a_notice_again_once_a_day_at_most() {
        let mut notices = Notices::default();
        let ends = end("alice", NOW + 5 * DAY, &[7], NOW);
        assert_eq!(notices.due(&ends, NOW).len(), 1);
        for (later, again) in [(3600, 0), (DAY - 1, 0), (DAY, 1)] {
            let mut restarted = Notices::since_yesterday(notices.0.clone(), NOW + later);
            assert_eq!(restarted.due(&ends, NOW + later).len(), again, "{later}");
        }
    }

    #[test]
    fn of_a_crl_the_last_quarter_of_its_life_tells() {
        let (this, next) = (NOW, NOW + 8 * DAY);
        for (now, notice) in
            [(NOW, None), (NOW + 6 * DAY - 1, None), (NOW + 6 * DAY, Some(2)), (next, Some(2)), (next + 1, Some(0)), (NOW - DAY, None)]
        {
            assert_eq!(reached_of_crl(this, next, now), notice, "{now}");
        }
        assert_eq!(reached_of_crl(NOW, NOW + 3600, NOW + 3000), Some(1), "an hour's");
        assert_eq!(reached_of_crl(NOW, NOW, NOW), Some(1));
    }

    #[test]
    fn no_notice_is_no_notice() {
        assert_eq!(reached(NOW, &[], NOW + 1), None);
        assert_eq!((reached(NOW, &[1], NOW), reached(NOW, &[1], NOW + 1)), (Some(1), Some(0)));
    }

    #[test]
    fn of_very_many_the_soonest_are_kept() {
        let mut soonest = Soonest::new(10, |end: &u64| *end);
        (0..1000).rev().for_each(|end| soonest.push(end));
        assert!(soonest.kept.len() < 20);
        assert_eq!(soonest.sorted(), ((0..10).collect(), 990));
    }
}
