//! `portcullis token validate|revoke`: what a gateway says of its token; and all tokens of a principal, taken back by an operator.

use std::path::Path;

use http::Method;
use serde_json::{Value, json};

use super::allow::How;
use super::allow::principals::{find, path, text};
use super::confirm::Confirm;
use super::gateway::Gateway;
use super::{Exit, Failure, Output, input};
use crate::explain::printable;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Ask whether a token counts: 0 it does, 1 it does not
    Validate(Token),
    /// Take a token back, at once and for good; or all that a principal has been given until now
    Revoke(Box<Revoke>),
}

#[derive(Debug, clap::Args)]
pub(super) struct Token {
    /// The token; `-` reads it from standard input: other processes can read what stands among the arguments
    token: String,
    #[command(flatten)]
    gateway: Gateway,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "A token is taken back at the gateway that gave it, by whoever holds it. All tokens of a principal are taken back at \
    the proxy of this configuration or at --admin, by an operator: its certificates count as before, and new tokens may come of them."
)]
pub(super) struct Revoke {
    /// The token; `-` reads it from standard input: other processes can read what stands among the arguments
    token: Option<String>,
    /// All tokens of this principal, whoever holds them: its name or id
    #[arg(long, value_name = "NAME|ID", conflicts_with_all = ["token", "gateway_url"])]
    principal: Option<String>,
    /// The gateway that gave the token: https://HOST:PORT, with the path of its API if that is not /api/v2. Else PORTCULLIS_GATEWAY
    #[arg(long, value_name = "URL")]
    gateway_url: Option<String>,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    how: How,
}

pub(super) fn run(command: &Command, output: &Output) -> Result<Exit, Failure> {
    match command {
        Command::Revoke(arguments) => match (&arguments.principal, &arguments.token) {
            (Some(who), _) => revoke_all(arguments, who, *output),
            (None, Some(token)) => revoke_one(arguments, token, *output),
            (None, None) => Err(Failure::usage("which? A token (`-` reads it), or all of a --principal")),
        },
        Command::Validate(token) => {
            let answer = token.gateway.api(None)?.call("validate-token", &json!({ "token": token.read()? }))?;
            let valid = answer["is_valid"].as_bool() == Some(true);
            let text = match (valid, answer["expiration"].as_str()) {
                (true, Some(until)) => format!("valid until {}", printable(until)),
                (true, None) => "valid".to_owned(),
                (false, _) => format!("not valid: {}", printable(answer["reason"].as_str().unwrap_or_default())),
            };
            output.answer(&answer, text);
            Ok(if valid { Exit::Done } else { Exit::Refused })
        }
    }
}

fn revoke_one(arguments: &Revoke, token: &str, output: Output) -> Result<Exit, Failure> {
    let how = &arguments.how;
    if how.dry_run || how.reason.is_some() || how.target.is_elsewhere() {
        return Err(Failure::usage(
            "--dry-run, --reason and --admin go with --principal: a token is taken back at its gateway, by whoever holds it",
        ));
    }
    let gateway = Gateway { gateway_url: arguments.gateway_url.clone(), cacert: how.target.cacert.clone() };
    let answer = gateway.api(None)?.call("revoke-creds", &json!({ "token": read(token)? }))?;
    output.answer(&answer, "revoked");
    Ok(Exit::Done)
}

fn revoke_all(Revoke { confirm, how, .. }: &Revoke, who: &str, output: Output) -> Result<Exit, Failure> {
    let remote = how.target.remote()?;
    let found = find(&remote, who)?;
    let target = format!("{}/tokens", path(text(&found, "id")));
    if !how.dry_run {
        let would = remote.call(&Method::DELETE, &format!("{target}?dry_run=true"), None)?;
        confirm.ask(format_args!("{}\nTake them back?", told(&would)))?;
    }
    let done = remote.call(&Method::DELETE, &how.query(&target), None)?;
    let entry = done["index"].as_u64().map(|index| format!(" (ledger entry {index})")).unwrap_or_default();
    output.answer(&done, format!("{}: {}{entry}", told(&done), how.told("taken back")));
    Ok(Exit::Done)
}

/// Says whose, until when, and what ends with them.
fn told(answer: &Value) -> String {
    let (name, until) = (printable(text(answer, "principal")), printable(text(answer, "until")));
    let count = |key: &str| answer[key].as_u64().unwrap_or_default();
    let (shown, open) = (count("shown"), count("open"));
    format!("the tokens that {name} has been given until {until}, {shown} of them on live connections, {open} open by them")
}

impl Token {
    fn read(&self) -> Result<String, Failure> {
        read(&self.token)
    }
}

fn read(token: &str) -> Result<String, Failure> {
    let text = match token {
        "-" => String::from_utf8(input::read(Path::new("-"))?).map_err(|_| Failure::usage("the token is no text"))?,
        text => text.to_owned(),
    };
    Ok(text.trim().to_owned())
}
