//! Sockets, workers and connections, whole: real clients over loopback, rules made by hand. What happens to requests is told elsewhere.

use std::io;
use std::net::IpAddr;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::address::Trust;
use crate::admission::{AllowlistBuilder, Credential, Pin, Principal, PrincipalId, PrincipalName, Provenance, Revocation, Snapshot, Terms};
use crate::challenge::{self, Tokens};
use crate::drain::DrainStarter;
use crate::limits::Limits;
use crate::log::{Audit, Destination, Format, Logs, Settings as LogSettings};
use crate::pki::Certificate;
use crate::routing::Routes;
use crate::rules::ListenerRules;
use crate::tls::acceptor::{Acceptor, ClientAuth, Settings, TrustId};
use crate::tls::{Credentials, KeyPair};
use crate::upstream::Upstreams;

/// A proxy without upstreams, and what its rules are made of.
struct World {
    running: Option<Running>,
    drain: DrainStarter,
    metrics: Arc<Metrics>,
    limits: Limits,
    trust: Trust,
    proxy_protocol: bool,
    generation: u64,
    tls: Arc<Acceptor>,
}

#[derive(Clone)]
struct Identity(Arc<CertifiedKey>);

impl World {
    fn start(listed: &[(&str, &Identity, Terms)], change: impl FnOnce(&mut Self)) -> Self {
        let server = Identity::new("server");
        let key_pair = KeyPair { certified: Arc::clone(&server.0), names: Arc::from(["localhost".into()]), not_after: u64::MAX };
        let settings = Settings {
            credentials: Credentials { key_pairs: vec![key_pair] },
            client_auth: ClientAuth::Require,
            min_tls_13: false,
            groups: Vec::new(),
            ciphers: Vec::new(),
            strict_sni: false,
            send_ca_names: false,
            ca_names: Vec::new(),
            http2: true,
            resumption: true,
        };
        let (drain, drained) = crate::drain::channel();
        let mut world = Self {
            running: None,
            drain,
            metrics: Metrics::new(2),
            limits: Limits::default(),
            trust: Trust::default(),
            proxy_protocol: false,
            generation: 0,
            tls: Arc::new(Acceptor::new(settings, TrustId([0; 32]), None).unwrap()),
        };
        change(&mut world);
        let in_force = Arc::new(InForce::new(world.rules(listed)));
        let binds = vec![Bind { name: "edge".into(), address: "127.0.0.1:0".parse().unwrap() }];
        let off = LogSettings { format: Format::Json, destination: Destination::Off };
        let logs = Logs::open(&Audit { access: off, ..Audit::default() }, &Arc::default()).unwrap();
        let settings = RuntimeSettings { workers: 2, binds };
        world.running = Some(start(in_force, settings, Clock::default(), Arc::clone(&world.metrics), &logs, drained, None).unwrap());
        world
    }

    fn rules(&mut self, listed: &[(&str, &Identity, Terms)]) -> Arc<Rules> {
        self.generation += 1;
        let mut allowlist = AllowlistBuilder::default();
        for (name, identity, terms) in listed {
            let name: PrincipalName = name.parse().unwrap();
            let provenance = Provenance { file: "test".into(), line: 1 };
            let principal = Principal {
                id: PrincipalId::derived(&name),
                name,
                display_name: None,
                terms: Arc::new(terms.clone()),
                provenance: provenance.clone(),
            };
            let leaf = Certificate::parse(identity.0.cert[0].clone()).unwrap();
            allowlist.add(principal, vec![(Credential::Pin(Pin::from(&leaf)), provenance)]).unwrap();
        }
        let snapshot = Snapshot {
            generation: self.generation,
            allowlist: allowlist.finish(),
            revocation: Revocation::default(),
            clock_skew: 0,
            bootstrap: Default::default(),
        };
        let edge =
            ListenerRules { name: "edge".into(), tls: Arc::clone(&self.tls), serves: Arc::default(), proxy_protocol: self.proxy_protocol };
        Arc::new(Rules {
            generation: self.generation,
            snapshot: Arc::new(snapshot),
            routes: Routes::default(),
            upstreams: Upstreams::default(),
            limits: self.limits.clone(),
            trust: self.trust.clone(),
            identity: Arc::default(),
            tokens: Tokens::new(challenge::Settings::default(), None),
            listeners: vec![Arc::new(edge)],
        })
    }

