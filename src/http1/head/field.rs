//! One line of a head: a name, a colon, a value (RFC 9112, 5). As strict as `httparse`, with which a test compares it, and told where
//! everything lies.

use std::ops::Range;

use super::{Fault, NO_LINE, NO_NAME, NO_VALUE};

/// Where the parts of a line lie.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) name: Range<usize>,
    /// Without the white space around it.
    pub(super) value: Range<usize>,
    /// Behind its end.
    pub(super) end: usize,
}

/// Reads the line that begins there; `None`: it is the empty one.
pub(super) fn read(head: &[u8], at: usize) -> Result<Option<Line>, Fault> {
    let colon = at + length(&head[at..], |byte| TOKEN[usize::from(byte)]);
    match head.get(colon) {
        Some(b':') if colon > at => {}
        // RFC 9112, 2.2.
        Some(b'\r') if colon == at => return end(head, at).map(|_| None).ok_or(Fault::Malformed(NO_LINE)),
        // RFC 9112, 5 and 5.1: a token, nothing between it and its colon. A folded line (5.2) has no name, either.
        _ => return Err(Fault::Malformed(NO_NAME)),
    }
    let from = colon + 1 + length(&head[colon + 1..], is_blank);
    // RFC 9110, 5.5: no CR, LF, NUL, or other control character but a tab.
    let to = from + length(&head[from..], |byte| byte >= b' ' && byte != 0x7f || byte == b'\t');
    let end = end(head, to).ok_or(Fault::Malformed(NO_VALUE))?;
    let blank = head[from..to].iter().rev().take_while(|byte| is_blank(**byte)).count();
    Ok(Some(Line { name: at..colon, value: from..to - blank, end }))
}

/// Returns how many of the first bytes are of a kind.
fn length(bytes: &[u8], is_of_it: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|byte| !is_of_it(*byte)).unwrap_or(bytes.len())
}

fn end(head: &[u8], at: usize) -> Option<usize> {
    (head.get(at..at + 2)? == b"\r\n").then_some(at + 2)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// RFC 9110, 5.6.2.
static TOKEN: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], 0);
    while byte < table.len() {
        table[byte] =
            matches!(byte as u8, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'^'..=b'z' | b'|' | b'~');
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    type Lines<'a> = Vec<(&'a [u8], &'a [u8])>;

    /// Reads as many lines as there are.
    fn lines(head: &[u8]) -> Result<Lines<'_>, Fault> {
        let (mut lines, mut at) = (Vec::new(), 0);
        while let Some(line) = read(head, at)? {
            lines.push((&head[line.name], &head[line.value]));
            at = line.end;
        }
        Ok(lines)
    }

    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(self.0 >> 33).unwrap() % bound
        }
    }

    #[test]
    fn lines_are_read_as_another_parser_reads_them() {
        let pieces: [&[u8]; 16] =
            [b"host", b"X-A", b":", b": ", b" ", b"\t", b"a b", b"\r\n", b"\r\n", b"A: 1\r\n", b"\r", b"\0", b"\x7f", b"\xe9", b"(", b"~|"];
        let mut random = Random(17);
        let (mut good, mut bad) = (0, 0);
        for _ in 0..200_000 {
            let mut head: Vec<u8> = b"A: 1\r\nx-b:  2\t\r\n".to_vec();
            for _ in 0..random.below(6) {
                let at = random.below(head.len() + 1);
                let byte = [random.below(256) as u8];
                let piece = if random.below(4) == 0 { &byte[..] } else { pieces[random.below(pieces.len())] };
                head.splice(at..at, piece.iter().copied());
            }
            head.extend_from_slice(b"\r\n\r\n");
            // A bare line feed is refused before a line is read.
            if head.iter().enumerate().any(|(at, byte)| *byte == b'\n' && (at == 0 || head[at - 1] != b'\r')) {
                continue;
            }
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let expected = match httparse::parse_headers(&head, &mut headers) {
                Ok(httparse::Status::Complete((_, fields))) => {
                    Ok(fields.iter().map(|field| (field.name.as_bytes(), field.value)).collect())
                }
                Ok(httparse::Status::Partial) => panic!("{:?} has an end", String::from_utf8_lossy(&head)),
                Err(error) => Err(super::super::fault(error)),
            };
            if expected.is_ok() {
                good += 1
            } else {
                bad += 1
            }
            assert_eq!(lines(&head), expected, "{:?}", String::from_utf8_lossy(&head));
        }
        assert!(good > 10_000 && bad > 10_000, "{good} and {bad}");
    }

    #[test]
    fn a_name_is_a_token() {
        for byte in 0..=u8::MAX {
            let is_token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            assert_eq!(TOKEN[usize::from(byte)], is_token, "{byte:#x}");
        }
    }
}
