//! The PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`): reads exactly the header, never a
//! byte behind it, since what follows is the client's TLS. `connection` asks, where a listener requires it
//! and the peer may speak it; an absent or broken header closes the connection.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// What the header said of the connection's client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxied {
    Client(SocketAddr),
    /// The proxy speaks for itself, as in a health check: the socket's peer counts.
    Local,
    /// `UNKNOWN`, unspecified, or a unix socket at the far end: there is no address.
    Unknown,
}

/// Why there is no header that we take.
#[derive(Debug)]
pub enum ProxyError {
    /// CRC32C is there and does not fit.
    Checksum,
    Io(io::Error),
    Malformed(&'static str),
    /// It begins with something else: TLS without PROXY, most likely.
    NotProxy,
    TooLarge(usize),
}

/// Reads one header, whole. The caller sets the time that it may take.
pub async fn read<IO: AsyncRead + Unpin>(io: &mut IO) -> Result<Proxied, ProxyError> {
    let mut start = [0; SIGNATURE.len()];
    let mut filled = 0;
    while filled < start.len() {
        match io.read(&mut start[filled..]).await? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            read => filled += read,
        }
        // As early as can be told: a client that speaks TLS at once would wait for our answer for ever.
        if !SIGNATURE.starts_with(&start[..filled]) && !starts_line(&start[..filled]) {
            return Err(ProxyError::NotProxy);
        }
    }
    if start == SIGNATURE { read_v2(io).await } else { read_v1(io, &start).await }
}

/// The first bytes of either version are apart from the first byte on.
fn starts_line(start: &[u8]) -> bool {
    let length = start.len().min(LINE_START.len());
    start[..length] == LINE_START[..length]
}

/// The rest of a line, byte by byte: it ends with CR LF, and not a byte behind that is ours.
async fn read_v1<IO: AsyncRead + Unpin>(io: &mut IO, start: &[u8]) -> Result<Proxied, ProxyError> {
    let mut line = Vec::with_capacity(MAX_LINE);
    line.extend_from_slice(start);
    while !line.ends_with(b"\r\n") {
        if line.len() == MAX_LINE {
            return Err(ProxyError::TooLarge(MAX_LINE));
        }
        line.push(io.read_u8().await?);
    }
    let line = std::str::from_utf8(&line[..line.len() - 2]).map_err(|_| ProxyError::Malformed("the line is not ASCII"))?;
    parse_line(line)
}

fn parse_line(line: &str) -> Result<Proxied, ProxyError> {
    let mut words = line.split(' ').skip(1);
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(Proxied::Unknown);
    }
    let (Some(source), Some(destination), Some(source_port), Some(destination_port), None) =
        (words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return Err(ProxyError::Malformed("a line of six words is expected"));
    };
    let is_family: fn(&IpAddr) -> bool = match family {
        Some("TCP4") => IpAddr::is_ipv4,
        Some("TCP6") => IpAddr::is_ipv6,
        _ => return Err(ProxyError::Malformed("neither TCP4, TCP6 nor UNKNOWN")),
    };
    let ip = |text: &str| text.parse().ok().filter(is_family).ok_or(ProxyError::Malformed("an address is not of its family"));
    let port = |text: &str| match text {
        "0" => Ok(0),
        _ if text.starts_with(['0', '+']) => Err(ProxyError::Malformed("not a port")),
        _ => text.parse().map_err(|_| ProxyError::Malformed("not a port")),
    };
    let _whole = (ip(destination)?, port(destination_port)?);
    Ok(client(ip(source)?, port(source_port)?))
}

async fn read_v2<IO: AsyncRead + Unpin>(io: &mut IO) -> Result<Proxied, ProxyError> {
    let mut fixed = [0; 4];
    io.read_exact(&mut fixed).await?;
    let [command, family, high, low] = fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_BLOCK {
        return Err(ProxyError::TooLarge(length));
    }
    let mut header = Vec::with_capacity(SIGNATURE.len() + fixed.len() + length);
    header.extend_from_slice(&SIGNATURE);
    header.extend_from_slice(&fixed);
    header.resize(SIGNATURE.len() + fixed.len() + length, 0);
    io.read_exact(&mut header[SIGNATURE.len() + fixed.len()..]).await?;
    parse_block(command, family, &header)
}

fn parse_block(command: u8, family: u8, header: &[u8]) -> Result<Proxied, ProxyError> {
    let block = &header[SIGNATURE.len() + 4..];
    let (addresses, found) = match (command, family) {
        // Whatever stands in the block of LOCAL is to be skipped.
        (0x20, _) => return Ok(Proxied::Local),
        (0x21, 0x00) => return Ok(Proxied::Unknown),
        (0x21, 0x11) => (12, read_v4(block)),
        (0x21, 0x21) => (36, read_v6(block)),
        (0x21, 0x31) => (216, Some(Proxied::Unknown)),
        (0x21, _) => return Err(ProxyError::Malformed("not an address family of a stream")),
        _ => return Err(ProxyError::Malformed("not version 2, or neither LOCAL nor PROXY")),
    };
    let extensions = block.get(addresses..).ok_or(ProxyError::Malformed("the addresses are cut short"))?;
    check_extensions(extensions, header)?;
    found.ok_or(ProxyError::Malformed("the addresses are cut short"))
}

