//! The same question, put to a running proxy: what counts there is what is in force, whatever the files say by now.

use std::fmt::Write as _;

use http::Method;
use serde_json::{Map, Value};

use super::Arguments;
use crate::cli::{Exit, Failure, Output, input};
use crate::clock::Date;
use crate::explain::printable;
use crate::pki::files;

/// Asks, and tells the answer.
pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit, Failure> {
    let report = arguments.target.remote()?.call(&Method::POST, "/v1/explain", Some(&question(arguments)?.into()))?;
    output.answer(&report, told(&report));
    Ok(if report["code"].is_null() { Exit::Done } else { Exit::Refused })
}

fn question(arguments: &Arguments) -> Result<Map<String, Value>, Failure> {
    let mut asked = Map::new();
    let mut put = |key: &str, text: Option<String>| asked.extend(text.map(|text| (key.to_owned(), Value::from(text))));
    if let Some(path) = &arguments.certificate {
        let password = arguments.password.read()?;
        let found = files::certificates(&input::read(path)?, password.as_ref().map(|password| password.as_str()));
        let found = found.map_err(|error| input::file_error(path, &error))?;
        put("certificate", Some(found.iter().map(|located| files::pem_of(&located.value.der)).collect()));
    }
    put("token", arguments.token()?.map(|token| token.to_string()));
    let header = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    put("route", arguments.route.as_ref().map(|(method, uri)| format!("{method} {uri}")));
    put("origin", arguments.origin.as_ref().map(header));
    put("upgrade", arguments.upgrade.as_ref().map(header));
    put("listener", arguments.listener.clone());
    put("sni", arguments.sni.clone());
    put("client_ip", arguments.client_ip.map(|ip| ip.to_string()));
    put("at", arguments.at.map(|at| Date::of(at).to_string()));
    Ok(asked)
}

/// Tells a report as the offline one tells itself.
fn told(report: &Value) -> String {
    let text = |value: &Value, key: &str| value[key].as_str().map(printable);
    let mut out = match (text(report, "verdict").unwrap_or_default().as_str(), text(report, "code")) {
        ("open", _) => "verdict     open: the route asks for no certificate".to_owned(),
        (_, None) => "verdict     admitted".to_owned(),
        (_, Some(code)) => format!("verdict     denied: {code}"),
    };
    // Writing to a string cannot fail.
    let principal = &report["principal"];
    if let (Some(name), Some(id), Some(written)) = (text(principal, "name"), text(principal, "id"), text(principal, "written")) {
        let _ = write!(out, "\nprincipal   {name} ({id}, {}), {written}", text(principal, "clearance").unwrap_or_default());
    }
    for (label, key) in [("proven by", "basis"), ("route", "route"), ("identifier", "identifier"), ("access", "access")] {
        if let Some(value) = text(report, key) {
            let _ = write!(out, "\n{label:<11} {value}");
        }
    }
    if let Some(until) = text(report, "valid_until") {
        let _ = write!(out, "\nholds until {until}, as long as the rules stay as they are");
    }
    let _ = write!(out, "\ngeneration  {}\nsteps", report["generation"]);
    for step in report["steps"].as_array().into_iter().flatten() {
        let mark = if step["passed"] == true { "ok  " } else { "FAIL" };
        let _ = write!(out, "\n  {mark}  {}: {}", text(step, "rule").unwrap_or_default(), text(step, "finding").unwrap_or_default());
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_paints_no_terminal() {
        let report = json!({"verdict": "deny", "code": "not_listed\u{1b}[2J", "generation": 7,
            "steps": [{"rule": "allowlist", "passed": false, "finding": "CN=\u{1b}]0;x\u{7}\u{202e}"}]});
        let text = told(&report);
        assert!(text.contains("denied: not_listed") && text.contains("FAIL"), "{text}");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()) && !text.contains('\u{202e}'), "{text:?}");
    }
}
