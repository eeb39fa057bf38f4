//! What operators write, and what it compiles to.

pub mod error;
pub mod file;
mod people;
mod reader;
mod sections;
#[cfg(test)]
mod tests;
pub mod value;

pub use error::{Problem, Severity};
pub use file::ConfigFile;
