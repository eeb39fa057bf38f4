//! Calls of ours, on listeners that serve `admin`: every rank and the certificate that we serve with, before there is an admin
//! and after, at the handshake, on new, resumed and live connections, and by `explain`.

use std::collections::BTreeSet;
use std::path::Path;

use rustls::version::{TLS12, TLS13};

use super::{alert, cut_with, explained, told};
use crate::support::client::{Connection, request};
use crate::support::{Client, Identity, Leaf, TestProxy, Workspace, eventually};

/// Everybody at every call under every snapshot. Returns every code that was reached.
pub async fn reached() -> BTreeSet<String> {
    let workspace = Workspace::new();
    let mut identities = vec![("server", workspace.server.clone())];
    identities.extend(["admin", "operator", "user", "node", "known", "stranger"].map(|name| (name, Leaf::new(name).self_signed())));
    identities.push(("expired", Leaf::new("expired").expired().self_signed()));
    // One that may renew itself by its key, and one of the same key that renews nobody: only the ledger has such principals.
    let renewing = Leaf::new("renewing").self_signed();
    identities.push(("impostor", Leaf::new("impostor").key_of(&renewing).self_signed()));
    identities.push(("renewing", renewing));
    for (name, identity) in &identities {
        identity.write(workspace.directory.path(), name);
    }
    let known = identities.iter().find(|(name, _)| *name == "known").expect("made above").1.fingerprint();
    let proxy = workspace.start(&config(""));
    let added = workspace.run(&["allow", "add", "renewing", "renewing.pem", "--role", "Reader", "--renewal", "same-key"]);
    assert_eq!(added.status.code(), Some(0), "{}", String::from_utf8_lossy(&added.stderr));
    let mut callers: Vec<Caller> = identities.iter().map(|(name, identity)| Caller::new(&proxy, name, identity)).collect();
    let mut reached = BTreeSet::new();
    for (title, rules) in snapshots(&known) {
        let before = proxy.generation();
        proxy.replace("portcullis.toml", config(&rules));
        proxy.wait_for_generation_after(before);
        let mut asked = tokio::task::JoinSet::new();
        for one in callers.drain(..) {
            let (directory, log) = (proxy.directory().to_owned(), proxy.log_reader());
            asked.spawn(async move { one.agree(&directory, title, log).await });
        }
        while let Some(done) = asked.join_next().await {
            let (one, codes) = done.expect("agreement");
            reached.extend(codes);
            callers.push(one);
        }
    }
    for code in [
        "admitted",
        "clearance_too_low",
        "issuer_unknown",
        "method_not_allowed",
        "misdirected",
        "no_route",
        "origin_denied",
        "surface_denied",
    ] {
        assert!(reached.contains(code), "nobody reached {code}");
    }
    reached
}

/// Method, path, and the page that it is sent from.
const CALLS: &[(&str, &str, Option<&str>)] = &[
    ("GET", "/v1/whoami", None),
    ("GET", "/v1/status", None),
    ("GET", "/v1/principals", None),
    ("DELETE", "/v1/whoami", None),
    ("GET", "/v1/nothing", None),
    ("POST", "/v1/reload", Some("https://evil.test")),
];

/// One client with all it holds on to from snapshot to snapshot.
struct Caller {
    name: &'static str,
    fingerprint: String,
    require: [Client; 2],
    request: [Client; 2],
    /// Of a listener that serves an upstream too.
    both: Client,
    live: Option<Connection>,
    was_denied: bool,
}

impl Caller {
    fn new(proxy: &TestProxy, name: &'static str, identity: &Identity) -> Self {
        let of = |listener, version, http2| Client::of_listener(proxy, listener, Some(identity), &[version], http2);
        Self {
            name,
            fingerprint: identity.fingerprint(),
            require: [of("control", &TLS12, false), of("control", &TLS13, false)],
            request: [of("people", &TLS12, false), of("people", &TLS13, true)],
            both: of("both", &TLS13, true).sni("a.test"),
            live: None,
            was_denied: false,
        }
    }

    async fn agree(mut self, directory: &Path, title: &str, log: impl Fn() -> Vec<String>) -> (Self, Vec<String>) {
        let at = format!("{} under «{title}»", self.name);
        let connection = explained(directory, self.name, &["--listener", "control"]).await;
        let mut codes = vec![connection.clone()];
        for (method, path, origin) in CALLS {
            let route = format!("{method} https://localhost{path}");
            let mut arguments = vec!["--listener", "people", "--route", &route];
            arguments.extend(origin.iter().flat_map(|origin| ["--origin", origin]));
            let call = explained(directory, self.name, &arguments).await;
            if connection != "admitted" {
                assert_eq!(call, connection, "{at}: what a connection is denied, a call is denied");
            }
            let make = || {
                let mut made = request(method, path);
                if let Some(origin) = origin {
                    made.headers_mut().insert("origin", origin.parse().expect("a header"));
                }
                made
            };
            for client in &self.request {
                assert_eq!(told(&client.send(make()).await.expect("an HTTP answer")), call, "{at}: {route}");
            }
            for client in &self.require {
                match client.send(make()).await {
                    Ok(answer) => {
                        assert_eq!((connection.as_str(), told(&answer)), ("admitted", call.clone()), "{at}: {route} after a handshake")
                    }
                    Err(refused) => assert_eq!(refused.alert, alert(&connection), "{at}: a handshake: {connection}: {}", refused.why),
                }
            }
            codes.push(call);
        }
        codes.extend(self.beside_an_upstream(directory, &at).await);
        self.live(&connection, &codes[2], &at, log).await;
        (self, codes)
    }

