//! Clients that mean harm, or are merely odd.

use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::tls::handshake::slow_close;

/// How a ClientHello, which is one record, arrives: its pieces.
type Cut = fn(&[u8]) -> Vec<Vec<u8>>;

fn single_bytes(hello: &[u8]) -> Vec<Vec<u8>> {
    hello.iter().map(|byte| vec![*byte]).collect()
}

fn tiny_records(hello: &[u8]) -> Vec<Vec<u8>> {
    hello[5..].iter().map(|byte| vec![22, 3, 1, 0, 1, *byte]).collect()
}

fn tiny_records_at_once(hello: &[u8]) -> Vec<Vec<u8>> {
    vec![tiny_records(hello).concat()]
}

fn tiny_records_in_single_bytes(hello: &[u8]) -> Vec<Vec<u8>> {
    single_bytes(&tiny_records(hello).concat())
}

/// Traefik saw an empty SNI here, and chose the options without client certificates (CVE-2026-32305).
#[tokio::test]
async fn a_hello_in_pieces_keeps_its_name_and_resumes_only_who_is_listed() {
    let cuts: [Cut; 4] = [single_bytes, tiny_records, tiny_records_at_once, tiny_records_in_single_bytes];
    for (cut, version) in cuts.into_iter().flat_map(|cut| BOTH.map(|version| (cut, version))) {
        let removed = Identity::client("removed");
        let mut world = World::with(&[&removed], |settings| settings.strict_sni = true);
        let client = Client::new(Some(&removed), &[version]);
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let met = world.meet_in_pieces(&client, cut).await;
            assert_eq!(met.client, Ok(kind), "{version:?}");
            assert_eq!(met.admitted().sni.as_deref(), Some("gate.example"));
        }
        world.install(&[]);
        let met = world.meet_in_pieces(&client, cut).await;
        assert_eq!((met.denied(), met.heard()), ("not_listed", Heard::Alert(AlertDescription::AccessDenied)), "{version:?}");
    }
}

impl World {
    /// Shakes hands with a client whose ClientHello arrives as `cut` says.
    async fn meet_in_pieces(&self, client: &Client, cut: Cut) -> Met {
        let mut connection = client.connection();
        let mut hello = Vec::new();
        connection.write_tls(&mut hello).expect("memory");
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        let client = async {
            for piece in cut(&hello) {
                theirs.write_all(&piece).await.expect("memory");
                tokio::task::yield_now().await;
            }
            client.go_on(connection, theirs).await
        };
        let (server, client) = tokio::join!(self.greet(ours), client);
        Met { server, client }
    }
}

/// The answer to a resumed session is prepared before it is judged, and what stands behind a hello is read with it.
#[tokio::test]
async fn a_hello_with_garbage_behind_it_gets_no_answer_that_was_not_judged() {
    for version in BOTH {
        let removed = Identity::client("removed");
        let mut world = World::new(&[&removed]);
        let client = Client::new(Some(&removed), &[version]);
        world.meet(&client).await.admitted();
        world.install(&[]);
        let (mut connection, mut hello) = (client.connection(), Vec::new());
        connection.write_tls(&mut hello).expect("memory");
        hello.extend_from_slice(b"no record of TLS");
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        let client = async {
            theirs.write_all(&hello).await.expect("memory");
            theirs.shutdown().await.expect("memory");
            let mut heard = Vec::new();
            theirs.read_to_end(&mut heard).await.expect("an end");
            heard
        };
        let (server, heard) = tokio::join!(world.accept(ours), client);
        assert!(matches!(server, Err(TlsError::Protocol(_))), "{version:?}: {server:?}");
        connection.read_tls(&mut &heard[..]).expect("memory");
        let _ = connection.process_new_packets();
        assert_eq!(connection.handshake_kind(), Some(HandshakeKind::Full), "{version:?}");
        assert!(world.nothing_recorded());
    }
}

#[tokio::test]
async fn a_message_in_tiny_records_is_cut_off_wherever_it_stands() {
    let world = World::new(&[]);
    let mut hello = Vec::new();
    Client::new(Some(&Identity::client("stranger")), &[TLS12]).connection().write_tls(&mut hello).expect("memory");
    // A Certificate of 64 KiB, announced honestly, a byte a record.
    let tiny: Vec<u8> = [11, 0, 0xff, 0xff].into_iter().chain([0; 0xffff]).flat_map(|byte| [22, 3, 3, 0, 1, byte]).collect();
    let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
    let sending = async {
        theirs.write_all(&hello).await.expect("open");
        let taken = theirs.write_all(&tiny).await;
        (taken, theirs)
    };
    let (server, (taken, _theirs)) = tokio::join!(world.accept(ours), sending);
    assert!(matches!(server, Err(TlsError::Protocol(_))), "{server:?}");
    assert!(taken.is_err(), "all of it was taken");
}

