//! `portcullis token validate|revoke`: what a gateway says of its token.

use std::path::Path;

use serde_json::json;

use super::gateway::Gateway;
use super::{Exit, Failure, Output, input};
use crate::explain::printable;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Ask whether a token counts: 0 it does, 1 it does not
    Validate(Token),
    /// Take a token back, at once and for good
    Revoke(Token),
}

#[derive(Debug, clap::Args)]
pub(super) struct Token {
    /// The token; `-` reads it from standard input: other processes can read what stands among the arguments
    token: String,
    #[command(flatten)]
    gateway: Gateway,
}

pub(super) fn run(command: &Command, output: &Output) -> Result<Exit, Failure> {
    match command {
        Command::Revoke(token) => {
            let answer = token.gateway.api(None)?.call("revoke-creds", &json!({ "token": token.read()? }))?;
            output.answer(&answer, "revoked");
            Ok(Exit::Done)
        }
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

impl Token {
    fn read(&self) -> Result<String, Failure> {
        let text = match self.token.as_str() {
            "-" => String::from_utf8(input::read(Path::new("-"))?).map_err(|_| Failure::usage("the token is no text"))?,
            text => text.to_owned(),
        };
        Ok(text.trim().to_owned())
    }
}
