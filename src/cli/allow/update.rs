//! `portcullis allow update`: changes what was said of somebody, or adds certificates. What is not named stays as it is.

use http::Method;
use serde_json::{Map, Value, json};

use super::add::How;
use super::principals::{find_managed, path, text};
use super::terms::{Credentials, Terms};
use crate::cli::{Exit, Failure, Output};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Certificates and fingerprints are added to those that are there; any other list takes the place of the one before.\n\n  \
    portcullis allow update alice new.pem\n  portcullis allow update alice --enabled=false\n  portcullis allow update alice --clear client_ips"
)]
pub(in crate::cli) struct Arguments {
    /// Its name or id
    who: String,
    #[command(flatten)]
    credentials: Credentials,
    /// Another name for it
    #[arg(long, value_name = "NAME")]
    rename: Option<String>,
    #[command(flatten)]
    terms: Terms,
    /// A key to take away, as `allow show --json` has it: `client_ips`, `valid_until`, … May be repeated
    #[arg(long, value_name = "KEY")]
    clear: Vec<String>,
    #[command(flatten)]
    how: How,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit, Failure> {
    let mut patch = Map::new();
    arguments.credentials.write(&mut patch)?;
    arguments.terms.write(&mut patch);
    patch.extend(arguments.rename.as_ref().map(|name| ("name".to_owned(), json!(name))));
    for key in &arguments.clear {
        if patch.insert(key.clone(), Value::Null).is_some() {
            return Err(Failure::usage(format_args!("--clear {key}, and a value for it: which?")));
        }
    }
    if patch.is_empty() {
        return Err(Failure::usage("nothing to change was named"));
    }
    let remote = arguments.how.target.remote()?;
    let found = find_managed(&remote, &arguments.who)?;
    if let Some(Value::Array(new)) = patch.get_mut("certificates") {
        let mut all = found["certificates"].as_array().cloned().unwrap_or_default();
        all.append(new);
        *new = all;
    }
    let target = arguments.how.query(&path(text(&found, "id")));
    let changed = remote.call_if(&Method::PATCH, &target, Some(&patch.into()), found["version"].as_u64())?;
    output.answer(&changed, arguments.how.changed(&changed, "changed"));
    Ok(Exit::Done)
}
