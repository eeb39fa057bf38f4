//! Bind, accept, limit, back off; hands each socket to the least loaded worker, which gives it to `connection`.
//! `cli/run.rs` starts it once and installs every new `Rules` through it.

mod acceptor;
mod socket;
mod systemd;
mod worker;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::str::FromStr;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::drain::Drain;
use crate::gate::{Cuts, Gate};
use crate::limits::Load;
use crate::log::Logs;
use crate::metrics::Metrics;
use crate::pki::Fingerprint;
use crate::request::service::Service;
use crate::rules::{InForce, Rules};
pub(crate) use socket::Listening;
use worker::{Installed, WorkerHandle};

/// What cannot change live: worker count and listener addresses. `config` compiles it; a reload compares it and says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeSettings {
    /// 0: one for each core.
    pub workers: usize,
    pub binds: Vec<Bind>,
}

/// A listener's name and where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    pub name: Arc<str>,
    pub address: BindAddress,
}

/// `address = "0.0.0.0:8443"`, `unix:PATH`, `systemd:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindAddress {
    Systemd(Box<str>),
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl BindAddress {
    /// Says whether other machines may reach it, as far as an address can tell.
    pub fn is_exposed(&self) -> bool {
        matches!(self, Self::Tcp(address) if !address.ip().to_canonical().is_loopback())
    }
}

/// Why a text is no address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAddress;

/// Why a listener could not start.
#[derive(Debug)]
pub enum ListenError {
    Bind { name: Arc<str>, address: BindAddress, error: std::io::Error },
    Thread(std::io::Error),
}

/// The workers and the acceptor, running.
pub struct Running {
    rules: Arc<InForce>,
    metrics: Arc<Metrics>,
    bound: Vec<Bind>,
    workers: Vec<WorkerHandle>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Binds every listener, starts the workers and the acceptor thread. Call it once, from a thread that will not run a
/// worker, with metrics made for as many workers as [`RuntimeSettings::workers`] says. `service` answers what is ours to answer.
pub fn start(
    rules: Arc<InForce>,
    settings: RuntimeSettings,
    clock: Clock,
    metrics: Arc<Metrics>,
    logs: &Logs,
    drain: Drain,
    service: Option<&Arc<dyn Service>>,
) -> Result<Running, ListenError> {
    let workers = settings.workers();
    metrics.generation.set(rules.rules().generation as f64);
    let room = room_for_connections();
    let wanted = rules.rules().limits.connections;
    if wanted > room {
        tracing::warn!(room, wanted, "fewer connections than [limits] connections: raise the limit of open files");
    }
    count_panics(&metrics);
    let listening = settings.binds.iter().map(Listening::bind).collect::<Result<Vec<_>, _>>()?;
    let bound = listening.iter().map(Listening::bound).collect();
    let load = Load::new(workers, room);
    let shared = worker::Shared {
        rules: Arc::clone(&rules),
        clock,
        metrics: Arc::clone(&metrics),
        logs: logs.clone(),
        drain: drain.clone(),
        service: service.cloned(),
    };
    let (handles, mut threads): (Vec<_>, Vec<_>) = (0..workers)
        .map(|index| WorkerHandle::start(index, shared.clone()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(ListenError::Thread)?
        .into_iter()
        .unzip();
    let inboxes = handles.iter().map(|handle| handle.sockets.clone()).collect();
    let acceptor = acceptor::start(listening, inboxes, load, Arc::clone(&rules), Arc::clone(&metrics), drain);
    threads.push(acceptor.map_err(ListenError::Thread)?);
    Ok(Running { rules, metrics, bound, workers: handles, threads: Mutex::new(threads) })
}

/// Takes as many descriptors as the system lets us have (the usual soft limit is a thousand), and returns how many
/// connections they are enough for. Each may need a second one for its upstream, and some are kept back: whoever
/// opens connections until none is left must not keep us from reading that somebody was taken off the list.
fn room_for_connections() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let files = if raised.is_ok() { limit.maximum } else { limit.current };
    let files = files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    (files / 4).max(files.saturating_sub(RESERVED_FILES) / 2)
}

/// A panic ends the task that had it, one connection or one stream, and is a defect to report: counted and said.
fn count_panics(metrics: &Arc<Metrics>) {
    let (metrics, before) = (Arc::clone(metrics), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        metrics.panics.inc();
        tracing::error!(at = panic.location().map(tracing::field::display), "a task panicked; the others go on");
        before(panic);
    }));
}

