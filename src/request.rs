//! (request)
