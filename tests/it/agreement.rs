//! Promise 3: one decision. Every candidate through every checkpoint of the built binary under every snapshot:
//! a new handshake, a resumed one, a request, a live connection, an answered challenge, the token that is given for it, a token,
//! `explain`. Same verdict, same code.

mod calls;
mod challenges;
mod tokens;
mod world;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use rustls::AlertDescription as Alert;
use tokio::sync::Semaphore;

use crate::support::client::{Connection, request_with};
use crate::support::{Client, Identity, TestProxy, TestUpstream, Workspace, eventually};
use world::{World, config, snapshots};

#[tokio::test(flavor = "multi_thread")]
async fn one_decision_for_every_candidate_at_every_checkpoint_under_every_snapshot() {
    let mut reached = calls::reached().await;
    reached.extend(requests().await);
    let all = all_codes();
    let missed: Vec<&String> = all.iter().filter(|code| !reached.contains(*code)).collect();
    assert!(missed.is_empty(), "no candidate reached {missed:?}");
}

/// What goes on to an upstream. Returns every code that was reached.
async fn requests() -> BTreeSet<String> {
    let upstream = TestUpstream::start().await;
    let world = World::new();
    let candidates = world.candidates();
    assert!(candidates.len() >= 40, "{} candidates", candidates.len());
    let snapshots = snapshots(&candidates);
    assert!(snapshots.len() >= 20, "{} snapshots", snapshots.len());

    let workspace = Workspace::new();
    world.write(&workspace);
    for (name, identity) in &candidates {
        if let Some(identity) = identity {
            identity.write(workspace.directory.path(), name);
        }
    }
    let proxy =
        workspace.start(&config(&upstream.url(), "[[principal]]\nname = \"first\"\nrole = \"Reader\"\ncertificates = [\"pin-0.pem\"]\n"));
    // Answered at the very end, when it has expired: all that comes between takes a minute, and more.
    let late = challenges::Late::new(&proxy, candidates[1].1.as_ref().expect("a pin")).await;
    let mut standing: Vec<Standing> = candidates.iter().map(|(name, identity)| Standing::new(&proxy, name, identity.as_ref())).collect();

    let mut reached = BTreeSet::new();
    for (title, rules) in &snapshots {
        let before = proxy.generation();
        proxy.replace("portcullis.toml", config(&upstream.url(), rules));
        proxy.wait_for_generation_after(before);
        let mut asked = tokio::task::JoinSet::new();
        for one in standing.drain(..) {
            let (directory, title, log) = (proxy.directory().to_owned(), title.clone(), proxy.log_reader());
            asked.spawn(async move { one.agree(&directory, &title, log).await });
        }
        while let Some(done) = asked.join_next().await {
            let (one, codes) = done.expect("agreement");
            reached.extend(codes);
            standing.push(one);
        }
    }
    reached.insert(late.expires().await);
    reached
}

/// One candidate with all it holds on to from snapshot to snapshot: sessions and live connections.
struct Standing {
    name: String,
    presented: bool,
    fingerprint: Option<String>,
    require: [Client; 2],
    request: [Client; 2],
    live: Option<Connection>,
    token: Option<tokens::Bearer>,
    prover: Option<challenges::Prover>,
    /// The leaf was denied under the snapshot before: that closes a live connection, at once or behind its answer.
    was_denied: bool,
}

impl Standing {
    fn new(proxy: &TestProxy, name: &str, identity: Option<&Identity>) -> Self {
        let of = |listener, version, http2| Client::of_listener(proxy, listener, identity, &[version], http2);
        Self {
            name: name.to_owned(),
            presented: identity.is_some(),
            fingerprint: identity.map(Identity::fingerprint),
            require: [of("edge", &rustls::version::TLS12, false), of("edge", &rustls::version::TLS13, false)],
            request: [of("people", &rustls::version::TLS12, false), of("people", &rustls::version::TLS13, true)],
            live: None,
            token: identity.map(|identity| tokens::Bearer::new(proxy, identity)),
            prover: identity.map(|identity| challenges::Prover::new(proxy, identity)),
            was_denied: false,
        }
    }

