//! The configuration, as every command that needs it names and loads it.

use std::path::PathBuf;

use super::{Exit, Failure};
use crate::config::{self, Loaded, Problem};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Config {
    /// The configuration file; paths in it are relative to it
    #[arg(short = 'c', long = "config", value_name = "FILE", default_value = "portcullis.toml")]
    pub(super) path: PathBuf,
}

impl Config {
    /// Loads it with all that it names, once; whatever is wrong is the failure.
    pub(super) fn load(&self) -> Result<Loaded, Failure> {
        config::load(&self.path).map_err(refused)
    }
}

/// Every problem, as a failure of local files.
pub(super) fn refused(problems: Vec<Problem>) -> Failure {
    let count = match problems.len() {
        1 => "1 problem".to_owned(),
        many => format!("{many} problems"),
    };
    Failure { exit: Exit::Local, message: format!("{count} in the configuration"), problems }
}
