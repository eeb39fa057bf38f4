//! CRLs from https URLs: a new one takes effect, whatever goes wrong loses nothing, and nobody waits for a server.

use rustls::AlertDescription as Alert;

use crate::support::crl_server::{CrlServer, Serve};
use crate::support::{Client, Identity, Leaf, TestCa, TestProxy, TestUpstream, Workspace, eventually, within};

struct World {
    upstream: TestUpstream,
    workspace: Workspace,
    ca: TestCa,
    server: CrlServer,
    good: Identity,
    bad: Identity,
    pinned: Identity,
}

/// Two leaves of one CA, `good` 0x52 and `bad` 0x51, a pinned client, and a server that has the first CRL: `bad` is on it.
async fn world() -> World {
    let (upstream, workspace, ca) = (TestUpstream::start().await, Workspace::new(), TestCa::new("root"));
    let server = CrlServer::start(ca.crl(5, &[&[0x51]], 24)).await;
    workspace.write("ca.pem", ca.pem());
    workspace.write("crl-ca.pem", server.ca.pem());
    let (good, bad) = (ca.issue(Leaf::new("good").serial(&[0x52])), ca.issue(Leaf::new("bad").serial(&[0x51])));
    let pinned = Leaf::new("pinned").self_signed();
    workspace.allow("pinned", &pinned);
    World { upstream, workspace, ca, server, good, bad, pinned }
}

impl World {
    fn config(&self, revocation: &str) -> String {
        let authority =
            "\n[[principal]]\nname = \"jobs\"\nrole = \"Contributor\"\n[principal.authority]\ncertificates = [\"ca.pem\"]\nany = true\n";
        Workspace::config("require", &self.upstream.url(), &format!("{authority}[revocation]\n{revocation}"))
    }

    fn start(&self, interval: &str) -> TestProxy {
        self.workspace.start(&self.config(&format!("crls = [{}]\n", self.server.entry(interval))))
    }

