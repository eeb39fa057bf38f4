//! `portcullis preview`: what another configuration would mean for the clients that the running proxy has seen of late.

use std::path::PathBuf;

use http::Method;
use serde_json::{Value, json};

use super::remote::Target;
use super::{Exit, Failure, Output, input};
use crate::config::{Problem, Severity};
use crate::explain::printable;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exits with 0 when nobody seen of late would be cut off, with 1 when somebody would be, with 3 when a reload would \
                        not put it in force. Nothing is changed. `-c` names the configuration that the proxy runs with, not this one."
)]
pub(super) struct Arguments {
    /// The configuration that is considered; paths in it are relative to the one that the proxy runs with. `-` is standard input
    file: PathBuf,
    #[command(flatten)]
    target: Target,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<Exit, Failure> {
    let bytes = input::read(&arguments.file)?;
    let text = String::from_utf8(bytes).map_err(|_| Failure::file(&arguments.file, "not UTF-8"))?;
    let answer = arguments.target.remote()?.call(&Method::POST, "/v1/preview", Some(&json!({ "config": text })))?;
    output.answer(&answer, told(&answer, &arguments.file.display().to_string()));
    Ok(match (answer["accepted"].as_bool(), answer["cut_off"].as_u64()) {
        (Some(true), Some(0)) => Exit::Done,
        (Some(true), _) => Exit::Refused,
        _ => Exit::Local,
    })
}

fn told(answer: &Value, name: &str) -> String {
    let mut text = String::new();
    for (key, severity) in [("problems", Severity::Error), ("warnings", Severity::Warning)] {
        for problem in answer[key].as_array().into_iter().flatten() {
            text += &format!("{}\n\n", read(problem, severity, &answer["file"], name));
        }
    }
    if answer["accepted"] != true {
        return text + "it would not be put in force, and nothing would change";
    }
    for client in answer["clients"].as_array().into_iter().flatten() {
        text += &client_line(client);
    }
    let more = answer["more"].as_u64().unwrap_or_default();
    if more > 0 {
        text += &format!("and {more} more\n");
    }
    text += &format!(
        "generation {}, policy {} -> {}\nof {} clients seen of late: {} cut off, {} let in, {} under another name, {} as before",
        answer["before"]["generation"],
        short(&answer["before"]["policy_hash"]),
        short(&answer["after"]["policy_hash"]),
        answer["seen"],
        answer["cut_off"],
        answer["let_in"],
        answer["renamed"],
        answer["unchanged"],
    );
    match answer["not_asked"].as_u64() {
        Some(0) | None => text,
        Some(others) => text + &format!("; {others} were not asked about"),
    }
}

fn client_line(client: &Value) -> String {
    let text = |value: &Value| value.as_str().map(printable);
    let met = &client["met"];
    let what = match client["difference"].as_str() {
        Some("cut_off") => "cut off",
        Some("let_in") => "let in",
        _ => "renamed",
    };
    let who = text(&met["principal"]).or_else(|| text(&met["subject"])).unwrap_or_default();
    let place = [text(&met["listener"]), text(&met["route"])].into_iter().flatten().collect::<Vec<_>>().join("/");
    let seen = if met["live"] == true { "connected".to_owned() } else { text(&met["last_seen"]).unwrap_or_default() };
    let verdict = |report: &Value| match (text(&report["code"]), text(&report["principal"]["name"])) {
        (Some(code), _) => code,
        (None, name) => format!("admitted as {}", name.unwrap_or_default()),
    };
    let (before, after) = (verdict(&client["before"]), verdict(&client["after"]));
    let mut line = format!(
        "{what:<8} {who}  {}  on {place} from {}, {seen}: {before} -> {after}\n",
        text(&met["fingerprint"]).unwrap_or_default(),
        text(&met["address"]).unwrap_or_else(|| "nowhere".to_owned()),
    );
    let steps = client["after"]["steps"].as_array().into_iter().flatten();
    for step in steps.filter(|step| step["passed"] == false) {
        line += &format!("         {}: {}\n", text(&step["rule"]).unwrap_or_default(), text(&step["finding"]).unwrap_or_default());
    }
    line
}

/// Tells a problem as `check` does; of the configuration itself under the name that it has here.
fn read(problem: &Value, severity: Severity, file: &Value, name: &str) -> Problem {
    let text = |key: &str| problem[key].as_str().map(printable);
    let number = |key: &str| problem[key].as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or_default();
    let is_own = problem["file"] == *file;
    let place = if is_own { name.to_owned() } else { text("file").unwrap_or_default() };
    let mut told = Problem::in_file(&place.into(), number("line"), text("message").unwrap_or_default());
    (told.severity, told.column, told.help) = (severity, number("column"), text("help"));
    told.excerpt = text("text").map(|text| {
        let count = |key: &str| problem[key].as_u64().and_then(|number| usize::try_from(number).ok()).unwrap_or_default().min(text.len());
        crate::config::Excerpt { caret: count("caret"), width: count("width"), text }
    });
    told
}

fn short(hash: &Value) -> String {
    hash.as_str().unwrap_or_default().chars().take(16).collect()
}
