//! Behind the handshake: every suite against rustls' own client, and clients that send records nobody should.

use rustls::{ConnectionTrafficSecrets, SupportedCipherSuite};
use tokio_rustls::client::TlsStream;

use super::super::records::{ALERT, APPLICATION_DATA, HANDSHAKE, HEADER, Keys};
use super::super::stream::Stream;
use super::*;

/// A client that makes its records itself.
struct Raw {
    io: DuplexStream,
    sealing: Keys,
    opening: Keys,
}

impl Raw {
    async fn send(&mut self, kind: u8, text: &[u8]) {
        let mut record = Vec::new();
        self.sealing.seal(kind, &mut record, |out| out.extend_from_slice(text)).expect("a key");
        self.io.write_all(&record).await.expect("open");
    }

    /// Reads one record.
    async fn hear(&mut self) -> (u8, Vec<u8>) {
        let mut header = [0; HEADER];
        self.io.read_exact(&mut header).await.expect("a record");
        let mut body = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
        self.io.read_exact(&mut body).await.expect("all of it");
        let (kind, text) = self.opening.open(header, &mut body).expect("sealed for us");
        (kind, body[text].to_vec())
    }
}

/// Shakes hands; both ends have said a word.
async fn open(world: &World, client: &Client, room: usize) -> (Stream<DuplexStream>, TlsStream<DuplexStream>) {
    let (ours, theirs) = tokio::io::duplex(room);
    let connected = async {
        let name = ServerName::try_from(client.name).expect("a name");
        let mut stream = TlsConnector::from(Arc::clone(&client.config)).connect(name, theirs).await.expect("admitted");
        stream.read_exact(&mut [0; 5]).await.expect("a word");
        stream
    };
    let (session, stream) = tokio::join!(world.greet(ours), connected);
    (session.expect("admitted").stream, stream)
}

/// Shakes hands, and takes the client's keys out of rustls.
async fn open_raw(version: &'static SupportedProtocolVersion) -> (Stream<DuplexStream>, Raw) {
    let listed = Identity::client("listed");
    let world = World::new(&[&listed]);
    let client = Client::with(Some(&listed), &[version], |config| config.enable_secret_extraction = true);
    let (server, client) = open(&world, &client, 1 << 20).await;
    let (io, connection) = client.into_inner();
    let suite = connection.negotiated_cipher_suite().expect("one");
    let secrets = connection.dangerous_extract_secrets().expect("allowed");
    let keys = |(number, secrets): (u64, ConnectionTrafficSecrets)| Keys::new(suite, (number, &secrets)).expect("known");
    (server, Raw { io, sealing: keys(secrets.tx), opening: keys(secrets.rx) })
}

/// Says whether something has to wait for the other end.
async fn waits<T>(what: impl Future<Output = T>) -> bool {
    let mut what = std::pin::pin!(what);
    std::future::poll_fn(|context| std::task::Poll::Ready(what.as_mut().poll(context).is_pending())).await
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
}

