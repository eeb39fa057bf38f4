//! What a client may claim of itself: every name of every dialect, whether or not one is enabled, in every case and spelling. Which
//! they are is for `message` to tell, when a head is read.

use crate::admission::Access;
use crate::message::{Fields, Name, Names};

/// Removes every claimed identity, for headers and trailers alike (for trailers, `needed` is `Access::Read`: a method override has no
/// business there).
pub fn remove_claimed(headers: &mut Fields, needed: Access) {
    // Whoever may write may choose the method anyway; nobody else may turn a GET into a DELETE behind us.
    headers.remove_all(if needed < Access::Write { CLAIMED.and(METHOD_OVERRIDE) } else { CLAIMED });
}

/// Tells whether a name, in any case and spelling, is one of the identity headers: `Connection` may not name it.
pub fn is_ours(name: &[u8]) -> bool {
    CLAIMED.and(METHOD_OVERRIDE).has(Name::of(name))
}

const CLAIMED: Names = Names::of(&[Name::Claimed]);
const METHOD_OVERRIDE: Names = Names::of(&[Name::MethodOverride]);

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    const CLAIMS: &[&str] = &[
        "x-portcullis-principal",
        "x-portcullis-",
        "x-portcullis-assertion",
        "x-ssl",
        "x-ssl-client-verify",
        "x-ssl-issuer",
        "ssl-client-verify",
        "ssl-client-cert",
        "x-amzn-mtls-clientcert",
        "x-amzn-mtls-clientcert-leaf",
        "x-client-cert-present",
        "cf-cert-revoked",
        "x-forwarded-tls-client-cert",
        "x-forwarded-tls-client-cert-info",
        "x-forwarded-client-cert",
        "client-cert",
        "client-cert-chain",
        "x-arr-clientcert",
        "l5d-client-id",
        "x-forwarded-user",
        "x-real-ip",
        "true-client-ip",
        "x-original-url",
        "x-rewrite-url",
    ];

    const INNOCENT: &[&str] = &[
        "host",
        "accept",
        "authorization",
        "cookie",
        "content-type",
        "client",
        "client-certificate",
        "x-request-id",
        "x-requested-with",
        "x-forwarded-for",
        "x-forwarded-proto",
        "forwarded",
        "x-sslx",
        "x-portculli",
        "traceparent",
        "te",
        "x",
        "x-",
        "ssl-client",
        "sec-fetch-site",
        "client-cert-chains",
        "x-api-key",
    ];

    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(self.0 >> 33).unwrap() % bound
        }
    }

    fn respell(name: &str, random: &mut Random) -> Vec<u8> {
        let respelled = name.bytes().map(|byte| match (byte, random.below(3)) {
            (b'-', 0) => b'_',
            (b'-', 1) => b'.',
            (_, 0) => byte.to_ascii_uppercase(),
            _ => byte,
        });
        respelled.collect()
    }

    #[test]
    fn a_claim_is_removed_in_every_spelling_however_often_it_stands() {
        let mut random = Random(7);
        for _ in 0..20_000 {
            let mut headers = Fields::default();
            for innocent in INNOCENT {
                headers.append(HeaderName::from_static(innocent), HeaderValue::from_static("kept"));
            }
            let before = headers.clone();
            for _ in 0..random.below(6) {
                let claim = respell(CLAIMS[random.below(CLAIMS.len())], &mut random);
                assert!(is_ours(&claim), "{:?}", String::from_utf8_lossy(&claim));
                let name = HeaderName::from_bytes(&claim).unwrap();
                for _ in 0..=random.below(3) {
                    headers.append(name.clone(), HeaderValue::from_static("forged"));
                }
            }
            remove_claimed(&mut headers, Access::Read);
            assert_eq!(headers, before);
        }
    }

    #[test]
    fn whatever_follows_a_prefix_is_a_claim() {
        for prefix in ["x-portcullis-", "X_SSL_", "ssl.client-", "x-amzn-mtls_", "x-client-cert-", "cf-cert-", "x_forwarded_tls_"] {
            assert!(is_ours(format!("{prefix}anything").as_bytes()), "{prefix}");
        }
        assert!(!is_ours(b"") && !is_ours(b"x") && !is_ours(b"client-cert\xff"));
    }

    #[test]
    fn a_forwarding_header_counts_in_one_spelling_only() {
        for (name, expected) in
            [("x-forwarded-for", false), ("X-Forwarded-For", false), ("x_forwarded_for", true), ("X-Forwarded.Proto", true)]
        {
            assert_eq!(is_ours(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn a_method_override_needs_what_it_may_turn_into() {
        for (needed, kept) in [(Access::Read, false), (Access::Write, true), (Access::Admin, true)] {
            for name in ["x-http-method", "x-http-method-override", "x-method-override", "x_http_method_override"] {
                let mut headers = Fields::default();
                headers.insert(HeaderName::from_static(name), HeaderValue::from_static("DELETE"));
                remove_claimed(&mut headers, needed);
                assert_eq!(headers.contains_key(name), kept, "{name} {needed:?}");
            }
        }
    }
}
