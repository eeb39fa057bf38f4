//! Methods of authentication by certificate, in the words of Akeyless's API and command line: what they let in, what they refuse, and
//! that they are principals like any other.

mod by_token;
mod commands;
mod refused;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use rcgen::CrlDistributionPoint;
use rustls::ALL_VERSIONS;
use serde_json::{Value, json};

use crate::support::client::{request, request_with};
use crate::support::{Client, Identity, Leaf, TestCa, TestProxy, TestUpstream, Workspace, certificates, proxy};

struct World {
    workspace: Workspace,
    proxy: TestProxy,
    upstream: TestUpstream,
    admin: Identity,
    operator: Identity,
    user: Identity,
}

impl World {
    async fn start() -> Self {
        let upstream = TestUpstream::start().await;
        let workspace = Workspace::new();
        let mut more = CONTROL.to_owned();
        let mut make = |name: &str| {
            let identity = Leaf::new(name).self_signed();
            identity.write(workspace.directory.path(), name);
            more += &format!("[[principal]]\nname = \"{name}\"\nclearance = \"{name}\"\ncertificates = [\"{name}.pem\"]\n");
            identity
        };
        let (admin, operator, user) = (make("admin"), make("operator"), make("user"));
        let proxy = workspace.start_with_somebody(&Workspace::config("request", &upstream.url(), &more));
        Self { workspace, proxy, upstream, admin, operator, user }
    }

    fn client(&self, listener: &str, identity: Option<&Identity>) -> Client {
        Client::of_listener(&self.proxy, listener, identity, ALL_VERSIONS, false)
    }

    /// Calls as `curl` would; returns the status and the JSON.
    async fn send(&self, caller: Option<&Identity>, method: &str, path: &str, body: Value) -> (u16, Value) {
        let mut request = if body.is_null() { request(method, path) } else { request_with(method, path, body.to_string()) };
        request.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
        let answer = self.client("control", caller).send(request).await.expect("an answer");
        (answer.status.as_u16(), answer.json())
    }

    async fn call(&self, caller: &Identity, name: &str, body: Value) -> (u16, Value) {
        self.send(Some(caller), "POST", &format!("/api/v2/auth-method-{name}"), body).await
    }

    /// Calls what is to be done.
    async fn done(&self, name: &str, body: Value) -> Value {
        let (status, answer) = self.call(&self.operator, name, body).await;
        assert_eq!(status, 200, "{name}: {answer}");
        answer
    }

    /// Gives a method's principal what a method alone does not have.
    async fn permit(&self, id: &str) {
        let permissions = json!({ "permissions": [{ "routes": ["all"], "access": "read" }] });
        let (status, answer) = self.send(Some(&self.operator), "PATCH", &format!("/v1/principals/{id}"), permissions).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// Asks for the upstream's page: `200`, or the status and the code.
    async fn tries(&self, identity: &Identity) -> String {
        let answer = self.client("edge", Some(identity)).get("/hello").await.expect("an answer");
        match answer.status.as_u16() {
            200 => "200".to_owned(),
            status => format!("{status} {}", answer.code()),
        }
    }

    /// Runs a command; returns its exit code and what it says.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        proxy::told(&self.workspace.run(arguments))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let (code, words) = self.run(&[&["--json"], arguments].concat());
        assert_eq!(code, Some(0), "{arguments:?}: {words}");
        serde_json::from_str(&words).unwrap_or_else(|error| panic!("{error}: {words}"))
    }
}

/// As the SDKs send it.
fn data(pem: &str) -> String {
    STANDARD.encode(pem)
}

fn create(name: &str, pem: &str) -> Value {
    json!({ "name": name, "unique-identifier": "common_name", "certificate-data": data(pem), "access-expires": 0, "jwt-ttl": 0, "json": false })
}

fn with(mut body: Value, key: &str, value: Value) -> Value {
    body[key] = value;
    body
}

const CONTROL: &str = r#"
[[listener]]
name = "control"
address = "127.0.0.1:0"
client_auth = "request"
serve = ["admin"]
certificates = [{ cert = "server.pem", key = "server.key" }]