#[tokio::test]
async fn every_suite_carries_both_ways_whatever_the_pieces() {
    let listed = Identity::client("listed");
    let sent = pattern(300_000);
    let world = World::new(&[&listed]);
    // Records do not depend on the kind of the certificate, and ours is ECDSA.
    let suites = provider().cipher_suites.iter().copied().filter(|suite| !format!("{suite:?}").contains("_RSA_")).collect::<Vec<_>>();
    assert_eq!(suites.len(), 6, "{suites:?}");
    for suite in suites {
        let version = if matches!(suite, SupportedCipherSuite::Tls13(_)) { TLS13 } else { TLS12 };
        let mut only = (*provider()).clone();
        only.cipher_suites = vec![suite];
        for (room, step) in [(1 << 20, 300_000), (700, 16_384), (50_000, 16_385), (64, 4_999), (100_000, 70_001)] {
            let client = Client::of(only.clone(), &listed, version);
            let (mut server, mut client) = open(&world, &client, room).await;
            let upload = async {
                for piece in sent.chunks(step) {
                    client.write_all(piece).await.expect("open");
                }
                client.flush().await.expect("open");
                let mut read = vec![0; sent.len()];
                client.read_exact(&mut read).await.expect("everything");
                client.shutdown().await.expect("open");
                read
            };
            let download = async {
                let mut read = vec![0; sent.len()];
                server.read_exact(&mut read).await.expect("everything");
                for piece in sent.chunks(step) {
                    let (begin, end) = piece.split_at(piece.len() / 3);
                    let slices = [io::IoSlice::new(begin), io::IoSlice::new(&[]), io::IoSlice::new(end)];
                    let written = server.write_vectored(&slices).await.expect("open");
                    server.write_all(&piece[written..]).await.expect("open");
                }
                server.flush().await.expect("open");
                assert_eq!(server.read(&mut [0; 9]).await.expect("a goodbye"), 0);
                read
            };
            let (back, there) = tokio::join!(upload, download);
            assert!(there == sent && back == sent, "{suite:?} {room} {step}");
            assert_eq!(server.held(), 0, "an idle connection has no buffer");
        }
    }
}

#[tokio::test]
async fn whoever_looks_at_the_socket_only_has_seen_all_that_is_here() {
    for version in BOTH {
        let (mut server, mut client) = open_raw(version).await;
        assert!(server.waits_for_more());
        client.send(APPLICATION_DATA, b"one").await;
        client.send(APPLICATION_DATA, b"two").await;
        server.read_exact(&mut [0; 1]).await.expect("a part");
        assert!(!server.waits_for_more(), "text that nobody took");
        server.read_exact(&mut [0; 2]).await.expect("the rest");
        assert!(!server.waits_for_more(), "a record that nobody opened");
        server.read_exact(&mut [0; 3]).await.expect("the other");
        assert!(server.waits_for_more());
        client.io.write_all(&[APPLICATION_DATA, 3]).await.expect("open");
        assert!(waits(server.read(&mut [0; 1])).await);
        assert!(!server.waits_for_more(), "half a record");

        let (mut server, mut client) = open_raw(version).await;
        client.send(ALERT, &[1, 0]).await;
        assert_eq!(server.read(&mut [0; 1]).await.expect("a goodbye"), 0);
        assert!(!server.waits_for_more(), "an end that stays");

        let (mut server, mut client) = open_raw(version).await;
        client.send(99, b"x").await;
        server.read(&mut [0; 1]).await.expect_err("no record");
        assert!(!server.waits_for_more(), "an error that stays");

        let (mut server, _client) = open_raw(version).await;
        assert!(waits(server.write_all(&pattern(2 << 20))).await);
        assert!(!server.waits_for_more(), "what is to be sent");
    }
}

#[tokio::test]
async fn keys_are_renewed_by_either_side_and_nothing_is_lost() {
    let listed = Identity::client("listed");
    let world = World::new(&[&listed]);
    let (mut server, mut client) = open(&world, &Client::new(Some(&listed), &[TLS13]), 1 << 20).await;
    for round in 0..40_u8 {
        client.get_mut().1.refresh_traffic_keys().expect("TLS 1.3");
        client.write_all(&[round; 3]).await.expect("open");
        client.flush().await.expect("open");
        let mut word = [0; 3];
        server.read_exact(&mut word).await.expect("its word");
        assert_eq!(word, [round; 3]);
        // Ours are spent in the middle of what is written.
        server.spend(3);
        let said = pattern(100_000);
        server.write_all(&said).await.expect("open");
        server.flush().await.expect("open");
        let mut read = vec![0; said.len()];
        client.read_exact(&mut read).await.expect("everything");
        assert!(read == said, "round {round}");
    }
}

