//! The protocols of Azure and RavenDB for managing who gets in: what they answer, and what they refuse to whom. Nothing that `/v1` would
//! refuse can be had through them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use rustls::ALL_VERSIONS;
use serde_json::{Value, json};

use crate::support::client::{Answer, request, request_with};
use crate::support::{Client, Identity, Leaf, TestProxy, TestUpstream, Workspace};

struct World {
    proxy: TestProxy,
    _upstream: TestUpstream,
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
            more +=
                &format!("[[principal]]\nname = \"{name}\"\nclearance = \"{name}\"\npermissions = []\ncertificates = [\"{name}.pem\"]\n");
            identity
        };
        let (admin, operator, user) = (make("admin"), make("operator"), make("user"));
        let proxy = workspace.start_with_somebody(&Workspace::config("request", &upstream.url(), &more));
        Self { proxy, _upstream: upstream, admin, operator, user }
    }

    fn client(&self, listener: &str, identity: Option<&Identity>) -> Client {
        Client::of_listener(&self.proxy, listener, identity, ALL_VERSIONS, false)
    }

    async fn call(&self, caller: &Identity, method: &str, path: &str, body: Value) -> Answer {
        send(&self.client("control", Some(caller)), method, path, body).await
    }

    /// Makes a principal by RavenDB's protocol, of a certificate that it holds.
    async fn register(&self, name: &str, clearance: &str) -> Identity {
        let identity = Leaf::new(name).self_signed();
        let answer = self.call(&self.admin, "PUT", "/admin/certificates", registration(&identity, name, clearance)).await;
        assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
        identity
    }

    /// Asks the proxy for its upstream's page.
    async fn passes(&self, identity: &Identity, method: &str) -> u16 {
        self.client("edge", Some(identity)).send(request(method, "/hello")).await.expect("an answer").status.as_u16()
    }
}

async fn send(client: &Client, method: &str, path: &str, body: Value) -> Answer {
    let mut request = match body {
        Value::Null => request(method, path),
        body => request_with(method, path, body.to_string()),
    };
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    client.send(request).await.expect("an answer")
}

fn registration(identity: &Identity, name: &str, clearance: &str) -> Value {
    json!({ "Name": name, "SecurityClearance": clearance, "Certificate": STANDARD.encode(identity.leaf()) })
}

/// SHA-1 of the leaf, as RavenDB writes it.
fn thumbprint(identity: &Identity) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, identity.leaf());
    digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect()
}

