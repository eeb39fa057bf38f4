//! `portcullis run`: puts the parts together, says when it is ready, and waits for signals. `quickstart` runs the
//! same proxy in its own process.

mod operational;
mod systemd;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::rand;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::load::{self, refused};
use super::{Exit, Failure};
use crate::admin::{Admin, ControlSocket, Ready, SocketError};
use crate::challenge::Challenges;
use crate::clock::Clock;
use crate::config::gather::SourceStatus;
use crate::config::{Loader, Settings, Status};
use crate::drain::{self, DrainStarter};
use crate::gate::Desk;
use crate::limits::Sources;
use crate::listener::{self, Bind, BindAddress, ListenError, Running};
use crate::log::Logs;
use crate::metrics::Metrics;
use crate::monitor::{Monitor, Policy, Shown, Source, View};
use crate::reload::journal;
use crate::reload::{self, Install, Reloader};
use crate::request::service::Service;
use crate::rules::InForce;
use crate::store::is_url;
use operational::OperationalLog;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: load::Config,
}

/// Runs until a signal ends it.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    Proxy::start(&arguments.config.path, "info")?.wait()
}

/// The running proxy.
pub(super) struct Proxy {
    runtime: Runtime,
    signals: Signals,
    running: Arc<Running>,
    reloader: Reloader,
    monitor: Option<Monitor>,
    control: Option<ControlSocket>,
    drain: DrainStarter,
    logs: Logs,
    operational: OperationalLog,
}

impl Proxy {
    /// Loads, listens, and is ready; `level` is that of the operational log.
    pub(super) fn start(config: &Path, level: &str) -> Result<Self, Failure> {
        let mut loader = Loader::new(config, true).fetching();
        let loaded = loader.start().map_err(refused)?;
        let settings = &loaded.settings;
        let metrics = Metrics::new(settings.runtime.workers());
        metrics.tell_names(settings.monitor_names);
        let operational = OperationalLog::start(&metrics, level)?;
        for warning in &loaded.warnings {
            tracing::warn!(at = warning.place(), help = warning.help, "{}", warning.message);
        }
        // The generator's first byte takes 40 ms to gather entropy: not at the first client's expense.
        rand::fill(&mut [0]).map_err(|_| Failure::local("the system gives no randomness"))?;
        // Before anything listens: a signal that comes early must drain, not kill.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::local)?;
        let signals = Signals::new(&runtime).map_err(Failure::local)?;
        let (starter, drain) = drain::channel();
        let logs =
            Logs::open(&settings.audit, &metrics.log_lines_dropped).map_err(|error| Failure::local(format_args!("[audit]: {error}")))?;
        loaded.rules.prepare_tokens(Clock::default().now().as_secs());
        let in_force = Arc::new(InForce::new(Arc::clone(&loaded.rules)));
        let admin = Admin::new(Arc::clone(&metrics), drain.clone());
        let service: Arc<dyn Service> = Arc::<Admin>::clone(&admin);
        let control = control(settings, &admin)?;
        let running = listener::start(
            Arc::clone(&in_force),
            settings.runtime.clone(),
            Clock::default(),
            Arc::clone(&metrics),
            &logs,
            drain.clone(),
            Some(&service),
        );
        let running = Arc::new(running.map_err(cannot_listen)?);
        let shown = Shown::new(loaded.monitor_tls.clone());
        let journal = loader.take_ledger().map(|ledger| journal::audited(ledger, logs.access.clone()));
        let reloader = reload::start(loader, &loaded, Arc::clone(&metrics), journal, installer(&running, &logs, &shown, settings));
        let cannot_watch = |error| Failure::local(format_args!("cannot watch the configuration: {error}"));
        let mut reloader = reloader.map_err(cannot_watch)?;
        reloader.watch_ends(&metrics, settings).map_err(cannot_watch)?;
        let pins = reloader.control().clone();
        in_force.on_renewed(Box::new(move |renewed| pins.renew(renewed)));
        let rules = Arc::clone(&in_force);
        let asked = Box::new(move || Arc::clone(&rules.rules().snapshot));
        admin.ready(Ready {
            control: reloader.control().clone(),
            workers: Arc::clone(&running),
            audit: Mutex::new(logs.access.clone()),
            desk: Desk::new(Clock::default(), Arc::clone(&metrics), logs.refusals.clone(), asked),
            challenges: Arc::new(Challenges::new(&Clock::default()).map_err(|_| Failure::local("the system gives no randomness"))?),
            sources: Sources::default(),
            listeners: running.bound().to_vec(),
        });
        let monitor = settings.monitor.as_ref().map(|address| {
            let names = settings.monitor_names;
            let watched = reloader.control().clone();
            let policy = Box::new(move || policy(watched.view().report.status.clone(), names));
            let jwks = Box::new(move || in_force.rules().tokens.jwks(Clock::default().now().as_secs()));
            let view = View { metrics, drain, policy, jwks, shown };
            Monitor::start(address, view).map_err(cannot_listen)
        });
        let proxy = Self { runtime, signals, running, reloader, monitor: monitor.transpose()?, control, drain: starter, logs, operational };
        proxy.announce();
        Ok(proxy)
    }

