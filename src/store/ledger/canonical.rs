//! One spelling for each JSON value: RFC 8785 (JCS), with integers as the only numbers.

use std::fmt::{self, Write as _};

use serde_json::Value;

/// Why a value has no canonical form here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCanonical {
    Depth,
    Number,
}

impl fmt::Display for NotCanonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Depth => "is nested more than 64 deep",
            Self::Number => "holds a number that is no integer between -(2^53 - 1) and 2^53 - 1",
        })
    }
}

impl std::error::Error for NotCanonical {}

/// Writes a value in its one spelling.
pub(super) fn to_string(value: &Value) -> Result<String, NotCanonical> {
    let mut out = String::new();
    write(value, MAX_DEPTH, &mut out)?;
    Ok(out)
}

/// Writes a value that is a member of something else.
pub(super) fn member(value: &Value) -> Result<String, NotCanonical> {
    let mut out = String::new();
    write(value, MAX_DEPTH - 1, &mut out)?;
    Ok(out)
}

/// Writes a number.
pub(super) fn integer(number: u64, out: &mut String) -> Result<(), NotCanonical> {
    // RFC 7493, 2.2: beyond these bounds readers disagree about the value.
    if number > MAX_INTEGER {
        return Err(NotCanonical::Number);
    }
    // INVARIANT: a string takes all that is written.
    let _ = write!(out, "{number}");
    Ok(())
}

fn write(value: &Value, depth: usize, out: &mut String) -> Result<(), NotCanonical> {
    let inner = depth.checked_sub(1).ok_or(NotCanonical::Depth);
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => {
            let exact = number.as_i64().ok_or(NotCanonical::Number)?;
            if exact < 0 {
                out.push('-');
            }
            integer(exact.unsigned_abs(), out)?;
        }
        Value::String(text) => string(text, out),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(item, inner?, out)?;
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            // RFC 8785, 3.2.3: names are ordered by their UTF-16 code units, which for ASCII are its bytes.
            if members.iter().all(|(name, _)| name.is_ascii()) {
                members.sort_by_key(|(name, _)| *name);
            } else {
                members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            }
            out.push('{');
            for (at, (name, member)) in members.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                string(name, out);
                out.push(':');
                write(member, inner?, out)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

/// RFC 8785, 3.2.2.2: the short escapes where there are some, `\u00xx` for the other controls, everything else as it is.
pub(super) fn string(text: &str, out: &mut String) {
    out.push('"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate().filter(|(_, byte)| *byte < b' ' || [b'"', b'\\'].contains(byte)) {
        out.push_str(&text[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            0x8 => out.push_str("\\b"),
            b'\t' => out.push_str("\\t"),
            b'\n' => out.push_str("\\n"),
            0xc => out.push_str("\\f"),
            b'\r' => out.push_str("\\r"),
            // INVARIANT: a string takes all that is written.
            control => _ = write!(out, "\\u{control:04x}"),
        }
    }
    out.push_str(&text[plain..]);
    out.push('"');
}

const MAX_INTEGER: u64 = (1 << 53) - 1;
/// Below the depth at which `serde_json` refuses to read (128).
const MAX_DEPTH: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_has_one_spelling() {
        for (value, expected) in [
            (json!({"b": 1, "a": [true, null, -3]}), r#"{"a":[true,null,-3],"b":1}"#),
            // RFC 8785, 3.2.3: U+FB33 sorts after the surrogates of U+1F600.
            (
                json!({"\u{fb33}": 1, "\u{1f600}": 2, "\u{80}": 3, "\r": 4, "1": 5}),
                "{\"\\r\":4,\"1\":5,\"\u{80}\":3,\"\u{1f600}\":2,\"\u{fb33}\":1}",
            ),
            (json!("\u{8}\t\n\u{c}\r\u{1f}\"\\/\u{7f}\u{20ac}"), "\"\\b\\t\\n\\f\\r\\u001f\\\"\\\\/\u{7f}\u{20ac}\""),
            (json!(9_007_199_254_740_991_i64), "9007199254740991"),
        ] {
            let text = to_string(&value).unwrap();
            assert_eq!(text, expected);
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        }
    }

    #[test]
    fn numbers_that_readers_disagree_about_are_refused() {
        for value in [json!(1.5), json!(1e300), json!(9_007_199_254_740_992_i64), json!(u64::MAX)] {
            assert_eq!(to_string(&value), Err(NotCanonical::Number), "{value}");
        }
    }

    #[test]
    fn a_tower_of_brackets_is_refused() {
        let tower = (0..MAX_DEPTH + 1).fold(json!(1), |inner, _| json!([inner]));
        assert_eq!(to_string(&tower), Err(NotCanonical::Depth));
        assert!(to_string(&tower[0]).is_ok());
    }
}
