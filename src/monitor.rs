//! (monitor)
