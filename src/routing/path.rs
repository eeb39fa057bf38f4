//! One normal form of a path, judged *and* forwarded: what is judged and what the upstream reads can then
//! not be two different things. `request` normalises once; `Routes` judges what comes out. Pure.

use std::borrow::Cow;

use http::uri::PathAndQuery;

/// A path in normal form, with what was noticed on the way. Borrows where the path was normal already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormalPath<'a> {
    /// Judged and forwarded.
    pub text: Cow<'a, str>,
    /// A `;` somewhere: what stands behind it is dropped by some upstreams before they look the path up.
    pub has_parameters: bool,
    /// A `%2F` somewhere: a slash to some upstreams, a letter to others.
    pub has_encoded_slash: bool,
}

/// Why a path has no normal form, or none that its route takes: answered 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// Two readings of the path lead to different routes.
    Ambiguous,
    Backslash,
    BadEscape,
    Control,
    DotSegmentWithEncodedSlash,
    DotSegmentWithParameters,
    /// `encoded_slash = "refuse"`.
    EncodedSlash,
    InvalidUtf8,
    /// Not a path: no leading slash, or a `?`, `#` or space inside.
    NotAPath,
    /// A `;` on a route with rules.
    Parameters,
}

/// Brings a path (without query) into its normal form: unreserved characters decoded, escapes in upper case,
/// what a path may not hold escaped, dot segments removed (RFC 3986, 5.2.4), `//` merged. An empty path is `/`.
pub fn normalise(path: &str) -> Result<NormalPath<'_>, PathError> {
    // RFC 9112, 3.2: the target of OPTIONS may be `*`, which no route has; an absolute form may have no path.
    if path.is_empty() || path == "*" {
        let text = Cow::Borrowed(if path.is_empty() { "/" } else { path });
        return Ok(NormalPath { text, has_parameters: false, has_encoded_slash: false });
    }
    if !path.starts_with('/') {
        return Err(PathError::NotAPath);
    }
    let scan = Scan::of(path.as_bytes())?;
    if scan.is_normal {
        return Ok(NormalPath {
            text: Cow::Borrowed(path),
            has_parameters: scan.has_parameters,
            has_encoded_slash: scan.has_encoded_slash,
        });
    }
    let text = merge_slashes(&remove_dot_segments(&respell(path.as_bytes())?));
    // Again, of what is left: `..` may have taken the segment away.
    Ok(NormalPath { has_parameters: text.contains(';'), has_encoded_slash: text.contains("%2F"), text: Cow::Owned(text) })
}

impl NormalPath<'_> {
    /// Returns the path as some upstreams read it: each segment without what follows its `;`.
    pub(super) fn without_parameters(&self) -> Cow<'_, str> {
        if !self.has_parameters {
            return Cow::Borrowed(&self.text);
        }
        let mut bare = String::with_capacity(self.text.len());
        for segment in self.text.split('/').skip(1) {
            bare.push('/');
            bare.push_str(segment.split_once(';').map_or(segment, |(name, _)| name));
        }
        Cow::Owned(merge_slashes(&bare))
    }

    /// Returns the path as some upstreams read it: each `%2F` a slash.
    pub(super) fn with_slashes_decoded(&self) -> Cow<'_, str> {
        if !self.has_encoded_slash {
            return Cow::Borrowed(&self.text);
        }
        Cow::Owned(merge_slashes(&self.text.replace("%2F", "/")))
    }

    /// Returns the request target to forward: this path with the query of the original, which is passed on as it came.
    pub fn target(&self, original: &PathAndQuery) -> PathAndQuery {
        if original.path() == self.text {
            return original.clone();
        }
        let target = match original.query() {
            Some(query) => format!("{}?{query}", self.text),
            None => self.text.to_string(),
        };
        // INVARIANT: a normal path is ASCII without space, `?` and `#`, and the query was parsed before.
        PathAndQuery::try_from(target).unwrap_or_else(|_| PathAndQuery::from_static("/"))
    }
}

