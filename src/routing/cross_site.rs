//! From which page a request comes, and the answer to preflights. Browsers attach client certificates by
//! themselves, so a page may speak in its reader's name; whether this origin may is for `admission` to say.

use http::Method;
use http::header::{self, HeaderValue};

use super::authority::Authority;
use crate::admission::Origin;
use crate::message::{Fields, Name, Names, text};

/// A CORS preflight: what a page of `origin` asks to be allowed.
#[derive(Clone, Debug)]
pub struct Preflight {
    origin: HeaderValue,
    method: HeaderValue,
    headers: Option<HeaderValue>,
}

/// Says from which page a request comes, as far as its headers tell. `scheme` is the one we were asked with.
pub fn classify<'a>(headers: &'a Fields, scheme: &str, authority: &Authority<'_>) -> Origin<'a> {
    // Nearly every program.
    if headers.may_have(SAID) { said(headers, scheme, authority) } else { Origin::Absent }
}

#[inline(never)]
fn said<'a>(headers: &'a Fields, scheme: &str, authority: &Authority<'_>) -> Origin<'a> {
    let cross_site = headers.get(Name::SecFetchSite).is_some_and(|site| site.eq_ignore_ascii_case(b"cross-site"));
    let mut origins = headers.get_all(&Name::Origin);
    match (origins.next(), origins.next()) {
        (None, _) if cross_site => Origin::CrossSite,
        (None, _) => Origin::Absent,
        (Some(origin), None) => match text(origin) {
            // A browser that says both is lying about one of them.
            Some(origin) if is_same_origin(origin, scheme, authority) => {
                if cross_site {
                    Origin::CrossSite
                } else {
                    Origin::Same
                }
            }
            Some(origin) => Origin::Other(origin),
            None => Origin::Other(NO_ORIGIN),
        },
        // Two are none that a list could name.
        (Some(_), Some(_)) => Origin::Other(NO_ORIGIN),
    }
}

impl Preflight {
    /// Recognises a preflight: an OPTIONS that names the method to come.
    pub fn of(method: &Method, headers: &Fields) -> Option<Self> {
        if method != Method::OPTIONS {
            return None;
        }
        let mut origins = headers.get_all(&Name::Origin);
        let (Some(_), None) = (origins.next(), origins.next()) else { return None };
        let (origin, method) = (headers.get_owned(Name::Origin)?, headers.get_owned(header::ACCESS_CONTROL_REQUEST_METHOD)?);
        Some(Self { origin, method, headers: headers.get_owned(header::ACCESS_CONTROL_REQUEST_HEADERS) })
    }

    /// Returns the origin as sent, for `admission` to look up; `None` where no list can name it.
    pub fn origin(&self) -> Option<&str> {
        self.origin.to_str().ok()
    }

    /// Returns the headers of a 204 for a listed origin: what was asked for, echoed. `*` is never sent.
    pub fn answer(&self) -> Fields {
        let mut answer = Fields::default();
        permit(&mut answer, &self.origin);
        answer.append(header::VARY, HeaderValue::from_static("Access-Control-Request-Method, Access-Control-Request-Headers"));
        answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, &self.method);
        if let Some(headers) = &self.headers {
            answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, headers);
        }
        // Short, so that an origin taken off a list is soon asked again.
        answer.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("60"));
        answer
    }
}

/// Lets a listed origin read a response: its exact name, with credentials, and never `*`.
pub fn permit(response: &mut Fields, origin: &HeaderValue) {
    response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    response.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    response.append(header::VARY, HeaderValue::from_static("Origin"));
}

fn is_same_origin(origin: &str, scheme: &str, authority: &Authority<'_>) -> bool {
    let Some((origin_scheme, rest)) = origin.split_once("://") else { return false };
    let default = match scheme {
        "https" => 443,
        _ => 80,
    };
    origin_scheme == scheme
        && Authority::parse(rest)
            .is_ok_and(|named| named.host == authority.host && named.port.unwrap_or(default) == authority.port.unwrap_or(default))
}

/// Stands for an origin that no list can name.
const NO_ORIGIN: &str = "null";
/// By which a browser says it.
const SAID: Names = Names::of(&[Name::Origin, Name::SecFetchSite]);

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    type Sent = &'static [(&'static str, &'static [u8])];

    fn headers(fields: Sent) -> Fields {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap())).fold(
            Fields::default(),
            |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            },
        )
    }

    #[test]
    fn an_origin_is_classified() {
        let table: [(&str, Sent, Origin<'_>); 14] = [
            ("a.example", &[], Origin::Absent),
            ("a.example", &[("sec-fetch-site", b"same-origin")], Origin::Absent),
            ("a.example", &[("sec-fetch-site", b"cross-site")], Origin::CrossSite),
            ("a.example", &[("sec-fetch-site", b"Cross-Site")], Origin::CrossSite),
            ("a.example", &[("origin", b"https://a.example")], Origin::Same),
            ("a.example:443", &[("origin", b"https://a.example")], Origin::Same),
            ("a.example", &[("origin", b"https://a.example:443")], Origin::Same),
            ("a.example", &[("origin", b"https://a.example:8443")], Origin::Other("https://a.example:8443")),
            ("a.example", &[("origin", b"http://a.example")], Origin::Other("http://a.example")),
            ("a.example", &[("origin", b"https://b.example"), ("sec-fetch-site", b"cross-site")], Origin::Other("https://b.example")),
            ("a.example", &[("origin", b"https://a.example"), ("sec-fetch-site", b"cross-site")], Origin::CrossSite),
            ("a.example", &[("origin", b"null")], Origin::Other("null")),
            ("a.example", &[("origin", b"https://a.example"), ("origin", b"https://a.example")], Origin::Other("null")),
            ("a.example", &[("origin", b"https://\xff")], Origin::Other("null")),
        ];
        for (authority, fields, expected) in table {
            let headers = headers(fields);
            let authority = Authority::parse(authority).unwrap();
            assert_eq!(classify(&headers, "https", &authority), expected, "{fields:?}");
        }
    }

    #[test]
    fn a_preflight_is_echoed_and_never_a_star() {
        let asked = headers(&[
            ("origin", b"https://app.example.com"),
            ("access-control-request-method", b"PUT"),
            ("access-control-request-headers", b"content-type,x-y"),
        ]);
        let preflight = Preflight::of(&Method::OPTIONS, &asked).unwrap();
        assert_eq!(preflight.origin(), Some("https://app.example.com"));
        let answer = preflight.answer();
        assert_eq!(answer.get("access-control-allow-origin").unwrap(), b"https://app.example.com");
        assert_eq!(answer.get("access-control-allow-credentials").unwrap(), b"true");
        assert_eq!(answer.get("access-control-allow-methods").unwrap(), b"PUT");
        assert_eq!(answer.get("access-control-allow-headers").unwrap(), b"content-type,x-y");
        assert_eq!(answer.get_all("vary").next().unwrap(), b"Origin");
        assert!(answer.iter().all(|(_, value)| value != b"*"));
    }

    #[test]
    fn other_requests_are_no_preflights() {
        let full = headers(&[("origin", b"https://a"), ("access-control-request-method", b"PUT")]);
        assert!(Preflight::of(&Method::POST, &full).is_none());
        assert!(Preflight::of(&Method::OPTIONS, &headers(&[("origin", b"https://a")])).is_none());
        assert!(Preflight::of(&Method::OPTIONS, &headers(&[("access-control-request-method", b"PUT")])).is_none());
    }
}
