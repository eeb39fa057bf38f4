//! What an answer costs at any list size: the decision itself, one that builds a path, and the standing that
//! remembers it. Header rendering is in `parts`.

mod clients;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use portcullis::admission::{
    Access, Allowlist, AllowlistBuilder, Authority, BoundKind, Bounds, Candidate, Credential, Origin, Permission, Pin, Principal,
    PrincipalId, Provenance, RequestScope, Revocation, RouteAuth, RouteScope, Scope, Snapshot, Surface, Terms,
};
use portcullis::clock::Clock;
use portcullis::gate::{Gate, Target};
use portcullis::metrics::Metrics;
use portcullis::pki::{Certificate, Fingerprint};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer};
use rustls_pki_types::UnixTime;

use clients::{ADDRESS, Minted, NOW, Prover};

const SIZES: [u32; 4] = [1, 1_000, 100_000, 1_000_000];

fn provenance(line: u32) -> Provenance {
    Provenance { file: "bench".into(), line }
}

fn terms() -> Arc<Terms> {
    let everywhere = Permission { routes: vec!["*".parse().expect("a glob")], access: Some(Access::Write), when: Vec::new() };
    Arc::new(Terms { permissions: vec![everywhere], ..Terms::default() })
}

/// The client's pin among others.
fn pins(count: u32, client: &Certificate) -> Allowlist {
    let (mut builder, terms) = (AllowlistBuilder::default(), terms());
    for number in 1..=count {
        let name = format!("clients/{number}").parse().expect("a name");
        let pin = if number == count / 2 + 1 { Pin::from(client) } else { Pin::from(Fingerprint::of(&number.to_be_bytes())) };
        builder.add_pin(&name, &terms, pin, &provenance(number)).expect("no conflict");
    }
    builder.finish()
}

fn snapshot(allowlist: Allowlist) -> Snapshot {
    Snapshot { generation: 1, allowlist, revocation: Revocation::default(), clock_skew: 0, bootstrap: Default::default() }
}

fn route() -> RouteScope {
    RouteScope { name: "orders".into(), auth: RouteAuth::Required, csrf: true }
}

fn request(route: &RouteScope) -> Scope<'_> {
    let request = RequestScope {
        surface: Surface::Proxy,
        route: Some(route),
        access: Access::Read,
        clearance: None,
        begins: true,
        origin: Origin::Absent,
        unsafe_method: false,
    };
    Scope { address: ADDRESS, request: Some(request), control: false }
}

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(NOW))
}

fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decision");
    let (client, stranger) = (Minted::own("client.example"), Minted::own("stranger.example"));
    let (route, presented) = (route(), |minted: &Minted| Candidate::presented(std::slice::from_ref(&minted.der)).expect("a chain"));
    for count in SIZES {
        let snapshot = snapshot(pins(count, &client.certificate()));
        for (who, candidate, admitted) in [("listed", presented(&client), true), ("a stranger", presented(&stranger), false)] {
            let decide = || snapshot.decide(Some(black_box(&candidate)), &request(&route), now());
            assert_eq!(decide().admission().is_some(), admitted, "{who}");
            group.bench_function(format!("{who}, {count} pins"), |bencher| bencher.iter(decide));
        }
    }
}

fn authorities(criterion: &mut Criterion) {
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "Bench CA");
    ca.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = rcgen::KeyPair::generate().expect("a key");
    let anchor = Certificate::parse(ca.self_signed(&ca_key).expect("signed").der().clone()).expect("a certificate");
    let mut leaf = CertificateParams::new(vec!["a.example".into()]).expect("a name");
    leaf.distinguished_name.push(DnType::CommonName, "pipeline-17");
    leaf.distinguished_name.push(DnType::OrganizationalUnitName, "DevOps");
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let leaf_key = rcgen::KeyPair::generate().expect("a key");
    let leaf = leaf.signed_by(&leaf_key, &Issuer::from_params(&ca, &ca_key)).expect("signed").der().clone();

    let mut bounds = Bounds::default();
    bounds.set(BoundKind::CommonNames, &["build-*", "pipeline-*"]).expect("globs");
    bounds.set(BoundKind::OrganizationalUnits, &["DevOps"]).expect("globs");
    bounds.set(BoundKind::DnsSans, &["*.example"]).expect("globs");
    let authority = Authority { certificates: vec![Arc::new(anchor)], bounds, priority: 100, require_client_eku: true };
    let name = "ci/pipelines".parse().expect("a name");
    let principal = Principal { id: PrincipalId::derived(&name), name, display_name: None, terms: terms(), provenance: provenance(1) };
    let mut builder = AllowlistBuilder::default();
    builder.add(principal, vec![(Credential::Authority(Arc::new(authority)), provenance(1))]).expect("no conflict");
    let (snapshot, route) = (snapshot(builder.finish()), route());

    let mut group = criterion.benchmark_group("authority with bounds");
    let fresh = || Candidate::presented(std::slice::from_ref(&leaf)).expect("a chain");
    let decide = |candidate: &Candidate| snapshot.decide(Some(candidate), &request(&route), now());
    assert!(decide(&fresh()).admission().is_some());
    group.bench_function("first seen", |bencher| bencher.iter_batched_ref(fresh, |candidate| decide(candidate), BatchSize::SmallInput));
    let known = fresh();
    group.bench_function("path remembered", |bencher| bencher.iter(|| decide(black_box(&known))));
}

fn standings(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("standing");
    let (client, route) = (Minted::own("client.example"), route());
    let target = Target {
        method: http::Method::GET,
        authority: http::HeaderValue::from_static("api.example.com"),
        path: http::uri::PathAndQuery::from_static("/orders/1"),
        upgrade: None,
    };
    for count in [1, 1_000_000] {
        let gate = Gate::new(Clock::fixed(NOW), Metrics::new(1), Arc::new(snapshot(pins(count, &client.certificate()))));
        let standing = Prover::new().prove(&gate, &client).open(&gate);
        assert!(standing.check(&request(&route)).is_ok());
        group.bench_function(format!("held, {count} pins"), |bencher| bencher.iter(|| standing.check(black_box(&request(&route)))));
        group.bench_function(format!("held with a stream, {count} pins"), |bencher| {
            bencher.iter(|| {
                let grant = standing.check(black_box(&request(&route)));
                (grant, standing.hold(&request(&route), Some(&target)))
            });
        });
    }
}

fn briefly() -> Criterion {
    Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1))
}

criterion_group! { name = benches; config = briefly(); targets = decisions, authorities, standings }
criterion_main!(benches);
