//! Live connections, each with an answer that does not end, beside all those principals: how long until the one whose certificate is
//! revoked is seen closed by its client, from the ledger's sync on.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portcullis::clock::Clock;
use portcullis::config::{Loaded, OpenLedger};
use portcullis::drain;
use portcullis::listener::{self, BindAddress, Running};
use portcullis::log::Logs;
use portcullis::metrics::Metrics;
use portcullis::pki::Fingerprint;
use portcullis::reload::Control;
use portcullis::reload::journal::Journal;
use portcullis::rules::InForce;
use portcullis::store::ledger::{Appended, NewEntry, Reader};
use portcullis::store::managed::{Change, Document, State};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

const CONNECTIONS: usize = 200;
const ROUNDS: usize = 21;

/// The ledger, and when it was last synced.
pub(crate) struct Timed(OpenLedger, Arc<Mutex<Instant>>);

impl Timed {
    pub(crate) fn boxed(ledger: OpenLedger, synced: &Arc<Mutex<Instant>>) -> Box<dyn Journal> {
        Box::new(Self(ledger, Arc::clone(synced)))
    }
}

impl Journal for Timed {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn append(&mut self, changes: Vec<NewEntry>, now: Duration) -> Result<Vec<Appended>, String> {
        let appended = Journal::append(&mut self.0, changes, now);
        *self.1.lock().expect("whole") = Instant::now();
        appended
    }

    fn check(&self, change: &NewEntry) -> Result<(), String> {
        self.0.check(change)
    }

    fn publish(&mut self) -> Result<(), String> {
        self.0.publish()
    }

    fn store(&mut self, state: &Arc<State>) {
        self.0.store(state);
    }

    fn reader(&self) -> Option<Reader> {
        self.0.reader()
    }
}

fn thread<F: Future<Output = ()>>(what: impl FnOnce() -> F + Send + 'static) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, what());
    });
}

/// Begins an answer to each request, and does not end it.
pub(crate) fn upstream() -> SocketAddr {
    let (tell, told) = mpsc::channel();
    thread(move || async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        tell.send(listener.local_addr().expect("bound")).expect("waited for");
        loop {
            let (mut stream, _) = listener.accept().await.expect("accepted");
            tokio::task::spawn_local(async move {
                let mut bytes = [0; 4096];
                let _ = stream.read(&mut bytes).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n").await;
                while matches!(stream.read(&mut bytes).await, Ok(1..)) {}
            });
        }
    });
    told.recv().expect("bound")
}

/// Listens as `run` does.
pub(crate) fn listen(loaded: &Loaded) -> Running {
    let settings = &loaded.settings;
    let metrics = Metrics::new(settings.runtime.workers());
    let logs = Logs::open(&settings.audit, &metrics.log_lines_dropped).expect("no logs");
    let rules = Arc::new(InForce::new(Arc::clone(&loaded.rules)));
    let (starter, drain) = drain::channel();
    // It is not to drain while this process lives.
    std::mem::forget(starter);
    listener::start(rules, settings.runtime.clone(), Clock::default(), metrics, &logs, drain, None).expect("listens")
}

/// Has one after the other revoked.
pub(crate) fn revoke(running: &Running, control: &Control, directory: &Path, synced: &Mutex<Instant>) {
    let mut clients = Vec::new();
    for number in 0..CONNECTIONS {
        let key = rcgen::KeyPair::generate().expect("a key");
        let made =
            rcgen::CertificateParams::new(vec![format!("live-{number}.example")]).expect("a name").self_signed(&key).expect("signed");
        clients.push((made.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).expect("a key")));
    }
    let prints: Vec<String> = clients.iter().map(|(leaf, _)| Fingerprint::of(leaf).to_string()).collect();
    let put = |(number, print): (usize, &String)| {
        let (fingerprints, role) = (vec![print.clone()], Some("Reader".to_owned()));
        Change::put(
            Document { name: format!("live/{number}-{}", &print[..8]), fingerprints, role, ..Document::default() }
                .normalised()
                .expect("good"),
        )
    };
    super::change_all(control, prints.iter().enumerate().map(put).collect());
    let BindAddress::Tcp(address) = &running.bound()[0].address else { panic!("a port") };
    let (address, anchor) = (*address, CertificateDer::from_pem_file(directory.join("server.pem")).expect("written"));
    let (closes, closed) = mpsc::channel();
    let (begins, begun) = mpsc::channel();
    thread(move || async move {
        for (number, client) in clients.into_iter().enumerate() {
            let told = (begins.clone(), closes.clone());
            tokio::task::spawn_local(live(number, address, config(&anchor, client), told));
        }
        std::future::pending().await
    });
    (0..CONNECTIONS).for_each(|_| begun.recv_timeout(Duration::from_secs(60)).expect("all are answered"));
    let mut rounds = Vec::new();
    for (number, print) in prints.iter().enumerate().take(ROUNDS) {
        let asked = Instant::now();
        super::change(control, Change::revoke(&format!("sha256:{print}"), None));
        let (who, at): (usize, Instant) = closed.recv_timeout(Duration::from_secs(60)).expect("it is closed");
        assert_eq!(who, number, "nobody else's");
        rounds.push((at.duration_since(asked), at.saturating_duration_since(*synced.lock().expect("whole"))));
    }
    assert!(closed.try_recv().is_err(), "the others stay");
    let middle = |mut all: Vec<Duration>| {
        all.sort();
        (all[all.len() / 2], all[all.len() - 1])
    };
    let (asked, fsync) = (middle(rounds.iter().map(|round| round.0).collect()), middle(rounds.iter().map(|round| round.1).collect()));
    println!(
        "of {CONNECTIONS} live connections the one revoked was seen closed {:.2?} after the call (at most {:.2?}), {:.2?} after the sync (at most {:.2?})",
        asked.0, asked.1, fsync.0, fsync.1
    );
}

fn config(anchor: &CertificateDer<'static>, (leaf, key): (CertificateDer<'static>, PrivateKeyDer<'static>)) -> Arc<ClientConfig> {
    let mut anchors = rustls::RootCertStore::empty();
    anchors.add(anchor.clone()).expect("an anchor");
    Arc::new(ClientConfig::builder().with_root_certificates(anchors).with_client_auth_cert(vec![leaf], key).expect("a pair"))
}

/// Asks, hears the answer begin, and waits for its end.
async fn live(number: usize, address: SocketAddr, config: Arc<ClientConfig>, (begins, closes): (Sender<()>, Sender<(usize, Instant)>)) {
    let stream = TcpStream::connect(address).await.expect("connected");
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = TlsConnector::from(config).connect(name, stream).await.expect("a handshake");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("written");
    let (mut heard, mut bytes) = (Vec::new(), [0; 4096]);
    while !heard.windows(5).any(|window| window == b"begun") {
        let read = stream.read(&mut bytes).await.expect("an answer");
        assert!(read > 0, "closed: {}", String::from_utf8_lossy(&heard));
        heard.extend_from_slice(&bytes[..read]);
    }
    begins.send(()).expect("waited for");
    while matches!(stream.read(&mut bytes).await, Ok(1..)) {}
    let _ = closes.send((number, Instant::now()));
}
