//! OpenSSL's own client against our acceptor: another implementation's idea of sessions and renegotiation.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use tokio::net::TcpListener;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::*;

/// An s_client with an identity's files and a place for its session.
struct OpenSsl {
    directory: tempfile::TempDir,
    version: &'static str,
}

impl OpenSsl {
    fn new(identity: &Identity, version: &'static str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        identity.write_der(directory.path());
        Self { directory, version }
    }

    /// Connects, types `input`, and reads until the server hangs up; returns all it printed.
    async fn run(&self, world: &World, input: &'static str, more: &[&str]) -> (Result<(), TlsError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &listener.local_addr().expect("bound").to_string(), "-servername", "gate.example"]);
        command.args([self.version, "-certform", "DER", "-keyform", "DER", "-cert", "cert.der", "-key", "key.der"]).args(more);
        command.current_dir(self.directory.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let printed = spawn_blocking(move || {
            let mut child = command.spawn().expect("openssl is installed");
            let mut stdin = child.stdin.take().expect("piped");
            stdin.write_all(input.as_bytes()).expect("open");
            let mut printed = String::new();
            child.stdout.take().expect("piped").read_to_string(&mut printed).expect("text");
            child.stderr.take().expect("piped").read_to_string(&mut printed).expect("text");
            child.wait().expect("ended");
            drop(stdin);
            printed
        });
        let server = async {
            let (io, _) = listener.accept().await.expect("a connection");
            let asker = Asker { listener: "edge".into(), peer: None, connection: 1 };
            match handshake::accept(&world.acceptor, &world.gate, io, ClientAddress::Unknown, &asker, Duration::from_secs(60)).await {
                Ok(mut session) => {
                    if input.is_empty() {
                        session.stream.write_all(b"hello").await.map_err(TlsError::Io)?;
                        session.stream.flush().await.map_err(TlsError::Io)?;
                    } else {
                        // The answer goes with the read; then the client has something to say, or nothing more.
                        let _ = session.stream.read(&mut [0; 64]).await;
                    }
                    handshake::slow_close(session.stream).await;
                    Ok(())
                }
                Err(mut failed) => {
                    let error = std::mem::replace(&mut failed.error, TlsError::Timeout);
                    failed.close().await;
                    Err(error)
                }
            }
        };
        let (server, printed) = timeout(Duration::from_secs(60), async { tokio::join!(server, printed) }).await.expect("an end");
        (server, printed.expect("ran"))
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }
}

#[tokio::test]
async fn openssl_resumes_and_hears_its_alert_once_it_is_removed() {
    let client = Identity::like_openssl("client");
    for (version, more) in [("-tls1_2", &[][..]), ("-tls1_2", &["-no_ticket"]), ("-tls1_3", &[])] {
        let mut world = World::new(&[&client]);
        let openssl = OpenSsl::new(&client, version);
        let (server, printed) = openssl.run(&world, "", &[&["-ign_eof", "-sess_out", "session"], more].concat()).await;
        assert!(server.is_ok() && printed.contains("New, TLSv1."), "{version} {more:?}: {server:?}\n{printed}");
        assert!(openssl.path().join("session").exists(), "{printed}");

        let resuming = [&["-ign_eof", "-sess_in", "session", "-sess_out", "session"], more].concat();
        let (server, printed) = openssl.run(&world, "", &resuming).await;
        assert!(server.is_ok() && printed.contains("Reused, TLSv1."), "{version} {more:?}: {server:?}\n{printed}");

        world.install(&[]);
        let (server, printed) = openssl.run(&world, "", &resuming).await;
        assert!(matches!(server, Err(TlsError::Denied(crate::admission::Denial::NotListed))), "{server:?}");
        assert!(printed.contains("alert number 49"), "{version} {more:?}: {printed}");
    }
}

#[tokio::test]
async fn openssl_may_not_renegotiate() {
    let client = Identity::like_openssl("client");
    let world = World::new(&[&client]);
    let (server, printed) = OpenSsl::new(&client, "-tls1_2").run(&world, "R\n", &[]).await;
    assert!(server.is_ok(), "{server:?}");
    assert!(printed.contains("RENEGOTIATING") && printed.contains("no renegotiation"), "{printed}");
}
