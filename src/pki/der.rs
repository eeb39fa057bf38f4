//! DER, read strictly: definite, minimal lengths and nothing after the last element. `x509-parser` is
//! lenient there, and a lenient reading lets anybody respell a certificate under another fingerprint.

/// Universal tags, and the context-specific ones of extensions.
pub(super) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const OID: u8 = 0x06;
    pub(crate) const UTF8_STRING: u8 = 0x0c;
    pub(crate) const NUMERIC_STRING: u8 = 0x12;
    pub(crate) const PRINTABLE_STRING: u8 = 0x13;
    pub(crate) const TELETEX_STRING: u8 = 0x14;
    pub(crate) const IA5_STRING: u8 = 0x16;
    pub(crate) const VISIBLE_STRING: u8 = 0x1a;
    pub(crate) const UNIVERSAL_STRING: u8 = 0x1c;
    pub(crate) const BMP_STRING: u8 = 0x1e;
    pub(crate) const SEQUENCE: u8 = 0x30;
    #[cfg(test)]
    pub(crate) const SET: u8 = 0x31;
}

const CONSTRUCTED: u8 = 0x20;
/// Deeper nesting than any certificate has; bounds the recursion.
const MAX_DEPTH: u8 = 24;

/// One element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tlv<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    pub(super) whole: &'a [u8],
}

/// Reads elements one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Self(input)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the next element. `None`: no element, or one that is not DER.
    pub(super) fn next(&mut self) -> Option<Tlv<'a>> {
        let [tag, first, ..] = *self.0 else { return None };
        // High tag numbers occur nowhere in X.509.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (header, length) = match first {
            0..=0x7f => (2, usize::from(first)),
            0x81..=0x84 => {
                let count = usize::from(first & 0x7f);
                let bytes = self.0.get(2..2 + count)?;
                let length = bytes.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
                // X.690, 10.1: the fewest octets that can hold the length.
                if bytes[0] == 0 || length < 0x80 {
                    return None;
                }
                (2 + count, length)
            }
            _ => return None,
        };
        let whole = self.0.get(..header.checked_add(length)?)?;
        self.0 = &self.0[whole.len()..];
        Some(Tlv { tag, content: &whole[header..], whole })
    }

    /// Takes the next element if it has this tag; else `None`.
    pub(super) fn expect(&mut self, tag: u8) -> Option<Tlv<'a>> {
        self.next().filter(|element| element.tag == tag)
    }

    /// Takes the next element only if it has this tag; else leaves it.
    pub(super) fn optional(&mut self, tag: u8) -> Option<Tlv<'a>> {
        if self.0.first() == Some(&tag) { self.next() } else { None }
    }
}

/// Reads an input that is one element of this tag and nothing else; returns its content.
pub(super) fn only(input: &[u8], tag: u8) -> Option<&[u8]> {
    let mut reader = Reader::new(input);
    let element = reader.expect(tag)?;
    reader.is_empty().then_some(element.content)
}

/// Tells whether an input is one element, and every element in it DER to the innermost.
pub(super) fn is_canonical(input: &[u8]) -> bool {
    let mut reader = Reader::new(input);
    reader.next().is_some_and(|element| nested_is_canonical(element, MAX_DEPTH)) && reader.is_empty()
}

fn nested_is_canonical(element: Tlv<'_>, depth: u8) -> bool {
    if element.tag & CONSTRUCTED == 0 {
        return true;
    }
    let mut reader = Reader::new(element.content);
    while !reader.is_empty() {
        match reader.next() {
            Some(inner) if depth > 0 && nested_is_canonical(inner, depth - 1) => {}
            _ => return false,
        }
    }
    true
}

/// Encodes an element.
pub(super) fn encode(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = Vec::with_capacity(length + 6);
    out.push(tag);
    match u8::try_from(length) {
        Ok(short @ 0..=0x7f) => out.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
            out.push(0x80 | u8::try_from(bytes.len()).expect("a usize has eight bytes"));
            out.extend_from_slice(bytes);
        }
    }
    out.extend_from_slice(content);
    out
}

/// Encodes a non-negative INTEGER from its magnitude.
pub(super) fn encode_integer(magnitude: &[u8]) -> Vec<u8> {
    let magnitude = strip_zeros(magnitude);
    let sign = magnitude.first().is_none_or(|byte| *byte >= 0x80);
    encode(tag::INTEGER, &[if sign { &[0_u8] as &[u8] } else { &[] }, magnitude].concat())
}

/// Reads the content of a non-negative, minimal INTEGER; returns its magnitude, empty for 0.
pub(super) fn magnitude(content: &[u8]) -> Option<&[u8]> {
    match content {
        [] => None,
        [0] => Some(&[]),
        // X.690, 8.3.2: the first nine bits are neither all ones nor all zeros.
        [0, second, ..] if *second < 0x80 => None,
        [0, rest @ ..] => Some(rest),
        [first, ..] if *first >= 0x80 => None,
        _ => Some(content),
    }
}

