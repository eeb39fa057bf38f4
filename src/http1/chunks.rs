//! The strict reading of chunked framing (RFC 9112, 7.1), byte by byte over whatever arrives: data stays where it is,
//! nothing is copied but the trailer section, which is judged as a whole.

use http::HeaderMap;

use super::head::{Fault, find_end, read_trailers};

/// Where in a chunked body we are.
#[derive(Debug)]
pub(super) struct Chunks {
    place: Place,
    /// Bytes of framing since the last data: sizes, extensions and trailers are bounded.
    framing: usize,
    trailers: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// This many bytes of data are left.
    Data(u64),
    DataReturn,
    DataFeed,
    Done,
    /// Behind the size of a chunk of so many bytes.
    Extension(u64, Extension),
    Size {
        digits: u8,
        size: u64,
    },
    SizeFeed(u64),
    /// In the trailer section, of which this many bytes were scanned.
    Trailers(usize),
}

/// Where in the extensions of a chunk we are. RFC 9112, 7.1.1: `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extension {
    AfterName,
    AfterValue,
    /// Behind a backslash.
    Escaped,
    /// A name begins.
    Name,
    InName,
    InToken,
    Quoted,
    Unquoted,
    /// A value begins.
    Value,
}

impl Chunks {
    pub(super) fn new() -> Self {
        Self { place: START, framing: 0, trailers: Vec::new() }
    }

    /// Says whether the body has ended.
    pub(super) fn is_done(&self) -> bool {
        self.place == Place::Done
    }

    /// Reads framing up to the next data, the end, or more to come; returns how many bytes that was.
    pub(super) fn skip_framing(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut at = 0;
        while at < bytes.len() && !matches!(self.place, Place::Data(_) | Place::Done) {
            self.framing += 1;
            if self.framing > MAX_FRAMING {
                return Err(Fault::Malformed("the framing of a chunk is too long"));
            }
            self.place = self.step(bytes[at])?;
            at += 1;
        }
        Ok(at)
    }

    /// Takes as many bytes of data as there are of these many, and returns how many.
    pub(super) fn take_data(&mut self, bytes: usize) -> usize {
        let Place::Data(left) = self.place else { return 0 };
        let here = left.min(bytes as u64);
        self.place = if left == here { Place::DataReturn } else { Place::Data(left - here) };
        self.framing = 0;
        // INVARIANT: at most `bytes`.
        here as usize
    }

    /// Returns the trailers, once the body has ended; `None` where there are none.
    pub(super) fn take_trailers(&mut self) -> Result<Option<HeaderMap>, Fault> {
        let trailers = std::mem::take(&mut self.trailers);
        if trailers.len() <= 2 { Ok(None) } else { read_trailers(&trailers).map(Some) }
    }

    fn step(&mut self, byte: u8) -> Result<Place, Fault> {
        match (self.place, byte) {
            (Place::Size { digits, size }, _) if byte.is_ascii_hexdigit() => {
                // RFC 9112, 7.1: large numbers are to be expected. 15 digits: far from where a size could overflow anybody's integer.
                if digits == 15 {
                    return Err(Fault::Malformed("a chunk's size is too large"));
                }
                Ok(Place::Size { digits: digits + 1, size: size << 4 | u64::from(hex(byte)) })
            }
            // RFC 9112, 7.1: `1*HEXDIG`; no sign, no prefix, no space on either side.
            (Place::Size { digits: 0, .. }, _) => Err(Fault::Malformed("a chunk has no size")),
            (Place::Size { size, .. }, b'\r') => Ok(Place::SizeFeed(size)),
            // RFC 9112, 7.1.1: an extension that is not known is passed over, and we know none; one that is none is a bad chunk.
            (Place::Size { size, .. }, b';') => Ok(Place::Extension(size, Extension::Name)),
            (Place::Extension(size, at), b'\r') if at.may_end() => Ok(Place::SizeFeed(size)),
            (Place::Extension(size, at), _) => match at.step(byte) {
                Some(next) => Ok(Place::Extension(size, next)),
                None => Err(Fault::Malformed("a chunk's extension is none")),
            },
            (Place::SizeFeed(0), b'\n') => Ok(Place::Trailers(0)),
            (Place::SizeFeed(size), b'\n') => Ok(Place::Data(size)),
            (Place::DataReturn, b'\r') => Ok(Place::DataFeed),
            (Place::DataFeed, b'\n') => Ok(START),
            (Place::Trailers(_), _) => self.trailer(byte),
            _ => Err(Fault::Malformed("a chunk is not framed as such")),
        }
    }

    fn trailer(&mut self, byte: u8) -> Result<Place, Fault> {
        self.trailers.push(byte);
        if byte != b'\n' {
            return Ok(Place::Trailers(self.trailers.len()));
        }
        // No trailers at all, or the empty line that ends them.
        if self.trailers == b"\r\n" {
            return Ok(Place::Done);
        }
        match find_end(&self.trailers, self.trailers.len() - 1)? {
            Some(_) => Ok(Place::Done),
            None => Ok(Place::Trailers(self.trailers.len())),
        }
    }
}

