//! (http1/mod)
