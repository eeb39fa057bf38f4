//! `explain --token`: what a token is worth, by the same call as a request's; never among the arguments.

use std::io::Write as _;
use std::process::{Command, Stdio};

use portcullis::pki::Fingerprint;
use serde_json::Value;

use super::{World, bearer, told};
use crate::support::Leaf;

impl World {
    fn explain(&self, token: &str, more: &[&str]) -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(["explain", "--json", "-c", "portcullis.toml", "--client-ip", "127.0.0.1", "--token", "-"]).args(more);
        command.current_dir(self.proxy.directory()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("explain runs");
        child.stdin.take().expect("piped").write_all(token.as_bytes()).expect("written");
        let output = child.wait_with_output().expect("it ends");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

fn code(report: &Value) -> String {
    report["code"].as_str().unwrap_or("admitted").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_of_a_token_what_a_request_by_it_hears() {
    let world = World::start().await;
    let leaf = Fingerprint::of(world.alice.leaf());
    world.alice.write(world.proxy.directory(), "alice");
    world.bob.write(world.proxy.directory(), "bob");
    let stranger = Leaf::new("stranger").self_signed();
    let good = world.token("alice", &world.alice);
    let bound = world.issue("alice", &world.alice, |order| order.bound = Some(leaf)).token;
    let over = world.issue("alice", &world.alice, |order| (order.now, order.ttl) = (order.now - 120, Some(60))).token;
    let taken = world.token("alice", &world.alice);
    assert_eq!(world.take_back(&taken).await, 200);
    for (what, token, shown) in [
        ("a good one", &good, None),
        ("a good one beside its certificate", &good, Some(("alice", &world.alice))),
        ("a good one beside another's certificate", &good, Some(("bob", &world.bob))),
        ("a bound one, alone", &bound, None),
        ("a bound one beside its certificate", &bound, Some(("alice", &world.alice))),
        ("one that is over", &over, None),
        ("one that was taken back", &taken, None),
        ("a forged one", &format!("{good}x"), None),
        ("of an unlisted certificate", &world.token("alice", &stranger), None),
        ("somebody else's", &"abc.def.ghi".to_owned(), None),
        ("somebody else's beside a certificate", &"abc".to_owned(), Some(("alice", &world.alice))),
    ] {
        let file = shown.map(|(name, _)| format!("{name}.pem"));
        let heard = told(&world.ask("edge", shown.map(|(_, identity)| identity), "/a", &[&bearer(token)]).await);
        let mut arguments = vec!["--listener", "edge", "--route", "GET https://localhost/a"];
        arguments.extend(file.as_deref());
        assert_eq!(code(&world.explain(token, &arguments)), heard, "{what}");
        arguments.push("--running");
        assert_eq!(code(&world.explain(token, &arguments)), heard, "{what}, of the running proxy");
    }
    // Where tokens do not count, and in which form one is given.
    let plain = world.explain(&good, &["--listener", "plain", "--route", "GET https://localhost/a"]);
    assert!(
        code(&plain) == "no_credential" && plain["steps"][0]["finding"].as_str().is_some_and(|why| why.contains("tokens = false")),
        "{plain}"
    );
    assert_eq!(code(&world.explain(&format!("Bearer {good}\n"), &["--listener", "edge"])), "admitted");
    let steps = world.explain(&bound, &["--listener", "edge"])["steps"].to_string();
    assert!(steps.contains("which this connection did not show"), "{steps}");
    // Not by the arguments, which others read; and one thing only from standard input.
    for arguments in [&["explain", "--token"][..], &["explain", "--token", "-", "-"], &["explain", "--token", "nothing.txt"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(arguments)
            .current_dir(world.proxy.directory())
            .stdin(Stdio::null())
            .output();
        let code = output.expect("it runs").status.code();
        assert!(code == Some(2) || code == Some(3), "{arguments:?}: {code:?}");
    }
}
