//! Managed principals: what the API, the command line and bootstrap change, and the ledger records. Documents as they are written down,
//! the state that changes make of them, and what refuses a change. Pure: the ledger is beside, the thread that changes what is in force
//! is in `reload`.

mod change;
mod compile;
mod crl;
mod document;
mod ends;
mod image;
mod left;
#[expect(clippy::module_inception, reason = "a managed principal among what is managed")]
mod managed;
mod many;
mod map;
mod refusal;
mod remembered;
mod revocations;
mod roster;
mod state;
mod tokens;

pub use change::{Change, FilesReloaded, Written};
pub use crl::{CrlText, KeptCrl};
pub use document::{AuthorityDocument, CertificateDocument, CertificateSource, Document, PermissionDocument, Stamp};
pub use ends::{End, EndKind};
pub use image::Recalled;
pub use managed::Managed;
pub use refusal::{Invalid, Refusal};
pub use remembered::Remembered;
pub use revocations::KeptRevocation;
pub use roster::{Disabled, ManagedRoster, Touched};
pub use state::State;
