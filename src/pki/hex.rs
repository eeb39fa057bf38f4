//! Hexadecimal, as operators paste it: any case, colons between bytes.

/// Reads an even number of hex digits; colons may stand between bytes, and nowhere else.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut rest = text.as_bytes();
    while let [high, low, after @ ..] = rest {
        bytes.push(digit(*high)? << 4 | digit(*low)?);
        rest = match after {
            [b':', next @ ..] if !next.is_empty() => next,
            _ => after,
        };
    }
    rest.is_empty().then_some(bytes)
}

/// Reads the 64 digits of a SHA-256 without colons, as long lists have them: the same as `decode`, without its allocation.
pub(super) fn digest(text: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let (mut bytes, mut wrong) = ([0; 32], 0);
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = (VALUES[usize::from(pair[0])], VALUES[usize::from(pair[1])]);
        wrong |= high | low;
        *byte = high << 4 | low;
    }
    (wrong & NO_DIGIT == 0).then_some(bytes)
}

/// Writes lower-case digits.
pub fn lower(bytes: &[u8]) -> String {
    encode(bytes, LOWER)
}

/// Writes upper-case digits.
pub fn upper(bytes: &[u8]) -> String {
    encode(bytes, b"0123456789ABCDEF")
}

/// Adds lower-case digits to a text.
pub fn push_lower(bytes: &[u8], text: &mut String) {
    push(bytes, LOWER, text);
}

fn encode(bytes: &[u8], digits: &[u8; 16]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    push(bytes, digits, &mut text);
    text
}

fn push(bytes: &[u8], digits: &[u8; 16], text: &mut String) {
    for byte in bytes {
        text.push(char::from(digits[usize::from(byte >> 4)]));
        text.push(char::from(digits[usize::from(byte & 15)]));
    }
}

fn digit(character: u8) -> Option<u8> {
    char::from(character).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

const LOWER: &[u8; 16] = b"0123456789abcdef";

/// By character; `NO_DIGIT` where it is none.
const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value: u8 = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value as usize] as usize] = value;
        values[b"0123456789ABCDEF"[value as usize] as usize] = value;
        value += 1;
    }
    values
};
const NO_DIGIT: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colons_stand_between_bytes_only() {
        for (text, expected) in [
            ("", Some(vec![])),
            ("0aFF", Some(vec![0x0a, 0xff])),
            ("0a:ff", Some(vec![0x0a, 0xff])),
            ("0:aff", None),
            ("0a:", None),
            (":0a", None),
            ("0a::ff", None),
            ("0", None),
            ("0g", None),
            ("é", None),
        ] {
            assert_eq!(decode(text), expected, "{text}");
        }
        for text in ["00".repeat(32), "fF09".repeat(16), format!("{}0g", "ab".repeat(31)), "é".repeat(32), "ab".repeat(31)] {
            assert_eq!(digest(&text).map(Vec::from), decode(&text).filter(|bytes| bytes.len() == 32), "{text}");
        }
        assert_eq!((lower(&[0x0a, 0xff]), upper(&[0x0a, 0xff])), ("0aff".into(), "0AFF".into()));
    }
}
