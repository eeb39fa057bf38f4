//! Clients with proven keys, for benches of what comes behind a handshake: nothing else proves a key.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use portcullis::admission::ClientAddress;
use portcullis::gate::{Asker, Gate, Possession, Standing};
use portcullis::pki::Certificate;
use portcullis::tls::{self, Acceptor, ClientAuth, Credentials, KeyPair, Settings, TrustId};
use rcgen::CertificateParams;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

/// rcgen's certificates are valid for ages around it.
pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const ADDRESS: ClientAddress = ClientAddress::Settled(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

/// A leaf and its key.
pub(crate) struct Minted {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) key: rcgen::KeyPair,
}

impl Minted {
    pub(crate) fn own(name: &str) -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let signed = CertificateParams::new(vec![name.into()]).expect("a name").self_signed(&key).expect("signed");
        Self { der: signed.der().clone(), key }
    }

    pub(crate) fn certificate(&self) -> Certificate {
        Certificate::parse(self.der.clone()).expect("a certificate")
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).expect("PKCS#8")
    }
}

/// A server to shake hands with.
pub(crate) struct Prover {
    acceptor: Acceptor,
    roots: rustls::RootCertStore,
    runtime: tokio::runtime::Runtime,
}

/// Somebody who proved a key.
pub(crate) struct Proven(Option<Possession>);

impl Prover {
    pub(crate) fn new() -> Self {
        let server = Minted::own("gate.example");
        let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&server.private_key()).expect("a key that signs");
        let certified = Arc::new(rustls::sign::CertifiedKey::new(vec![server.der.clone()], signing));
        let settings = Settings {
            credentials: Credentials { key_pairs: vec![KeyPair { certified, names: ["gate.example".into()].into(), not_after: u64::MAX }] },
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
        let acceptor = Acceptor::new(settings, TrustId([0; 32]), None).expect("an acceptor");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(server.der.clone()).expect("an anchor");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { acceptor, roots, runtime }
    }

    /// Shakes hands with one of the gate's clients.
    pub(crate) fn prove(&self, gate: &Rc<Gate>, client: &Minted) -> Proven {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(self.roots.clone())
            .with_client_auth_cert(vec![client.der.clone()], client.private_key())
            .expect("a client's key");
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from("gate.example").expect("a name");
        let possession = self.runtime.block_on(async {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            let asker = asker();
            let accept = tls::handshake::accept(&self.acceptor, gate, ours, ADDRESS, &asker, Duration::from_secs(10));
            let (session, _client) = tokio::join!(accept, connector.connect(name, theirs));
            session.expect("admitted").possession
        });
        Proven(possession)
    }
}

impl Proven {
    /// Opens one of its connections.
    pub(crate) fn open(&self, gate: &Rc<Gate>) -> Rc<Standing> {
        Standing::open(gate, self.0.clone(), ADDRESS, asker(), false).expect("admitted")
    }
}

fn asker() -> Asker {
    Asker { listener: "bench".into(), peer: None, connection: 1 }
}
