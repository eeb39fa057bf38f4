//! One line, by hand: JSON or the Combined Log Format. Nearly every value was chosen by a client, so nothing that
//! could end a value, a line or a terminal's good behaviour goes out unescaped.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use super::Entry;
use crate::clock::Date;

/// The text of the current second, kept: it changes once a second, lines come by the thousand.
#[derive(Default)]
pub(super) struct Stamp {
    second: u64,
    /// `2026-11-20T23:12:10`; empty at first.
    rfc3339: Vec<u8>,
    /// `20/Nov/2026:23:12:10 +0000`.
    combined: Vec<u8>,
}

impl Stamp {
    fn at(&mut self, second: u64) -> &Self {
        if self.second != second || self.rfc3339.is_empty() {
            let date = Date::of(second);
            let Date { year, month, day, hour, minute, second: of_minute } = date;
            self.second = second;
            self.rfc3339 = date.to_string().into_bytes();
            self.rfc3339.pop();
            let name = MONTHS[(month as usize).clamp(1, 12) - 1];
            self.combined = format!("{day:02}/{name}/{year:04}:{hour:02}:{minute:02}:{of_minute:02} +0000").into_bytes();
        }
        self
    }
}

/// Appends a line of JSON.
pub(super) fn json(out: &mut Vec<u8>, stamp: &mut Stamp, entry: &Entry<'_>, now: Duration) {
    out.extend_from_slice(b"{\"time\":\"");
    out.extend_from_slice(&stamp.at(now.as_secs()).rfc3339);
    out.push(b'.');
    padded(out, u64::from(now.subsec_micros()), 6);
    out.extend_from_slice(b"Z\"");

    text(out, "event", Some(entry.event));
    text(out, "checkpoint", entry.checkpoint);
    text(out, "listener", Some(entry.listener));
    number(out, "connection", entry.connection);
    if let Some(peer) = entry.peer {
        key(out, "peer");
        out.push(b'"');
        address(out, peer.ip(), Some(peer.port()));
        out.push(b'"');
    }
    if let Some(client) = entry.client {
        key(out, "client");
        out.push(b'"');
        address(out, client, None);
        out.push(b'"');
    }
    text(out, "request_id", entry.request_id);
    text(out, "method", entry.method);
    text(out, "host", entry.host);
    text(out, "path", entry.path);
    text(out, "protocol", entry.protocol);
    text(out, "route", entry.route);
    text(out, "upstream", entry.upstream);
    text(out, "actor", entry.actor);
    text(out, "action", entry.action);
    text(out, "object", entry.object);
    if let Some(index) = entry.ledger_index {
        number(out, "ledger_index", index);
    }
    text(out, "note", entry.note);
    text(out, "verdict", entry.verdict);
    text(out, "code", entry.code);
    if let Some(status) = entry.status {
        number(out, "status", u64::from(status));
    }
    text(out, "reason", entry.reason);
    text(out, "source", entry.source);
    if let Some(count) = entry.count {
        number(out, "count", count);
    }
    number(out, "generation", entry.generation);
    text(out, "principal", entry.principal);
    text(out, "principal_id", entry.principal_id);
    text(out, "identifier", entry.identifier);
    if let Some(fingerprint) = entry.fingerprint {
        key(out, "fingerprint");
        out.push(b'"');
        for byte in fingerprint {
            out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        out.push(b'"');
    }
    text(out, "subject", entry.subject);
    text(out, "token", entry.token);
    claims(out, entry.claims);
    if let Some(steps) = entry.steps {
        key(out, "steps");
        quoted_up_to(out, steps, MAX_STEPS);
    }
    if let Some(duration) = entry.duration {
        number(out, "bytes_in", entry.bytes_in);
        number(out, "bytes_out", entry.bytes_out);
        seconds(out, "seconds", Some(duration));
    }
    seconds(out, "upstream_seconds", entry.upstream_duration);
    text(out, "user_agent", entry.user_agent);
    text(out, "referer", entry.referer);
    out.extend_from_slice(b"}\n");
}

/// Appends a line of the Combined Log Format; the principal stands where the user does.
pub(super) fn combined(out: &mut Vec<u8>, stamp: &mut Stamp, entry: &Entry<'_>, now: Duration) {
    match entry.client.or(entry.peer.map(|peer| peer.ip())) {
        Some(ip) => address(out, ip, None),
        None => out.push(b'-'),
    }
    out.extend_from_slice(b" - ");
    out.extend_from_slice(entry.principal.unwrap_or("-").as_bytes());
    out.extend_from_slice(b" [");
    out.extend_from_slice(&stamp.at(now.as_secs()).combined);
    out.extend_from_slice(b"] \"");
    let request = match entry.method {
        Some(_) => [entry.method, entry.path, entry.protocol],
        None => [Some("-"), None, None],
    };
    for (index, part) in request.into_iter().flatten().enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        combined_escaped(out, part);
    }
    out.extend_from_slice(b"\" ");
    decimal(out, u64::from(entry.status.unwrap_or(0)));
    out.push(b' ');
    decimal(out, entry.bytes_out);
    for value in [entry.referer, entry.user_agent] {
        out.extend_from_slice(b" \"");
        combined_escaped(out, value.unwrap_or("-"));
        out.push(b'"');
    }
    out.push(b'\n');
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn text(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    let Some(value) = value else { return };
    key(out, name);
    quoted(out, value);
}

fn claims(out: &mut Vec<u8>, claims: &[(&str, &str)]) {
    if claims.is_empty() {
        return;
    }
    key(out, "claims");
    out.push(b'{');
    for (index, (name, value)) in claims.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        quoted(out, name);
        out.push(b':');
        quoted(out, value);
    }
    out.push(b'}');
}

