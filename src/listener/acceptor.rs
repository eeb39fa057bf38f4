//! The acceptor's thread: takes connections from every listener and hands each to the least loaded worker.
//! Without descriptors it waits, rather than spins.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::socket::{Accepting, Listening};
use crate::connection::Accepted;
use crate::drain::Drain;
use crate::limits::Load;
use crate::metrics::Metrics;
use crate::rules::InForce;

/// Starts the thread. It ends, and the sockets with it, when the drain begins.
pub(super) fn start(
    listening: Vec<Listening>,
    workers: Vec<UnboundedSender<Accepted>>,
    load: Arc<Load>,
    rules: Arc<InForce>,
    metrics: Arc<Metrics>,
    drain: Drain,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listening = {
        let _inside = runtime.enter();
        listening.into_iter().map(Listening::register).collect::<io::Result<Vec<_>>>()?
    };
    let acceptor = Arc::new(Acceptor { workers, load, rules, metrics, accepted: AtomicU64::new(1) });
    std::thread::Builder::new().name("acceptor".into()).spawn(move || {
        runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for socket in listening {
                let (acceptor, mut drain) = (Arc::clone(&acceptor), drain.clone());
                tasks.spawn(async move {
                    tokio::select! {
                        biased;
                        () = drain.started() => {}
                        () = acceptor.accept_from(&socket) => {}
                    }
                });
            }
            tasks.join_all().await;
        });
    })
}

struct Acceptor {
    workers: Vec<UnboundedSender<Accepted>>,
    load: Arc<Load>,
    rules: Arc<InForce>,
    metrics: Arc<Metrics>,
    /// Numbers the connections of all listeners.
    accepted: AtomicU64,
}

impl Acceptor {
    async fn accept_from(&self, socket: &Accepting) {
        let mut failed = 0;
        loop {
            match socket.accept().await {
                Ok(accepted) => {
                    failed = 0;
                    self.hand_over(accepted, socket);
                }
                // The client was gone before we came: the next one may not be.
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    self.metrics.accept_errors.inc();
                    // Said at powers of two: the disk may be what is full.
                    if u32::is_power_of_two(failed + 1) {
                        let listener = &*socket.name;
                        tracing::error!(%error, listener, "cannot accept; raise the limit of open files, or lower [limits] connections");
                    }
                    failed += 1;
                    tokio::time::sleep(BACK_OFF * failed.min(10)).await;
                }
            }
        }
    }

    fn hand_over(&self, socket: crate::connection::Socket, listening: &Accepting) {
        let number = self.accepted.fetch_add(1, Ordering::Relaxed);
        let Some(place) = self.load.place(self.rules.rules().limits.connections) else {
            self.metrics.overloaded("connections");
            return;
        };
        let worker = &self.workers[place.worker()];
        // A worker that has ended takes no more; dropped, the connection is closed.
        let _ = worker.send(Accepted { socket, listener: Arc::clone(&listening.name), number, place });
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, InvalidInput, NotConnected};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | InvalidInput | NotConnected)
}

const BACK_OFF: Duration = Duration::from_millis(50);
