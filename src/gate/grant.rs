//! Proof that a request may go on. `identity` and `upstream` take a `&Grant`, so forwarding a request that
//! nobody admitted does not compile.

use std::rc::Rc;

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

/// An admitted client on one route.
#[derive(Debug)]
pub struct Admitted {
    pub candidate: Rc<Candidate>,
    pub admission: Admission,
    pub generation: u64,
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
