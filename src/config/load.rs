//! Looks at the configuration and all it names, as often as asked: what is good is compiled, what is not keeps its last good
//! content, and the rest says why. `cli` looks once; `reload` goes on looking.

mod candidate;
mod kept;
mod look;
mod managed;
mod recall;

pub use candidate::{Candidate, Considered, Policy};
pub use look::{Loaded, Look, Seen, Settings, Status};
pub use managed::Prepared;
pub use recall::OpenLedger;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::candidate::Instead;
use self::kept::await_first;
use self::look::{settings, status, warnings, without};
use super::changed::Part;
use super::compile::{Compiled, compile};
use super::error::{Document, Problem};
use super::file::ConfigFile;
use super::gather::{Gathered, SourceStatus, Sources, from_source};
use super::plan::Plan;
use super::restricted::revoked;
use super::reverted::Reverted;
use crate::pki::{FileError, Fingerprint};
use crate::store::managed::ManagedRoster;
use crate::store::{Cache, Fetched, Good, ReadError, Revoked, Round, Source, Wanted};

/// Keeps what was last good of everything.
#[derive(Debug)]
pub struct Loader {
    path: PathBuf,
    configs: Cache<Plan>,
    /// What is wrong with the configuration file as it stands; empty while it is good.
    config_problems: Vec<Problem>,
    sources: Sources,
    rounds: u64,
    in_force: Option<InForce>,
    /// Whether restrictions are saved: only by the proxy itself.
    saves: bool,
    restored: bool,
    fetched: Arc<Fetched>,
    fetches: bool,
    /// What the configurations of this look want fetched.
    wanted: Vec<Wanted>,
    /// Until something is in force: the managed principals to start with.
    managed: ManagedRoster,
    ledger: Option<OpenLedger>,
    /// What stands in the place of the configuration file, where somebody only considers it.
    instead: Option<Arc<[u8]>>,
}

#[derive(Clone, Debug)]
struct InForce {
    config: Good<Plan>,
    compiled: Compiled,
    /// What it was compiled from.
    gathered: Gathered,
    /// Tells the files' content from another, not what the ledger says.
    identity: Fingerprint,
    settings: Settings,
    missing: Vec<Arc<str>>,
}

/// Loads once, as `explain` does: everything good, or everything that is wrong. Asks nobody on the network.
pub fn load(path: &Path) -> Result<Loaded, Vec<Problem>> {
    Loader::new(path, false).start()
}

/// What to do where there is no configuration.
pub const NO_CONFIGURATION: &str =
    "name the configuration with -c FILE, or run this beside `portcullis.toml`; `portcullis quickstart` makes one";

/// Finds the state directory that a configuration file names, whatever else is wrong with the file; `None`: it has none.
pub fn state_directory(path: &Path) -> std::io::Result<Option<PathBuf>> {
    let bytes = std::fs::read(path)?;
    let text = String::from_utf8_lossy(&bytes);
    let (root, _) = toml::de::DeTable::parse_recoverable(&text);
    let store = root.get_ref().get("store").and_then(|store| store.get_ref().as_table());
    let named = store.and_then(|store| store.get("path")).and_then(|path| path.get_ref().as_str());
    let directory = path.parent().unwrap_or(Path::new(""));
    Ok(match named {
        Some("") => None,
        Some(named) => Some(directory.join(named)),
        None => Some(directory.join(super::sections::DEFAULT_STATE)),
    })
}

impl Loader {
    /// `saves`: the last good restrictions are kept in the state directory; only the proxy that enforces them does that.
    pub fn new(path: &Path, saves: bool) -> Self {
        Self {
            path: path.to_owned(),
            configs: Cache::default(),
            config_problems: Vec::new(),
            sources: Sources::default(),
            rounds: 0,
            in_force: None,
            saves,
            restored: false,
            fetched: Arc::default(),
            fetches: false,
            wanted: Vec::new(),
            managed: ManagedRoster::default(),
            ledger: None,
            instead: None,
        }
    }