    /// Where the host says whose a request is, `explain` finds the listener by it.
    async fn beside_an_upstream(&self, directory: &Path, at: &str) -> Vec<String> {
        let mut codes = Vec::new();
        for (host, sni) in [("a.test", "a.test"), ("a.test", "b.test"), ("localhost", "a.test")] {
            let url = format!("https://{host}/v1/status");
            let code = explained(directory, self.name, &["--route", &url, "--sni", sni, "--listener", "both"]).await;
            let mut call = request("GET", "/v1/status");
            *call.uri_mut() = url.parse().expect("a URL");
            let answer = self.both.clone().sni(sni).send(call).await.expect("an HTTP answer");
            assert_eq!(told(&answer), code, "{at}: {url} by the SNI {sni}");
            if host == sni {
                assert_eq!(explained(directory, self.name, &["--route", &url]).await, code, "{at}: {url}, and no listener was named");
            }
            codes.push(code);
        }
        codes
    }

    /// A connection that was opened under an earlier snapshot; a denied leaf closes it.
    async fn live(&mut self, connection: &str, status: &str, at: &str, log: impl Fn() -> Vec<String>) {
        let answer = match &mut self.live {
            Some(live) => live.get("/v1/status").await.ok(),
            None => None,
        };
        match answer {
            Some(answer) => assert_eq!(told(&answer), status, "{at}: a live connection"),
            None => {
                let closed = self.live.is_some();
                assert!(!closed || connection != "admitted" || self.was_denied, "{at}: a live connection was closed on an admitted client");
                if closed && !self.was_denied {
                    let mut cut = None;
                    eventually(&format!("{at}: a line about the cut"), || {
                        cut = cut_with(Some(&self.fingerprint), &log());
                        cut.is_some()
                    });
                    assert_eq!(cut.as_deref(), Some(connection), "{at}: a live connection that was cut");
                }
                self.live = Some(self.request[1].connect().await.expect("the handshake completes"));
            }
        }
        self.was_denied = connection != "admitted";
    }
}

fn config(rules: &str) -> String {
    let listener = |name: &str, more: &str| {
        format!(
            "[[listener]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\n{more}\ncertificates = [{{ cert = \"server.pem\", key = \"server.key\" }}]\n"
        )
    };
    let listeners = [
        listener("edge", ""),
        listener("control", "serve = [\"admin\"]"),
        listener("people", "serve = [\"admin\"]\nclient_auth = \"request\""),
        listener("both", "serve = [\"proxy\", \"admin\"]\ncontrol_hosts = [\"a.test\"]\nclient_auth = \"request\""),
    ];
    format!(
        r#"
{}
[monitor]
address = "unix:monitor.sock"

[limits]
denial_lines = 10000

[[route]]
name = "all"
path = "/v1/nothing/of/an/upstream"
upstream = "app"

[[upstream]]
name = "app"
endpoints = ["http://127.0.0.1:1"]

[[principal]]
name = "somebody"
clearance = "user"
permissions = []
certificates = ["user.pem"]

{rules}"#,
        listeners.concat()
    )
}

/// A title and the rules. Nobody is an admin until one is.
fn snapshots(known: &str) -> Vec<(&'static str, String)> {
    let people = |names: &[&str], terms: &str| -> String {
        let one = |name: &&str| {
            format!(
                "[[principal]]\nname = \"{name}\"\nclearance = \"{name}\"\npermissions = []\n{terms}\ncertificates = [\"{name}.pem\"]\n"
            )
        };
        names.iter().map(one).collect()
    };
    let all = ["admin", "operator", "node"];
    vec![
        ("there is no admin", "# nobody yet\n".to_owned()),
        ("nobody begins", "[bootstrap]\nserver_certificate = \"never\"\n".to_owned()),
        ("the server's certificate is an admin", "[bootstrap]\nserver_certificate = \"always\"\n".to_owned()),
        ("operators and nodes", people(&["operator", "node"], "")),
        ("a well-known admin", format!("{}[bootstrap]\nadmin_fingerprints = [\"sha256:{known}\"]\n", people(&["operator"], ""))),
        ("every rank", people(&all, "")),
        ("every rank, for upstreams", people(&all, "serve = [\"proxy\"]")),
        ("every rank, for calls", people(&all, "serve = [\"admin\"]")),
        ("every rank, disabled", people(&all, "enabled = false")),
        ("every rank, from elsewhere", people(&all, "client_ips = [\"192.0.2.0/24\"]")),
        ("every rank, over", people(&all, "valid_until = 2020-01-01T00:00:00Z")),
        ("there is no admin any more", "# nobody is left\n".to_owned()),
    ]
}