    async fn assert_as_before(&self, proxy: &TestProxy, when: &str) {
        assert_eq!(alert_of(proxy, &self.good).await, None, "{when}");
        assert_eq!(alert_of(proxy, &self.bad).await, Some(Alert::CertificateRevoked), "{when}");
    }
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

/// What `/status` says of a source.
fn source(proxy: &TestProxy, name: &str) -> serde_json::Value {
    let status = proxy.status();
    let sources = status["sources"].as_array().expect("sources");
    sources.iter().find(|source| source["name"] == name).unwrap_or_else(|| panic!("no source {name}: {status}")).clone()
}

fn says(proxy: &TestProxy, url: &str, wanted: &str) -> bool {
    source(proxy, url)["error"].as_str().is_some_and(|error| error.contains(wanted))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_crl_at_its_url_cuts_who_is_on_it_and_others_lose_nothing() {
    let world = world().await;
    let proxy = world.start("1h");
    let url = world.server.url();
    world.assert_as_before(&proxy, "at the start").await;
    assert!(source(&proxy, &url)["last_good"].is_u64() && source(&proxy, &url)["error"].is_null());
    assert!(proxy.metric(&format!("portcullis_source_last_good_timestamp_seconds{{source=\"{url}\"}}")).is_some());
    let watched = format!("portcullis_certificate_expiry_seconds{{kind=\"crl\",name=\"{url}\"}}");
    eventually("its end is watched", || proxy.metric(&watched).is_some());
    let live = Client::new(&proxy, Some(&world.good)).connect().await.expect("admitted");
    let other = Client::new(&proxy, Some(&world.pinned)).connect().await.expect("admitted");
    // Told to look again, it asks whether anything changed, and nothing did.
    let before = world.server.requests();
    proxy.signal("HUP");
    eventually("it asks again", || world.server.requests() > before);
    assert!(world.server.unchanged() > 0, "and is spared the same CRL");
    world.assert_as_before(&proxy, "after the same CRL").await;
    world.server.serve(world.ca.crl(6, &[&[0x51], &[0x52]], 24));
    proxy.signal("HUP");
    let _ = within("the connection to be cut", live.driver).await;
    assert_eq!(alert_of(&proxy, &world.good).await, Some(Alert::CertificateRevoked));
    assert!(!other.driver.is_finished(), "another client was cut, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_fetched_again_at_its_interval() {
    let world = world().await;
    let proxy = world.start("1s");
    world.assert_as_before(&proxy, "at the start").await;
    world.server.serve(world.ca.crl(6, &[&[0x52]], 24));
    eventually("the new CRL is in force", || proxy.generation() > 1);
    assert_eq!(alert_of(&proxy, &world.good).await, Some(Alert::CertificateRevoked));
    assert_eq!(alert_of(&proxy, &world.bad).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_server_answers_the_last_good_crl_stays() {
    let world = world().await;
    let proxy = world.start("1h");
    let (url, good) = (world.server.url(), world.ca.crl(5, &[&[0x51]], 24));
    let forged = TestCa::twin("root").crl(9, &[&[0x52]], 24);
    for (serve, wanted) in [
        (Serve::Head("404 Not Found\r\nContent-Length: 0"), "the answer is 404"),
        (Serve::Head("302 Found\r\nLocation: /other.crl\r\nContent-Length: 0"), "redirects are not followed"),
        (Serve::Head("200 OK\r\nContent-Length: 67108865"), "more than 67108864 bytes"),
        (Serve::Head("200 OK\r\nContent-Length: 0"), "the answer is empty"),
        (Serve::Head("200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9"), "compressed"),
        (Serve::Head("rubbish"), "invalid HTTP"),
        (Serve::CutShort(good.clone().into_bytes()), "end of file before"),
        (Serve::Body(b"<html>try again later</html>".to_vec()), "not what it should be"),
        (Serve::from(world.ca.crl(4, &[], 24)), "went back in number or time"),
        (Serve::from(forged), "did not sign this CRL"),
    ] {
        world.server.serve(serve);
        proxy.signal("HUP");
        eventually(wanted, || says(&proxy, &url, wanted) || proxy.log().contains(wanted));
        world.assert_as_before(&proxy, wanted).await;
    }
    world.server.serve(good);
    proxy.signal("HUP");
    eventually("all is well again", || source(&proxy, &url)["error"].is_null());
    let (address, ca) = world.server.stop().await;
    proxy.signal("HUP");
    eventually("nobody listens", || says(&proxy, &url, "no connection"));
    eventually("the log names the URL", || proxy.log().contains(&url));
    assert_eq!(alert_of(&proxy, &world.bad).await, Some(Alert::CertificateRevoked));
    // Another server there, whose certificate another authority signed: it is not even asked.
    let stranger = CrlServer::start_at(address, TestCa::twin("crl server ca"), world.ca.crl(9, &[&[0x52]], 24)).await;
    proxy.signal("HUP");
    eventually("its certificate is refused", || says(&proxy, &url, "certificate"));
    assert_eq!((stranger.requests(), alert_of(&proxy, &world.good).await), (0, None));
    let (address, _) = stranger.stop().await;
    let _mended = CrlServer::start_at(address, ca, world.ca.crl(9, &[&[0x52]], 24)).await;
    eventually("it is tried again by itself", || source(&proxy, &url)["error"].is_null());
    assert_eq!(alert_of(&proxy, &world.good).await, Some(Alert::CertificateRevoked));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_start_without_the_server_denies_whom_the_kept_crl_revokes() {
    let world = world().await;
    let (cert, _) = world.bad.write(world.workspace.directory.path(), "bad");
    let config = world.config(&format!("crls = [{}]\n", world.server.entry("1h")));
    let (url, mut proxy) = (world.server.url(), world.workspace.start(&config));
    world.assert_as_before(&proxy, "at the start").await;
    proxy.signal("KILL");
    proxy.wait();
    world.server.serve(Serve::Hang);
    let again = world.workspace.start(&config);
    world.assert_as_before(&again, "while the server hangs").await;
    drop(again);
    let World { server, workspace, good, bad, .. } = world;
    server.stop().await;
    let again = workspace.start(&config);
    eventually("the failed fetch is said", || says(&again, &url, "no connection"));
    assert_eq!(alert_of(&again, &good).await, None);
    assert_eq!(alert_of(&again, &bad).await, Some(Alert::CertificateRevoked));
    let explained = workspace.run(&["explain", cert.to_str().expect("UTF-8")]);
    let said = String::from_utf8_lossy(&explained.stdout);
    assert_eq!(explained.status.code(), Some(1), "{said}");
    assert!(said.contains("revoked") && said.contains("as last kept in the state directory"), "{said}");
    let checked = workspace.run(&["check"]);
    let said = String::from_utf8_lossy(&checked.stdout);
    assert_eq!(checked.status.code(), Some(0), "{said}");
    assert!(said.contains("no connection") && said.contains("warning"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_copy_it_starts_and_denies_who_may_be_revoked() {
    let world = world().await;
    let (entry, url) = (world.server.entry("1h"), world.server.url());
    let configs = [
        (world.config(&format!("crls = [{entry}]\n")), Some(Alert::AccessDenied), "it may be theirs"),
        (world.config(&format!("crls = [{entry}]\nrequire_crl = true\n")), Some(Alert::AccessDenied), "require_crl"),
        (world.config(&format!("crls = [{entry}]\ncrl_stale = \"warn\"\n")), None, "ADMITTED"),
    ];
    let World { upstream: _upstream, workspace, ca, server, good, bad, pinned } = world;
    let (address, server_ca) = server.stop().await;
    workspace.write("portcullis.toml", &configs[0].0);
    let checked = workspace.run(&["check"]);
    let said = String::from_utf8_lossy(&checked.stdout);
    assert_eq!(checked.status.code(), Some(4), "{said}");
    assert!(said.contains(&url) && said.contains("no connection") && !said.contains("good:"), "{said}");
    for (config, alert, wanted) in &configs {
        let proxy = workspace.start(config);
        assert_eq!(alert_of(&proxy, &good).await, *alert, "{wanted}");
        assert_eq!(alert_of(&proxy, &pinned).await, None, "no CRL speaks of who is pinned");
        assert!(says(&proxy, &url, "no connection"), "{}", proxy.status());
        eventually("the log says why", || proxy.log().contains("no connection"));
        eventually(wanted, || proxy.log().contains(wanted));
    }
    // What started so takes other changes, and the CRL once it is there.
    let proxy = workspace.start(&configs[0].0);
    proxy.remove("allowlist/pinned.pem");
    proxy.allow("other", &Leaf::new("other").self_signed());
    proxy.wait_for_generation_after(1);
    assert_eq!(alert_of(&proxy, &pinned).await, Some(Alert::AccessDenied));
    let _server = CrlServer::start_at(address, server_ca, ca.crl(5, &[&[0x51]], 24)).await;
    proxy.signal("HUP");
    eventually("it is fetched", || source(&proxy, &url)["error"].is_null());
    assert_eq!(alert_of(&proxy, &good).await, None);
    assert_eq!(alert_of(&proxy, &bad).await, Some(Alert::CertificateRevoked));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_is_added_while_running_counts_once_it_was_fetched() {
    let world = world().await;
    let proxy = world.workspace.start(&world.config(""));
    assert_eq!(alert_of(&proxy, &world.bad).await, None, "the test made it right");
    world.server.serve(Serve::Head("503 Service Unavailable\r\nContent-Length: 0"));
    let live = Client::new(&proxy, Some(&world.good)).connect().await.expect("admitted");
    proxy.replace("portcullis.toml", world.config(&format!("crls = [{}]\n", world.server.entry("1h"))));
    eventually("it is said", || proxy.log().contains("put in force once it is there"));
    assert_eq!((proxy.generation(), alert_of(&proxy, &world.good).await), (1, None), "nobody is cut meanwhile");
    world.server.serve(world.ca.crl(5, &[&[0x51]], 24));
    proxy.signal("HUP");
    proxy.wait_for_generation_after(1);
    world.assert_as_before(&proxy, "once it was fetched").await;
    assert!(!live.driver.is_finished());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crl_server_that_hangs_delays_no_other_change() {
    let world = world().await;
    let proxy = world.start("1h");
    world.assert_as_before(&proxy, "at the start").await;
    world.server.serve(Serve::Hang);
    proxy.signal("HUP");
    eventually("it hangs", || world.server.hanging() == 1);
    let (before, answered) = (proxy.generation(), world.server.requests());
    let live = Client::new(&proxy, Some(&world.pinned)).connect().await.expect("admitted");
    proxy.allow("other", &Leaf::new("other").self_signed());
    proxy.remove("allowlist/pinned.pem");
    let _ = within("the removed client to be cut", live.driver).await;
    // Told once it is in force on the last worker: the client was cut by the first.
    proxy.wait_for_generation_after(before);
    assert_eq!((world.server.hanging(), world.server.requests()), (1, answered), "the reload waited for the fetch to give up");
    world.assert_as_before(&proxy, "while it hangs").await;
}

#[test]
fn urls_that_are_not_safe_are_refused_by_check() {
    let workspace = Workspace::new();
    workspace.allow("somebody", &Leaf::new("somebody").self_signed());
    for (url, wanted) in [
        ("http://crl.example.com/ca.crl", "withhold the newest CRL"),
        ("https://user:hunter2@crl.example.com/ca.crl", "credentials in a URL"),
        ("ldap://crl.example.com/ca.crl", "expected https://"),
    ] {
        workspace
            .write("portcullis.toml", Workspace::config("require", "http://127.0.0.1:1", &format!("[revocation]\ncrls = [\"{url}\"]\n")));
        let output = workspace.run(&["check"]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(3), "{url}: {said}");
        assert!(said.contains(wanted), "{url}: {said}");
    }
}
