//! Promise 1: nobody unlisted gets in, and each hears exactly the alert, or the status and code, that its case has.

use rustls::AlertDescription as Alert;

use crate::support::{Client, Identity, Leaf, TestCa, TestUpstream, Workspace};

/// An authority of this test, `any = true`, with CRLs where a case needs them.
fn authority(name: &str, bounds: &str) -> String {
    format!(
        "\n[[principal]]\nname = \"{name}\"\nrole = \"Contributor\"\n[principal.authority]\ncertificates = [\"{name}.pem\"]\n{bounds}\n"
    )
}

struct Case {
    name: &'static str,
    identity: Identity,
    code: &'static str,
    alert: Alert,
}

/// Everybody who comes near being admitted, and why not.
fn strangers(seed: &Identity, root: &TestCa, intermediate: &TestCa) -> Vec<Case> {
    let case = |name, identity, code, alert| Case { name, identity, code, alert };
    let twin = TestCa::twin("root");
    vec![
        case("nobody", Leaf::new("nobody").self_signed(), "not_listed", Alert::AccessDenied),
        case(
            "the same subject and serial on another key",
            {
                let serial = serial_of(seed);
                Leaf::new("ACL Client Cert").serial(&serial).no_eku().ca().p384().self_signed()
            },
            "not_listed",
            Alert::AccessDenied,
        ),
        case(
            "a renewal on the same key",
            Leaf::new("ACL Client Cert").no_eku().ca().key_of(seed).self_signed(),
            "not_listed",
            Alert::AccessDenied,
        ),
        case("a child signed with a pinned key", Leaf::new("child").signed_with(seed), "not_listed", Alert::AccessDenied),
        case("expired and unlisted", Leaf::new("old").expired().self_signed(), "expired", Alert::CertificateExpired),
        case("not yet valid", Leaf::new("early").not_yet_valid().self_signed(), "not_yet_valid", Alert::CertificateExpired),
        case("issued, but expired", root.issue(Leaf::new("job-1").expired()), "expired", Alert::CertificateExpired),
        case("issued, outside the bounds", root.issue(Leaf::new("visitor")), "bounds_mismatch", Alert::AccessDenied),
        case("issued by the same name on another key", twin.issue(Leaf::new("job-1")), "chain_invalid", Alert::UnknownCA),
        case("issued for servers only", root.issue(Leaf::new("job-1").server_eku_only()), "unsuitable", Alert::UnsupportedCertificate),
        case("issued without an EKU", root.issue(Leaf::new("job-1").no_eku()), "unsuitable", Alert::UnsupportedCertificate),
        case("an intermediate presented as a client", intermediate.identity.clone(), "unsuitable", Alert::UnsupportedCertificate),
        case(
            "issued by an intermediate that did not come along",
            intermediate.issue(Leaf::new("job-1")),
            "not_listed",
            Alert::AccessDenied,
        ),
        case(
            "two common names",
            {
                let mut leaf = Leaf::new("job-1");
                leaf.params.distinguished_name.push(rcgen::DnType::CustomDnType(vec![2, 5, 4, 3]), "job-2");
                root.issue(leaf)
            },
            "ambiguous_common_name",
            Alert::AccessDenied,
        ),
        case("a certificate for servers only", Leaf::new("web").server_eku_only().self_signed(), "not_listed", Alert::AccessDenied),
    ]
}

