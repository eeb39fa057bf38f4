//! Resumption: never outlives the policy, the list or an hour.

use std::fmt;

use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::{HandshakeKind, NamedGroup};

use super::*;
use crate::pki::Fingerprint;

use AlertDescription as Alert;

#[tokio::test]
async fn a_listed_client_resumes() {
    let listed = Identity::client("listed");
    for world in [World::new(&[&listed]), World::request(&[&listed])] {
        for version in BOTH {
            let client = Client::new(Some(&listed), &[version]);
            assert_eq!(world.meet(&client).await.client, Ok(HandshakeKind::Full));
            world.clock.set(identities::NOW + 60);
            let met = world.meet(&client).await;
            assert_eq!(met.client, Ok(HandshakeKind::Resumed), "{version:?}");
            let session = met.admitted();
            let possession = session.possession.as_ref().expect("the key was proven before");
            assert!(session.resumed);
            assert_eq!(possession.proven().as_secs(), identities::NOW, "proven on the first full handshake");
            assert_eq!(possession.candidate().leaf().expect("parsed").der, listed.chain[0]);
            world.clock.set(identities::NOW);
        }
    }
}

#[tokio::test]
async fn a_removed_client_hears_its_alert_on_the_connection_that_would_have_resumed() {
    let (removed, other) = (Identity::client("removed"), Identity::client("other"));
    for version in BOTH {
        let mut world = World::new(&[&removed, &other]);
        let (client, bystander) = (Client::new(Some(&removed), &[version]), Client::new(Some(&other), &[version]));
        world.meet(&client).await.admitted();
        world.meet(&bystander).await.admitted();
        world.install(&[&other]);

        let met = world.meet(&client).await;
        assert_eq!((met.denied(), met.heard()), ("not_listed", Heard::Alert(Alert::AccessDenied)), "{version:?}");
        assert!(world.recorded("not_listed"));
        assert_eq!(world.meet(&bystander).await.client, Ok(HandshakeKind::Resumed), "others lose nothing");
    }
}

#[tokio::test]
async fn a_client_that_is_denied_for_its_time_does_not_resume() {
    let listed = Identity::client("listed");
    for version in BOTH {
        let world = World::new(&[&listed]);
        let client = Client::new(Some(&listed), &[version]);
        // 2026-12-30T23:50: the certificate ends ten minutes later.
        let end = 1_798_675_200;
        world.clock.set(end - 600);
        world.meet(&client).await.admitted();
        world.clock.set(end + 1);
        let met = world.meet(&client).await;
        assert_eq!((met.denied(), met.heard()), ("expired", Heard::Alert(Alert::CertificateExpired)), "{version:?}");
    }
}

#[tokio::test]
async fn nothing_is_recorded_for_a_session_whose_holder_does_not_finish() {
    let removed = Identity::client("removed");
    for version in BOTH {
        let mut world = World::new(&[&removed]);
        let client = Client::new(Some(&removed), &[version]);
        world.meet(&client).await.admitted();
        world.install(&[]);
        // Session ids and tickets travel in the clear: whoever saw one may send it.
        let mut hello = Vec::new();
        client.connection().write_tls(&mut hello).expect("memory");
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        theirs.write_all(&hello).await.expect("memory");
        theirs.shutdown().await.expect("memory");
        assert!(matches!(world.accept(ours).await, Err(TlsError::Io(_))), "{version:?}");
        assert!(world.nothing_recorded(), "{version:?}");
    }
}

#[tokio::test]
async fn the_lifetime_counts_from_the_first_full_handshake() {
    let listed = Identity::client("listed");
    for version in BOTH {
        let world = World::new(&[&listed]);
        let client = Client::new(Some(&listed), &[version]);
        assert_eq!(world.meet(&client).await.client, Ok(HandshakeKind::Full));
        for (seconds, expected) in [
            (1800, HandshakeKind::Resumed),
            (3599, HandshakeKind::Resumed),
            (3600, HandshakeKind::Full),
            // That one began an hour of its own, and its session was kept.
            (7199, HandshakeKind::Resumed),
            (7200, HandshakeKind::Full),
        ] {
            world.clock.set(identities::NOW + seconds);
            assert_eq!(world.meet(&client).await.client, Ok(expected), "{version:?} after {seconds} s");
        }
    }
}

