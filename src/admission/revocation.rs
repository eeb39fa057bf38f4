//! CRLs and revoked ids.

/// A revoked id, in any of its notations.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RevokedId {}

/// Everything that takes a certificate off, whatever lists it.
#[derive(Debug, Default)]
pub struct Revocation {}
