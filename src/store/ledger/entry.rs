//! An entry: one change, as one canonical JSON line. What `data` means is for whoever made the change to say.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::canonical::{self, NotCanonical};
use crate::clock::Date;

/// A change, before it has its place in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEntry {
    /// What was done, as `principal-added`.
    pub action: String,
    /// To what: a principal's id, a revocation id, a file.
    pub object: String,
    pub actor: Actor,
    /// The hash of the policy before.
    pub before: String,
    /// The hash of the policy after.
    pub after: String,
    pub reason: Option<String>,
    /// What a replay needs. Never a private key, a token or a password. `Null`: nothing.
    pub data: Value,
    /// Whether the next entry belongs to the same change: after a crash both are there, or neither. The last one of an
    /// append says no.
    pub more: bool,
}

/// Who made a change, and how that was known.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    pub kind: ActorKind,
    /// The id of a principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Of the certificate that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The id (`jti`) of the bearer token that was shown, where one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The listener, socket or file that it came by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
}

impl Actor {
    /// Returns an actor of whom nothing else is known.
    pub fn new(kind: ActorKind) -> Self {
        Self { kind, id: None, name: None, fingerprint: None, token: None, via: None }
    }
}

/// What sort of actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ActorKind {
    /// A principal, through the API.
    Admin,
    /// The server certificate, before there was an admin.
    Bootstrap,
    /// Whoever writes the files.
    File,
    /// Whoever may open the local socket.
    Socket,
    /// We ourselves, as at a renewal.
    System,
    /// Whoever has a token of ours, and takes it back.
    Token,
}

impl fmt::Display for ActorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admin => "admin",
            Self::Bootstrap => "bootstrap",
            Self::File => "file",
            Self::Socket => "socket",
            Self::System => "system",
            Self::Token => "token",
        })
    }
}

/// A change in the log.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub v: u32,
    pub index: u64,
    /// RFC 3339, UTC, with milliseconds.
    pub time: String,
    pub actor: Actor,
    pub action: String,
    pub object: String,
    pub before: String,
    pub after: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
    /// Where `data` is too long for a line: what stands in a file of its own. A reader puts it back into `data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detached: Option<Detached>,
    /// Whether the next entry belongs to the same change.
    #[serde(default, skip_serializing_if = "is_false")]
    pub more: bool,
}

/// Data in a file of its own, named by its hash.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Detached {
    pub bytes: u64,
    /// In lower-case hex.
    pub sha256: String,
}

impl Entry {
    /// Gives a change its place, its time and its form; its data stays where it is.
    pub(super) fn place(change: &NewEntry, index: u64, now: Duration) -> Self {
        let second = Date::of(now.as_secs()).to_string();
        let time = format!("{}.{:03}Z", second.trim_end_matches('Z'), now.subsec_millis());
        Self {
            v: VERSION,
            index,
            time,
            actor: change.actor.clone(),
            action: change.action.clone(),
            object: change.object.clone(),
            before: change.before.clone(),
            after: change.after.clone(),
            reason: change.reason.clone(),
            data: Value::Null,
            detached: None,
            more: change.more,
        }
    }

    /// Returns the line, without its newline.
    pub(super) fn to_line(&self) -> Result<String, NotCanonical> {
        let data = if self.data.is_null() { None } else { Some(canonical::member(&self.data)?) };
        self.to_line_of(data.as_deref())
    }

    /// The same, with `data` as it was written already.
    pub(super) fn to_line_of(&self, data: Option<&str>) -> Result<String, NotCanonical> {
        let Self { v, index, time, actor, action, object, before, after, reason, data: _, detached, more } = self;
        let Actor { kind, id, name, fingerprint, token, via } = actor;
        let mut out = String::with_capacity(512 + data.map_or(0, str::len));
        // In the order of names that canonical form asks for.
        member("{\"action\":", Some(action), &mut out);
        out.push_str(",\"actor\":");
        let mut comma = "{";
        let kind = Some(kind.to_string());
        let members = [("fingerprint", fingerprint), ("id", id), ("kind", &kind), ("name", name), ("token", token), ("via", via)];
        for (key, text) in members.into_iter().filter_map(|(key, text)| Some((key, text.as_ref()?))) {
            out.push_str(std::mem::replace(&mut comma, ","));
            canonical::string(key, &mut out);
            out.push(':');
            canonical::string(text, &mut out);
        }
        member("},\"after\":", Some(after), &mut out);
        member(",\"before\":", Some(before), &mut out);
        if let Some(data) = data {
            out.push_str(",\"data\":");
            out.push_str(data);
        }
        if let Some(Detached { bytes, sha256 }) = detached {
            out.push_str(",\"detached\":{\"bytes\":");
            canonical::integer(*bytes, &mut out)?;
            member(",\"sha256\":", Some(sha256), &mut out);
            out.push('}');
        }
        out.push_str(",\"index\":");
        canonical::integer(*index, &mut out)?;
        if *more {
            out.push_str(",\"more\":true");
        }
        member(",\"object\":", Some(object), &mut out);
        member(",\"reason\":", reason.as_ref(), &mut out);
        member(",\"time\":", Some(time), &mut out);
        out.push_str(",\"v\":");
        canonical::integer(u64::from(*v), &mut out)?;
        out.push('}');
        Ok(out)
    }

