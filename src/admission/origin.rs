//! Origins of a `cors_origins` list: scheme and port exact, `*` for labels of the host only.

use std::fmt;
use std::str::FromStr;

/// An origin with `*` for labels of its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginPattern {
    source: Box<str>,
    scheme: Box<str>,
    /// Left to right, lower case. A first label `*` stands for one or more; elsewhere `*` stays inside its label.
    labels: Vec<Box<str>>,
    port: Option<u16>,
}

/// Why a text is no origin pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginError {
    BadHost,
    BadPort,
    BadScheme,
    Everything,
    MoreThanAnOrigin,
}

impl OriginPattern {
    /// Tells whether an origin, in the serialised form that browsers send, is meant. `null` and malformed ones never are.
    pub fn matches(&self, origin: &str) -> bool {
        let Ok((scheme, host, port)) = split(origin) else { return false };
        // A `*` of the client's making is no pattern; browsers send neither.
        if *scheme != *self.scheme || port != self.port || host.contains('*') {
            return false;
        }
        let labels: Vec<&str> = labels(&host);
        let (pattern, labels) = match self.labels.split_first() {
            Some((first, rest)) if **first == *"*" && labels.len() > rest.len() => (rest, &labels[labels.len() - rest.len()..]),
            _ => (self.labels.as_slice(), labels.as_slice()),
        };
        pattern.len() == labels.len() && pattern.iter().zip(labels).all(|(pattern, label)| label_matches(pattern, label))
    }

    /// Returns the pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.source
    }
}

impl FromStr for OriginPattern {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        if text == "*" {
            return Err(OriginError::Everything);
        }
        let (scheme, host, port) = split(text)?;
        let labels = labels(&host);
        if labels.iter().all(|label| label.bytes().all(|byte| byte == b'*')) {
            return Err(OriginError::Everything);
        }
        Ok(Self { source: text.into(), scheme, labels: labels.into_iter().map(Into::into).collect(), port })
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadHost => "has no host of letters, digits, `-`, `_`, `.` and `*`",
            Self::BadPort => "has no port between 1 and 65535",
            Self::BadScheme => "does not begin with a scheme and `://`, as in https://app.example.com",
            Self::Everything => "would let every page in: name hosts, as in https://*.example.com",
            Self::MoreThanAnOrigin => "is more than an origin: leave out path, query and user",
        })
    }
}

impl std::error::Error for OriginError {}

/// Splits `scheme://host[:port]`; lower case, without the scheme's own port.
fn split(text: &str) -> Result<(Box<str>, String, Option<u16>), OriginError> {
    let (scheme, rest) = text.split_once("://").ok_or(OriginError::BadScheme)?;
    let scheme = scheme.to_ascii_lowercase();
    let scheme_char = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(scheme_char) {
        return Err(OriginError::BadScheme);
    }
    if rest.contains(['/', '?', '#', '@', '\\']) {
        return Err(OriginError::MoreThanAnOrigin);
    }
    let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, after)) => {
            let address: std::net::Ipv6Addr = address.parse().map_err(|_| OriginError::BadHost)?;
            let port = if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or(OriginError::BadHost)?) };
            (format!("[{address}]"), port)
        }
        None => {
            let (host, port) = rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
            let host = host.to_ascii_lowercase();
            let host_char = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'*');
            if host.split('.').any(|label| label.is_empty() || !label.bytes().all(host_char)) {
                return Err(OriginError::BadHost);
            }
            (host, port)
        }
    };
    let port = match port {
        None => None,
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse::<u16>().ok().filter(|port| *port > 0).ok_or(OriginError::BadPort)?)
        }
        Some(_) => return Err(OriginError::BadPort),
    };
    // RFC 6454, 6.2: the serialised form leaves out a scheme's own port.
    let own = match scheme.as_str() {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    Ok((scheme.into(), host, port.filter(|port| Some(*port) != own)))
}

