//! What a change costs: a principal of a source that changes one at a time, compiled into the allowlist beside a million; and
//! its install beside a hundred thousand open requests, each of a connection of its own, all of them idle.

mod clients;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::admission::layer::Entry;
use portcullis::admission::{
    Access, Allowlist, AllowlistBuilder, ClientAddress, Credential, Layer, Origin, Permission, Principal, PrincipalId, PrincipalName,
    Provenance, RequestScope, Revocation, Roster, RosterBuilder, RouteAuth, RouteScope, Scope, Snapshot, Surface, Terms,
};
use portcullis::clock::Clock;
use portcullis::gate::{Gate, Hold, Standing, Target, Way, Ways};
use portcullis::metrics::Metrics;
use portcullis::pki::Fingerprint;

use clients::{ADDRESS, Minted, NOW, Prover};

const MANY: u32 = 1_000_000;
const OPEN: usize = 100_000;
const CLIENTS: usize = 2_000;

fn id(number: u32) -> PrincipalId {
    format!("p-{number:012}").parse().expect("an id")
}

fn entry(number: u32, terms: &Arc<Terms>) -> Entry {
    let provenance = Provenance { file: "ledger".into(), line: number };
    let name = format!("client/{number}").parse().expect("a name");
    let principal = Principal { id: id(number), name, display_name: None, terms: Arc::clone(terms), provenance: provenance.clone() };
    (principal, vec![(Credential::Pin(Fingerprint::of(&number.to_be_bytes()).into()), provenance)])
}

/// Another million, in a file.
fn file(terms: &Arc<Terms>) -> Arc<Roster> {
    let mut builder = RosterBuilder::default();
    for number in 0..MANY {
        let name: PrincipalName = format!("file/{number}").parse().expect("a name");
        let pin = Fingerprint::of(format!("{number}").as_bytes()).into();
        builder.add_pin(&name, terms, pin, &Provenance { file: "file".into(), line: number }).expect("no conflict");
    }
    Arc::new(builder.finish())
}

fn install(before: &Allowlist, file: &Arc<Roster>, layer: &Layer) -> Allowlist {
    let mut builder = AllowlistBuilder::after(before);
    builder.include(Arc::clone(file)).expect("no conflict");
    builder.layer(layer).expect("no conflict");
    builder.finish()
}

fn layers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a change among a million");
    let terms = Arc::new(Terms::default());
    let layer = Layer::default().with(&[], (0..MANY).map(|number| entry(number, &terms)).collect()).expect("no conflict");
    let file = file(&terms);
    let before = install(&AllowlistBuilder::default().finish(), &file, &layer);
    group.bench_function("replaced", |bencher| {
        bencher.iter(|| install(&before, &file, &layer.with(&[id(7)], vec![entry(7, &terms)]).expect("no conflict")));
    });
    group.bench_function("added", |bencher| {
        bencher.iter(|| install(&before, &file, &layer.with(&[], vec![entry(MANY, &terms)]).expect("no conflict")));
    });
    group.bench_function("removed", |bencher| {
        bencher.iter(|| install(&before, &file, &layer.with(&[id(7)], Vec::new()).expect("no conflict")));
    });
}

/// One route, for everybody.
struct Everywhere(RouteScope);

impl Ways for Everywhere {
    fn way<'a>(&'a self, _: &'a Target) -> Way<'a> {
        Way { route: Some(&self.0), access: Access::Read, served: true }
    }

    fn hears(&self, _: ClientAddress) -> bool {
        true
    }

    fn answers_denied(&self, _: &str) -> bool {
        false
    }

    fn takes_tokens(&self, _: &str) -> bool {
        false
    }
}

fn everywhere() -> Rc<dyn Ways> {
    Rc::new(Everywhere(RouteScope { name: "orders".into(), auth: RouteAuth::Required, csrf: true }))
}

/// A file of these clients' certificates, but one.
fn listed(clients: &[Minted], without: usize) -> Arc<Snapshot> {
    let permission = Permission { routes: vec!["*".parse().expect("a glob")], access: Some(Access::Write), when: Vec::new() };
    let terms = Arc::new(Terms { permissions: vec![permission], ..Terms::default() });
    let mut allowlist = AllowlistBuilder::default();
    for (number, client) in clients.iter().enumerate().filter(|(number, _)| *number != without) {
        let provenance = Provenance { file: "clients.pem".into(), line: number as u32 };
        let name = format!("client/{number}").parse().expect("a name");
        allowlist.add_pin(&name, &terms, (&client.certificate()).into(), &provenance).expect("no conflict");
    }
    let (allowlist, revocation) = (allowlist.finish(), Revocation::default());
    Arc::new(Snapshot { generation: 1, allowlist, revocation, clock_skew: 0, bootstrap: Default::default() })
}

/// Holds a request open on a connection.
fn hold(standing: &Rc<Standing>) -> Hold {
    let route = RouteScope { name: "orders".into(), auth: RouteAuth::Required, csrf: true };
    let request = RequestScope {
        surface: Surface::Proxy,
        route: Some(&route),
        access: Access::Read,
        clearance: None,
        begins: true,
        origin: Origin::Absent,
        unsafe_method: false,
    };
    let target = Target {
        method: http::Method::GET,
        authority: http::HeaderValue::from_static("api.example.com"),
        path: http::uri::PathAndQuery::from_static("/orders/1"),
        upgrade: None,
    };
    standing.hold(&Scope { address: ADDRESS, request: Some(request), control: false }, Some(&target))
}

fn reviews(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("an install beside 100,000 idle requests");
    let clients: Vec<Minted> = (0..CLIENTS).map(|number| Minted::own(&format!("{number}.example"))).collect();
    let gate = Gate::new(Clock::fixed(NOW), Metrics::new(1), listed(&clients, CLIENTS));
    let prover = Prover::new();
    let proven: Vec<_> = clients.iter().map(|client| prover.prove(&gate, client)).collect();
    let standings: Vec<_> = (0..OPEN).map(|number| proven[number % CLIENTS].open(&gate)).collect();
    let holds: Vec<_> = standings.iter().map(hold).collect();
    let same = listed(&clients, CLIENTS);
    group.bench_function("all are asked again", |bencher| bencher.iter(|| gate.install(Arc::clone(&same), everywhere(), None).finish()));
    let mut removed = 0..CLIENTS;
    group.bench_function("the last one of a removed client is woken", |bencher| {
        bencher.iter_custom(|times| {
            let removals = removed.by_ref().take(times as usize);
            removals.map(|client| removal(&gate, listed(&clients, client), &holds[OPEN - CLIENTS + client])).sum()
        });
    });
}

/// Takes a client off the list; returns how long it took until this hold of its was ended.
fn removal(gate: &Rc<Gate>, list: Arc<Snapshot>, last: &Hold) -> Duration {
    let begun = Instant::now();
    let mut review = gate.install(list, everywhere(), None);
    while last.lapse().is_none() && review.step() {}
    let took = begun.elapsed();
    assert!(last.lapse().is_some());
    review.finish();
    took
}

fn briefly() -> Criterion {
    Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1))
}

criterion_group! { name = benches; config = briefly(); targets = layers, reviews }
criterion_main!(benches);
