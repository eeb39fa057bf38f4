//! What operators write, and what it compiles to.

pub mod changed;
pub mod compile;
pub mod crls;
mod cross_check;
mod ends;
pub mod error;
pub mod file;
pub mod gather;
pub mod load;
mod people;
pub mod plan;
mod reader;
mod restricted;
mod reverted;
mod sections;
mod settings;
mod table;
#[cfg(test)]
mod tests;
mod units;
pub mod value;
mod ways;
mod words;

pub use error::{Excerpt, Problem, Severity};
pub use file::ConfigFile;
pub use load::{
    Candidate, Considered, Loaded, Loader, Look, NO_CONFIGURATION, OpenLedger, Policy, Prepared, Seen, Settings, Status, load,
    state_directory,
};
