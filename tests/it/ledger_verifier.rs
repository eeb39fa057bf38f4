//! A second verifier, written from RFC 6962 and the C2SP texts (signed-note, tlog-checkpoint, tlog-tiles, tlog-proof) alone: it shares
//! no code with the ledger, reads what the ledger publishes, and accepts or refuses it. Beside it, what our own says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis::store::ledger::{Actor, ActorKind, Ledger, NewEntry};

type Hash = [u8; 32];

/// Everything published, read and held against the key: the entries, the size and the head.
struct Published {
    entries: Vec<Vec<u8>>,
    head: Hash,
}

/// Reads a published log as a stranger would: checkpoint, then the tiles that it calls for.
fn verify(log: &Path, vkey: &str) -> Result<Published, String> {
    let note = fs::read_to_string(log.join("checkpoint")).map_err(|error| error.to_string())?;
    let (size, head) = checkpoint(&note, vkey)?;
    let mut entries = Vec::new();
    for number in 0..size.div_ceil(256) {
        let width = (size - number * 256).min(256);
        let bundle = tile(log, "entries", number, width)?;
        let mut rest = bundle.as_slice();
        let mut leaves = Vec::new();
        while let [high, low, after @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let entry = after.get(..length).ok_or("an entry bundle ends too early")?;
            leaves.extend(leaf(entry));
            entries.push(entry.to_vec());
            rest = &after[length..];
        }
        if !rest.is_empty() || leaves != tile(log, "0", number, width)? {
            return Err(format!("bundle {number} and its tile differ"));
        }
    }
    let leaves: Vec<Hash> = entries.iter().map(|entry| leaf(entry)).collect();
    // tlog-tiles: each hash of level 1 is the head of a full tile of level 0, and so on.
    let (mut below, mut level) = (leaves.clone(), 1);
    while below.len() >= 256 {
        let above: Vec<Hash> = below.chunks_exact(256).map(head_of).collect();
        for (number, hashes) in above.chunks(256).enumerate() {
            if tile(log, &level.to_string(), number as u64, hashes.len() as u64)? != hashes.concat() {
                return Err(format!("tile {number} of level {level} is wrong"));
            }
        }
        (below, level) = (above, level + 1);
    }
    if leaves.len() as u64 != size || head_of(&leaves) != head {
        return Err("the entries do not lead to the signed head".to_owned());
    }
    Ok(Published { entries, head })
}

fn tile(log: &Path, level: &str, number: u64, width: u64) -> Result<Vec<u8>, String> {
    assert!(number < 1_000, "longer paths are for longer logs");
    let name = if width == 256 { format!("tile/{level}/{number:03}") } else { format!("tile/{level}/{number:03}.p/{width}") };
    fs::read(log.join(&name)).map_err(|error| format!("{name}: {error}"))
}

/// signed-note and tlog-checkpoint: size and head, if the key signed them.
fn checkpoint(note: &str, vkey: &str) -> Result<(u64, Hash), String> {
    let mut parts = vkey.trim().splitn(3, '+');
    let (name, id, key) = (
        parts.next().expect("as it was written"),
        parts.next().expect("as it was written"),
        STANDARD.decode(parts.next().expect("as it was written")).expect("as it was written"),
    );
    assert_eq!(key[0], 1, "Ed25519");
    let digest = digest(&SHA256, &[name.as_bytes(), b"\n", &key].concat());
    let key_id = &digest.as_ref()[..4];
    assert_eq!(u32::from_str_radix(id, 16).expect("as it was written").to_be_bytes(), key_id);
    let (text, signatures) = note.split_once("\n\n").ok_or("no note")?;
    let text = format!("{text}\n");
    let signature = signatures.lines().find_map(|line| line.strip_prefix(&format!("— {name} "))).ok_or("not signed")?;
    let signature = STANDARD.decode(signature).map_err(|error| error.to_string())?;
    if signature[..4] != *key_id {
        return Err("signed by another key".to_owned());
    }
    UnparsedPublicKey::new(&ED25519, &key[1..]).verify(text.as_bytes(), &signature[4..]).map_err(|_| "a wrong signature")?;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], name, "the origin");
    Ok((
        lines[1].parse().expect("as it was written"),
        STANDARD.decode(lines[2]).expect("as it was written").try_into().expect("as it was written"),
    ))
}

