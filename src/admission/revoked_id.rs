//! Revoked ids: every notation an operator may have at hand, read into what it can hit.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::pki::{Certificate, Fingerprint, SpkiPin, hex};

/// A revoked id, in any of its notations.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RevokedId {
    source: Box<str>,
    pub(super) targets: Vec<Target>,
}

/// One way in which an id can hit a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Target {
    Fingerprint(Fingerprint),
    /// Magnitude without leading zeros.
    Serial(Box<[u8]>),
    SerialOfIssuer(Box<[u8]>, SpkiPin),
    Sha1([u8; 20]),
    Spki(SpkiPin),
    SubjectKeyId(Box<[u8]>),
}

/// What ids and certificates have in common, for whoever keeps ids by what they hit. The issuer of a serial is left aside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(Target);

impl Mark {
    /// Returns every mark that a certificate can be found by.
    pub fn all_of(certificate: &Certificate) -> Vec<Self> {
        let twins = [certificate.twin().map(Target::Fingerprint), certificate.twin_sha1().map(Target::Sha1)];
        let own = [
            Target::Fingerprint(certificate.fingerprint),
            Target::Serial(certificate.serial.clone()),
            Target::Sha1(certificate.sha1()),
            Target::Spki(certificate.spki_pin),
        ];
        let subject = certificate.subject_key_id.clone().map(Target::SubjectKeyId);
        own.into_iter().chain(twins.into_iter().flatten()).chain(subject).map(Self).collect()
    }

    /// Returns that of a certificate of which no more is known.
    pub fn of_fingerprint(fingerprint: Fingerprint) -> Self {
        Self(Target::Fingerprint(fingerprint))
    }

    /// Returns that of a key.
    pub fn of_key(key: SpkiPin) -> Self {
        Self(Target::Spki(key))
    }
}

/// Why a text is no revoked id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevokedIdError {
    NotAnId,
    NotASerial,
    NotBase64,
    NotHex,
    WrongLength,
}

impl RevokedId {
    /// Returns the id as it was written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Returns the marks that it hits by.
    pub fn marks(&self) -> impl Iterator<Item = Mark> + '_ {
        self.targets.iter().map(|target| match target {
            Target::SerialOfIssuer(serial, _) => Mark(Target::Serial(serial.clone())),
            target => Mark(target.clone()),
        })
    }

    /// Returns the fingerprint, where that is all it names.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        match &*self.targets {
            [Target::Fingerprint(fingerprint)] => Some(*fingerprint),
            _ => None,
        }
    }

    /// Returns the key, where that is all it names.
    pub fn key(&self) -> Option<SpkiPin> {
        match &*self.targets {
            [Target::Spki(key)] => Some(*key),
            _ => None,
        }
    }
}

impl FromStr for RevokedId {
    type Err = RevokedIdError;

    fn from_str(text: &str) -> Result<Self, RevokedIdError> {
        let text = text.trim();
        let targets = match text.split_once(':').map(|(kind, rest)| (kind.to_ascii_lowercase(), rest)) {
            Some((kind, rest)) if kind == "sha256" => {
                vec![Target::Fingerprint(digits(rest)?.parse().map_err(|_| RevokedIdError::WrongLength)?)]
            }
            Some((kind, rest)) if kind == "sha1" => vec![Target::Sha1(sha1(rest)?)],
            Some((kind, rest)) if kind == "ski" => vec![Target::SubjectKeyId(bytes(rest)?.into())],
            Some((kind, rest)) if kind == "spki" => vec![Target::Spki(spki(rest)?)],
            Some((kind, rest)) if kind == "serial" => vec![serial(rest)?],
            Some((kind, rest)) if kind == "serial-dec" => vec![Target::Serial(decimal(rest)?)],
            _ => bare(text)?,
        };
        Ok(Self { source: text.into(), targets })
    }
}

impl fmt::Display for RevokedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl fmt::Display for RevokedIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAnId => {
                "is no revoked id: sha256:HEX, spki:BASE64, serial:HEX, serial:HEX@spki:BASE64, serial-dec:N, ski:HEX, sha1:HEX, or bare hex"
            }
            Self::NotASerial => "is no serial number of at most 32 bytes",
            Self::NotBase64 => "is not the base64 of a SHA-256 (44 characters)",
            Self::NotHex => "is not hexadecimal",
            Self::WrongLength => "has not the number of hex digits that its kind has (SHA-256: 64, SHA-1: 40)",
        })
    }
}