#[tokio::test]
async fn a_client_that_speaks_nothing_of_ours_hears_which_alert() {
    let listed = Identity::client("listed");
    for version in BOTH {
        let world = World::with(&[&listed], |settings| settings.http2 = false);
        let client = Client::with(Some(&listed), &[version], |config| config.alpn_protocols = vec![b"h2".to_vec()]);
        let met = world.meet(&client).await;
        assert_eq!(met.heard(), Heard::Alert(AlertDescription::NoApplicationProtocol), "{version:?}");
    }
    // The same with a session that nobody judged yet.
    let mut world = World::new(&[&listed]);
    for version in BOTH {
        let client = Client::new(Some(&listed), &[version]);
        world.meet(&client).await.admitted();
        let mut other = Client { config: Arc::clone(&client.config), name: client.name };
        Arc::make_mut(&mut other.config).alpn_protocols = vec![b"other".to_vec()];
        let met = world.meet(&other).await;
        assert_eq!(met.heard(), Heard::Alert(AlertDescription::NoApplicationProtocol), "{version:?}");
        world.rebuild(TRUST);
    }
}

#[tokio::test]
async fn a_hello_that_never_ends_is_cut_off() {
    let world = World::new(&[]);
    // A ClientHello of 16 MiB, announced honestly; and one of 60 KiB in records of one byte, which are six times that.
    let honest: Vec<u8> = [22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff].into_iter().chain([0; 0x4000 - 4]).collect();
    let tiny: Vec<u8> = [1, 0, 0xf0, 0].into_iter().chain([0; 0xf000]).flat_map(|byte| [22, 3, 1, 0, 1, byte]).collect();
    for bytes in [honest.repeat(5), tiny] {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        let client = async {
            // The other end hangs up before it has read it all.
            let _ = theirs.write_all(&bytes).await;
        };
        let (server, ()) = tokio::join!(world.accept(ours), client);
        assert!(matches!(server, Err(TlsError::Protocol(_) | TlsError::Io(_))), "{server:?}");
    }
}

#[tokio::test]
async fn a_damaged_hello_admits_nobody_and_breaks_nothing() {
    let listed = Identity::client("listed");
    for version in BOTH {
        let world = World::new(&[&listed]);
        let client = Client::new(Some(&listed), &[version]);
        // Once with a session to offer.
        for _ in 0..2 {
            let mut hello = Vec::new();
            client.connection().write_tls(&mut hello).expect("memory");
            let truncated = (0..hello.len()).map(|length| hello[..length].to_vec());
            let flipped = (0..hello.len()).map(|at| [&hello[..at], &[hello[at] ^ 0x55], &hello[at + 1..]].concat());
            for damaged in truncated.chain(flipped) {
                let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
                theirs.write_all(&damaged).await.expect("memory");
                theirs.shutdown().await.expect("memory");
                assert!(matches!(world.accept(ours).await, Err(TlsError::Io(_) | TlsError::Protocol(_))), "{version:?}");
            }
            assert!(world.nothing_recorded());
            world.meet(&client).await.admitted();
        }
    }
}

#[tokio::test]
async fn what_is_no_tls_is_refused_at_once() {
    let world = World::new(&[]);
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x80\x2e\x01\x00\x02",
        &[0; 64],
        &[22, 3, 1, 0, 0],
    ] {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        theirs.write_all(bytes).await.expect("memory");
        theirs.shutdown().await.expect("memory");
        let server = world.accept(ours).await;
        assert!(matches!(server, Err(TlsError::Protocol(_) | TlsError::Io(_))), "{bytes:?}: {server:?}");
    }
    assert!(world.nothing_recorded());
}

#[tokio::test]
async fn chains_are_bounded() {
    let listed = Identity::client("listed");
    let junk = || std::iter::repeat_with(|| Identity::client("junk").chain.remove(0));
    let world = World::new(&[&listed]);
    for version in BOTH {
        let long = listed.clone().followed_by(junk().take(60));
        world.meet(&Client::new(Some(&long), &[version])).await.admitted();
        let repeated = listed.clone().followed_by(std::iter::repeat_n(long.chain[1].clone(), 400));
        let met = world.meet(&Client::new(Some(&repeated), &[version])).await;
        assert!(matches!(met.server, Err(TlsError::Protocol(_))), "{met:?}");
        // What follows the leaf is nobody's to read before a path is asked for.
        let garbage = listed.clone().followed_by([vec![0xff; 300].into()]);
        world.meet(&Client::new(Some(&garbage), &[version])).await.admitted();
    }
}