    /// Loads for the first time. Anything wrong refuses the start: an operator who is there wants to know; only what restricts
    /// is taken from its last good content, if there is one.
    pub fn start(&mut self) -> Result<Loaded, Vec<Problem>> {
        let deadline = Instant::now() + UNSTABLE;
        loop {
            let look = self.look_once(&Seen::default());
            if look.unstable && Instant::now() < deadline {
                std::thread::park_timeout(RETRY);
                continue;
            }
            return match look.loaded {
                Some(loaded) => Ok(loaded),
                None => Err(look.problems),
            };
        }
    }

    /// Looks again.
    pub fn look(&mut self, seen: &Seen) -> Look {
        let mut look = self.look_once(seen);
        if look.unstable {
            look.again = look.again.into_iter().chain([Instant::now() + RETRY]).min();
        }
        look
    }

    /// Returns what to watch: every file and directory that was named, with the configuration first.
    pub fn watched(&self) -> Vec<PathBuf> {
        let mut paths = vec![self.path.clone()];
        let plans = self.in_force.iter().map(|in_force| &in_force.config).chain(self.configs.goods());
        paths.extend(plans.flat_map(|config| config.value.paths()));
        paths.sort();
        paths.dedup();
        paths
    }

    /// Returns the settings in force, to compare with what cannot change live.
    pub fn settings(&self) -> Option<&Settings> {
        self.in_force.as_ref().map(|in_force| &in_force.settings)
    }

    fn look_once(&mut self, seen: &Seen) -> Look {
        self.rounds += 1;
        let source = self.source(seen);
        let instead =
            self.instead.as_ref().map(|text| Instead { path: self.path.clone(), text: Arc::clone(text), rest: Arc::clone(&source) });
        let source: &dyn Source = instead.as_ref().map_or(&*source, |instead| instead);
        let mut round = Round::new(source, self.rounds);
        (round.reread, round.force) = (seen.reread, seen.force);
        round.renamed = seen.renamed;
        round.removed.clone_from(&seen.removed);
        let candidate = self.read_config(&mut round);
        let mut look = Look {
            loaded: None,
            changed: Vec::new(),
            problems: self.config_problems.clone(),
            warnings: Vec::new(),
            status: Status::default(),
            again: None,
            unstable: false,
        };
        if let Some(candidate) = candidate {
            let is_new = self.in_force.as_ref().is_none_or(|in_force| in_force.config.hash != candidate.hash);
            let tried = self.try_plan(&mut round, &candidate, &mut look);
            // The new configuration cannot be put in force; what the old one names goes on being looked at.
            let config = match tried {
                Err(problems) if is_new && self.in_force.is_some() => {
                    look.problems.extend(problems);
                    let old = self.in_force.as_ref().map(|in_force| in_force.config.clone());
                    if let Some(old) = old.clone()
                        && let Err(problems) = self.try_plan(&mut round, &old, &mut look)
                    {
                        look.problems.extend(problems);
                    }
                    old.unwrap_or(candidate)
                }
                Err(problems) => {
                    look.problems.extend(problems);
                    candidate
                }
                Ok(()) => candidate,
            };
            self.sources.end(&round, &config.value);
        }
        self.fetch_wanted();
        let mut known = Vec::new();
        look.problems.retain(|problem| {
            !known.contains(problem) && {
                known.push(problem.clone());
                true
            }
        });
        look.unstable = round.unstable;
        let own = self.own_status(&look.problems);
        // What is told of a start is told of the file that it started on, too.
        if let Some(loaded) = &mut look.loaded {
            loaded.status.sources.insert(0, own.clone());
        }
        look.status.sources.insert(0, own);
        look
    }

    /// Says how the configuration file stands: its last good content is what is in force.
    fn own_status(&self, problems: &[Problem]) -> SourceStatus {
        let name = self.path.display().to_string();
        let wrong = problems.iter().find(|problem| *problem.file == *name);
        SourceStatus {
            last_good: self.in_force.as_ref().map(|in_force| in_force.config.read),
            error: wrong.map(|problem| format!("{}:{}: {}", problem.file, problem.line, problem.message)),
            name,
        }
    }

