//! Distinguished names: attributes for matching, RFC 2253 text for headers and logs.

/// An X.501 name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DistinguishedName {
    /// The DER of the Name, exactly as it stands: chains compare this.
    pub der: Box<[u8]>,
    /// Every attribute in the order of the encoding, RDN by RDN.
    pub attributes: Vec<NameAttribute>,
}

/// One attribute of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameAttribute {
    /// Dotted.
    pub oid: Box<str>,
    /// `None` where the value is no text of a known string type, or holds a NUL: it never matches.
    pub value: Option<Box<str>>,
    /// Starts a new RDN; false for the further attributes of a multi-valued one.
    pub starts_rdn: bool,
}

pub const COMMON_NAME: &str = "2.5.4.3";
pub const ORGANIZATION: &str = "2.5.4.10";
pub const ORGANIZATIONAL_UNIT: &str = "2.5.4.11";

impl DistinguishedName {
    /// Returns the values of an attribute, in order; `None` marks one that is not text.
    pub fn values<'a>(&'a self, oid: &'a str) -> impl Iterator<Item = Option<&'a str>> {
        self.attributes.iter().filter(move |attribute| *attribute.oid == *oid).map(|attribute| attribute.value.as_deref())
    }

    /// Writes the name as RFC 2253 has it: most specific first, special characters escaped; ASCII only (others as `\XX` of their UTF-8).
    pub fn rfc2253(&self) -> String {
        todo!()
    }
}
