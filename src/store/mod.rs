//! Where principals are kept: sources that supply units, and what was last good of each.

pub mod allowlist;
pub mod cache;
pub mod fetched;
mod fetcher;
pub mod file;
pub mod ledger;
pub mod listing;
pub mod managed;
pub mod notices;
mod persisted;
pub mod restrictions;
mod revocation_files;
pub mod source;

pub use allowlist::{Allowlists, ListSpec, Look};
pub use cache::{Cache, Good, Round, SourceError};
pub use fetched::{Fetched, Wanted, is_url};
pub use file::Files;
pub use restrictions::{Found, IdEntry, Restrictions, Revoked};
pub use source::{ReadError, Reading, Source, Stamp};
