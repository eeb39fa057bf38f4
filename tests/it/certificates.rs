//! `cert new` and `cert inspect`: what is made works in the tools that people have: curl, OpenSSL, Java, NSS.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::{Leaf, TestUpstream, Workspace};

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(output)))
}

/// Runs a tool in a directory, in a locale that knows every letter.
fn tool(directory: &Path, command: &str, arguments: &[&str]) -> Output {
    let output = Command::new(command).args(arguments).current_dir(directory).env("LC_ALL", "C.UTF-8").stdin(Stdio::null()).output();
    output.unwrap_or_else(|error| panic!("{command}: {error}"))
}

/// Runs a tool that has to succeed; returns what it said.
fn works(directory: &Path, command: &str, arguments: &[&str]) -> String {
    let output = tool(directory, command, arguments);
    assert!(output.status.success(), "{command} {arguments:?}: {}", text(&output));
    text(&output)
}

fn made(workspace: &Workspace, name: &str, password: &str) -> serde_json::Value {
    workspace.write("password", format!("{password}\n"));
    let output = workspace.run(&["--json", "cert", "new", name, "--password-file", "password", "--out", "new"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    json(&output)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_gets_in_with_curl_as_the_page_of_ravendb_has_it() {
    let upstream = TestUpstream::start().await;
    let workspace = Workspace::new();
    let password = "s3cr7t p@$$w0rd";
    let report = made(&workspace, "cluster.admin.client.certificate", password);
    assert_eq!(report["files"][0], "new/cluster.admin.client.certificate.pfx");
    std::fs::copy(workspace.path("new/cluster.admin.client.certificate.crt"), workspace.path("allowlist/admin.crt")).expect("copy");
    made(&workspace, "stranger", password);
    let proxy = workspace.start(&Workspace::config("require", &upstream.url(), ""));
    let url = format!("https://localhost:{}/", proxy.address("edge").port());
    for (name, gets_in) in [("cluster.admin.client.certificate", true), ("stranger", false)] {
        let (pfx, passin) = (format!("new/{name}.pfx"), format!("pass:{password}"));
        let convert = ["pkcs12", "-in", &pfx, "-out", "client.pem", "-clcerts", "-passin", &passin, "-passout", "pass:pem_password"];
        works(proxy.directory(), "openssl", &convert);
        let (crt, key, pair) = (format!("new/{name}.crt"), format!("new/{name}.key"), format!("new/{name}.pfx:{password}"));
        for certificate in [
            &["--cert", "client.pem:pem_password"] as &[&str],
            &["--cert", &crt, "--key", &key, "--pass", password],
            &["--cert-type", "P12", "--cert", &pair],
        ] {
            let common = ["-sS", "--cacert", "server.pem", "-o", "/dev/null", "-w", "%{http_code}", &url];
            let output = tool(proxy.directory(), "curl", &[&common, certificate].concat());
            let expected = if gets_in { "200" } else { "access denied" };
            assert!(text(&output).contains(expected), "{certificate:?}: {}", text(&output));
        }
    }
}

#[test]
fn openssl_java_and_nss_read_a_new_pfx_whatever_the_password() {
    let workspace = Workspace::new();
    let directory = workspace.directory.path();
    std::fs::create_dir(workspace.path("nss")).expect("directory");
    for (name, password) in
        [("plain", "sesame"), ("seed", "p@$$w0rd"), ("spaces", "s3cr7t p@$$ w0rd"), ("quotes", "a\"b'c`d\\e"), ("letters", "Größe Ω")]
    {
        let report = made(&workspace, name, password);
        let pfx = format!("new/{name}.pfx");
        let read = works(directory, "openssl", &["pkcs12", "-in", &pfx, "-nodes", "-passin", &format!("pass:{password}")]);
        assert!(read.contains(&format!("friendlyName: {name}")) && read.contains("BEGIN PRIVATE KEY"), "{read}");
        let listed = works(directory, "pk12util", &["-l", &pfx, "-W", password]);
        assert!(listed.contains(&format!("Friendly Name: {name}")) && listed.contains(&format!("\"CN={name}\"")), "{listed}");
        // Java 17 takes no other password for PBES2 than one in ASCII, whoever wrote the file: `cert new` says so.
        assert_eq!(report["notes"].to_string().contains("Java"), !password.is_ascii(), "{report}");
        if !password.is_ascii() {
            continue;
        }
        let fingerprint = report["fingerprint_sha256"].as_str().expect("text").to_uppercase();
        let pairs: Vec<_> = fingerprint.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("hex")).collect();
        let listed = works(directory, "keytool", &["-list", "-storetype", "PKCS12", "-keystore", &pfx, "-storepass", password]);
        assert!(listed.contains(&pairs.join(":")) && listed.contains("PrivateKeyEntry"), "{listed}");
    }
    // Not only listed: the key goes into a store and signs there.
    works(directory, "certutil", &["-N", "-d", "nss", "--empty-password"]);
    works(directory, "pk12util", &["-i", "new/seed.pfx", "-d", "nss", "-W", "p@$$w0rd"]);
    assert!(works(directory, "certutil", &["-K", "-d", "nss"]).contains("seed"));
}

#[test]
fn cert_new_says_what_to_list_and_never_overwrites() {
    let workspace = Workspace::new();
    let output = workspace.run(&["cert", "new", "build agent 7", "--days", "30", "--out", "made/here"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let said = text(&output);
    assert!(said.contains("made/here/build_agent_7.pfx") && said.contains("not encrypted"), "{said}");
    let mode = |path: &str| std::fs::metadata(workspace.path(path)).expect(path).permissions().mode() & 0o777;
    for extension in ["pfx", "crt", "key"] {
        assert_eq!(mode(&format!("made/here/build_agent_7.{extension}")), 0o600);
    }
    assert_eq!(mode("made/here"), 0o700);

    // What it says to put into the configuration is taken there.
    let (_, principal) = said.split_once("\n\n").expect("a principal");
    let config = Workspace::config("require", "http://127.0.0.1:1", &format!("{principal}\n"));
    workspace.allow("somebody", &Leaf::new("somebody").self_signed());
    workspace.write("portcullis.toml", config);
    let explained = workspace.run(&["explain", "made/here/build_agent_7.crt", "--route", "GET https://localhost/"]);
    assert_eq!(explained.status.code(), Some(0), "{}", text(&explained));
    assert!(text(&explained).contains("principal   build_agent_7"), "{}", text(&explained));

    let key = std::fs::read(workspace.path("made/here/build_agent_7.key")).expect("key");
    std::fs::remove_file(workspace.path("made/here/build_agent_7.pfx")).expect("remove");
    let again = workspace.run(&["--json", "cert", "new", "build agent 7", "--out", "made/here"]);
    assert_eq!(again.status.code(), Some(3), "{}", text(&again));
    assert!(text(&again).contains("build_agent_7.crt: is there already"), "{}", text(&again));
    assert_eq!(std::fs::read(workspace.path("made/here/build_agent_7.key")).expect("key"), key);
    assert!(!workspace.path("made/here/build_agent_7.pfx").exists(), "all or nothing");

    workspace.write("empty", "\n");
    for arguments in [&["new", ""] as &[&str], &["new", "x", "--days", "0"], &["new", "x", "--password-file", "empty"], &["new"]] {
        assert_eq!(workspace.run(&[&["cert"], arguments].concat()).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(workspace.run(&["cert", "new", "x", "--password-file", "absent"]).status.code(), Some(3));
    assert_eq!(workspace.run(&["cert", "new", "x", "--out", "portcullis.toml"]).status.code(), Some(3));
}

#[test]
fn a_password_comes_from_standard_input_or_the_environment() {
    let workspace = Workspace::new();
    let run = |arguments: &[&str], input: &str, environment: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(arguments).current_dir(workspace.directory.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.envs(environment.map(|password| ("PORTCULLIS_PASSWORD", password)));
        let mut child = command.spawn().expect("the binary starts");
        // It may end without reading.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
        child.wait_with_output().expect("ends")
    };
    assert_eq!(run(&["cert", "new", "a", "--password-file", "-"], "p@$$ w\nmore\n", None).status.code(), Some(0));
    assert_eq!(run(&["cert", "new", "b"], "", Some("p@$$ w")).status.code(), Some(0));
    for pfx in ["a.pfx", "b.pfx"] {
        assert_eq!(run(&["cert", "inspect", pfx], "", Some("p@$$ w")).status.code(), Some(0), "{pfx}");
        assert_eq!(run(&["cert", "inspect", pfx, "--password-file", "-"], "p@$$ w\n", None).status.code(), Some(0), "{pfx}");
        let wrong = run(&["cert", "inspect", pfx], "", Some("wrong"));
        assert_eq!(wrong.status.code(), Some(3));
        assert!(text(&wrong).contains("wrong password?"), "{}", text(&wrong));
    }
}

#[test]
fn a_pfx_of_several_is_shown_whole_and_lists_its_members() {
    let workspace = Workspace::new();
    let directory = workspace.directory.path();
    made(&workspace, "first", "x");
    // As RavenDB makes them: a client, and the server certificate whose key signed it.
    let request = ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=client"];
    works(directory, "openssl", &[&request[..], &["-keyout", "client.key", "-out", "client.csr"]].concat());
    let sign = ["x509", "-req", "-in", "client.csr", "-CA", "server.pem", "-CAkey", "server.key", "-days", "30", "-out", "client.pem"];
    works(directory, "openssl", &sign);
    let pems = ["client.pem", "server.pem", "new/first.crt"].map(|name| std::fs::read_to_string(workspace.path(name)).expect(name));
    workspace.write("all.pem", pems.concat());
    let export = ["pkcs12", "-export", "-in", "all.pem", "-inkey", "client.key", "-passout", "pass:x", "-out", "all.pfx"];
    works(directory, "openssl", &export);
    let shown = json(&workspace.run(&["--json", "cert", "inspect", "all.pfx", "--password-file", "password"]));
    let notes = |index: usize| shown[index]["notes"].to_string();
    assert_eq!(shown.as_array().map(Vec::len), Some(3), "{shown}");
    let subjects: Vec<_> = (0..3).map(|index| shown[index]["subject"].as_str().expect("text").to_owned()).collect();
    let issuer = subjects.iter().position(|subject| !["CN=client", "CN=first"].contains(&&**subject)).expect("the server");
    for index in 0..3 {
        assert_eq!(notes(index).contains("is no pin"), index == issuer, "{shown}");
    }
    let listed = "[[principal]]\nname = \"several\"\nrole = \"Reader\"\ncertificates = [\"all.pfx\"]\npassword_file = \"password\"\n";
    workspace.allow("somebody", &Leaf::new("somebody").self_signed());
    workspace.write("portcullis.toml", Workspace::config("require", "http://127.0.0.1:1", listed));
    for (file, expected) in [("client.pem", Some(0)), ("new/first.crt", Some(0)), ("server.pem", Some(1))] {
        let explained = workspace.run(&["explain", file]);
        assert_eq!(explained.status.code(), expected, "{file}: {}", text(&explained));
    }
}
