//! The handle by which others look at what is in force and change it: for `admin` and `cli`. Cheap to clone, and of any thread; the work
//! is done on the reload thread, which is the one place that changes what is in force.

use std::fmt;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::{Expiring, Message, Report, lock, renewal};
use crate::admission::Snapshot;
use crate::config::Candidate;
use crate::gate::Renewed;
use crate::rules::Rules;
use crate::store::ledger::{Actor, ActorKind, Appended, Reader};
use crate::store::managed::{Change, Refusal, State};

/// The handle.
#[derive(Clone, Debug)]
pub struct Control {
    pub(super) asks: Sender<Message>,
    pub(super) view: Arc<Mutex<Arc<View>>>,
    pub(super) ledger: Option<Reader>,
    pub(super) expiring: Arc<Mutex<Arc<Expiring>>>,
}

/// What is in force, at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// The managed principals.
    pub state: Arc<State>,
    pub rules: Arc<Rules>,
    pub report: Report,
}

/// A change to managed principals, as somebody asks for it.
pub struct Mutation {
    pub actor: Actor,
    pub reason: Option<String>,
    /// Only say what would come of it.
    pub dry_run: bool,
    pub plan: Plan,
    /// What else has to hold.
    pub guard: Option<Guard>,
}

/// Looks at what would come of a change, and says why it must not be made.
pub type Guard = Box<dyn Fn(&Prospect<'_>) -> Result<(), Refusal> + Send>;

/// What is in force, and what would be.
#[derive(Clone, Copy, Debug)]
pub struct Prospect<'a> {
    /// The managed principals before the change.
    pub state: &'a State,
    pub before: &'a Rules,
    pub after: &'a Rules,
}

/// Says what is to be changed: asked on the control thread, of the newest state, so that what it checks (versions, who is asking, the last
/// admin) holds when the change is made. Asked again where the state that it saw did not come to be.
pub type Plan = Box<dyn Fn(&State, &Snapshot) -> Result<Vec<Change>, Refusal> + Send>;

/// What became of a mutation.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// One for each change, in order; none where nothing was to be changed, and none of a dry run.
    pub entries: Vec<Appended>,
    pub generation: u64,
    /// With the change made: also of a dry run.
    pub state: Arc<State>,
    /// As they were recorded: with ids, versions, times.
    pub changes: Vec<Change>,
}

/// Why a mutation was not made, or not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeError {
    /// It cannot stand beside what files say.
    Conflict(String),
    /// The proxy is ending.
    Ended,
    /// Not recorded. `in_force`: it took something away and holds, and will be recorded as soon as that can be done; until then a restart
    /// would forget it.
    LedgerUnavailable {
        in_force: bool,
        why: String,
    },
    /// There is no state directory: nothing can be managed.
    NoLedger,
    Refused(Refusal),
    /// Not now: something that every change needs is not there. Nothing is wrong with it, and it may be asked for again.
    Unready(&'static str),
}

impl Control {
    /// Says how things stand.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&lock(&self.view))
    }

    /// Returns what is near its end.
    pub fn expiring(&self) -> Arc<Expiring> {
        Arc::clone(&lock(&self.expiring))
    }

    /// Returns the ledger, for reading; `None`: there is none.
    pub fn ledger(&self) -> Option<Reader> {
        self.ledger.clone()
    }

    /// Makes a change. `Ok`: in force on all workers, and durable.
    pub async fn change(&self, mutation: Mutation) -> Result<Recorded, ChangeError> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(Message::Change(Pending { mutation, answer })).map_err(|_| ChangeError::Ended)?;
        answered.await.unwrap_or(Err(ChangeError::Ended))
    }

    /// Pins a certificate that renews one, if it still does on the newest state; does not wait.
    pub fn renew(&self, renewed: Renewed) {
        let actor = Actor {
            id: Some(renewed.principal.id.to_string()),
            name: Some(renewed.principal.name.to_string()),
            fingerprint: Some(renewed.predecessor.to_string()),
            ..Actor::new(ActorKind::System)
        };
        let reason = Some("renewed on the same key".to_owned());
        let plan: Plan = Box::new(move |state, snapshot| renewal::plan(&renewed, state, snapshot));
        let mutation = Mutation { actor, reason, dry_run: false, plan, guard: None };
        // Nobody waits: whoever renewed is admitted meanwhile, and what fails is said in the log and tried again in an hour.
        let (answer, _) = oneshot::channel();
        let _ = self.asks.send(Message::Change(Pending { mutation, answer }));
    }

    /// Hands out a copy of what is known, to try a configuration on: elsewhere, for that takes its time. `None` once the thread has ended.
    pub async fn candidate(&self) -> Option<Candidate> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(Message::Consider(answer)).ok()?;
        answered.await.ok()
    }

    /// Has all files read again, `force`: past `max_shrink` too, and says how things stand then. `None` once the thread has ended.
    pub async fn reload(&self, force: bool) -> Option<Report> {
        let (answer, answered) = oneshot::channel();
        let answer = Box::new(move |report| drop(answer.send(report)));
        self.asks.send(Message::Ask { force, answer: Some(answer) }).ok()?;
        answered.await.ok()
    }
}

/// A mutation that waits for its answer.
pub(super) struct Pending {
    pub(super) mutation: Mutation,
    pub(super) answer: oneshot::Sender<Result<Recorded, ChangeError>>,
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict(why) => f.write_str(why),
            Self::Ended => f.write_str("the proxy is ending"),
            Self::LedgerUnavailable { in_force: true, why } => {
                write!(f, "in force, and not recorded yet: {why}; until it is, a restart forgets it")
            }
            Self::LedgerUnavailable { in_force: false, why } => write!(f, "nothing was changed, since it could not be recorded: {why}"),
            Self::NoLedger => f.write_str("nothing can be managed without a state directory: `[store] path` is empty"),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Unready(why) => write!(f, "{why}: nothing was changed, ask again"),
        }
    }
}

impl std::error::Error for ChangeError {}

impl From<Refusal> for ChangeError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl fmt::Debug for Mutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutation").field("actor", &self.actor).field("dry_run", &self.dry_run).finish_non_exhaustive()
    }
}
