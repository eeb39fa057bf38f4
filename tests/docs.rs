//! The docs say what the code says: every code with its statuses and its alert, and no code that is none; and
//! the tests that they name exist.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

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

#[test]
fn every_row_of_known_failures_names_tests_that_exist() {
    let (rows, missing) = check_rows(&read("docs/known-failures.md"));
    assert!(rows >= 36, "{rows} rows");
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
}

#[test]
fn every_promise_of_the_readme_names_tests_that_exist() {
    let text = read("README.md");
    let promises = text.split("## The promises").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("the section");
    let (rows, missing) = check_rows(promises);
    assert_eq!(rows, 8);
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
}

/// The acts of `docs/managing.md`: what can be done by file and what by command, held to the commands that there are.
#[test]
fn every_act_is_shown_in_both_ways_and_every_command_that_manages_is_shown() {
    let directory = tempfile::tempdir().expect("a directory");
    let made = Command::new(env!("CARGO_BIN_EXE_portcullis")).arg("man").arg(directory.path()).output().expect("the binary runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let page = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.expect("readable").path();
        let name = path.file_stem()?.to_str()?.strip_prefix("portcullis-")?.to_owned();
        Some((name, std::fs::read_to_string(&path).expect("text").replace('\\', "")))
    };
    let pages: BTreeMap<String, String> = std::fs::read_dir(directory.path()).expect("readable").filter_map(page).collect();
    let text = read("docs/managing.md");
    let acts =
        text.split("## Each act, in both ways").nth(1).and_then(|rest| rest.split("\n\nWhat a CRL lists").next()).expect("the table");
    let rows: Vec<Vec<&str>> = acts.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| act |")).map(cells).collect();
    assert!(rows.len() > 35, "{} acts", rows.len());
    let mut shown: BTreeSet<&str> = BTreeSet::new();
    for row in &rows {
        let [act, by_file, by_command] = row[..] else { panic!("not three cells: {row:?}") };
        assert!(!by_file.is_empty() && !by_command.is_empty(), "{act}: how? If there is no way, say why not");
        // A name that is no command's stands for an option, a file or an argument.
        for code in [by_file, by_command].into_iter().flat_map(|cell| cell.split('`').skip(1).step_by(2)) {
            let is_one = code.starts_with("portcullis ");
            let words: Vec<&str> = code.trim_start_matches("portcullis ").split(' ').collect();
            let named = |count: usize| pages.get_key_value(&words[..count.min(words.len())].join("-"));
            let Some((name, page)) = named(2).or_else(|| named(1)) else {
                assert!(!is_one, "{act}: there is no command `{code}`");
                continue;
            };
            shown.insert(name);
            for option in words.iter().filter_map(|word| word.split('=').next().filter(|option| option.starts_with("--"))) {
                let below = pages.iter().filter(|(other, _)| other.starts_with(&format!("{name}-"))).map(|(_, page)| page);
                assert!(std::iter::once(page).chain(below).any(|page| page.contains(option)), "{act}: `{name}` has no {option}");
            }
        }
    }
    // What runs the proxy, tries it, or proves a key to another one, manages nobody.
    let others = ["auth", "completions", "echo", "get-cert-challenge", "man", "quickstart", "run", "sign-challenge"];
    let is_group =
        |name: &str| pages.keys().any(|other| other.starts_with(&format!("{name}-")) && name != "auth" && name != "ledger-verify");
    let manages = pages.keys().map(String::as_str).filter(|name| !others.contains(name) && !is_group(name) && *name != "help");
    let missing: Vec<&str> = manages.filter(|name| !shown.contains(name)).collect();
    assert!(missing.is_empty(), "commands that docs/managing.md does not show: {missing:?}");
}

/// The cells of a row; a `|` in code is written `\|`.
fn cells(row: &str) -> Vec<&str> {
    row.trim().trim_start_matches('|').trim_end_matches('|').split(" | ").map(str::trim).collect()
}

