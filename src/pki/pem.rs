//! PEM (RFC 7468), strict where a lenient reader would lose a block without a word: a boundary that is not
//! whole, a block without end, bad base64. Text between blocks is comment. Errors never echo content.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::{memchr, memchr_iter};
use zeroize::Zeroizing;

use super::files::FileError;

/// One block, not yet decoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block<'a> {
    /// Of its BEGIN; 1-based.
    pub(super) line: u32,
    pub(super) label: &'a str,
    body: &'a [u8],
}

impl Block<'_> {
    /// Decodes the body; `text` is scratch space, so that a million blocks are not a million allocations.
    pub(super) fn decode(&self, text: &mut Vec<u8>) -> Result<Vec<u8>, FileError> {
        text.clear();
        let mut from = 0;
        for end in memchr_iter(b'\n', self.body).chain([self.body.len()]) {
            text.extend_from_slice(self.body[from..end].trim_ascii());
            from = end + 1;
        }
        let decoded = STANDARD.decode(&*text).ok().filter(|der| !der.is_empty());
        decoded.ok_or_else(|| FileError::at(self.first_bad_line(), "bad base64 in a PEM block; copy the file again"))
    }

    fn first_bad_line(&self) -> u32 {
        let base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
        let bad = self.body.split(|byte| *byte == b'\n').position(|line| !line.trim_ascii().iter().all(base64));
        // The body begins with the line feed of the BEGIN line.
        self.line.saturating_add(bad.and_then(|index| u32::try_from(index).ok()).unwrap_or(0))
    }
}

/// Iterates over the blocks of a text; ends after the first error.
#[derive(Clone, Debug)]
pub(super) struct Blocks<'a> {
    rest: &'a [u8],
    line: u32,
}

impl<'a> Blocks<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { rest: text, line: 1 }
    }

    /// Returns how many lines were passed so far.
    pub(super) fn lines(&self) -> u32 {
        self.line - 1
    }

    fn block(&mut self) -> Result<Option<Block<'a>>, FileError> {
        let mut comment = 0;
        while !self.rest.is_empty() {
            let (line, after) = first_line(self.rest);
            comment += line.len();
            if comment > MAX_COMMENT {
                return Err(FileError::at(self.line, "more than 1 MiB of text without a PEM block: this is no PEM file"));
            }
            if let Some(label) = boundary(line.trim_ascii(), b"-----BEGIN ") {
                let block = self.body(label, line.len());
                return block.map(Some);
            }
            self.refuse(line)?;
            self.rest = after;
            self.line = self.line.saturating_add(1);
        }
        Ok(None)
    }

    /// Reads on from a BEGIN line, of `begin` bytes, to its END.
    fn body(&mut self, label: &'a str, begin: usize) -> Result<Block<'a>, FileError> {
        let endless = || FileError::at(self.line, &format!("the {} block that begins here has no end: the file is cut off", shown(label)));
        // From the line feed of the BEGIN line on.
        let text = &self.rest[begin - 1..];
        if !text.starts_with(b"\n") {
            return Err(endless());
        }
        let end = memchr(b'-', text).ok_or_else(endless)?;
        let (body, tail) = text.split_at(end);
        let (end_line, after) = first_line(tail);
        let own_line = body.iter().rev().find(|byte| !matches!(byte, b' ' | b'\t')) == Some(&b'\n');
        if !own_line || boundary(end_line.trim_ascii(), b"-----END ") != Some(label) {
            return Err(match end_line.contains(&b':') {
                true => FileError::at(self.line, "this block is encrypted in OpenSSL's old form; convert it with `openssl pkcs8 -topk8`"),
                false => endless(),
            });
        }
        let block = Block { line: self.line, label, body };
        let lines = memchr_iter(b'\n', body).count();
        self.rest = after;
        self.line = self.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX)).saturating_add(1);
        Ok(block)
    }

    /// Refuses a line outside blocks that is no comment.
    fn refuse(&self, line: &[u8]) -> Result<(), FileError> {
        if line.contains(&0) {
            return Err(FileError::at(self.line, "binary bytes; neither PEM (in ASCII or UTF-8) nor DER"));
        }
        if line.windows(10).any(|window| window == b"-----BEGIN" || window.starts_with(b"-----END ")) {
            return Err(FileError::at(self.line, "a PEM boundary that is not whole, not alone on its line, or without its other half"));
        }
        Ok(())
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Result<Block<'a>, FileError>;

    fn next(&mut self) -> Option<Self::Item> {
        let block = self.block().transpose();
        if matches!(block, Some(Err(_))) {
            self.rest = &[];
        }
        block
    }
}

/// Returns a label as an error may show it: no content that got into its place.
pub(super) fn shown(label: &str) -> Cow<'_, str> {
    let plain = label.len() <= 32 && label.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' ');
    if plain { label.into() } else { "PEM".into() }
}