impl std::error::Error for RevokedIdError {}

fn serial(text: &str) -> Result<Target, RevokedIdError> {
    match text.split_once('@') {
        None => Ok(Target::Serial(serial_hex(text)?)),
        Some((serial, issuer)) => {
            let key = issuer.strip_prefix("spki:").ok_or(RevokedIdError::NotAnId)?;
            Ok(Target::SerialOfIssuer(serial_hex(serial)?, spki(key)?))
        }
    }
}

/// Bare hex: by its number of digits.
fn bare(text: &str) -> Result<Vec<Target>, RevokedIdError> {
    let digits = digits(text).map_err(|_| RevokedIdError::NotAnId)?;
    let mut targets = match digits.len() {
        64 => return Ok(vec![Target::Fingerprint(digits.parse().map_err(|_| RevokedIdError::WrongLength)?)]),
        40 => vec![Target::Sha1(sha1(&digits)?), Target::SubjectKeyId(bytes(&digits)?.into()), Target::Serial(serial_hex(&digits)?)],
        _ => vec![Target::Serial(serial_hex(&digits)?)],
    };
    // A decimal serial looks like hex; whoever pasted it meant one of the two, and missing the right one would admit.
    let prefixed = text.get(..2).is_some_and(|prefix| prefix.eq_ignore_ascii_case("0x"));
    if !prefixed && digits.bytes().all(|digit| digit.is_ascii_digit()) {
        let serial = Target::Serial(decimal(&digits)?);
        if !targets.contains(&serial) {
            targets.push(serial);
        }
    }
    Ok(targets)
}

/// Returns the digits: `0x`, colons and blanks between them left out.
fn digits(text: &str) -> Result<String, RevokedIdError> {
    let text = text.trim();
    let text = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let digits: String = text.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
    match !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        true => Ok(digits),
        false => Err(RevokedIdError::NotHex),
    }
}

fn bytes(text: &str) -> Result<Vec<u8>, RevokedIdError> {
    let digits = digits(text)?;
    hex::decode(&digits).ok_or(RevokedIdError::WrongLength)
}

fn sha1(text: &str) -> Result<[u8; 20], RevokedIdError> {
    bytes(text)?.try_into().map_err(|_| RevokedIdError::WrongLength)
}

fn spki(text: &str) -> Result<SpkiPin, RevokedIdError> {
    let base64 = text.strip_prefix("sha256/").unwrap_or(text);
    // Both alphabets' worth of tools leave the padding away now and then.
    let padded = format!("{:=<44}", base64.trim());
    STANDARD.decode(&padded).ok().filter(|bytes| bytes.len() == 32).ok_or(RevokedIdError::NotBase64)?;
    format!("sha256/{padded}").parse().map_err(|_| RevokedIdError::NotBase64)
}

fn serial_hex(text: &str) -> Result<Box<[u8]>, RevokedIdError> {
    let digits = digits(text)?;
    let even = if digits.len() % 2 == 0 { digits } else { format!("0{digits}") };
    magnitude(hex::decode(&even).ok_or(RevokedIdError::NotHex)?)
}

fn decimal(text: &str) -> Result<Box<[u8]>, RevokedIdError> {
    let text = text.trim();
    if text.is_empty() || text.len() > 100 || !text.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(RevokedIdError::NotASerial);
    }
    let mut number: Vec<u8> = Vec::new();
    for digit in text.bytes() {
        let mut carry = u16::from(digit - b'0');
        for byte in number.iter_mut().rev() {
            let value = u16::from(*byte) * 10 + carry;
            *byte = value.to_le_bytes()[0];
            carry = value >> 8;
        }
        if carry > 0 {
            number.insert(0, carry.to_le_bytes()[0]);
        }
    }
    magnitude(number)
}

