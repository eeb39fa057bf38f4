//! Whom a request is for: one authority, from the absolute form, `:authority` or `Host`, in one spelling. It
//! decides the route, and it is what the upstream reads. What is ambiguous is refused. Pure; `request` asks.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

use http::{HeaderValue, Uri};

use crate::message::{Fields, Name, text};

/// A host (lower case, no final dot; IPv6 in brackets, canonical) and the port, where one was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    pub host: Cow<'a, str>,
    pub port: Option<u16>,
}

/// Why a request has no authority: answered 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorityError {
    /// The target names one, `Host` another; or there are two `Host`s.
    Disagreement,
    /// Userinfo, comma, NUL, white space, an empty label, anything that no host name holds.
    Malformed,
    Missing,
}

impl<'a> Authority<'a> {
    /// Returns the one authority that a request names, be it in its target, in `Host`, or the same in both.
    /// RFC 9112, 3.2.2 lets the target win over `Host`; an upstream may not know that, so disagreement is refused.
    pub fn of(target: &'a Uri, headers: &'a Fields) -> Result<Self, AuthorityError> {
        let mut hosts = headers.get_all(&Name::Host);
        let host = hosts.next().map(|host| text(host).ok_or(AuthorityError::Malformed).and_then(Self::parse)).transpose()?;
        if hosts.next().is_some() {
            return Err(AuthorityError::Disagreement);
        }
        let target = target.authority().map(|authority| Self::parse(authority.as_str())).transpose()?;
        match (target, host) {
            (Some(target), Some(host)) if !target.is_same(&host) => Err(AuthorityError::Disagreement),
            (Some(authority), _) | (None, Some(authority)) => Ok(authority),
            (None, None) => Err(AuthorityError::Missing),
        }
    }

    /// Reads `host`, `host:port`, `[address]` or `[address]:port`.
    pub fn parse(text: &'a str) -> Result<Self, AuthorityError> {
        if let Some(rest) = text.strip_prefix('[') {
            let (address, rest) = rest.split_once(']').ok_or(AuthorityError::Malformed)?;
            let address: Ipv6Addr = address.parse().map_err(|_| AuthorityError::Malformed)?;
            let host = format!("[{address}]");
            let host = if text.starts_with(&host) { Cow::Borrowed(&text[..host.len()]) } else { Cow::Owned(host) };
            return Ok(Self { host, port: port(rest)? });
        }
        let (name, rest) = text.split_at(text.bytes().position(|byte| byte == b':').unwrap_or(text.len()));
        Ok(Self { host: host_name(name)?, port: port(rest)? })
    }

    /// Compares with another one of the same request: we listen with TLS, so no port is 443.
    pub fn is_same(&self, other: &Authority<'_>) -> bool {
        self.host == other.host && self.port.unwrap_or(443) == other.port.unwrap_or(443)
    }

    /// Returns what the upstream reads as `Host`.
    pub fn to_header_value(&self) -> HeaderValue {
        // INVARIANT: a parsed host is printable ASCII.
        HeaderValue::from_str(&self.to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

impl AuthorityError {
    /// Says why, for the log.
    pub fn why(self) -> &'static str {
        match self {
            Self::Disagreement => "the target and Host name different authorities, or Host stands twice",
            Self::Malformed => "the authority is malformed",
            Self::Missing => "the request names no authority",
        }
    }
}

impl fmt::Display for Authority<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

/// Letters, digits, `-` and `_` in labels of at least one character, 253 in all; one final dot goes.
fn host_name(name: &str) -> Result<Cow<'_, str>, AuthorityError> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let (mut behind_dot, mut has_upper) = (true, false);
    for byte in name.bytes() {
        if !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || (byte == b'.' && !behind_dot)) {
            return Err(AuthorityError::Malformed);
        }
        behind_dot = byte == b'.';
        has_upper |= byte.is_ascii_uppercase();
    }
    if name.len() > 253 || behind_dot {
        return Err(AuthorityError::Malformed);
    }
    if has_upper { Ok(Cow::Owned(name.to_ascii_lowercase())) } else { Ok(Cow::Borrowed(name)) }
}

