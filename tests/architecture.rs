//! Who may name whom: reads every `crate::` path under src and fails on an edge that the map in `ROOMS` does
//! not allow. A room names what stands to its left, never to its right, nor a neighbour in its own group.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The rooms, left to right.
const ROOMS: &[&[&str]] = &[
    &["date", "threads"],
    &["pki", "clock", "message", "metrics", "drain", "ticker"],
    &["log"],
    &["admission"],
    &["gate"],
    // The codec stands before those who speak through it.
    &["http1"],
    &["tls", "challenge", "address", "routing", "identity", "upstream", "limits"],
    &["failure"],
    &["rules"],
    &["request"],
    &["connection"],
    &["listener"],
    &["store"],
    &["config", "kubernetes"],
    &["reload", "explain", "monitor"],
    &["admin"],
    &["cli"],
    &["main"],
];

/// Narrower than the order: all that these rooms may name.
const NARROWER: &[(&str, &[&str])] = &[("admission", &["date", "pki", "threads"]), ("routing", &["admission", "message"])];

/// Each outside crate and the rooms (or files) it is named in: what replacing it would touch.
const CRATES: &[(&str, &[&str])] = &[
    ("arc_swap", &["rules"]),
    ("axum", &["admin"]),
    ("aws_lc_rs", &["pki", "tls/records", "challenge", "upstream", "request", "store/ledger", "reload/plan", "admin", "cli"]),
    ("base64", &["pki", "admission", "challenge", "identity", "upstream", "store", "admin", "cli"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli/completions"]),
    ("clap_mangen", &["cli/man"]),
    ("hashbrown", &["admission"]),
    ("http_body_util", &["monitor", "admin", "cli"]),
    ("httparse", &["http1"]),
    ("hyper", &["upstream", "request", "connection", "monitor", "admin", "cli/echo", "cli/remote"]),
    ("hyper_util", &["upstream", "connection", "monitor", "admin", "cli/echo", "cli/remote"]),
    ("ipnet", &["admission", "gate", "address", "config"]),
    ("memchr", &["pki", "tls", "http1", "store"]),
    ("notify", &["reload"]),
    ("p12_keystore", &["pki"]),
    ("bcrypt_pbkdf", &["pki"]),
    ("pkcs5", &["pki"]),
    ("prometheus", &["metrics"]),
    ("rcgen", &["cli/quickstart", "pki/generate"]),
    ("rpassword", &["cli/input"]),
    ("rpds", &["store"]),
    ("rustix", &["listener", "store", "admin", "cli"]),
    ("rustls", &["tls", "upstream", "cli/mod"]),
    ("rustls_native_certs", &["upstream"]),
    ("serde", &["challenge", "store", "config/error", "explain", "monitor", "admin", "cli"]),
    ("serde_json", &["challenge", "store", "monitor", "admin", "cli"]),
    ("socket2", &["listener"]),
    ("tokio_rustls", &["tls/server_only", "upstream"]),
    ("toml", &["config", "cli/allow/set"]),
    ("tower", &["admin"]),
    ("tracing_subscriber", &["cli/run"]),
    ("utoipa", &["store", "explain", "admin"]),
    ("utoipa_axum", &["admin"]),
    ("webpki", &["pki", "admission/chain", "tls/verifier"]),
    ("x509_parser", &["pki"]),
    ("zeroize", &["pki", "challenge", "request", "explain", "admin", "cli"]),
    ("zip", &["pki/generate"]),
];

/// Crates that are words everywhere.
const VOCABULARY: &[&str] = &["bytes", "http", "http_body", "rustls_pki_types", "tokio", "tracing"];

#[test]
fn no_room_names_one_to_its_right() {
    let rank: BTreeMap<&str, usize> =
        ROOMS.iter().enumerate().flat_map(|(rank, group)| group.iter().map(move |room| (*room, rank))).collect();
    let mut wrong = Vec::new();
    for (file, text) in code() {
        let from = room_of(&file);
        if from == "lib" {
            continue;
        }
        let from_rank = *rank.get(from.as_str()).unwrap_or_else(|| panic!("{} stands in no room of the map", file.display()));
        for (line, to) in named(&text, "crate::") {
            if to == from {
                continue;
            }
            let Some(to_rank) = rank.get(to.as_str()) else { continue };
            let narrow = NARROWER.iter().find(|(room, _)| *room == from);
            if *to_rank >= from_rank || narrow.is_some_and(|(_, allowed)| !allowed.contains(&to.as_str())) {
                wrong.push(format!("{}:{line}: {from} names {to}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_map_in_lib_has_the_rooms_in_their_order() {
    let lib = std::fs::read_to_string(source_root().join("lib.rs")).expect("readable");
    let declared = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let ranks: Vec<_> = declared.map(|room| (ROOMS.iter().position(|group| group.contains(&room)), room)).collect();
    assert!(ranks.is_sorted_by_key(|(rank, _)| *rank) && ranks.iter().all(|(rank, _)| rank.is_some()), "{ranks:?}");
}

#[test]
fn each_outside_crate_stays_in_its_rooms() {
    let mut unused: BTreeSet<(&str, &str)> =
        CRATES.iter().flat_map(|(krate, rooms)| rooms.iter().map(move |room| (*krate, *room))).collect();
    let mut wrong = Vec::new();
    for (file, text) in code() {
        let place = file.strip_prefix(source_root()).expect("below src").with_extension("").display().to_string();
        for (krate, rooms) in CRATES {
            let room = rooms.iter().find(|room| place == **room || place.starts_with(&format!("{room}/")));
            for (number, line) in code_lines(&text).filter(|(_, line)| names(line, krate)) {
                match room {
                    Some(room) => _ = unused.remove(&(*krate, *room)),
                    None => wrong.push(format!("{}:{number}: {krate} outside {rooms:?}: {line}", file.display())),
                }
            }
        }
    }
    wrong.extend(unused.iter().map(|(krate, room)| format!("{krate} is not named in {room}")));
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn each_dependency_has_its_rooms() {
    let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).expect("readable");
    let dependencies = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1).take_while(|line| !line.starts_with('['));
    let dependencies: BTreeSet<String> = dependencies
        .filter_map(|line| line.split_once(" = "))
        // The one crate whose library has another name.
        .map(|(name, _)| if name == "rustls-webpki" { "webpki".to_owned() } else { name.replace('-', "_") })
        .collect();
    let listed = CRATES.iter().map(|(krate, _)| *krate).chain(VOCABULARY.iter().copied()).map(str::to_owned).collect();
    assert_eq!(dependencies, listed);
}

#[test]
fn every_file_opens_with_what_lives_there() {
    let silent: Vec<_> =
        sources().into_iter().filter(|(_, text)| !text.starts_with("//!")).map(|(file, _)| file.display().to_string()).collect();
    assert!(silent.is_empty(), "{silent:?}");
}

/// Tells whether a line names a crate, as `use` or in a path.
fn names(line: &str, krate: &str) -> bool {
    line.match_indices(&format!("{krate}::")).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

/// Returns the first path segment after each `prefix` (and of each member of a braced group), with its line.
fn named(text: &str, prefix: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in code_lines(text) {
        for (at, _) in line.match_indices(prefix) {
            let rest = &line[at + prefix.len()..];
            let members: Vec<&str> = match rest.strip_prefix('{') {
                Some(group) => group.split(',').map(str::trim).collect(),
                None => vec![rest],
            };
            found.extend(
                members.into_iter().map(|member| (number, member.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())),
            );
        }
    }
    found
}

/// Every file that is not all tests: those may look further.
fn code() -> impl Iterator<Item = (PathBuf, String)> {
    sources().into_iter().filter(|(file, _)| {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        stem != "testing" && stem != "tests" && !stem.ends_with("_tests")
    })
}

/// The lines of a file that are code, without its tests.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .map(|(index, line)| (index + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn room_of(file: &Path) -> String {
    let below = file.strip_prefix(source_root()).expect("below src");
    let first = below.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open = vec![source_root()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                // A room's tests may look further than the room.
                if !path.ends_with("tests") {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("UTF-8");
                found.push((path, text));
            }
        }
    }
    found.sort();
    assert!(found.len() > 20, "the source tree was not found");
    found
}
