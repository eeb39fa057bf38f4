//! What an entry is about, in a few words and by name: who reads the log at night knows names, and the ledger has ids.

use serde_json::Value;

use super::printable;
use crate::store::ledger::Entry;

/// Says whom an entry names and what it says of them; of a reload of files, who came and who went.
pub(super) fn told(entry: &Entry) -> String {
    let Entry { action, data, .. } = entry;
    let said = match action.as_str() {
        "files.reloaded" => files(data),
        "principal.put" => {
            let document = &data["document"];
            let rank = document["clearance"].as_str().filter(|rank| *rank != "user");
            let off = (document["enabled"].as_bool() == Some(false)).then_some("disabled");
            let about: Vec<&str> = [document["name"].as_str(), rank, off].into_iter().flatten().collect();
            about.join(", ")
        }
        _ => data["name"].as_str().filter(|name| *name != entry.object).unwrap_or_default().to_owned(),
    };
    printable(&said)
}

/// Says whether an entry is about something: its object, or a principal of that name.
pub(super) fn is(entry: &Entry, wanted: &str) -> bool {
    let Entry { object, data, .. } = entry;
    let same = |value: &Value| value.as_str().is_some_and(|text| text.eq_ignore_ascii_case(wanted));
    let listed = |key: &str| data[key].as_array().is_some_and(|names| names.iter().any(same));
    object.eq_ignore_ascii_case(wanted)
        || same(&data["name"])
        || same(&data["document"]["name"])
        || listed("added_names")
        || listed("removed_names")
}

fn files(data: &Value) -> String {
    let side = |sign: char, count: &str, names: &str| {
        let count = data[count].as_u64().filter(|count| *count > 0)?;
        let names: Vec<&str> = data[names].as_array().into_iter().flatten().filter_map(Value::as_str).take(MOST_NAMES).collect();
        let more = if count > names.len() as u64 { ", …" } else { "" };
        Some(format!("{sign}{count}: {}{more}", names.join(", ")))
    };
    let (before, after) = (&data["restrictions_before"], &data["restrictions_after"]);
    let restricted = (before != after).then(|| format!("restrictions {before} to {after}"));
    let sides = [side('+', "added", "added_names"), side('-', "removed", "removed_names"), restricted];
    sides.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

const MOST_NAMES: usize = 8;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(action: &str, object: &str, data: &Value) -> Entry {
        let time = "2026-11-20T23:12:10.005Z";
        let whole = json!({ "v": 1, "index": 7, "time": time, "actor": { "kind": "socket" }, "action": action, "object": object,
            "before": "b", "after": "a", "data": data });
        serde_json::from_value(whole).expect("an entry")
    }

    #[test]
    fn an_entry_is_told_and_found_by_name() {
        let put = json!({ "document": { "id": "p-1", "name": "alice", "clearance": "operator", "enabled": false } });
        let files = json!({ "added": 1, "added_names": ["new"], "removed": 12, "removed_names": ["a", "b"],
            "restrictions_before": 3, "restrictions_after": 2 });
        for (action, object, data, expected, found_by) in [
            ("principal.put", "p-1", put, "alice, operator, disabled", "Alice"),
            ("principal.remove", "p-2", json!({ "id": "p-2", "name": "bob" }), "bob", "bob"),
            ("files.reloaded", "files", files, "+1: new; -12: a, b, …; restrictions 3 to 2", "b"),
            ("files.reloaded", "files", json!({ "added": 0, "removed": 0 }), "", "files"),
            ("revocation.add", "serial:2A", json!({ "id": "serial:2A" }), "", "serial:2a"),
        ] {
            let entry = entry(action, object, &data);
            assert_eq!(told(&entry), expected, "{action}");
            assert!(is(&entry, found_by) && !is(&entry, "mallory"), "{action}");
        }
    }
}
