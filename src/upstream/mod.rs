//! (upstream/mod)