impl PathError {
    /// Says why, for the log.
    pub fn why(self) -> &'static str {
        match self {
            Self::Ambiguous => "without its parameters, or with its encoded slashes decoded, the path leads to another route",
            Self::Backslash => "a backslash in the path",
            Self::BadEscape => "a % in the path without two hex digits",
            Self::Control => "a control character in the path",
            Self::DotSegmentWithEncodedSlash => "a dot segment beside an encoded slash",
            Self::DotSegmentWithParameters => "a segment of dots with a parameter",
            Self::EncodedSlash => "an encoded slash, and the route has encoded_slash = \"refuse\"",
            Self::InvalidUtf8 => "the path is not UTF-8",
            Self::NotAPath => "the target is no path",
            Self::Parameters => "a path parameter on a route with rules, and no path_parameters = \"judge-without\"",
        }
    }
}

/// What one pass over the bytes found. Nothing is written here, so that a normal path costs no allocation.
struct Scan {
    is_normal: bool,
    has_parameters: bool,
    has_encoded_slash: bool,
}

/// The piece between two slashes, encoded ones included.
#[derive(Default)]
struct Piece {
    length: usize,
    other_than_dots: bool,
}

impl Piece {
    fn push(&mut self, byte: u8) {
        self.length += 1;
        self.other_than_dots |= byte != b'.';
    }

    fn is_dots(&self) -> bool {
        self.length > 0 && !self.other_than_dots
    }

    fn is_dot_segment(&self) -> bool {
        self.is_dots() && self.length <= 2
    }
}

impl Scan {
    fn of(bytes: &[u8]) -> Result<Self, PathError> {
        let mut scan = Self { is_normal: true, has_parameters: false, has_encoded_slash: false };
        let (mut piece, mut slashed) = (Piece::default(), false);
        let mut at = 1;
        while let Some(&byte) = bytes.get(at) {
            let mut next = at + 1;
            match Class::of(byte) {
                Class::Plain => piece.push(byte),
                Class::Slash => {
                    scan.end_segment(&piece, slashed)?;
                    scan.is_normal &= piece.length > 0 || slashed;
                    (piece, slashed) = (Piece::default(), false);
                }
                Class::Semicolon => {
                    scan.has_parameters = true;
                    // `/..;/` is a dot segment to an upstream that drops parameters first.
                    if piece.is_dots() {
                        return Err(PathError::DotSegmentWithParameters);
                    }
                    piece.push(byte);
                }
                Class::Percent => {
                    let escape = Escape::read(bytes, at)?;
                    next = at + escape.length;
                    scan.is_normal &= escape.is_normal;
                    match escape.first {
                        b'/' if piece.is_dot_segment() => return Err(PathError::DotSegmentWithEncodedSlash),
                        b'/' => {
                            scan.has_encoded_slash = true;
                            (piece, slashed) = (Piece::default(), true);
                        }
                        b';' if piece.is_dots() => return Err(PathError::DotSegmentWithParameters),
                        first => piece.push(first),
                    }
                }
                Class::Escape => {
                    scan.is_normal = false;
                    piece.push(byte);
                }
                Class::Refused(why) => return Err(why),
            }
            at = next;
        }
        scan.end_segment(&piece, slashed)?;
        Ok(scan)
    }

    fn end_segment(&mut self, piece: &Piece, slashed: bool) -> Result<(), PathError> {
        match (piece.is_dot_segment(), slashed) {
            (true, true) => return Err(PathError::DotSegmentWithEncodedSlash),
            (true, false) => self.is_normal = false,
            (false, _) => {}
        }
        Ok(())
    }
}

/// What a raw byte of a path is (RFC 3986, 3.3).
enum Class {
    /// Needs its escape: no `pchar`, or the UTF-8 of other than ASCII.
    Escape,
    Percent,
    Plain,
    Refused(PathError),
    Semicolon,
    Slash,
}

