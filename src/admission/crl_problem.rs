//! What may be the matter with a CRL, for whoever puts it there: `crl` finds it.

use std::fmt;

use super::principal::Provenance;

/// Why a CRL is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrlRefusal {
    Delta,
    Indirect,
}

/// Something about a CRL that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrlProblem {
    pub kind: CrlProblemKind,
    /// The issuer's name, RFC 2253.
    pub issuer: String,
    pub written: Provenance,
}

/// What may be the matter with a CRL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CrlProblemKind {
    /// A configured CA has its issuer's name, but did not sign it: to be refused at load.
    Forged,
    /// The CA that signed it was one of some authority's, and is none any more. What the CRL lists is revoked still.
    FormerIssuer,
    /// A newer one of the same issuer and distribution point is at hand, there.
    Superseded(Provenance),
    /// No configured CA has its issuer's name. It counts once a client presents a CA that signed it.
    UnknownIssuer,
}

impl fmt::Display for CrlRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Delta => "is a delta CRL, which lists changes only: give the complete one",
            Self::Indirect => "is an indirect CRL, whose entries belong to other issuers: give one CRL for each issuer",
        })
    }
}

impl std::error::Error for CrlRefusal {}

impl fmt::Display for CrlProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuer = &self.issuer;
        match &self.kind {
            CrlProblemKind::FormerIssuer => {
                write!(
                    f,
                    "the CRL of {issuer:?} counts still for the certificates that are pinned, though no authority lists its issuer any more"
                )
            }
            CrlProblemKind::Forged => write!(f, "the CRL of {issuer:?} is not signed by the configured CA of that name"),
            CrlProblemKind::Superseded(newer) => write!(f, "the CRL of {issuer:?} is older than the one in {newer}, which counts"),
            CrlProblemKind::UnknownIssuer => write!(f, "the CRL of {issuer:?} has an issuer that no authority lists"),
        }
    }
}
