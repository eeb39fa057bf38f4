//! Cases that other projects published, told in our words: what each of them asks, and what becomes of it here. Over a fresh connection
//! and over one in use, at every split. Which collections were gone through, and at which state, is in `docs/http1.md`; the letters say
//! which of them has a case: `A` http-desync-guardian, `C` http-conformance, `E` libevpl, `G` the HTTP Garden, `L` llhttp, `P`
//! Http11Probe, `S` smuggler, `T` HTTP Request Smuggler, `U` h1spec.

use super::harness::{self, Gate, Heard, Script, Then};
use super::invariants;
use super::reference::{self, Body};

/// How a stream ends here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Before anybody looks at the request, with this status.
    Refused(u16),
    /// What was let through is all; a connection may go on.
    Served,
    /// A request was let through whose body never comes whole.
    Torn,
}
use End::{Refused, Served, Torn};

/// Who has it, the stream, what of it reaches an upstream (method, target, body), and the end.
type Case = (&'static str, &'static [u8], &'static [&'static str], End);

/// Request lines and heads.
const HEADS: &[Case] = &[
    // RFC 9112, 2.2: line ends, and what may stand before a request.
    ("CEGLP", b"\r\nGET /1 HTTP/1.1\r\nHost: a\r\n\r\n", &["GET /1 "], Served),
    ("CP", b"\r\n\r\nGET /1 HTTP/1.1\r\nHost: a\r\n\r\n", &[], Refused(400)),
    (
        "L",
        b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nq=42\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
        &["POST /1 q=42", "GET /2 "],
        Served,
    ),
    ("LP", b"\nGET /1 HTTP/1.1\r\nHost: a\r\n\r\n", &[], Refused(400)),
    ("U", b"Extra lineGET /1 HTTP/1.1\r\nHost: a\r\n\r\n", &[], Refused(400)),
    ("P", b"   \r\n\r\n", &[], Refused(400)),
    ("GLP", b"GET /1 HTTP/1.1\nHost: a\r\n\r\n", &[], Refused(400)),
    ("GLP", b"GET /1 HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", &[], Refused(400)),
    ("GL", b"GET /1 HTTP/1.1\nHost: a\n\n", &[], Refused(400)),
    ("LP", b"GET /1 HTTP/1.1\rHost: a\r\n\r\n", &[], Refused(400)),
    ("GLU", b"GET /1 HTTP/1.1\r\nHost: a\r\n\rZ: y\r\n\r\n", &[], Refused(400)),
    ("GL", b"GET /1 HTTP/1.1\r\nHost: a\r\nX:\n\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", &[], Refused(400)),
    // RFC 9112, 3 and 3.2: the request line.
    ("AGP", b"GET  /1 HTTP/1.1\r\nHost: a\r\n\r\n", &[], Refused(400)),
    ("GP", b"GET\t/1 HTTP/1.1\r\nHost: a\r\n\r\n", &[], Refused(400)),
    ("AG", b"GET /1 HTTP/1.1 \r\nHost: a\r\n\r\n", &[], Refused(400)),
    ("GL", b"GET /1  HTTP/1.1\r\nHost: a\r\n\r\n", &[], Refused(400)),
    ("AP", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", &[], Refused(400)),
    ("A", b"GET /1 HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n", &[], Refused(400)),
    ("A", b"GET /1\tHTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n", &[], Refused(400)),
    ("A", b"GET /1\rHTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n", &[], Refused(400)),
    ("AG", b"GET /1\nHTTP/1.1\r\nHost: a\r\n\r\n", &[], Refused(400)),
    ("AP", b"GET /\x001 HTTP/1.1\r\nHost: a\r\n\r\n", &[], Refused(400)),
    ("A", b"GET \x7f/1 HTTP/1.1\r\nHost: a\r\n\r\n", &[], Refused(400)),
    ("P", b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", &["GET /\u{e9} "], Served),
    ("AP", b"GET /%00%0d%0a HTTP/1.1\r\nHost: a\r\n\r\n", &["GET /%00%0d%0a "], Served),
    ("LP", b"GET /1#x HTTP/1.1\r\nHost: a\r\n\r\n", &[], Refused(400)),
    ("G", b"GET ! HTTP/1.1\r\nHost: a\r\n\r\n", &[], Refused(400)),
    ("P", b"GET HTTP/1.1\r\nHost: a\r\n\r\n", &[], Refused(400)),
    ("A", b"GET  HTTP/1.1\r\nHost: a\r\n\r\n", &[], Refused(400)),
    ("P", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", &[], Refused(400)),
    ("P", b"GET http://a/1 HTTP/1.1\r\nHost: a\r\n\r\n", &["GET /1 "], Served),
    ("G", b"G=\":<>(e),[T];?\" /1 HTTP/1.1\r\nHost: a\r\n\r\n", &[], Refused(400)),
    ("G", b"\x00 /1 HTTP/1.1\r\nHost: a\r\n\r\n", &[], Refused(400)),
    ("LP", b"get /1 HTTP/1.1\r\nHost: a\r\n\r\n", &["get /1 "], Served),
    ("LP", b"M-SEARCH /1 HTTP/1.1\r\nHost: a\r\n\r\n", &["M-SEARCH /1 "], Served),
    ("LP", b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nContent-Length: 1\r\n\r\nx", &[], Refused(400)),
    // RFC 9112, 2.3: versions.
    ("AEGLP", b"GET /1\r\nHost: a\r\n\r\n", &[], Refused(400)),
    ("A", b"GET /1 HTTP/0.9\r\nHost: a\r\n\r\n", &[], Refused(505)),
    ("AEP", b"GET /1 HTTP/1.2\r\nHost: a\r\n\r\n", &[], Refused(505)),
    ("LTU", b"GET /1 HTTP/9.9\r\nHost: a\r\n\r\n", &[], Refused(505)),
    ("G", b"GET /1 HTTP/1.32\r\nHost: a\r\n\r\n", &[], Refused(400)),
    ("P", b"GET /1 HTTP/01.01\r\nHost: a\r\n\r\n", &[], Refused(400)),
    ("P", b"GET /1 HTTP/1\r\nHost: a\r\n\r\n", &[], Refused(400)),
    ("G", b"GET /1 HTTP/\r\r1.1\r\nHost: a\r\n\r\n", &[], Refused(400)),
    ("P", b"GET /1 http/1.1\r\nHost: a\r\n\r\n", &[], Refused(400)),
    ("L", b"GET /1 IHTTP/1.1\r\nHost: a\r\n\r\n", &[], Refused(400)),
    ("L", b"GET /1 RTSP/1.0\r\nHost: a\r\n\r\n", &[], Refused(400)),
    ("GP", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[], Refused(400)),
    // RFC 9112, 5: fields.
    ("ACLP", b"GET /1 HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", &[], Refused(400)),
    ("ACLP", b"GET /1 HTTP/1.1\r\n Host: a\r\n\r\n", &[], Refused(400)),
    ("AGLP", b"GET /1 HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n", &[], Refused(400)),
    ("G", b"GET /1 HTTP/1.1\r\nHost: a\r\n:\r\nX: cut\r\n\r\n", &[], Refused(400)),
    ("AGLP", b"GET /1 HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", &[], Refused(400)),
    ("LPU", b"GET /1 HTTP/1.1\r\nHost: a\r\nX[]: y\r\n\r\n", &[], Refused(400)),
    ("AGP", b"GET /1 HTTP/1.1\r\nHost: a\r\nX\xe9: y\r\n\r\n", &[], Refused(400)),
    ("GP", b"GET /1 HTTP/1.1\r\nHost: a\r\nX\tY: y\r\n\r\n", &[], Refused(400)),
    ("ALP", b"GET /1 HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", &[], Refused(400)),
    ("ACGLP", b"GET /1 HTTP/1.1\r\nHost: a\r\nX: y\x00z\r\n\r\n", &[], Refused(400)),
    ("AGLP", b"GET /1 HTTP/1.1\r\nHost: a\r\nX: y\rz\r\n\r\n", &[], Refused(400)),
    ("ALPU", b"GET /1 HTTP/1.1\r\nHost: a\r\nX: \x07\r\n\r\n", &[], Refused(400)),
    ("AL", b"GET /1 HTTP/1.1\r\nHost: a\r\nX: y\x0cz\r\n\r\n", &[], Refused(400)),
    ("AG", b"GET /1 HTTP/1.1\r\nHost: a\r\nX.!#$%&'*+^_`|~0: \t\x85y\xa0\t \r\nY:\r\n\r\n", &["GET /1 "], Served),
    // RFC 9112, 3.2: Host.
    ("CGLPU", b"GET /1 HTTP/1.1\r\n\r\n", &[], Refused(400)),
    ("EP", b"GET /1 HTTP/1.0\r\n\r\n", &[], Refused(400)),
    ("CGPU", b"GET /1 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", &[], Refused(400)),
    ("P", b"GET /1 HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", &[], Refused(400)),
    // What is not there whole is no request.
    ("U", b"GET /1 HTTP/1.1\r\nHost: a\r\n", &[], Served),
    ("L", b"PUT /1 HTTP/1.1\r\nHost: a\r\nContent-Leng", &[], Served),
];

/// What frames a request, put in the place of `F` in one that hides another.
const FRAMING: &[(&str, &[u8], End)] = &[
    ("ST", b"Transfer-Encoding: chunked", Served),
    ("GLST", b"TRANSFER-ENCODING: CHUNKED", Served),
    ("GST", b"Transfer-Encoding:\tchunked\t", Served),
    ("APST", b"Transfer-Encoding:chunked  ", Served),
    ("AST", b"Transfer-Encoding : chunked", Refused(400)),
    ("AST", b"Transfer-Encoding\t:\tchunked", Refused(400)),
    ("ST", b"Transfer Encoding: chunked", Refused(400)),
    ("T", b"Transfer-Encoding x: chunked", Refused(400)),
    ("T", b"Transfer\\Encoding: chunked", Refused(400)),
    ("ST", b" Transfer-Encoding: chunked", Refused(400)),
    ("T", b"X: y\r\n\tTransfer-Encoding: chunked", Refused(400)),
    ("PST", b"Transfer-Encoding:\r\n chunked", Refused(400)),
    ("T", b"Transfer-Encoding:\r\n \r\n chunked", Refused(400)),
    ("ST", b"Transfer-Encoding:\n chunked", Refused(400)),
    ("T", b"Transfer-Encoding\n : chunked", Refused(400)),
    ("T", b"Transfer-Encoding: \n\x0bchunked", Refused(400)),
    ("G", b"Transfer-\r\nEncoding: chunked", Refused(400)),
    ("ST", b"X: y\rTransfer-Encoding: chunked", Refused(400)),
    ("LST", b"X: y\nTransfer-Encoding: chunked", Refused(400)),
    ("T", b"X: y\r\n\rTransfer-Encoding: chunked", Refused(400)),
    ("T", b"X: y\n\nTransfer-Encoding: chunked", Refused(400)),
    ("ST", b"Tra\rnsfer-Encoding: chunked", Refused(400)),
    ("ST", b"Transfer-Encoding: chunked\r", Refused(400)),
    ("APST", b"Transfer-Encoding: \x0bchunked", Refused(400)),
    ("PT", b"Transfer-Encoding: chunked\x0c", Refused(400)),
    ("APT", b"Transfer-Encoding: chunked\x00", Refused(400)),
    ("A", b"\x01Transfer-Encoding: chunked", Refused(400)),
    ("T", b"Transfer-Encoding\x7f: chunked", Refused(400)),
    ("GT", b"Transfer-Encoding\xc2\x85: chunked", Refused(400)),
    ("T", b"Transfer-Encoding\xc2\xa0: chunked", Refused(400)),
    ("T", b"Transfer\xc2\xadEncoding: chunked", Refused(400)),
    ("ST", b"Transf\x82r-Encoding: chunked", Refused(400)),
    ("GST", b"Transfer-Encoding: \xa0chunked", Refused(400)),
    ("GST", b"Transfer-Encoding:\xffchunked\xff", Refused(400)),
    ("ST", b"Transfer-Encoding: ch\x96nked", Refused(400)),
    ("APST", b"Transfer-Encoding: chunked, identity", Refused(400)),
    ("AST", b"Transfer-Encoding: identity, chunked", Refused(400)),
    ("T", b"Transfer-Encoding: identity, chunked, identity", Refused(400)),
    ("S", b"Transfer-Encoding: cow chunked bar", Refused(400)),
    ("LP", b"Transfer-Encoding: chunked, chunked", Refused(400)),
    ("GP", b"Transfer-Encoding: ,chunked", Refused(400)),
    ("P", b"Transfer-Encoding: chunked,", Refused(400)),
    ("AP", b"Transfer-Encoding: chunked;x=y", Refused(400)),
    ("AST", b"Transfer-Encoding: \"chunked\"", Refused(400)),
    ("ST", b"Transfer-Encoding: 'chunked'", Refused(400)),
    ("T", b"Transfer-Encoding: =?UTF-8?B?Y2h1bmtlZA==?=", Refused(400)),
    ("AST", b"Transfer-Encoding: chunk", Refused(400)),
    ("AP", b"Transfer-Encoding: xchunked", Refused(400)),
    ("L", b"Transfer-Encoding: chunkedchunked", Refused(400)),
    ("P", b"Transfer-Encoding:", Refused(400)),
    ("P", b"Transfer-Encoding: gzip", Refused(400)),
    ("LP", b"Transfer-Encoding: identity", Refused(400)),
    ("GS", b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked", Refused(400)),
    ("LPT", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", Refused(400)),
    ("AG", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Refused(400)),
    ("AGLPT", b"Transfer-Encoding: chunked\r\nContent-Length: 5", Refused(400)),
    ("AGLPT", b"Content-Length: 5\r\nTransfer-Encoding: chunked", Refused(400)),
    ("APT", b"Content-Length: +5", Refused(400)),
    ("AGPT", b"Content-Length: -5", Refused(400)),
    ("PT", b"Content-Length: 05", Refused(400)),
    ("PT", b"Content-Length: 0000000000000005", Refused(400)),
    ("P", b"Content-Length: 00", Refused(400)),
    ("P", b"Content-Length: 0o5", Refused(400)),
    ("AGP", b"Content-Length: 0x5", Refused(400)),
    ("GP", b"Content-Length: 1_0", Refused(400)),
    ("GL", b"Content-Length: 1Z", Refused(400)),
    ("T", b"Content-Length: 5e0", Refused(400)),
    ("AT", b"Content-Length: 5.0", Refused(400)),
    ("ALPT", b"Content-Length: 0 5", Refused(400)),
    ("AGPT", b"Content-Length: 0, 5", Refused(400)),
    ("APT", b"Content-Length: 5, 5", Refused(400)),
    ("GLP", b"Content-Length:", Refused(400)),
    ("G", b"Content-Length:\r\nContent-Length: 5", Refused(400)),
    ("AGLP", b"Content-Length: 5\r\nContent-Length: 0", Refused(400)),
    ("AP", b"Content-Length: 5\r\nContent-Length: 5", Refused(400)),
    ("ALP", b"Content-Length: 18446744073709551621", Refused(400)),
    ("GLP", b"Content-Length : 5", Refused(400)),
    ("G", b"Content-Length 5", Refused(400)),
    ("G", b"Content-Length\x85: 5", Refused(400)),
    ("T", b"X-Invalid Y: \r\nContent-Length: 5", Refused(400)),
    ("L", b"Content\rLength: 5", Refused(400)),
];

/// Bodies in chunks, and what of them is whole.
const CHUNKS: &[(&str, &[u8], Option<&str>)] = &[
    ("LP", b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", Some("hello world")),
    ("LPU", b"b\r\nHello world\r\n00\r\n\r\n", Some("Hello world")),
    ("ELP", b"A;x=y;z\r\n0123456789\r\n0;\"\r\n\r\n", None),
    ("ELP", b"A;x=y;z\r\n0123456789\r\n0;x\r\n\r\n", Some("0123456789")),
    ("L", b"5;x=\"a; b\";y\r\nhello\r\n0\r\n\r\n", Some("hello")),
    ("L", b"5;x=\"a\r\nhello\r\n0\r\n\r\n", None),
    ("LP", b"5;\r\nhello\r\n0\r\n\r\n", None),
    ("P", b"5;a[=x\r\nhello\r\n0\r\n\r\n", None),
    ("L", b"5 x\r\nhello\r\n0\r\n\r\n", None),
    ("P", b"5;a\x01\r\nhello\r\n0\r\n\r\n", None),
    ("PT", b"5;\nhello\r\n0\r\n\r\n", None),
    ("PT", b"5;a\rX\r\nhello\r\n0\r\n\r\n", None),
    ("GLT", b"5\r\r;ABC\r\n0\r\n\r\n", None),
    ("GT", b"5;a\r\rXhello\r\n0\r\n\r\n", None),
    ("T", b"5;\rhello\r\n0\r\n\r\n", None),
    ("G", b"5these-bytes-are-nothing\r\nhello\r\n0\r\n\r\n", None),
    ("LP", b"5 \r\nhello\r\n0\r\n\r\n", None),
    ("GLP", b" 5\r\nhello\r\n0\r\n\r\n", None),
    ("GP", b"0x5\r\nhello\r\n0\r\n\r\n", None),
    ("P", b"+5\r\nhello\r\n0\r\n\r\n", None),
    ("P", b"+0\r\n\r\n", None),
    ("P", b"-1\r\nhello\r\n0\r\n\r\n", None),
    ("G", b"-0x0\r\n\r\n", None),
    ("GP", b"0_2e\r\n\r\n", None),
    ("LP", b"FFFFFFFFFFFFFFFF0\r\nhello\r\n0\r\n\r\n", None),
    ("G", b"INVALID!!!\r\n\r\n", None),
    ("G", b"Z\r\nZZ\r\n0\r\n\r\n", None),
    ("G", b"\r\n\r\n", None),
    ("LPT", b"5\r\nhello0\r\n\r\n", None),
    ("PT", b"5\r\nhello!!\r\n0\r\n\r\n", None),
    ("GPT", b"5\r\nhello\n0\r\n\r\n", None),
    ("T", b"5\r\nhello\r0\r\n\r\n", None),
    ("T", b"5\r\nhello\rX0\r\n\r\n", None),
    ("T", b"5\r\nhello\r\r0\r\n\r\n", None),
    ("GLPT", b"5\rhello\r\n0\r\n\r\n", None),
    ("GL", b"5\nhello\r\n0\r\n\r\n", None),
    ("P", b"5\r\nhello\r\n0\r\n\n", None),
    ("P", b"5\r\nhello\r\n", None),
    ("L", b"5\r\nhello\r\n0\r\n", None),
    ("G", b"0\r\nX:POST /2 HTTP/1.1\r\n\r\n", Some("")),
    ("L", b"5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n", None),
    ("ELP", b"5\r\nhello\r\n0\r\nX-Checksum: abc\r\n\r\n", Some("hello")),
    ("P", b"5\r\nhello\r\n0\r\nContent-Length: 50\r\nTransfer-Encoding: chunked\r\nHost: b\r\n\r\n", Some("hello")),
];

#[test]
fn published_heads_are_let_through_as_they_stand_or_not_at_all() {
    for (who, stream, forwarded, end) in HEADS {
        let wanted: Vec<_> = forwarded.iter().map(ToString::to_string).collect();
        becomes(who, stream, &(wanted, *end));
    }
}

#[test]
fn published_framing_hides_no_request() {
    for (who, field, end) in FRAMING {
        let hidden = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
        let stream = [b"POST /1 HTTP/1.1\r\nHost: a\r\n", *field, b"\r\n\r\n0\r\n\r\n", hidden.as_bytes()].concat();
        // What is well formed says where the body ends: then it hides nothing, and is a request of its own.
        let forwarded = if *end == Served { vec!["POST /1 ".to_owned(), "GET /smuggled ".to_owned()] } else { vec![] };
        becomes(who, &stream, &(forwarded, *end));
    }
}

#[test]
fn published_chunks_are_whole_or_never_seem_so() {
    for (who, body, whole) in CHUNKS {
        let stream = [b"POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", *body].concat();
        let wanted = whole.map_or_else(|| (vec![], Torn), |whole| (vec![format!("POST /1 {whole}")], Served));
        becomes(who, &stream, &wanted);
    }
}

/// Methods for which a body has no meaning have one all the same, where it is framed; what stands behind it is another request.
#[test]
fn a_body_that_nobody_expects_is_not_another_request() {
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "TRACE", "M-SEARCH"] {
        let stream = format!("{method} /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
        becomes("APT", stream.as_bytes(), &(vec![format!("{method} /1 hello"), "GET /2 ".to_owned()], Served));
    }
    // Part of a request line is no more of a request for standing where one may begin.
    let prefix = "GET /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 13\r\n\r\nGET /1 HTTP/1\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
    becomes("PT", prefix.as_bytes(), &(vec!["GET /1 GET /1 HTTP/1".to_owned(), "GET /2 ".to_owned()], Served));
}

/// One byte on either side of what we read.
#[test]
fn heads_are_read_up_to_their_limits_and_no_further() {
    let limit = harness::settings().head_bytes;
    let get = |target: usize, field: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "t".repeat(target), "f".repeat(field));
    let rest = get(0, 0).len();
    for (over, end) in [(0, Served), (1, Refused(431))] {
        let stream = get(0, limit + over - rest);
        let wanted = if over == 0 { vec!["GET / ".to_owned()] } else { vec![] };
        coarsely("P", stream.as_bytes(), &(wanted, end));
    }
    // A request line that is larger by itself is a target that is too long.
    coarsely("P", get(limit, 0).as_bytes(), &(vec![], Refused(414)));
    coarsely("P", format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(limit)).as_bytes(), &(vec![], Refused(414)));
    coarsely("P", format!("GET / HTTP/1.1\r\nHost: a\r\n{}: x\r\n\r\n", "n".repeat(limit)).as_bytes(), &(vec![], Refused(431)));
    for (fields, end) in [(99, Served), (100, Refused(431))] {
        let wanted = if end == Served { vec!["GET / ".to_owned()] } else { vec![] };
        coarsely("AP", format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(fields)).as_bytes(), &(wanted, end));
    }
    for (trailers, end) in [(32, Served), (33, Torn)] {
        let stream = format!("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{}\r\n", "X: y\r\n".repeat(trailers));
        let wanted = if end == Served { vec!["POST /1 ".to_owned()] } else { vec![] };
        coarsely("E", stream.as_bytes(), &(wanted, end));
    }
    // RFC 9112, 7.1.1: a recipient ought to limit extensions; one chunk's, and as many of them as there are bytes.
    for (extension, end) in [(8 * 1024 - 6, Served), (8 * 1024, Torn)] {
        let stream =
            format!("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(extension));
        let wanted = if end == Served { vec!["POST /1 hello".to_owned()] } else { vec![] };
        coarsely("P", stream.as_bytes(), &(wanted, end));
    }
}

type Outcome = (Vec<String>, End);

/// Over a fresh connection, and over one in use, at every split.
fn becomes(who: &str, stream: &[u8], wanted: &Outcome) {
    for cuts in [vec![], vec![1]].into_iter().chain((1..stream.len()).map(|cut| vec![cut, stream.len()])) {
        once(who, stream, wanted, &cuts);
    }
}

fn coarsely(who: &str, stream: &[u8], wanted: &Outcome) {
    for cuts in [vec![], vec![1000], vec![stream.len() - 1], vec![17, 3]] {
        once(who, stream, wanted, &cuts);
    }
}

fn once(who: &str, stream: &[u8], wanted: &Outcome, cuts: &[usize]) {
    let used = b"GET /0 HTTP/1.1\r\nHost: a\r\n\r\n";
    for before in [&[][..], used] {
        let mut cuts = cuts.to_vec();
        if let [first, ..] = &mut cuts[..] {
            *first += before.len();
        }
        let client = Script { stream: [before, stream].concat(), cuts, then: Then::Ends, ..Script::default() };
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let gate = Gate::Requests((1..=4).map(|number| (number * answer.len(), false)).collect());
        let upstreams = vec![Script { stream: answer.repeat(4), gate, ..Script::default() }; 3];
        let heard = harness::play(&client, &upstreams);
        let told = || format!("{who}, in pieces of {:?}: {:?}", client.cuts, String::from_utf8_lossy(&client.stream));
        if let Err(wrong) = invariants::check(&client, &upstreams, &heard) {
            panic!("{wrong}: {}", told());
        }
        let mut found = outcome(&heard);
        if !before.is_empty() {
            assert_eq!(found.0.remove(0), "GET /0 ", "{}", told());
        }
        assert_eq!(&found, wanted, "{}", told());
    }
}

/// What reached upstreams whole, and how it ended.
fn outcome(heard: &Heard) -> Outcome {
    let whole: Vec<_> = heard
        .upstreams
        .iter()
        .flat_map(|told| reference::requests(told).0)
        .filter_map(|request| match request.body {
            Body::Whole(body, _) => Some(format!("{} {} {}", request.line[0], request.line[1], String::from_utf8_lossy(&body))),
            Body::Malformed | Body::Short => None,
        })
        .collect();
    let refusals = [("Malformed", 400), ("TargetTooLong", 414), ("TooLarge", 431), ("Version", 505)];
    let refused = refusals.iter().find(|(refusal, _)| heard.end.starts_with(&format!("Refused({refusal}")));
    let end = match refused {
        Some((_, status)) => Refused(*status),
        None if heard.requests.len() > whole.len() => Torn,
        None => Served,
    };
    (whole, end)
}
