//! Distinguished names: attributes for matching, RFC 2253 text for headers and logs.

use asn1_rs::FromDer as _;
use x509_parser::asn1_rs;
use x509_parser::x509::X509Name;

use super::der::{self, tag};
use super::hex;

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
        let mut rdns: Vec<String> = Vec::new();
        for (index, attribute) in self.attributes.iter().enumerate() {
            let text = self.attribute_text(index, attribute);
            match rdns.last_mut() {
                Some(rdn) if !attribute.starts_rdn => *rdn = format!("{rdn}+{text}"),
                _ => rdns.push(text),
            }
        }
        rdns.reverse();
        rdns.join(",")
    }

    /// Reads a Name out of a parsed certificate or CRL.
    pub(super) fn read(name: &X509Name<'_>) -> Self {
        let attributes = name
            .iter_rdn()
            .flat_map(|rdn| rdn.iter().enumerate())
            .map(|(index, attribute)| NameAttribute {
                oid: der::dotted(attribute.attr_type().as_bytes()),
                value: text(attribute.attr_value()),
                starts_rdn: index == 0,
            })
            .collect();
        Self { der: name.as_raw().into(), attributes }
    }

    /// RFC 2253, 2.4: `#` and the DER where the type has no short name, or the value is no text.
    fn attribute_text(&self, index: usize, attribute: &NameAttribute) -> String {
        let short = SHORT_NAMES.iter().find(|(oid, _)| *oid == &*attribute.oid).map(|(_, name)| *name);
        match (short, &attribute.value) {
            (Some(name), Some(value)) => format!("{name}={}", escaped(value)),
            (name, _) => format!("{}=#{}", name.unwrap_or(&attribute.oid), hex::lower(&self.value_der(index))),
        }
    }

    fn value_der(&self, index: usize) -> Vec<u8> {
        let Ok((_, name)) = X509Name::from_der(&self.der) else { return Vec::new() };
        let value = name.iter_attributes().nth(index).map(|attribute| attribute.attr_value().clone());
        value.map_or_else(Vec::new, |value| der::encode(der::low_tag(&value.header), value.data))
    }
}

/// Decodes the DER of one ASN.1 string, and nothing after it, to text. `None` for anything else: it never matches.
pub fn text_of(der: &[u8]) -> Option<Box<str>> {
    let (rest, value) = asn1_rs::Any::from_der(der).ok()?;
    if rest.is_empty() { text(&value) } else { None }
}

/// Decodes a string type to text. `None` for other types, bad encodings and values with a NUL, which some
/// reader behind us may take for the end.
fn text(value: &asn1_rs::Any<'_>) -> Option<Box<str>> {
    let data = value.data;
    let text = match der::low_tag(&value.header) {
        tag::UTF8_STRING => std::str::from_utf8(data).ok()?.to_owned(),
        // T.61 has no agreed meaning beyond ASCII; guessing one would let two readers see two names.
        tag::NUMERIC_STRING | tag::PRINTABLE_STRING | tag::TELETEX_STRING | tag::IA5_STRING | tag::VISIBLE_STRING if data.is_ascii() => {
            std::str::from_utf8(data).ok()?.to_owned()
        }
        tag::UNIVERSAL_STRING => {
            let (characters, []) = data.as_chunks::<4>() else { return None };
            characters.iter().map(|bytes| char::from_u32(u32::from_be_bytes(*bytes))).collect::<Option<String>>()?
        }
        tag::BMP_STRING => {
            let (units, []) = data.as_chunks::<2>() else { return None };
            char::decode_utf16(units.iter().map(|bytes| u16::from_be_bytes(*bytes))).collect::<Result<String, _>>().ok()?
        }
        _ => return None,
    };
    (!text.contains('\0')).then(|| text.into())
}

/// RFC 2253, 2.4, and everything that is not printable ASCII as `\XX`, so that the result is safe in headers and logs.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let last = value.len().saturating_sub(1);
    for (at, byte) in value.bytes().enumerate() {
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => out.extend(['\\', char::from(byte)]),
            b'#' if at == 0 => out.push_str("\\#"),
            b' ' if at == 0 || at == last => out.push_str("\\ "),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => {
                out.push('\\');
                out.push_str(&hex::upper(&[byte]));
            }
        }
    }
    out
}

