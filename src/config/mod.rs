//! What operators write, and what it compiles to.

pub mod compile;
pub mod error;
pub mod file;
pub mod gather;
pub mod load;
mod people;
pub mod plan;
mod reader;
mod sections;
#[cfg(test)]
mod tests;
pub mod value;

pub use error::{Problem, Severity};
pub use file::ConfigFile;
pub use load::{Loaded, Loader, Look, Seen, Settings, Status, load};
