//! TODO(sessions)
