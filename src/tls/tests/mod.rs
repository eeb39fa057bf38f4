//! Handshakes in memory: a rustls client against our acceptor, one gate, a clock that is moved.

mod attacks;
mod identities;
mod judged;
mod openssl;
mod resumed;
mod traffic;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::ClientConnection;
use rustls::{AlertDescription, ClientConfig, HandshakeKind, SupportedProtocolVersion};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::TlsConnector;

use self::identities::{AnyServer, Holder, Identity};
use super::handshake::{self, Session, TlsError};
use super::{Acceptor, ClientAuth, Credentials, KeyPair, Settings, TrustId, provider};
use crate::admission::{
    AllowlistBuilder, ClientAddress, Credential, Pin, Principal, PrincipalId, PrincipalName, Provenance, Revocation, Snapshot, Terms,
};
use crate::clock::Clock;
use crate::gate::{Asker, Gate};
use crate::metrics::Metrics;
use crate::pki::Certificate;

const TLS12: &SupportedProtocolVersion = &rustls::version::TLS12;
const TLS13: &SupportedProtocolVersion = &rustls::version::TLS13;
const BOTH: [&SupportedProtocolVersion; 2] = [TLS12, TLS13];
const TRUST: TrustId = TrustId([1; 32]);

/// One worker's gate and one listener's acceptor.
struct World {
    clock: Clock,
    metrics: Arc<Metrics>,
    gate: Rc<Gate>,
    settings: Settings,
    acceptor: Acceptor,
}

/// What both ends have to say about a handshake.
#[derive(Debug)]
struct Met {
    server: Result<Session<DuplexStream>, TlsError>,
    client: Result<HandshakeKind, Heard>,
}

/// What a client learns of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Alert(AlertDescription),
    Closed,
}

impl World {
    /// A `require` listener with these on the list.
    fn new(listed: &[&Identity]) -> Self {
        Self::with(listed, |_| {})
    }

    /// A `request` listener with these on the list.
    fn request(listed: &[&Identity]) -> Self {
        Self::with(listed, |settings| settings.client_auth = ClientAuth::Request)
    }

    fn with(listed: &[&Identity], change: impl FnOnce(&mut Settings)) -> Self {
        let clock = Clock::fixed(identities::NOW);
        let metrics = Metrics::new(1);
        let gate = Gate::new(clock.clone(), Arc::clone(&metrics), snapshot(1, listed));
        let mut settings = Settings {
            credentials: Credentials { key_pairs: vec![key_pair(&["gate.example", "*.wild.example"])] },
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
        change(&mut settings);
        let acceptor = Acceptor::new(settings.clone(), TRUST, None).expect("an acceptor");
        Self { clock, metrics, gate, settings, acceptor }
    }

    /// Puts another list in force, as a reload does: with a new acceptor after the old one.
    fn install(&mut self, listed: &[&Identity]) {
        self.gate.install(snapshot(2, listed), Rc::new(()), None).finish();
        self.rebuild(TRUST);
    }

    fn rebuild(&mut self, trust: TrustId) {
        self.acceptor = Acceptor::new(self.settings.clone(), trust, Some(&self.acceptor)).expect("an acceptor");
    }

    async fn accept(&self, io: DuplexStream) -> Result<Session<DuplexStream>, TlsError> {
        let address = ClientAddress::Settled(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let asker = Asker { listener: "edge".into(), peer: None, connection: 1 };
        match handshake::accept(&self.acceptor, &self.gate, io, address, &asker, Duration::from_secs(10)).await {
            Ok(session) => Ok(session),
            Err(mut failed) => {
                let error = std::mem::replace(&mut failed.error, TlsError::Timeout);
                failed.close().await;
                Err(error)
            }
        }
    }

    /// Accepts, and sends a word.
    async fn greet(&self, io: DuplexStream) -> Result<Session<DuplexStream>, TlsError> {
        let mut session = self.accept(io).await?;
        session.stream.write_all(b"hello").await.map_err(TlsError::Io)?;
        session.stream.flush().await.map_err(TlsError::Io)?;
        Ok(session)
    }

    /// Shakes hands with a client; both ends then exchange a word, so that alerts and tickets arrive.
    async fn meet(&self, client: &Client) -> Met {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (server, client) = tokio::join!(self.greet(ours), client.call(theirs));
        Met { server, client }
    }

    /// Tells how often a denial was recorded.
    fn recorded(&self, code: &str) -> bool {
        self.metrics
            .render(0)
            .lines()
            .any(|line| line.starts_with("portcullis_denials_total") && line.contains(&format!("\"{code}\"")) && !line.ends_with(" 0"))
    }

    fn nothing_recorded(&self) -> bool {
        !self.metrics.render(0).lines().any(|line| line.starts_with("portcullis_denials_total{") && !line.ends_with(" 0"))
    }
}

impl Met {
    fn heard(&self) -> Heard {
        *self.client.as_ref().expect_err("the client was admitted")
    }

    fn admitted(&self) -> &Session<DuplexStream> {
        assert!(self.client.is_ok(), "{:?}", self.client);
        self.server.as_ref().expect("admitted")
    }

    fn denied(&self) -> &'static str {
        match &self.server {
            Err(TlsError::Denied(denial)) => denial.code(),
            other => panic!("not denied: {other:?}"),
        }
    }
}

/// A client that keeps its sessions.
struct Client {
    config: Arc<ClientConfig>,
    name: &'static str,
}

impl Client {
    fn new(identity: Option<&Identity>, versions: &[&'static SupportedProtocolVersion]) -> Self {
        Self::with(identity, versions, |_| {})
    }

    fn with(identity: Option<&Identity>, versions: &[&'static SupportedProtocolVersion], change: impl FnOnce(&mut ClientConfig)) -> Self {
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions).expect("versions");
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer));
        let mut config = match identity {
            Some(identity) => builder.with_client_cert_resolver(Arc::new(Holder::of(identity))),
            None => builder.with_no_client_auth(),
        };
        change(&mut config);
        Self { config: Arc::new(config), name: "gate.example" }
    }

