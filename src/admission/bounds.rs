//! Globs over names and extensions.

/// `*` any run, `?` one character, `\` escapes; anchored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {}

/// An attribute of a leaf.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Attribute {
    CommonName,
    DnsSan,
    EmailSan,
    Extension(Box<str>),
    Organization,
    OrganizationalUnit,
    UriSan,
}

/// What an authority asks of a leaf's names and extensions: OR inside a kind, AND across kinds. An absent kind is no bound.
#[derive(Clone, Debug, Default)]
pub struct Bounds {}

/// An origin of a `cors_origins` list: scheme, host with `*` for labels, port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginPattern {}
