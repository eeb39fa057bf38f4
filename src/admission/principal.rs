//! A principal: name, id, and the terms that hold whatever proves it.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ipnet::IpNet;
use rustls_pki_types::UnixTime;

use super::attribute::{Attribute, AttributeError};
use super::origin::OriginPattern;
use super::permission::{Clearance, Permission};
use super::renewal::Renewal;
use super::scope::Surface;
use crate::pki::Fingerprint;

/// `p-` and 12 characters of `[a-z0-9]`; derived from the name unless the configuration gives one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrincipalId([u8; 12]);

/// `/`-separated segments of `[A-Za-z0-9._-]+`; unique case-insensitively.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrincipalName(Box<str>);

/// Where something was written: for the log, `check` and `explain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    pub file: Arc<str>,
    /// 1-based; 0 where the whole file is meant.
    pub line: u32,
}

/// A named client on the allowlist. A pin list has a million of these: what many share is in `terms`.
#[derive(Clone, Debug)]
pub struct Principal {
    pub id: PrincipalId,
    pub name: PrincipalName,
    pub display_name: Option<Box<str>>,
    pub terms: Arc<Terms>,
    pub provenance: Provenance,
}

/// What holds for a principal whatever proves it: conditions, clearance, permissions, identifier.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    pub enabled: bool,
    /// Inclusive, both.
    pub valid_from: Option<UnixTime>,
    pub valid_until: Option<UnixTime>,
    /// `None`: from anywhere.
    pub client_ips: Option<Vec<IpNet>>,
    /// Gateways trusted to forward the client's address.
    pub gateway_ips: Vec<IpNet>,
    pub cors_origins: Vec<OriginPattern>,
    /// `None`: every surface.
    pub serve: Option<Vec<Surface>>,
    pub clearance: Clearance,
    pub permissions: Vec<Permission>,
    pub identifier: Identifier,
    pub audit_claims: Vec<Attribute>,
    /// A pin whose EKU list lacks clientAuth may pass.
    pub allow_any_eku: bool,
    /// Whether holders of the pinned keys may renew their certificates.
    pub renewal: Renewal,
    /// The leaf says where its CRL is to be had, and a fresh CRL speaks of every certificate of its path.
    pub require_crl_dp: bool,
    /// How long its tokens live; `None`: as long as any.
    pub token_ttl: Option<Duration>,
    /// How many days before an end notice of it is given.
    pub expiry_notice: Vec<u32>,
    /// What people wrote about it.
    pub description: Option<Box<str>>,
}

/// Which attribute identifies the caller to the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identifier {
    Attribute(Attribute),
    Fingerprint,
    Principal,
    Serial,
}

/// Why a text is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnId;

/// Why a text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAName {
    Malformed,
    /// It is that of somebody whom we make up ourselves.
    Reserved,
}

impl Provenance {
    /// Says that an entry of the ledger wrote it.
    pub fn ledger(index: u64) -> Self {
        static LEDGER: LazyLock<Arc<str>> = LazyLock::new(|| LEDGER_ENTRY.into());
        Self { file: Arc::clone(&LEDGER), line: Self::ledger_line(index) }
    }

    /// Returns the line that stands for an entry of the ledger.
    pub fn ledger_line(index: u64) -> u32 {
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    /// The ledger wrote it, not a file.
    pub fn is_ledger(&self) -> bool {
        *self.file == *LEDGER_ENTRY
    }
}

impl PrincipalId {
    /// Makes an id of random bytes, five bits of each.
    pub fn from_random(bytes: &[u8; 12]) -> Self {
        Self(bytes.map(|byte| ALPHABET[usize::from(byte & 31)]))
    }

    /// Derives the id of a static principal from its name; the same name, in any case, has the same id.
    pub fn derived(name: &PrincipalName) -> Self {
        Self::derived_from(&name.0)
    }

    pub(super) fn derived_from(name: &str) -> Self {
        let digest = Fingerprint::of(name.to_ascii_lowercase().as_bytes());
        let mut id = [0; 12];
        for (character, byte) in id.iter_mut().zip(digest.as_bytes()) {
            *character = ALPHABET[usize::from(byte & 31)];
        }
        Self(id)
    }
}

impl Terms {
    /// What `token_ttl` may be.
    pub const TOKEN_TTL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 86_400);
    /// What an entry of `expiry_notice` may be, in days.
    pub const EXPIRY_NOTICE: RangeInclusive<u32> = 1..=3650;
}

/// Everything that is open to anybody: no condition, no permission. For tests, and as a base to fill in.
impl Default for Terms {
    fn default() -> Self {
        Self {
            enabled: true,
            valid_from: None,
            valid_until: None,
            client_ips: None,
            gateway_ips: Vec::new(),
            cors_origins: Vec::new(),
            serve: None,
            clearance: Clearance::User,
            permissions: Vec::new(),
            identifier: Identifier::Principal,
            audit_claims: Vec::new(),
            allow_any_eku: false,
            renewal: Renewal::None,
            require_crl_dp: false,
            token_ttl: None,
            expiry_notice: Vec::new(),
            description: None,
        }
    }
}

