//! Watch, read whole, compile, install; or keep what we have and say why. One thread, off the workers: it sleeps until a
//! directory tells of a change, a second has passed, or somebody asks.

mod commit;
pub mod control;
pub mod expiry;
pub mod journal;
mod plan;
mod renewal;
mod tell;
mod watch;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::clock;
use crate::config::{Candidate, Loaded, Loader, Problem, Seen, Settings, Status};
use crate::log;
use crate::metrics::{Metrics, ReloadResult};
use crate::rules::Rules;
use crate::tls::ServerOnly;
use commit::Unrecorded;
use control::Pending;
pub use control::{ChangeError, Control, Mutation, Recorded, View};
pub use expiry::{Ending, Expiring};
use journal::Journal;
pub use plan::is_recordable;
use watch::{Change, Interests, Watch};

/// The thread that reloads. It ends when this is dropped.
#[derive(Debug)]
pub struct Reloader {
    control: Control,
    ends: Option<expiry::Watcher>,
    /// Disconnected once the thread has ended.
    ended: Mutex<Receiver<()>>,
}

/// Rules to be put in force, and what goes with them.
#[derive(Clone, Debug)]
pub struct Install {
    pub rules: Arc<Rules>,
    /// When the change was noticed.
    pub seen: Instant,
    pub audit: log::Audit,
    /// What the monitor shows from now on; `None`: plain HTTP.
    pub monitor_tls: Option<ServerOnly>,
}

/// How things stand: for the status page, and for whoever asked for a reload.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub generation: u64,
    pub status: Status,
    /// What is wrong now; empty while everything in force is what the files say.
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
    /// How many changes are in force that the ledger could not take yet.
    pub unrecorded: usize,
}

enum Message {
    Ask {
        force: bool,
        answer: Option<Answer>,
    },
    Change(Pending),
    /// A copy of what is known, to try a configuration on.
    Consider(oneshot::Sender<Candidate>),
    Fetched,
    Heard(notify::Event),
    Stop,
}

/// Whoever asked for a reload hears how things stand then.
type Answer = Box<dyn FnOnce(Report) + Send>;

/// Starts to watch. `loader` has loaded once, `loaded` is what came of it and is in force already. `install` puts rules in force and
/// returns when they are.
pub fn start(
    loader: Loader,
    loaded: &Loaded,
    metrics: Arc<Metrics>,
    journal: Option<Box<dyn Journal>>,
    install: impl FnMut(Install) + Send + 'static,
) -> io::Result<Reloader> {
    let (asks, messages) = mpsc::channel();
    let heard = asks.clone();
    // The thread may be gone before its watcher is.
    let watch = Watch::new(move |event| drop(heard.send(Message::Heard(event))));
    let fetched = asks.clone();
    loader.on_fetch(move || drop(fetched.send(Message::Fetched)));
    let report = Report {
        generation: loaded.rules.generation,
        status: loaded.status.clone(),
        problems: Vec::new(),
        warnings: loaded.warnings.clone(),
        unrecorded: 0,
    };
    let mut thread = Thread {
        view: Arc::new(Mutex::new(Arc::new(View { state: Arc::clone(loader.managed()), rules: Arc::clone(&loaded.rules), report }))),
        loader,
        journal,
        unrecorded: Unrecorded::default(),
        unpublished: false,
        watch,
        interests: Interests::new(),
        messages,
        metrics,
        install,
        started_with: loaded.settings.clone(),
        waits_for_a_start: Vec::new(),
        unstable_since: None,
        again: None,
    };
    thread.publish(&loaded.status);
    // A start is a reload that succeeded.
    thread.metrics.reloaded(ReloadResult::Success, clock::wall().as_secs_f64());
    thread.arm();
    thread.close_bootstrap();
    let ledger = thread.journal.as_ref().and_then(|journal| journal.reader());
    let control = Control { asks, view: Arc::clone(&thread.view), ledger, expiring: Arc::default() };
    let (running, ended) = mpsc::channel();
    let run = move || {
        thread.run();
        drop(running);
    };
    std::thread::Builder::new().name("reload".to_owned()).spawn(run)?;
    Ok(Reloader { control, ends: None, ended: Mutex::new(ended) })
}

impl Reloader {
    /// Asks for everything to be read again, as SIGHUP does; does not wait.
    pub fn reload(&self) {
        let _ = self.control.asks.send(Message::Ask { force: false, answer: None });
    }

    /// Gives notice of what comes to its end, from now on.
    pub fn watch_ends(&mut self, metrics: &Arc<Metrics>, settings: &Settings) -> io::Result<()> {
        self.ends = Some(expiry::start(&self.control, metrics, settings.monitor_names, settings.state.clone())?);
        Ok(())
    }

    /// Returns the handle by which others look at what is in force, and change it.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Ends the thread once it has done what it is at, and waits for that: a process that ends between a checkpoint and the note of what
    /// was seen leaves the two apart. False: it took longer.
    pub fn settle(&self, within: Duration) -> bool {
        let _ = self.control.asks.send(Message::Stop);
        matches!(lock(&self.ended).recv_timeout(within), Err(RecvTimeoutError::Disconnected))
    }
}

impl Drop for Reloader {
    fn drop(&mut self) {
        let _ = self.control.asks.send(Message::Stop);
    }
}

struct Thread<F> {
    loader: Loader,
    watch: Watch,
    interests: Interests,
    messages: Receiver<Message>,
    metrics: Arc<Metrics>,
    install: F,
    started_with: Settings,
    /// What was written since and needs a restart.
    waits_for_a_start: Vec<Problem>,
    view: Arc<Mutex<Arc<View>>>,
    journal: Option<Box<dyn Journal>>,
    unrecorded: Unrecorded,
    /// Checkpoint and tiles are behind the entries, and that was said.
    unpublished: bool,
    /// Since when something changes whenever it is read.
    unstable_since: Option<Instant>,
    again: Option<Instant>,
}

