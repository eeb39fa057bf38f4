//! Which alert tells a denial.
