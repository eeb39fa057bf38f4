//! Proof that a request may go on. `identity` and `upstream` take a `&Grant`, so forwarding a request that
//! nobody admitted does not compile.

use std::any::Any;
use std::cell::OnceCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::Gate;
use crate::admission::{Admission, Basis, Candidate};
use crate::pki::Certificate;

/// Minted by `Standing::check` only.
#[derive(Clone, Debug)]
pub struct Grant(pub(super) Kind);

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Certificate(Rc<Admitted>),
    Open,
}

/// An admitted client on one route: one value for all its connections to this worker, as long as they are told the same.
#[derive(Debug)]
pub struct Admitted {
    pub candidate: Rc<Candidate>,
    pub admission: Admission,
    pub generation: u64,
    /// What those make of it who tell others of the client: made once, for all its connections.
    pub told: OnceCell<Rc<dyn Any>>,
}

impl Admitted {
    /// Says the same of the same client. Ids, names and terms are those of one generation: compared all the same.
    fn says_the_same(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.admission, &other.admission);
        Rc::ptr_eq(&self.candidate, &other.candidate)
            && self.generation == other.generation
            && ours.access == theirs.access
            && ours.basis == theirs.basis
            && ours.identifier == theirs.identifier
            && ours.principal.id == theirs.principal.id
            && ours.principal.name == theirs.principal.name
            && ours.principal.display_name == theirs.principal.display_name
            && Arc::ptr_eq(&ours.principal.terms, &theirs.principal.terms)
    }
}

impl Gate {
    /// Returns what another connection of the client was told last, if that is the same.
    pub(super) fn in_common(&self, admitted: Admitted) -> Rc<Admitted> {
        let mut latest = self.admitted.borrow_mut();
        let of_client = Rc::as_ptr(&admitted.candidate);
        let known = latest.get(&of_client).and_then(Weak::upgrade).filter(|known| known.says_the_same(&admitted));
        known.unwrap_or_else(|| {
            let admitted = Rc::new(admitted);
            if latest.len() == latest.capacity() {
                latest.retain(|_, known| known.strong_count() > 0);
            }
            latest.insert(of_client, Rc::downgrade(&admitted));
            admitted
        })
    }
}

impl Grant {
    /// Returns who was admitted; `None` on an open route.
    pub fn admitted(&self) -> Option<&Rc<Admitted>> {
        match &self.0 {
            Kind::Certificate(admitted) => Some(admitted),
            Kind::Open => None,
        }
    }

    /// Returns the leaf whose names may be told; `None` for open routes and SPKI pins.
    pub fn leaf(&self) -> Option<&Certificate> {
        let admitted = self.admitted()?;
        match admitted.admission.basis {
            Basis::SpkiPin => None,
            Basis::Authority { .. } | Basis::Pin | Basis::Renewal { .. } | Basis::ServerCertificate { .. } | Basis::WellKnownAdmin => {
                admitted.candidate.leaf().ok()
            }
        }
    }
}