fn read_v4(block: &[u8]) -> Option<Proxied> {
    let (&[a, b, c, d], &[high, low]) = (block.first_chunk()?, block.get(8..)?.first_chunk()?);
    Some(client(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low])))
}

fn read_v6(block: &[u8]) -> Option<Proxied> {
    let (source, &[high, low]) = (block.first_chunk::<16>()?, block.get(32..)?.first_chunk()?);
    Some(client(Ipv6Addr::from(*source).into(), u16::from_be_bytes([high, low])))
}

/// IPv4-mapped addresses are unmapped.
fn client(ip: IpAddr, port: u16) -> Proxied {
    Proxied::Client(SocketAddr::new(ip.to_canonical(), port))
}

/// Walks the TLVs: all are skipped but the checksum, which has to fit where it is present.
fn check_extensions(mut extensions: &[u8], header: &[u8]) -> Result<(), ProxyError> {
    while let Some((&[kind, high, low], rest)) = extensions.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, rest) = rest.split_at_checked(length).ok_or(ProxyError::Malformed("an extension is cut short"))?;
        if kind == TLV_CRC32C {
            let sent = value.first_chunk().filter(|_| length == 4).ok_or(ProxyError::Malformed("a checksum has four bytes"))?;
            // Computed over the whole header with this field as zeros.
            let before = header.len() - rest.len() - length;
            let sum = crc32c(header[..before].iter().chain(&[0; 4]).chain(rest).copied());
            if sum != u32::from_be_bytes(*sent) {
                return Err(ProxyError::Checksum);
            }
        }
        extensions = rest;
    }
    if extensions.is_empty() { Ok(()) } else { Err(ProxyError::Malformed("an extension is cut short")) }
}

/// CRC-32C (Castagnoli), bit by bit: once a connection, over some hundred bytes.
fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    !bytes.fold(u32::MAX, |sum, byte| (0..8).fold(sum ^ u32::from(byte), |sum, _| (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg())))
}

impl From<io::Error> for ProxyError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checksum => f.write_str("the PROXY header's checksum does not fit"),
            Self::Io(error) => write!(f, "the PROXY header did not arrive: {error}"),
            Self::Malformed(why) => write!(f, "the PROXY header is malformed: {why}"),
            Self::NotProxy => f.write_str("no PROXY header, which this listener requires"),
            Self::TooLarge(bytes) => write!(f, "a PROXY header of {bytes} bytes or more is too large"),
        }
    }
}

