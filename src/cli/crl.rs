//! `portcullis crl`: the CRLs that a running proxy keeps in its ledger.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};

use super::allow::How;
use super::confirm::Confirm;
use super::remote::{Target, encoded};
use super::{Exit, Failure, Output, input};
use crate::explain::printable;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List them
    List(Target),
    /// Put one in force, or in the place of the one of that name
    Put(Put),
    /// Take one away
    Rm(Remove),
}

#[derive(Debug, clap::Args)]
pub(super) struct Put {
    /// What it is called
    name: String,
    /// PEM or DER; `-` is standard input
    file: PathBuf,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, clap::Args)]
pub(super) struct Remove {
    /// What it is called
    name: String,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    how: How,
}

pub(super) fn run(command: &Command, output: &Output) -> Result<Exit, Failure> {
    let path = |name: &str| format!("/v1/crls/{}", encoded(name));
    match command {
        Command::List(target) => {
            let found = target.remote()?.get("/v1/crls")?;
            let lines: Vec<String> = found["crls"].as_array().into_iter().flatten().map(told).collect();
            output.answer(&found, if lines.is_empty() { "none".to_owned() } else { lines.join("\n") });
        }
        Command::Put(Put { name, file, how }) => {
            let bytes = input::read(file)?;
            let crl = match bytes.starts_with(b"-----") {
                true => String::from_utf8(bytes).map_err(|_| Failure::file(file, "neither PEM nor DER"))?,
                false => STANDARD.encode(bytes),
            };
            let done = how.target.remote()?.showing(*output).call(&Method::PUT, &how.query(&path(name)), Some(&json!({ "crl": crl })))?;
            output.answer(&done, format!("{name}: {}", how.told("in force")));
        }
        Command::Rm(Remove { name, confirm, how }) => {
            if !how.dry_run {
                confirm.ask(format_args!("Take the CRL {name} away? What it revokes is let in again where it is listed."))?;
            }
            let done = how.target.remote()?.call(&Method::DELETE, &how.query(&path(name)), None)?;
            output.answer(&done, format!("{name}: {}", how.told("taken away")));
        }
    }
    Ok(Exit::Done)
}

fn told(crl: &Value) -> String {
    let text = |key: &str| printable(crl[key].as_str().unwrap_or("-"));
    format!("{}  {}, {} entries, of {}, next {}", text("name"), text("issuer"), crl["entries"], text("this_update"), text("next_update"))
}
