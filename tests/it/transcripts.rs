//! The published commands of Azure's and RavenDB's pages, as they stand there, with real openssl and curl: only host, port, directory
//! and the program's name are ours.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{TestProxy, TestUpstream, Workspace};

/// A proxy that nobody manages yet, with its server certificate in a PFX, and a directory for whoever follows the pages.
struct World {
    proxy: TestProxy,
    _upstream: TestUpstream,
    directory: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let upstream = TestUpstream::start().await;
        let workspace = Workspace::new();
        let directory = tempfile::tempdir().expect("temporary directory");
        let world = |command: &str| run(directory.path(), command, &[]);
        world(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout s.key -out s.pem -days 30 -subj /CN=localhost -addext subjectAltName=DNS:localhost",
        );
        let pfx = "cluster.server.certificate.example.pfx";
        world(&format!("openssl pkcs12 -export -in s.pem -inkey s.key -out {pfx} -passout 'pass:{SERVER_PASSWORD}'"));
        std::fs::copy(directory.path().join(pfx), workspace.path("server.pfx")).expect("copied");
        workspace.write("server.password", format!("{SERVER_PASSWORD}\n"));
        let pem = std::fs::read_to_string(directory.path().join("s.pem")).expect("readable");
        std::fs::write(directory.path().join("trusted.pem"), pem + &workspace.server.leaf_pem()).expect("written");
        let proxy = workspace.start_with_somebody(&Workspace::config("request", &upstream.url(), CONTROL));
        Self { proxy, _upstream: upstream, directory }
    }

    /// Runs a command of a page; `lines` are typed where it asks.
    fn run(&self, command: &str, lines: &[&str]) -> String {
        run(self.directory.path(), &self.ours(command), lines)
    }

    /// Runs a command of RavenDB's own prompt; ours is one of the shell, and finds the proxy by its configuration.
    fn cli(&self, command: &str) -> String {
        let (ours, config) = (env!("CARGO_BIN_EXE_portcullis"), self.proxy.path("portcullis.toml"));
        self.run(&format!("{} -c {}", command.replace("ravendb>", &format!("{ours} admin")), config.display()), &[])
    }

    /// Puts our host, port and directory into a command.
    fn ours(&self, command: &str) -> String {
        let control = format!("localhost:{}", self.proxy.address("control").port());
        let edge = format!("localhost:{}", self.proxy.address("edge").port());
        command.replace("rvn-srv-1:8080", &control).replace("/home/secrets/", "./").replace("API", &edge)
    }

    /// Asks for a page by curl: the status and the body.
    fn curl(&self, arguments: &str) -> (u16, String) {
        let out = self.run(&format!("curl -sS -w '\\n%{{http_code}}' {arguments}"), &[]);
        let (body, status) = out.rsplit_once('\n').expect("a status");
        (status.parse().expect("a number"), body.to_owned())
    }

    fn json(&self, arguments: &str) -> serde_json::Value {
        let (status, body) = self.curl(arguments);
        assert!((200..300).contains(&status), "{arguments}: {status} {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }

    /// Makes the first admin as RavenDB's page does; `admin.pem` holds its certificate and encrypted key.
    fn first_admin(&self) {
        self.run(
            "openssl pkcs12 -in cluster.server.certificate.example.pfx -out server.pem -clcerts",
            &[SERVER_PASSWORD, "pem_password", "pem_password"],
        );
        self.run(GENERATE, &[]);
        let zip = std::fs::read(self.directory.path().join("cluster.admin.cert.zip")).expect("an answer");
        assert!(zip.starts_with(b"PK"), "no zip: {}", String::from_utf8_lossy(&zip));
        self.run("unzip -o -q cluster.admin.cert.zip", &[]);
        self.run(
            "openssl pkcs12 -in cluster.admin.client.certificate.pfx -out admin.pem -clcerts",
            &["p@$$w0rd", "pem_password", "pem_password"],
        );
    }
}

/// Runs a command in a directory, by a shell as people do, without a terminal: what it asks is read from standard input.
#[track_caller]
fn run(directory: &Path, command: &str, lines: &[&str]) -> String {
    let mut child = Command::new("setsid")
        .args(["-w", "sh", "-c", command])
        .current_dir(directory)
        .env("CURL_CA_BUNDLE", directory.join("trusted.pem"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("sh, openssl, curl and unzip are installed (make test names them)");
    let mut stdin = child.stdin.take().expect("piped");
    for line in lines {
        writeln!(stdin, "{line}").expect("typed");
    }
    drop(stdin);
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The password of the page's `settings.json`.
const SERVER_PASSWORD: &str = "s3cr7t p@$$w0rd";

const CONTROL: &str = r#"
[[listener]]
name = "control"
address = "127.0.0.1:0"
client_auth = "request"
serve = ["admin"]
certificates = [{ pfx = "server.pfx", password_file = "server.password" }]
"#;

const GENERATE: &str = r#"curl -X POST -H "Content-Type: application/json" -d '{"Name": "cluster.admin.client.certificate","SecurityClearance": "ClusterAdmin","Password": "p@$$w0rd"}' -o cluster.admin.cert.zip https://rvn-srv-1:8080/admin/certificates --cert /home/secrets/server.pem:pem_password"#;

#[tokio::test(flavor = "multi_thread")]
async fn ravendbs_page_makes_the_first_admin_and_its_certificate_works() {
    let world = World::start().await;
    world.first_admin();
    // Its files are for their owner only, and nothing else is in the zip.
    let listed = world.run("unzip -Z cluster.admin.cert.zip", &[]);
    for extension in ["pfx", "crt", "key"] {
        let line = listed.lines().find(|line| line.ends_with(&format!(" cluster.admin.client.certificate.{extension}")));
        assert!(line.is_some_and(|line| line.starts_with("-rw-------")), "{listed}");
    }
    assert!(listed.contains("3 files"), "{listed}");

    // It manages, and passes the proxy, by each of the forms that came: combined PEM, certificate and key, PFX.
    let name = "cluster.admin.client.certificate";
    for cert in [
        "--cert admin.pem:pem_password".to_owned(),
        format!("--cert {name}.crt --key {name}.key --pass 'p@$$w0rd'"),
        format!("--cert-type P12 --cert '{name}.pfx:p@$$w0rd'"),
    ] {
        let own = world.json(&format!("https://rvn-srv-1:8080/certificates/whoami {cert}"));
        assert_eq!((own["Name"].as_str(), own["SecurityClearance"].as_str()), (Some(name), Some("ClusterAdmin")), "{cert}: {own}");
        assert_eq!(world.curl(&format!("https://API/hello {cert}")).0, 200, "{cert}");
    }
    let thumbprint = world.run(&format!("openssl x509 -in {name}.crt -noout -fingerprint -sha1"), &[]);
    let thumbprint = thumbprint.trim().rsplit('=').next().expect("a value").replace(':', "");
    let found = world.json("https://rvn-srv-1:8080/admin/certificates --cert admin.pem:pem_password");
    assert_eq!(found["Results"][0]["Thumbprint"], thumbprint.as_str(), "{found}");
    let served = world.run("openssl x509 -in s.pem -noout -fingerprint -sha1", &[]);
    assert_eq!(found["LoadedServerCert"], served.trim().rsplit('=').next().expect("a value").replace(':', ""), "{found}");
    let hash = "openssl x509 -in cluster.admin.client.certificate.crt -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64";
    assert_eq!(found["Results"][0]["PublicKeyPinningHash"], world.run(hash, &[]).trim(), "{found}");

    // Once: the server certificate begins nothing any more, and never counted where an upstream is served.
    for arguments in [
        "https://rvn-srv-1:8080/admin/certificates -H 'Content-Type: application/json' -d '{\"Name\":\"again\",\"SecurityClearance\":\"ClusterAdmin\"}'",
        "https://rvn-srv-1:8080/certificates/whoami",
    ] {
        // Over HTTP/2 curl 7.88 may take the reset of a body that was refused unread for a failure.
        let (status, body) = world.curl(&format!("--http1.1 {arguments} --cert server.pem:pem_password"));
        let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((status, body["Type"].as_str()), (403, Some("InvalidAuth")), "{body}");
        assert!(body["Message"].as_str().is_some_and(|message| message.contains("CN=localhost") && message.contains("unknown")), "{body}");
    }
    assert_eq!(world.curl("https://API/hello --cert server.pem:pem_password").0, 403);

    // Further certificates with reduced rights, as the page recommends.
    let body = r#"{"Name":"Build agent 7","SecurityClearance":"ValidUser","Permissions":{"all":"Read"}}"#;
    world.run(
        &format!("curl -f -s -H 'Content-Type: application/json' -d '{body}' -o agent.zip https://rvn-srv-1:8080/admin/certificates --cert admin.pem:pem_password"),
        &[],
    );
    world.run("unzip -o -q agent.zip", &[]);
    let agent = "--cert Build_agent_7.crt --key Build_agent_7.key";
    assert_eq!(world.curl(&format!("https://API/hello {agent}")).0, 200);
    assert_eq!(world.curl(&format!("-X POST https://API/hello {agent}")).0, 403);
    let (status, body) = world.curl(&format!("https://rvn-srv-1:8080/admin/certificates {agent}"));
    assert!(status == 403 && body.contains("InvalidAuth") && body.contains("Operator"), "{status} {body}");
    let own = world.json(&format!("https://rvn-srv-1:8080/certificates/whoami {agent}"));
    assert_eq!((&own["Name"], &own["Permissions"]["all"]), (&"Build agent 7".into(), &"Read".into()), "{own}");

    // The server's certificates, without keys.
    world.run("curl -f -s -o server-export.pfx https://rvn-srv-1:8080/admin/certificates/export --cert admin.pem:pem_password", &[]);
    let exported = world.run("openssl pkcs12 -in server-export.pfx -passin pass: -nodes", &[]);
    assert!(exported.contains("BEGIN CERTIFICATE") && !exported.contains("PRIVATE KEY"), "{exported}");
    assert_eq!(world.curl("https://rvn-srv-1:8080/certificates/whoami").0, 204, "nobody in particular");
}

#[tokio::test(flavor = "multi_thread")]
async fn ravendbs_cli_generates_and_trusts_certificates_of_admins() {
    let world = World::start().await;
    // `generateClientCert <name> <path-to-output-folder> [password]`
    let said = world.cli("ravendb> generateClientCert cluster.admin.client.certificate ./out 'p@$$w0rd'");
    let zip = "out/admin.client.certificate.cluster.admin.client.certificate.zip";
    assert!(said.contains(zip), "{said}");
    world.run(&format!("unzip -o -q {zip}"), &[]);
    world.run(
        "openssl pkcs12 -in cluster.admin.client.certificate.pfx -out admin.pem -clcerts",
        &["p@$$w0rd", "pem_password", "pem_password"],
    );
    let own = world.json("https://rvn-srv-1:8080/certificates/whoami --cert admin.pem:pem_password");
    let told = |own: &serde_json::Value| (own["Name"].to_string(), own["SecurityClearance"].to_string());
    assert_eq!(told(&own), ("\"cluster.admin.client.certificate\"".to_owned(), "\"ClusterAdmin\"".to_owned()), "{own}");

    // `trustClientCert <name> <path-to-pfx> [password]`, of a certificate that there is.
    world.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout own.key -out own.pem -days 30 -subj /CN=own",
        &[],
    );
    world.run("openssl pkcs12 -export -in own.pem -inkey own.key -out own.pfx -passout 'pass:p@$$w0rd'", &[]);
    let client = "https://rvn-srv-1:8080/certificates/whoami --cert own.pem --key own.key";
    assert_eq!(world.curl(client).0, 403, "nobody's yet");
    world.cli("ravendb> trustClientCert own.admin ./own.pfx 'p@$$w0rd'");
    let own = world.json(client);
    assert_eq!(told(&own), ("\"own.admin\"".to_owned(), "\"ClusterAdmin\"".to_owned()), "{own}");
}

#[tokio::test(flavor = "multi_thread")]
async fn azures_page_makes_a_certificate_that_is_listed_and_passes() {
    let world = World::start().await;
    world.first_admin();
    world.run(r#"openssl ecparam -out "privkey_name.pem" -name "secp384r1" -genkey"#, &[]);
    world.run(
        r#"openssl req -new -key "privkey_name.pem" -x509 -nodes -days 365 -out "cert.pem" -"sha384" -subj=/CN="ACL Client Cert""#,
        &[],
    );
    let client = "--cert cert.pem --key privkey_name.pem";
    assert_eq!(world.curl(&format!("https://API/hello {client}")).0, 403);
    let printed = world.run("openssl x509 -in cert.pem -noout -fingerprint -sha256", &[]);
    let user = printed.trim().rsplit('=').next().expect("a value").replace(':', "").to_lowercase();
    let admin = "--cert admin.pem:pem_password";
    let one = format!("'https://rvn-srv-1:8080/app/users/{user}?api-version=2022-05-13'");
    let assign = |role: &str| {
        let body = format!(r#"{{"assignedRole":"{role}"}}"#);
        world.json(&format!("-X PATCH -H 'Content-Type: application/merge-patch+json' -d '{body}' {one} {admin}"))
    };
    assert_eq!(assign("Contributor"), serde_json::json!({ "assignedRole": "Contributor", "userId": user }));
    assert_eq!(world.curl(&format!("-X POST https://API/hello {client}")).0, 200);
    assert_eq!(assign("Reader")["assignedRole"], "Reader");
    assert_eq!(world.curl(&format!("-X POST https://API/hello {client}")).0, 403);
    assert_eq!(world.curl(&format!("https://API/hello {client}")).0, 200);
    let users = world.json(&format!("https://rvn-srv-1:8080/app/users {admin}"));
    assert!(users["ledgerUsers"].as_array().is_some_and(|users| users.iter().any(|listed| listed["userId"] == user.as_str())), "{users}");
    assert_eq!(world.curl(&format!("-X DELETE {one} {admin}")), (204, String::new()));
    assert_eq!(world.curl(&format!("https://API/hello {client}")).0, 403);
    let (status, body) = world.curl(&format!("{one} {admin}"));
    assert!(status == 404 && body.contains("ResourceNotFound"), "{status} {body}");
}