    /// Asks every checkpoint and holds the answers against `explain`'s.
    async fn agree(mut self, directory: &Path, title: &str, log: impl Fn() -> Vec<String>) -> (Self, Vec<String>) {
        let at = format!("{} under «{title}»", self.name);
        let explained =
            if self.presented { report(directory, &self.name, &[]).await } else { serde_json::json!({"code": "no_credential"}) };
        let connection = code(&explained);
        let read = self.explain(directory, "GET https://localhost/").await;
        let write = self.explain(directory, "POST https://localhost/").await;
        if connection != "admitted" {
            assert_eq!((&connection, &connection), (&read, &write), "{at}: what a connection is denied, a request is denied");
        }
        // Handshakes: a first one, and one that would resume what the first left, or what an earlier snapshot left.
        for client in &self.require {
            for attempt in ["a handshake", "a second handshake"] {
                match client.get("/").await {
                    Ok(answer) => {
                        assert_eq!(connection, "admitted", "{at}: {attempt}");
                        assert_eq!(told(&answer), read, "{at}: a request after {attempt}");
                    }
                    Err(refused) => assert_eq!(refused.alert, alert(&connection), "{at}: {attempt}: {connection}: {}", refused.why),
                }
            }
        }
        // Requests, on new and resumed connections.
        for client in &self.request {
            assert_eq!(told(&client.get("/").await.expect("an HTTP answer")), read, "{at}: GET");
            assert_eq!(told(&client.send(request_with("POST", "/", "body")).await.expect("an HTTP answer")), write, "{at}: POST");
        }
        // The live connection, opened under an earlier snapshot; a denied leaf closes it, and then a new one stands in.
        let answer = match &mut self.live {
            Some(live) => live.get("/").await.ok(),
            None => None,
        };
        match answer {
            Some(answer) => assert_eq!(told(&answer), read, "{at}: a live connection"),
            None => {
                let closed = self.live.is_some();
                assert!(!closed || connection != "admitted" || self.was_denied, "{at}: a live connection was closed on an admitted client");
                if closed && !self.was_denied {
                    // It heard no code; the log has it.
                    let mut cut = None;
                    eventually(&format!("{at}: a line about the cut"), || {
                        cut = cut_with(self.fingerprint.as_deref(), &log());
                        cut.is_some()
                    });
                    assert_eq!(cut, Some(connection.clone()), "{at}: a live connection that was cut");
                }
                self.live = Some(self.request[1].connect().await.expect("the handshake completes"));
            }
        }
        self.was_denied = connection != "admitted";
        let mut codes = vec![connection, read.clone(), write.clone()];
        if let Some(token) = &mut self.token {
            codes.extend(token.agree(explained["principal"]["id"].as_str(), [&read, &write], &at).await);
        }
        if let Some(prover) = &self.prover {
            let call = report(directory, &self.name, &["--listener", "prove", "--route", "POST https://localhost/api/v2/auth"]).await;
            let (reached, token) = prover.agree(explained["principal"]["id"].as_str(), &code(&call), &at).await;
            codes.extend(reached);
            if let Some((bearer, token)) = self.token.as_mut().zip(token) {
                let [by_read, by_write] = [bearer.ask("GET", &token).await, bearer.ask("POST", &token).await];
                assert_eq!([&by_read, &by_write], [&read, &write], "{at}: by the token that was given for an answer");
            }
        }
        if write == "admitted" {
            let mut forged = request_with("POST", "/", "body");
            forged.headers_mut().insert("origin", "https://evil.test".parse().expect("a header"));
            codes.push(told(&self.request[1].send(forged).await.expect("an HTTP answer")));
            assert_eq!(codes.last().map(String::as_str), Some("origin_denied"), "{at}: a foreign page");
        }
        (self, codes)
    }

    async fn explain(&self, directory: &Path, route: &str) -> String {
        if !self.presented {
            return "no_credential".into();
        }
        code(&report(directory, &self.name, &["--route", route]).await)
    }
}

/// Reads with which code a live connection was cut last.
fn cut_with(fingerprint: Option<&str>, log: &[String]) -> Option<String> {
    let fingerprint = fingerprint?;
    let is_cut = |line: &&String| line.contains("\"checkpoint\":\"live\"") && line.contains(fingerprint);
    let line: serde_json::Value = serde_json::from_str(log.iter().rev().find(is_cut)?).ok()?;
    Some(line["code"].as_str().or(line["fields"]["code"].as_str())?.to_owned())
}

/// What `explain` says of `NAME.pem`: `admitted`, or the code.
async fn explained(directory: &Path, name: &str, arguments: &[&str]) -> String {
    code(&report(directory, name, arguments).await)
}

fn code(report: &serde_json::Value) -> String {
    report["code"].as_str().unwrap_or("admitted").to_owned()
}

/// All that `explain` says of `NAME.pem`. Off the threads that clients live on, whose handshakes would time out meanwhile; and two at a
/// time, or so many processes would leave the proxy no time for its own.
async fn report(directory: &Path, name: &str, arguments: &[&str]) -> serde_json::Value {
    static TURN: Semaphore = Semaphore::const_new(2);
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(["explain", "--json", "-c", "portcullis.toml", "--client-ip", "127.0.0.1"]).arg(format!("{name}.pem")).args(arguments);
    command.current_dir(directory);
    let turn = TURN.acquire().await.expect("never closed");
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("explain runs");
    drop(turn);
    let report: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    match output.status.code() {
        Some(0) => assert!(report["code"].is_null(), "{report}"),
        Some(1) => assert!(report["code"].is_string(), "{report}"),
        other => panic!("explain ended with {other:?}"),
    }
    report
}

/// What an answer says: `admitted`, or the code.
fn told(answer: &crate::support::client::Answer) -> String {
    match answer.status.as_u16() {
        200 => "admitted".into(),
        _ => answer.code(),
    }
}

/// Product's table, once more: the alert of each code on a listener that requires.
fn alert(code: &str) -> Option<Alert> {
    Some(match code {
        "no_credential" => Alert::CertificateRequired,
        "chain_invalid" | "issuer_unknown" => Alert::UnknownCA,
        "expired" | "not_yet_valid" => Alert::CertificateExpired,
        "revoked" => Alert::CertificateRevoked,
        "unsuitable" => Alert::UnsupportedCertificate,
        "not_listed"
        | "revocation_unknown"
        | "bounds_mismatch"
        | "ambiguous_common_name"
        | "identifier_missing"
        | "principal_disabled"
        | "principal_expired"
        | "client_ip_denied" => Alert::AccessDenied,
        _ => return None,
    })
}

/// Every code of the decision, from the document that a test holds against the code.
fn all_codes() -> BTreeSet<String> {
    portcullis::admission::Denial::ALL.iter().map(|denial| denial.code().to_owned()).collect()
}
