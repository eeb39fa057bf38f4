//! `portcullis sign-challenge`: keys in every form that people keep them in, and nothing signed but a challenge of the gateway that was
//! dialled. OpenSSL makes the keys and checks the signatures.

use std::path::Path;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const ORIGIN: &str = "https://gate.test:8443";

/// A challenge as a gateway makes it; only that gateway can tell that its MAC is none.
fn challenge(origin: &str) -> Vec<u8> {
    let length = u16::try_from(origin.len()).expect("short").to_be_bytes();
    [b"portcullis-cert-challenge-v1\0", &length[..], origin.as_bytes(), &1_800_000_060_u64.to_be_bytes(), &[7; 16], &[9; 32]].concat()
}

fn run(directory: &Path, command: &str) {
    let output = Command::new("bash").args(["-c", &format!("set -e; {command}")]).current_dir(directory).output().expect("bash");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

fn sign(directory: &Path, key: &str, challenge: &[u8], more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(["sign-challenge", "--key-file-name", key, &STANDARD.encode(challenge)]).args(more).current_dir(directory);
    command.env("PORTCULLIS_GATEWAY", format!("{ORIGIN}/api/v2")).output().expect("the binary runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_key_signs_in_whatever_form_it_is_kept() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let here = directory.path();
    let challenge = challenge(ORIGIN);
    std::fs::write(here.join("challenge"), &challenge).expect("written");
    std::fs::write(here.join("password"), "s3cret word\n").expect("written");
    std::fs::write(here.join("wrong"), "another word\n").expect("written");
    let check = |key: &str, public: &str, more: &[&str]| {
        let output = sign(here, key, &challenge, more);
        assert!(output.status.success(), "{key}: {}", text(&output));
        let signature = STANDARD.decode(String::from_utf8_lossy(&output.stdout).trim()).expect("base64");
        std::fs::write(here.join("signature"), signature).expect("written");
        match public {
            "ed.pub" => run(here, "openssl pkeyutl -verify -rawin -pubin -inkey ed.pub -in challenge -sigfile signature"),
            public => run(here, &format!("openssl dgst -sha256 -verify {public} -signature signature challenge")),
        }
    };
    let password = ["--password-file", "password"];
    // SEC 1, as `ecparam -genkey` of Azure's page writes it: behind an EC PARAMETERS block.
    for (name, curve) in [("p256", "prime256v1"), ("p384", "secp384r1"), ("p521", "secp521r1")] {
        run(here, &format!("openssl ecparam -out {name}.pem -name {curve} -genkey; openssl pkey -in {name}.pem -pubout -out {name}.pub"));
        assert!(std::fs::read_to_string(here.join(format!("{name}.pem"))).expect("readable").contains("EC PARAMETERS"));
        check(&format!("{name}.pem"), &format!("{name}.pub"), &[]);
    }
    run(here, "openssl genrsa -traditional -out rsa.pem 2048; openssl pkey -in rsa.pem -pubout -out rsa.pub");
    run(here, "openssl genpkey -algorithm ed25519 -out ed.pem; openssl pkey -in ed.pem -pubout -out ed.pub");
    check("rsa.pem", "rsa.pub", &[]);
    check("ed.pem", "ed.pub", &[]);
    for name in ["p384", "rsa"] {
        let public = format!("{name}.pub");
        run(here, &format!("openssl pkcs8 -topk8 -nocrypt -in {name}.pem -out {name}.p8"));
        check(&format!("{name}.p8"), &public, &[]);
        run(here, &format!("openssl pkey -in {name}.pem -outform DER -out {name}.der"));
        check(&format!("{name}.der"), &public, &[]);
        run(here, &format!("openssl pkcs8 -topk8 -v2 aes-256-cbc -passout file:password -in {name}.pem -out {name}.enc"));
        check(&format!("{name}.enc"), &public, &password);
        let locked = sign(here, &format!("{name}.enc"), &challenge, &[]);
        assert_eq!(locked.status.code(), Some(3), "{}", text(&locked));
        // With its certificate, in one file; and in a PFX of today and of yesterday.
        run(
            here,
            &format!("openssl req -x509 -key {name}.pem -subj /CN={name} -days 2 -out {name}.crt; cat {name}.crt {name}.pem > {name}.all"),
        );
        check(&format!("{name}.all"), &public, &[]);
        let export = format!("openssl pkcs12 -export -in {name}.crt -inkey {name}.pem -passout file:password");
        run(here, &format!("{export} -out {name}.pfx; {export} -legacy -out {name}.old.pfx"));
        check(&format!("{name}.pfx"), &public, &password);
        check(&format!("{name}.old.pfx"), &public, &password);
    }
    for (name, kind) in [("s256", "ecdsa -b 256"), ("s384", "ecdsa -b 384"), ("s521", "ecdsa -b 521"), ("srsa", "rsa -b 2048")] {
        run(here, &format!("ssh-keygen -q -t {kind} -N '' -f {name}; ssh-keygen -e -m PKCS8 -f {name}.pub > {name}.pkcs8"));
        assert!(std::fs::read_to_string(here.join(name)).expect("readable").contains("OPENSSH PRIVATE KEY"));
        check(name, &format!("{name}.pkcs8"), &[]);
        // The same behind a passphrase: as today, and as seven years ago.
        for cipher in ["aes256-ctr", "aes256-cbc"] {
            let locked = format!("{name}.{cipher}");
            run(here, &format!("cp -p {name} {locked}; ssh-keygen -q -p -P '' -N 's3cret word' -Z {cipher} -a 4 -f {locked}"));
            check(&locked, &format!("{name}.pkcs8"), &password);
            for (more, words) in [(&[][..], "give its password"), (&["--password-file", "wrong"], "wrong password")] {
                let output = sign(here, &locked, &challenge, more);
                assert!(output.status.code() == Some(3) && text(&output).contains(words), "{locked}: {}", text(&output));
            }
        }
    }
}

#[test]
fn nothing_is_signed_but_a_challenge_of_the_gateway_that_was_dialled() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let here = directory.path();
    run(here, "openssl genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-256 -out key.pem");
    let good = challenge(ORIGIN);
    // RFC 8446, 4.4.3: what a client signs in a handshake.
    let verify = [&[0x20; 64], &b"TLS 1.3, client CertificateVerify\0"[..], &[0x5a; 32]].concat();
    for (name, bytes, origin, exit) in [
        ("ours", good.clone(), ORIGIN, 0),
        ("dialled by its name in capitals", good.clone(), "https://GATE.test:8443/api/v2", 0),
        ("what TLS 1.3 has signed", verify.clone(), ORIGIN, 1),
        ("that, behind a challenge", [&good[..], &verify].concat(), ORIGIN, 1),
        ("that, before a challenge", [&verify[..], &good].concat(), ORIGIN, 1),
        ("a digest", vec![0x5a; 32], ORIGIN, 1),
        ("another version's", [b"portcullis-cert-challenge-v2\0", &good[29..]].concat(), ORIGIN, 1),
        ("half of one", good[..good.len() / 2].to_vec(), ORIGIN, 1),
        ("another gateway's", challenge("https://evil.test:8443"), ORIGIN, 1),
        ("another port's", challenge("https://gate.test"), ORIGIN, 1),
        ("that of http", challenge("http://gate.test:8443"), ORIGIN, 1),
        ("ours, another dialled", good.clone(), "https://gate.test", 1),
        ("ours, none dialled", good.clone(), "", 2),
        ("ours, dialled plainly", good.clone(), "http://gate.test:8443", 2),
    ] {
        let output = sign(here, "key.pem", &bytes, &["--gateway-url", origin]);
        assert_eq!(output.status.code(), Some(exit), "{name}: {}", text(&output));
        assert_eq!(output.stdout.is_empty(), exit != 0, "{name}: {}", text(&output));
    }
}