    /// Reads the configuration file; what is wrong with it now is in `config_problems`.
    fn read_config(&mut self, round: &mut Round<'_>) -> Option<Good<Plan>> {
        let before = self.in_force.as_ref().map(|in_force| Arc::clone(&in_force.config.value));
        let mut problems = None;
        let path = &self.path;
        let (good, error) = self.configs.get(round, &[path], "", MAX_CONFIG, |readings| {
            let parsed = parse(path, readings[0].bytes.clone(), before.as_deref());
            parsed.map_err(|wrong| {
                problems = Some(wrong);
                (0, FileError { line: 0, why: "is not good".to_owned() })
            })
        });
        match (error, problems) {
            (None, _) => self.config_problems.clear(),
            (Some(_), Some(problems)) => self.config_problems = problems,
            // Unreadable; or as bad as it was, and that was said.
            (Some(error), None) if self.config_problems.is_empty() || error.why != "is not good" => {
                let problem = from_source(&error);
                self.config_problems = vec![match ReadError::Missing.to_string() == error.why {
                    true => problem.help(NO_CONFIGURATION),
                    false => problem,
                }];
            }
            (Some(_), None) => {}
        }
        good.filter(|_| self.config_problems.is_empty() || self.in_force.is_some())
    }

    /// Gathers what a plan names, and compiles it if anything is new. Fails where the plan itself cannot be put in force.
    fn try_plan(&mut self, round: &mut Round<'_>, config: &Good<Plan>, look: &mut Look) -> Result<(), Vec<Problem>> {
        let plan = &config.value;
        let mut unread = Vec::new();
        let mut problems = self.restore(plan, &mut unread);
        let now = Instant::now();
        let revoked: Revoked = revoked(&self.path, config);
        let starting = self.in_force.is_none();
        let (waits, all) = (starting && self.fetches, !self.saves);
        let (fetched, wanted) = (&self.fetched, &mut self.wanted);
        let gathered = self.sources.gather(plan, &revoked, round, now, |found, restrictions| {
            if waits {
                await_first(fetched, &found, restrictions, all);
            }
            wanted.extend(found);
        });
        problems.extend(gathered.problems.iter().cloned());
        look.again = look.again.into_iter().chain(gathered.restrictions.again).min();
        problems.extend(gathered.unknown.iter().cloned());
        let missing: Vec<Arc<str>> = gathered.restrictions.unfetched.iter().map(|error| Arc::clone(&error.file)).collect();
        // A start cannot wait for ever, and what started so must take other changes; what runs whole can wait.
        let new = |file: &Arc<str>| self.in_force.as_ref().is_some_and(|in_force| !in_force.missing.contains(file));
        let is_unknown = !gathered.unknown.is_empty() || missing.iter().any(new);
        let unfetched: Vec<Problem> = gathered.unfetched.iter().map(|problem| problem.clone().help(without(plan, is_unknown))).collect();
        problems.extend(unfetched.iter().cloned());
        let identity = Fingerprint::of([*config.hash.as_bytes(), *gathered.identity().as_bytes()].as_flattened());
        if let Some(in_force) = self.in_force.as_ref().filter(|in_force| in_force.identity == identity) {
            problems.extend(in_force.compiled.problems.iter().cloned());
            let mut kept = self.sources.restrictions.settle(&in_force.compiled.superseded);
            problems.extend(kept.drain(..).map(|error| from_source(&error)));
            look.warnings = warnings(&gathered, &in_force.compiled);
            look.status = status(self.in_force.as_ref().map(|in_force| &in_force.compiled), identity, &gathered);
            look.problems.extend(problems);
            return Ok(());
        }
        let generation = self.in_force.as_ref().map_or(1, |in_force| in_force.compiled.rules.generation + 1);
        let before = self.in_force.as_ref().map(|in_force| &in_force.compiled);
        let managed = before.map_or(&self.managed, |before| &before.managed);
        let compiled = match compile(plan, &gathered, managed, generation, before) {
            Ok(compiled) if !is_unknown => compiled,
            // A restriction that was never known would be lost: not by this configuration.
            Ok(_) => return Err(problems),
            Err(fatal) => {
                problems.extend(fatal);
                return Err(problems);
            }
        };
        problems.extend(compiled.problems.iter().cloned());
        self.sources.restrictions.signed_by(compiled.rules.snapshot.revocation.crl_signers());
        let kept: Vec<Problem> = self.sources.restrictions.settle(&compiled.superseded).iter().map(from_source).collect();
        // What restricts holds by its last good content, so that a start without its file loses nothing.
        let held = |problem: &Problem| gathered.restrictions.errors.iter().any(|error| from_source(error) == *problem);
        let tolerated = |problem: &Problem| kept.contains(problem) || unfetched.contains(problem) || held(problem);
        if starting && !problems.iter().all(tolerated) {
            return Err(problems);
        }
        problems.extend(kept);
        look.warnings = warnings(&gathered, &compiled);
        look.warnings.extend(unread);
        if starting {
            look.warnings.extend(problems.iter().cloned().map(Problem::warning));
        }
        for (path, prefix) in &compiled.taken {
            self.sources.lists.accept(path, prefix);
        }
        for Reverted { path, prefix, roster, files } in &compiled.reverted {
            self.sources.lists.accept_but(path, prefix, roster, files);
        }
        if let Some(error) = self.save(plan) {
            problems.push(from_source(&error));
        }
        look.status = status(Some(&compiled), identity, &gathered);
        if let Some(before) = &self.in_force {
            let own = (before.config.hash != config.hash).then(|| self.path.display().to_string());
            look.changed = own.into_iter().chain(Part::changed(&before.gathered.parts, &gathered.parts)).collect();
        }
        let settings = settings(plan);
        look.loaded = Some(Loaded {
            rules: Arc::clone(&compiled.rules),
            settings: settings.clone(),
            monitor_tls: compiled.monitor.as_ref().map(|(_, tls)| tls.clone()),
            warnings: look.warnings.clone(),
            status: look.status.clone(),
            missing: missing.clone(),
        });
        look.problems.extend(problems);
        let gathered = settled(gathered, plan, &compiled);
        self.in_force = Some(InForce { config: config.clone(), compiled, gathered, identity, settings, missing });
        Ok(())
    }
}

