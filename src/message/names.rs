//! What the name of a field is to us: told once, when a head is read, so that all that is asked of a message later is asked by a number,
//! and most of it of one set. Names that mean nothing to us are asked for by their text.

use http::header::HeaderName;

/// A name that we know, or a kind of names. Case never counts (RFC 9110, 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Name {
    Accept,
    Authorization,
    /// What a client may claim of itself, of any dialect, enabled or not; `_` and `.` are folded as an upstream behind CGI may fold them.
    Claimed,
    Connection,
    ContentLength,
    Cookie,
    Date,
    Expect,
    Forwarded,
    /// What forwarders say beside the address, the host and the scheme.
    Forwarding,
    /// What concerns one hop, beside what has a name here.
    Hop,
    Host,
    /// What makes another method of a request.
    MethodOverride,
    Origin,
    Other,
    /// What frames or routes a message, or concerns one hop, in a spelling that an upstream folds into the one that counts: CGI and
    /// WSGI make `CONTENT_LENGTH` of `content_length` too, and would read another body than we sent.
    Respelled,
    SecFetchSite,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    Vary,
    XForwardedFor,
    XForwardedHost,
    XForwardedProto,
    XRequestId,
}

/// A set of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Names(u32);

/// By what a field is asked for: one of the names that we know, or a text.
pub trait Asked {
    fn name(&self) -> Name;

    /// In lower case, or in any where it is no name that we know.
    fn text(&self) -> &str;
}

/// A name that may be written: a token.
pub trait Token: Asked {}

impl Name {
    /// Tells what a name is to us.
    pub fn of(name: &[u8]) -> Self {
        let of_length = FIRST.get(name.len()..name.len() + 2).unwrap_or(&[0, 0]);
        let known = KNOWN.get(usize::from(of_length[0])..usize::from(of_length[1])).unwrap_or_default();
        match known.iter().find(|(text, _)| is(name, text)) {
            Some((_, known)) => *known,
            None if is_plain(name) => Self::Other,
            None => of_many(name),
        }
    }

    /// Says whether it stands for one name only.
    fn is_one(self) -> bool {
        !MANY.has(self)
    }
}

impl Names {
    /// Returns the set of these.
    pub const fn of(names: &[Name]) -> Self {
        let (mut set, mut at) = (0, 0);
        while at < names.len() {
            set |= 1 << names[at] as u8;
            at += 1;
        }
        Self(set)
    }

    /// Says whether one is among them.
    pub fn has(self, name: Name) -> bool {
        self.0 & (1 << name as u8) != 0
    }

    /// Says whether one of them is one of those.
    pub fn meet(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    /// Returns these and those.
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Returns these without those.
    pub fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }
}

/// The one name of this number.
impl Asked for Name {
    fn name(&self) -> Name {
        *self
    }

    fn text(&self) -> &str {
        KNOWN.iter().find(|(_, name)| name == self && self.is_one()).map_or("", |(text, _)| text)
    }
}

impl<T: AsRef<str> + ?Sized> Asked for T {
    fn name(&self) -> Name {
        Name::of(self.as_ref().as_bytes())
    }

    fn text(&self) -> &str {
        self.as_ref()
    }
}

impl Token for HeaderName {}
impl Token for &HeaderName {}
impl Token for Name {}

/// Says whether a field that has the name that was asked for has the text, too.
pub(super) fn is_asked<'a>(name: Name, spelled: impl FnOnce() -> &'a [u8], text: &str) -> bool {
    name.is_one() || spelled().eq_ignore_ascii_case(text.as_bytes())
}

/// Of two of one length. Not the library's: it is unrolled wherever it stands.
fn is(name: &[u8], known: &str) -> bool {
    name.iter().zip(known.as_bytes()).all(|(byte, known)| byte.to_ascii_lowercase() == *known)
}

/// Says whether nothing of a name is known: nothing in it is folded, and it begins as none of those that are many.
fn is_plain(name: &[u8]) -> bool {
    let begins = match name {
        [first, second, ..] => matches!(
            [first.to_ascii_lowercase(), second.to_ascii_lowercase()],
            [b'x', b'-'] | [b'c', b'f' | b'l'] | [b'l', b'5'] | [b's', b's'] | [b't', b'r']
        ),
        _ => false,
    };
    !begins && !name.iter().any(is_folded)
}

