//! Portcullis, nginx and HAProxy on core 0, a load generator and a trivial upstream on core 1; reports the CPU time of the
//! proxy (all its processes, user and system, as the scheduler counts it) per request, its system calls, and what an idle
//! connection takes. Run by `benches/side-by-side`; alone, without `--seconds`, it does nothing, so that `cargo bench` stays short.

mod load;
mod peers;

use std::collections::BTreeMap;
use std::time::Duration;

use load::{Done, Work};
use peers::{Peer, Running, World};

type Measured = BTreeMap<(&'static str, &'static str), Vec<f64>>;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |name: &str| arguments.iter().position(|argument| argument == name).and_then(|at| arguments.get(at + 1));
    let number = |name: &str| after(name).and_then(|text| text.parse::<f64>().ok());
    let (Some(seconds), Some(rounds)) = (number("--seconds"), number("--rounds")) else {
        println!("side_by_side: run benches/side-by-side");
        return;
    };
    let (window, only) = (Duration::from_secs_f64(seconds), after("--only").cloned().unwrap_or_default());
    let peers: Vec<Peer> = Peer::ALL.into_iter().filter(|peer| after("--peer").is_none_or(|name| *name == peer.name())).collect();
    let works: Vec<Work> = Work::ALL.into_iter().filter(|work| work.name().contains(&only)).collect();
    load::pin(1);
    // Started elsewhere: its path may not begin here.
    let binary = after("--binary").map_or(env!("CARGO_BIN_EXE_portcullis"), String::as_str);
    let world = World::new(std::path::absolute(binary).expect("a path"));
    let mut measured = Measured::new();
    let mut calls = Measured::new();
    {
        let running: Vec<(Peer, Running)> = peers.iter().map(|peer| (*peer, world.start(*peer))).collect();
        for round in 0..rounds as usize {
            for work in &works {
                // There and back again, so that a drift of the machine meets everybody: one pair of windows after the other.
                let mut order: Vec<&(Peer, Running)> = running.iter().collect();
                if round % 2 == 1 {
                    order.reverse();
                }
                for (peer, running) in order {
                    let done = run(*work, &world, *peer, running, window);
                    let each = done.cpu.as_secs_f64() * 1e6 / done.requests.max(1) as f64;
                    eprintln!("round {round} {:<11} {:<25} {each:8.1} us/request {:9} requests", peer.name(), work.name(), done.requests);
                    measured.entry((work.name(), peer.name())).or_default().push(each);
                }
            }
        }
        for (work, (peer, running)) in works.iter().flat_map(|work| running.iter().map(move |running| (work, running))) {
            // Counted a little longer than the work takes, and apart from the rest: counting costs.
            let window = Duration::from_millis(700);
            let counted = running.system_calls(window + Duration::from_millis(300), || run(*work, &world, *peer, running, window));
            if let Some((count, done)) = counted {
                calls.entry((work.name(), peer.name())).or_default().push(count as f64 / done.requests.max(1) as f64);
            }
        }
    }
    let mut idle = Measured::new();
    for peer in peers.iter().filter(|_| only.is_empty()) {
        // Fresh, so that nothing is left over from before.
        let running = world.start(*peer);
        load::held(&world, running.address, 16, || ());
        let before = running.pss();
        let held = load::held(&world, running.address, IDLE, || running.pss());
        if let Some(after) = held {
            idle.entry(("idle", peer.name())).or_default().push(after.saturating_sub(before) as f64 / IDLE as f64);
        }
    }
    println!("CPU time of the proxy, us a request: medians of {rounds} windows of {seconds} s each; in brackets the least and the most\n");
    table(&works, &measured, true);
    println!("\nSystem calls of the proxy a request\n");
    table(&works, &calls, false);
    println!("\nAn idle HTTP/1.1 connection ({IDLE} held), KiB of PSS\n");
    for peer in &peers {
        println!("- {}: {:.1}", peer.name(), median(idle.get(&("idle", peer.name()))));
    }
}

fn run(work: Work, world: &World, peer: Peer, running: &Running, window: Duration) -> Done {
    let address = if work == Work::RsaHandshake { running.rsa } else { running.address };
    let done = load::run(work, world, address, window, || running.cpu());
    if done.errors > 0 {
        eprintln!("{} {}: {} errors in {} requests", peer.name(), work.name(), done.errors, done.requests);
    }
    done
}

fn table(works: &[Work], measured: &Measured, spread: bool) {
    println!("| work | portcullis | nginx | ratio | HAProxy | ratio |\n|---|---|---|---|---|---|");
    for work in works {
        let of = |name: &'static str| measured.get(&(work.name(), name));
        let cell = |name| match of(name).filter(|_| spread) {
            Some(all) => format!("{:.1} ({:.1}-{:.1})", median(of(name)), least(all, f64::min), least(all, f64::max)),
            None => format!("{:.1}", median(of(name))),
        };
        // Pair by pair: what disturbed one window is likely to have disturbed its neighbour.
        let ratio = |name| {
            let pairs: Vec<f64> = of("portcullis").into_iter().flatten().zip(of(name).into_iter().flatten()).map(|(a, b)| a / b).collect();
            median(Some(&pairs))
        };
        let (ours, nginx, haproxy) = (cell("portcullis"), cell("nginx"), cell("haproxy"));
        println!("| {} | {ours} | {nginx} | {:.2} | {haproxy} | {:.2} |", work.name(), ratio("nginx"), ratio("haproxy"));
    }
}

fn least(all: &[f64], choose: fn(f64, f64) -> f64) -> f64 {
    all.iter().copied().reduce(choose).unwrap_or(f64::NAN)
}

fn median(all: Option<&Vec<f64>>) -> f64 {
    let mut sorted = all.cloned().unwrap_or_default();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// So many connections are held at once.
const IDLE: usize = 2_000;