fn labels(host: &str) -> Vec<&str> {
    if host.starts_with('[') { vec![host] } else { host.split('.').collect() }
}

/// Matches one label; `*` any run. At most 63 bytes count in DNS, so going back over them costs nothing.
fn label_matches(pattern: &str, label: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == label,
        Some((before, after)) => match label.strip_prefix(before) {
            None => false,
            Some(rest) => {
                let mut parts = after.split('*').collect::<Vec<_>>();
                let last = parts.pop().unwrap_or_default();
                let mut rest = rest;
                for part in parts {
                    match rest.find(part) {
                        Some(at) => rest = &rest[at + part.len()..],
                        None => return false,
                    }
                }
                rest.ends_with(last)
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_host_labels_are_wild() {
        for (pattern, origin, expected) in [
            ("https://app.example.com", "https://app.example.com", true),
            ("https://APP.example.com", "https://app.example.com", true),
            ("https://app.example.com", "http://app.example.com", false),
            ("https://app.example.com", "https://app.example.com:8443", false),
            ("https://app.example.com:8443", "https://app.example.com:8443", true),
            ("https://app.example.com:443", "https://app.example.com", true),
            ("http://app.example.com", "http://app.example.com:80", true),
            ("https://*.example.com", "https://a.example.com", true),
            ("https://*.example.com", "https://a.b.example.com", true),
            ("https://*.example.com", "https://example.com", false),
            ("https://*.example.com", "https://evilexample.com", false),
            ("https://*.example.com", "https://a.example.com.evil.org", false),
            ("https://*.example.com", "https://evil.org/.example.com", false),
            ("https://*.example.com", "https://evil.org?.example.com", false),
            ("https://*.example.com", "https://evil.org#.example.com", false),
            ("https://*.example.com", "https://user@a.example.com", false),
            ("https://*.example.com", "https://*.example.com", false),
            ("https://*.example.com", "https://.example.com", false),
            ("https://*.example.com", "null", false),
            ("https://*.example.com", "", false),
            ("https://app-*.example.com", "https://app-7.example.com", true),
            ("https://app-*.example.com", "https://app-7.x.example.com", false),
            ("https://a*b*c.example.com", "https://aXbYc.example.com", true),
            ("https://a*b*c.example.com", "https://acb.example.com", false),
            ("https://x.*.example.com", "https://x.y.example.com", true),
            ("https://x.*.example.com", "https://x.y.z.example.com", false),
            ("http://[::1]:3000", "http://[0:0::1]:3000", true),
            ("http://[::1]:3000", "http://[::2]:3000", false),
            ("http://localhost:3000", "http://localhost:3000", true),
            ("http://localhost:3000", "http://localhost:03000", true),
        ] {
            assert_eq!(pattern.parse::<OriginPattern>().expect("a pattern").matches(origin), expected, "{pattern} over {origin}");
        }
    }

    #[test]
    fn what_names_no_hosts_is_refused() {
        for (text, expected) in [
            ("*", OriginError::Everything),
            ("https://*", OriginError::Everything),
            ("https://*.*", OriginError::Everything),
            ("app.example.com", OriginError::BadScheme),
            ("ht*p://x.example.com", OriginError::BadScheme),
            ("https://", OriginError::BadHost),
            ("https://a..b", OriginError::BadHost),
            ("https://a b", OriginError::BadHost),
            ("https://a.example.com/", OriginError::MoreThanAnOrigin),
            ("https://u@a.example.com", OriginError::MoreThanAnOrigin),
            ("https://a.example.com:*", OriginError::BadPort),
            ("https://a.example.com:0", OriginError::BadPort),
            ("https://a.example.com:70000", OriginError::BadPort),
            ("https://a.example.com:", OriginError::BadPort),
        ] {
            assert_eq!(text.parse::<OriginPattern>(), Err(expected), "{text}");
        }
    }
}
