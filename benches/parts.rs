//! What each request costs us beside HTTP itself: its path, its route, whom it is for, what it claims and what it is told.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use portcullis::address::{Peer, Trust};
use portcullis::admission::{Access, Admission, Basis, Principal, PrincipalName, Provenance, RouteAuth, RouteScope, Terms};
use portcullis::admission::{ClientAddress, PrincipalId};
use portcullis::identity::{self, Dialect, Rendered, Settings};
use portcullis::message::Fields;
use portcullis::pki::Certificate;
use portcullis::routing::{Authority, HostPattern, Route, Routes, path};

fn route(name: &str, host: &str, path: &str) -> Route {
    Route {
        scope: RouteScope { name: name.into(), auth: RouteAuth::Required, csrf: true },
        upstream: "app".into(),
        hosts: vec![HostPattern::Exact(host.into())],
        path: path.into(),
        upgrades: Vec::new(),
        rules: Vec::new(),
        case_sensitive: true,
        keep_encoded_slash: false,
        judge_without_parameters: false,
        policy: "everybody".into(),
    }
}

/// What curl, a browser and a tracing library send together.
fn asked() -> HeaderMap {
    let fields = [
        ("host", "api.example.com"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, br"),
        ("accept-language", "en"),
        ("content-type", "application/json"),
        ("authorization", "Bearer 0123456789abcdef"),
        ("x-request-id", "6b9c2a1e"),
        ("x-api-key", "k"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("cookie", "a=b; c=d"),
    ];
    fields.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).into_iter().collect()
}

/// A pinned client, admitted.
fn client() -> (Admission, Certificate) {
    let name: PrincipalName = "ci/pipelines".parse().expect("a name");
    let principal = Principal {
        id: PrincipalId::derived(&name),
        name,
        display_name: None,
        terms: Arc::new(Terms::default()),
        provenance: Provenance { file: "bench".into(), line: 1 },
    };
    let key = rcgen::KeyPair::generate().expect("a key");
    let signed = rcgen::CertificateParams::new(vec!["a.example".into()]).expect("a name").self_signed(&key).expect("signed");
    let leaf = Certificate::parse(signed.der().clone().into_owned()).expect("a certificate");
    let admission = Admission { principal: Arc::new(principal), basis: Basis::Pin, identifier: "ci".into(), access: Some(Access::Write) };
    (admission, leaf)
}

fn paths(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("path");
    group.bench_function("normal already", |bencher| bencher.iter(|| path::normalise(black_box("/orders/2024/items/17"))));
    group.bench_function("made normal", |bencher| bencher.iter(|| path::normalise(black_box("/orders/./2024//it%65ms/../17"))));
}

fn routes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route");
    for count in [1, 10_000] {
        let all = (0..count).map(|n| route(&format!("r{n}"), &format!("h{}.example.com", n % 100), &format!("/orders/{n}/")));
        let routes = Routes::compile(all.collect()).expect("no tie");
        let path = path::normalise("/orders/0/items/17").expect("a path");
        group.bench_function(format!("of {count}"), |bencher| {
            bencher.iter(|| {
                let route = routes.find(black_box("h0.example.com"), &path).expect("a route");
                route.access(&Method::GET, &path, false)
            });
        });
    }
}

fn headers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("headers");
    let (asked, target) = (Fields::from(asked()), Uri::from_static("/orders/17"));
    group.bench_function("authority", |bencher| bencher.iter(|| Authority::of(black_box(&target), &asked).map(|found| found.port)));
    let (admission, leaf) = client();
    let render = |dialects: &[Dialect]| {
        let settings = Settings { dialects: dialects.to_vec(), ..Settings::default() };
        Rendered::new(&settings, &admission, Some(&leaf), &[])
    };
    let all = [Dialect::Xfcc, Dialect::Rfc9440, Dialect::Portcullis];
    let peer = Peer::new(ClientAddress::Settled([192, 0, 2, 7].into()));
    let client = peer.text_of([192, 0, 2, 7].into());
    group.bench_function("nothing claimed, nothing told", |bencher| {
        bencher.iter_batched_ref(|| asked.clone(), |headers| identity::replace(headers, None, Access::Read, None), BatchSize::SmallInput);
    });
    for (name, dialects) in [("xfcc", &all[..1]), ("all three dialects", &all[..])] {
        let rendered = render(dialects);
        group.bench_function(format!("told by {name}"), |bencher| {
            let tell = |headers: &mut Fields| identity::replace(headers, Some(&rendered), Access::Read, Some(&client));
            bencher.iter_batched_ref(|| asked.clone(), tell, BatchSize::SmallInput);
        });
    }
    let (trust, host) = (Trust::default(), HeaderValue::from_static("api.example.com"));
    group.bench_function("forwarding headers", |bencher| {
        let write = |headers: &mut Fields| {
            let origin = trust.request(peer.address, &[], headers);
            trust.write(headers, origin, &peer, "https", &host);
        };
        bencher.iter_batched_ref(|| asked.clone(), write, BatchSize::SmallInput);
    });
    group.bench_function("rendering all three dialects", |bencher| {
        bencher.iter(|| render(black_box(&all)));
    });
}

criterion_group!(benches, paths, routes, headers);
criterion_main!(benches);
