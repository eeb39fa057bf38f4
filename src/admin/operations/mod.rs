//! What can be done, whoever asks and in whatever form: `/v1`, the adapters and the local socket call these. Each change goes through
//! [`change`], where what forbids it is asked on the control thread, of the newest state, and where it is told to the access log.

mod above;
mod acting;
mod audit;
pub(crate) mod certificates;
mod guard;
mod own;
pub(crate) mod principals;
pub(crate) mod purge;
pub(crate) mod restrictions;
pub(crate) mod tokens;

use std::sync::{Arc, Mutex, PoisonError};

use http::StatusCode;

use super::{Detail, Error, Shared};
use crate::admission::Snapshot;
use crate::challenge::Ours;
use crate::reload::control::Guard;
use crate::reload::{ChangeError, Control, Mutation, Recorded};
use crate::request::service::Caller;
use crate::store::ledger::{Actor, ActorKind};
use crate::store::managed::{Change, Refusal, State};
use acting::Acting;
pub(crate) use audit::Trail;

/// How something is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct How {
    /// Only say what would come of it.
    pub(crate) dry_run: bool,
    /// Why, for the ledger.
    pub(crate) reason: Option<String>,
}

/// Says what is to be changed: on the control thread, of the state that those before it made.
pub(crate) type Plan = Box<dyn Fn(&State, &Snapshot) -> Result<Vec<Change>, Refusal> + Send>;

/// Makes a change. `Ok`: in force on all workers, durable, and told to the access log.
pub(crate) async fn change(shared: &Arc<Shared>, caller: &Caller, how: How, plan: Plan) -> Result<Recorded, Error> {
    let acting = Acting::of(caller);
    let guarded = acting.clone();
    let plan: Plan = Box::new(move |state, snapshot| {
        guarded.check(state, snapshot)?;
        let changes = plan(state, snapshot)?;
        guard::check(&guarded, state, snapshot, &changes)?;
        Ok(changes)
    });
    make(shared, caller, how, (acting, plan)).await
}

/// Makes those of many changes that may be made, each by itself; and says of the others why not.
pub(crate) async fn change_what_may(
    shared: &Arc<Shared>,
    caller: &Caller,
    how: How,
    plan: Plan,
) -> Result<(Recorded, Vec<(Change, Refusal)>), Error> {
    let acting = Acting::of(caller);
    let (guarded, left) = (acting.clone(), Arc::new(Mutex::new(Vec::new())));
    let leaves = Arc::clone(&left);
    let plan: Plan = Box::new(move |state, snapshot| {
        guarded.check(state, snapshot)?;
        let (may, may_not) = guard::sift(&guarded, state, snapshot, plan(state, snapshot)?);
        // Asked again, it is the last answer that counts.
        *leaves.lock().unwrap_or_else(PoisonError::into_inner) = may_not;
        Ok(may)
    });
    let recorded = make(shared, caller, how, (acting, plan)).await?;
    let left = std::mem::take(&mut *left.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((recorded, left))
}

async fn make(shared: &Arc<Shared>, caller: &Caller, how: How, (acting, plan): (Acting, Plan)) -> Result<Recorded, Error> {
    let control = control(shared)?.clone();
    let trail = Trail::new(shared, caller, &acting, &how);
    let (actor, own, operator) = (acting.actor(), own::guard(caller), acting.is_operator());
    let guard: Guard = Box::new(move |prospect| {
        own.as_ref().map_or(Ok(()), |own| own(prospect))?;
        if operator { guard::keeps_those_above(prospect) } else { Ok(()) }
    });
    let How { dry_run, reason } = how;
    // A task of its own: whoever asked may be gone before it is made, and it is made, and told, all the same.
    let made = tokio::spawn(async move {
        let made = control.change(Mutation { actor, reason, dry_run, plan, guard: Some(guard) }).await;
        trail.tell(&made);
        made
    });
    let made = made.await.unwrap_or(Err(ChangeError::Ended));
    made.map_err(Error::from)
}

/// Takes a token back, by whoever has it: its signature says that it is ours, and no rank is needed to have less. Once is enough.
pub(crate) async fn take_back(shared: &Arc<Shared>, caller: &Caller, ours: &Ours) -> Result<(), Error> {
    let control = control(shared)?.clone();
    let (id, change) = (ours.token.id, Change::revoke_token(ours.token.id, ours.token.expires, ours.principal));
    let actor = Actor {
        id: Some(ours.principal.to_string()),
        name: Some(ours.name.clone()),
        token: Some(ours.token.id.to_string()),
        via: Some(caller.listener.to_string()),
        ..Actor::new(ActorKind::Token)
    };
    let trail = Trail::of(shared, caller, actor.clone());
    let plan: Plan = Box::new(move |_, snapshot| Ok(if snapshot.revocation.has_token(&id) { Vec::new() } else { vec![change.clone()] }));
    let made = tokio::spawn(async move {
        let made = control.change(Mutation { actor, reason: None, dry_run: false, plan, guard: None }).await;
        trail.tell(&made);
        made
    });
    made.await.unwrap_or(Err(ChangeError::Ended)).map(drop).map_err(Error::from)
}

/// Returns the handle of the control thread.
pub(crate) fn control(shared: &Shared) -> Result<&Control, Error> {
    Ok(&shared.running()?.control)
}

impl From<ChangeError> for Error {
    fn from(error: ChangeError) -> Self {
        let message = error.to_string();
        match error {
            ChangeError::Conflict(_) => Self::new(StatusCode::CONFLICT, "conflict", message),
            ChangeError::Ended => Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message),
            ChangeError::LedgerUnavailable { in_force, .. } => {
                Self { in_force: Some(in_force), ..Self::new(StatusCode::INSUFFICIENT_STORAGE, "ledger_unavailable", message) }
            }
            ChangeError::NoLedger => Self::new(StatusCode::CONFLICT, "no_ledger", message),
            ChangeError::Refused(refusal) => refusal.into(),
            ChangeError::Unready(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", message),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::BootstrapClosed | Refusal::ClearanceTooLow | Refusal::MaybeAbove { .. } => StatusCode::FORBIDDEN,
            Refusal::FingerprintTaken { .. }
            | Refusal::LastAdmin
            | Refusal::NameTaken
            | Refusal::OwnCertificate
            | Refusal::OwnToken
            | Refusal::Protected
            | Refusal::Static { .. } => StatusCode::CONFLICT,
            Refusal::Invalid(_) => StatusCode::BAD_REQUEST,
            Refusal::NotFound => StatusCode::NOT_FOUND,
            Refusal::VersionMismatch { .. } => StatusCode::PRECONDITION_FAILED,
        };
        let code = refusal.code();
        match refusal {
            Refusal::Invalid(wrong) => Self::invalid(wrong.into_iter().map(|wrong| Detail { key: wrong.key, why: wrong.why }).collect()),
            refusal => Self::new(status, code, refusal.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