impl RuntimeSettings {
    /// Returns how many workers there will be.
    pub fn workers(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        }
    }
}

impl Running {
    /// Returns where each listener listens: with the port that the system chose where 0 was asked for.
    pub fn bound(&self) -> &[Bind] {
        &self.bound
    }

    /// Puts rules in force on every worker; `seen` is when the change was noticed, for `portcullis_revocation_seconds`.
    /// Returns once each worker has them, and has woken whatever they deny. Blocks meanwhile.
    pub fn install(&self, rules: Arc<Rules>, seen: Instant) {
        let generation = rules.generation;
        let cuts = Cuts::new(seen, Arc::clone(&self.metrics));
        let (done, installed) = mpsc::channel::<Installed>();
        let before = self.rules.rules();
        self.rules.replace(Arc::clone(&rules));
        let asked = self.workers.iter().filter(|worker| worker.install(&rules, &cuts, &done)).count();
        drop((cuts, done));
        for _ in 0..asked {
            // A worker that is ending drops its sender; one that hangs must not take the reloader with it.
            match installed.recv_timeout(STUCK) {
                Ok(Installed) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    tracing::error!(generation, "a worker did not take the new rules in time");
                    break;
                }
            }
        }
        self.metrics.generation.set(generation as f64);
        // Last, for it only tidies: whoever resumes a session is judged anew.
        let gone = |leaf: &Fingerprint| before.snapshot.allowlist.pins(leaf) && !rules.snapshot.allowlist.pins(leaf);
        for listener in &rules.listeners {
            listener.tls.forget(gone);
        }
    }

    /// Asks every worker about what lives there. Those that have ended say nothing; one that hangs is not waited for.
    pub fn ask<T: Send + 'static, F: Fn(&Rc<Gate>) -> T + Clone + Send + 'static>(
        &self,
        ask: F,
    ) -> impl Future<Output = Vec<T>> + Send + use<T, F> {
        let told = |worker: &WorkerHandle| {
            let (answer, answered) = tokio::sync::oneshot::channel();
            let ask = ask.clone();
            worker.ask(Box::new(move |gate| drop(answer.send(ask(gate)))));
            answered
        };
        let answers: Vec<_> = self.workers.iter().map(told).collect();
        async move {
            let mut found = Vec::new();
            for answer in answers {
                found.extend(tokio::time::timeout(STUCK, answer).await.ok().and_then(Result::ok));
            }
            found
        }
    }

    /// Waits until the drain is over and every worker has ended; until then rules can be installed. Blocks.
    pub fn join(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a worker or the acceptor ended in a panic");
            }
        }
    }
}

const RESERVED_FILES: usize = 128;
/// How long `install` waits for a worker.
const STUCK: Duration = Duration::from_secs(5);

impl FromStr for BindAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(BadAddress) } else { Ok(Self::Unix(path.into())) };
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            return if name.is_empty() { Err(BadAddress) } else { Ok(Self::Systemd(name.into())) };
        }
        text.parse().map(Self::Tcp).map_err(|_| BadAddress)
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Systemd(name) => write!(f, "systemd:{name}"),
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected ADDRESS:PORT, unix:PATH or systemd:NAME")
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { name, address, error } => {
                write!(f, "listener {name}: cannot listen on {address}: {error}")?;
                f.write_str(match error.kind() {
                    io::ErrorKind::AddrInUse => "; another process has it: `ss -ltnp` names it",
                    io::ErrorKind::PermissionDenied => {
                        "; ports below 1024 take CAP_NET_BIND_SERVICE, a unix socket a directory that may be written to"
                    }
                    io::ErrorKind::AddrNotAvailable => "; it is no address of this machine",
                    _ => "",
                })
            }
            Self::Thread(error) => write!(f, "cannot start a worker: {error}"),
        }
    }
}

impl std::error::Error for BadAddress {}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind { error, .. } | Self::Thread(error) => Some(error),
        }
    }
}

#[cfg(test)]
mod tests;
