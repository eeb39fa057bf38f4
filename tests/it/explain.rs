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
