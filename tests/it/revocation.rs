//! Revocation beats listing, in every notation; CRLs count only when signed, newest and fresh; what restricts
//! shrinks only on purpose.

use rustls::AlertDescription as Alert;

use crate::support::certificates::pem_of;
use crate::support::{Client, Identity, Leaf, TestCa, TestProxy, TestUpstream, Workspace, eventually};

fn authority(more: &str) -> String {
    format!(
        "\n[[principal]]\nname = \"jobs\"\nrole = \"Contributor\"\n[principal.authority]\ncertificates = [\"ca.pem\"]\nany = true\n{more}"
    )
}

struct World {
    upstream: TestUpstream,
    workspace: Workspace,
    ca: TestCa,
    good: Identity,
    bad: Identity,
}

/// Two leaves of one CA: `good`, serial 0x52, and `bad`, serial 0x51.
async fn world() -> World {
    let (upstream, workspace, ca) = (TestUpstream::start().await, Workspace::new(), TestCa::new("root"));
    workspace.write("ca.pem", ca.pem());
    let (good, bad) = (ca.issue(Leaf::new("good").serial(&[0x52])), ca.issue(Leaf::new("bad").serial(&[0x51])));
    workspace.allow("somebody", &Leaf::new("somebody").self_signed());
    World { upstream, workspace, ca, good, bad }
}

