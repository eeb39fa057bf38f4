//! The extensions that decide something, decoded strictly: a malformed one makes the certificate malformed,
//! since a restriction that cannot be read must not fall away.

use std::net::IpAddr;

use x509_parser::certificate::X509Certificate;

use super::certificate::{BasicConstraints, ExtendedKeyUsage, KeyUsage, San};
use super::der::{self, Reader, tag};

/// What the known extensions of a certificate say.
#[derive(Default)]
pub(super) struct Known {
    pub(super) sans: Vec<San>,
    pub(super) basic_constraints: Option<BasicConstraints>,
    pub(super) key_usage: Option<KeyUsage>,
    pub(super) extended_key_usage: Option<ExtendedKeyUsage>,
    pub(super) subject_key_id: Option<Box<[u8]>>,
    pub(super) authority_key_id: Option<Box<[u8]>>,
}

impl Known {
    /// Decodes the extensions of a certificate; that none occurs twice is for the caller to see to.
    pub(super) fn read(parsed: &X509Certificate<'_>) -> Result<Self, &'static str> {
        let mut known = Self::default();
        for extension in parsed.extensions() {
            let value = extension.value;
            match extension.oid.as_bytes() {
                SUBJECT_KEY_ID => known.subject_key_id = Some(subject_key_id(value).ok_or("a malformed subjectKeyIdentifier")?),
                KEY_USAGE => known.key_usage = Some(key_usage(value).ok_or("a malformed keyUsage")?),
                SUBJECT_ALT_NAME => known.sans = sans(value).ok_or("a malformed subjectAltName")?,
                BASIC_CONSTRAINTS => known.basic_constraints = Some(basic_constraints(value).ok_or("malformed basicConstraints")?),
                AUTHORITY_KEY_ID => known.authority_key_id = authority_key_id(value).ok_or("a malformed authorityKeyIdentifier")?,
                EXTENDED_KEY_USAGE => known.extended_key_usage = Some(extended_key_usage(value).ok_or("a malformed extendedKeyUsage")?),
                _ => {}
            }
        }
        Ok(known)
    }
}

/// RFC 5280, 4.2.1.12.
pub(super) fn extended_key_usage(value: &[u8]) -> Option<ExtendedKeyUsage> {
    let mut purposes = Reader::new(der::only(value, tag::SEQUENCE)?);
    let mut usage = ExtendedKeyUsage { any: false, client_auth: false, server_auth: false };
    while !purposes.is_empty() {
        match purposes.expect(tag::OID)?.content {
            ANY_PURPOSE => usage.any = true,
            SERVER_AUTH => usage.server_auth = true,
            CLIENT_AUTH => usage.client_auth = true,
            _ => {}
        }
    }
    Some(usage)
}

/// RFC 5280, 4.2.1.1; `None` inside where it names no key.
pub(super) fn authority_key_id(value: &[u8]) -> Option<Option<Box<[u8]>>> {
    let mut fields = Reader::new(der::only(value, tag::SEQUENCE)?);
    let key = fields.optional(CONTEXT).map(|key| key.content.into());
    while !fields.is_empty() {
        fields.next()?;
    }
    Some(key)
}

fn subject_key_id(value: &[u8]) -> Option<Box<[u8]>> {
    der::only(value, tag::OCTET_STRING).map(Into::into)
}

/// RFC 5280, 4.2.1.3: bit 0 is the highest of the first octet.
fn key_usage(value: &[u8]) -> Option<KeyUsage> {
    let (unused, bits) = der::only(value, tag::BIT_STRING)?.split_first()?;
    if *unused > 7 {
        return None;
    }
    let first = bits.first().copied().unwrap_or(0);
    Some(KeyUsage { digital_signature: first & 0x80 != 0, key_cert_sign: first & 0x04 != 0, crl_sign: first & 0x02 != 0 })
}

/// RFC 5280, 4.2.1.9. An encoded FALSE is no DER, but common, and says the same.
fn basic_constraints(value: &[u8]) -> Option<BasicConstraints> {
    let mut fields = Reader::new(der::only(value, tag::SEQUENCE)?);
    let ca = match fields.optional(tag::BOOLEAN).map(|ca| ca.content) {
        None | Some([0]) => false,
        Some([_]) => true,
        Some(_) => return None,
    };
    let path_len = match fields.is_empty() {
        true => None,
        false => {
            let length = der::magnitude(fields.expect(tag::INTEGER)?.content)?;
            if length.len() > 4 {
                return None;
            }
            Some(length.iter().fold(0_u32, |length, byte| length << 8 | u32::from(*byte)))
        }
    };
    fields.is_empty().then_some(BasicConstraints { ca, path_len })
}

/// RFC 5280, 4.2.1.6.
fn sans(value: &[u8]) -> Option<Vec<San>> {
    let mut names = Reader::new(der::only(value, tag::SEQUENCE)?);
    let mut sans = Vec::new();
    while !names.is_empty() {
        let name = names.next()?;
        let text = || printable(name.content);
        sans.push(match name.tag {
            EMAIL => text().map_or(San::Other, San::Email),
            DNS => text().map_or(San::Other, San::Dns),
            URI => text().map_or(San::Other, San::Uri),
            IP => ip(name.content).map_or(San::Other, San::Ip),
            _ => San::Other,
        });
    }
    Some(sans)
}

/// No name that means anything holds a control character, and one with a NUL or a line feed may mean something else to a reader behind us.
fn printable(content: &[u8]) -> Option<Box<str>> {
    let text = std::str::from_utf8(content).ok()?;
    text.bytes().all(|byte| matches!(byte, b' '..=b'~')).then(|| text.into())
}

fn ip(content: &[u8]) -> Option<IpAddr> {
    match content.len() {
        4 => <[u8; 4]>::try_from(content).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(content).ok().map(IpAddr::from),
        _ => None,
    }
}

/// id-ce 14, 15, 17, 19, 35, 37.
const SUBJECT_KEY_ID: &[u8] = &[0x55, 29, 14];
const KEY_USAGE: &[u8] = &[0x55, 29, 15];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 29, 17];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 29, 19];
pub(super) const AUTHORITY_KEY_ID: &[u8] = &[0x55, 29, 35];
pub(super) const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 29, 37];

