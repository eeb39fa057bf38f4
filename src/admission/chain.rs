//! Leaf to trust anchor: signatures, validity, key usage.

/// The paths of a candidate, and the trust they were found under.
#[derive(Debug)]
pub struct Paths {}