[[listener]]
name = "tokens"
address = "127.0.0.1:0"
client_auth = "request"
serve = ["admin", "challenge"]
tokens = true
certificates = [{ cert = "server.pem", key = "server.key" }]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_method_lets_in_whom_it_bounds_and_nobody_else() {
    let world = World::start().await;
    let ca = TestCa::new("pipelines ca");
    let leaf = |name: &str, unit: &str| ca.issue(Leaf::new(name).serial(name.as_bytes()).organizational_unit(unit));
    let (inside, outside, elsewhere) = (leaf("pipeline-7", "DevOps"), leaf("other", "DevOps"), leaf("pipeline-8", "Sales"));
    let mut body = create("/ci/pipelines", &ca.pem());
    body["bound-common-names"] = json!(["pipeline-*", "runner, one"]);
    body["bound-organizational-units"] = json!(["DevOps"]);
    body["bound-uri-sans"] = json!([]);
    body["bound-ips"] = json!(["127.0.0.0/8,192.0.2.0/24"]);
    body["audit-logs-claims"] = json!(["common_name", "dns_sans"]);
    body["description"] = json!("Builds");
    body["expiration-event-in"] = json!(["30", "7"]);
    body["jwt-ttl"] = json!(90);
    body["gw-bound-ips"] = json!(["10.20.0.5/32"]);
    body["allowed-cors"] = json!("https://a.example, https://*.example.org");
    let made = world.done("create-cert", body).await;
    let id = made["access_id"].as_str().expect("an id").to_owned();
    assert!(id.starts_with("p-") && made["name"] == "/ci/pipelines", "{made}");
    // A method alone gives nothing.
    assert_eq!(world.tries(&inside).await, "403 not_permitted");
    world.permit(&id).await;
    assert_eq!(world.tries(&inside).await, "200");
    assert_eq!(world.upstream.received().last().expect("a request").header("x-portcullis-identifier"), ["pipeline-7"]);
    assert_eq!((world.tries(&outside).await, world.tries(&elsewhere).await), ("403 bounds_mismatch".into(), "403 bounds_mismatch".into()));
    let method = world.done("get", json!({ "name": "ci/pipelines" })).await;
    let (info, rules) = (&method["access_info"], &method["access_info"]["cert_access_rules"]);
    assert_eq!((&method["auth_method_access_id"], &method["auth_method_name"]), (&json!(id), &json!("/ci/pipelines")));
    assert_eq!((&method["description"], &method["expiration_events"][1]["seconds_before"]), (&json!("Builds"), &json!(604_800)));
    assert_eq!((&info["rules_type"], &info["jwt_ttl"], &info["access_expires"]), (&json!("cert"), &json!(90), &json!(0)));
    assert_eq!((&info["cidr_whitelist"], &info["gw_cidr_whitelist"]), (&json!("127.0.0.0/8,192.0.2.0/24"), &json!("10.20.0.5/32")));
    assert_eq!(info["audit_logs_claims"], json!(["common_name", "dns_sans"]));
    assert_eq!(rules["bound_common_names"], json!(["pipeline-*", "runner, one"]));
    assert_eq!((&rules["bound_uri_sans"], &rules["unique_identifier"]), (&json!([]), &json!("common_name")));
    assert_eq!(rules["allowed_cors"], json!(["https://a.example", "https://*.example.org"]));
    assert_eq!(rules["certificate"], json!(data(&ca.pem())));

    // Each restriction bites at once, and ends where it is taken away.
    let serial = certificates::hex(b"pipeline-7");
    for (key, bites, ends, code) in [
        ("revoked-cert-ids", json!([format!("serial:{serial}")]), json!([]), "403 revoked"),
        ("access-expires", json!(1_600_000_000), Value::Null, "403 principal_expired"),
        ("bound-ips", json!(["192.0.2.0/24"]), json!([]), "403 client_ip_denied"),
        ("bound-common-names", json!(["runner-*"]), json!(["pipeline-*"]), "403 bounds_mismatch"),
        ("require-crl-dp", json!(true), json!(false), "403 revocation_unknown"),
    ] {
        let update = |value| json!({ "name": "/ci/pipelines", key: value });
        world.done("update-cert", update(bites)).await;
        assert_eq!(world.tries(&inside).await, code, "{key}");
        // An SDK says 0 of what nobody spoke of.
        world
            .done("update-cert", json!({ "name": "ci/pipelines", "access-expires": 0, "jwt-ttl": 0, "unique-identifier": "common_name" }))
            .await;
        assert_eq!(world.tries(&inside).await, code, "{key}");
        world.done("update-cert", update(ends)).await;
        assert_eq!(world.tries(&inside).await, "200", "{key}");
    }
    assert_eq!(world.tries(&elsewhere).await, "403 bounds_mismatch", "what was not named stays");
    assert_eq!(world.done("get", json!({ "name": "ci/pipelines" })).await["access_info"]["jwt_ttl"], 90);

    // Another name, the same method; then it is protected, and then gone.
    let renamed =
        world.done("update-cert", json!({ "name": "ci/pipelines", "new-name": "/build/pipelines", "delete_protection": "true" })).await;
    assert_eq!(renamed, json!({ "name": "/build/pipelines" }));
    assert_eq!(world.call(&world.operator, "get", json!({ "name": "ci/pipelines" })).await.0, 404);
    let method = world.done("get", json!({ "name": "build/pipelines" })).await;
    assert_eq!((&method["auth_method_access_id"], &method["delete_protection"]), (&json!(id), &json!(true)));
    let (status, refused) = world.call(&world.admin, "delete", json!({ "name": "/build/pipelines" })).await;
    assert!(status == 409 && refused["error"].as_str().is_some_and(|error| error.starts_with("protected")), "{status} {refused}");
    world.done("update-cert", json!({ "name": "build/pipelines", "delete_protection": "false" })).await;
    assert_eq!(world.done("delete", json!({ "name": "/build/pipelines" })).await, json!({ "name": "/build/pipelines" }));
    assert_eq!(world.tries(&inside).await, "403 not_listed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_may_demand_crls_of_its_own() {
    let world = World::start().await;
    let ca = TestCa::new("crl ca");
    let mut leaf = Leaf::new("with").serial(&[7, 7]);
    leaf.params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec!["http://crl.example/ca.crl".to_owned()] }];
    let (with_point, without) = (ca.issue(leaf), ca.issue(Leaf::new("without")));
    let id = world.done("create-cert", with(create("strict", &ca.pem()), "require-crl-dp", json!(true))).await;
    world.permit(id["access_id"].as_str().expect("an id")).await;
    assert_eq!(world.tries(&with_point).await, "403 revocation_unknown");
    let put = |number, serials: &[&[u8]], hours| json!({ "crl": ca.crl(number, serials, hours) });
    for (crl, expected) in [(put(1, &[], 24), "200"), (put(2, &[&[7, 7]], 24), "403 revoked"), (put(3, &[], -1), "403 revocation_unknown")]
    {
        let (status, answer) = world.send(Some(&world.admin), "PUT", "/v1/crls/ours", crl).await;
        assert!(status < 300, "{answer}");
        assert_eq!(world.tries(&with_point).await, expected);
        assert_eq!(world.tries(&without).await, "403 revocation_unknown");
        let certificate = json!({ "certificate": without.leaf_pem() });
        let (_, report) = world.send(Some(&world.operator), "POST", "/v1/explain", certificate).await;
        let why = if expected.contains("unknown") { "is stale" } else { "names no CRL distribution point" };
        assert!(report["steps"].to_string().contains(why), "{report}");
    }
    assert_eq!(world.json(&["allow", "show", "strict"])["require_crl_dp"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_s_own_certificate_is_pinned_and_never_an_issuer() {
    let world = World::start().await;
    let client = Leaf::new("alone").self_signed();
    let made = world.done("create-cert", create("people/alone", &client.leaf_pem())).await;
    world.permit(made["access_id"].as_str().expect("an id")).await;
    assert_eq!(world.tries(&client).await, "200");
    assert_eq!(world.tries(&Leaf::new("child").signed_with(&client)).await, "403 not_listed");
    // The other way round takes a word: this pin vouches for nobody by a slip.
    let ca = TestCa::new("ca");
    let update = json!({ "name": "people/alone", "certificate-data": data(&ca.pem()) });
    let (status, refused) = world.call(&world.operator, "update-cert", update.clone()).await;
    assert!(status == 400 && refused.to_string().contains("is authority, and this method has pin"), "{status} {refused}");
    world.done("update-cert", with(update, "as", json!("authority"))).await;
    assert_eq!((world.tries(&client).await, world.tries(&ca.issue(Leaf::new("child"))).await), ("403 not_listed".into(), "200".into()));
    let (_, principal) = world.send(Some(&world.operator), "GET", "/v1/principals/-?name=people/alone", Value::Null).await;
    assert_eq!((&principal["authority"][0]["any"], principal["certificates"].is_null()), (&json!(true), true), "{principal}");
}