impl Extension {
    fn step(self, byte: u8) -> Option<Self> {
        let next = match (self, byte) {
            (Self::Name | Self::InName, _) if is_token(byte) => Self::InName,
            (Self::Value | Self::InToken, _) if is_token(byte) => Self::InToken,
            (Self::Name | Self::Value | Self::AfterName | Self::AfterValue, b' ' | b'\t') => self,
            (Self::InName, b' ' | b'\t') => Self::AfterName,
            (Self::InToken | Self::Unquoted, b' ' | b'\t') => Self::AfterValue,
            (Self::InName | Self::AfterName, b'=') => Self::Value,
            (Self::InName | Self::AfterName | Self::InToken | Self::Unquoted | Self::AfterValue, b';') => Self::Name,
            (Self::Value, b'"') => Self::Quoted,
            (Self::Quoted, b'"') => Self::Unquoted,
            (Self::Quoted, b'\\') => Self::Escaped,
            // RFC 9110, 5.6.4: no control character, quoted or not.
            (Self::Quoted | Self::Escaped, b'\t' | b' '..=b'~' | 0x80..) => Self::Quoted,
            _ => return None,
        };
        Some(next)
    }

    fn may_end(self) -> bool {
        matches!(self, Self::InName | Self::InToken | Self::Unquoted)
    }
}

/// RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn hex(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        _ => (byte | 0x20) - b'a' + 10,
    }
}

const START: Place = Place::Size { digits: 0, size: 0 };
const MAX_FRAMING: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn advance(chunks: &mut Chunks, bytes: &[u8]) -> Result<usize, Fault> {
        let mut at = 0;
        while at < bytes.len() && !chunks.is_done() {
            at += chunks.skip_framing(&bytes[at..])?;
            at += chunks.take_data(bytes.len() - at);
        }
        if chunks.is_done() {
            chunks.take_trailers()?;
        }
        Ok(at)
    }

    /// In one piece and byte by byte: the answer may not depend on how it arrived.
    fn read(body: &[u8]) -> Result<(usize, bool), Fault> {
        let mut whole = Chunks::new();
        let at_once = advance(&mut whole, body).map(|read| (read, whole.is_done()));
        let mut pieces = Chunks::new();
        let mut read = Ok(0);
        for byte in body {
            if let (Ok(sum), false) = (read, pieces.is_done()) {
                read = advance(&mut pieces, &[*byte]).map(|more| sum + more);
            }
        }
        assert_eq!(at_once, read.map(|read| (read, pieces.is_done())), "{:?}", String::from_utf8_lossy(body));
        at_once
    }

    #[test]
    fn a_chunked_body_ends_where_it_says() {
        let table: &[(&str, usize, bool)] = &[
            ("0\r\n\r\n", 5, true),
            ("0\r\n\r\nGET /", 5, true),
            ("5\r\nhello\r\n0\r\n\r\n", 15, true),
            ("00005\r\nhello\r\n000\r\n\r\nx", 21, true),
            ("A\r\n0123456789\r\na;x=\"y z\"\r\n0123456789\r\n0\r\nX: y\r\n\r\n", 49, true),
            ("5;x\r\nhello\r\n5; x\t= y ;z=\"\\\"; \u{e9}\"\r\nhello\r\n0;a;b\r\n\r\n", 50, true),
            ("5\r\nhel", 6, false),
            ("5", 1, false),
            ("0\r\nX: y\r\n", 9, false),
        ];
        for (body, length, done) in table {
            assert_eq!(read(body.as_bytes()), Ok((*length, *done)), "{body:?}");
        }
    }

    #[test]
    fn a_bad_chunk_is_refused() {
        let bodies = [
            "\r\n",
            " 5\r\nhello\r\n",
            "5 \r\nhello\r\n",
            "5\t;x\r\nhello\r\n",
            "5 ;x\r\nhello\r\n",
            "+5\r\nhello\r\n",
            "-5\r\nhello\r\n",
            "0x5\r\nhello\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "5\rhello\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello\r0\r\n\r\n",
            "5\r\nhello\r\n\r\n0\r\n\r\n",
            "g\r\n",
            "5;x\ny\r\nhello\r\n",
            "5;x\0y\r\nhello\r\n",
            "5;\u{7f}\r\n",
            "5;\r\nhello\r\n",
            "5;x;\r\nhello\r\n",
            "5;x=\r\nhello\r\n",
            "5;=y\r\nhello\r\n",
            "5;x[=y\r\nhello\r\n",
            "5;x y\r\nhello\r\n",
            "5;x=y z\r\nhello\r\n",
            "5;x=y \r\nhello\r\n",
            "5;x=\"y\r\nhello\r\n",
            "5;x=\"y\\\r\nhello\r\n",
            "5;x=\"y\"z\r\nhello\r\n",
            "5;x=\u{e9}\r\nhello\r\n",
            "10000000000000000\r\n",
            "fffffffffffffffff\r\n",
            "0\r\nX: y\n\r\n",
            "0\r\n\n",
            "0\n\r\n",
            "0\r\n X: y\r\n\r\n",
            "0\r\nX\r\n\r\n",
            "0\r\nX : y\r\n\r\n",
            "0\r\nX: y\r\n z\r\n\r\n",
            "0\r\nX: \0\r\n\r\n",
            ";x\r\n",
        ];
        for body in bodies {
            assert!(matches!(read(body.as_bytes()), Err(Fault::Malformed(_))), "{body:?} is let through");
        }
        for (start, filler, end) in [("5;x", "x", "\r\nhello"), ("0\r\n", "X: y\r\n", "\r\n"), ("", "0", "5\r\nhello")] {
            let body = format!("{start}{}{end}", filler.repeat(MAX_FRAMING));
            assert!(read(body.as_bytes()).is_err(), "{start:?} goes on for ever");
        }
    }
}