impl std::error::Error for ProxyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Checksum | Self::Malformed(_) | Self::NotProxy | Self::TooLarge(_) => None,
        }
    }
}

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const LINE_START: &[u8] = b"PROXY ";
/// The longest line of version 1, CR LF included.
const MAX_LINE: usize = 107;
/// Room for addresses, and for a certificate in the extensions.
const MAX_BLOCK: usize = 16 * 1024;
const TLV_CRC32C: u8 = 0x03;

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads one header; returns what is left of the stream too, where there was a header.
    fn read_all(bytes: &[u8]) -> (Result<Proxied, String>, Vec<u8>) {
        let mut rest = bytes;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let result = runtime.block_on(read(&mut rest)).map_err(|error| error.to_string());
        (result, rest.to_vec())
    }

    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, block].concat()
    }

    fn v4_block(extensions: &[u8]) -> Vec<u8> {
        [&[203, 0, 113, 1, 10, 0, 0, 1, 0x30, 0x39, 1, 187], extensions].concat()
    }

    fn with_checksum(extensions: &[u8]) -> Vec<u8> {
        let mut header = v2(0x21, 0x11, &v4_block(&[&[3, 0, 4, 0, 0, 0, 0], extensions].concat()));
        let sum = crc32c(header.iter().copied()).to_be_bytes();
        header[31..35].copy_from_slice(&sum);
        header
    }

    fn at(text: &str) -> Proxied {
        Proxied::Client(text.parse().unwrap())
    }

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789".iter().copied()), 0xe306_9283);
    }

    #[test]
    fn a_header_is_read_and_not_a_byte_more() {
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"::ffff:203.0.113.1".parse::<Ipv6Addr>().unwrap().octets());
        v6[32..34].copy_from_slice(&12345_u16.to_be_bytes());
        let mut plain_v6 = v6;
        plain_v6[..16].copy_from_slice(&"2a00::7".parse::<Ipv6Addr>().unwrap().octets());
        let table: Vec<(Vec<u8>, Proxied)> = vec![
            (b"PROXY TCP4 203.0.113.1 10.0.0.1 12345 443\r\n".to_vec(), at("203.0.113.1:12345")),
            (b"PROXY TCP6 2a00::7 2001:db8::1 12345 443\r\n".to_vec(), at("[2a00::7]:12345")),
            (b"PROXY TCP6 ::ffff:203.0.113.1 ::1 12345 443\r\n".to_vec(), at("203.0.113.1:12345")),
            (b"PROXY UNKNOWN\r\n".to_vec(), Proxied::Unknown),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), Proxied::Unknown),
            (v2(0x21, 0x11, &v4_block(b"")), at("203.0.113.1:12345")),
            (v2(0x21, 0x11, &v4_block(b"\x02\x00\x03abc\x04\x00\x00\xe0\x00\x01x")), at("203.0.113.1:12345")),
            (v2(0x21, 0x21, &v6), at("203.0.113.1:12345")),
            (v2(0x21, 0x21, &plain_v6), at("[2a00::7]:12345")),
            (v2(0x21, 0x31, &[0; 216]), Proxied::Unknown),
            (v2(0x21, 0x00, b""), Proxied::Unknown),
            (v2(0x20, 0x00, b""), Proxied::Local),
            (v2(0x20, 0x11, b"whatever"), Proxied::Local),
            (with_checksum(b""), at("203.0.113.1:12345")),
            (with_checksum(b"\x02\x00\x01a"), at("203.0.113.1:12345")),
        ];
        for (header, expected) in table {
            let (result, rest) = read_all(&[&header[..], b"\x16\x03\x01TLS"].concat());
            assert_eq!((result, &rest[..]), (Ok(expected), &b"\x16\x03\x01TLS"[..]), "{header:?}");
            for cut in 0..header.len() {
                assert!(read_all(&header[..cut]).0.is_err(), "{header:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_an_error() {
        let mut broken_sum = with_checksum(b"\x02\x00\x01a");
        *broken_sum.last_mut().unwrap() = b'b';
        let table: Vec<(Vec<u8>, &str)> = vec![
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00".to_vec(), "no PROXY header"),
            (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "no PROXY header"),
            (b"\r\n\r\nGET / HTTP/1.1".to_vec(), "no PROXY header"),
            (b"PROXYTCP4 1.1.1.1".to_vec(), "no PROXY header"),
            (b"PROXY TCP4 203.0.113.1 10.0.0.1 12345\r\n".to_vec(), "six words"),
            (b"PROXY TCP4 203.0.113.1 10.0.0.1 12345 443 1\r\n".to_vec(), "six words"),
            (b"PROXY TCP4  203.0.113.1 10.0.0.1 12345 443\r\n".to_vec(), "six words"),
            (b"PROXY TCP4 2a00::7 10.0.0.1 12345 443\r\n".to_vec(), "family"),
            (b"PROXY TCP6 203.0.113.1 ::1 12345 443\r\n".to_vec(), "family"),
            (b"PROXY TCP4 203.0.113.1 10.0.0.1 012 443\r\n".to_vec(), "port"),
            (b"PROXY TCP4 203.0.113.1 10.0.0.1 +12 443\r\n".to_vec(), "port"),
            (b"PROXY TCP4 203.0.113.1 10.0.0.1 12345 65536\r\n".to_vec(), "port"),
            (b"PROXY UDP4 203.0.113.1 10.0.0.1 12345 443\r\n".to_vec(), "TCP4"),
            (b"PROXY TCP4 203.0.113.1 10.0.0.1 12345 443\n\n".to_vec(), "did not arrive"),
            ([b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat(), "too large"),
            (v2(0x11, 0x11, &v4_block(b"")), "version 2"),
            (v2(0x22, 0x11, &v4_block(b"")), "version 2"),
            (v2(0x21, 0x12, &v4_block(b"")), "stream"),
            (v2(0x21, 0x11, b"short"), "cut short"),
            (v2(0x21, 0x21, &[0; 35]), "cut short"),
            (v2(0x21, 0x31, &[0; 215]), "cut short"),
            (v2(0x21, 0x11, &v4_block(b"\x02\x00")), "cut short"),
            (v2(0x21, 0x11, &v4_block(b"\x02\x00\x05abcd")), "cut short"),
            (v2(0x21, 0x11, &v4_block(b"\x03\x00\x03abc")), "four bytes"),
            (v2(0x21, 0x11, &v4_block(b"\x03\x00\x04abcd")), "checksum"),
            (broken_sum, "checksum"),
            (v2(0x21, 0x11, &[0; 16385]), "too large"),
        ];
        for (bytes, why) in table {
            let error = read_all(&bytes).0.expect_err(why);
            assert!(error.contains(why), "{bytes:?}: {error}");
        }
    }
}
