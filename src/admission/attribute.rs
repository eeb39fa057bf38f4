//! Attributes of a leaf: what bounds, permissions, identifiers and audit claims read from it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use super::glob::Glob;
use crate::pki::name::{COMMON_NAME, ORGANIZATION, ORGANIZATIONAL_UNIT, text_of};
use crate::pki::{Certificate, San};

/// An attribute of a leaf.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Attribute {
    CommonName,
    DnsSan,
    EmailSan,
    Extension(Oid),
    Organization,
    OrganizationalUnit,
    UriSan,
}

/// A dotted object identifier.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Oid(Box<str>);

/// Why a text names no attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeError {
    NotAnAttribute,
    NotAnOid,
}

/// More than one common name, where one decides or identifies: readers differ in which they take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AmbiguousCommonName;

impl Attribute {
    /// Returns the values of a leaf, in order; those that are no text left out.
    pub fn values<'a>(&self, leaf: &'a Certificate) -> Vec<Cow<'a, str>> {
        match self {
            Self::CommonName => name_values(leaf, COMMON_NAME),
            Self::DnsSan => sans(leaf, |san| if let San::Dns(name) = san { Some(name) } else { None }),
            Self::EmailSan => sans(leaf, |san| if let San::Email(name) = san { Some(name) } else { None }),
            Self::Extension(oid) => oid.value(leaf).and_then(text_of).map(String::from).map(Cow::Owned).into_iter().collect(),
            Self::Organization => name_values(leaf, ORGANIZATION),
            Self::OrganizationalUnit => name_values(leaf, ORGANIZATIONAL_UNIT),
            Self::UriSan => sans(leaf, |san| if let San::Uri(name) = san { Some(name) } else { None }),
        }
    }

    /// Returns the values where they are to decide or to identify: a second common name, readable or not, is an error.
    pub fn deciding_values<'a>(&self, leaf: &'a Certificate) -> Result<Vec<Cow<'a, str>>, AmbiguousCommonName> {
        if *self == Self::CommonName && leaf.subject.values(COMMON_NAME).nth(1).is_some() {
            return Err(AmbiguousCommonName);
        }
        Ok(self.values(leaf))
    }
}

impl Attribute {
    /// Lowers the case where it means nothing: DNS names (RFC 4343), the domain of an e-mail address (RFC 5321, 2.4). Of patterns
    /// and of values alike, lest a rule be passed by in capitals.
    pub(super) fn folded<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match (self, text.rsplit_once('@')) {
            (Self::DnsSan, _) => Cow::Owned(text.to_ascii_lowercase()),
            (Self::EmailSan, Some((local, domain))) => Cow::Owned(format!("{local}@{}", domain.to_ascii_lowercase())),
            _ => Cow::Borrowed(text),
        }
    }

    /// Tells whether one of the values of a leaf matches one of the globs.
    pub(super) fn matches(&self, values: &[Cow<'_, str>], globs: &[Glob]) -> bool {
        globs.iter().any(|glob| match self.folded(glob.as_str()) {
            Cow::Borrowed(_) => values.iter().any(|value| glob.matches(value)),
            // Folding keeps escapes and stars where they were, so that a glob stays one.
            Cow::Owned(pattern) => pattern.parse::<Glob>().is_ok_and(|glob| values.iter().any(|value| glob.matches(&self.folded(value)))),
        })
    }
}

impl FromStr for Attribute {
    type Err = AttributeError;

    fn from_str(text: &str) -> Result<Self, AttributeError> {
        Ok(match text {
            "common_name" => Self::CommonName,
            "dns_san" => Self::DnsSan,
            "email_san" => Self::EmailSan,
            "organization" => Self::Organization,
            "organizational_unit" => Self::OrganizationalUnit,
            "uri_san" => Self::UriSan,
            _ => Self::Extension(text.strip_prefix("oid:").ok_or(AttributeError::NotAnAttribute)?.parse()?),
        })
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommonName => f.write_str("common_name"),
            Self::DnsSan => f.write_str("dns_san"),
            Self::EmailSan => f.write_str("email_san"),
            Self::Extension(oid) => write!(f, "oid:{oid}"),
            Self::Organization => f.write_str("organization"),
            Self::OrganizationalUnit => f.write_str("organizational_unit"),
            Self::UriSan => f.write_str("uri_san"),
        }
    }
}

impl Oid {
    /// Returns the content of a leaf's extension of this kind.
    pub fn value<'a>(&self, leaf: &'a Certificate) -> Option<&'a [u8]> {
        leaf.extensions.iter().find(|extension| *extension.oid == *self.0).map(|extension| &*extension.value)
    }
}

impl FromStr for Oid {
    type Err = AttributeError;

    fn from_str(text: &str) -> Result<Self, AttributeError> {
        let arc = |arc: &str| !arc.is_empty() && arc.bytes().all(|byte| byte.is_ascii_digit()) && (arc == "0" || !arc.starts_with('0'));
        let arcs: Vec<&str> = text.split('.').collect();
        match arcs.len() >= 2 && arcs.iter().all(|text| arc(text)) && matches!(arcs[0], "0" | "1" | "2") {
            true => Ok(Self(text.into())),
            false => Err(AttributeError::NotAnOid),
        }
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for AttributeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAnAttribute => {
                "is no attribute: common_name, organizational_unit, organization, dns_san, email_san, uri_san or oid:<dotted oid>"
            }
            Self::NotAnOid => "is no object identifier in dotted form, as in 1.3.6.1.4.1.55555.1",
        })
    }
}

impl std::error::Error for AttributeError {}

fn name_values<'a>(leaf: &'a Certificate, oid: &'a str) -> Vec<Cow<'a, str>> {
    leaf.subject.values(oid).flatten().map(Cow::Borrowed).collect()
}

fn sans(leaf: &Certificate, of_kind: impl Fn(&San) -> Option<&Box<str>>) -> Vec<Cow<'_, str>> {
    leaf.sans.iter().filter_map(of_kind).map(|name| Cow::Borrowed(&**name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_named_as_the_configuration_names_them() {
        for text in ["common_name", "dns_san", "email_san", "organization", "organizational_unit", "uri_san", "oid:1.3.6.1.4.1.55555.1"] {
            assert_eq!(text.parse::<Attribute>().expect(text).to_string(), text);
        }
        for (text, expected) in [
            ("cn", AttributeError::NotAnAttribute),
            ("", AttributeError::NotAnAttribute),
            ("oid:", AttributeError::NotAnOid),
            ("oid:1", AttributeError::NotAnOid),
            ("oid:1..2", AttributeError::NotAnOid),
            ("oid:1.02", AttributeError::NotAnOid),
            ("oid:3.2", AttributeError::NotAnOid),
            ("oid:1.2 ", AttributeError::NotAnOid),
        ] {
            assert_eq!(text.parse::<Attribute>(), Err(expected), "{text}");
        }
    }
}
