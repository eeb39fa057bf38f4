//! `portcullis allow rm` and `rm-cert`: takes somebody off the list, or one certificate off somebody.

use http::Method;
use serde_json::{Value, json};

use super::add::How;
use super::principals::{find_managed, path, text};
use crate::cli::confirm::Confirm;
use crate::cli::remote::encoded;
use crate::cli::{Exit, Failure, Output, input};
use crate::pki::{Fingerprint, files};

#[derive(Debug, clap::Args)]
#[command(after_help = "Whoever is connected is cut off at once.")]
pub(in crate::cli) struct Arguments {
    /// Names or ids
    #[arg(required = true)]
    who: Vec<String>,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Whoever is connected with it is cut off at once.")]
pub(in crate::cli) struct Certificate {
    /// Whose: a name or id
    who: String,
    /// Which: its SHA-256 fingerprint, or a file that holds it
    certificate: String,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    how: How,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit, Failure> {
    let (how, remote) = (&arguments.how, arguments.how.target.remote()?);
    let found = arguments.who.iter().map(|who| find_managed(&remote, who)).collect::<Result<Vec<_>, _>>()?;
    let names = found.iter().map(|found| text(found, "name")).collect::<Vec<_>>().join(", ");
    if !how.dry_run {
        arguments.confirm.ask(format_args!("Take {names} off the list?"))?;
    }
    for found in &found {
        let target = how.query(&path(text(found, "id")));
        remote.call_if(&Method::DELETE, &target, None, found["version"].as_u64())?;
    }
    let removed: Vec<Value> = found.iter().map(|found| json!({"id": found["id"], "name": found["name"]})).collect();
    output.answer(&json!({"removed": removed, "dry_run": how.dry_run}), format!("{names}: {}", how.told("taken off the list")));
    Ok(Exit::Done)
}

pub(super) fn certificate(arguments: &Certificate, output: Output) -> Result<Exit, Failure> {
    let fingerprint = fingerprint(&arguments.certificate)?;
    let (how, remote) = (&arguments.how, arguments.how.target.remote()?);
    let found = find_managed(&remote, &arguments.who)?;
    let name = text(&found, "name");
    if !how.dry_run {
        arguments.confirm.ask(format_args!("Take the certificate sha256:{fingerprint} off {name}?"))?;
    }
    let target = format!("{}/certificates/{}", path(text(&found, "id")), encoded(&fingerprint.to_string()));
    remote.call_if(&Method::DELETE, &how.query(&target), None, found["version"].as_u64())?;
    let told = json!({"id": found["id"], "name": name, "fingerprint": fingerprint.to_string(), "dry_run": how.dry_run});
    output.answer(&told, format!("{name}: sha256:{fingerprint} {}", how.told("taken off")));
    Ok(Exit::Done)
}

/// Reads a fingerprint, or that of the one certificate in a file.
fn fingerprint(text: &str) -> Result<Fingerprint, Failure> {
    if let Ok(fingerprint) = text.parse() {
        return Ok(fingerprint);
    }
    let path = std::path::Path::new(text);
    let found = files::members(&input::read(path)?, None).map_err(|error| input::file_error(path, &error))?;
    match found.as_slice() {
        [only] => Ok(only.value.fingerprint),
        several => Err(Failure::file(path, format_args!("holds {} certificates: name one by its fingerprint", several.len()))),
    }
}
