//! A whole set of principals, as an operator keeps it: JSON as `allow list --json` gives it, TOML as the configuration has it, or a
//! directory of certificates.

use std::ffi::OsStr;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::terms::{Terms, members};
use crate::cli::progress::Progress;
use crate::cli::{Failure, Output, input};

/// Reads a set. `terms` are those of a directory's principals: its files hold certificates, and nothing of rights.
pub(super) fn read(path: &Path, terms: &Terms, password: Option<&str>, output: Output) -> Result<Vec<Value>, Failure> {
    let mut common = Map::new();
    terms.write(&mut common);
    if path.is_dir() {
        return directory(path, &common, password, output);
    }
    if !common.is_empty() {
        return Err(Failure::usage("terms are for a directory of certificates; a file says them of each principal"));
    }
    let bytes = input::read_up_to(path, MOST)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Failure::file(path, "not UTF-8"))?;
    if path.extension() == Some(OsStr::new("toml")) {
        let value: toml::Table = text.parse().map_err(|error| Failure::file(path, error))?;
        let base = path.parent().unwrap_or(Path::new(""));
        return principals(path, json_of(value.into()), "principal")?.into_iter().map(|entry| from_toml(entry, base)).collect();
    }
    let value: Value = serde_json::from_str(text).map_err(|error| Failure::file(path, error))?;
    let all = if value.is_array() {
        principals(path, json!({ "principals": value }), "principals")
    } else {
        principals(path, value, "principals")
    };
    let is_managed = |entry: &Value| entry["source"] != "static";
    Ok(all?.into_iter().filter(is_managed).map(without_what_only_answers_say).collect())
}

fn principals(path: &Path, mut value: Value, key: &str) -> Result<Vec<Value>, Failure> {
    let others: Vec<&String> = value.as_object().into_iter().flatten().map(|(name, _)| name).filter(|name| *name != key).collect();
    if !others.is_empty() {
        return Err(Failure::file(path, format_args!("`{}` is no `{key}`: a set has principals, and nothing else", others[0])));
    }
    match value[key].take() {
        Value::Array(entries) => Ok(entries),
        _ => Err(Failure::file(path, format_args!("has no list `{key}`; one that is meant to be empty says so: []"))),
    }
}

/// What an answer says of a principal beside its document.
fn without_what_only_answers_say(mut entry: Value) -> Value {
    if let Some(members) = entry.as_object_mut() {
        members.remove("source");
        members.remove("written");
    }
    entry
}

/// A principal of the configuration names files; one of the API holds what is in them.
fn from_toml(mut entry: Value, base: &Path) -> Result<Value, Failure> {
    let Some(keys) = entry.as_object_mut() else { return Ok(entry) };
    let password = match keys.remove("password_file") {
        Some(Value::String(path)) => Some(input::first_line(&base.join(path))?),
        _ => None,
    };
    let password = password.as_ref().map(|password| password.as_str());
    if let Some(Value::Array(named)) = keys.get_mut("certificates") {
        *named = certificates(named, base, password)?;
    }
    let mut authorities = match keys.remove("authority") {
        None => return Ok(entry),
        Some(Value::Array(several)) => several,
        Some(one) => vec![one],
    };
    for authority in &mut authorities {
        if let Some(Value::Array(named)) = authority.get_mut("certificates") {
            let found = certificates(named, base, None)?;
            *named = found.into_iter().map(|mut entry| entry["der"].take()).collect();
        }
    }
    keys.insert("authority".to_owned(), authorities.into());
    Ok(entry)
}

/// Reads what is named: files, or PEM where it stands.
fn certificates(named: &[Value], base: &Path, password: Option<&str>) -> Result<Vec<Value>, Failure> {
    let mut found = Vec::new();
    for name in named {
        match name.as_str() {
            Some(pem) if pem.trim_start().starts_with("-----BEGIN") => found.push(json!({ "der": pem })),
            Some(file) => found.extend(members(&base.join(file), password)?),
            None => found.push(name.clone()),
        }
    }
    Ok(found)
}

/// Each file one principal, as a directory of `[[allowlist]]` has it.
fn directory(path: &Path, common: &Map<String, Value>, password: Option<&str>, output: Output) -> Result<Vec<Value>, Failure> {
    let failed = |error: std::io::Error| Failure::file(path, error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let is_certificate = file.extension().and_then(OsStr::to_str).is_some_and(|extension| EXTENSIONS.contains(&extension));
        let is_hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if is_certificate && !is_hidden && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Failure::file(path, "holds no certificate files (pem, crt, cer, der, pfx, p12)"));
    }
    let (mut set, mut bar) = (Vec::with_capacity(files.len()), Progress::new("files read", files.len() as u64, output));
    for file in files {
        let mut document = common.clone();
        document.insert("name".to_owned(), file.file_stem().unwrap_or_default().to_string_lossy().into());
        document.insert("certificates".to_owned(), members(&file, password)?.into());
        set.push(document.into());
        bar.advance();
    }
    Ok(set)
}

/// Times become texts, as the API has them.
fn json_of(value: toml::Value) -> Value {
    match value {
        toml::Value::Array(entries) => entries.into_iter().map(json_of).collect(),
        toml::Value::Boolean(flag) => flag.into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::String(text) => text.into(),
        toml::Value::Table(keys) => Value::Object(keys.into_iter().map(|(key, value)| (key, json_of(value))).collect()),
    }
}

/// What a call may have.
const MOST: u64 = 256 << 20;
const EXTENSIONS: [&str; 6] = ["pem", "crt", "cer", "der", "pfx", "p12"];
