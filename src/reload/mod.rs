//! (reload/mod)
