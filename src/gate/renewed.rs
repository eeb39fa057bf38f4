//! Tells whoever keeps the pins of renewals: certificates that were admitted because they renew a pinned one. The gate tells, and
//! pins nothing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;

use super::Possession;
use crate::admission::{Basis, Decision, Principal, Verdict};
use crate::pki::Fingerprint;

/// A renewal to be recorded and pinned. Its key was proven.
#[derive(Clone, Debug)]
pub struct Renewed {
    pub principal: Arc<Principal>,
    pub certificate: CertificateDer<'static>,
    pub predecessor: Fingerprint,
    /// The number of the snapshot that was asked; another may be in force when this is read, so judge again before pinning.
    pub generation: u64,
}

/// Takes what is told; on the worker's thread, so that it must not wait.
pub type OnRenewed = Rc<dyn Fn(Renewed)>;

/// Who is told, and what they were told of lately.
#[derive(Default)]
pub(super) struct Renewals {
    listener: RefCell<Option<OnRenewed>>,
    told: RefCell<HashMap<Fingerprint, u64>>,
}

impl Renewals {
    pub(super) fn listen(&self, listener: OnRenewed) {
        *self.listener.borrow_mut() = Some(listener);
    }

    /// Tells of a renewal: each certificate once, and again after an hour if it is still none of the pins.
    pub(super) fn note(&self, decision: &Decision, possession: &Possession, now: u64) {
        let Verdict::Admit(admission) = &decision.verdict else { return };
        let (Basis::Renewal { predecessor }, Ok(leaf)) = (&admission.basis, possession.candidate().leaf()) else { return };
        let Some(listener) = self.listener.borrow().clone() else { return };
        let mut told = self.told.borrow_mut();
        told.retain(|_, when| now.abs_diff(*when) < AGAIN);
        // Full of others: those are all to be pinned first.
        if told.len() >= MOST || told.contains_key(&leaf.fingerprint) {
            return;
        }
        told.insert(leaf.fingerprint, now);
        drop(told);
        listener(Renewed {
            principal: Arc::clone(&admission.principal),
            certificate: leaf.der.clone(),
            predecessor: *predecessor,
            generation: decision.generation,
        });
    }
}

/// Seconds: as often as a key may be renewed.
const AGAIN: u64 = 3_600;
const MOST: usize = 1_024;
