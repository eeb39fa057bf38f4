//! Another configuration, and what it would mean for the clients seen of late: asked of the running proxy, in which nothing changes by it.

use std::path::Path;

use serde_json::Value;

use crate::support::{Client, Identity, Leaf, TestCa, TestProxy, TestUpstream, Workspace, eventually};

/// Asks what a configuration would mean; returns the exit code, the answer as JSON, and the words.
fn preview(workspace: &Workspace, config: &str) -> (Option<i32>, Value, String) {
    workspace.write("candidate.toml", config);
    let output = workspace.run(&["preview", "candidate.toml", "--json"]);
    let answer = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let words = workspace.run(&["preview", "candidate.toml"]);
    assert_eq!(output.status.code(), words.status.code());
    (output.status.code(), answer, [&words.stdout[..], &words.stderr].map(String::from_utf8_lossy).concat())
}

/// Waits until so many clients are among those seen of late: a connection's end is noted when it is there.
fn await_seen(workspace: &Workspace, config: &str, count: u64) {
    eventually("they were seen", || preview(workspace, config).1["seen"].as_u64() >= Some(count));
}

/// Returns what would change for whoever has a certificate.
fn client<'a>(answer: &'a Value, identity: &Identity) -> Option<&'a Value> {
    let clients = answer["clients"].as_array().unwrap_or_else(|| panic!("no clients: {answer}"));
    clients.iter().find(|client| client["met"]["fingerprint"] == identity.fingerprint().as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_a_configuration_would_cut_off_and_let_in_is_known_before() {
    let upstream = TestUpstream::start().await;
    let [alice, bob, mallory] = ["alice", "bob", "mallory"].map(|name| Leaf::new(name).self_signed());
    let ca = TestCa::new("Preview CA");
    let [ci, other] = ["ci-1", "other-1"].map(|name| ca.issue(Leaf::new(name)));
    let workspace = Workspace::new();
    workspace.allow("alice", &alice);
    workspace.allow("bob", &bob);
    workspace.write("ca.pem", ca.pem());
    let by_ca = |bound: &str| {
        format!(
            "[[principal]]\nname = \"ci\"\nrole = \"Contributor\"\n[principal.authority]\ncertificates = [\"ca.pem\"]\ncommon_names = [\"{bound}\"]\n"
        )
    };
    let config = Workspace::config("require", &upstream.url(), &by_ca("ci-*"));
    let proxy = workspace.start(&config);
    let mut connected = Client::new(&proxy, Some(&bob)).connect().await.expect("admitted");
    connected.get("/live").await.expect("served");
    for gone in [&alice, &ci] {
        Client::new(&proxy, Some(gone)).get("/once").await.expect("admitted");
    }
    for refused in [&mallory, &other] {
        Client::new(&proxy, Some(refused)).get("/").await.expect_err("refused");
    }
    await_seen(&workspace, &config, 5);

    // The same configuration: nobody loses anything.
    let (code, same, words) = preview(&workspace, &config);
    assert_eq!((code, &same["cut_off"], &same["let_in"], &same["unchanged"]), (Some(0), &0.into(), &0.into(), &5.into()), "{words}");
    assert_eq!(same["before"], same["after"], "{same}");

    std::fs::create_dir(workspace.path("next")).expect("made");
    workspace.write("next/alice.pem", alice.leaf_pem());
    workspace.write("next/mallory.pem", mallory.leaf_pem());
    let next = config.replace("\"allowlist/\"", "\"next/\"").replace("ci-*", "other-*");
    let generation = proxy.generation();
    let (code, answer, words) = preview(&workspace, &next);
    assert_eq!(code, Some(1), "somebody would be cut off: {words}");
    assert_eq!(answer["accepted"], true, "{answer}");
    assert_eq!(["cut_off", "let_in", "unchanged"].map(|key| answer[key].as_u64()), [2, 2, 1].map(Some), "{answer}");
    for (identity, difference, live, before, after) in [
        (&bob, "cut_off", true, Value::Null, Value::from("not_listed")),
        (&ci, "cut_off", false, Value::Null, Value::from("bounds_mismatch")),
        (&mallory, "let_in", false, Value::from("not_listed"), Value::Null),
        (&other, "let_in", false, Value::from("bounds_mismatch"), Value::Null),
    ] {
        let told = client(&answer, identity).unwrap_or_else(|| panic!("{difference}: {answer}"));
        let code = |rules: &str| told[rules]["code"].clone();
        assert_eq!((&told["difference"], &told["met"]["live"]), (&difference.into(), &live.into()), "{told}");
        assert_eq!((code("before"), code("after")), (before, after), "{told}");
        assert!(told["after"]["steps"].as_array().is_some_and(|steps| !steps.is_empty()), "{told}");
    }
    let met = &client(&answer, &bob).expect("told")["met"];
    assert_eq!(["principal", "listener", "route", "address"].map(|key| met[key].as_str()), ["bob", "edge", "all", "127.0.0.1"].map(Some));
    assert!(words.contains("cut off  bob") && words.contains("let in   mallory"), "{words}");

    assert_eq!(met["request"], "GET localhost/live", "{met}");

    // Its way gone is admission gone; another name of the route is none.
    let (code, _, words) = preview(&workspace, &config.replace("name = \"all\"", "name = \"others\""));
    assert_eq!(code, Some(0), "{words}");
    let (code, answer, _) = preview(&workspace, &config.replace("path = \"/\"", "path = \"/elsewhere/\""));
    assert_eq!((code, &client(&answer, &bob).expect("told")["after"]["code"]), (Some(1), &"no_route".into()));
    // A route that takes the path over, and asks for more.
    let taken = config.replace(
        "[[upstream]]",
        "[[route]]\nname = \"live\"\npath = \"/live\"\nupstream = \"app\"\nrules = [{ path = \"/live/**\", access = \"admin\" }]\n[[upstream]]",
    );
    let (code, answer, words) = preview(&workspace, &taken);
    let told = client(&answer, &bob).unwrap_or_else(|| panic!("{words}"));
    assert_eq!((code, &told["after"]["code"], &told["after"]["route"]), (Some(1), &"not_permitted".into(), &"live".into()), "{told}");
    assert_eq!(["cut_off", "let_in"].map(|key| answer[key].as_u64()), [1, 0].map(Some), "those at /once are where they were: {answer}");

    // Nothing of that came to be.
    assert_eq!(proxy.generation(), generation);
    connected.get("/still").await.expect("served");
    Client::new(&proxy, Some(&ci)).get("/still").await.expect("admitted");
    Client::new(&proxy, Some(&mallory)).get("/").await.expect_err("refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_configuration_is_told_with_its_line_and_nothing_else_is_told_of_files() {
    let workspace = Workspace::new();
    let config = Workspace::config("require", "http://127.0.0.1:1", "");
    let proxy = workspace.start_with_somebody(&config);
    let (code, answer, words) = preview(&workspace, &config.replace("\"require\"", "\"perhaps\""));
    assert_eq!((code, &answer["accepted"], &answer["after"]), (Some(3), &false.into(), &Value::Null));
    let problem = &answer["problems"][0];
    assert_eq!((&problem["line"], &problem["column"]), (&5.into(), &15.into()), "{answer}");
    assert!(words.contains("candidate.toml:5:15") && words.contains("^^^^^^^^^"), "{words}");

    // A file that is no list of ids, a key where a certificate belongs, and a file elsewhere.
    let secret = workspace.path("secret.txt");
    workspace.write("secret.txt", "root:$6$salt$hash`pepper`:1::\n");
    for more in [
        "[revocation]\nfiles = [\"secret.txt\"]\n".to_owned(),
        format!("[revocation]\nfiles = [\"{}\"]\n", secret.display()),
        "[[allowlist]]\npath = \"secret.txt\"\nrole = \"Reader\"\n".to_owned(),
        "[[principal]]\nname = \"x\"\nrole = \"Reader\"\ncertificates = [\"server.key\"]\n".to_owned(),
        "[[principal]]\nname = \"x\"\nrole = \"Reader\"\ncertificates = [\"candidate.toml\"]\n".to_owned(),
    ] {
        let (_, answer, words) = preview(&workspace, &format!("{config}{more}"));
        let told = answer["problems"].to_string();
        assert!(told.contains("secret.txt") || told.contains("server.key") || told.contains("candidate.toml"), "{more}: {told}");
        let key = key_text(&workspace.path("server.key"));
        for leaked in ["$6$", "salt", "pepper", &key] {
            assert!(!answer.to_string().contains(leaked) && !words.contains(leaked), "{more}: {answer}");
        }
    }
    assert_unchanged(&proxy);
}

fn key_text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("there").lines().nth(1).expect("a line").to_owned()
}

/// What was only considered is neither kept nor waited for.
fn assert_unchanged(proxy: &TestProxy) {
    assert_eq!(proxy.generation(), 1);
    let sources = proxy.status()["sources"].to_string();
    assert!(!sources.contains("secret.txt"), "{sources}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_judged_by_the_name_that_it_opened_its_connection_for() {
    let upstream = TestUpstream::start().await;
    let alice = Leaf::new("alice").self_signed();
    let workspace = Workspace::new();
    workspace.allow("alice", &alice);
    for (name, covers) in [("narrow", "a.test"), ("other", "localhost")] {
        crate::support::certificates::server(&[covers]).write(workspace.directory.path(), name);
    }
    let config = Workspace::config("require", &upstream.url(), "");
    let proxy = workspace.start(&config);
    Client::new(&proxy, Some(&alice)).sni("a.test").get("/once").await.expect("admitted");
    await_seen(&workspace, &config, 1);
    let served_with = |name: &str| config.replace("server.pem", &format!("{name}.pem")).replace("server.key", &format!("{name}.key"));
    let open = "[[route]]\nname = \"open\"\nhosts = [\"a.test\"]\nupstream = \"app\"\nauth = \"none\"\n";
    for (what, next, words) in [
        ("the certificate covers the host no more", served_with("narrow"), "opened for a.test"),
        ("the host is under another policy", format!("{config}{open}"), "opened for a.test"),
        ("the handshake does not begin", served_with("other").replace("client_auth", "strict_sni = true\nclient_auth"), "strict_sni"),
    ] {
        let (code, answer, said) = preview(&workspace, &next);
        let found = client(&answer, &alice).unwrap_or_else(|| panic!("{what}: {answer}"));
        assert_eq!(
            (code, &found["after"]["code"], &found["met"]["sni"]),
            (Some(1), &"misdirected".into(), &"a.test".into()),
            "{what}: {said}"
        );
        assert!(said.contains(words), "{what}: {said}");
    }
    // The same without the check, and with a certificate that covers both: nobody loses anything.
    for next in [config.clone(), config.replace("client_auth", "strict_sni = true\nclient_auth")] {
        let (code, answer, said) = preview(&workspace, &next);
        assert_eq!((code, &answer["cut_off"]), (Some(0), &0.into()), "{said}");
    }
}
