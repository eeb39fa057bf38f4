//! Full handshakes: who is admitted, who hears which alert, and what is recorded.

use super::*;
use crate::admission::Denial;

use AlertDescription as Alert;

#[tokio::test]
async fn every_kind_of_certificate_is_admitted_when_pinned() {
    let kinds = [
        ("openssl req -x509", Identity::like_openssl("a")),
        ("P-256", Identity::client("b")),
        ("P-521", Identity::of_kind("c", &rcgen::PKCS_ECDSA_P521_SHA512, |_| {})),
        ("Ed25519", Identity::of_kind("d", &rcgen::PKCS_ED25519, |_| {})),
        ("RSA", Identity::of_kind("e", &rcgen::PKCS_RSA_SHA256, |_| {})),
        ("unknown critical extension", Identity::with_critical_extension("f")),
        ("X.509 v1", Identity::version_1("g")),
    ];
    let world = World::new(&kinds.each_ref().map(|(_, identity)| identity));
    for (kind, identity) in &kinds {
        for version in BOTH {
            let met = world.meet(&Client::new(Some(identity), &[version])).await;
            assert!(met.client.is_ok(), "{kind} over {version:?}: {met:?}");
            let session = met.admitted();
            let possession = session.possession.as_ref().expect("a key was proven");
            assert_eq!(possession.candidate().leaf().expect("parsed").der, identity.chain[0], "{kind}");
            assert_eq!(possession.proven().as_secs(), identities::NOW);
            assert!(!session.resumed);
        }
    }
    assert!(world.nothing_recorded());
}

#[tokio::test]
async fn a_stranger_hears_access_denied() {
    let (listed, stranger) = (Identity::client("listed"), Identity::client("stranger"));
    for version in BOTH {
        let world = World::new(&[&listed]);
        let met = world.meet(&Client::new(Some(&stranger), &[version])).await;
        assert_eq!((met.denied(), met.heard()), ("not_listed", Heard::Alert(Alert::AccessDenied)), "{version:?}");
        assert!(world.recorded("not_listed"));
    }
}

#[tokio::test]
async fn each_time_has_its_alert() {
    let listed = Identity::client("listed");
    for version in BOTH {
        for (days, code) in [(400, "expired"), (-400, "not_yet_valid")] {
            let world = World::new(&[&listed]);
            world.clock.set(identities::NOW.checked_add_signed(days * 86_400).expect("a time"));
            let met = world.meet(&Client::new(Some(&listed), &[version])).await;
            assert_eq!((met.denied(), met.heard()), (code, Heard::Alert(Alert::CertificateExpired)), "{version:?}");
        }
    }
}

#[tokio::test]
async fn a_certificate_without_its_key_is_decrypt_error_and_leaves_no_trace() {
    let (listed, stranger) = (Identity::client("listed"), Identity::client("stranger"));
    for version in BOTH {
        for presented in [&listed, &stranger] {
            for world in [World::new(&[&listed]), World::request(&[&listed])] {
                let met = world.meet(&Client::new(Some(&presented.stolen()), &[version])).await;
                assert_eq!(met.heard(), Heard::Alert(Alert::DecryptError), "{version:?}");
                assert!(matches!(met.server, Err(TlsError::Protocol(_))), "{met:?}");
                assert!(world.nothing_recorded(), "a refusal in somebody's name");
            }
        }
    }
}

#[tokio::test]
async fn no_certificate_is_certificate_required() {
    for version in BOTH {
        let world = World::new(&[]);
        let met = world.meet(&Client::new(None, &[version])).await;
        assert_eq!((met.denied(), met.heard()), ("no_credential", Heard::Alert(Alert::CertificateRequired)), "{version:?}");
        assert!(world.recorded("no_credential"));
    }
}

#[tokio::test]
async fn an_unreadable_leaf_is_bad_certificate_in_either_mode() {
    let garbage = Identity::client("garbage").with_leaf(b"0\x03nonsense".to_vec());
    for version in BOTH {
        for world in [World::new(&[]), World::request(&[])] {
            let met = world.meet(&Client::new(Some(&garbage), &[version])).await;
            assert_eq!(met.heard(), Heard::Alert(Alert::BadCertificate), "{version:?}");
            assert!(world.nothing_recorded());
        }
    }
}

#[tokio::test]
async fn a_request_listener_lets_strangers_and_the_anonymous_finish() {
    let stranger = Identity::client("stranger");
    for version in BOTH {
        let world = World::request(&[]);
        let met = world.meet(&Client::new(Some(&stranger), &[version])).await;
        assert!(met.admitted().possession.is_some(), "the denial is for the requests");
        let met = world.meet(&Client::new(None, &[version])).await;
        assert!(met.admitted().possession.is_none());
        assert!(world.nothing_recorded(), "the standing records what the requests are told");
    }
}

