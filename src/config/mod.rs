//! (config/mod)