/// tlog-proof: whether the entry is at the index that the proof says, in a tree that the key signed.
fn verify_proof(proof: &str, entry: &[u8], vkey: &str) -> Result<u64, String> {
    let (proof, note) = proof.split_once("\n\n").ok_or("no proof")?;
    let mut lines = proof.lines();
    assert_eq!(lines.next(), Some("c2sp.org/tlog-proof@v1"));
    let index: u64 = lines.next().and_then(|line| line.strip_prefix("index ")).ok_or("no index")?.parse().expect("as it was written");
    let path: Vec<Hash> =
        lines.map(|line| STANDARD.decode(line).expect("as it was written").try_into().expect("as it was written")).collect();
    let (size, head) = checkpoint(note, vkey)?;
    if follow(index, size, leaf(entry), &path) == Some(head) { Ok(index) } else { Err("the path leads elsewhere".to_owned()) }
}

/// RFC 6962, 2.1.1, read backwards: PATH(m, D[n]) is the path in the half that has m, then the head of the other half.
fn follow(index: u64, size: u64, leaf: Hash, path: &[Hash]) -> Option<Hash> {
    if size == 1 {
        return path.is_empty().then_some(leaf);
    }
    let (other, path) = path.split_last()?;
    let k = half(size);
    if index < k { Some(node(&follow(index, k, leaf, path)?, other)) } else { Some(node(other, &follow(index - k, size - k, leaf, path)?)) }
}

/// RFC 6962, 2.1.
fn head_of(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => sha256(&[]),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(half(leaves.len() as u64) as usize);
            node(&head_of(left), &head_of(right))
        }
    }
}

/// The largest power of two below n.
fn half(n: u64) -> u64 {
    (0..63).map(|bit| 1 << bit).take_while(|power| *power < n).last().expect("as it was written")
}

fn leaf(entry: &[u8]) -> Hash {
    sha256(&[&[0], entry].concat())
}

fn node(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left.as_slice(), right].concat())
}

fn sha256(bytes: &[u8]) -> Hash {
    digest(&SHA256, bytes).as_ref().try_into().expect("as it was written")
}

/// A state directory with a ledger of `names`, and its key's public half.
fn ledger(names: impl Iterator<Item = String>) -> (tempfile::TempDir, PathBuf, String) {
    let directory = tempfile::tempdir().expect("as it was written");
    let mut ledger = Ledger::open(directory.path(), Some("gate.example/ledger")).expect("as it was written").ledger;
    append(&mut ledger, names);
    let vkey = ledger.reader().verifier().to_string();
    let log = directory.path().join("ledger");
    (directory, log, vkey)
}

fn append(ledger: &mut Ledger, names: impl Iterator<Item = String>) {
    let change = |object| NewEntry {
        action: "principal-added".to_owned(),
        object,
        actor: Actor { name: Some("ops/alice".to_owned()), ..Actor::new(ActorKind::Admin) },
        before: "00".to_owned(),
        after: "01".to_owned(),
        reason: Some("a \"reason\" with \u{20ac} and \u{1f600}".to_owned()),
        data: serde_json::json!({"b": [1, 2], "a": null}),
        more: false,
    };
    ledger.append(names.map(change).collect(), Duration::from_secs(1_795_216_330)).expect("as it was written");
    ledger.publish().expect("as it was written");
}

fn some(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|index| format!("p-{index}"))
}