impl FromStr for PrincipalId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let characters: [u8; 12] = text.strip_prefix("p-").and_then(|id| id.as_bytes().try_into().ok()).ok_or(NotAnId)?;
        match characters.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
            true => Ok(Self(characters)),
            false => Err(NotAnId),
        }
    }
}

impl fmt::Display for PrincipalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("p-")?;
        self.0.iter().try_for_each(|byte| fmt::Write::write_char(f, char::from(*byte)))
    }
}

impl PrincipalName {
    /// Takes a name that was checked before.
    pub(super) fn known(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the name as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PrincipalName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        match text {
            text if !is_name(text) => Err(NotAName::Malformed),
            text if is_reserved(text) => Err(NotAName::Reserved),
            text => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for PrincipalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Identifier {
    type Err = AttributeError;

    fn from_str(text: &str) -> Result<Self, AttributeError> {
        Ok(match text {
            "fingerprint" => Self::Fingerprint,
            "principal" => Self::Principal,
            "serial" => Self::Serial,
            attribute => Self::Attribute(attribute.parse()?),
        })
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attribute(attribute) => attribute.fmt(f),
            Self::Fingerprint => f.write_str("fingerprint"),
            Self::Principal => f.write_str("principal"),
            Self::Serial => f.write_str("serial"),
        }
    }
}

/// `file:line`, as editors jump to; or `ledger entry 17`.
impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            line if self.is_ledger() => write!(f, "{LEDGER_ENTRY} {line}"),
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

impl fmt::Display for NotAName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => write!(
                f,
                "is no principal name: segments of letters, digits, `.`, `_` and `-`, separated by `/`, at most {LONGEST_NAME} bytes"
            ),
            Self::Reserved => write!(
                f,
                "is reserved: who comes by `[bootstrap]` is called `{SERVER_CERTIFICATE}` or `{WELL_KNOWN_ADMIN}/…` in logs and headers; choose \
                 another name"
            ),
        }
    }
}

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is no principal id: `p-` and 12 lower-case letters or digits")
    }
}

impl std::error::Error for NotAName {}
impl std::error::Error for NotAnId {}

fn is_name(text: &str) -> bool {
    let segment = |segment: &str| {
        !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    };
    text.len() <= LONGEST_NAME && text.split('/').all(segment)
}

/// Nobody else is to be told from those by their names in logs, in identity headers and in the ledger.
fn is_reserved(text: &str) -> bool {
    let first = text.split('/').next().unwrap_or(text);
    [SERVER_CERTIFICATE, WELL_KNOWN_ADMIN].iter().any(|reserved| first.eq_ignore_ascii_case(reserved))
}

/// Who presents the server's own certificate.
pub(super) const SERVER_CERTIFICATE: &str = "server-certificate";
/// Who is named by `[bootstrap] admin_fingerprints`: this, and the first digits.
pub(super) const WELL_KNOWN_ADMIN: &str = "well-known-admin";
/// RFC 4648's base32, lower case: 5 bits a character, 60 in all.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const LONGEST_NAME: usize = 255;
/// No path reads like this.
const LEDGER_ENTRY: &str = "ledger entry";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_segments() {
        for (text, expected) in [
            ("a", true),
            ("ledger/acl-client", true),
            ("A_1.b/c-D", true),
            ("", false),
            ("/a", false),
            ("a/", false),
            ("a//b", false),
            ("a b", false),
            ("ä", false),
            ("a\n", false),
            ("server-certificate", false),
            ("Server-Certificate/a", false),
            ("WELL-KNOWN-ADMIN/0123456789abcdef", false),
            ("ci/server-certificate", true),
        ] {
            assert_eq!(text.parse::<PrincipalName>().is_ok(), expected, "{text:?}");
        }
        assert!("x".repeat(256).parse::<PrincipalName>().is_err());
        let why = "well-known-admin/ops".parse::<PrincipalName>().expect_err("is ours").to_string();
        assert!(why.contains("is reserved") && why.contains("choose another name"), "{why}");
    }

    #[test]
    fn an_id_is_derived_from_the_name_whatever_its_case() {
        let id = |name: &str| PrincipalId::derived(&name.parse().expect("a name"));
        assert_eq!(id("ci/Pipelines"), id("CI/pipelines"));
        assert_ne!(id("ci/pipelines"), id("ci/pipeline"));
        let text = id("ci/pipelines").to_string();
        assert_eq!((text.len(), text.parse()), (14, Ok(id("ci/pipelines"))));
        for text in ["p-short", "p-ABCDEFGHIJKL", "q-abcdefghijkl", "p-abcdefghijklm", "p-abcdefghijk!"] {
            assert_eq!(text.parse::<PrincipalId>(), Err(NotAnId), "{text}");
        }
    }

    #[test]
    fn identifiers_are_named_as_the_configuration_names_them() {
        for text in ["principal", "fingerprint", "serial", "common_name", "oid:1.2.3"] {
            assert_eq!(text.parse::<Identifier>().expect(text).to_string(), text);
        }
        assert!("subject".parse::<Identifier>().is_err());
    }
}
