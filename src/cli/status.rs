//! `portcullis status`: how a running proxy stands; with `--wait`, once it is ready.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::reload::told;
use super::remote::Target;
use super::{Exit, Failure, Output};
use crate::explain::printable;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Wait until the proxy is ready, for a minute at most
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    target: Target,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<Exit, Failure> {
    let (remote, began) = (arguments.target.remote()?, Instant::now());
    let status = loop {
        match remote.get("/v1/status") {
            Err(failure) if arguments.wait && failure.exit == Exit::Network && began.elapsed() < PATIENCE => {
                std::thread::park_timeout(PAUSE);
            }
            answered => break answered?,
        }
    };
    output.answer(&status, text(&status));
    Ok(Exit::Done)
}

fn text(status: &Value) -> String {
    let mut text = format!(
        "{} (version {}, {} s)\ngeneration {}, {} principals, policy {}",
        status["state"].as_str().unwrap_or_default(),
        status["version"].as_str().unwrap_or_default(),
        status["uptime_seconds"],
        status["generation"],
        status["entries"],
        status["policy_hash"].as_str().unwrap_or_default(),
    );
    if let Some(waiting) = status["unrecorded"].as_u64().filter(|waiting| *waiting > 0) {
        text +=
            &format!("\nunrecorded: {waiting} changes are in force that the ledger could not take; make room on its disk before a restart");
    }
    for listener in status["listeners"].as_array().into_iter().flatten() {
        let name = |key: &str| listener[key].as_str().unwrap_or_default();
        text += &format!("\nlistener {} on {}: {} connections", name("name"), name("address"), listener["connections"]);
    }
    for source in status["sources"].as_array().into_iter().flatten() {
        let name = |key: &str| source[key].as_str().unwrap_or("never");
        text += &format!("\nsource {}: good at {}", name("name"), name("last_good"));
    }
    for end in status["expiring"].as_array().into_iter().flatten() {
        let name = |key: &str| end[key].as_str().unwrap_or_default();
        let left = match end["days_left"].as_i64() {
            Some(days) if days >= 0 => format!("{days} days left"),
            _ => "ended".to_owned(),
        };
        text += &format!("\nexpiring {} {}: until {}, {left}", name("kind"), printable(name("name")), name("not_after"));
    }
    if let Some(more) = status["expiring_more"].as_u64().filter(|more| *more > 0) {
        text += &format!("\nexpiring: {more} more");
    }
    text + &told("problem", &status["problems"]) + &told("warning", &status["warnings"])
}

const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);
