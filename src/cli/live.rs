//! `portcullis connections` and `portcullis refusals`: who is connected to a running proxy, and who came of late and was denied.

use http::Method;
use serde_json::Value;

use super::confirm::Confirm;
use super::remote::Target;
use super::{Exit, Failure, Output};
use crate::explain::printable;

#[derive(Debug, clap::Args)]
pub(super) struct Connections {
    /// End this one, by its number; its client may come again, if it is admitted: to keep it out, revoke
    #[arg(long, value_name = "ID")]
    end: Option<u64>,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    target: Target,
}

pub(super) fn connections(arguments: &Connections, output: &Output) -> Result<Exit, Failure> {
    let remote = arguments.target.remote()?;
    if let Some(id) = arguments.end {
        arguments.confirm.ask(format_args!("End connection {id}, and all that is open on it?"))?;
        let done = remote.call(&Method::DELETE, &format!("/v1/connections/{id}"), None)?;
        output.answer(&done, format!("connection {id}: ended"));
        return Ok(Exit::Done);
    }
    let found = remote.get("/v1/connections")?;
    output.answer(&found, lines(&found["connections"], connection));
    Ok(Exit::Done)
}

pub(super) fn refusals(target: &Target, output: &Output) -> Result<Exit, Failure> {
    let found = target.remote()?.get("/v1/refusals")?;
    output.answer(&found, lines(&found["refusals"], refusal));
    Ok(Exit::Done)
}

fn lines(found: &Value, told: impl Fn(&Value) -> String) -> String {
    let lines: Vec<String> = found.as_array().into_iter().flatten().map(told).collect();
    if lines.is_empty() { "none".to_owned() } else { lines.join("\n") }
}

fn connection(found: &Value) -> String {
    let text = |key: &str| printable(found[key].as_str().unwrap_or("-"));
    let denied = found["denied"].as_str().map(|code| format!(", denied: {}", printable(code))).unwrap_or_default();
    format!(
        "{}  {}  {} from {}, since {}, {} open{denied}",
        found["id"],
        text("principal"),
        text("listener"),
        text("peer"),
        text("since"),
        found["open"]
    )
}

fn refusal(found: &Value) -> String {
    let text = |key: &str| printable(found[key].as_str().unwrap_or("-"));
    let (fingerprint, subject, code) = (text("fingerprint"), text("subject"), text("code"));
    format!("{fingerprint}  {code}  {subject}, {} from {}, {} times, last {}", text("listener"), text("peer"), found["count"], text("last"))
}
