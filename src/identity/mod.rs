//! (identity/mod)
