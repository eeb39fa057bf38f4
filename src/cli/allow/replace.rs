//! `portcullis allow replace`: has exactly these let in by the ledger. One call, so that all of it holds or none.

use std::path::PathBuf;

use http::Method;
use serde_json::{Value, json};

use super::add::{How, still_revoked};
use super::set;
use super::terms::Terms;
use crate::cli::confirm::Confirm;
use crate::cli::{Exit, Failure, Output, input};
use crate::explain::printable;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Who is not in the set is taken off and cut off at once; who stands in a file of the configuration is not touched.\n\n  \
    portcullis allow list --json > set.json    # edit it\n  portcullis allow replace set.json --dry-run\n  \
    portcullis allow replace certificates/ --role Reader"
)]
pub(in crate::cli) struct Arguments {
    /// JSON as `allow list --json` gives it, TOML with `[[principal]]` as the configuration has it, or a directory of
    /// certificates, each file a principal
    set: PathBuf,
    #[command(flatten)]
    password: input::Password,
    #[command(flatten)]
    terms: Terms,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    how: How,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit, Failure> {
    let password = if arguments.set.is_dir() { arguments.password.read()? } else { None };
    let set = set::read(&arguments.set, &arguments.terms, password.as_ref().map(|password| password.as_str()), output)?;
    let (how, remote) = (&arguments.how, arguments.how.target.remote()?.showing(output));
    let body = json!({ "principals": set });
    if !how.dry_run {
        let would = remote.call(&Method::PUT, "/v1/principals?dry_run=true", Some(&body))?;
        if would["removed"]["count"] != 0 || would["changed"]["count"] != 0 {
            arguments.confirm.ask(format_args!("{}\nGo on?", told(&would)))?;
        }
    }
    let done = remote.call(&Method::PUT, &how.query("/v1/principals"), Some(&body))?;
    output.answer(&done, told(&done));
    Ok(Exit::Done)
}

/// Tells what a change of many comes to.
pub(super) fn told(answer: &Value) -> String {
    let is_dry = answer["dry_run"] == true;
    let line = |key: &str| format!("{}{}: {}", if is_dry { "would be " } else { "" }, key, names(answer, key));
    ["added", "changed", "removed"].map(line).join("\n") + &still_revoked([answer])
}

/// Tells how many, and the first of them.
pub(super) fn names(answer: &Value, key: &str) -> String {
    let (count, names) = (answer[key]["count"].as_u64().unwrap_or_default(), answer[key]["names"].as_array());
    let shown: Vec<String> = names.into_iter().flatten().filter_map(Value::as_str).take(SHOWN).map(printable).collect();
    match shown.len() {
        0 => "nobody".to_owned(),
        all if all as u64 == count => format!("{count} ({})", shown.join(", ")),
        _ => format!("{count} ({}, …)", shown.join(", ")),
    }
}

/// A terminal has no room for more.
const SHOWN: usize = 10;
