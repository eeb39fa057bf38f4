//! A failure as an HTTP answer: JSON, or a small page for people whose browser asks for one.

use std::fmt::Write as _;

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderValue};

use super::Failure;
use crate::admission::Denial;
use crate::http1::Refusal;
use crate::message::{Fields, Name, Response, text};

impl Failure {
    /// Answers, for a request known by `request_id` (it may be the client's own text: it is escaped).
    pub fn response(self, request_id: &str, html: bool) -> Response<Bytes> {
        let (body, content_type) = match html {
            true => (self.page(request_id), "text/html; charset=utf-8"),
            false => (self.json(request_id), "application/json"),
        };
        let mut response = Response::new(self.status(), Bytes::from(body));
        let headers = &mut response.headers;
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        // The answer hangs on who asked: no cache may keep it for another.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if html {
            let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
            headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        }
        self.add_what_the_status_demands(headers);
        response
    }

    fn add_what_the_status_demands(self, headers: &mut Fields) {
        match self.status() {
            // RFC 6750, 3: also what tells a client to fetch another.
            StatusCode::UNAUTHORIZED if matches!(self, Self::Denied(Denial::TokenExpired | Denial::TokenInvalid)) => {
                let challenge = r#"Bearer realm="portcullis", error="invalid_token""#;
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
            // RFC 9110, 15.5.2: a 401 carries a challenge. No registered scheme means a TLS client certificate.
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(r#"ClientCertificate realm="portcullis""#));
            }
            // RFC 9110, 15.5.6: a 405 says what would be allowed.
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
    }

    fn json(self, request_id: &str) -> String {
        let (code, message) = (self.code(), self.message());
        let mut body = String::with_capacity(64 + code.len() + message.len() + request_id.len());
        // INVARIANT: codes and messages hold nothing that JSON would have to escape (a test looks).
        body.push_str(r#"{"error":{"code":""#);
        body.push_str(code);
        body.push_str(r#"","message":""#);
        body.push_str(message);
        body.push_str(r#"","request_id":""#);
        push_json(&mut body, request_id);
        body.push_str("\"}}\n");
        body
    }

    fn page(self, request_id: &str) -> String {
        let (status, code, message) = (self.status(), self.code(), self.message());
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
             <title>{status}</title>\n<style>body{{font:1rem/1.5 sans-serif;margin:15vh auto;max-width:34rem;padding:0 1rem}}\
             code{{background:#8882;padding:.1em .3em}}</style>\n<h1>{status}</h1>\n<p>This was refused: {message}.</p>\n\
             <p>Code <code>{code}</code>, request <code>"
        );
        push_html(&mut page, request_id);
        page.push_str("</code>. The operator of this service can look it up by these two.</p>\n</html>\n");
        page
    }
}

/// Renders the whole HTTP/1.1 answer to what never became a request; the connection closes behind it.
pub fn refusal(refusal: Refusal) -> Bytes {
    let failure = Failure::from(refusal);
    let (status, body) = (failure.status(), failure.json(""));
    Bytes::from(format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncache-control: no-store\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
}

/// Tells whether a client would rather read a page than JSON (RFC 9110, 12.5.1). Only a strict preference
/// counts: `*/*` and no `Accept` at all mean JSON.
pub fn prefers_html(request: &Fields) -> bool {
    // What most programs send prefers nothing.
    !request.get_all(&Name::Accept).all(|value| value == b"*/*") && accepts_html(request)
}

#[cold]
fn accepts_html(request: &Fields) -> bool {
    let (mut html, mut json) = (Quality::default(), Quality::default());
    for range in request.get_all(&Name::Accept).filter_map(text).flat_map(|value| value.split(',')) {
        let mut parts = range.split(';');
        let media = parts.next().unwrap_or_default().trim();
        let quality = parts.filter_map(quality).next().unwrap_or(1000);
        html.offer(media, "text", "html", quality);
        json.offer(media, "application", "json", quality);
    }
    html.thousandths > json.thousandths
}

/// How much a type is wanted, by the most specific range that covers it.
#[derive(Default)]
struct Quality {
    specific: u8,
    thousandths: u16,
}

impl Quality {
    fn offer(&mut self, media: &str, kind: &str, subtype: &str, thousandths: u16) {
        let Some((range_kind, range_subtype)) = media.split_once('/') else { return };
        let specific = match (range_kind, range_subtype) {
            ("*", "*") => 1,
            (a, "*") if a.eq_ignore_ascii_case(kind) => 2,
            (a, b) if a.eq_ignore_ascii_case(kind) && b.eq_ignore_ascii_case(subtype) => 3,
            _ => return,
        };
        if specific > self.specific {
            *self = Self { specific, thousandths };
        }
    }
}

/// Reads `q=0.8`; what is no quality is 0, so that nothing is gained by it.
fn quality(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let value: f32 = value.trim().parse().unwrap_or(0.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=1000; NaN becomes 0")]
    Some((value.clamp(0.0, 1.0) * 1000.0) as u16)
}

fn push_json(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            // `<` and `&` too: should anything ever read this as HTML.
            '\0'..=' ' | '\u{7f}' | '<' | '>' | '&' | '\'' => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
}

fn push_html(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Denial;

    #[test]
    fn a_failure_is_json_with_code_message_and_request_id() {
        for failure in Failure::all() {
            let response = failure.response("r-1\"\\\n<script>\u{e9}", false);
            assert_eq!(response.status, failure.status());
            let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
            assert_eq!(body["error"]["code"], failure.code());
            assert_eq!(body["error"]["message"], failure.message());
            assert_eq!(body["error"]["request_id"], "r-1\"\\\n<script>\u{e9}");
            assert_eq!(response.headers.get("cache-control").unwrap(), b"no-store");
            let asks = response.headers.contains_key("www-authenticate");
            assert_eq!(asks, response.status == 401, "{failure:?}");
        }
    }

    #[test]
    fn a_page_escapes_what_the_client_chose() {
        let response = Failure::Denied(Denial::NotListed).response("<script>alert('x')</script>\"&", true);
        let page = std::str::from_utf8(&response.body).unwrap();
        assert!(page.contains("<code>not_listed</code>"), "{page}");
        assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;"), "{page}");
        assert!(!page.contains("<script"), "{page}");
        assert_eq!(response.headers.get("content-type").unwrap(), b"text/html; charset=utf-8");
    }

    #[test]
    fn what_never_became_a_request_is_answered_whole() {
        for (refused, line) in [
            (Refusal::Malformed("bare CR"), "HTTP/1.1 400 Bad Request\r\n"),
            (Refusal::SlowHead, "HTTP/1.1 408 Request Timeout\r\n"),
            (Refusal::TargetTooLong, "HTTP/1.1 414 URI Too Long\r\n"),
            (Refusal::Version, "HTTP/1.1 505 HTTP Version Not Supported\r\n"),
            (Refusal::TooLarge, "HTTP/1.1 431 Request Header Fields Too Large\r\n"),
        ] {
            let bytes = refusal(refused);
            let text = std::str::from_utf8(&bytes).unwrap();
            assert!(text.starts_with(line) && text.contains("\r\nconnection: close\r\n"), "{text}");
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("content-length: {}", body.len())), "{text}");
            assert!(!text.contains("bare CR"), "{text}");
        }
    }

    #[test]
    fn a_page_only_for_who_prefers_one() {
        let table = [
            (None, false),
            (Some("*/*"), false),
            (Some("application/json"), false),
            (Some("text/html"), true),
            (Some("TEXT/HTML;level=1"), true),
            (Some("text/*"), true),
            (Some("text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"), true),
            (Some("text/html;q=0.5, application/json"), false),
            (Some("text/html, application/json"), false),
            (Some("*/*, text/html;q=0"), false),
            (Some("application/json;q=0.1, */*"), true),
            (Some("text/html;q=nan"), false),
            (Some("text/html;q=-1"), false),
            (Some("text/html;q=0.001"), true),
            (Some(",,;;=,text"), false),
        ];
        for (accept, expected) in table {
            let mut headers = Fields::default();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            }
            assert_eq!(prefers_html(&headers), expected, "{accept:?}");
        }
    }
}
