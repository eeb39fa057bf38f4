//! The docs say what the code says: every code with its statuses and its alert, and no code that is none.

use std::collections::{BTreeMap, BTreeSet};

use portcullis::admission::Denial;
use portcullis::failure::Failure;
use portcullis::tls::alert_name;

/// Code to (statuses, alert), as the tables of docs/denials.md have them.
type Table = BTreeMap<String, (String, String)>;

fn documented() -> Table {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/denials.md")).expect("docs/denials.md is readable");
    let mut table = Table::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [code, statuses, alert, meaning, advice] = cells[..] else { panic!("not five cells: {line}") };
        assert!(!meaning.is_empty() && !advice.is_empty(), "{line}");
        let code = code.trim_matches('`').to_owned();
        assert!(table.insert(code, (statuses.to_owned(), alert.to_owned())).is_none(), "twice: {line}");
    }
    table
}

fn coded() -> Table {
    let mut statuses: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for failure in Failure::all() {
        statuses.entry(failure.code()).or_default().insert(failure.status().as_str().to_owned());
    }
    let alert = |code: &str| Denial::ALL.iter().find(|denial| denial.code() == code).and_then(|denial| alert_name(*denial)).unwrap_or("-");
    let row = |(code, statuses): (&str, BTreeSet<String>)| {
        let statuses: Vec<String> = statuses.into_iter().collect();
        (code.to_owned(), (statuses.join(", "), alert(code).to_owned()))
    };
    statuses.into_iter().map(row).collect()
}

#[test]
fn every_code_is_documented_with_its_status_and_alert() {
    assert_eq!(documented(), coded());
}

#[test]
fn codes_stand_in_alphabetical_order() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/denials.md")).expect("docs/denials.md is readable");
    for section in text.split("\n## ").skip(1) {
        let codes: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        assert!(codes.is_sorted(), "{codes:?}");
    }
}
