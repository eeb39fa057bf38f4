//! Bounds: what an authority asks of a leaf's names and extensions. OR inside a kind, AND across kinds.

use std::fmt;
use std::str::FromStr;

use super::attribute::{Attribute, AttributeError, Oid};
use super::decision::{Denial, shortened};
use super::glob::{Glob, GlobError};
use crate::pki::{Certificate, hex};

/// What an authority asks of a leaf's names and extensions. An absent kind is no bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    kinds: Vec<(BoundKind, Vec<Glob>)>,
    /// Every one of them must match.
    extensions: Vec<ExtensionBound>,
}

/// The kinds of bounds that are lists of globs over names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BoundKind {
    CommonNames,
    DnsSans,
    EmailSans,
    OrganizationalUnits,
    UriSans,
}

/// Why a bound cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundError {
    /// Nothing would match: leave the key out to set no bound.
    Empty,
    Glob(GlobError),
    NotAnExtension,
    Oid(AttributeError),
}

/// Why a leaf is out of bounds. Put into words only when somebody reads it: a leaf may be out of thousands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfBounds<'a> {
    AmbiguousCommonName,
    Extension(&'a str),
    Names(BoundKind, &'a [Glob]),
}

/// One entry of `extensions`: `oid:glob`, `hex:oid:glob` or `present:oid`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ExtensionBound {
    source: Box<str>,
    oid: Oid,
    value: ExtensionValue,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ExtensionValue {
    Hex(Glob),
    Present,
    Text(Glob),
}

impl Bounds {
    /// Sets the bound of one kind.
    pub fn set(&mut self, kind: BoundKind, globs: &[impl AsRef<str>]) -> Result<(), (usize, BoundError)> {
        let globs = parse_all(globs, |text| kind.attribute().folded(text).parse().map_err(BoundError::Glob))?;
        self.kinds.retain(|(present, _)| *present != kind);
        self.kinds.push((kind, globs));
        Ok(())
    }

    /// Sets the bounds over extensions. An error says which entry is at fault.
    pub fn set_extensions(&mut self, entries: &[impl AsRef<str>]) -> Result<(), (usize, BoundError)> {
        self.extensions = parse_all(entries, str::parse)?;
        Ok(())
    }

    /// There is no bound at all: the authority needs `any = true`.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty() && self.extensions.is_empty()
    }

    /// Judges a leaf.
    pub fn check(&self, leaf: &Certificate) -> Result<(), OutOfBounds<'_>> {
        for (kind, globs) in &self.kinds {
            let attribute = kind.attribute();
            let values = attribute.deciding_values(leaf).map_err(|_| OutOfBounds::AmbiguousCommonName)?;
            // Patterns were folded when they were set.
            if !values.iter().any(|value| globs.iter().any(|glob| glob.matches(&attribute.folded(value)))) {
                return Err(OutOfBounds::Names(*kind, globs));
            }
        }
        match self.extensions.iter().find(|bound| !bound.matches(leaf)) {
            Some(bound) => Err(OutOfBounds::Extension(&bound.source)),
            None => Ok(()),
        }
    }

    /// Writes down everything that distinguishes these bounds from others.
    pub(super) fn write_identity(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{self:?}").as_bytes());
    }
}

impl BoundKind {
    /// Returns the key of the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::CommonNames => "common_names",
            Self::DnsSans => "dns_sans",
            Self::EmailSans => "email_sans",
            Self::OrganizationalUnits => "organizational_units",
            Self::UriSans => "uri_sans",
        }
    }

    fn attribute(self) -> Attribute {
        match self {
            Self::CommonNames => Attribute::CommonName,
            Self::DnsSans => Attribute::DnsSan,
            Self::EmailSans => Attribute::EmailSan,
            Self::OrganizationalUnits => Attribute::OrganizationalUnit,
            Self::UriSans => Attribute::UriSan,
        }
    }
}

impl OutOfBounds<'_> {
    /// Returns the code.
    pub fn denial(self) -> Denial {
        match self {
            Self::AmbiguousCommonName => Denial::AmbiguousCommonName,
            Self::Extension(_) | Self::Names(..) => Denial::BoundsMismatch,
        }
    }

    /// Says it to the operator.
    pub fn describe(self, leaf: &Certificate) -> String {
        match self {
            Self::AmbiguousCommonName => "the leaf has more than one common name, and common_names decide".to_owned(),
            Self::Extension(bound) => format!("extensions: the leaf has no match for {bound:?}"),
            Self::Names(kind, globs) => {
                format!("{}: {} matches none of {}", kind.name(), listed(&kind.attribute().values(leaf)), listed(globs))
            }
        }
    }
}

impl ExtensionBound {
    fn matches(&self, leaf: &Certificate) -> bool {
        let Some(value) = self.oid.value(leaf) else { return false };
        match &self.value {
            ExtensionValue::Hex(glob) => glob.matches(&hex::lower(value)),
            ExtensionValue::Present => true,
            // Vault reads what it cannot decode as "", which `*` then matches; here it never matches.
            ExtensionValue::Text(glob) => crate::pki::name::text_of(value).is_some_and(|text| glob.matches(&text)),
        }
    }
}

impl FromStr for ExtensionBound {
    type Err = BoundError;

    fn from_str(text: &str) -> Result<Self, BoundError> {
        let (first, rest) = text.split_once(':').ok_or(BoundError::NotAnExtension)?;
        let (oid, value) = match first {
            "hex" => {
                let (oid, glob) = rest.split_once(':').ok_or(BoundError::NotAnExtension)?;
                (oid, ExtensionValue::Hex(glob.to_ascii_lowercase().parse().map_err(BoundError::Glob)?))
            }
            "present" => (rest, ExtensionValue::Present),
            oid => (oid, ExtensionValue::Text(rest.parse().map_err(BoundError::Glob)?)),
        };
        Ok(Self { source: text.into(), oid: oid.parse().map_err(BoundError::Oid)?, value })
    }
}

impl fmt::Display for BoundError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("is empty, so that nothing would match: leave the key out to set no bound"),
            Self::Glob(error) => error.fmt(f),
            Self::NotAnExtension => f.write_str("is neither `oid:glob`, `hex:oid:glob` nor `present:oid`"),
            Self::Oid(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BoundError {}

fn parse_all<T>(texts: &[impl AsRef<str>], parse: impl Fn(&str) -> Result<T, BoundError>) -> Result<Vec<T>, (usize, BoundError)> {
    if texts.is_empty() {
        return Err((0, BoundError::Empty));
    }
    texts.iter().enumerate().map(|(index, text)| parse(text.as_ref()).map_err(|error| (index, error))).collect()
}

/// Quotes values for a finding; `{:?}` escapes what could break a line. The client chose how many and how long.
fn listed(values: &[impl fmt::Display]) -> String {
    let shown: Vec<String> = values.iter().take(MOST_SHOWN).map(|value| format!("{:?}", shortened(&value.to_string()))).collect();
    match values.len() {
        0 => "(none)".to_owned(),
        count if count > MOST_SHOWN => format!("{} and {} more", shown.join(", "), count - MOST_SHOWN),
        _ => shown.join(", "),
    }
}

const MOST_SHOWN: usize = 8;