#[tokio::test]
async fn a_spent_key_of_tls_1_2_ends_the_connection_with_a_goodbye() {
    let listed = Identity::client("listed");
    let world = World::new(&[&listed]);
    let (mut server, mut client) = open(&world, &Client::new(Some(&listed), &[TLS12]), 1 << 20).await;
    server.spend(2);
    server.write_all(b"last").await.expect("one more");
    assert!(server.write_all(b"more").await.is_err());
    server.shutdown().await.expect("open");
    let mut read = Vec::new();
    client.read_to_end(&mut read).await.expect("a goodbye");
    assert_eq!(read, b"last");
}

#[tokio::test]
async fn a_goodbye_ends_what_comes_and_its_want_is_no_end() {
    for version in BOTH {
        let (mut server, mut client) = open_raw(version).await;
        client.send(APPLICATION_DATA, b"one").await;
        client.send(ALERT, &[1, 0]).await;
        client.send(APPLICATION_DATA, b"behind it").await;
        let mut read = Vec::new();
        server.read_to_end(&mut read).await.expect("an end");
        assert_eq!(read, b"one");
        server.write_all(b"still heard").await.expect("half open");
        server.flush().await.expect("half open");
        assert_eq!(client.hear_data().await, b"still heard");

        let (mut server, mut client) = open_raw(version).await;
        client.send(APPLICATION_DATA, b"one").await;
        drop(client);
        let mut read = Vec::new();
        let error = server.read_to_end(&mut read).await.expect_err("no goodbye");
        assert_eq!((error.kind(), &read[..]), (io::ErrorKind::UnexpectedEof, &b"one"[..]));
    }
}

impl Raw {
    /// Reads on to what is no ticket.
    async fn hear_data(&mut self) -> Vec<u8> {
        loop {
            let (kind, text) = self.hear().await;
            if kind != HANDSHAKE {
                return text;
            }
        }
    }
}

/// What a client may not send, and the alert it hears.
#[tokio::test]
async fn a_client_that_breaks_the_protocol_hears_how() {
    const UPDATE: &[u8] = &[24, 0, 0, 1, 0];
    const CANCELED: &[u8] = &[1, 90];
    const EMPTY: (u8, &[u8]) = (APPLICATION_DATA, &[]);
    type Records = &'static [(u8, &'static [u8])];
    let both: &[(Records, u8, &str)] = &[
        (&[(ALERT, &[1])], 50, "half an alert"),
        (&[(ALERT, &[3, 0])], 47, "a level that is none"),
        (&[(99, b"x")], 10, "a type that is none"),
        (&[(HANDSHAKE, &[])], 10, "nothing of a handshake"),
        (&[(HANDSHAKE, &[2, 0, 0, 0])], 10, "a ServerHello"),
        (&[EMPTY; 33], 10, "nothing, without end"),
    ];
    let tls13: &[(Records, u8, &str)] = &[
        (&[(HANDSHAKE, &[24, 0, 0, 1, 2])], 47, "an update of a kind that is none"),
        (&[(HANDSHAKE, &[24, 0, 0, 2, 0])], 50, "an update of another length"),
        (&[(HANDSHAKE, &[24, 0, 0, 1, 0, 24])], 10, "something behind an update"),
        (&[(HANDSHAKE, &[24, 0]), (APPLICATION_DATA, b"x")], 10, "something between the pieces of an update"),
        (&[(HANDSHAKE, &[1, 0, 0, 0])], 10, "a ClientHello"),
        (&[(ALERT, &[1, 41])], 50, "a warning"),
        (&[(20, &[1])], 10, "a change_cipher_spec"),
    ];
    let tls12: &[(Records, u8, &str)] = &[
        (&[(HANDSHAKE, UPDATE)], 10, "a key update"),
        (&[(20, &[1])], 10, "a change_cipher_spec"),
        (&[(ALERT, CANCELED); 5], 10, "warnings"),
    ];
    for (version, cases) in [(TLS13, both), (TLS12, both), (TLS13, tls13), (TLS12, tls12)] {
        for (records, alert, what) in cases {
            let (mut server, mut client) = open_raw(version).await;
            for (kind, text) in *records {
                client.send(*kind, text).await;
            }
            assert!(server.read(&mut [0; 9]).await.is_err(), "{what}");
            assert_eq!(client.hear_data().await, [2, *alert], "{version:?}: {what}");
            assert!(server.read(&mut [0; 9]).await.is_err() && server.write(b"x").await.is_err(), "{what}");
        }
    }
}