    fn install(&mut self, listed: &[(&str, &Identity, Terms)]) {
        let rules = self.rules(listed);
        self.running().install(rules, Instant::now());
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("started")
    }

    fn address(&self) -> SocketAddr {
        match self.running().bound()[0].address {
            BindAddress::Tcp(address) => address,
            _ => panic!("TCP"),
        }
    }

    async fn connect(&self, identity: &Identity, alpn: &str) -> io::Result<TlsStream<TcpStream>> {
        identity.shake_hands(TcpStream::connect(self.address()).await.unwrap(), alpn).await
    }

    fn metric(&self, line: &str) -> bool {
        self.metrics.render(0).lines().any(|found| found == line)
    }

    async fn has_metric(&self, line: &str) {
        let start = Instant::now();
        while !self.metric(line) {
            assert!(start.elapsed() < DEADLINE, "no {line} in {}", self.metrics.render(0));
            tokio::task::yield_now().await;
        }
    }
}

impl Identity {
    fn new(name: &str) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        let key = default_provider().key_provider.load_private_key(PrivateKeyDer::try_from(key.serialize_der()).unwrap()).unwrap();
        Self(Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key)))
    }

    async fn shake_hands(&self, stream: TcpStream, alpn: &str) -> io::Result<TlsStream<TcpStream>> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer))
            .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(Arc::clone(&self.0))));
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
    }
}

#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A busy machine is no failure.
const DEADLINE: Duration = Duration::from_secs(60);

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("in time")
}