/// Drops leading zeros.
pub(super) fn strip_zeros(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..]
}

/// Returns the content of a BIT STRING of whole octets.
pub(super) fn octets(content: &[u8]) -> Option<&[u8]> {
    content.split_first().filter(|(unused, _)| **unused == 0).map(|(_, octets)| octets)
}

/// Returns the one-byte tag of an element that `x509-parser` read; 0 for high tag numbers.
pub(super) fn low_tag(header: &x509_parser::asn1_rs::Header<'_>) -> u8 {
    let number = u8::try_from(header.tag().0).ok().filter(|number| *number < 0x1f);
    number.map_or(0, |number| (header.class() as u8) << 6 | if header.constructed() { CONSTRUCTED } else { 0 } | number)
}

/// Writes the content of an OBJECT IDENTIFIER with dots; one that is none, or has arcs beyond 128 bits, as `#` and hex.
pub(super) fn dotted(content: &[u8]) -> Box<str> {
    try_dotted(content).unwrap_or_else(|| format!("#{}", super::hex::lower(content))).into()
}

fn try_dotted(content: &[u8]) -> Option<String> {
    use std::fmt::Write as _;
    if content.last().is_none_or(|byte| byte & 0x80 != 0) {
        return None;
    }
    let (mut out, mut arc, mut fresh) = (String::new(), 0_u128, true);
    for byte in content {
        // X.690, 8.19.2: no leading 0x80.
        if (fresh && *byte == 0x80) || arc >> 121 != 0 {
            return None;
        }
        arc = arc << 7 | u128::from(byte & 0x7f);
        fresh = byte & 0x80 == 0;
        if fresh {
            if out.is_empty() {
                let first = (arc / 40).min(2);
                write!(out, "{first}.{}", arc - first * 40).ok()?;
            } else {
                write!(out, ".{arc}").ok()?;
            }
            arc = 0;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_der_is_canonical() {
        let long = encode(tag::SEQUENCE, &encode(tag::OCTET_STRING, &[7; 300]));
        for (what, input, expected) in [
            ("an empty sequence", &[0x30_u8, 0] as &[u8], true),
            ("nested", &[0x30, 3, 0x30, 1, 5], false),
            ("an integer in a sequence", &[0x30, 3, 2, 1, 5], true),
            ("a long length", &long, true),
            ("nothing", &[], false),
            ("a trailing byte", &[0x30, 0, 0], false),
            ("an indefinite length", &[0x30, 0x80, 0, 0], false),
            ("a length of one byte in the long form", &[0x30, 0x81, 3, 2, 1, 5], false),
            ("an inner length in the long form", &[0x30, 4, 2, 0x81, 1, 5], false),
            ("a leading zero in the length", &[0x30, 0x82, 0, 3, 2, 1, 5], false),
            ("too short", &[0x30, 4, 2, 1, 5], false),
            ("a length beyond everything", &[0x30, 0x84, 255, 255, 255, 255], false),
            ("a high tag number", &[0x3f, 0x81, 0], false),
        ] {
            assert_eq!(is_canonical(input), expected, "{what}");
        }
        let deep = (0..40).fold(vec![], |inner, _| encode(tag::SEQUENCE, &inner));
        assert!(!is_canonical(&deep), "nesting is bounded");
    }

    #[test]
    fn integers_are_minimal_and_not_negative() {
        for (content, expected) in [
            (&[] as &[u8], None),
            (&[0], Some(&[] as &[u8])),
            (&[5], Some(&[5])),
            (&[0, 0x80], Some(&[0x80])),
            (&[0, 5], None),
            (&[0x80], None),
        ] {
            assert_eq!(magnitude(content), expected, "{content:?}");
        }
        for (value, expected) in [(&[] as &[u8], &[2_u8, 1, 0] as &[u8]), (&[0, 0, 0x80], &[2, 2, 0, 0x80]), (&[0x7f], &[2, 1, 0x7f])] {
            assert_eq!(encode_integer(value), expected);
        }
    }

    #[test]
    fn object_identifiers_are_dotted_or_hex() {
        for (content, expected) in [
            (&[0x55_u8, 4, 3] as &[u8], "2.5.4.3"),
            (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], "1.2.840.113549.1.9.1"),
            (&[0x88, 0x37, 3], "2.999.3"),
            (&[], "#"),
            (&[0x55, 0x84], "#5584"),
            (&[0x55, 0x80, 1], "#558001"),
            (&[0x55; 1], "2.5"),
        ] {
            assert_eq!(&*dotted(content), expected);
        }
        assert!(dotted(&[0xff; 30]).starts_with('#'));
    }
}
