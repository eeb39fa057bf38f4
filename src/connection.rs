//! (connection)