/// The serial of the seed certificate, from openssl's own reading of it.
fn serial_of(identity: &Identity) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (cert, _) = identity.write(directory.path(), "cert");
    let output = std::process::Command::new("openssl").args(["x509", "-noout", "-serial", "-in"]).arg(cert).output().expect("openssl");
    let text = String::from_utf8(output.stdout).expect("text");
    let hex = text.trim().strip_prefix("serial=").expect("serial=HEX");
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_unlisted_gets_in_and_each_hears_its_own_alert() {
    let upstream = TestUpstream::start().await;
    let seed = Identity::seed("ACL Client Cert");
    let root = TestCa::new("root");
    let intermediate = root.intermediate("intermediate");
    let workspace = Workspace::new();
    workspace.allow("acl", &seed);
    workspace.write("ci.pem", root.pem());
    let cases = strangers(&seed, &root, &intermediate);
    let config = Workspace::config("require", &upstream.url(), &authority("ci", "common_names = [\"job-*\"]"));
    let proxy = workspace.start(&config);
    assert_eq!(Client::new(&proxy, Some(&seed)).get("/").await.expect("the seed certificate").status, 200);
    assert_eq!(Client::new(&proxy, Some(&root.issue(Leaf::new("job-1")))).get("/").await.expect("a job").status, 200);
    let served = upstream.received().len();
    for case in &cases {
        for client in [Client::tls12(&proxy, Some(&case.identity)), Client::tls13(&proxy, Some(&case.identity))] {
            let refused = client.get("/").await.expect_err(case.name);
            assert_eq!(refused.alert, Some(case.alert), "{}: {}", case.name, refused.why);
        }
        let count = proxy.metric(&format!("portcullis_denials_total{{code=\"{}\",listener=\"edge\"}}", case.code));
        assert!(count.is_some_and(|count| count >= 2.0), "{}: {} was not counted", case.name, case.code);
        let (file, _) = case.identity.write(proxy.directory(), "stranger");
        let explained = std::process::Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["explain", "--json", "-c", "portcullis.toml"])
            .arg(&file)
            .current_dir(proxy.directory())
            .output()
            .expect("explain runs");
        assert_eq!(explained.status.code(), Some(1), "{}: {}", case.name, String::from_utf8_lossy(&explained.stderr));
        let report: serde_json::Value = serde_json::from_slice(&explained.stdout).expect("JSON");
        assert_eq!(report["code"], case.code, "{}: {report:#}", case.name);
        let reason = match case.name {
            "the same subject and serial on another key" => "another key",
            "a renewal on the same key" => "a renewal is pinned anew",
            "a child signed with a pinned key" => "a pin is never an issuer",
            _ => continue,
        };
        assert!(report.to_string().contains(reason), "{}: {report:#}", case.name);
    }
    assert_eq!(upstream.received().len(), served, "a stranger's request reached the upstream");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_request_listener_each_stranger_reads_its_code() {
    let upstream = TestUpstream::start().await;
    let seed = Identity::seed("ACL Client Cert");
    let root = TestCa::new("root");
    let intermediate = root.intermediate("intermediate");
    let workspace = Workspace::new();
    workspace.allow("acl", &seed);
    workspace.write("ci.pem", root.pem());
    let proxy = workspace.start(&Workspace::config("request", &upstream.url(), &authority("ci", "common_names = [\"job-*\"]")));
    for case in strangers(&seed, &root, &intermediate) {
        for client in [Client::new(&proxy, Some(&case.identity)), Client::http2(&proxy, Some(&case.identity))] {
            let answer = client.get("/").await.unwrap_or_else(|refused| panic!("{}: {}", case.name, refused.why));
            assert_eq!((answer.status.as_u16(), answer.code().as_str()), (403, case.code), "{}", case.name);
            let told = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(!told.contains("acl") && !told.contains("job-"), "{}: a stranger learns names: {told}", case.name);
        }
    }
    let answer = Client::new(&proxy, None).get("/").await.expect("an HTTP answer");
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "no_credential"));
    assert!(answer.headers.contains_key("www-authenticate"));
    assert_eq!(upstream.received().len(), 0, "a stranger's request reached the upstream");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_certificate_is_certificate_required() {
    let upstream = TestUpstream::start().await;
    let proxy = Workspace::new().start_with_somebody(&Workspace::config("require", &upstream.url(), ""));
    for client in [Client::tls12(&proxy, None), Client::tls13(&proxy, None)] {
        let refused = client.get("/").await.expect_err("no certificate");
        assert_eq!(refused.alert, Some(Alert::CertificateRequired), "{}", refused.why);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thief_without_the_key_hears_decrypt_error_and_appears_in_no_refusal() {
    let upstream = TestUpstream::start().await;
    let (alice, thief) = (Leaf::new("alice").self_signed(), Leaf::new("thief").self_signed());
    let unlisted = Leaf::new("unlisted").self_signed();
    for client_auth in ["require", "request"] {
        let workspace = Workspace::new();
        workspace.allow("alice", &alice);
        let proxy = workspace.start(&Workspace::config(client_auth, &upstream.url(), ""));
        for stolen in [alice.stolen_by(&thief), unlisted.stolen_by(&thief)] {
            for client in [Client::tls12(&proxy, Some(&stolen)), Client::tls13(&proxy, Some(&stolen))] {
                let refused = client.get("/").await.expect_err("a thief");
                assert_eq!(refused.alert, Some(Alert::DecryptError), "{}", refused.why);
            }
        }
        let (_, metrics) = proxy.monitor("/metrics").expect("metrics");
        let denials: Vec<&str> =
            metrics.lines().filter(|line| line.starts_with("portcullis_denials_total")).filter(|line| !line.ends_with(" 0")).collect();
        assert!(denials.is_empty(), "{denials:?}");
        assert!(!proxy.log().contains(&unlisted.fingerprint()), "a refusal stands in a stranger's name");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_sixty_certificates_costs_no_more_than_its_denial() {
    let upstream = TestUpstream::start().await;
    let root = TestCa::new("root");
    let workspace = Workspace::new();
    workspace.write("ci.pem", root.pem());
    let proxy = workspace.start_with_somebody(&Workspace::config("require", &upstream.url(), &authority("ci", "any = true")));
    // Sixty CAs of one name that each might have signed the next, and one that claims the anchor's name.
    let junk: Vec<_> = (0..60).map(|_| TestCa::new("junk").identity.chain[0].clone()).collect();
    let bomb = TestCa::new("junk").issue(Leaf::new("bomb")).with_chain(junk.clone());
    let named = TestCa::twin("root").issue(Leaf::new("bomb")).with_chain(junk);
    for (identity, alert) in [(&bomb, Alert::AccessDenied), (&named, Alert::UnknownCA)] {
        let refused = Client::new(&proxy, Some(identity)).get("/").await.expect_err("a bomb");
        assert_eq!(refused.alert, Some(alert), "{}", refused.why);
    }
    assert_eq!(Client::new(&proxy, Some(&root.issue(Leaf::new("job")))).get("/").await.expect("others are served").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trust_anchor_that_is_expired_no_ca_or_absent_never_admits() {
    let upstream = TestUpstream::start().await;
    let valid = TestCa::new("root");
    let expired = TestCa { identity: TestCa::params("root").expired().self_signed() };
    let leaf_as_anchor = TestCa { identity: Leaf::new("root").self_signed() };
    for (what, anchors, leaf) in [
        ("expired", expired.pem(), expired.issue(Leaf::new("job"))),
        ("no CA", leaf_as_anchor.pem(), leaf_as_anchor.issue(Leaf::new("job"))),
        ("empty", String::new(), valid.issue(Leaf::new("job"))),
    ] {
        let workspace = Workspace::new();
        let config = Workspace::config("require", &upstream.url(), &authority("ci", "any = true"));
        workspace.allow("somebody", &Leaf::new("somebody").self_signed());
        workspace.write("portcullis.toml", &config);
        // At a start it is an error that is named.
        workspace.write("ci.pem", &anchors);
        let checked = workspace.run(&["check", "-c", "portcullis.toml"]);
        let said = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
        assert_eq!(checked.status.code(), Some(3), "{what}: {said}");
        assert!(said.contains("ci.pem"), "{what}: {said}");
        // In a reload the last good anchors stay, and the bad one admits nobody.
        workspace.write("ci.pem", valid.pem());
        let proxy = workspace.start(&config);
        let failures = || proxy.metric("portcullis_reload_total{result=\"failure\"}").unwrap_or(0.0);
        let before = failures();
        proxy.replace("ci.pem", &anchors);
        crate::support::eventually(&format!("{what}: it is said"), || failures() > before);
        if what != "empty" {
            let refused = Client::new(&proxy, Some(&leaf)).get("/").await.expect_err(what);
            assert_eq!(refused.alert, Some(Alert::UnknownCA), "{what}: {}", refused.why);
        }
        assert_eq!(
            Client::new(&proxy, Some(&valid.issue(Leaf::new("job")))).get("/").await.expect("the last good anchor").status,
            200,
            "{what}"
        );
    }
    assert_eq!(upstream.received().len(), 3);
}