impl Class {
    fn of(byte: u8) -> Self {
        match byte {
            b'/' => Self::Slash,
            b'%' => Self::Percent,
            b';' => Self::Semicolon,
            b'\\' => Self::Refused(PathError::Backslash),
            b'?' | b'#' | b' ' => Self::Refused(PathError::NotAPath),
            0..=0x1f | 0x7f => Self::Refused(PathError::Control),
            _ if is_unreserved(byte) => Self::Plain,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@' => Self::Plain,
            _ => Self::Escape,
        }
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// One escaped character: a byte of ASCII, or the whole of a UTF-8 sequence.
struct Escape {
    /// The first byte it stands for.
    first: u8,
    /// How many bytes of the path it takes.
    length: usize,
    /// Stays as it is: reserved or not ASCII (decoding could change the meaning), with its digits in upper case.
    is_normal: bool,
}

impl Escape {
    fn read(bytes: &[u8], at: usize) -> Result<Self, PathError> {
        let (first, mut is_normal) = escaped_byte(bytes, at)?;
        let width = match first {
            b'\\' => return Err(PathError::Backslash),
            0..=0x1f | 0x7f => return Err(PathError::Control),
            0..=0x7f => return Ok(Self { first, length: 3, is_normal: is_normal && !is_unreserved(first) }),
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => return Err(PathError::InvalidUtf8),
        };
        let mut sequence = [first, 0, 0, 0];
        for (n, byte) in sequence.iter_mut().enumerate().take(width).skip(1) {
            let (value, upper) = escaped_byte(bytes, at + 3 * n).map_err(|_| PathError::InvalidUtf8)?;
            *byte = value;
            is_normal &= upper;
        }
        match std::str::from_utf8(&sequence[..width]) {
            Ok(text) if text.chars().any(char::is_control) => Err(PathError::Control),
            Ok(_) => Ok(Self { first, length: 3 * width, is_normal }),
            Err(_) => Err(PathError::InvalidUtf8),
        }
    }
}

/// Reads `%XX`: the byte, and whether its digits are in upper case.
fn escaped_byte(bytes: &[u8], at: usize) -> Result<(u8, bool), PathError> {
    let Some(&[b'%', high, low]) = bytes.get(at..at + 3) else { return Err(PathError::BadEscape) };
    let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(PathError::BadEscape);
    let value = digit(high)? * 16 + digit(low)?;
    let upper = !high.is_ascii_lowercase() && !low.is_ascii_lowercase();
    // INVARIANT: two hex digits make at most 255.
    Ok((u8::try_from(value).map_err(|_| PathError::BadEscape)?, upper))
}

/// Decodes what is unreserved, escapes what has to be, puts escapes in upper case.
fn respell(bytes: &[u8]) -> Result<String, PathError> {
    let mut out = String::with_capacity(bytes.len() + 16);
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match Class::of(byte) {
            Class::Percent => {
                let (value, _) = escaped_byte(bytes, at)?;
                if is_unreserved(value) {
                    out.push(char::from(value))
                } else {
                    push_escaped(&mut out, value)
                }
                at += 3;
                continue;
            }
            Class::Escape => push_escaped(&mut out, byte),
            Class::Plain | Class::Semicolon | Class::Slash => out.push(char::from(byte)),
            Class::Refused(why) => return Err(why),
        }
        at += 1;
    }
    Ok(out)
}

fn push_escaped(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

/// RFC 3986, 5.2.4, on segments; `..` at the top stays at the top.
fn remove_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let dots = matches!(segment, "." | "..");
        if segment == ".." {
            kept.pop();
        }
        if !dots {
            kept.push(segment);
        } else if segments.peek().is_none() {
            // `/a/..` names the directory: `/`, with its slash.
            kept.push("");
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in kept {
        out.push('/');
        out.push_str(segment);
    }
    out
}

fn merge_slashes(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for character in path.chars() {
        if character != '/' || !out.ends_with('/') {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests;