/// Tells what a name is that is none of those that have one spelling.
#[cold]
fn of_many(name: &[u8]) -> Name {
    if is_respelled(name) {
        return Name::Respelled;
    }
    let is_one_of = |names: &[&str]| names.iter().any(|claimed| name.len() == claimed.len() && starts(name, claimed));
    match () {
        () if is_one_of(METHOD_OVERRIDES) => Name::MethodOverride,
        // A forwarding header in its own spelling was found before: `address` looks after that one, and an upstream that folds would
        // read the other.
        () if is_one_of(CLAIMED) || is_one_of(FORWARDING) || CLAIMED_PREFIXES.iter().any(|prefix| starts(name, prefix)) => Name::Claimed,
        () => Name::Other,
    }
}

fn is_respelled(name: &[u8]) -> bool {
    if !name.iter().any(is_folded) {
        return false;
    }
    let folded: Vec<u8> = name.iter().map(|byte| fold(*byte)).collect();
    let from = folded.iter().take_while(|byte| **byte == b'-').count();
    let folded = &folded[from..];
    let folded = &folded[..folded.len() - folded.iter().rev().take_while(|byte| **byte == b'-').count()];
    FRAMING.has(Name::of(folded))
}

fn is_folded(byte: &u8) -> bool {
    matches!(byte, b'_' | b'.')
}

fn fold(byte: u8) -> u8 {
    if is_folded(&byte) { b'-' } else { byte.to_ascii_lowercase() }
}

fn starts(name: &[u8], prefix: &str) -> bool {
    name.len() >= prefix.len() && name.iter().zip(prefix.bytes()).all(|(byte, expected)| fold(*byte) == expected)
}

/// What concerns one hop (RFC 9110, 7.6.1).
pub const HOP_BY_HOP: Names = Names::of(&[Name::Connection, Name::Hop, Name::Te, Name::TransferEncoding, Name::Upgrade]);

/// What no other spelling may stand beside.
const FRAMING: Names = HOP_BY_HOP.and(Names::of(&[Name::ContentLength, Name::Expect, Name::Host, Name::Trailer]));

/// What stands for more names than one.
const MANY: Names = Names::of(&[Name::Claimed, Name::Forwarding, Name::Hop, Name::MethodOverride, Name::Other, Name::Respelled]);

/// Those that have one spelling, by their lengths.
const KNOWN: [(&str, Name); 30] = [
    ("te", Name::Te),
    ("date", Name::Date),
    ("host", Name::Host),
    ("vary", Name::Vary),
    ("accept", Name::Accept),
    ("cookie", Name::Cookie),
    ("expect", Name::Expect),
    ("origin", Name::Origin),
    ("trailer", Name::Trailer),
    ("upgrade", Name::Upgrade),
    ("forwarded", Name::Forwarded),
    ("connection", Name::Connection),
    ("keep-alive", Name::Hop),
    ("x-request-id", Name::XRequestId),
    ("authorization", Name::Authorization),
    ("content-length", Name::ContentLength),
    ("http2-settings", Name::Hop),
    ("sec-fetch-site", Name::SecFetchSite),
    ("x-forwarded-for", Name::XForwardedFor),
    ("x-forwarded-ssl", Name::Forwarding),
    ("proxy-connection", Name::Hop),
    ("x-forwarded-host", Name::XForwardedHost),
    ("x-forwarded-port", Name::Forwarding),
    ("transfer-encoding", Name::TransferEncoding),
    ("x-forwarded-proto", Name::XForwardedProto),
    ("proxy-authenticate", Name::Hop),
    ("x-forwarded-prefix", Name::Forwarding),
    ("x-forwarded-scheme", Name::Forwarding),
    ("x-forwarded-server", Name::Forwarding),
    ("proxy-authorization", Name::Hop),
];

/// Where those of each length begin; the last length has none.
static FIRST: [u8; 21] = {
    let (mut first, mut at) = ([0; 21], 0);
    while at < KNOWN.len() {
        let mut longer = KNOWN[at].0.len() + 1;
        at += 1;
        // Sorted, or it is not compiled.
        assert!(at == KNOWN.len() || KNOWN[at].0.len() + 1 >= longer);
        while longer < first.len() {
            first[longer] = at as u8;
            longer += 1;
        }
    }
    first
};

const CLAIMED: &[&str] = &[
    "client-cert",
    "client-cert-chain",
    "l5d-client-id",
    "true-client-ip",
    "x-arr-clientcert",
    "x-forwarded-client-cert",
    "x-forwarded-user",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
    "x-ssl",
];

const CLAIMED_PREFIXES: &[&str] =
    &["cf-cert-", "ssl-client-", "x-amzn-mtls-", "x-client-cert-", "x-forwarded-tls-", "x-portcullis-", "x-ssl-"];

const METHOD_OVERRIDES: &[&str] = &["x-http-method", "x-http-method-override", "x-method-override"];

const FORWARDING: &[&str] = &[
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
];

#[cfg(test)]
mod tests;