#[tokio::test]
async fn a_record_that_is_none_is_refused_before_or_behind_its_seal() {
    for version in BOTH {
        for (what, alert) in [("torn", 20), ("short", 20), ("long", 22), ("clear alert", if version == TLS13 { 10 } else { 20 })] {
            let (mut server, mut client) = open_raw(version).await;
            let mut record = Vec::new();
            client.sealing.seal(APPLICATION_DATA, &mut record, |out| out.extend_from_slice(b"text")).expect("a key");
            match what {
                "torn" => *record.last_mut().expect("a tag") ^= 1,
                "short" => record = vec![23, 3, 3, 0, 3, 1, 2, 3],
                "long" => record = [&[23, 3, 3, 0x50, 0][..], &[0; 0x5000]].concat(),
                _ => record = vec![21, 3, 3, 0, 2, 2, 40],
            }
            client.io.write_all(&record).await.expect("open");
            assert!(server.read(&mut [0; 9]).await.is_err(), "{what}");
            assert_eq!(client.hear_data().await, [2, alert], "{version:?}: {what}");
        }
        // A text of more than 2^14 bytes, in a record that both lengths allow.
        let (mut server, mut client) = open_raw(version).await;
        client.send(APPLICATION_DATA, &[b'x'; (1 << 14) + 1]).await;
        assert!(server.read(&mut [0; 9]).await.is_err());
        assert_eq!(client.hear_data().await, [2, 22], "{version:?}");
    }
}

#[tokio::test]
async fn key_updates_without_end_are_refused_and_one_answer_is_enough_for_many() {
    let (mut server, mut client) = open_raw(TLS13).await;
    // The keys of the client stay: its second update cannot be opened. So one, which asks for ours, and nothing behind it.
    client.send(HANDSHAKE, &[24, 0]).await;
    client.send(HANDSHAKE, &[0, 1, 1]).await;
    let mut scratch = [0; 9];
    assert!(waits(server.read(&mut scratch)).await, "nothing was said but that");
    assert_eq!(client.hear_after_tickets().await, (HANDSHAKE, vec![24, 0, 0, 1, 0]));

    let listed = Identity::client("listed");
    let world = World::new(&[&listed]);
    let (mut server, mut client) = open(&world, &Client::new(Some(&listed), &[TLS13]), 1 << 20).await;
    for _ in 0..33 {
        client.get_mut().1.refresh_traffic_keys().expect("TLS 1.3");
    }
    client.write_all(b"behind them").await.expect("open");
    client.flush().await.expect("open");
    assert!(server.read(&mut scratch).await.is_err());
    let error = client.read(&mut scratch).await.expect_err("refused");
    assert_eq!(heard(&error), Heard::Alert(AlertDescription::UnexpectedMessage));
}

impl Raw {
    async fn hear_after_tickets(&mut self) -> (u8, Vec<u8>) {
        loop {
            let heard = self.hear().await;
            if heard.0 != HANDSHAKE || heard.1[0] != 4 {
                return heard;
            }
        }
    }
}

