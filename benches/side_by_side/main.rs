//! Portcullis, nginx and HAProxy in turn on core 0, a load generator and a trivial upstream on core 1; reports
//! the CPU time of the proxy (all its processes, user and system, as the scheduler counts it) per request.
//! Run by `benches/side-by-side`; alone, without `--seconds`, it does nothing, so that `cargo bench` stays short.

mod load;
mod peers;

use std::collections::BTreeMap;

use load::Work;
use peers::{Peer, World};

const WORKS: [Work; 5] = [Work::Http1, Work::Http2, Work::Http1Body, Work::FullHandshake, Work::ResumedHandshake];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number =
        |name: &str| arguments.iter().position(|argument| argument == name).and_then(|at| arguments.get(at + 1)?.parse::<u64>().ok());
    let (Some(seconds), Some(rounds)) = (number("--seconds"), number("--rounds")) else {
        println!("side_by_side: run benches/side-by-side");
        return;
    };
    load::pin(1);
    let world = World::new();
    let mut measured: BTreeMap<(usize, &str), Vec<f64>> = BTreeMap::new();
    for round in 0..rounds {
        // There and back again, so that a drift of the machine meets everybody.
        let mut peers = Peer::ALL.to_vec();
        if round % 2 == 1 {
            peers.reverse();
        }
        for peer in peers {
            let running = world.start(peer);
            for (index, work) in WORKS.iter().enumerate() {
                let before = running.cpu();
                let done = load::run(*work, &world, running.address, std::time::Duration::from_secs(seconds));
                let spent = running.cpu() - before;
                if done.errors > 0 {
                    eprintln!("{} {}: {} errors in {} requests", peer.name(), work.name(), done.errors, done.requests);
                }
                let each = spent.as_secs_f64() * 1e6 / done.requests.max(1) as f64;
                eprintln!("round {round} {:<11} {:<22} {each:8.1} µs/request {:9} requests", peer.name(), work.name(), done.requests);
                measured.entry((index, peer.name())).or_default().push(each);
            }
        }
    }
    println!("| work | portcullis, µs | nginx, µs | ratio | HAProxy, µs | ratio |\n|---|---|---|---|---|---|");
    for (index, work) in WORKS.iter().enumerate() {
        let median = |name: &str| {
            let mut runs = measured[&(index, name)].clone();
            runs.sort_by(f64::total_cmp);
            runs[runs.len() / 2]
        };
        let (ours, nginx, haproxy) = (median("portcullis"), median("nginx"), median("haproxy"));
        println!("| {} | {ours:.1} | {nginx:.1} | {:.2} | {haproxy:.1} | {:.2} |", work.name(), ours / nginx, ours / haproxy);
    }
}