/// What a look is for.
#[derive(Default)]
struct Cause {
    seen: Seen,
    /// Somebody asked: counted even if nothing changed.
    asked: bool,
    answers: Vec<Answer>,
    changes: Vec<Pending>,
    /// Something was heard of files, or may have been missed.
    look: bool,
    stop: bool,
}

impl<F: FnMut(Install)> Thread<F> {
    fn run(mut self) {
        let mut poll = Instant::now() + POLL;
        loop {
            let wake = self.again.into_iter().chain([poll]).min().unwrap_or(poll);
            let mut cause = Cause::default();
            match self.messages.recv_timeout(wake.saturating_duration_since(Instant::now())) {
                Ok(message) => {
                    if !self.take(message, &mut cause) {
                        continue;
                    }
                }
                Err(RecvTimeoutError::Timeout) => cause.look = true,
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let noticed = Instant::now();
            self.gather(noticed, &mut cause);
            let (stop, looks) = (cause.stop, cause.look);
            // A defect that one change or one file finds must not end the thread that takes people off the list: counted and said where
            // panics are. What was in force is, and whoever waited hears that nothing came of it.
            let _ = catch_unwind(AssertUnwindSafe(|| self.act(noticed, cause)));
            if stop {
                return;
            }
            if looks {
                // A list so long that a look takes its time is looked at less often: events tell sooner anyway.
                poll = Instant::now() + POLL.max(noticed.elapsed() * 20);
            }
        }
    }

    fn act(&mut self, noticed: Instant, mut cause: Cause) {
        let changes = std::mem::take(&mut cause.changes);
        if !changes.is_empty() {
            self.change(noticed, changes);
        }
        if cause.look && !cause.stop {
            // Changes that took something away, and that the ledger could not take.
            if self.record().is_ok() {
                self.make_public();
            }
            self.look(noticed, cause);
        }
    }

    /// Takes a message in; false where that is all.
    fn take(&self, message: Message, cause: &mut Cause) -> bool {
        match message {
            Message::Ask { force, answer } => {
                cause.seen.force |= force;
                cause.seen.reread = true;
                (cause.asked, cause.look) = (true, true);
                cause.answers.extend(answer);
            }
            Message::Fetched => cause.look = true,
            Message::Change(pending) => cause.changes.push(pending),
            Message::Consider(answer) => {
                let _ = answer.send(self.loader.candidate());
                return false;
            }
            Message::Heard(event) => {
                match watch::change(&event, &self.interests) {
                    Some(Change::Any) => {}
                    Some(Change::Removed(name)) => drop(cause.seen.removed.insert(name)),
                    Some(Change::Renamed) => cause.seen.renamed = true,
                    None => return false,
                }
                cause.look = true;
            }
            Message::Stop => cause.stop = true,
        }
        true
    }

    /// Takes in what follows at once: one rename is three events. Changes wait for nothing, and are made together with those that came
    /// while the ones before them were recorded.
    fn gather(&self, noticed: Instant, cause: &mut Cause) {
        while noticed.elapsed() < BURST && cause.changes.len() < MOST_CHANGES {
            let message = match cause.changes.is_empty() && cause.look {
                true => self.messages.recv_timeout(QUIET).ok(),
                false => self.messages.try_recv().ok(),
            };
            let Some(message) = message else { return };
            self.take(message, cause);
        }
    }

    fn look(&mut self, noticed: Instant, cause: Cause) {
        let before = (self.loader.rules().cloned(), self.loader.policy_hash(self.loader.managed()));
        let look = self.loader.look(&cause.seen);
        self.again = look.again;
        let waits = self.waits(&look);
        if let Some(loaded) = &look.loaded {
            self.install(noticed, loaded);
            self.record_files(before, loaded);
            self.close_bootstrap();
        }
        if !waits {
            self.tell(&look, noticed, cause.asked);
        }
        self.publish(&look.status);
        self.arm();
        let report = lock(&self.view).report.clone();
        for answer in cause.answers {
            answer(report.clone());
        }
    }

    fn install(&mut self, noticed: Instant, loaded: &Loaded) {
        (self.install)(Install {
            rules: Arc::clone(&loaded.rules),
            seen: noticed,
            audit: loaded.settings.audit.clone(),
            monitor_tls: loaded.monitor_tls.clone(),
        });
    }

    /// Shows what is in force, and how things stand.
    fn show(&self, mut report: Report) {
        let Some(rules) = self.loader.rules().cloned() else { return };
        // Of now: a first admin of a file closes bootstrap after the look that found it.
        report.status.hash = self.loader.policy_hash(self.loader.managed());
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        self.metrics.reload_problems.set(report.problems.len() as f64);
        *lock(&self.view) = Arc::new(View { state: Arc::clone(self.loader.managed()), rules, report });
    }

    fn arm(&mut self) {
        self.interests = watch::interests(&self.loader.watched());
        self.watch.arm(&self.interests);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked while it held the lock had only plain data in hand.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The net under the watches: NFS, overlays, a queue that ran over.
const POLL: Duration = Duration::from_secs(1);
/// A burst of events is one change.
const BURST: Duration = Duration::from_millis(10);
/// How many changes are made together at most.
const MOST_CHANGES: usize = 1024;
const QUIET: Duration = Duration::from_millis(1);

/// A busy machine is no failure.
#[cfg(test)]
const DEADLINE: Duration = Duration::from_secs(60);
#[cfg(test)]
mod lasting_tests;
#[cfg(test)]
mod managed_tests;
#[cfg(test)]
mod tests;
