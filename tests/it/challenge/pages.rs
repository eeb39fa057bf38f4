//! Pages of other origins: a browser asks first, and is told yes where somebody who may prove a key lists the origin; whoever then does
//! it is judged by its own list.

use http::{HeaderMap, Request};
use serde_json::json;

use super::{CLIENT, OTHER, World, answer_of, asking, cert_data, sign};
use crate::support::client::{Answer, Body, request, request_with};
use crate::support::{Identity, eventually};

const PAGE: &str = "https://app.example.com";

fn preflight(path: &str, origin: &str) -> Request<Body> {
    let mut asked = request("OPTIONS", path);
    for (name, value) in [("origin", origin), ("access-control-request-method", "POST"), ("access-control-request-headers", "content-type")]
    {
        asked.headers_mut().insert(name, value.parse().expect("a header"));
    }
    asked
}

fn allowed(headers: &HeaderMap) -> Option<&str> {
    headers.get("access-control-allow-origin").map(|origin| origin.to_str().expect("text"))
}

async fn from_page(world: &World, name: &str, body: serde_json::Value, page: &str) -> Answer {
    let host = format!("localhost:{}", world.client(None).address().port());
    let mut call = asking(name, &host, &body);
    call.headers_mut().insert("origin", page.parse().expect("a header"));
    world.client(None).send(call).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_proves_a_key_where_its_principal_lists_the_origin() {
    let world = World::start("").await;
    let config = std::fs::read_to_string(world.proxy.path("portcullis.toml")).expect("readable");
    let before = world.proxy.generation();
    let listed = "audit_claims = [\"common_name\"]\ncors_origins = [\"https://*.example.com\"]";
    world.proxy.replace("portcullis.toml", config.replace("audit_claims = [\"common_name\"]", listed));
    world.proxy.wait_for_generation_after(before);
    for path in ["/api/v2/get-cert-challenge", "/api/v2/auth", "/api/v2/nothing"] {
        let yes = world.client(None).send(preflight(path, PAGE)).await.expect("an answer");
        assert_eq!((yes.status.as_u16(), allowed(&yes.headers)), (204, Some(PAGE)), "{path}");
        assert_eq!(yes.headers["access-control-allow-methods"], "POST");
        assert_eq!(yes.headers["access-control-allow-headers"], "content-type");
        for page in ["https://evil.test", "null", "https://app.example.com.evil.test", "http://app.example.com"] {
            let no = world.client(None).send(preflight(path, page)).await.expect("an answer");
            assert_eq!((no.status.as_u16(), allowed(&no.headers)), (403, None), "{path} {page}");
        }
    }
    // The whole way, as a page goes it; the answers may be read.
    let prove = async |identity: &Identity, id: &str, page: &str| {
        let asked = from_page(&world, "get-cert-challenge", json!({ "access-id": id, "cert-data": cert_data(identity) }), page).await;
        assert_eq!(asked.status, 200);
        let challenge = portcullis::challenge::cert_data::base64(asked.json()["challenge"].as_str().expect("text"), 4096).expect("base64");
        let body = answer_of(id, &cert_data(identity), &challenge, &sign(identity, &challenge));
        (from_page(&world, "auth", body, page).await, allowed(&asked.headers).map(str::to_owned))
    };
    let (given, may_read) = prove(&world.client, CLIENT, PAGE).await;
    assert_eq!((given.status.as_u16(), allowed(&given.headers), may_read.as_deref()), (200, Some(PAGE), Some(PAGE)));
    assert!(given.headers.get_all("vary").iter().any(|vary| vary == "Origin"), "{:?}", given.headers);
    // Its origin is on somebody's list, and not on this principal's; and one that is on nobody's.
    for (identity, id, page, readable) in [(&world.other, OTHER, PAGE, Some(PAGE)), (&world.client, CLIENT, "https://evil.test", None)] {
        let (refused, _) = prove(identity, id, page).await;
        assert_eq!((refused.status.as_u16(), allowed(&refused.headers)), (401, readable), "{page}");
        let (find, request_id) = (world.proxy.log_finder(), refused.headers["x-request-id"].to_str().expect("text"));
        eventually("its code", || find(&[request_id, "\"code\":\"origin_denied\""]).is_some());
    }
    // What no page could have asked leave for is no preflight.
    let mut bare = request_with("OPTIONS", "/api/v2/auth", "");
    bare.headers_mut().insert("origin", PAGE.parse().expect("a header"));
    assert_eq!(world.client(None).send(bare).await.expect("an answer").status, 405);
}