#[tokio::test]
async fn a_key_update_behind_the_finished_is_followed_and_answered() {
    let listed = Identity::client("listed");
    let world = World::new(&[&listed]);
    let client = Client::new(Some(&listed), &[TLS13]);
    // In one piece, and so that the handshake's last read ends at each place of it.
    for room in (300..330).chain([1 << 20]) {
        let (ours, mut theirs) = tokio::io::duplex(room);
        let client = async {
            let mut connection = client.connection();
            let mut scratch = vec![0; 64 * 1024];
            while connection.is_handshaking() {
                let mut flight = Vec::new();
                while connection.wants_write() {
                    connection.write_tls(&mut flight).expect("memory");
                }
                theirs.write_all(&flight).await.expect("open");
                let length = theirs.read(&mut scratch).await.expect("open");
                let mut read = &scratch[..length];
                while !read.is_empty() {
                    connection.read_tls(&mut read).expect("memory");
                    connection.process_new_packets().expect("an answer");
                }
            }
            connection.refresh_traffic_keys().expect("TLS 1.3");
            io::Write::write_all(&mut connection.writer(), b"behind it").expect("memory");
            let name = ServerName::try_from(client.name).expect("a name");
            let connector = TlsConnector::from(Arc::clone(&client.config));
            let mut stream = connector.connect_with(name, theirs, |fresh| *fresh = connection).await.expect("admitted");
            stream.flush().await.expect("open");
            let mut word = [0; 5];
            stream.read_exact(&mut word).await.expect("a word");
            word
        };
        let server = async {
            let mut stream = world.greet(ours).await.expect("admitted").stream;
            let mut read = [0; 9];
            stream.read_exact(&mut read).await.expect("everything");
            read
        };
        let (read, word) = tokio::join!(server, client);
        assert_eq!((&read, &word), (b"behind it", b"hello"), "{room}");
    }
}

/// An upload may be read by another task than the one that writes the answer.
#[tokio::test]
async fn a_read_does_not_take_the_place_of_whoever_waits_to_write() {
    struct Woken(std::sync::atomic::AtomicBool);
    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
    let listed = Identity::client("listed");
    let world = World::new(&[&listed]);
    let (mut server, mut client) = open(&world, &Client::new(Some(&listed), &[TLS13]), 1000).await;
    client.get_mut().1.refresh_traffic_keys().expect("TLS 1.3");
    client.write_all(b"up").await.expect("open");
    client.flush().await.expect("open");

    let (writer, reader) = (Arc::new(Woken(false.into())), Arc::new(Woken(false.into())));
    let (writes, reads) = (Arc::clone(&writer).into(), Arc::clone(&reader).into());
    let (mut writes, mut reads) = (std::task::Context::from_waker(&writes), std::task::Context::from_waker(&reads));
    let said = pattern(5000);
    let mut writing = Box::pin(server.write_all(&said));
    assert!(writing.as_mut().poll(&mut writes).is_ready(), "as much is sealed at once");
    drop(writing);
    assert!(Box::pin(server.flush()).as_mut().poll(&mut writes).is_pending());
    let mut up = [0; 9];
    assert!(Box::pin(server.read(&mut up)).as_mut().poll(&mut reads).is_ready());
    assert!(Box::pin(server.read(&mut up)).as_mut().poll(&mut reads).is_pending());

    let mut read = [0; 500];
    assert!(waits(client.read_exact(&mut read)).await, "less than a record is there");
    assert!(writer.0.load(std::sync::atomic::Ordering::Relaxed), "the writer is to go on");
}

#[tokio::test]
async fn whoever_sends_half_a_record_or_takes_nothing_holds_no_more_than_that() {
    let (mut server, mut client) = open_raw(TLS13).await;
    let mut record = Vec::new();
    client.sealing.seal(APPLICATION_DATA, &mut record, |out| out.extend_from_slice(&pattern(5000))).expect("a key");
    let (begin, end) = record.split_at(1000);
    client.io.write_all(begin).await.expect("open");
    let mut read = vec![0; 5000];
    assert!(waits(server.read(&mut read)).await);
    assert_eq!(server.held(), 1000);
    client.io.write_all(end).await.expect("open");
    server.read_exact(&mut read).await.expect("the rest");
    assert!(read == pattern(5000));

    let listed = Identity::client("listed");
    let world = World::new(&[&listed]);
    let (mut server, _client) = open(&world, &Client::new(Some(&listed), &[TLS13]), 1000).await;
    let said = pattern(10_000_000);
    assert!(waits(server.write_all(&said)).await, "the client takes nothing");
    assert!(server.held() < 400_000, "{}", server.held());
}