#[test]
fn rules_and_dashboard_ask_for_metrics_that_there_are() {
    let families = read("src/metrics/families.rs");
    let words = |text: &str| -> BTreeSet<String> {
        let is_name = |char: char| char.is_ascii_lowercase() || char == '_';
        text.split(|char| !is_name(char)).filter_map(|word| word.strip_prefix("portcullis_")).map(str::to_owned).collect()
    };
    for file in ["deploy/alerts.yml", "deploy/grafana.json"] {
        let asked = words(&read(file));
        assert!(asked.len() > 8, "{file}: {asked:?}");
        for name in asked {
            let family = name.trim_end_matches("_bucket").trim_end_matches("_count");
            assert!(families.contains(&format!("\"{family}\"")), "{file} asks for portcullis_{name}");
        }
    }
    serde_json::from_str::<serde_json::Value>(&read("deploy/grafana.json")).expect("the dashboard is JSON");
}

/// Returns how many rows the tables of a text have, and what is wrong with their last columns.
fn check_rows(text: &str) -> (usize, Vec<String>) {
    let sources = sources();
    let (mut rows, mut missing) = (0, Vec::new());
    let header = |line: &str| ["| #", "| failure", "| trap", "| promise"].iter().any(|start| line.starts_with(start));
    for line in text.lines().filter(|line| line.starts_with("| ") && !header(line)) {
        rows += 1;
        let last = line.trim_end_matches('|').rsplit('|').next().expect("a column");
        let tests: Vec<&str> = last.split('`').skip(1).step_by(2).filter(|name| !name.ends_with('/')).collect();
        if tests.is_empty() && !line.contains("not in this version") {
            missing.push(format!("no test: {line}"));
        }
        for test in tests {
            let (place, name) = test.split_once("::").unwrap_or_else(|| panic!("not file::test: {test}"));
            let wanted = format!("fn {name}(");
            let stands =
                |path: &Path| path.components().any(|part| Path::new(part.as_os_str()).file_stem().is_some_and(|stem| stem == place));
            if !sources.iter().any(|(path, text)| stands(path) && text.contains(&wanted)) {
                missing.push(test.to_owned());
            }
        }
    }
    (rows, missing)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut found, mut open) = (Vec::new(), vec![root.join("src"), root.join("tests")]);
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("UTF-8");
                found.push((path.strip_prefix(root).expect("below").to_owned(), text));
            }
        }
    }
    found
}

/// Name to why, of the lines below a heading of Cargo.toml.
fn dependencies(heading: &str) -> BTreeMap<String, String> {
    let manifest = read("Cargo.toml");
    let section = manifest.split(heading).nth(1).and_then(|rest| rest.split("\n[").next()).expect("the section");
    let lines = section.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let name = line.split([' ', '.']).next().unwrap_or_default().to_owned();
            (name, line.split_once(" # ").map_or("", |(_, why)| why).trim().to_owned())
        })
        .collect()
}

#[test]
fn every_dependency_says_why_and_the_readme_lists_each_once() {
    let mut needed = dependencies("\n[dependencies]\n");
    needed.extend(dependencies("\n[target.'cfg(target_env = \"musl\")'.dependencies]\n"));
    for (name, why) in needed.iter().chain(&dependencies("\n[dev-dependencies]\n")) {
        assert!(!why.is_empty(), "{name} does not say why it is in Cargo.toml");
    }
    let text = read("README.md");
    let table = text.split("## Dependencies").nth(1).expect("the section");
    let cells = table.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let mut listed: Vec<&str> = cells.flat_map(|cell| cell.split([',', ' ', '`'])).filter(|name| !name.is_empty()).collect();
    listed.sort_unstable();
    assert_eq!(listed, needed.keys().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn every_link_of_the_documents_leads_to_a_file() {
    for document in ["README.md", "docs/managing.md", "docs/operating.md", "SECURITY.md", "docs/life-of-a-request.md"] {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(document).parent().expect("a directory").to_owned();
        for link in read(document).split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next().map(str::to_owned)) {
            let elsewhere = link.is_empty() || link.contains("://");
            assert!(elsewhere || directory.join(&link).exists(), "{document}: {link}");
        }
    }
}
