//! (cli/mod)