const ANY_PURPOSE: &[u8] = &[0x55, 29, 37, 0];
const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];

const CONTEXT: u8 = 0x80;
const EMAIL: u8 = CONTEXT | 1;
const DNS: u8 = CONTEXT | 2;
const URI: u8 = CONTEXT | 6;
const IP: u8 = CONTEXT | 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_constraints_are_read_strictly() {
        let constraints = |ca, path_len| Some(BasicConstraints { ca, path_len });
        for (value, expected) in [
            (&[0x30_u8, 0] as &[u8], constraints(false, None)),
            (&[0x30, 3, 1, 1, 0xff], constraints(true, None)),
            (&[0x30, 3, 1, 1, 1], constraints(true, None)),
            (&[0x30, 3, 1, 1, 0], constraints(false, None)),
            (&[0x30, 6, 1, 1, 0xff, 2, 1, 3], constraints(true, Some(3))),
            (&[0x30, 8, 1, 1, 0xff, 2, 3, 0, 0x80, 0], constraints(true, Some(0x8000))),
            (&[0x30, 6, 1, 1, 0xff, 2, 1, 0xff], None),
            (&[0x30, 3, 1, 1], None),
            (&[0x30, 2, 1, 0], None),
            (&[0x30, 0, 0], None),
            (&[], None),
        ] {
            assert_eq!(basic_constraints(value), expected, "{value:x?}");
        }
    }

    #[test]
    fn key_usage_bits_count_from_the_left() {
        let usage = |bits: &[u8]| key_usage(bits).map(|usage| (usage.digital_signature, usage.key_cert_sign, usage.crl_sign));
        assert_eq!(usage(&[3, 2, 7, 0x80]), Some((true, false, false)));
        assert_eq!(usage(&[3, 2, 1, 0x06]), Some((false, true, true)));
        assert_eq!(usage(&[3, 1, 0]), Some((false, false, false)));
        assert_eq!(usage(&[3, 0]), None);
        assert_eq!(usage(&[3, 2, 8, 0]), None);
    }

    #[test]
    fn names_that_are_not_printable_ascii_are_of_no_kind() {
        let names = [
            der::encode(DNS, b"a.example"),
            der::encode(DNS, b"a.example\0.evil"),
            der::encode(EMAIL, "é@example".as_bytes()),
            der::encode(URI, b"spiffe://a/b"),
            der::encode(URI, b"a\nb"),
            der::encode(IP, &[192, 0, 2, 1]),
            der::encode(IP, &[1, 2, 3]),
            der::encode(0xa4, &[0x30, 0]),
        ];
        let value = der::encode(tag::SEQUENCE, &names.concat());
        assert_eq!(
            sans(&value).unwrap(),
            [
                San::Dns("a.example".into()),
                San::Other,
                San::Other,
                San::Uri("spiffe://a/b".into()),
                San::Other,
                San::Ip("192.0.2.1".parse().unwrap()),
                San::Other,
                San::Other
            ]
        );
        assert_eq!(sans(&[0x30, 2, DNS, 5]), None);
    }

    #[test]
    fn purposes_are_a_list_of_object_identifiers() {
        let usage = |any, client_auth, server_auth| Some(ExtendedKeyUsage { any, client_auth, server_auth });
        let list = |oids: &[&[u8]]| der::encode(tag::SEQUENCE, &oids.iter().flat_map(|oid| der::encode(tag::OID, oid)).collect::<Vec<_>>());
        assert_eq!(extended_key_usage(&list(&[CLIENT_AUTH, SERVER_AUTH])), usage(false, true, true));
        assert_eq!(extended_key_usage(&list(&[ANY_PURPOSE])), usage(true, false, false));
        assert_eq!(extended_key_usage(&list(&[&[1, 2]])), usage(false, false, false));
        assert_eq!(extended_key_usage(&list(&[])), usage(false, false, false));
        assert_eq!(extended_key_usage(&[0x30, 2, 5, 0]), None);
    }
}
