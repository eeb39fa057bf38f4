//! Many methods, and the command line.

use serde_json::{Value, json};

use super::World;
use crate::support::{Identity, Leaf, TestCa};

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