/// RFC 2253's table, and what OpenSSL prints for the rest that certificates carry.
const SHORT_NAMES: [(&str, &str); 18] = [
    (COMMON_NAME, "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    (ORGANIZATION, "O"),
    (ORGANIZATIONAL_UNIT, "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.15", "businessCategory"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.42", "GN"),
    ("2.5.4.46", "dnQualifier"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// OID content, string tag, value.
    type Attribute<'a> = (&'a [u8], u8, &'a [u8]);

    /// A Name of RDNs.
    fn name(rdns: &[&[Attribute<'_>]]) -> DistinguishedName {
        let set = |rdn: &&[Attribute<'_>]| {
            let parts: Vec<u8> = rdn
                .iter()
                .flat_map(|(oid, kind, value)| {
                    der::encode(tag::SEQUENCE, &[der::encode(tag::OID, oid), der::encode(*kind, value)].concat())
                })
                .collect();
            der::encode(tag::SET, &parts)
        };
        let encoded = der::encode(tag::SEQUENCE, &rdns.iter().flat_map(set).collect::<Vec<u8>>());
        DistinguishedName::read(&X509Name::from_der(&encoded).unwrap().1)
    }

    const CN: &[u8] = &[0x55, 4, 3];
    const O: &[u8] = &[0x55, 4, 10];
    const C: &[u8] = &[0x55, 4, 6];

    #[test]
    fn rfc2253_is_most_specific_first_and_escapes() {
        let utf8 = tag::UTF8_STRING;
        for (expected, rdns) in [
            ("", &[] as &[&[Attribute<'_>]]),
            ("CN=a,O=b,C=SE", &[&[(C, tag::PRINTABLE_STRING, b"SE")], &[(O, utf8, b"b")], &[(CN, utf8, b"a")]]),
            ("CN=a+O=b", &[&[(CN, utf8, b"a"), (O, utf8, b"b")]]),
            (r#"CN=a\,O=b\+c\"\\\<\>\;"#, &[&[(CN, utf8, br#"a,O=b+c"\<>;"#)]]),
            (r"CN=\ a b\ ", &[&[(CN, utf8, b" a b ")]]),
            (r"CN=\ ", &[&[(CN, utf8, b" ")]]),
            (r"CN=\##", &[&[(CN, utf8, b"##")]]),
            (r"CN=\C3\A9\0D\0A\7F", &[&[(CN, utf8, "é\r\n\u{7f}".as_bytes())]]),
            (r"CN=\C3\A9", &[&[(CN, tag::BMP_STRING, &[0, 0xe9])]]),
            ("CN=A", &[&[(CN, tag::UNIVERSAL_STRING, &[0, 0, 0, 0x41])]]),
            ("CN=", &[&[(CN, utf8, b"")]]),
            ("CN=#0c03610062", &[&[(CN, utf8, b"a\0b")]]),
            ("CN=#1401e9", &[&[(CN, tag::TELETEX_STRING, &[0xe9])]]),
            ("1.2.3=#0c0161", &[&[(&[0x2a, 3], utf8, b"a")]]),
        ] {
            assert_eq!(name(rdns).rfc2253(), expected);
        }
    }

    #[test]
    fn a_value_that_is_not_text_never_matches_but_is_counted() {
        for (kind, value) in [
            (tag::UTF8_STRING, b"a\0".as_slice()),
            (tag::UTF8_STRING, b"\xff"),
            (tag::PRINTABLE_STRING, b"\xe9"),
            (tag::BMP_STRING, b"\0"),
            (tag::BMP_STRING, b"\xd8\0"),
            (tag::UNIVERSAL_STRING, b"\0\x11\0\0"),
            (tag::OCTET_STRING, b"a"),
            (tag::IA5_STRING, b"a\0b"),
        ] {
            assert_eq!(name(&[&[(CN, kind, value)]]).values(COMMON_NAME).collect::<Vec<_>>(), [None], "{kind:#x}");
        }
        assert_eq!(name(&[&[(CN, 0x0c, b"a")], &[(O, 0x0c, b"x")], &[(CN, 0x0c, b"b")]]).values(COMMON_NAME).count(), 2);
    }
}