    /// Reads a line, without its newline, that is in the one spelling of what it says.
    pub fn parse(line: &[u8]) -> Result<Self, NotAnEntry> {
        let text = std::str::from_utf8(line).map_err(|_| NotAnEntry("is not UTF-8".to_owned()))?;
        let entry: Self = serde_json::from_str(text).map_err(|error| NotAnEntry(format!("is no entry: {error}")))?;
        if entry.v != VERSION {
            return Err(NotAnEntry(format!("has the form of version {}, and this is {VERSION}", entry.v)));
        }
        match entry.to_line() {
            Ok(canonical) if canonical == text => Ok(entry),
            Ok(_) => Err(NotAnEntry("is not in canonical form".to_owned())),
            Err(error) => Err(NotAnEntry(error.to_string())),
        }
    }
}

/// Why a line is no entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAnEntry(pub(super) String);

impl fmt::Display for NotAnEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotAnEntry {}

fn member(before: &str, text: Option<&String>, out: &mut String) {
    if let Some(text) = text {
        out.push_str(before);
        canonical::string(text, out);
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// The form of a line.
const VERSION: u32 = 1;
/// C2SP tlog-tiles: entry bundles give the length of an entry in 16 bits.
pub(super) const MAX_LINE: usize = 65_535;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const LINE: &str = concat!(
        r#"{"action":"principal-added","actor":{"kind":"socket","via":"state/admin.sock"},"after":"b2","before":"a1","#,
        r#""data":{"name":"ci","n":1},"index":7,"object":"p-abc","reason":"new","time":"2026-11-20T23:12:10.005Z","v":1}"#
    );

    fn entry() -> Entry {
        let change = NewEntry {
            action: "principal-added".to_owned(),
            object: "p-abc".to_owned(),
            actor: Actor { via: Some("state/admin.sock".to_owned()), ..Actor::new(ActorKind::Socket) },
            before: "a1".to_owned(),
            after: "b2".to_owned(),
            reason: Some("new".to_owned()),
            data: json!({"n": 1, "name": "ci"}),
            more: false,
        };
        Entry { data: change.data.clone(), ..Entry::place(&change, 7, Duration::from_millis(1_795_216_330_005)) }
    }

    #[test]
    fn an_entry_is_its_line_and_back() {
        let line = LINE.replace(r#"{"name":"ci","n":1}"#, r#"{"n":1,"name":"ci"}"#);
        assert_eq!(entry().to_line().unwrap(), line);
        assert_eq!(Entry::parse(line.as_bytes()).unwrap(), entry());
    }

    /// The line is written field by field, for there may be a million of them: held here to what the type says.
    #[test]
    fn a_line_is_the_canonical_form_of_the_whole_entry() {
        let detached = Detached { bytes: 40_000, sha256: "ab".repeat(32) };
        let whole = Actor {
            kind: ActorKind::Admin,
            id: Some("p-abc".to_owned()),
            name: Some("a \"quoted\" \u{1f} n\u{e4}me".to_owned()),
            fingerprint: Some("11".repeat(32)),
            token: Some("jti".to_owned()),
            via: Some("edge".to_owned()),
        };
        let entries = [
            entry(),
            Entry { reason: None, data: Value::Null, ..entry() },
            Entry { detached: Some(detached), data: Value::Null, more: true, actor: whole.clone(), ..entry() },
            Entry { data: json!({"b": {"z": [1, -2], "a": null}, "\u{1f600}": 1, "\u{fb33}": 2}), actor: whole, index: 0, ..entry() },
            Entry { data: json!([]), reason: Some(String::new()), ..entry() },
        ];
        for entry in entries {
            let line = entry.to_line().unwrap();
            assert_eq!(line, canonical::to_string(&serde_json::to_value(&entry).unwrap()).unwrap());
            assert_eq!(Entry::parse(line.as_bytes()).unwrap(), entry);
        }
        let kinds = [ActorKind::Admin, ActorKind::Bootstrap, ActorKind::File, ActorKind::Socket, ActorKind::System, ActorKind::Token];
        for kind in kinds {
            assert_eq!(serde_json::to_value(kind).unwrap(), json!(kind.to_string()));
        }
        assert_eq!(Entry { index: u64::MAX, ..entry() }.to_line(), Err(NotCanonical::Number));
    }

    #[test]
    fn another_spelling_of_the_same_is_no_entry() {
        let line = entry().to_line().unwrap();
        for (from, to, why) in [
            (r#"{"n":1,"name":"ci"}"#, r#"{"name":"ci","n":1}"#, "not in canonical form"),
            (r#""n":1"#, r#""n": 1"#, "not in canonical form"),
            (r#""n":1"#, r#""n":1,"n":1"#, "not in canonical form"),
            (r#""n":1"#, r#""n":1.0"#, "no integer"),
            (r#""index":7"#, r#""index":7,"index":7"#, "duplicate"),
            (r#""after":"b2""#, r#""after":"\u00622""#, "not in canonical form"),
            (r#""v":1"#, r#""v":2"#, "version 2"),
            (r#""v":1"#, r#""v":1,"x":1"#, "unknown field"),
            (r#""kind":"socket""#, r#""kind":"root""#, "unknown variant"),
            ("{\"action\"", " {\"action\"", "not in canonical form"),
        ] {
            let changed = line.replace(from, to);
            assert_ne!(changed, line);
            let error = Entry::parse(changed.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(why), "{changed}: {error}");
        }
        assert!(Entry::parse(b"\xff").is_err() && Entry::parse(b"").is_err());
    }
}
