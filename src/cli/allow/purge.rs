//! `portcullis allow purge`: takes off what has expired.

use http::Method;
use serde_json::Value;

use super::add::How;
use super::replace::{names, told};
use crate::cli::confirm::Confirm;
use crate::cli::{Exit, Failure, Output};
use crate::explain::printable;

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
    output.answer(&done, std::iter::once(told(&done)).chain(left(&done)).collect::<Vec<_>>().join("\n"));
    Ok(Exit::Done)
}

/// Tells who has expired and stays, and why.
fn left(answer: &Value) -> impl Iterator<Item = String> {
    let text = |left: &Value, key: &str| printable(left[key].as_str().unwrap_or_default());
    answer["left"].as_array().into_iter().flatten().map(move |left| format!("left: {}: {}", text(left, "name"), text(left, "message")))
}