/// What a client reads until the end, and how it ends.
async fn end_of(stream: &mut TlsStream<TcpStream>) -> Result<Vec<u8>, Option<AlertDescription>> {
    let mut heard = Vec::new();
    match within(stream.read_to_end(&mut heard)).await {
        Ok(_) => Ok(heard),
        Err(error) => Err(error.get_ref().and_then(|error| error.downcast_ref()).and_then(|error| match error {
            rustls::Error::AlertReceived(alert) => Some(*alert),
            _ => None,
        })),
    }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

#[test]
fn a_removal_closes_idle_connections_of_that_client_only() {
    run(async {
        let (alice, bob, mallory) = (Identity::new("alice"), Identity::new("bob"), Identity::new("mallory"));
        let mut world = World::start(&[("alice", &alice, Terms::default()), ("bob", &bob, Terms::default())], |_| {});
        let mut stranger = world.connect(&mallory, "http/1.1").await.unwrap();
        assert_eq!(end_of(&mut stranger).await, Err(Some(AlertDescription::AccessDenied)));
        let (mut first, mut second) = (world.connect(&alice, "http/1.1").await.unwrap(), world.connect(&alice, "http/1.1").await.unwrap());
        let mut other = world.connect(&bob, "http/1.1").await.unwrap();
        world.has_metric("portcullis_connections{listener=\"edge\"} 3").await;
        world.install(&[("bob", &bob, Terms::default())]);
        // Closed with close_notify: an idle client sees an orderly end.
        assert_eq!(end_of(&mut first).await, Ok(Vec::new()));
        assert_eq!(end_of(&mut second).await, Ok(Vec::new()));
        world.has_metric("portcullis_revocation_seconds_count 1").await;
        world.has_metric("portcullis_connections{listener=\"edge\"} 1").await;
        assert!(world.metric("portcullis_connections_cut_total{code=\"not_listed\"} 2"));
        let mut byte = [0];
        let silence = tokio::time::timeout(Duration::ZERO, other.read(&mut byte)).await;
        assert!(silence.is_err(), "{silence:?}");
    });
}

#[test]
fn a_removal_ends_http2_with_goaway() {
    run(async {
        let alice = Identity::new("alice");
        let mut world = World::start(&[("alice", &alice, Terms::default())], |_| {});
        let stream = world.connect(&alice, "h2").await.unwrap();
        let (_sender, mut connection) = h2::client::handshake(stream).await.unwrap();
        let mut ping_pong = connection.ping_pong().unwrap();
        let driver = tokio::spawn(connection);
        within(ping_pong.ping(h2::Ping::opaque())).await.unwrap();
        world.install(&[]);
        // On a busy machine the socket may go before we answered the GOAWAY: an end all the same.
        let end = within(driver).await.unwrap();
        assert!(end.as_ref().err().is_none_or(|error| error.is_io() || error.is_go_away()), "{end:?}");
        world.has_metric("portcullis_connections{listener=\"edge\"} 0").await;
    });
}

#[test]
fn proxy_is_heard_from_those_who_may_say_it_and_required_from_them() {
    run(async {
        let alice = Identity::new("alice");
        let home = Terms { client_ips: Some(vec!["192.0.2.0/24".parse().unwrap()]), ..Terms::default() };
        let listed = [("alice", &alice, home)];
        let world = World::start(&listed, |world| {
            world.proxy_protocol = true;
            world.trust.proxy_from = vec![IpAddr::from([127, 0, 0, 1]).into()];
        });
        let say = async |line: &str| {
            let mut stream = TcpStream::connect(world.address()).await.unwrap();
            stream.write_all(line.as_bytes()).await.unwrap();
            alice.shake_hands(stream, "http/1.1").await
        };
        let mut away = say("PROXY TCP4 198.51.100.1 127.0.0.1 4000 8443\r\n").await.unwrap();
        assert_eq!(end_of(&mut away).await, Err(Some(AlertDescription::AccessDenied)));
        let mut at_home = say("PROXY TCP4 192.0.2.7 127.0.0.1 4000 8443\r\n").await.unwrap();
        let mut byte = [0];
        world.has_metric("portcullis_connections{listener=\"edge\"} 1").await;
        assert!(tokio::time::timeout(Duration::ZERO, at_home.read(&mut byte)).await.is_err());
        assert!(say("").await.is_err(), "TLS where PROXY is required");

        let stranger = World::start(&listed, |world| world.proxy_protocol = true);
        let mut stream = TcpStream::connect(stranger.address()).await.unwrap();
        let _ = stream.write_all(b"PROXY TCP4 192.0.2.7 127.0.0.1 4000 8443\r\n").await;
        assert!(alice.shake_hands(stream, "http/1.1").await.is_err(), "nobody may say PROXY");
    });
}

#[test]
fn silent_handshakes_end_and_the_oldest_make_room() {
    run(async {
        let alice = Identity::new("alice");
        let listed = [("alice", &alice, Terms::default())];
        let world = World::start(&listed, |world| (world.limits.handshakes, world.limits.handshake) = (2, Duration::from_secs(3600)));
        let mut silent = Vec::new();
        for _ in 0..20 {
            silent.push(TcpStream::connect(world.address()).await.unwrap());
        }
        assert!(world.connect(&alice, "http/1.1").await.is_ok());
        let mut byte = [0];
        assert!(matches!(within(silent[0].read(&mut byte)).await, Ok(0) | Err(_)), "the oldest went");

        let world = World::start(&listed, |world| world.limits.handshake = Duration::from_millis(50));
        let mut silent = TcpStream::connect(world.address()).await.unwrap();
        assert!(matches!(within(silent.read(&mut byte)).await, Ok(0) | Err(_)));
        world.has_metric("portcullis_handshakes_total{listener=\"edge\",result=\"timed_out\",kind=\"full\"} 1").await;
    });
}

#[test]
fn a_drain_closes_what_is_idle_and_ends() {
    run(async {
        let alice = Identity::new("alice");
        let mut world = World::start(&[("alice", &alice, Terms::default())], |_| {});
        let mut idle = world.connect(&alice, "http/1.1").await.unwrap();
        world.has_metric("portcullis_handshakes_total{listener=\"edge\",result=\"admitted\",kind=\"full\"} 1").await;
        let address = world.address();
        world.drain.start();
        assert_eq!(end_of(&mut idle).await, Ok(Vec::new()));
        let running = world.running.take().unwrap();
        within(tokio::task::spawn_blocking(move || running.join())).await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    });
}

#[test]
fn connections_over_the_limit_are_closed_at_once() {
    run(async {
        let alice = Identity::new("alice");
        let world = World::start(&[("alice", &alice, Terms::default())], |world| world.limits.connections = 1);
        let first = world.connect(&alice, "http/1.1").await.unwrap();
        assert!(world.connect(&alice, "http/1.1").await.is_err());
        assert!(world.metric("portcullis_overloads_total{limit=\"connections\"} 1"));
        drop(first);
        within(async { while world.connect(&alice, "http/1.1").await.is_err() {} }).await;
    });
}
