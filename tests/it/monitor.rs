//! The monitor over TLS: a certificate that is renewed without a restart, a bad one that changes nothing, and silent crowds that
//! shut nobody out.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::{DEADLINE, Identity, Workspace, certificates, eventually};

/// Asks over TLS, trusting this server only; `None` where it does not answer as such.
fn ask(socket: &Path, trusted: &Identity, path: &str) -> Option<(CertificateDer<'static>, String)> {
    let stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    let mut roots = RootCertStore::empty();
    roots.add(trusted.leaf().clone()).ok()?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let client = ClientConnection::new(Arc::new(config), "monitor.test".try_into().ok()?).ok()?;
    let mut tls = StreamOwned::new(client, stream);
    write!(tls, "GET {path} HTTP/1.1\r\nHost: monitor.test\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    tls.read_to_string(&mut answer).ok()?;
    Some((tls.conn.peer_certificates()?[0].clone().into_owned(), answer))
}

#[test]
fn the_monitor_speaks_tls_and_takes_a_renewed_certificate_without_a_restart() {
    let workspace = Workspace::new();
    let (first, renewed) = (certificates::server(&["monitor.test"]), certificates::server(&["monitor.test"]));
    first.write(workspace.directory.path(), "watch");
    let plain = Workspace::config("require", "http://127.0.0.1:1", "");
    let secure = plain.replace("names = true\n", "names = true\ncertificate = { cert = \"watch.pem\", key = \"watch.key\" }\n");
    let mut proxy = workspace.start_with_somebody(&plain);
    let socket = proxy.path("monitor.sock");

    // Hot, like everything: from plain to TLS.
    proxy.replace("portcullis.toml", &secure);
    eventually("TLS is spoken", || ask(&socket, &first, "/readyz").is_some_and(|(_, answer)| answer.starts_with("HTTP/1.1 200")));
    assert!(proxy.monitor("/metrics").is_none(), "plain HTTP is over");
    let watched = "portcullis_certificate_expiry_seconds{kind=\"server\",name=\"watch.pem\"}";
    eventually("its end is watched", || ask(&socket, &first, "/metrics").is_some_and(|(_, metrics)| metrics.contains(watched)));

    // A key that is another certificate's: the last good pair stays.
    proxy.replace("watch.key", &renewed.key_pem);
    eventually("the mistake is said", || proxy.log().contains("the key belongs to another certificate"));
    assert!(ask(&socket, &first, "/livez").is_some(), "the last good pair is shown");
    let output = workspace.run(&["check", "-c", "portcullis.toml"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("watch.pem") && said.contains("the key belongs to another certificate"), "{said}");

    // And its certificate: renewed.
    proxy.replace("watch.pem", renewed.leaf_pem());
    eventually("the renewed certificate is shown", || ask(&socket, &renewed, "/livez").is_some_and(|(shown, _)| shown == *renewed.leaf()));
    assert!(ask(&socket, &first, "/livez").is_none(), "and the one before is not");

    // Whoever says nothing, or half a hello, holds up nobody.
    let crowd: Vec<UnixStream> = (0..200)
        .map(|at| {
            let mut stream = UnixStream::connect(&socket).expect("connects");
            if at % 2 == 0 {
                stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).expect("written");
            }
            stream
        })
        .collect();
    assert!(ask(&socket, &renewed, "/livez").is_some(), "among {} silent clients", crowd.len());
    assert!(proxy.is_running());
}

#[test]
fn check_says_where_a_monitors_certificate_is_wrong_and_warns_of_plain_http() {
    let workspace = Workspace::new();
    workspace.allow("somebody", &crate::support::Leaf::new("somebody").self_signed());
    let check = |monitor: &str| {
        let config = Workspace::config("require", "http://127.0.0.1:1", "");
        workspace.write("portcullis.toml", config.replace("address = \"unix:monitor.sock\"", monitor));
        let output = workspace.run(&["check", "-c", "portcullis.toml"]);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let tls = "address = \"127.0.0.1:9090\"\ncertificate = ";
    for (certificate, place, why) in [
        ("{ cert = \"absent.pem\", key = \"server.key\" }", "portcullis.toml:10:15", "absent.pem"),
        ("{ cert = \"server.pem\" }", "portcullis.toml:10:15", "a `cert` with its `key`, or a `pfx`"),
        ("\"server.pem\"", "portcullis.toml:10:15", "a table"),
    ] {
        let (code, said) = check(&format!("{tls}{certificate}"));
        assert_eq!(code, Some(3), "{said}");
        assert!([place, why, "^"].iter().all(|part| said.contains(part)), "{place} {why}: {said}");
    }
    let plain = "plain HTTP where other machines can hear it";
    for (monitor, warned) in [
        ("address = \"0.0.0.0:9090\"", true),
        ("address = \"[::1]:9090\"", false),
        ("address = \"unix:monitor.sock\"", false),
        ("address = \"0.0.0.0:9090\"\ncertificate = { cert = \"server.pem\", key = \"server.key\" }", false),
    ] {
        let (code, said) = check(monitor);
        assert_eq!((code, said.contains(plain)), (Some(0), warned), "{monitor}: {said}");
    }
}