#[tokio::test]
async fn a_long_chain_is_no_reason_to_keep_much() {
    let listed = Identity::client("listed");
    let long = listed.clone().followed_by(std::iter::repeat_with(|| Identity::client("junk").chain.remove(0)).take(60));
    let world = World::new(&[&listed]);
    for version in BOTH {
        let client = Client::new(Some(&long), &[version]);
        for _ in 0..2 {
            assert_eq!(world.meet(&client).await.client, Ok(HandshakeKind::Full), "{version:?}");
        }
    }
}

#[tokio::test]
async fn what_is_sent_right_behind_the_handshake_arrives() {
    let listed = Identity::client("listed");
    let world = World::new(&[&listed]);
    let sent: Vec<u8> = (0..200_000_u32).map(|index| index as u8).collect();
    for version in BOTH {
        let client = Client::new(Some(&listed), &[version]);
        for _ in 0..2 {
            let (ours, theirs) = tokio::io::duplex(1 << 20);
            let server = async {
                let mut session = world.accept(ours).await.expect("admitted");
                session.stream.write_all(b"hello").await.expect("open");
                session.stream.flush().await.expect("open");
                let mut read = vec![0; sent.len()];
                session.stream.read_exact(&mut read).await.expect("everything");
                read
            };
            let client = async {
                let connector = TlsConnector::from(Arc::clone(&client.config));
                let mut stream = connector.connect(ServerName::try_from(client.name).expect("a name"), theirs).await.expect("a handshake");
                stream.write_all(&sent).await.expect("open");
                stream.flush().await.expect("open");
                let mut word = [0; 5];
                stream.read_exact(&mut word).await.expect("admitted");
            };
            let (read, ()) = tokio::join!(server, client);
            assert!(read == sent, "{version:?}");
        }
    }
}

/// A connection's task is as large as the largest of its states, for as long as it lives.
#[tokio::test]
async fn a_handshake_leaves_no_buffer_in_the_task_of_its_connection() {
    let world = World::new(&[]);
    let (ours, _theirs) = tokio::io::duplex(64);
    let asker = Asker { listener: "edge".into(), peer: None, connection: 1 };
    let shaking = handshake::accept(&world.acceptor, &world.gate, ours, ClientAddress::Unknown, &asker, Duration::from_secs(1));
    assert!(size_of_val(&shaking) <= 3 * 1024, "{} bytes", size_of_val(&shaking));
}

#[tokio::test]
async fn a_silent_client_is_timed_out() {
    let world = World::new(&[]);
    let (ours, _theirs) = tokio::io::duplex(64);
    let address = ClientAddress::Unknown;
    let asker = Asker { listener: "edge".into(), peer: None, connection: 1 };
    let failed = handshake::accept(&world.acceptor, &world.gate, ours, address, &asker, Duration::from_millis(10)).await;
    assert!(matches!(failed.expect_err("no handshake").error, TlsError::Timeout));
}

/// Closing at once would send a reset, because there is unread input; and the reset overtakes the alert.
#[tokio::test]
async fn a_denied_client_that_is_uploading_reads_its_alert() {
    let stranger = Identity::client("stranger");
    let world = World::new(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("bound");
    let client = Client::new(Some(&stranger), &[TLS13]);
    let server = async {
        let (io, _) = listener.accept().await.expect("a connection");
        let asker = Asker { listener: "edge".into(), peer: None, connection: 1 };
        let failed = handshake::accept(&world.acceptor, &world.gate, io, ClientAddress::Unknown, &asker, Duration::from_secs(10)).await;
        failed.expect_err("denied").close().await;
    };
    let client = async {
        let io = TcpStream::connect(at).await.expect("connected");
        let connector = TlsConnector::from(Arc::clone(&client.config));
        let mut stream = connector.connect(ServerName::try_from(client.name).expect("a name"), io).await.expect("so it believes");
        let body = vec![7; 100 * 1024];
        stream.write_all(&body).await.and(stream.flush().await).expect("no reset");
        let mut word = [0; 5];
        heard(&stream.read_exact(&mut word).await.expect_err("denied"))
    };
    let ((), heard) = tokio::join!(server, client);
    assert_eq!(heard, Heard::Alert(AlertDescription::AccessDenied));
}

#[tokio::test]
async fn a_slow_close_ends_with_the_client_or_without() {
    // A client that hangs up.
    let (ours, theirs) = tokio::io::duplex(64);
    drop(theirs);
    slow_close(ours).await;
    // One that sends for ever: the drain is bounded, so this returns.
    let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
    let flood = async { while theirs.write_all(&[0; 4096]).await.is_ok() {} };
    tokio::join!(slow_close(ours), flood);
}
