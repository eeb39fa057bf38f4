//! What a client presented, not yet judged. Made by `tls`, `explain` and tests; total: what does not parse
//! is a candidate too, and its decision says so.

use std::cell::RefCell;
use std::rc::Rc;

use rustls_pki_types::CertificateDer;

use super::chain::Paths;
use super::claims::{Claims, Proof};
use crate::pki::{Certificate, CertificateError};

/// A leaf with what came along to lead it to an anchor.
#[derive(Debug)]
pub struct Candidate {
    leaf: Result<Certificate, CertificateError>,
    /// The intermediates as presented, unparsable ones included: path building skips those.
    intermediates: Vec<CertificateDer<'static>>,
    pub(super) proof: Proof,
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
            proof: Proof::Handshake,
            paths: RefCell::new(None),
        })
    }

    /// Reads a chain that came with a challenge or a token, leaf first. `None` for an empty one.
    pub fn claimed(chain: &[CertificateDer<'_>], claims: Claims) -> Option<Self> {
        Some(Self { proof: Proof::Claimed(claims, None), ..Self::presented(chain)? })
    }

    /// Stands for a token that looks like one of ours, and is none: `why` is for the operator.
    pub fn worthless(why: impl Into<Box<str>>) -> Self {
        let leaf = Certificate::parse(CertificateDer::from(Vec::new()));
        Self { leaf, intermediates: Vec::new(), proof: Proof::Worthless(why.into(), None), paths: RefCell::new(None) }
    }

    /// Says which certificate the connection has that the token came over: it has to be admitted too, and be the same principal's.
    pub fn beside(mut self, connection: Option<Rc<Self>>) -> Self {
        match &mut self.proof {
            Proof::Handshake => {}
            Proof::Claimed(_, beside) | Proof::Worthless(_, beside) => *beside = connection,
        }
        self
    }

    /// Returns what was claimed with a challenge or a token.
    pub fn claims(&self) -> Option<&Claims> {
        match &self.proof {
            Proof::Claimed(claims, _) => Some(claims),
            Proof::Handshake | Proof::Worthless(..) => None,
        }
    }

    /// Its key was not proven in a handshake, but by a challenge or a token, or not at all.
    pub fn is_claimed(&self) -> bool {
        !matches!(self.proof, Proof::Handshake)
    }

    pub(super) fn connection(&self) -> Option<&Self> {
        match &self.proof {
            Proof::Handshake => None,
            Proof::Claimed(_, beside) | Proof::Worthless(_, beside) => beside.as_deref(),
        }
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