/// What an answer says: its status, and the name that its protocol gives a refusal.
fn told(answer: &Answer) -> String {
    let status = answer.status.as_u16();
    if status < 300 {
        return status.to_string();
    }
    let body = answer.json();
    let name = body["error"]["code"].as_str().or_else(|| body["Type"].as_str());
    format!("{status} {}", name.unwrap_or_else(|| panic!("no name: {body}")))
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
async fn a_user_of_azures_protocol_is_a_certificate_with_a_role() {
    let world = World::start().await;
    let client = Leaf::new("newcomer").self_signed();
    let path = format!("/app/users/{}", client.fingerprint());
    let operator = &world.operator;
    assert_eq!(told(&world.call(operator, "GET", &path, Value::Null).await), "404 ResourceNotFound");
    assert_eq!(told(&world.call(operator, "PATCH", &path, json!({})).await), "400 InvalidInput");
    for (role, get, post) in [("Contributor", 200, 200), ("Reader", 200, 403), ("Reader", 200, 403), ("Contributor", 200, 200)] {
        let answer = world.call(operator, "PATCH", &path, json!({ "assignedRole": role })).await;
        assert_eq!((told(&answer), answer.json()), ("200".into(), json!({ "assignedRole": role, "userId": client.fingerprint() })));
        assert_eq!((world.passes(&client, "GET").await, world.passes(&client, "POST").await), (get, post), "{role}");
    }
    // As openssl prints a fingerprint; and a patch that says nothing.
    let colons: Vec<String> = client.fingerprint().as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).to_uppercase()).collect();
    let answer = world.call(operator, "GET", &format!("/app/users/{}", colons.join(":")), Value::Null).await;
    assert_eq!(answer.json(), json!({ "assignedRole": "Contributor", "userId": client.fingerprint() }));
    assert_eq!(world.call(operator, "PATCH", &path, json!({})).await.json()["assignedRole"], "Contributor");
    let listed = world.call(operator, "GET", "/app/users?api-version=2022-05-13", Value::Null).await.json();
    assert_eq!(listed, json!({ "ledgerUsers": [{ "assignedRole": "Contributor", "userId": client.fingerprint() }] }));
    // Of files: shown, and changed there.
    let of_file = format!("/app/users/{}", world.user.fingerprint());
    assert_eq!(world.call(operator, "GET", &of_file, Value::Null).await.json()["assignedRole"], "Custom");
    assert_eq!(told(&world.call(&world.admin, "PATCH", &of_file, json!({ "assignedRole": "Reader" })).await), "409 Static");
    assert_eq!(told(&world.call(&world.admin, "DELETE", &of_file, Value::Null).await), "409 Static");
    for (method, path, body, expected) in [
        ("PATCH", path.as_str(), json!({ "assignedRole": "Owner" }), "400 InvalidInput"),
        ("PATCH", path.as_str(), json!({ "assignedRole": "Reader", "userId": "ab" }), "400 InvalidInput"),
        ("PATCH", path.as_str(), json!({ "assignedRole": "Reader", "assignedRoles": [] }), "400 InvalidInput"),
        ("GET", "/app/users/somebody", Value::Null, "400 InvalidResourceName"),
        ("PUT", path.as_str(), json!({}), "405 UnsupportedHttpVerb"),
        ("GET", "/app/users/a/b", Value::Null, "404 ResourceNotFound"),
    ] {
        assert_eq!(told(&world.call(operator, method, path, body.clone()).await), expected, "{method} {path} {body}");
    }
    assert_eq!(told(&world.call(operator, "DELETE", &path, Value::Null).await), "204");
    assert_eq!(world.passes(&client, "GET").await, 403);
    assert_eq!(told(&world.call(operator, "DELETE", &path, Value::Null).await), "404 ResourceNotFound");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_ravendbs_protocol_is_a_principal() {
    let world = World::start().await;
    let admin = &world.admin;
    let client = Leaf::new("shop").self_signed();
    let mut body = registration(&client, "Shop: front/end", "ValidUser");
    body["Permissions"] = json!({ "all": "Read" });
    assert_eq!(told(&world.call(admin, "PUT", "/admin/certificates", body.clone()).await), "201");
    assert_eq!((world.passes(&client, "GET").await, world.passes(&client, "POST").await), (200, 403));
    // One certificate is one principal's; a name may be many's.
    assert_eq!(told(&world.call(admin, "PUT", "/admin/certificates", body).await), "409 System.InvalidOperationException");
    let second = world.register("Shop: front/end", "ValidUser").await;
    let find = format!("/admin/certificates?thumbprint={}", thumbprint(&client));
    let found = world.call(admin, "GET", &find, Value::Null).await.json();
    let shown = &found["Results"][0];
    assert_eq!((&shown["Name"], &shown["Permissions"]), (&json!("Shop: front/end"), &json!({ "all": "Read" })), "{found}");
    assert_eq!(shown["Certificate"], STANDARD.encode(client.leaf()));
    let named = world.call(admin, "GET", "/admin/certificates?name=Shop:%20front%2Fend&metadataOnly=true", Value::Null).await.json();
    assert_eq!(named["Results"].as_array().map(Vec::len), Some(2), "{named}");
    assert!(named["Results"][0]["Certificate"].is_null(), "{named}");
    let page = world.call(admin, "GET", "/admin/certificates?start=1&pageSize=1", Value::Null).await.json();
    assert_eq!(page["Results"][0]["Thumbprint"], thumbprint(&second), "{page}");
    let slugs = world.call(admin, "GET", "/v1/principals", Value::Null).await.json();
    let names: Vec<&str> = slugs["principals"].as_array().expect("a list").iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["Shop-front-end", "Shop-front-end-2"]);

    // Edited: its rights and its free name, in force at once.
    let mut edit = json!({ "Thumbprint": thumbprint(&client), "Name": "Shop", "SecurityClearance": "ValidUser", "Permissions": { "all": "ReadWrite" } });
    assert_eq!(told(&world.call(admin, "POST", "/admin/certificates/edit", edit.clone()).await), "201");
    assert_eq!(world.passes(&client, "POST").await, 200);
    assert_eq!(world.call(&client, "GET", "/certificates/whoami", Value::Null).await.json()["Name"], "Shop");
    // What these words cannot say is not lost by them.
    let id = slugs["principals"][0]["id"].as_str().expect("an id");
    let deny = json!({ "permissions": [{ "routes": ["*"], "access": "write" }, { "routes": ["secret"], "access": "deny" }] });
    assert_eq!(told(&world.call(admin, "PATCH", &format!("/v1/principals/{id}"), deny).await), "200");
    edit["Permissions"] = json!({ "all": "Admin" });
    assert_eq!(told(&world.call(admin, "POST", "/admin/certificates/edit", edit.clone()).await), "400 System.ArgumentException");
    let user = format!("/app/users/{}", client.fingerprint());
    assert_eq!(told(&world.call(admin, "PATCH", &user, json!({ "assignedRole": "Reader" })).await), "400 InvalidInput");

    assert_eq!(told(&world.call(admin, "DELETE", &find, Value::Null).await), "204");
    assert_eq!(world.passes(&client, "GET").await, 403);
    assert_eq!(told(&world.call(admin, "GET", &find, Value::Null).await), "404 System.ArgumentException");
    assert_eq!(told(&world.call(admin, "DELETE", &find, Value::Null).await), "404 System.ArgumentException");
    let of_file = format!("/admin/certificates?thumbprint={}", world.user.fingerprint());
    assert_eq!(told(&world.call(admin, "DELETE", &of_file, Value::Null).await), "409 System.InvalidOperationException");
    assert_eq!(told(&world.call(admin, "DELETE", "/admin/certificates/purge", Value::Null).await), "204");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ravendbs_protocol_is_sent_is_understood_whole_or_refused() {
    let world = World::start().await;
    let generate = |name: &str, more: Value| {
        let mut body = json!({ "Name": name, "SecurityClearance": "ValidUser" });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        body
    };
    let before = world.proxy.generation();
    for body in [
        generate("", json!({})),
        generate("n", json!({ "SecurityClearance": "UnauthenticatedClients" })),
        generate("n", json!({ "Password": "x".repeat(10_000_000) })),
        generate("n", json!({ "Password": "a\nb" })),
        generate(&"n".repeat(65), json!({})),
        generate("a\u{0}b", json!({})),
        generate("n", json!({ "NotAfter": "2020-01-01T00:00:00Z" })),
        generate("n", json!({ "NotAfter": "9999-12-31T23:59:59Z" })),
        generate("n", json!({ "Permissions": { "orders": "Everything" } })),
        generate("n", json!({ "Permissions": { "orders": "Read", "ORDERS": "Admin" } })),
        generate("n", json!({ "TwoFactorAuthenticationKey": "secret" })),
        json!([]),
    ] {
        let answer = world.call(&world.admin, "POST", "/admin/certificates", body).await;
        assert_eq!(told(&answer), "400 System.ArgumentException");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(text.len() < 2000 && !text.contains("xxxxxx"), "{text}");
    }
    let server = json!({ "Name": "n", "SecurityClearance": "ValidUser", "Certificate": STANDARD.encode(world.proxy.server.leaf()) });
    assert_eq!(told(&world.call(&world.admin, "PUT", "/admin/certificates", server).await), "400 System.ArgumentException");
    for text in ["", "ab", "zz", &"0".repeat(40), &"0".repeat(64), "../../etc/passwd"] {
        let answer = world.call(&world.admin, "DELETE", &format!("/admin/certificates?thumbprint={text}"), Value::Null).await;
        assert!(answer.status == 400 || answer.status == 404, "{text}: {}", told(&answer));
    }
    assert_eq!(world.proxy.generation(), before, "nothing was changed");

    // A name is a name, not a path, in the zip and in the header.
    for (name, stem) in [("../../etc/passwd", "etc_passwd"), ("a\"b\\c", "a_b_c"), ("CON", "CON_")] {
        let answer = world.call(&world.admin, "POST", "/admin/certificates", generate(name, json!({}))).await;
        assert_eq!(told(&answer), "200", "{name}");
        let disposition = answer.headers["content-disposition"].to_str().expect("text");
        assert!(disposition.starts_with("attachment; filename=") && !disposition.contains(['/', '\\', '"']), "{disposition}");
        let directory = tempfile::tempdir().expect("temporary directory");
        std::fs::write(directory.path().join("z.zip"), &answer.body).expect("written");
        let out = std::process::Command::new("unzip").args(["-Z1", "z.zip"]).current_dir(directory.path()).output().expect("unzip");
        let listed = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(
            listed.lines().count() == 3 && listed.lines().all(|line| !line.contains(['/', '\\']) && line.contains(&stem[stem.len() - 3..])),
            "{name}: {listed}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_rises_by_another_protocol() {
    let world = World::start().await;
    let boss = world.register("boss", "ClusterAdmin").await;
    let peer = world.register("peer", "Operator").await;
    let low = world.register("low", "ValidUser").await;
    let node = world.register("node", "ClusterNode").await;
    let (stranger, newcomer) = (Leaf::new("stranger").self_signed(), Leaf::new("newcomer").self_signed());
    let generation = world.proxy.generation();

    let user = |identity: &Identity| format!("/app/users/{}", identity.fingerprint());
    let role = |role: &str| json!({ "assignedRole": role });
    let edit =
        |identity: &Identity, clearance: &str| json!({ "Thumbprint": thumbprint(identity), "Name": "n", "SecurityClearance": clearance });
    let made = |clearance: &str| json!({ "Name": "n", "SecurityClearance": clearance });
    let delete = |identity: &Identity| format!("/admin/certificates?thumbprint={}", thumbprint(identity));
    let azure = [
        ("PATCH", user(&newcomer), role("Administrator")),
        ("PATCH", user(&peer), role("Administrator")),
        ("PATCH", user(&low), role("Administrator")),
        ("PATCH", user(&boss), role("Reader")),
        ("PATCH", user(&node), role("Reader")),
        ("DELETE", user(&boss), Value::Null),
        ("DELETE", user(&node), Value::Null),
    ];
    let raven = [
        ("POST", "/admin/certificates".to_owned(), made("ClusterAdmin")),
        ("POST", "/admin/certificates".to_owned(), made("ClusterNode")),
        ("PUT", "/admin/certificates".to_owned(), registration(&newcomer, "n", "ClusterAdmin")),
        ("POST", "/admin/certificates/edit".to_owned(), edit(&peer, "ClusterAdmin")),
        ("POST", "/admin/certificates/edit".to_owned(), edit(&low, "ClusterNode")),
        ("POST", "/admin/certificates/edit".to_owned(), edit(&boss, "ValidUser")),
        ("POST", "/admin/certificates/edit".to_owned(), edit(&boss, "ClusterAdmin")),
        ("DELETE", delete(&boss), Value::Null),
        ("DELETE", delete(&node), Value::Null),
        ("DELETE", "/admin/certificates/purge".to_owned(), Value::Null),
    ];
    let reads = [("GET", "/app/users".to_owned(), Value::Null), ("GET", "/admin/certificates".to_owned(), Value::Null)];
    let callers: [(&str, Option<&Identity>, &str, &str); 6] = [
        ("operator", Some(&world.operator), "403 NotAllowed", "403 InvalidAuth"),
        ("managed operator", Some(&peer), "403 NotAllowed", "403 InvalidAuth"),
        ("user", Some(&world.user), "403 NotAllowed", "403 InvalidAuth"),
        ("node", Some(&node), "403 NotAllowed", "403 InvalidAuth"),
        ("stranger", Some(&stranger), "401 InvalidAuthenticationInfo", "403 InvalidAuth"),
        ("nobody", None, "401 InvalidAuthenticationInfo", "403 InvalidAuth"),
    ];
    for (name, identity, in_azure, in_raven) in callers {
        let client = world.client("control", identity);
        for (method, path, body) in azure.iter().chain(&raven) {
            let expected = if path.starts_with("/app/") { in_azure } else { in_raven };
            assert_eq!(told(&send(&client, method, path, body.clone()).await), expected, "{name}: {method} {path} {body}");
        }
        for (method, path, body) in reads.iter().filter(|_| !name.contains("operator")) {
            let expected = if path.starts_with("/app/") { in_azure } else { in_raven };
            assert_eq!(told(&send(&client, method, path, body.clone()).await), expected, "{name}: {method} {path}");
        }
    }
    // A page of another origin has the admin's browser send it.
    for (method, path, body) in azure.iter().chain(&raven) {
        let mut request = request_with(method, path, body.to_string());
        request.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
        request.headers_mut().insert("origin", HeaderValue::from_static("https://evil.test"));
        let answer = world.client("control", Some(&world.admin)).send(request).await.expect("an answer");
        let expected = if path.starts_with("/app/") { "403 NotAllowed" } else { "403 InvalidAuth" };
        assert_eq!(told(&answer), expected, "{method} {path}");
    }
    assert_eq!(world.proxy.generation(), generation, "nothing was changed");

    // Nobody saws off the branch it sits on.
    assert_eq!(told(&world.call(&boss, "DELETE", &delete(&boss), Value::Null).await), "409 System.InvalidOperationException");
    assert_eq!(told(&world.call(&boss, "DELETE", &user(&boss), Value::Null).await), "409 OwnCertificate");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_protocol_says_in_its_words_why_not() {
    let world = World::start().await;
    let stranger = Leaf::new("stranger").self_signed();
    let message = async |identity: Option<&Identity>, path: &str| {
        let answer = world.client("control", identity).get(path).await.expect("an answer");
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert!(answer.headers.contains_key("x-request-id"));
        assert_eq!(answer.status == 401, answer.headers.contains_key("www-authenticate"), "RFC 9110, 15.5.2");
        answer.json()
    };
    let raven = "/admin/certificates";
    let said = [message(None, raven).await, message(Some(&stranger), raven).await, message(Some(&world.user), raven).await];
    let said: Vec<&str> = said.iter().map(|body| body["Message"].as_str().expect("a message")).collect();
    assert!(said[0].contains("none was provided"), "{said:?}");
    assert!(said[1].contains("CN=stranger") && said[1].contains(&thumbprint(&stranger)) && said[1].contains("unknown"), "{said:?}");
    assert!(said[2].contains("CN=user") && said[2].contains("clearance Operator is needed"), "{said:?}");

    let none = message(None, "/app/users").await;
    assert_eq!(none["error"]["details"][0]["auth_policy"], "user_cert", "{none}");
    let unlisted = message(Some(&stranger), "/app/users").await;
    assert_ne!(none["error"]["details"][0]["message"], unlisted["error"]["details"][0]["message"]);
    let low = message(Some(&world.user), "/app/users").await;
    assert!(low["error"]["message"].as_str().is_some_and(|message| message.contains("GET /app/users")), "{low}");
    // The rest of the API keeps its own.
    assert_eq!(message(Some(&stranger), "/v1/principals").await["error"]["code"], "not_listed");
}
