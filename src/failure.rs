//! (failure)
