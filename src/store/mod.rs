//! (store/mod)
