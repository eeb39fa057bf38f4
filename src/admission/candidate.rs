//! What a client presented, not yet judged. Made by `tls`, `explain` and tests; total: what does not parse
//! is a candidate too, and its decision says so.

use std::cell::RefCell;

use rustls_pki_types::CertificateDer;

use super::chain::Paths;
use crate::pki::{Certificate, CertificateError};

/// A leaf with what came along to lead it to an anchor.
#[derive(Debug)]
pub struct Candidate {
    leaf: Result<Certificate, CertificateError>,
    /// The intermediates as presented, unparsable ones included: path building skips those.
    intermediates: Vec<CertificateDer<'static>>,
    /// The paths found last, and the trust they were found under: signatures are not checked again until
    /// trust anchors or CRLs change; dates are looked at each time.
    pub(super) paths: RefCell<Option<Paths>>,
}

impl Candidate {
    /// Reads a presented chain, leaf first. `None` for an empty one: nothing was presented.
    pub fn presented(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let (leaf, intermediates) = chain.split_first()?;
        Some(Self {
            leaf: Certificate::parse(leaf.clone().into_owned()),
            intermediates: intermediates.iter().map(|der| der.clone().into_owned()).collect(),
            paths: RefCell::new(None),
        })
    }

    /// Returns the leaf, or why it could not be read.
    pub fn leaf(&self) -> Result<&Certificate, &CertificateError> {
        self.leaf.as_ref()
    }

    /// Returns the intermediates as presented.
    pub fn intermediates(&self) -> &[CertificateDer<'static>] {
        &self.intermediates
    }
}