/// Drops leading zeros. RFC 5280, 4.1.2.2, knows 20 bytes; what is found in the wild is somewhat longer.
fn magnitude(bytes: Vec<u8>) -> Result<Box<[u8]>, RevokedIdError> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    if bytes.len() - zeros > 32 { Err(RevokedIdError::NotASerial) } else { Ok(bytes[zeros..].into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(text: &str) -> Vec<Target> {
        text.parse::<RevokedId>().unwrap_or_else(|error| panic!("{text}: {error}")).targets
    }

    fn serial_of(bytes: &[u8]) -> Target {
        Target::Serial(bytes.into())
    }

    #[test]
    fn every_notation_is_read() {
        let sha256 = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
        let fingerprint = Target::Fingerprint(sha256.parse().expect("a fingerprint"));
        let pin: SpkiPin = "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".parse().expect("a pin");
        let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let sha1 = [0xab; 20];
        let forty = "ab".repeat(20);
        for (text, expected) in [
            (format!("sha256:{sha256}"), vec![fingerprint.clone()]),
            (format!("SHA256:{}", sha256.to_uppercase()), vec![fingerprint.clone()]),
            (sha256.to_owned(), vec![fingerprint.clone()]),
            ("00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:".repeat(2).trim_end_matches(':').to_owned(), vec![fingerprint]),
            (format!("spki:{key}"), vec![Target::Spki(pin)]),
            (format!("spki:sha256/{key}"), vec![Target::Spki(pin)]),
            (format!("spki:{}", key.trim_end_matches('=')), vec![Target::Spki(pin)]),
            (format!("serial:2AFD1E75@spki:{key}"), vec![Target::SerialOfIssuer([0x2a, 0xfd, 0x1e, 0x75].as_slice().into(), pin)]),
            ("serial:2AFD1E75".into(), vec![serial_of(&[0x2a, 0xfd, 0x1e, 0x75])]),
            ("serial:0x2afd1e75".into(), vec![serial_of(&[0x2a, 0xfd, 0x1e, 0x75])]),
            ("serial:00:2A:FD".into(), vec![serial_of(&[0x2a, 0xfd])]),
            ("serial:123".into(), vec![serial_of(&[1, 0x23])]),
            ("serial-dec:256".into(), vec![serial_of(&[1, 0])]),
            ("serial-dec:0".into(), vec![serial_of(&[])]),
            ("serial-dec:18446744073709551616".into(), vec![serial_of(&[1, 0, 0, 0, 0, 0, 0, 0, 0])]),
            (format!("ski:{forty}"), vec![Target::SubjectKeyId(sha1.as_slice().into())]),
            (format!("sha1:{forty}"), vec![Target::Sha1(sha1)]),
            (forty, vec![Target::Sha1(sha1), Target::SubjectKeyId(sha1.as_slice().into()), serial_of(&sha1)]),
            ("2AFD1E75".into(), vec![serial_of(&[0x2a, 0xfd, 0x1e, 0x75])]),
            ("0x2AFD1E75".into(), vec![serial_of(&[0x2a, 0xfd, 0x1e, 0x75])]),
            ("2a:fd:1e:75".into(), vec![serial_of(&[0x2a, 0xfd, 0x1e, 0x75])]),
            ("0001".into(), vec![serial_of(&[1])]),
            ("0256".into(), vec![serial_of(&[2, 0x56]), serial_of(&[1, 0])]),
            ("0x0256".into(), vec![serial_of(&[2, 0x56])]),
            ("a".into(), vec![serial_of(&[0x0a])]),
        ] {
            assert_eq!(targets(&text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for (text, expected) in [
            ("", RevokedIdError::NotAnId),
            ("hello", RevokedIdError::NotAnId),
            ("serial:", RevokedIdError::NotHex),
            ("serial:xyz", RevokedIdError::NotHex),
            ("serial:01@ski:00", RevokedIdError::NotAnId),
            ("serial:01@spki:AAAA", RevokedIdError::NotBase64),
            ("serial-dec:1f", RevokedIdError::NotASerial),
            ("sha256:abcd", RevokedIdError::WrongLength),
            ("sha1:abcd", RevokedIdError::WrongLength),
            ("ski:abc", RevokedIdError::WrongLength),
            ("spki:xyz", RevokedIdError::NotBase64),
            ("md5:00112233", RevokedIdError::NotAnId),
        ] {
            assert_eq!(text.parse::<RevokedId>(), Err(expected), "{text}");
        }
        assert_eq!("f".repeat(66).parse::<RevokedId>(), Err(RevokedIdError::NotASerial));
    }
}
