//! Promise 6: every refusal has a stable code, and one command replays it: which rule, which file and line, what failed.

use crate::support::{Identity, Leaf, Workspace};

#[test]
fn it_explains_itself_offline_from_the_files() {
    let workspace = Workspace::new();
    let (alice, stranger) = (Identity::seed("alice"), Leaf::new("stranger").self_signed());
    workspace.allow("alice", &alice);
    workspace.write("alice.pem", alice.leaf_pem());
    workspace.write("stranger.pem", stranger.leaf_pem());
    let config = Workspace::config("require", "http://127.0.0.1:1", "");
    workspace.write("portcullis.toml", &config);
    let admitted = workspace.run(&["explain", "alice.pem", "--route", "POST https://localhost/orders"]);
    let said = String::from_utf8_lossy(&admitted.stdout);
    assert_eq!(admitted.status.code(), Some(0), "{said}");
    for wanted in ["verdict     admitted", "principal   alice", "allowlist/alice.pem", "route       all", "access      write"] {
        assert!(said.contains(wanted), "{wanted} is not in\n{said}");
    }
    // Nobody upgrades to TLS: such an offer is ignored, listed or not.
    let ignored = workspace.run(&["explain", "alice.pem", "--route", "GET https://localhost/", "--upgrade", "tls/1.0"]);
    assert_eq!(ignored.status.code(), Some(0), "{ignored:?}");
    let expect = |arguments: &[&str], wanted: &str| {
        let output = workspace.run(&[&["--json", "explain"], arguments].concat());
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        assert_eq!((output.status.code(), report["code"].as_str()), (Some(1), Some(wanted)), "{arguments:?}: {report}");
        report
    };
    let report = expect(&["stranger.pem"], "not_listed");
    assert_eq!((report["status"].as_u64(), report["alert"].as_str()), (Some(403), Some("access_denied")));
    let last = report["steps"].as_array().and_then(|steps| steps.last()).expect("steps");
    assert_eq!((last["passed"].as_bool(), last["code"].as_str()), (Some(false), Some("not_listed")));
    expect(&[], "no_credential");
    expect(&["alice.pem", "--at", "2101-01-01T00:00:00Z"], "expired");
    expect(&["alice.pem", "--at", "2001-01-01T00:00:00Z"], "not_yet_valid");
    expect(&["alice.pem", "--route", "POST https://localhost/", "--origin", "https://evil.test"], "origin_denied");
    expect(&["alice.pem", "--route", "GET https://localhost/", "--upgrade", "irc"], "upgrade_refused");
    expect(&["alice.pem", "--route", "GET https://localhost/%zz"], "malformed_request");
    expect(&["alice.pem", "--route", "TRACE https://localhost/"], "method_not_allowed");
    expect(&["alice.pem", "--route", "GET https://localhost/a%2Fb"], "malformed_request");
    // Before admission a stranger learns neither what a route takes nor which routes exist.
    expect(&["stranger.pem", "--route", "TRACE https://localhost/"], "not_listed");
    expect(&["stranger.pem", "--route", "GET https://localhost/a%2Fb"], "not_listed");
    workspace.write("portcullis.toml", config.replace("path = \"/\"", "path = \"/orders/\""));
    expect(&["alice.pem", "--route", "GET https://localhost/nothing"], "no_route");
    expect(&["stranger.pem", "--route", "GET https://localhost/nothing"], "not_listed");
}

#[test]
fn explain_asks_about_the_listener_the_sni_and_preflights() {
    let workspace = Workspace::new();
    let alice = Identity::seed("alice");
    workspace.write("alice.pem", alice.leaf_pem());
    let more = r#"
[[listener]]
name = "control"
address = "127.0.0.1:18443"
serve = ["admin"]
certificates = [{ cert = "server.pem", key = "server.key" }]

[[route]]
name = "b"
hosts = ["b.test"]
path = "/"
auth = "optional"
upstream = "app"

[[principal]]
name = "page"
role = "Reader"
cors_origins = ["https://shop.example"]
certificates = ["alice.pem"]
"#;
    workspace.allow("somebody", &Leaf::new("somebody").self_signed());
    workspace.write("portcullis.toml", Workspace::config("require", "http://127.0.0.1:1", more));
    let ask = |arguments: &[&str]| {
        let output = workspace.run(&[&["--json", "explain", "alice.pem"], arguments].concat());
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        let said = [&report["verdict"], &report["code"], &report["listener"]].map(|value| value.as_str().unwrap_or("-").to_owned());
        (output.status.code(), said.join(" "))
    };
    let table: [(&[&str], &str); 14] = [
        (&["--route", "GET https://localhost/"], "admit - edge"),
        (&["--route", "GET https://localhost/", "--sni", "LOCALHOST."], "admit - edge"),
        (&["--route", "GET https://127.0.0.1/"], "admit - edge"),
        // Another policy, and a name that our certificate does not cover.
        (&["--route", "GET https://localhost/", "--sni", "b.test"], "deny misdirected edge"),
        (&["--route", "GET https://other.test/", "--sni", "localhost"], "deny misdirected edge"),
        (&["--route", "OPTIONS https://localhost/", "--origin", "https://shop.example"], "open - edge"),
        (&["--route", "OPTIONS https://localhost/", "--origin", "https://evil.example"], "deny origin_denied edge"),
        // A rank that it has not, by the listener's name and by its port; and what there is not.
        (&["--listener", "control"], "admit - control"),
        (&["--listener", "control", "--route", "GET https://localhost/v1/whoami"], "admit - control"),
        (&["--listener", "control", "--route", "GET https://localhost/v1/status"], "deny clearance_too_low control"),
        (&["--route", "GET https://localhost:18443/v1/status"], "deny clearance_too_low control"),
        (&["--route", "DELETE https://localhost:18443/v1/whoami"], "deny method_not_allowed control"),
        (&["--route", "GET https://localhost:18443/v1/nothing"], "deny no_route control"),
        (&["--route", "GET https://other.test:18443/v1/whoami", "--sni", "localhost"], "deny misdirected control"),
    ];
    for (arguments, expected) in table {
        let exit = if expected.starts_with("deny") { 1 } else { 0 };
        assert_eq!(ask(arguments), (Some(exit), expected.to_owned()), "{arguments:?}");
    }
    let strict =
        Workspace::config("require", "http://127.0.0.1:1", more).replace("name = \"edge\"\n", "name = \"edge\"\nstrict_sni = true\n");
    workspace.write("portcullis.toml", strict);
    assert_eq!(ask(&["--route", "GET https://localhost/"]).1, "admit - edge");
    assert_eq!(ask(&["--route", "GET https://unknown.test/"]).1, "deny misdirected edge", "the handshake does not begin");
    let told = workspace.run(&["explain", "alice.pem", "--route", "GET https://unknown.test/"]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("TLS alert unrecognized_name") && told.contains("strict_sni"), "{told}");
    let absent = workspace.run(&["explain", "alice.pem", "--listener", "nowhere"]);
    assert_eq!(absent.status.code(), Some(2), "{absent:?}");
    assert!(String::from_utf8_lossy(&absent.stderr).contains("edge, control"), "{absent:?}");
}
