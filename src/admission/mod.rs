//! The decision: (Snapshot, Candidate, Scope, now) -> Decision. Pure: no I/O, clock, lock, log, metric or
//! async, and it names only `pki`. The gate asks it; `explain` asks it in the same way.

pub mod allowlist;
pub mod bounds;
pub mod candidate;
pub mod chain;
pub mod conditions;
pub mod decision;
pub mod permission;
pub mod revocation;
pub mod scope;
pub mod snapshot;

pub use allowlist::{Allowlist, AllowlistBuilder, Authority, Conflict, Principal, PrincipalId, PrincipalName, Provenance, Terms};
pub use candidate::Candidate;
pub use decision::{Admission, Basis, Decision, Denial, Step, Steps, Verdict};
pub use permission::{Access, Clearance, Permission};
pub use revocation::{Revocation, RevokedId};
pub use scope::{ClientAddress, Origin, RequestScope, RouteAuth, RouteScope, Scope, Surface};
pub use snapshot::Snapshot;
