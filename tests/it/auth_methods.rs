//! Methods of authentication by certificate, in the words of Akeyless's API and command line: what they let in, what they refuse, and
//! that they are principals like any other.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use rcgen::CrlDistributionPoint;
use rustls::ALL_VERSIONS;
use serde_json::{Value, json};

use crate::support::client::{request, request_with};
use crate::support::{Client, Identity, Leaf, TestCa, TestProxy, TestUpstream, Workspace, certificates};

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
        let output = self.workspace.run(arguments);
        (output.status.code(), [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat())
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

#[tokio::test(flavor = "multi_thread")]
async fn what_a_method_cannot_keep_is_refused_in_words() {
    let world = World::start().await;
    let (ca, client) = (TestCa::new("ca"), Leaf::new("client").self_signed());
    let unclear = Leaf::new("unclear").ca().no_eku().self_signed();
    world.done("create-cert", create("taken", &client.leaf_pem())).await;
    let good = || create("new", &ca.pem());
    let both = format!("{}{}", ca.pem(), Leaf::new("x").self_signed().leaf_pem());
    for (body, status, words) in [
        (json!({ "name": "new" }), 400, "unique-identifier: is missing; certificate-data: is missing"),
        (with(good(), "name", json!("a b")), 400, "name: `a b` is no principal name"),
        (with(good(), "name", json!("TAKEN")), 409, "name_taken"),
        (with(good(), "new-name", json!("newer")), 400, "new-name: is for a method that there is already"),
        (with(good(), "unique-identifier", json!("colour")), 400, "unique-identifier: `colour`"),
        (with(good(), "certificate-data", json!("!")), 400, "certificate-data: is neither base64 of a certificate nor PEM"),
        (with(good(), "certificate-data", json!("A".repeat(90_001))), 400, "certificate-data: is longer than"),
        (with(good(), "certificate-data", json!(data(&unclear.leaf_pem()))), 400, "says CA:TRUE and has no keyUsage"),
        (with(good(), "certificate-data", json!(data(&both))), 400, "holds both a client's certificate and a CA's"),
        (with(good(), "certificate-data", json!(data(&client.leaf_pem()))), 409, "fingerprint_taken"),
        (
            with(with(good(), "certificate-data", json!(data(&client.leaf_pem()))), "as", json!("authority")),
            400,
            "certificate-data: certificate 1",
        ),
        (with(create("pin", &client.leaf_pem()), "bound-dns-sans", json!(["*"])), 400, "bound-dns-sans: means nothing beside a pin"),
        (with(good(), "bound-extensions", json!(["1.2.3"])), 400, "bound-extensions[0]: `1.2.3`"),
        (with(good(), "bound-ips", json!(["192.0.2.1/24"])), 400, "bound-ips[0]: `192.0.2.1/24`"),
        (with(good(), "gw-bound-ips", json!("somewhere")), 400, "gw-bound-ips[0]: `somewhere`"),
        (with(good(), "allowed-cors", json!("example.com")), 400, "allowed-cors[0]: `example.com`"),
        (with(good(), "audit-logs-claims", json!(["colour"])), 400, "audit-logs-claims[0]: `colour`"),
        (with(good(), "revoked-cert-ids", json!(["colour"])), 400, "revoked-cert-ids[0]: `colour`"),
        (with(good(), "access-expires", json!(-1)), 400, "access-expires: -1 is no time"),
        (with(good(), "access-expires", json!(1_800_000_000_000_u64)), 400, "access-expires: 1800000000000 is no time"),
        (with(good(), "jwt-ttl", json!(50_000)), 400, "jwt-ttl: `50000m` is not 1s to 30d"),
        (with(good(), "jwt-ttl", json!(-5)), 400, "jwt-ttl: `-5m` is no duration"),
        (with(good(), "expiration-event-in", json!(["soon"])), 400, "expiration-event-in: `soon` is no number of days"),
        (with(good(), "expiration-event-in", json!([0])), 400, "expiration-event-in[0]: 0 is not 1 to 3650 days"),
        (with(good(), "delete_protection", json!("maybe")), 400, "delete_protection: is neither"),
        (with(good(), "product-type", json!(["sm"])), 400, "product-type: there are no products here"),
        (with(good(), "allowed-client-type", json!(["cli"])), 400, "allowed-client-type: no certificate proves which program"),
        (with(good(), "uid-token", json!("u-1")), 400, "uid-token: is not taken"),
        (with(good(), "token", json!("t-1")), 400, "token: is not taken"),
        (with(good(), "description", json!("a\nb")), 400, "description: is empty or holds a control character"),
        (with(good(), "colour", json!("red")), 400, "unknown field `colour`"),
    ] {
        let (got, answer) = world.call(&world.admin, "create-cert", body.clone()).await;
        let said = answer["error"].as_str().unwrap_or_default();
        assert!(got == status && said.contains(words), "{body}: {got} {answer}");
    }
    for (name, body, status, words) in [
        ("update-cert", json!({ "name": "nobody", "description": "x" }), 404, "not_found"),
        ("update-cert", json!({ "name": "user", "description": "x" }), 409, "static"),
        ("update-cert", json!({ "name": "taken", "bound-common-names": ["x"] }), 400, "bound-common-names: means nothing beside a pin"),
        ("get", json!({ "name": "nobody" }), 404, "not_found"),
        ("get", json!({}), 400, "missing field `name`"),
        ("get", json!({ "name": "taken", "token": "t-1" }), 400, "token: is not taken"),
        ("list", json!({ "uid-token": "u-1" }), 400, "uid-token: is not taken"),
        ("delete", json!({ "name": "nobody" }), 404, "not_found"),
        ("delete", json!({ "name": "user" }), 409, "static"),
        ("delete", json!({ "name": "taken", "token": "t-1" }), 400, "token: is not taken"),
    ] {
        let (got, answer) = world.call(&world.admin, name, body.clone()).await;
        assert!(got == status && answer["error"].as_str().is_some_and(|said| said.contains(words)), "{name} {body}: {got} {answer}");
    }
    // A condition on every permission, as far as one is demanded.
    let made = world.done("create-cert", with(good(), "force-sub-claims", json!(true))).await;
    let path = format!("/v1/principals/{}", made["access_id"].as_str().expect("an id"));
    let permission = |when: Value| json!({ "permissions": [{ "routes": ["*"], "access": "read", "when": when }] });
    let (status, answer) = world.send(Some(&world.admin), "PATCH", &path, permission(json!({}))).await;
    assert!(status == 400 && answer.to_string().contains("require_when"), "{status} {answer}");
    let (status, answer) = world.send(Some(&world.admin), "PATCH", &path, permission(json!({ "organizational_unit": ["DevOps"] }))).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(world.done("get", json!({ "name": "user" })).await["access_info"]["cert_access_rules"]["unique_identifier"], "principal");
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_are_managed_by_those_who_may_and_never_above_them() {
    let world = World::start().await;
    let boss = Leaf::new("boss").self_signed();
    let (_, made) = world.call(&world.admin, "create-cert", create("boss", &boss.leaf_pem())).await;
    let path = format!("/v1/principals/{}", made["access_id"].as_str().expect("an id"));
    assert_eq!(world.send(Some(&world.admin), "PATCH", &path, json!({ "clearance": "admin" })).await.0, 200);
    let body = |name: &str| match name {
        "create-cert" => create("x", &Leaf::new("x").self_signed().leaf_pem()),
        "list" => json!({}),
        _ => json!({ "name": "boss" }),
    };
    for name in ["create-cert", "update-cert", "get", "list", "delete"] {
        let (status, refused) = world.call(&world.user, name, body(name)).await;
        assert!(
            status == 403 && refused["error"].as_str().is_some_and(|error| error.contains("clearance_too_low")),
            "{name}: {status} {refused}"
        );
        let path = format!("/api/v2/auth-method-{name}");
        let (status, refused) = world.send(None, "POST", &path, body(name)).await;
        assert!(status == 401 && refused["error"].is_string(), "{name}: {status} {refused}");
        let (status, refused) = world.send(Some(&Leaf::new("stranger").self_signed()), "POST", &path, body(name)).await;
        assert!(status == 401 && refused["error"].is_string(), "{name}: {status} {refused}");
        assert_eq!(world.send(Some(&world.admin), "GET", &path, Value::Null).await.0, 405, "{name}");
    }
    for (name, body) in [
        ("update-cert", json!({ "name": "boss", "bound-ips": ["192.0.2.0/24"] })),
        ("update-cert", json!({ "name": "boss", "certificate-data": data(&Leaf::new("thief").self_signed().leaf_pem()) })),
        ("delete", json!({ "name": "boss" })),
    ] {
        let (status, refused) = world.call(&world.operator, name, body).await;
        assert!(status == 403 && refused.to_string().contains("clearance_too_low"), "{name}: {status} {refused}");
    }
    assert_eq!(world.call(&world.operator, "get", json!({ "name": "boss" })).await.0, 200);
    assert_eq!(world.call(&world.admin, "delete", json!({ "name": "boss" })).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_are_listed_by_parts_of_their_names_and_page_by_page() {
    let world = World::start().await;
    let one = |number: u32| json!({ "name": format!("{}/m-{number:04}", if number.is_multiple_of(2) { "even" } else { "odd" }), "fingerprints": [format!("{number:064x}")] });
    let all: Vec<Value> = (0..1002).map(one).collect();
    let (status, answer) = world.send(Some(&world.admin), "PUT", "/v1/principals", json!({ "principals": all })).await;
    assert_eq!(status, 200, "{answer}");
    let names = |page: &Value| -> Vec<String> {
        let methods = page["auth_methods"].as_array().expect("a list");
        methods.iter().map(|method| method["auth_method_name"].as_str().expect("a name").to_owned()).collect()
    };
    let first = world.done("list", json!({})).await;
    let second = world.done("list", json!({ "pagination-token": first["next_page"] })).await;
    assert_eq!((names(&first).len(), &first["next_page"]), (1000, &json!("/odd/m-0997")));
    assert_eq!((names(&second), second["next_page"].is_null()), (vec!["/odd/m-0999".to_owned(), "/odd/m-1001".to_owned()], true));
    for (filter, count) in [
        (json!({ "filter": "/EVEN/m-000" }), 5),
        (json!({ "filter": "m-100", "type": ["cert", "saml2"] }), 2),
        (json!({ "filter": "m-100", "type": ["api_key"] }), 0),
        (json!({ "filter": "nothing", "type": [] }), 0),
    ] {
        assert_eq!(names(&world.done("list", filter.clone()).await).len(), count, "{filter}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_manages_methods_in_the_words_of_the_original() {
    let world = World::start().await;
    let ca = TestCa::new("ca");
    let (client, inside) = (Leaf::new("client").self_signed(), ca.issue(Leaf::new("pipeline-1")));
    world.workspace.write("ca_certificate.pem", ca.pem());
    client.write(world.workspace.directory.path(), "client");
    Identity::seed("Azure client").write(world.workspace.directory.path(), "seed");
    let make = |name: &str, file: &str, more: &[&str]| {
        let fixed =
            ["auth-method", "create", "cert", "--name", name, "--unique-identifier", "common_name", "--certificate-file-name", file];
        world.run(&[&fixed, more].concat())
    };
    // The published line, whole.
    let (code, words) = make("ci/pipelines", "ca_certificate.pem", &["--bound-common-names", "pipeline-*", "--jwt-ttl", "30"]);
    assert!(code == Some(0) && words.contains("access id: p-") && words.contains("an authority"), "{code:?} {words}");
    let (code, words) = make("people/client", "client.pem", &[]);
    assert!(code == Some(0) && words.contains("pinned"), "{code:?} {words}");
    let (code, words) = make("people/seed", "seed.pem", &[]);
    assert!(code == Some(2) && words.contains("no keyUsage") && words.contains("say --as pin or --as authority"), "{code:?} {words}");
    let (code, words) =
        make("people/seed", "seed.pem", &["--as", "pin", "--description", "by the Azure recipe", "--delete_protection", "true"]);
    assert!(code == Some(0) && words.contains("pinned"), "{code:?} {words}");
    for (code, words, arguments) in [
        (2, "which certificate?", &["create", "cert", "--name", "x", "--unique-identifier", "common_name"][..]),
        (2, "nothing to change", &["update", "cert", "--name", "ci/pipelines"]),
        (2, "--as is for a certificate", &["update", "cert", "--name", "ci/pipelines", "--as", "pin"]),
        (1, "product-type", &["update", "cert", "--name", "ci/pipelines", "--product-type", "sm"]),
        (1, "not_found", &["get", "--name", "nobody"]),
        (1, "not_found", &["delete", "--name", "nobody", "--yes"]),
        (2, "--yes", &["delete", "--name", "ci/pipelines"]),
        (1, "protected", &["delete", "cert", "--name", "people/seed", "--yes"]),
    ] {
        let (got, said) = world.run(&[&["auth-method"], arguments].concat());
        assert!(got == Some(code) && said.contains(words), "{arguments:?}: {got:?} {said}");
    }
    let method = world.json(&["auth-method", "get", "--name", "ci/pipelines"]);
    world.permit(method["auth_method_access_id"].as_str().expect("an id")).await;
    assert_eq!(world.tries(&inside).await, "200");
    for (arguments, expected) in [
        (&["--bound-ips", "192.0.2.0/24", "--bound-ips", "198.51.100.7"][..], "403 client_ip_denied"),
        (&["--bound-ips", ""], "200"),
        (&["--access-expires", "1600000000"], "403 principal_expired"),
        (&["--access-expires", "0", "--jwt-ttl", "0", "--new-name", "/build/pipelines"], "200"),
    ] {
        let (code, words) = world.run(&[&["auth-method", "update", "cert", "--name", "ci/pipelines"], arguments].concat());
        assert_eq!((code, world.tries(&inside).await.as_str()), (Some(0), expected), "{arguments:?}: {words}");
    }
    let (_, words) = world.run(&["auth-method", "get", "--name", "build/pipelines"]);
    assert!(words.contains("pipeline-*") && words.contains("/build/pipelines"), "{words}");
    let listed = world.json(&["auth-method", "list", "cert", "--filter", "people/"]);
    assert_eq!(listed["auth_methods"].as_array().map(Vec::len), Some(2), "{listed}");
    let (_, words) = world.run(&["auth-method", "list"]);
    assert!(words.lines().count() == 3 && words.contains("/people/seed, protected, by the Azure recipe"), "{words}");
    let (code, words) = world.run(&["auth-method", "delete", "--name", "build/pipelines", "--yes"]);
    assert_eq!((code, world.tries(&inside).await.as_str()), (Some(0), "403 not_listed"), "{words}");
}
