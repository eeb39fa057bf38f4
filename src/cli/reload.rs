//! `portcullis reload`: has a running proxy read everything again, and says what came of it.

use http::Method;
use serde_json::Value;

use super::remote::Target;
use super::{Exit, Failure, Output};
use crate::admission::Provenance;

#[derive(Debug, clap::Args)]
#[command(after_help = "Exits with 1 when something is wrong with the files: the last good content of it stays in force.")]
pub(super) struct Arguments {
    /// Past `max_shrink`: let a list lose as much as it says now
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    target: Target,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<Exit, Failure> {
    let path = if arguments.force { "/v1/reload?force=true" } else { "/v1/reload" };
    let answer = arguments.target.remote()?.call(&Method::POST, path, None)?;
    let wrong = answer["problems"].as_array().is_some_and(|problems| !problems.is_empty());
    let mut text = format!("generation {} is in force, with {} principals", answer["generation"], answer["entries"]);
    text += &told("problem", &answer["problems"]);
    text += &told("warning", &answer["warnings"]);
    output.answer(&answer, text);
    Ok(if wrong { Exit::Refused } else { Exit::Done })
}

/// Lists what is wrong, a line each.
pub(super) fn told(kind: &str, problems: &Value) -> String {
    let line = |problem: &Value| {
        let text = |key: &str| problem[key].as_str().unwrap_or_default();
        let place = match problem["line"].as_u64() {
            None | Some(0) => text("file").to_owned(),
            Some(line) => Provenance { file: text("file").into(), line: u32::try_from(line).unwrap_or(u32::MAX) }.to_string(),
        };
        let help = if text("help").is_empty() { String::new() } else { format!("\n         {}", text("help")) };
        format!("\n{kind}: {place}: {}{help}", text("message"))
    };
    problems.as_array().into_iter().flatten().map(line).collect()
}
