//! What a look at the configuration finds, and how it is told: values, made from what was gathered and compiled.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crate::admission::StaleCrl;
use crate::config::compile::Compiled;
use crate::config::error::{Problem, Severity};
use crate::config::gather::{self, Gathered, SourceStatus};
use crate::config::plan::Plan;
use crate::listener::{BindAddress, RuntimeSettings};
use crate::log;
use crate::metrics::CertificateExpiry;
use crate::pki::Fingerprint;
use crate::rules::Rules;
use crate::store::managed::State;
use crate::tls::ServerOnly;

/// A configuration that is good, and everything about it that is not a rule.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub rules: Arc<Rules>,
    pub settings: Settings,
    /// What the monitor shows; `None`: it speaks plain HTTP.
    pub monitor_tls: Option<ServerOnly>,
    /// What stands in no one's way, and should be known.
    pub warnings: Vec<Problem>,
    pub status: Status,
    /// URLs whose CRL was never seen.
    pub missing: Vec<Arc<str>>,
}

/// What is needed beside the rules to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub runtime: RuntimeSettings,
    pub monitor: Option<BindAddress>,
    /// Principals by name in labels and on the status page; else by id.
    pub monitor_names: bool,
    pub audit: log::Audit,
    /// `None`: nothing is kept.
    pub state: Option<PathBuf>,
}

/// Where the rules in force came from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// Changes exactly when any content does.
    pub hash: String,
    /// Principals in force.
    pub entries: usize,
    pub sources: Vec<SourceStatus>,
    /// Certificates, CRLs and principals whose end is watched.
    pub expiries: Vec<CertificateExpiry>,
    /// How many days before an end notice of it is given, where its principal does not say.
    pub expiry_notice: Vec<u32>,
}

/// What a look found.
#[derive(Debug)]
pub struct Look {
    /// To be put in force; `None`: as it was.
    pub loaded: Option<Loaded>,
    /// What is other than before in it: files, for the log.
    pub changed: Vec<String>,
    /// What is wrong; the last good content stays in its place.
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
    pub status: Status,
    /// When to look again although nothing may have changed.
    pub again: Option<Instant>,
    /// Something changed while it was read.
    pub unstable: bool,
}

/// What was seen since the last look, by whoever watches.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Read everything again, whatever the stamps say.
    pub reread: bool,
    /// Lose as much as a list says, and take a directory for a file.
    pub force: bool,
    /// Something was renamed.
    pub renamed: bool,
    /// Names of files that were removed.
    pub removed: std::collections::BTreeSet<std::ffi::OsString>,
}

/// Says what goes without a CRL that was never fetched.
pub(super) fn without(plan: &Plan, is_held_out: bool) -> &'static str {
    match (is_held_out, plan.file.revocation.require_crl, plan.stale) {
        (true, ..) => "this configuration is put in force once it is there",
        (_, true, _) => "until it is there, its issuer's certificates are denied: require_crl = true",
        (_, _, StaleCrl::Deny) => "until it is there, certificates of every issuer without a CRL are denied: it may be theirs",
        (_, _, StaleCrl::Warn) => "until it is there, whoever is on it is ADMITTED: crl_stale = \"warn\"",
    }
}

pub(super) fn settings(plan: &Plan) -> Settings {
    Settings {
        runtime: plan.runtime.clone(),
        monitor: plan.monitor.clone(),
        monitor_names: plan.file.monitor.as_ref().is_some_and(|monitor| monitor.names),
        audit: plan.file.audit.clone(),
        state: plan.file.store.path.clone(),
    }
}

pub(super) fn warnings(gathered: &Gathered, compiled: &Compiled) -> Vec<Problem> {
    let mut warnings: Vec<Problem> = gathered.warnings.iter().chain(&compiled.warnings).cloned().collect();
    let snapshot = &compiled.rules.snapshot;
    for (why, denies, written) in snapshot.revocation.untimely_crls(gather::now(), snapshot.clock_skew) {
        let meaning = if denies { "whoever its issuer signed is denied" } else { "what it lists is revoked, and what it does not is not" };
        warnings.push(Problem::in_file(&written.file, written.line, format!("{why}: {meaning}")).help("fetch the issuer's next CRL"));
    }
    warnings.iter_mut().for_each(|warning| warning.severity = Severity::Warning);
    warnings
}

/// Files first: while nothing was ever managed, theirs is the whole of it.
pub(super) fn policy_hash(identity: Fingerprint, state: &State) -> String {
    match state.hash() {
        none if none == [0; 32] => identity.to_string(),
        managed => Fingerprint::of([*identity.as_bytes(), managed].as_flattened()).to_string(),
    }
}

pub(super) fn status(compiled: Option<&Compiled>, identity: Fingerprint, gathered: &Gathered) -> Status {
    Status {
        hash: compiled.map_or_else(|| identity.to_string(), |compiled| policy_hash(identity, &compiled.managed.state)),
        entries: compiled.map_or(0, |compiled| compiled.rules.snapshot.allowlist.len()),
        sources: gathered.sources.clone(),
        expiries: gathered.expiries.clone(),
        expiry_notice: gathered.expiry_notice.clone(),
    }
}
