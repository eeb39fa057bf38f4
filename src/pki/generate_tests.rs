//! Tests of `generate.rs`: what is made is read back here, and by OpenSSL. `tests/it/certificates.rs` shows it to other tools.

use std::io::Read as _;
use std::process::Command;

use super::super::certificate::{BasicConstraints, KeyKind};
use super::super::files;
use super::*;

const NOW: u64 = 1_800_000_000;

fn options(password: Option<&str>) -> Options<'_> {
    Options { password, now: UnixTime::since_unix_epoch(std::time::Duration::from_secs(NOW)), ..Options::default() }
}

/// Runs OpenSSL with a file; returns what it printed, or its complaint.
fn openssl(arguments: &[&str], file: &[u8]) -> Result<String, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, file).unwrap();
    let out = Command::new("openssl").args(arguments).arg("-in").arg(&path).output().unwrap();
    let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if out.status.success() { Ok(told(&out.stdout) + &told(&out.stderr)) } else { Err(told(&out.stderr)) }
}

#[test]
fn a_client_certificate_is_for_clients_and_nothing_else() {
    for (key, kind) in [(NewKey::EcP256, KeyKind::Ec { bits: 256 }), (NewKey::Rsa3072, KeyKind::Rsa { bits: 3072 })] {
        let made = generate("build agent 7", &Options { key, ..options(None) }).unwrap();
        let certificate = &made.certificate;
        assert_eq!(certificate.key, kind);
        assert_eq!(certificate.subject.rfc2253(), "CN=build agent 7");
        assert!(certificate.is_self_issued() && certificate.is_signed_by(certificate.spki()));
        assert_eq!(certificate.basic_constraints, Some(BasicConstraints { ca: false, path_len: None }));
        let usage = certificate.key_usage.unwrap();
        assert!(usage.digital_signature && !usage.key_cert_sign && !usage.crl_sign);
        let extended = certificate.extended_key_usage.unwrap();
        assert!(extended.client_auth && !extended.server_auth && !extended.any);
        assert_eq!((certificate.not_before, certificate.not_after), (NOW - 300, NOW + 397 * 86_400));
        assert!(certificate.canonical && certificate.version == 3);
    }
}

#[test]
fn a_serial_has_twenty_octets_and_is_positive() {
    let serials: Vec<_> = (0..20).map(|_| serial().unwrap()).collect();
    assert!(serials.iter().all(|serial| (0x40..0x80).contains(&serial[0])));
    assert!(serials.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn every_file_opens_with_the_password_and_only_with_it() {
    let long = "x".repeat(512);
    for password in
        ["plain", "p@$$w0rd", "s3cr7t p@$$w0rd", "quo\"te's \\ `id` $HOME", "Größe Ω 密碼", " leading and trailing ", "a:b", &long]
    {
        let made = generate("client", &options(Some(password))).unwrap();
        let (chain, key) = files::pfx(&made.pfx, password).unwrap();
        assert_eq!(chain[0].fingerprint, made.certificate.fingerprint, "{password}");
        assert_eq!(key.der().secret_der(), made.key.der().secret_der());
        let read = files::private_key(made.key_pem.as_bytes(), Some(password)).unwrap();
        assert_eq!(read.der().secret_der(), made.key.der().secret_der());
        assert!(made.key_pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
        for wrong in ["", "wrong", &password[1..]] {
            assert!(files::pfx(&made.pfx, wrong).is_err() && files::private_key(made.key_pem.as_bytes(), Some(wrong)).is_err());
        }
        let pass = format!("pass:{password}");
        let told = openssl(&["pkcs12", "-info", "-nodes", "-passin", &pass], &made.pfx).unwrap();
        for part in
            ["MAC: sha256, Iteration 100000", "PBES2, PBKDF2, AES-256-CBC", "hmacWithSHA256", "friendlyName: client", "localKeyID: "]
        {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(openssl(&["pkey", "-noout", "-passin", &pass], made.key_pem.as_bytes()).is_ok(), "{password}");
        assert!(openssl(&["pkcs12", "-noout", "-passin", "pass:wrong"], &made.pfx).unwrap_err().contains("invalid password"));
    }
}

#[test]
fn without_a_password_the_key_is_plain_and_the_pfx_under_the_empty_one() {
    let made = generate("client", &options(None)).unwrap();
    assert!(made.key_pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    assert!(files::private_key(made.key_pem.as_bytes(), None).is_ok());
    assert!(files::pfx(&made.pfx, "").is_ok());
    assert!(openssl(&["pkcs12", "-noout", "-passin", "pass:"], &made.pfx).is_ok());
    assert_eq!(openssl(&["x509", "-noout", "-subject"], made.crt_pem.as_bytes()).unwrap().trim(), "subject=CN = client");
}

#[test]
fn what_no_certificate_or_pfx_can_carry_is_refused() {
    for (name, password, days, words) in [
        ("", None, 1, "empty"),
        ("  ", None, 1, "empty"),
        (&*"n".repeat(65), None, 1, "64"),
        ("a\nb", None, 1, "control"),
        ("a\0b", None, 1, "control"),
        ("client", Some("key \u{1f511}"), 1, "U+FFFF"),
        ("client", Some("a\nb"), 1, "control"),
        ("client", Some(&*"p".repeat(513)), 1, "512"),
        ("client", None, 0, "0 days"),
        ("client", None, 36_501, "36501 days"),
    ] {
        let error = generate(name, &Options { days, ..options(password) }).unwrap_err();
        assert!(error.to_string().contains(words), "{name:?}: {error}");
        assert!(password.is_none_or(|password| !error.to_string().contains(password)), "a password is never echoed");
    }
    assert!(generate("Jürgen 🔑", &options(Some("x"))).is_ok(), "names are Unicode");
}

#[test]
fn a_name_becomes_a_file_name_that_leads_nowhere() {
    for (name, expected) in [
        ("cluster.admin.client.certificate", "cluster.admin.client.certificate"),
        ("build agent 7", "build_agent_7"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("..", "certificate"),
        ("/", "certificate"),
        ("...///", "certificate"),
        (".bashrc", "bashrc"),
        ("C:\\Windows\\x", "C__Windows_x"),
        ("--help", "help"),
        ("a$(id)`id`;*?", "a__id__id____"),
        ("密碼", "certificate"),
        ("Jürgen", "J_rgen"),
        ("con", "con_"),
        ("COM1.backup", "COM1_.backup"),
        ("com10", "com10"),
        ("console", "console"),
        ("name.", "name"),
    ] {
        assert_eq!(file_stem(name), expected, "{name}");
    }
}

#[test]
fn the_zip_holds_three_files_for_their_owners_eyes() {
    let made = generate("../admin", &options(Some("p@$$w0rd"))).unwrap();
    let bytes = made.zip().unwrap();
    let mut archive = zip::ZipArchive::new(Cursor::new(&bytes[..])).unwrap();
    assert_eq!(archive.file_names().collect::<Vec<_>>(), ["_admin.pfx", "_admin.crt", "_admin.key"]);
    for (index, (_, content)) in made.files().iter().enumerate() {
        let mut entry = archive.by_index(index).unwrap();
        assert_eq!(entry.unix_mode().map(|mode| mode & 0o7777), Some(0o600));
        assert_eq!(entry.last_modified().map(|made| (made.year(), made.month(), made.day())), Some((2027, 1, 15)));
        let mut read = Vec::new();
        entry.read_to_end(&mut read).unwrap();
        assert_eq!(&read, content);
    }
}
