//! Time, client address, origin, surface.