    /// One that offers this and nothing else.
    fn of(provider: rustls::crypto::CryptoProvider, identity: &Identity, version: &'static SupportedProtocolVersion) -> Self {
        let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[version]).expect("versions");
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer));
        let config = builder.with_client_cert_resolver(Arc::new(Holder::of(identity)));
        Self { config: Arc::new(config), name: "gate.example" }
    }

    fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    fn connection(&self) -> ClientConnection {
        ClientConnection::new(Arc::clone(&self.config), ServerName::try_from(self.name).expect("a name")).expect("a connection")
    }

    async fn call(&self, io: DuplexStream) -> Result<HandshakeKind, Heard> {
        self.go_on(self.connection(), io).await
    }

    /// Finishes a handshake whose first bytes may have been sent already.
    async fn go_on(&self, connection: ClientConnection, io: DuplexStream) -> Result<HandshakeKind, Heard> {
        let name = ServerName::try_from(self.name).expect("a name");
        let connecting = TlsConnector::from(Arc::clone(&self.config)).connect_with(name, io, |fresh| *fresh = connection);
        let mut stream = connecting.await.map_err(|error| heard(&error))?;
        // In TLS 1.3 the client believes itself admitted until it reads.
        let mut word = [0; 5];
        stream.read_exact(&mut word).await.map_err(|error| heard(&error))?;
        Ok(stream.get_ref().1.handshake_kind().expect("a handshake"))
    }
}

fn heard(error: &io::Error) -> Heard {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(alert)) => Heard::Alert(*alert),
        Some(other) => panic!("the client gave up: {other}"),
        None => Heard::Closed,
    }
}

fn snapshot(generation: u64, listed: &[&Identity]) -> Arc<Snapshot> {
    let mut builder = AllowlistBuilder::default();
    let provenance = Provenance { file: "list.pem".into(), line: 1 };
    for (index, identity) in listed.iter().enumerate() {
        let name: PrincipalName = format!("client/{index}").parse().expect("a name");
        let principal = Principal {
            id: PrincipalId::derived(&name),
            name,
            display_name: None,
            terms: Arc::new(Terms::default()),
            provenance: provenance.clone(),
        };
        let leaf = Certificate::parse(identity.chain[0].clone()).expect("a certificate");
        builder.add(principal, vec![(Credential::Pin(Pin::from(&leaf)), provenance.clone())]).expect("no conflict");
    }
    Arc::new(Snapshot {
        generation,
        allowlist: builder.finish(),
        revocation: Revocation::default(),
        clock_skew: 0,
        bootstrap: Default::default(),
    })
}

fn key_pair(names: &[&str]) -> KeyPair {
    let identity = Identity::server(names);
    KeyPair {
        certified: identity.certified(),
        names: names.iter().map(|name| Box::from(*name)).collect(),
        not_after: identities::NOW + 86_400,
    }
}