/// Encodes a block, as RFC 7468 has it.
pub(super) fn encode(label: &str, der: &[u8]) -> String {
    let text = Zeroizing::new(STANDARD.encode(der));
    // Room from the start: what is encoded may be a key, and a string that grows leaves copies behind.
    let mut out = String::with_capacity(text.len() + text.len() / 64 + 2 * label.len() + 48);
    out.extend(["-----BEGIN ", label, "-----\n"]);
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        out.extend([line, "\n"]);
        rest = after;
    }
    out.extend(["-----END ", label, "-----\n"]);
    out
}

/// Returns where a text of PEM can be cut near `at`, so that both parts are read as the whole would be.
pub(super) fn cut_near(text: &[u8], at: usize) -> usize {
    let begin = b"\n-----BEGIN ";
    let found = text.get(at..).and_then(|rest| rest.windows(begin.len()).position(|window| window == begin));
    found.map_or(text.len(), |offset| at + offset + 1)
}

fn boundary<'a>(line: &'a [u8], start: &[u8]) -> Option<&'a str> {
    let label = line.strip_prefix(start)?.strip_suffix(b"-----")?;
    std::str::from_utf8(label).ok().filter(|label| !label.is_empty() && !label.contains("-----"))
}

/// Splits after the first line feed; looks no further than a comment may reach.
fn first_line(text: &[u8]) -> (&[u8], &[u8]) {
    let window = &text[..text.len().min(MAX_COMMENT + 1)];
    let end = memchr(b'\n', window).map_or(window.len(), |at| at + 1);
    text.split_at(end)
}

/// `openssl x509 -text` in front of a certificate is some kilobytes.
const MAX_COMMENT: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(u32, String, Vec<u8>)>, FileError> {
        Blocks::new(text.as_bytes())
            .map(|block| block.and_then(|block| Ok((block.line, block.label.to_owned(), block.decode(&mut Vec::new())?))))
            .collect()
    }

    #[test]
    fn blocks_are_found_with_their_lines() {
        let abc = |line| (line, "X".to_owned(), b"abc".to_vec());
        for (text, expected) in [
            ("", vec![]),
            ("no blocks - at all\n", vec![]),
            ("-----BEGIN X-----\nYWJj\n-----END X-----", vec![abc(1)]),
            (
                "# one\r\n-----BEGIN X-----\r\nYW\r\nJj\r\n-----END X-----\r\nBag Attributes\r\n-----BEGIN X-----\nYWJj\n-----END X-----\n",
                vec![abc(2), abc(7)],
            ),
            ("  -----BEGIN X-----\n  YWJj\n\n  -----END X-----  \n", vec![abc(1)]),
            ("\n\n-----BEGIN A B-----\nYWJj\n-----END A B-----\n", vec![(3, "A B".to_owned(), b"abc".to_vec())]),
        ] {
            assert_eq!(read(text), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn nothing_is_lost_without_a_word() {
        for (line, text) in [
            (1, "-----BEGIN X-----\nYWJj\n"),
            (1, "-----BEGIN X-----\nYWJj"),
            (1, "-----BEGIN X-----"),
            (1, "-----BEGIN X-----\nYWJj\n-----END Y-----\n"),
            (1, "-----BEGIN X-----\nYWJj\n-----END X----\n"),
            (1, "-----BEGIN X-----\nYWJj-----END X-----\n"),
            (1, "-----BEGIN X-----\nYWJj\n-----BEGIN X-----\nYWJj\n-----END X-----\n"),
            (1, "-----BEGIN X-----YWJj-----END X-----\n"),
            (2, "\n-----BEGIN X----\nYWJj\n-----END X-----\n"),
            (2, "\n# -----BEGIN X-----\n"),
            (3, "\nYWJj\n-----END X-----\n"),
            (1, "a\0b"),
            (3, "-----BEGIN X-----\nYWJj\nYW!j\n-----END X-----\n"),
            (1, "-----BEGIN X-----\nYWJ\n-----END X-----\n"),
            (1, "-----BEGIN X-----\n-----END X-----\n"),
            (1, "-----BEGIN X-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nYWJj\n-----END X-----\n"),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.line, line, "{text:?}: {error}");
            assert!(!error.why.contains("YW"), "content is never echoed: {error}");
        }
    }

    #[test]
    fn the_old_encrypted_form_is_told_from_a_file_cut_off() {
        let error = read("-----BEGIN X-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nYWJj\n-----END X-----\n").unwrap_err();
        assert!(error.why.contains("openssl pkcs8"), "{error}");
    }

    #[test]
    fn text_without_end_is_refused_early() {
        let text = vec![b'a'; 64 * MAX_COMMENT];
        assert!(Blocks::new(&text).next().is_some_and(|block| block.is_err()));
        let lines = b"a comment\n".repeat(MAX_COMMENT / 5);
        assert!(Blocks::new(&lines).next().is_some_and(|block| block.is_err()));
    }

    #[test]
    fn a_cut_falls_between_blocks() {
        let block = "-----BEGIN X-----\nYWJj\n-----END X-----\n";
        let text = block.repeat(3);
        for at in 0..text.len() + 2 {
            let cut = cut_near(text.as_bytes(), at);
            assert!(cut == text.len() || (cut >= at && cut.is_multiple_of(block.len())), "{at} -> {cut}");
        }
    }
}
