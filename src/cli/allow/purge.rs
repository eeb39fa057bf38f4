//! `portcullis allow purge`: takes off what has expired.

use http::Method;

use super::add::How;
use super::replace::{names, told};
use crate::cli::confirm::Confirm;
use crate::cli::{Exit, Failure, Output};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    how: How,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit, Failure> {
    let (how, remote) = (&arguments.how, arguments.how.target.remote()?);
    if !how.dry_run {
        let would = remote.call(&Method::POST, "/v1/purge-expired?dry_run=true", None)?;
        let (removed, changed) = (names(&would, "removed"), names(&would, "changed"));
        arguments.confirm.ask(format_args!("Take off {removed}, and what has expired of {changed}?"))?;
    }
    let done = remote.call(&Method::POST, &how.query("/v1/purge-expired"), None)?;
    output.answer(&done, told(&done));
    Ok(Exit::Done)
}