    /// Returns where each listener listens.
    pub(super) fn bound(&self) -> &[Bind] {
        self.running.bound()
    }

    /// Returns where the monitor listens.
    pub(super) fn monitor(&self) -> Option<&BindAddress> {
        self.monitor.as_ref().map(Monitor::bound)
    }

    /// Waits for signals: HUP reloads, TERM and INT drain, and the second of those ends at once.
    pub(super) fn wait(self) -> Result<Exit, Failure> {
        let Self { runtime, mut signals, running, reloader, monitor: _, control, drain, logs, operational } = self;
        runtime.block_on(async {
            while signals.next().await == Order::Reload {
                reloader.reload();
                logs.reopen();
            }
            systemd::tell("STOPPING=1");
            tracing::info!("draining: no new connections; requests under way may finish");
            // The reloader goes on until the process ends: a removal counts for what is being drained, too.
            drain.start();
            let (ended, mut end) = oneshot::channel();
            let join = move || {
                running.join();
                // Nobody waits any more after a second signal.
                let _ = ended.send(logs.settle(LAST_LINES));
            };
            std::thread::Builder::new().name("drain".to_owned()).spawn(join).map_err(Failure::local)?;
            loop {
                tokio::select! {
                    _ = &mut end => break tracing::info!("drained"),
                    order = signals.next() => if order == Order::Stop {
                        break tracing::warn!("told to stop again: what was under way is cut");
                    },
                }
            }
            drop(control);
            if !reloader.settle(LAST_CHANGE) {
                tracing::warn!("ended while a change was still being recorded; the next start takes up what is on disk of it");
            }
            operational.finish();
            Ok(Exit::Done)
        })
    }

    fn announce(&self) {
        for Bind { name, address } in self.bound() {
            tracing::info!(listener = &**name, %address, "listening");
        }
        if let Some(monitor) = &self.monitor {
            tracing::info!(address = %monitor.bound(), "the monitor listens");
            monitor.ready(self.bound().to_vec());
        }
        systemd::tell("READY=1");
    }
}

/// Opens the control socket. A second process is refused; whatever else is in the way costs no client anything.
fn control(settings: &Settings, admin: &Arc<Admin>) -> Result<Option<ControlSocket>, Failure> {
    let Some(state) = &settings.state else { return Ok(None) };
    match ControlSocket::open(state, Arc::clone(admin)) {
        Ok(socket) => Ok(Some(socket)),
        Err(error @ SocketError::Taken(_)) => Err(Failure::local(error)),
        Err(error @ SocketError::Unusable(..)) => {
            tracing::warn!(%error, "`portcullis reload` and other local commands will not reach this process");
            Ok(None)
        }
    }
}

/// What a signal tells us to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Reload,
    Stop,
}

struct Signals {
    /// Heard, that it does not end us: beyond a limit of the size of files (`ulimit -f`) a write fails, as on a full disk.
    _file_size: Signal,
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new(runtime: &Runtime) -> std::io::Result<Self> {
        let _entered = runtime.enter();
        Ok(Self {
            _file_size: signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> Order {
        tokio::select! {
            _ = self.hangup.recv() => Order::Reload,
            _ = self.interrupt.recv() => Order::Stop,
            _ = self.terminate.recv() => Order::Stop,
        }
    }
}

fn cannot_listen(error: ListenError) -> Failure {
    Failure::network(error)
}

/// How long the last lines of each log may take.
const LAST_LINES: Duration = Duration::from_secs(2);
/// How long a change that is being recorded may take, with checkpoint and tiles.
const LAST_CHANGE: Duration = Duration::from_secs(2);

/// Puts rules in force on every worker, shows the monitor's certificate, and moves the logs where their new settings say.
fn installer(running: &Arc<Running>, logs: &Logs, shown: &Shown, settings: &Settings) -> impl FnMut(Install) + Send + 'static {
    let (running, logs, shown) = (Arc::clone(running), logs.clone(), shown.clone());
    let mut audit = settings.audit.clone();
    move |install| {
        let rules = Arc::clone(&install.rules);
        running.install(install.rules, install.seen);
        rules.prepare_tokens(Clock::default().now().as_secs());
        shown.replace(install.monitor_tls);
        logs.change(&audit, &install.audit);
        audit = install.audit;
    }
}

/// Tells the monitor where the rules in force came from. What is wrong with a file of an allowlist directory would tell a
/// principal's name: only where `names` allows it. A CRL's URL tells nobody's.
fn policy(status: Status, names: bool) -> Policy {
    let source = |source: SourceStatus| {
        let tells = names || is_url(Path::new(&source.name));
        Source {
            name: source.name,
            last_good: source.last_good.map(|time| time.as_secs()),
            error: source.error.map(|error| if tells { error } else { "the log says what is wrong with it".to_owned() }),
        }
    };
    Policy { hash: status.hash, entries: status.entries as u64, sources: status.sources.into_iter().map(source).collect() }
}
