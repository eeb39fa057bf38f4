//! Proof that a key was used here. Made where a signature was checked: `tls/handshake.rs` (and `challenge/`), nowhere else.

use std::rc::Rc;

use rustls_pki_types::UnixTime;

use crate::admission::Candidate;

/// The holder of the candidate's leaf proved its key on this connection, or on the full handshake that this session resumes.
#[derive(Clone, Debug)]
pub struct Possession {
    candidate: Rc<Candidate>,
    proven: UnixTime,
}

impl Possession {
    /// Asserts that the key was proven, at `proven` (the first full handshake's time for a resumed session).
    pub(crate) fn assertion(candidate: Rc<Candidate>, proven: UnixTime) -> Self {
        Self { candidate, proven }
    }

    /// Returns whose key was proven.
    pub fn candidate(&self) -> &Rc<Candidate> {
        &self.candidate
    }

    /// Returns when the key was proven.
    pub fn proven(&self) -> UnixTime {
        self.proven
    }
}
