//! `portcullis check`: everything that is wrong with the configuration and all it names; and where nothing is,
//! what would be in force.

use std::fmt::{self, Write};
use std::fs;
use std::path::Path;

use serde::Serialize;

use super::{Exit, Failure, Output, load};
use crate::admission::{Provenance, Revocation, RevokedId};
use crate::clock::{self, Date};
use crate::config::{Loaded, Loader, Problem};
use crate::log::{Audit, Destination, Refusals};
use crate::pki::{Certificate, files};
use crate::routing::HostPattern;

#[derive(Debug, clap::Args)]
#[command(after_help = "Exits with 0 when `run` would start with all that it names, with 3 when there are problems, with 4 when \
                        nothing is wrong but a CRL's URL that did not answer and of which no copy is kept.")]
pub(super) struct Arguments {
    #[command(flatten)]
    config: load::Config,
    /// Fetch no CRL: take what the state directory keeps
    #[arg(long)]
    offline: bool,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<Exit, Failure> {
    let loader = Loader::new(&arguments.config.path, false);
    let mut loader = if arguments.offline { loader } else { loader.fetching() };
    let (report, exit) = match loader.start() {
        Ok(loaded) => {
            let ok = arguments.offline || loaded.missing.is_empty();
            let problems = loaded.warnings.iter().cloned().chain(cannot_log(&loaded, &arguments.config.path)).collect();
            let report = Report { ok, problems, summary: Some(Summary::of(&loaded)) };
            (report, if ok { Exit::Done } else { Exit::Network })
        }
        Err(problems) => (Report { ok: false, problems, summary: None }, Exit::Local),
    };
    output.answer(&report, &report);
    Ok(exit)
}

/// Warns of logs without a directory: `run` would not start. It may be there on the machine that runs it.
fn cannot_log(loaded: &Loaded, config: &Path) -> Vec<Problem> {
    let Audit { access, refusals } = &loaded.settings.audit;
    let own = match refusals {
        Refusals::Own(destination) => Some(destination),
        Refusals::Off | Refusals::Operational => None,
    };
    let mut problems = Vec::new();
    for destination in [Some(&access.destination), own].into_iter().flatten() {
        let Destination::File(file) = destination else { continue };
        if file.parent().is_some_and(|directory| !directory.as_os_str().is_empty() && !directory.is_dir()) {
            let message = format!("[audit]: {}: its directory is not there; `run` would not start", file.display());
            problems
                .push(Problem::in_file(&config.display().to_string().into(), 0, message).help("make it, for the proxy's user").warning());
        }
    }
    problems
}

#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    /// Errors, or the warnings of a good configuration.
    problems: Vec<Problem>,
    summary: Option<Summary>,
}

/// What would be in force.
#[derive(Debug, Serialize)]
struct Summary {
    principals: usize,
    credentials: usize,
    pins: usize,
    trust_anchors: usize,
    listeners: Vec<Listener>,
    routes: Vec<Route>,
    upstreams: Vec<Upstream>,
    revoked: Vec<Revoked>,
    crls: Vec<Crl>,
    /// URLs whose CRL was never seen.
    crls_missing: Vec<String>,
    expiries: Vec<Expiry>,
    policy_hash: String,
}

#[derive(Debug, Serialize)]
struct Listener {
    name: String,
    address: String,
    client_auth: String,
}

#[derive(Debug, Serialize)]
struct Route {
    name: String,
    hosts: Vec<String>,
    path: String,
    auth: String,
    upstream: String,
}

#[derive(Debug, Serialize)]
struct Upstream {
    name: String,
    endpoints: Vec<String>,
}

