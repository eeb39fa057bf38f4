//! `portcullis allow list`: who is let in, as a table.

use std::path::{Path, PathBuf};

use http::Method;
use serde_json::Value;

use super::principals::text;
use crate::cli::output::print_line;
use crate::cli::remote::{Target, encoded, pages};
use crate::cli::{Exit, Failure, Output};
use crate::explain::printable;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Only those with this in name, display name or id
    #[arg(value_name = "TEXT")]
    search: Option<String>,
    /// Only those of this clearance: user, operator, admin, node
    #[arg(long)]
    clearance: Option<String>,
    /// Only those of which a certificate, or they themselves, end before: 2027-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    expires_before: Option<String>,
    /// Only whose certificate this is
    #[arg(long, value_name = "SHA256")]
    fingerprint: Option<String>,
    /// Those of the ledger, those of files, or both: managed, static, all
    #[arg(long, default_value = MANAGED)]
    source: String,
    /// Write all of the ledger's into a file instead, as `allow replace` takes them; `-` is standard output
    #[arg(long, value_name = "FILE", conflicts_with_all = ["search", "clearance", "expires_before", "fingerprint", "source"])]
    export: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit, Failure> {
    if let Some(file) = &arguments.export {
        return export(file, &arguments.target, output);
    }
    let filters = [
        ("q", arguments.search.as_ref()),
        ("clearance", arguments.clearance.as_ref()),
        ("expires_before", arguments.expires_before.as_ref()),
        ("fingerprint", arguments.fingerprint.as_ref()),
        ("source", Some(&arguments.source)),
    ];
    let given = filters.into_iter().filter_map(|(key, value)| Some(format!("&{key}={}", encoded(value?))));
    let found = pages(&arguments.target.remote()?, "/v1/principals", "principals", &given.collect::<String>())?;
    let mut table = table(&found);
    if found.is_empty() {
        "nobody".clone_into(&mut table);
    }
    if arguments.source == MANAGED {
        table += "\nof the ledger; `--source all` lists those of files, too";
    }
    output.answer(&serde_json::json!({ "principals": found }), table);
    Ok(Exit::Done)
}

/// One call, so that all of it is of one moment.
fn export(file: &Path, target: &Target, output: Output) -> Result<Exit, Failure> {
    let reply = target.remote()?.send(&Method::GET, "/v1/principals/export", None, None)?;
    if !reply.status.is_success() {
        return Err(reply.refusal());
    }
    let count = reply.json()?["principals"].as_array().map_or(0, Vec::len);
    if file == Path::new("-") {
        print_line(String::from_utf8_lossy(&reply.body).trim_end());
        return Ok(Exit::Done);
    }
    std::fs::write(file, &reply.body).map_err(|error| Failure::file(file, error))?;
    let told = format!("{}: {count} principals; `portcullis allow replace` puts them back", file.display());
    output.answer(&serde_json::json!({ "file": file, "principals": count }), told);
    Ok(Exit::Done)
}

/// Makes columns, as wide as what they hold.
fn table(found: &[Value]) -> String {
    let head = ["NAME", "ID", "CLEARANCE", "MAY", "CREDENTIALS", "UNTIL", ""].map(str::to_owned);
    let rows: Vec<[String; 7]> = std::iter::once(head).chain(found.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; 7] = std::array::from_fn(width);
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

const MANAGED: &str = "managed";

fn row(principal: &Value) -> [String; 7] {
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let ranks = text(principal, "clearance") == "admin";
    let may = principal["permissions"].as_array().into_iter().flatten().map(|permission| {
        let routes = permission["routes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>();
        format!("{}={}", routes.join(","), text(permission, "access"))
    });
    let count = |key: &str, one: &str, many: &str| match principal[key].as_array().map_or(0, Vec::len) {
        0 => None,
        1 => Some(format!("1 {one}")),
        several => Some(format!("{several} {many}")),
    };
    let credentials = [
        count("certificates", "certificate", "certificates"),
        count("spki_pins", "key", "keys"),
        count("authority", "authority", "authorities"),
    ];
    let mut notes = Vec::new();
    if text(principal, "source") == "static" {
        notes.push(format!("in {}", text(principal, "written")));
    }
    if principal["enabled"].as_bool() == Some(false) {
        notes.push("disabled".to_owned());
    }
    if principal["protected"].as_bool() == Some(true) {
        notes.push("protected".to_owned());
    }
    notes.extend(principal["display_name"].as_str().map(|name| format!("\"{name}\"")));
    [
        text(principal, "name").to_owned(),
        text(principal, "id").to_owned(),
        principal["clearance"].as_str().unwrap_or("user").to_owned(),
        if ranks { "all".to_owned() } else { or_dash(may.collect::<Vec<_>>().join(" ")) },
        or_dash(credentials.into_iter().flatten().collect::<Vec<_>>().join(", ")),
        or_dash(text(principal, "valid_until").to_owned()),
        notes.join(", "),
    ]
    .map(|cell| printable(&cell))
}
