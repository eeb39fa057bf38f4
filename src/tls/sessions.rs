//! The sessions that clients may resume.