#[tokio::test]
async fn another_policy_resumes_nothing_of_before() {
    let listed = Identity::client("listed");
    for version in BOTH {
        let mut world = World::new(&[&listed]);
        let client = Client::new(Some(&listed), &[version]);
        world.meet(&client).await.admitted();
        world.rebuild(TRUST);
        assert_eq!(world.meet(&client).await.client, Ok(HandshakeKind::Resumed), "the same policy");
        world.rebuild(TrustId([2; 32]));
        assert_eq!(world.meet(&client).await.client, Ok(HandshakeKind::Full), "other anchors");
        world.settings.client_auth = ClientAuth::Request;
        world.rebuild(TrustId([2; 32]));
        assert_eq!(world.meet(&client).await.client, Ok(HandshakeKind::Full), "another client_auth");
        world.settings.resumption = false;
        world.rebuild(TrustId([2; 32]));
        for _ in 0..2 {
            assert_eq!(world.meet(&client).await.client, Ok(HandshakeKind::Full), "switched off");
        }
    }
}

#[tokio::test]
async fn our_new_certificate_does_not_end_sessions() {
    let listed = Identity::client("listed");
    let mut world = World::new(&[&listed]);
    let client = Client::new(Some(&listed), &[TLS13]);
    world.meet(&client).await.admitted();
    world.settings.credentials.key_pairs = vec![key_pair(&["gate.example"])];
    world.rebuild(TRUST);
    assert_eq!(world.meet(&client).await.client, Ok(HandshakeKind::Resumed));
}

#[tokio::test]
async fn the_sessions_of_a_removed_client_are_dropped() {
    let (removed, other) = (Identity::client("removed"), Identity::client("other"));
    let gone = Fingerprint::of(&removed.chain[0]);
    for version in BOTH {
        let world = World::new(&[&removed, &other]);
        let (client, bystander) = (Client::new(Some(&removed), &[version]), Client::new(Some(&other), &[version]));
        world.meet(&client).await.admitted();
        world.meet(&bystander).await.admitted();
        assert_eq!(world.acceptor.forget(|leaf| *leaf == gone), 1);
        assert_eq!(world.meet(&client).await.client, Ok(HandshakeKind::Full), "{version:?}");
        assert_eq!(world.meet(&bystander).await.client, Ok(HandshakeKind::Resumed), "{version:?}");
    }
}

#[tokio::test]
async fn a_denied_client_of_a_request_listener_gets_no_session() {
    let stranger = Identity::client("stranger");
    for version in BOTH {
        let world = World::request(&[]);
        let client = Client::new(Some(&stranger), &[version]);
        for _ in 0..2 {
            assert_eq!(world.meet(&client).await.client, Ok(HandshakeKind::Full), "{version:?}");
        }
        let anonymous = Client::new(None, &[version]);
        world.meet(&anonymous).await.admitted();
        assert_eq!(world.meet(&anonymous).await.client, Ok(HandshakeKind::Resumed), "{version:?}");
    }
}

#[tokio::test]
async fn a_removed_client_of_a_request_listener_resumes_into_its_denial() {
    let removed = Identity::client("removed");
    for version in BOTH {
        let mut world = World::request(&[&removed]);
        let client = Client::new(Some(&removed), &[version]);
        world.meet(&client).await.admitted();
        world.install(&[]);
        let met = world.meet(&client).await;
        let possession = met.admitted().possession.as_ref().expect("the standing needs it to deny");
        assert_eq!(possession.candidate().leaf().expect("parsed").der, removed.chain[0], "{version:?}");
    }
}

#[tokio::test]
async fn a_session_of_one_name_is_not_resumed_under_another() {
    let listed = Identity::client("listed");
    for version in BOTH {
        let world = World::new(&[&listed]);
        let client = Client::new(Some(&listed), &[version]);
        world.meet(&client).await.admitted();
        let elsewhere = Client { config: Arc::clone(&client.config), name: "x.wild.example" };
        assert_eq!(world.meet(&elsewhere).await.client, Ok(HandshakeKind::Full), "{version:?}");
    }
}

#[tokio::test]
async fn a_ticket_behind_a_hello_retry_request_is_not_resumed_unjudged() {
    let removed = Identity::client("removed");
    let mut world = World::with(&[&removed], |settings| settings.groups = vec!["secp384r1".into()]);
    let client = Client::with(Some(&removed), &[TLS13], |config| {
        config.resumption = Resumption::store(Arc::new(Forgetful(ClientSessionMemoryCache::new(8))));
    });
    for _ in 0..2 {
        assert_eq!(world.meet(&client).await.client, Ok(HandshakeKind::FullWithHelloRetryRequest));
    }
    world.install(&[]);
    let met = world.meet(&client).await;
    assert_eq!((met.denied(), met.heard()), ("not_listed", Heard::Alert(Alert::AccessDenied)));
}

/// A client's store that does not remember which group the server likes, so that every ClientHello guesses wrong.
struct Forgetful(ClientSessionMemoryCache);

impl fmt::Debug for Forgetful {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Forgetful")
    }
}

impl ClientSessionStore for Forgetful {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(name, value);
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(name)
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.0.remove_tls12_session(name);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(name, value);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(name)
    }
}