fn portcullis(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis")).arg("ledger").args(arguments).output().expect("as it was written")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

#[test]
fn nothing_is_forgotten_and_a_second_verifier_says_so() {
    for count in [1, 2, 255, 256, 257, 1_000] {
        let (_directory, log, vkey) = ledger(some(count));
        let published = verify(&log, &vkey).expect("as it was written");
        assert_eq!(published.entries.len(), count);
        let lines: Vec<u8> = published.entries.iter().flat_map(|entry| [entry.as_slice(), b"\n"].concat()).collect();
        assert_eq!(fs::read(log.join("entries.jsonl")).expect("as it was written"), lines, "the bundles are the lines");
    }
}

#[test]
fn receipts_hold_before_a_second_verifier_and_for_no_other_entry() {
    let (directory, log, vkey) = ledger(some(700));
    let state = directory.path().to_str().expect("as it was written");
    let published = verify(&log, &vkey).expect("as it was written");
    for index in [0, 1, 255, 256, 511, 512, 698, 699] {
        let output = portcullis(&["receipt", "--state", state, &index.to_string()]);
        assert!(output.status.success(), "{}", said(&output));
        let receipt = String::from_utf8(output.stdout).expect("as it was written");
        let entry = &published.entries[index];
        assert_eq!(verify_proof(&receipt, entry, &vkey), Ok(index as u64));
        assert!(verify_proof(&receipt, &published.entries[index ^ 1], &vkey).is_err());

        let (receipt_file, entry_file) = (directory.path().join("receipt"), directory.path().join("entry"));
        fs::write(&receipt_file, &receipt).expect("as it was written");
        fs::write(&entry_file, entry).expect("as it was written");
        let ours = [
            "verify-receipt",
            receipt_file.to_str().expect("as it was written"),
            entry_file.to_str().expect("as it was written"),
            "--key",
            &vkey,
        ];
        assert_eq!(portcullis(&ours).status.code(), Some(0));
        fs::write(&entry_file, &published.entries[index ^ 1]).expect("as it was written");
        assert_eq!(portcullis(&ours).status.code(), Some(1));
    }
    assert_eq!(portcullis(&["receipt", "--state", state, "700"]).status.code(), Some(2));
}

#[test]
fn a_ledger_that_was_tampered_with_is_refused_by_both_verifiers_and_the_start() {
    let (directory, log, vkey) = ledger(some(300));
    let entries = log.join("entries.jsonl");
    let (lines, note) =
        (fs::read_to_string(&entries).expect("as it was written"), fs::read_to_string(log.join("checkpoint")).expect("as it was written"));
    let bundle = fs::read(log.join("tile/entries/000")).expect("as it was written");
    let state = directory.path().to_str().expect("as it was written");
    let good = portcullis(&["verify", "--state", state, "--key", &vkey]);
    assert_eq!(good.status.code(), Some(0), "{}", said(&good));

    let dropped: String = lines.split_inclusive('\n').enumerate().filter(|(at, _)| *at != 17).map(|(_, line)| line).collect();
    for (what, changed, expected) in [
        ("one byte", lines.replacen("p-17\"", "p-71\"", 1), "entries.jsonl:18: is not what"),
        ("one entry dropped", dropped, "entries.jsonl"),
        ("the last entry dropped", lines[..lines.trim_end().rfind('\n').expect("as it was written") + 1].to_owned(), "entries are gone"),
    ] {
        fs::write(&entries, &changed).expect("as it was written");
        let output = portcullis(&["verify", "--state", state]);
        assert_eq!(output.status.code(), Some(1), "{what}: {}", said(&output));
        assert!(said(&output).contains(expected), "{what}: {}", said(&output));
        assert!(Ledger::open(directory.path(), None).is_err(), "{what}");
    }
    fs::write(&entries, &lines).expect("as it was written");

    let mut changed = bundle.clone();
    changed[100] ^= 1;
    fs::write(log.join("tile/entries/000"), &changed).expect("as it was written");
    assert!(verify(&log, &vkey).is_err());
    let output = portcullis(&["verify", "--state", state]);
    assert!(output.status.code() == Some(1) && said(&output).contains("tile/entries/000: does not agree"), "{}", said(&output));
    fs::write(log.join("tile/entries/000"), &bundle).expect("as it was written");

    // Another size, unsigned.
    fs::write(log.join("checkpoint"), note.replace("\n300\n", "\n299\n")).expect("as it was written");
    assert!(verify(&log, &vkey).is_err());
    assert_eq!(portcullis(&["verify", "--state", state]).status.code(), Some(1));
}

#[test]
fn a_rewritten_history_is_refused_though_its_own_key_signed_it() {
    let (directory, log, vkey) = ledger(some(20));
    let before = verify(&log, &vkey).expect("as it was written");
    let seen = fs::read(directory.path().join("checkpoint.seen")).expect("as it was written");
    // Whoever has the key writes another history, as long and longer.
    let forged = tempfile::tempdir().expect("as it was written");
    fs::copy(directory.path().join("ledger.key"), forged.path().join("ledger.key.begun")).expect("as it was written");
    let mut ledger = Ledger::open(forged.path(), None).expect("as it was written").ledger;
    append(&mut ledger, some(30).map(|name| name.replace("p-7", "p-x")));
    drop(ledger);
    let after = verify(&forged.path().join("ledger"), &vkey).expect("in itself it is good");
    // RFC 6962, 2.1.2: consistency is that the head of the old size is still the head of those entries.
    let leaves: Vec<Hash> = after.entries[..before.entries.len()].iter().map(|entry| leaf(entry)).collect();
    assert_ne!(head_of(&leaves), before.head);
    fs::write(forged.path().join("checkpoint.seen"), seen).expect("as it was written");
    let error = Ledger::open(forged.path(), None).unwrap_err().to_string();
    assert!(error.contains("checkpoint.seen has signed: history was rewritten"), "{error}");
    assert_eq!(portcullis(&["verify", "--state", forged.path().to_str().expect("as it was written")]).status.code(), Some(1));
}

#[test]
fn the_log_is_listed_filtered_and_raw_beside_the_one_that_writes() {
    let directory = tempfile::tempdir().expect("as it was written");
    // Held open throughout: reading takes no lock.
    let mut ledger = Ledger::open(directory.path(), None).expect("as it was written").ledger;
    append(&mut ledger, some(5).chain(["evil\u{1b}[2J".to_owned()]));
    let state = directory.path().to_str().expect("as it was written");
    let list = |more: &[&str]| said(&portcullis(&[&["log", "--state", state], more].concat()));
    let all = list(&[]);
    assert!(all.starts_with("0 2026-11-20T23:12:10.000Z admin ops/alice: principal-added p-0 ("), "{all}");
    assert!(all.ends_with("6 of 6 entries\n") && all.contains("evil\\u{1b}[2J"), "{all}");
    assert!(list(&["--limit", "2"]).contains("p-4"), "the newest");
    assert!(list(&["--from", "1", "--limit", "2"]).ends_with("2 of 6 entries\n"));
    assert!(list(&["--actor", "ops/bob"]).starts_with("0 of 6") && list(&["--actor", "admin"]).contains("6 of 6"));
    assert!(list(&["--action", "crl.put"]).starts_with("0 of 6") && list(&["--since", "2026-11-20T23:12:11Z"]).starts_with("0 of 6"));
    let lines = fs::read_to_string(directory.path().join("ledger/entries.jsonl")).expect("as it was written");
    assert_eq!(list(&["--raw"]), lines);
    let json: serde_json::Value = serde_json::from_str(&list(&["--json", "--from", "5"])).expect("as it was written");
    assert_eq!((json["size"].as_u64(), json["entries"][0]["object"].as_str()), (Some(6), Some("evil\u{1b}[2J")));
    assert_eq!(portcullis(&["log", "--state", "/nonexistent"]).status.code(), Some(3));
}
