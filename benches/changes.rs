//! What a change costs beside a million: a principal of a source that changes one at a time, compiled into the allowlist.

use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::admission::layer::Entry;
use portcullis::admission::{
    Allowlist, AllowlistBuilder, Credential, Layer, Principal, PrincipalId, PrincipalName, Provenance, Roster, RosterBuilder, Terms,
};
use portcullis::pki::Fingerprint;

const MANY: u32 = 1_000_000;

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

fn briefly() -> Criterion {
    Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1))
}

criterion_group! { name = benches; config = briefly(); targets = layers }
criterion_main!(benches);