#[tokio::test]
async fn a_session_says_what_was_agreed() {
    let listed = Identity::client("listed");
    let world = World::new(&[&listed]);
    for (version, text) in [(TLS12, "TLSv1_2"), (TLS13, "TLSv1_3")] {
        let client = Client::with(Some(&listed), &[version], |config| config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()]);
        let met = world.meet(&client).await;
        let session = met.admitted();
        assert_eq!((session.version, session.http2, session.sni.as_deref()), (text, true, Some("gate.example")));
        assert!(session.cipher.contains("AES") || session.cipher.contains("CHACHA"), "{}", session.cipher);
        assert_eq!(session.names.first().map(|name| &**name), Some("gate.example"));
        assert_eq!(*session.uris, ["spiffe://gate.example".into()], "what XFCC calls us");
        let met = world.meet(&Client::new(Some(&listed), &[version])).await;
        assert!(!met.admitted().http2, "no ALPN means HTTP/1.1");
    }
}

#[tokio::test]
async fn the_certificate_follows_the_name() {
    let listed = Identity::client("listed");
    let world = World::with(&[&listed], |settings| {
        let names: [&[&str]; 3] = [&["default.example"], &["*.wild.example"], &["exact.wild.example"]];
        settings.credentials.key_pairs = names.iter().map(|names| key_pair(names)).collect();
    });
    for (asked, shown) in [
        ("default.example", "default.example"),
        ("any.wild.example", "*.wild.example"),
        ("ANY.Wild.Example", "*.wild.example"),
        ("exact.wild.example", "exact.wild.example"),
        ("exact.wild.example.", "exact.wild.example"),
        ("a.b.wild.example", "default.example"),
        ("wild.example", "default.example"),
        ("unknown.example", "default.example"),
    ] {
        let met = world.meet(&Client::new(Some(&listed), &[TLS13]).named(asked)).await;
        assert_eq!(*met.admitted().names[0], *shown, "{asked}");
    }
}

#[tokio::test]
async fn an_unknown_name_is_unrecognized_where_names_are_strict() {
    let listed = Identity::client("listed");
    let world = World::with(&[&listed], |settings| settings.strict_sni = true);
    for version in BOTH {
        for (asked, known) in [("gate.example", true), ("x.wild.example", true), ("x.y.wild.example", false), ("other.example", false)] {
            let met = world.meet(&Client::new(Some(&listed), &[version]).named(asked)).await;
            if known {
                met.admitted();
            } else {
                assert_eq!(met.heard(), Heard::Alert(Alert::UnrecognisedName), "{asked}");
                assert!(matches!(met.server, Err(TlsError::UnknownName)));
            }
        }
        // No name at all: the default certificate's policy.
        let met = world.meet(&Client::with(Some(&listed), &[version], |config| config.enable_sni = false)).await;
        assert_eq!(met.admitted().sni, None);
    }
}

#[tokio::test]
async fn names_of_cas_are_sent_when_asked_for_only() {
    let listed = Identity::client("listed");
    let names: Vec<Vec<u8>> = vec![b"0\x02\x31\x00".to_vec(), b"0\x04\x31\x02\x30\x00".to_vec()];
    for (send, version) in [true, false].into_iter().flat_map(|send| BOTH.map(|version| (send, version))) {
        let world = World::with(&[&listed], |settings| {
            settings.send_ca_names = send;
            settings.ca_names = names.clone();
        });
        let holder = Arc::new(Holder::of(&listed));
        let client = Client::with(None, &[version], |config| config.client_auth_cert_resolver = Arc::<Holder>::clone(&holder));
        world.meet(&client).await.admitted();
        let expected: &[Vec<u8>] = if send { &names } else { &[] };
        assert_eq!(*holder.hints.lock().expect("not poisoned"), expected, "{version:?}");
    }
}

#[test]
fn settings_are_refused_with_what_is_known() {
    let base = World::new(&[]).settings;
    let refused = |change: &dyn Fn(&mut Settings)| {
        let mut settings = base.clone();
        change(&mut settings);
        Acceptor::new(settings, TRUST, None).expect_err("refused").to_string()
    };
    let text = refused(&|settings| settings.groups = vec!["brainpool".into()]);
    assert!(text.contains("brainpool") && text.contains("secp384r1") && text.contains("X25519MLKEM768"), "{text}");
    let text = refused(&|settings| settings.ciphers = vec!["RC4".into()]);
    assert!(text.contains("RC4") && text.contains("TLS13_AES_256_GCM_SHA384"), "{text}");
    let text = refused(&|settings| settings.credentials.key_pairs.clear());
    assert!(text.contains("certificate"), "{text}");
    let text = refused(&|settings| {
        settings.min_tls_13 = true;
        settings.ciphers = vec!["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256".into()];
    });
    assert!(text.contains("min_tls"), "{text}");
}

#[tokio::test]
async fn groups_ciphers_and_versions_are_as_configured() {
    let listed = Identity::client("listed");
    let world = World::with(&[&listed], |settings| {
        settings.min_tls_13 = true;
        settings.ciphers = vec!["tls13_chacha20_poly1305_sha256".into()];
        settings.groups = vec!["secp384r1".into()];
    });
    let met = world.meet(&Client::new(Some(&listed), &[TLS13])).await;
    assert_eq!(met.admitted().cipher, "TLS13_CHACHA20_POLY1305_SHA256");
    let met = world.meet(&Client::new(Some(&listed), &[TLS12])).await;
    assert_eq!(met.heard(), Heard::Alert(Alert::ProtocolVersion));
}

#[test]
fn a_denial_is_told_by_code() {
    assert_eq!(TlsError::Denied(Denial::NotListed).to_string(), "denied: not_listed");
}