fn number(out: &mut Vec<u8>, name: &str, value: u64) {
    key(out, name);
    decimal(out, value);
}

fn seconds(out: &mut Vec<u8>, name: &str, value: Option<Duration>) {
    let Some(value) = value else { return };
    number(out, name, value.as_secs());
    out.push(b'.');
    padded(out, u64::from(value.subsec_micros()), 6);
}

/// Appends a JSON string (RFC 8259, section 7). Control characters, line separators and what reorders text are
/// escaped beyond what JSON asks: logs are read in terminals.
fn quoted(out: &mut Vec<u8>, value: &str) {
    quoted_up_to(out, value, MAX_VALUE);
}

fn quoted_up_to(out: &mut Vec<u8>, value: &str, most: usize) {
    let (value, cut) = capped(value, most);
    out.push(b'"');
    let plain = |byte: &u8| (0x20..0x7f).contains(byte) && *byte != b'"' && *byte != b'\\';
    if value.as_bytes().iter().all(plain) {
        out.extend_from_slice(value.as_bytes());
    } else {
        for character in value.chars() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                _ if is_dangerous(character) => escaped(out, character),
                _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }
    if cut {
        out.extend_from_slice("…".as_bytes());
    }
    out.push(b'"');
}

/// Returns a line of JSON that somebody else wrote, with everything escaped that a terminal would obey: `tracing` escapes
/// what JSON asks for, and no more.
pub(super) fn harmless(line: &[u8]) -> Box<[u8]> {
    let (text, end) = line.strip_suffix(b"\n").map_or((line, &b""[..]), |text| (text, b"\n"));
    if text.iter().all(|byte| (0x20..0x7f).contains(byte)) {
        return line.into();
    }
    let mut out = Vec::with_capacity(line.len() + 64);
    for character in String::from_utf8_lossy(text).chars() {
        match is_dangerous(character) {
            true => escaped(&mut out, character),
            false => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.extend_from_slice(end);
    out.into()
}

fn escaped(out: &mut Vec<u8>, character: char) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        // A Vec takes every write.
        let _ = write!(out, "\\u{unit:04x}");
    }
}