/// A revoked id and which of the certificates we know it hits.
#[derive(Debug, Serialize)]
struct Revoked {
    id: String,
    written: String,
    #[serde(skip)]
    by_command: bool,
    hits: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Crl {
    issuer: String,
    written: String,
    entries: usize,
    next_update: Option<String>,
}

#[derive(Debug, Serialize)]
struct Expiry {
    kind: &'static str,
    name: String,
    not_after: String,
    days: i64,
}

impl Summary {
    fn of(loaded: &Loaded) -> Self {
        let (rules, snapshot) = (&loaded.rules, &loaded.rules.snapshot);
        let binds = &loaded.settings.runtime.binds;
        Self {
            principals: snapshot.allowlist.len(),
            credentials: snapshot.allowlist.credentials(),
            pins: snapshot.allowlist.fingerprints().count(),
            trust_anchors: snapshot.allowlist.anchors().count(),
            listeners: rules
                .listeners
                .iter()
                .map(|listener| Listener {
                    name: listener.name.to_string(),
                    address: binds.iter().find(|bind| bind.name == listener.name).map(|bind| bind.address.to_string()).unwrap_or_default(),
                    client_auth: format!("{:?}", listener.tls.client_auth()).to_lowercase(),
                })
                .collect(),
            routes: rules
                .routes
                .iter()
                .map(|route| Route {
                    name: route.scope.name.to_string(),
                    hosts: route.hosts.iter().map(host).collect(),
                    path: route.path.to_string(),
                    auth: format!("{:?}", route.scope.auth).to_lowercase(),
                    upstream: route.upstream.to_string(),
                })
                .collect(),
            upstreams: rules
                .upstreams
                .iter()
                .map(|upstream| Upstream {
                    name: upstream.settings.name.to_string(),
                    endpoints: upstream.settings.endpoints.iter().map(ToString::to_string).collect(),
                })
                .collect(),
            revoked: revoked(loaded),
            crls: snapshot
                .revocation
                .crls()
                .map(|(crl, place)| Crl {
                    issuer: crl.issuer.rfc2253(),
                    written: place.to_string(),
                    entries: crl.len(),
                    next_update: crl.next_update.map(|time| Date::of(time).to_string()),
                })
                .collect(),
            crls_missing: loaded.missing.iter().map(ToString::to_string).collect(),
            expiries: expiries(loaded),
            policy_hash: loaded.status.hash.clone(),
        }
    }
}

/// The certificates that end first; a list of a million pins is not printed.
fn expiries(loaded: &Loaded) -> Vec<Expiry> {
    let now = clock::wall().as_secs();
    let mut watched: Vec<_> = loaded.status.expiries.iter().collect();
    watched.sort_by_key(|certificate| certificate.not_after);
    let days = |not_after: u64| (not_after.cast_signed() - now.cast_signed()).div_euclid(86_400);
    watched
        .into_iter()
        .take(MAX_EXPIRIES)
        .map(|certificate| Expiry {
            kind: certificate.kind,
            name: certificate.name.clone(),
            not_after: Date::of(certificate.not_after).to_string(),
            days: days(certificate.not_after),
        })
        .collect()
}

/// An id that hits nothing we know may concern a leaf that an authority issued, or be a mistake: the operator sees which.
fn revoked(loaded: &Loaded) -> Vec<Revoked> {
    let revocation = &loaded.rules.snapshot.revocation;
    if revocation.ids().next().is_none() {
        return Vec::new();
    }
    let known = known_certificates(loaded);
    let hits = |id: &RevokedId| {
        let hit = known.iter().filter(|(_, certificate)| Revocation::id_hits(id, certificate));
        hit.map(|(place, certificate)| format!("{} ({place})", certificate.subject.rfc2253())).collect()
    };
    let told = |(id, place): (&RevokedId, &Provenance)| Revoked {
        id: id.as_str().to_owned(),
        written: place.to_string(),
        by_command: place.is_ledger(),
        hits: hits(id),
    };
    revocation.ids().map(told).collect()
}

/// Every certificate that the configuration names: anchors, and what the sources hold.
fn known_certificates(loaded: &Loaded) -> Vec<(String, Certificate)> {
    let anchors = loaded.rules.snapshot.allowlist.anchors().map(|anchor| ("trust anchor".to_owned(), Certificate::clone(anchor)));
    let sources = loaded.status.sources.iter().map(|source| std::path::PathBuf::from(&source.name));
    let files = sources.flat_map(|path| match fs::read_dir(&path) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(_) => vec![path],
    });
    let pinned = files.flat_map(|path| {
        let found = fs::read(&path).ok().and_then(|bytes| files::certificates(&bytes, None).ok()).unwrap_or_default();
        found.into_iter().map(move |located| (format!("{}:{}", path.display(), located.line), located.value))
    });
    anchors.chain(pinned).collect()
}

fn host(pattern: &HostPattern) -> String {
    match pattern {
        HostPattern::Exact(host) | HostPattern::Wildcard(host) => host.to_string(),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problems.iter().try_for_each(|problem| writeln!(f, "{problem}\n"))?;
        match &self.summary {
            Some(summary) => {
                summary.fmt(f)?;
                f.write_str(match self.ok {
                    true => "good: `run` would start",
                    false => "not all of it is there: `run` would start without the CRLs that could not be fetched",
                })
            }
            None => {
                write!(f, "{} found: `run` would not start, and a reload would keep what it has", count(self.problems.len(), "problem"))
            }
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}, {} ({}), {}",
            count(self.principals, "principal"),
            count(self.credentials, "credential"),
            count(self.pins, "pin"),
            count(self.trust_anchors, "trust anchor")
        )?;
        for Listener { name, address, client_auth } in &self.listeners {
            writeln!(f, "listener {name}: {address}, client_auth {client_auth}")?;
        }
        for Route { name, hosts, path, auth, upstream } in &self.routes {
            let hosts = if hosts.is_empty() { "any host".to_owned() } else { hosts.join(", ") };
            writeln!(f, "route {name}: {hosts} {path} -> {upstream}, auth {auth}")?;
        }
        for Upstream { name, endpoints } in &self.upstreams {
            writeln!(f, "upstream {name}: {}", endpoints.join(", "))?;
        }
        for Crl { issuer, written, entries, next_update } in &self.crls {
            let until = next_update.as_deref().unwrap_or("for ever");
            writeln!(f, "CRL {written}: {issuer}, {}, until {until}", count(*entries, "entry"))?;
        }
        for url in &self.crls_missing {
            writeln!(f, "CRL {url}: not there")?;
        }
        for Revoked { id, written, by_command, hits } in &self.revoked {
            let mut line = format!("revoked {id} ({written}): ");
            match hits.as_slice() {
                // Files are looked through here; whom it hits was said when it was made.
                [] if *by_command => line.push_str("by a command; hits no certificate of a file"),
                [] => line.push_str("warning: hits no certificate that the configuration names"),
                hits => write!(line, "hits {}", hits.join("; "))?,
            }
            writeln!(f, "{line}")?;
        }
        for Expiry { kind, name, not_after, days } in &self.expiries {
            let left = if *days < 0 { "ended".to_owned() } else { format!("{days} days left") };
            writeln!(f, "{kind} {name}: until {not_after}, {left}")?;
        }
        Ok(())
    }
}

fn count(number: usize, what: &str) -> String {
    match (number, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        (_, None) => format!("{number} {what}s"),
    }
}

const MAX_EXPIRIES: usize = 20;
