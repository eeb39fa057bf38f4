//! `portcullis allow show`: all that is known of one principal.

use std::fmt::Write as _;

use serde_json::Value;

use super::principals::{find, text};
use crate::cli::remote::Target;
use crate::cli::{Exit, Failure, Output};
use crate::clock::Date;
use crate::explain::printable;
use crate::pki::files;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Its name or id
    who: String,
    #[command(flatten)]
    target: Target,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit, Failure> {
    let found = find(&arguments.target.remote()?, &arguments.who)?;
    output.answer(&found, told(&found));
    Ok(Exit::Done)
}

/// Tells a principal to a person, a line for each key. Whoever wrote it chose the texts: none of them paints the terminal.
pub(in crate::cli) fn told(principal: &Value) -> String {
    let mut out = String::new();
    for (key, value) in principal.as_object().into_iter().flatten() {
        // Writing to a string cannot fail.
        let _ = match (key.as_str(), value) {
            ("certificates", Value::Array(entries)) => {
                entries.iter().try_for_each(|entry| writeln!(out, "certificate   {}", certificate(entry)))
            }
            (_, Value::Array(entries)) => entries.iter().try_for_each(|entry| writeln!(out, "{key:<13} {}", word(entry))),
            (_, Value::Null) => Ok(()),
            (_, value) => writeln!(out, "{key:<13} {}", word(value)),
        };
    }
    out.truncate(out.trim_end().len());
    out
}

fn certificate(entry: &Value) -> String {
    let mut line = format!("sha256:{}", printable(text(entry, "fingerprint")));
    let der = entry["der"].as_str().and_then(super::terms::der);
    if let Some(certificate) = der.and_then(|der| files::certificates(&der, None).ok()?.pop()) {
        let (subject, end) = (printable(&certificate.value.subject.rfc2253()), Date::of(certificate.value.not_after));
        let _ = write!(line, "\n              {subject}, until {end}");
    }
    for key in ["source", "added"].into_iter().filter(|key| entry[*key].is_string()) {
        let _ = write!(line, ", {key} {}", printable(text(entry, key)));
    }
    line
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => printable(text),
        value => printable(&value.to_string()),
    }
}