/// As the Apache server escapes: `\"`, `\\`, and `\xHH` for every byte that is not printable ASCII.
fn combined_escaped(out: &mut Vec<u8>, value: &str) {
    let (value, _) = capped(value, MAX_VALUE);
    for byte in value.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0x20..0x7f => out.push(byte),
            _ => out.extend_from_slice(&[b'\\', b'x', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
}

/// A head may be 64 KiB: one client must not fill the disk with one request.
fn capped(value: &str, most: usize) -> (&str, bool) {
    if value.len() <= most {
        return (value, false);
    }
    let mut end = most;
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    (&value[..end], true)
}

fn is_dangerous(character: char) -> bool {
    character.is_control() || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn address(out: &mut Vec<u8>, ip: IpAddr, port: Option<u16>) {
    // A Vec takes every write.
    let _ = match (ip.to_canonical(), port) {
        (ip, None) => write!(out, "{ip}"),
        (IpAddr::V4(ip), Some(port)) => write!(out, "{ip}:{port}"),
        (IpAddr::V6(ip), Some(port)) => write!(out, "[{ip}]:{port}"),
    };
}

fn decimal(out: &mut Vec<u8>, value: u64) {
    padded(out, value, 1);
}

/// Appends at least `width` digits.
fn padded(out: &mut Vec<u8>, mut value: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while value > 0 {
        at -= 1;
        // A remainder of ten fits.
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&digits[at.min(digits.len() - width)..]);
}

const HEX: &[u8; 16] = b"0123456789abcdef";
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const MAX_VALUE: usize = 2048;
/// The last step is the one that failed.
const MAX_STEPS: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::new(1_795_216_330, 42_000_000);

    fn written(write: fn(&mut Vec<u8>, &mut Stamp, &Entry<'_>, Duration), entry: &Entry<'_>) -> String {
        let mut out = Vec::new();
        write(&mut out, &mut Stamp::default(), entry, NOW);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_says_who_from_where_what_and_the_answer() {
        let entry = Entry {
            event: "request",
            principal: Some("ci/pipelines"),
            fingerprint: Some(&[0xab; 32]),
            claims: &[("common_name", "pipeline-7")],
            listener: "edge",
            connection: 12,
            peer: "[::ffff:192.0.2.7]:4711".parse().ok(),
            client: "2001:db8::1".parse().ok(),
            method: Some("GET"),
            path: Some("/orders/7"),
            verdict: Some("deny"),
            code: Some("not_permitted"),
            status: Some(403),
            generation: 9,
            bytes_out: 120,
            duration: Some(Duration::from_micros(1_000_250)),
            upstream_duration: Some(Duration::from_micros(7)),
            ..Entry::default()
        };
        let line = written(json, &entry);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "time": "2026-11-20T23:12:10.042000Z", "event": "request", "listener": "edge", "connection": 12,
                "peer": "192.0.2.7:4711", "client": "2001:db8::1", "method": "GET", "path": "/orders/7", "verdict": "deny",
                "code": "not_permitted", "status": 403, "generation": 9, "principal": "ci/pipelines", "fingerprint": "ab".repeat(32),
                "claims": {"common_name": "pipeline-7"}, "bytes_in": 0, "bytes_out": 120, "seconds": 1.00025, "upstream_seconds": 0.000007,
            })
        );
    }

    #[test]
    fn no_value_can_break_out_of_its_line() {
        for value in
            ["\"}\n{\"event\":\"forged\"}", "\\\"", "a\r\nb\0\u{1b}[2J\u{7f}\u{85}", "\u{2028}\u{202e}\u{feff}", "наш клиент 😀", "\\"]
        {
            let entry = Entry { event: value, user_agent: Some(value), path: Some(value), claims: &[("k", "\"")], ..Entry::default() };
            let line = written(json, &entry);
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert!(!line.trim_end().chars().any(is_dangerous), "{line:?}");
            let read: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!((read["path"].as_str(), read["user_agent"].as_str()), (Some(value), Some(value)));
        }
    }

    #[test]
    fn a_huge_value_is_cut_at_a_character() {
        let value = "é".repeat(MAX_VALUE);
        let line = written(json, &Entry { path: Some(&value), ..Entry::default() });
        assert!(line.len() < MAX_VALUE + 300 && line.contains("é…\""));
    }

    #[test]
    fn the_combined_format_is_apaches() {
        let entry = Entry {
            client: "192.0.2.7".parse().ok(),
            principal: Some("ops/ada"),
            method: Some("GET"),
            path: Some("/a\"b\n"),
            protocol: Some("HTTP/2.0"),
            status: Some(200),
            bytes_out: 2326,
            user_agent: Some("curl/8 \u{e9}"),
            ..Entry::default()
        };
        assert_eq!(
            written(combined, &entry),
            "192.0.2.7 - ops/ada [20/Nov/2026:23:12:10 +0000] \"GET /a\\\"b\\x0a HTTP/2.0\" 200 2326 \"-\" \"curl/8 \\xc3\\xa9\"\n"
        );
    }

    #[test]
    fn a_stamp_moves_with_the_second() {
        let mut stamp = Stamp::default();
        assert_eq!(stamp.at(0).rfc3339, b"1970-01-01T00:00:00");
        assert_eq!(stamp.at(1).combined, b"01/Jan/1970:00:00:01 +0000");
    }
}
