//! The decision: (Snapshot, Candidate, Scope, now) -> Decision. Pure: no I/O, clock, lock, log, metric or
//! async, and it names only `pki`. The gate asks it; `explain` asks it in the same way.

pub mod allowlist;
pub mod attribute;
mod authorities;
pub mod authority;
pub mod bootstrap;
pub mod bounds;
pub mod candidate;
pub mod chain;
mod changes;
pub mod claims;
pub mod conditions;
pub mod credential;
pub mod crl;
mod crl_problem;
pub mod decision;
pub mod glob;
pub mod layer;
pub mod origin;
pub mod permission;
pub mod principal;
mod question;
pub mod reach;
pub mod renewal;
mod required_crl;
pub mod revocation;
pub mod revoked_id;
pub mod revoked_ids;
pub mod revoked_tokens;
pub mod roster;
pub mod scope;
mod shards;
pub mod snapshot;
mod trust;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use allowlist::{Allowlist, AllowlistBuilder};
pub use attribute::{Attribute, AttributeError, Oid};
pub use authority::{AnchorProblem, AnchorProblemKind, Authority};
pub use bootstrap::{Bootstrap, BootstrapMode};
pub use bounds::{BoundError, BoundKind, Bounds};
pub use candidate::Candidate;
pub use changes::Changes;
pub use claims::{Claims, Token, TokenId};
pub use credential::{Credential, Pin};
pub use crl::StaleCrl;
pub use crl_problem::{CrlProblem, CrlProblemKind, CrlRefusal};
pub use decision::{Admission, Basis, Decision, Denial, Step, Steps, Verdict};
pub use glob::{Glob, GlobError};
pub use layer::Layer;
pub use origin::{OriginError, OriginPattern};
pub use permission::{Access, Clearance, Permission};
pub use principal::{Identifier, NotAName, Principal, PrincipalId, PrincipalName, Provenance, Terms};
pub use reach::Reach;
pub use renewal::{Predecessor, Renewal};
pub use revocation::{Revocation, RevocationBuilder};
pub use revoked_id::{Mark, RevokedId, RevokedIdError};
pub use revoked_ids::RevokedIds;
pub use revoked_tokens::RevokedTokens;
pub use roster::{Claim, Conflict, Roster, RosterBuilder};
pub use scope::{ClientAddress, Origin, RequestScope, RouteAuth, RouteScope, Scope, Surface};
pub use snapshot::Snapshot;
