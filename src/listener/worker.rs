//! A worker's thread: one `current_thread` runtime, everything of a connection on it, and the rules it goes by.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::LocalOptions;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::clock::Clock;
use crate::connection::{self, Accepted, Worker};
use crate::drain::Drain;
use crate::gate::{Cuts, Gate, Review};
use crate::http1;
use crate::log::Logs;
use crate::metrics::{self, Metrics};
use crate::request::{self, service::Service};
use crate::rules::{InForce, Rules};
use crate::ticker::Ticker;

/// The way to a worker, from the other threads.
pub(super) struct WorkerHandle {
    pub(super) sockets: UnboundedSender<Accepted>,
    orders: UnboundedSender<Order>,
}

/// What every worker has a share of.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) rules: Arc<InForce>,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) logs: Logs,
    pub(super) drain: Drain,
    pub(super) service: Option<Arc<dyn Service>>,
}

/// A look at what lives on a worker, taken on its own thread.
pub(super) type Ask = Box<dyn FnOnce(&Rc<Gate>) + Send>;

/// What the other threads want of a worker.
enum Order {
    /// Something to be told of what lives here.
    Ask(Ask),
    Install(Install),
}

/// Rules to put in force.
struct Install {
    rules: Arc<Rules>,
    cuts: Arc<Cuts>,
    done: mpsc::Sender<Installed>,
}

/// They are in force, and whatever they deny was woken.
pub(super) struct Installed;

impl WorkerHandle {
    /// Starts the thread. It ends when the drain is over.
    pub(super) fn start(index: usize, shared: Shared) -> io::Result<(Self, JoinHandle<()>)> {
        let (sockets, accepted) = unbounded_channel();
        let (orders, ordered) = unbounded_channel();
        let (ready, started) = mpsc::channel();
        let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            // Not a `LocalSet`: that one is woken through the kernel for what its own thread's reactor finds.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
            let (runtime, outcome) = runtime.map_or_else(|error| (None, Err(error)), |runtime| (Some(runtime), Ok(())));
            let _ = ready.send(outcome);
            let Some(runtime) = runtime else { return };
            metrics::set_worker(index);
            runtime.block_on(work(accepted, ordered, shared));
        })?;
        started.recv().map_err(io::Error::other)??;
        Ok((Self { sockets, orders }, thread))
    }

    /// Sends rules; tells whether the worker is there to take them.
    pub(super) fn install(&self, rules: &Arc<Rules>, cuts: &Arc<Cuts>, done: &mpsc::Sender<Installed>) -> bool {
        self.orders.send(Order::Install(Install { rules: Arc::clone(rules), cuts: Arc::clone(cuts), done: done.clone() })).is_ok()
    }

    /// Has the worker look at what lives there, when it comes to it.
    pub(super) fn ask(&self, ask: Ask) {
        // A worker that has ended tells nothing.
        let _ = self.orders.send(Order::Ask(ask));
    }
}

async fn work(mut accepted: UnboundedReceiver<Accepted>, mut orders: UnboundedReceiver<Order>, shared: Shared) {
    let Shared { rules: in_force, clock, metrics, logs, mut drain, service } = shared;
    let rules = in_force.rules();
    let gate = Gate::new(clock, Arc::clone(&metrics), Arc::clone(&rules.snapshot));
    let renewals = Arc::clone(&in_force);
    gate.on_renewed(Rc::new(move |renewed| renewals.renewed(renewed)));
    gate.limit_refusals(rules.limits.denial_lines);
    gate.tell_refusals(logs.refusals);
    let (log, ticker) = (Rc::new(logs.access), Ticker::new());
    let worker = Rc::new(Worker {
        requests: request::Worker::new(
            Rc::clone(&gate),
            Arc::clone(&metrics),
            Rc::clone(&log),
            Rc::clone(&ticker),
            Arc::clone(in_force.principals()),
            Arc::clone(&rules),
            service,
        ),
        gate: Rc::clone(&gate),
        rules: RefCell::new(rules),
        handshakes: Rc::default(),
        ticker,
        metrics,
    });
    let mut connections = JoinSet::new();
    tokio::task::spawn_local(http1::Later::default());
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut deadline = None;
    let far = Instant::now() + Duration::from_secs(u32::MAX.into());
    loop {
        tokio::select! {
            // In this order: a removal does not wait behind a crowd of newcomers.
            biased;
            Some(order) = orders.recv() => {
                // What was allowed goes before that changes.
                http1::send_put_off();
                let install = match order {
                    Order::Ask(ask) => {
                        ask(&gate);
                        continue;
                    }
                    Order::Install(install) => install,
                };
                carry_out(worker.install(&install.rules, Some(&install.cuts))).await;
                let _ = install.done.send(Installed);
            }
            () = drain.started(), if deadline.is_none() => {
                deadline = Some(Instant::now() + worker.rules.borrow().limits.drain);
                gate.drain();
            }
            () = tokio::time::sleep_until(deadline.unwrap_or(far)), if deadline.is_some() => break,
            _ = tick.tick() => {
                http1::send_put_off();
                carry_out(gate.tick()).await;
                log.flush();
            }
            Some(_ended) = connections.join_next() => {}
            Some(accepted) = accepted.recv() => {
                connections.spawn_local(connection::run(Rc::clone(&worker), accepted));
            }
        }
        // Tunnels are tasks of their own: their standings tell that they live.
        if deadline.is_some() && accepted.is_empty() && connections.is_empty() && gate.standing_count() == 0 {
            break;
        }
    }
    http1::send_put_off();
    connections.shutdown().await;
}

/// Asks all again, and lets the connections go on between: with a hundred thousand of them it takes a while.
async fn carry_out(mut review: Review) {
    while review.step() {
        tokio::task::yield_now().await;
        http1::send_put_off();
    }
}

/// The clock may be off by a suspend or a step: looked at twice a second, so that no answer is kept a second too long.
const TICK: Duration = Duration::from_millis(500);