fn parse(path: &Path, bytes: Vec<u8>, before: Option<&Plan>) -> Result<Plan, Vec<Problem>> {
    let document = Document::decode(path.display().to_string(), bytes).map_err(|problem| vec![problem])?;
    let directory = path.parent().unwrap_or(Path::new(""));
    let file = ConfigFile::read(Arc::new(document), directory)?;
    Plan::compile(file, before)
}

/// Leaves of each list what is in force of it: to compile again is to change nothing.
fn settled(mut gathered: Gathered, plan: &Plan, compiled: &Compiled) -> Gathered {
    for (at, look) in gathered.lists.iter_mut().enumerate() {
        let (path, prefix) = (&plan.allowlists[at].path, &plan.file.allowlists[at].prefix);
        if let Some(reverted) = compiled.reverted.iter().find(|reverted| reverted.path == *path && reverted.prefix == *prefix) {
            look.roster = Some(Arc::clone(&reverted.roster));
            look.before.clone_from(&look.roster);
            continue;
        }
        match compiled.taken.iter().any(|(taken, with)| taken == path && with == prefix) {
            true => look.before = look.roster.clone(),
            false => look.roster = look.before.clone(),
        }
    }
    gathered
}

const MAX_CONFIG: u64 = 16 << 20;
/// How long a file that keeps changing is waited for, and how often it is tried meanwhile.
const UNSTABLE: Duration = Duration::from_millis(50);
const RETRY: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests;
