//! `portcullis allow rm` and `rm-cert`: takes somebody off the list, or one certificate off somebody.

use http::Method;
use serde_json::{Value, json};

use super::add::{How, still_revoked};
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
    let mut answers = Vec::with_capacity(found.len());
    for found in &found {
        let target = how.query(&path(text(found, "id")));
        answers.push(remote.call_if(&Method::DELETE, &target, None, found["version"].as_u64())?);
    }
    let removed: Vec<Value> = found.iter().map(|found| json!({"id": found["id"], "name": found["name"]})).collect();
    let kept: Vec<&Value> = answers.iter().flat_map(|answer| answer["still_revoked"].as_array().into_iter().flatten()).collect();
    let said = format!("{names}: {}{}", how.told("taken off the list"), still_revoked(&answers));
    output.answer(&json!({"removed": removed, "still_revoked": kept, "dry_run": how.dry_run}), said);
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
    let done = remote.call_if(&Method::DELETE, &how.query(&target), None, found["version"].as_u64())?;
    let mut told = json!({"id": found["id"], "name": name, "fingerprint": fingerprint.to_string(), "dry_run": how.dry_run});
    told["still_revoked"] = done["still_revoked"].as_array().cloned().into();
    output.answer(&told, format!("{name}: sha256:{fingerprint} {}{}", how.told("taken off"), still_revoked([&done])));
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
