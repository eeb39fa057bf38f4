//! TODO(verifier)