async fn alert_of(proxy: &TestProxy, identity: &Identity) -> Option<Alert> {
    match Client::new(proxy, Some(identity)).get("/").await {
        Ok(answer) => {
            assert_eq!(answer.status, 200);
            None
        }
        Err(refused) => Some(refused.alert.unwrap_or_else(|| panic!("no alert: {}", refused.why))),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_crl_of_an_issuer_counts_in_either_order_and_a_forged_one_never() {
    for order in [[0, 1], [1, 0]] {
        let world = world().await;
        let crls = [world.ca.crl(1, &[], 24), world.ca.crl(2, &[&[0x51]], 24)];
        world.workspace.write("list.crl", format!("{}{}", crls[order[0]], crls[order[1]]));
        let config = Workspace::config("require", &world.upstream.url(), &authority("[revocation]\ncrls = [\"list.crl\"]\n"));
        let proxy = world.workspace.start(&config);
        assert_eq!(alert_of(&proxy, &world.good).await, None, "{order:?}");
        assert_eq!(alert_of(&proxy, &world.bad).await, Some(Alert::CertificateRevoked), "{order:?}");
        // The same name on another key says that `good` is revoked, and nothing else: its signature is not the issuer's.
        let forged = TestCa::twin("root").crl(9, &[&[0x52]], 24);
        let before = proxy.metric("portcullis_reload_total{result=\"failure\"}").unwrap_or(0.0);
        proxy.replace("list.crl", &forged);
        eventually("the forged CRL is said", || {
            proxy.metric("portcullis_reload_total{result=\"failure\"}").is_some_and(|count| count > before)
        });
        assert_eq!(alert_of(&proxy, &world.good).await, None, "{order:?}: a forged CRL counts");
        assert_eq!(
            alert_of(&proxy, &world.bad).await,
            Some(Alert::CertificateRevoked),
            "{order:?}: a forged CRL took the good one's place"
        );
        let checked = world.workspace.run(&["check", "-c", "portcullis.toml"]);
        assert_eq!(checked.status.code(), Some(3), "a start on a forged CRL");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_crl_denies_unless_it_only_warns() {
    for (policy, good) in [("deny", Some(Alert::AccessDenied)), ("warn", None)] {
        let world = world().await;
        world.workspace.write("list.crl", world.ca.crl(1, &[&[0x51]], -1));
        let more = authority(&format!("[revocation]\ncrls = [\"list.crl\"]\ncrl_stale = \"{policy}\"\n"));
        let proxy = world.workspace.start(&Workspace::config("require", &world.upstream.url(), &more));
        let checked = world.workspace.run(&["check"]);
        let said = String::from_utf8_lossy(&checked.stdout).into_owned();
        let meaning = if good.is_some() { "whoever its issuer signed is denied" } else { "what it does not is not" };
        assert_eq!(checked.status.code(), Some(0), "{said}");
        assert!(said.contains("is stale (nextUpdate 20") && said.contains(meaning), "{policy}: {said}");
        eventually(&format!("{policy}: the log warns as well"), || proxy.log().contains("is stale (nextUpdate 20"));
        assert_eq!(alert_of(&proxy, &world.good).await, good, "{policy}");
        assert_eq!(alert_of(&proxy, &world.bad).await, Some(Alert::CertificateRevoked), "{policy}: stale or not, it says so");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_required_crl_that_is_missing_denies() {
    let world = world().await;
    let more = authority("[revocation]\nrequire_crl = true\n");
    let proxy = world.workspace.start(&Workspace::config("require", &world.upstream.url(), &more));
    assert_eq!(alert_of(&proxy, &world.good).await, Some(Alert::AccessDenied));
    assert_eq!(proxy.metric("portcullis_denials_total{listener=\"edge\",code=\"revocation_unknown\"}"), Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_crl_files_stop_the_start_and_never_a_running_proxy() {
    for (name, content) in [
        ("empty", String::new()),
        ("cut short", "-----BEGIN X509 CRL-----\nMIIB".into()),
        ("no CRL", Leaf::new("x").self_signed().leaf_pem()),
    ] {
        let world = world().await;
        world.workspace.write("list.crl", &content);
        world.workspace.write(
            "portcullis.toml",
            Workspace::config("require", &world.upstream.url(), &authority("[revocation]\ncrls = [\"list.crl\"]\n")),
        );
        let output = world.workspace.run(&["check", "-c", "portcullis.toml"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(3), "{name}: {said}");
        assert!(said.contains("list.crl"), "{name}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crl_that_vanishes_empties_or_goes_back_stays_in_force() {
    let world = world().await;
    world.workspace.write("list.crl", world.ca.crl(5, &[&[0x51]], 24));
    let proxy =
        world.workspace.start(&Workspace::config("require", &world.upstream.url(), &authority("[revocation]\ncrls = [\"list.crl\"]\n")));
    assert_eq!(alert_of(&proxy, &world.bad).await, Some(Alert::CertificateRevoked));
    // A forged one behind an older one: two of before came from this file then, and the newer of them counts.
    let (older, forged) = (world.ca.crl(4, &[], 24), TestCa::twin("root").crl(9, &[], 24));
    for (state, content) in
        [("removed", None), ("empty", Some(String::new())), ("older", Some(older)), ("forged", Some(forged)), ("removed again", None)]
    {
        let failures = || proxy.metric("portcullis_reload_total{result=\"failure\"}").unwrap_or(0.0);
        let before = failures();
        match content {
            Some(content) => proxy.replace("list.crl", content),
            None => proxy.remove("list.crl"),
        }
        eventually(&format!("{state}: it alarms"), || failures() > before);
        assert_eq!(alert_of(&proxy, &world.bad).await, Some(Alert::CertificateRevoked), "{state}");
    }
    let before = proxy.generation();
    proxy.replace("list.crl", world.ca.crl(6, &[&[0x52]], 24));
    proxy.wait_for_generation_after(before);
    assert_eq!(alert_of(&proxy, &world.bad).await, None, "a newer CRL takes effect");
    assert_eq!(alert_of(&proxy, &world.good).await, Some(Alert::CertificateRevoked));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_notation_of_an_id_revokes() {
    let world = world().await;
    let directory = world.workspace.directory.path();
    let (cert, _) = world.bad.write(directory, "bad");
    let openssl = |arguments: &[&str]| {
        let output = std::process::Command::new("openssl").args(arguments).arg("-in").arg(&cert).output().expect("openssl");
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    };
    let after = |text: String| text.split_once('=').expect("NAME=VALUE").1.to_owned();
    let sha256 = after(openssl(&["x509", "-noout", "-fingerprint", "-sha256"]));
    let sha1 = after(openssl(&["x509", "-noout", "-fingerprint", "-sha1"]));
    let spki = spki_pin(&world.bad);
    let issuer = spki_pin(&world.ca.identity);
    let ids = [
        format!("sha256:{sha256}"),
        sha256.clone(),
        sha256.replace(':', "").to_lowercase(),
        format!("sha1:{sha1}"),
        sha1.replace(':', ""),
        format!("spki:{spki}"),
        "serial:51".into(),
        "serial:0x51".into(),
        "serial:0051".into(),
        "serial-dec:81".into(),
        "81".into(),
        "0x51".into(),
        format!("serial:51@spki:{issuer}"),
    ];
    let config = |id: &str| Workspace::config("require", &world.upstream.url(), &authority(&format!("[revocation]\nids = [\"{id}\"]\n")));
    let mut proxy = None;
    for id in &ids {
        let proxy = match &mut proxy {
            None => &*proxy.insert(world.workspace.start(&config(id))),
            Some(proxy) => {
                let before = TestProxy::generation(proxy);
                proxy.replace("portcullis.toml", config(id));
                proxy.wait_for_generation_after(before);
                &*proxy
            }
        };
        assert_eq!(alert_of(proxy, &world.bad).await, Some(Alert::CertificateRevoked), "{id}");
        assert_eq!(alert_of(proxy, &world.good).await, None, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_twin_of_a_revoked_certificates_signature_is_revoked_too() {
    let world = world().await;
    let mut twin = world.bad.clone();
    twin.chain[0] = twin_of(&world.bad).into();
    assert_ne!(twin.fingerprint(), world.bad.fingerprint());
    world.workspace.write("twin.pem", pem_of(twin.leaf()));
    let more = |id: &str| authority(&format!("[revocation]\nids = [\"sha256:{id}\"]\n"));
    for revoked in [world.bad.fingerprint(), twin.fingerprint()] {
        let proxy = world.workspace.start(&Workspace::config("require", &world.upstream.url(), &more(&revoked)));
        for identity in [&world.bad, &twin] {
            assert_eq!(alert_of(&proxy, identity).await, Some(Alert::CertificateRevoked));
        }
    }
    let proxy = world.workspace.start(&Workspace::config("require", &world.upstream.url(), &authority("")));
    assert_eq!(alert_of(&proxy, &twin).await, None, "the twin is a good certificate otherwise: the test made it right");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_id_survives_the_loss_of_its_file_and_a_cold_start() {
    let world = world().await;
    world.workspace.write("revoked.txt", "serial:51\n");
    let config = Workspace::config("require", &world.upstream.url(), &authority("[revocation]\nfiles = [\"revoked.txt\"]\n"));
    let mut proxy = world.workspace.start(&config);
    assert_eq!(alert_of(&proxy, &world.bad).await, Some(Alert::CertificateRevoked));
    proxy.remove("revoked.txt");
    eventually("the loss is said", || proxy.log().contains("revoked.txt"));
    assert_eq!(alert_of(&proxy, &world.bad).await, Some(Alert::CertificateRevoked));
    proxy.signal("KILL");
    proxy.wait();
    let again = world.workspace.start(&config);
    assert_eq!(alert_of(&again, &world.bad).await, Some(Alert::CertificateRevoked), "last good restrictions hold at a cold start");
    assert_eq!(alert_of(&again, &world.good).await, None);
}

/// SHA-256 of the SubjectPublicKeyInfo, base64, as openssl's recipe has it.
fn spki_pin(identity: &Identity) -> String {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (cert, _) = identity.write(directory.path(), "cert");
    let script = format!(
        "openssl x509 -in {} -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64",
        cert.display()
    );
    let output = std::process::Command::new("sh").args(["-c", &script]).output().expect("sh");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// Writes a P-256 certificate again with (r, n - s) for its signature (r, s).
fn twin_of(identity: &Identity) -> Vec<u8> {
    const N: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17,
        0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let der = identity.leaf().as_ref();
    let (header, body) = tlv(der);
    assert_eq!(header, 0x30);
    let tbs_whole = &body[..body.len() - rest(body).len()];
    let algorithm_onward = rest(body);
    let algorithm = &algorithm_onward[..algorithm_onward.len() - rest(algorithm_onward).len()];
    let (_, bits) = tlv(rest(algorithm_onward));
    let (_, sequence) = tlv(&bits[1..]);
    let (_, r) = tlv(sequence);
    let (_, s) = tlv(rest(sequence));
    let mut padded = [0; 32];
    let s = if s[0] == 0 { &s[1..] } else { s };
    padded[32 - s.len()..].copy_from_slice(s);
    let (mut minus, mut borrow) = ([0u8; 32], 0i16);
    for at in (0..32).rev() {
        let digit = i16::from(N[at]) - i16::from(padded[at]) - borrow;
        borrow = i16::from(digit < 0);
        minus[at] = digit.rem_euclid(256) as u8;
    }
    let mut integer: Vec<u8> = minus.iter().copied().skip_while(|byte| *byte == 0).collect();
    if integer[0] & 0x80 != 0 {
        integer.insert(0, 0);
    }
    let signature = encode(0x30, &[encode(0x02, r), encode(0x02, &integer)].concat());
    let bits = encode(0x03, &[&[0], &signature[..]].concat());
    encode(0x30, &[tbs_whole, algorithm, &bits].concat())
}

fn tlv(der: &[u8]) -> (u8, &[u8]) {
    let (start, length) = extent(der);
    (der[0], &der[start..start + length])
}

fn rest(der: &[u8]) -> &[u8] {
    let (start, length) = extent(der);
    &der[start + length..]
}

fn extent(der: &[u8]) -> (usize, usize) {
    match der[1] {
        short if short < 0x80 => (2, usize::from(short)),
        long => {
            let bytes = usize::from(long & 0x7f);
            (2 + bytes, der[2..2 + bytes].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
        }
    }
}

fn encode(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        short if short < 0x80 => out.push(short as u8),
        long if long < 0x100 => out.extend([0x81, long as u8]),
        long => out.extend([0x82, (long >> 8) as u8, long as u8]),
    }
    out.extend_from_slice(content);
    out
}