/// `:port`, digits only: `:`, `:+1` and `:080` have meanings that not everybody shares.
fn port(rest: &str) -> Result<Option<u16>, AuthorityError> {
    let Some(digits) = rest.strip_prefix(':') else {
        return if rest.is_empty() { Ok(None) } else { Err(AuthorityError::Malformed) };
    };
    if digits.starts_with('0') || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AuthorityError::Malformed);
    }
    digits.parse().map(Some).map_err(|_| AuthorityError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_has_one_spelling() {
        let table = [
            ("api.example.com", "api.example.com", None),
            ("API.Example.COM.", "api.example.com", None),
            ("api.example.com:8443", "api.example.com", Some(8443)),
            ("api.example.com.:8443", "api.example.com", Some(8443)),
            ("a_b-c", "a_b-c", None),
            ("127.0.0.1:1", "127.0.0.1", Some(1)),
            ("[::1]", "[::1]", None),
            ("[0:0:0:0:0:0:0:1]:443", "[::1]", Some(443)),
            ("[2001:DB8::1]", "[2001:db8::1]", None),
        ];
        for (text, host, port) in table {
            assert_eq!(Authority::parse(text), Ok(Authority { host: host.into(), port }), "{text:?}");
        }
    }

    #[test]
    fn an_ambiguous_authority_is_refused() {
        let table = [
            "",
            ".",
            "a..b",
            ".a",
            "a b",
            "user@host",
            "a@b:1",
            "a,b",
            "a\0b",
            "a\tb",
            "a/b",
            "a\\b",
            "a%2eb",
            "a:",
            "a:+1",
            "a:080",
            "a:65536",
            "a:1:2",
            "::1",
            "[::1",
            "[::1]x",
            "[::1%25eth0]",
            "[v1.x]",
            "[]",
            "caf\u{e9}",
            "*.a",
            "a?b",
            "a#b",
            "a..",
        ];
        for text in table {
            assert_eq!(Authority::parse(text), Err(AuthorityError::Malformed), "{text:?}");
        }
        assert_eq!(Authority::parse(&"a".repeat(254)), Err(AuthorityError::Malformed));
    }

    #[test]
    fn target_and_host_have_to_agree() {
        use AuthorityError::*;
        let table: [(&str, &[&str], Result<&str, AuthorityError>); 9] = [
            ("/x", &["a.example"], Ok("a.example")),
            ("https://a.example/x", &[], Ok("a.example")),
            ("https://A.example/x", &["a.EXAMPLE."], Ok("a.example")),
            ("https://a.example/x", &["a.example:443"], Ok("a.example")),
            ("https://a.example/x", &["b.example"], Err(Disagreement)),
            ("https://a.example/x", &["a.example:8443"], Err(Disagreement)),
            ("/x", &["a.example", "a.example"], Err(Disagreement)),
            ("/x", &[], Err(Missing)),
            ("https://user@a.example/x", &["a.example"], Err(Malformed)),
        ];
        for (target, hosts, expected) in table {
            let target: Uri = target.parse().unwrap();
            let mut headers = Fields::default();
            for host in hosts {
                headers.append(Name::Host, HeaderValue::from_str(host).unwrap());
            }
            assert_eq!(
                Authority::of(&target, &headers).map(|found| found.to_string()).as_deref(),
                expected.as_ref().copied(),
                "{target} {hosts:?}"
            );
        }
    }

    #[test]
    fn the_upstream_reads_one_spelling_of_its_host() {
        for (sent, read) in [
            ("a.example", "a.example"),
            ("A.example.", "a.example"),
            ("a.example:8443", "a.example:8443"),
            ("a.example:08443", "a.example:8443"),
        ] {
            let mut headers = Fields::default();
            headers.insert(Name::Host, HeaderValue::from_str(sent).unwrap());
            let target = Uri::from_static("/x");
            let Ok(authority) = Authority::of(&target, &headers) else { continue };
            assert_eq!(authority.to_header_value(), read, "{sent}");
        }
    }
}
