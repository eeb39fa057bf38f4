//! Puts plan and sources together: one `Rules`, or everything that stands in its way. Where a source cannot be fitted in (it
//! claims what belongs to another), its content of before is used, and the reason said.

use std::path::PathBuf;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;

use super::crls;
use super::error::{Problem, Severity};
use super::file::Listener;
use super::gather::{Gathered, from_source};
use super::plan::Plan;
use super::reverted::{self, Reverted};
use crate::admission::{
    Allowlist, AllowlistBuilder, Authority, Bootstrap, BootstrapMode, Clearance, Conflict, Credential, PrincipalName, Provenance,
    Revocation, RevocationBuilder, Snapshot, Surface,
};
use crate::challenge::Tokens;
use crate::pki::{Certificate, Fingerprint};
use crate::rules::{ListenerRules, Rules, Serves};
use crate::store::managed::{Disabled, ManagedRoster};
use crate::store::{Look, allowlist};
use crate::tls::acceptor::{Acceptor, Settings, SettingsError, TrustId};
use crate::tls::{Credentials, KeyPair, ServerOnly};
use crate::upstream::{UpstreamError, Upstreams};

/// Rules, ready to be put in force.
#[derive(Clone, Debug)]
pub struct Compiled {
    pub rules: Arc<Rules>,
    /// By listener: what to serve with when a certificate is no longer good.
    pub key_pairs: Vec<(Arc<str>, Vec<KeyPair>)>,
    /// The monitor's certificate, and the TLS that shows it; `None`: plain.
    pub monitor: Option<(KeyPair, ServerOnly)>,
    /// The allowlists whose new content is among the rules.
    pub taken: Vec<(PathBuf, String)>,
    /// Those of which some files could not be taken.
    pub reverted: Vec<Reverted>,
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
    /// The managed principals, without those that cannot stand beside a static one.
    pub managed: ManagedRoster,
    /// CRLs that a newer one has taken the place of, by the SHA-256 of their DER.
    pub superseded: Vec<Fingerprint>,
}

/// Compiles. `managed`: the principals of the ledger; where it is a change, each was compared with the static ones. `before`: what is in
/// force, whose sessions, pools and last good key pairs are taken over.
pub fn compile(
    plan: &Plan,
    gathered: &Gathered,
    managed: &ManagedRoster,
    generation: u64,
    before: Option<&Compiled>,
) -> Result<Compiled, Vec<Problem>> {
    let mut compiler = Compiler {
        plan,
        gathered,
        before,
        fatal: Vec::new(),
        problems: Vec::new(),
        warnings: Vec::new(),
        taken: Vec::new(),
        reverted: Vec::new(),
    };
    let (allowlist, managed) = compiler.allowlist(managed);
    compiler.tell_disabled(&managed);
    let revocation = compiler.revocation(&allowlist, &managed);
    let superseded = revocation.superseded_crls().to_vec();
    let snapshot = Snapshot {
        generation,
        allowlist,
        revocation,
        clock_skew: plan.file.limits.clock_skew.as_secs(),
        bootstrap: compiler.bootstrap(&managed),
    };
    let mut key_pairs = Vec::new();
    let mut listeners = Vec::new();
    for (index, listener) in plan.file.listeners.iter().enumerate() {
        if let Some((rules, pairs)) = compiler.listener(index, listener, &snapshot) {
            key_pairs.push((Arc::clone(&rules.name), pairs));
            listeners.push(Arc::new(rules));
        }
    }
    let monitor = compiler.monitor();
    let upstreams = compiler.upstreams();
    let routes = plan.routes().map_err(|problem| compiler.fatal.push(problem)).ok();
    let (Some(upstreams), Some(routes), true) = (upstreams, routes, compiler.fatal.is_empty()) else {
        return Err(compiler.fatal);
    };
    let rules = Rules {
        generation,
        snapshot: Arc::new(snapshot),
        routes,
        upstreams,
        limits: plan.limits.clone(),
        trust: plan.trust.clone(),
        identity: Arc::new(plan.file.identity.clone()),
        tokens: compiler.tokens(),
        listeners,
    };
    let Compiler { problems, warnings, taken, reverted, .. } = compiler;
    Ok(Compiled { rules: Arc::new(rules), key_pairs, monitor, taken, reverted, problems, warnings, managed, superseded })
}

struct Compiler<'c> {
    plan: &'c Plan,
    gathered: &'c Gathered,
    before: Option<&'c Compiled>,
    /// The plan itself cannot be put in force.
    fatal: Vec<Problem>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    taken: Vec<(PathBuf, String)>,
    reverted: Vec<Reverted>,
}

/// Tells whether a listener serves our own surfaces and no upstream.
fn is_ours_only(serve: &[Surface]) -> bool {
    serve.iter().all(|surface| !surface.is_proxied())
}

impl Compiler<'_> {
    /// Says what the certificates of admin listeners may begin: nothing once there is an admin.
    fn bootstrap(&self, managed: &ManagedRoster) -> Bootstrap {
        let file = &self.plan.file;
        let has_admin = !file.admin_fingerprints.is_empty()
            || self.plan.principals.iter().any(|planned| planned.principal.terms.clearance == Clearance::Admin);
        let had_admin = managed.state.bootstrap_closed() || managed.state.admins().next().is_some();
        let mode = match file.server_certificate.value {
            BootstrapMode::FirstAdmin if has_admin || had_admin => BootstrapMode::Closed,
            mode => mode,
        };
        let fingerprints = self.begins().map(|leaf| Fingerprint::of(leaf)).collect();
        Bootstrap::new(mode, fingerprints, self.plan.written(file.server_certificate.span))
    }

    /// Goes through the certificates that listeners of ours alone serve with.
    fn begins(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        let listeners = self.plan.file.listeners.iter().zip(&self.gathered.key_pairs);
        let served = listeners.filter(|(listener, _)| is_ours_only(&listener.serve));
        served.flat_map(|(_, pairs)| pairs.iter().flatten()).filter_map(|pair| pair.certified.cert.first())
    }

    /// At the start a static principal wins over a managed one, which admits nobody until they stand in each other's way no more.
    fn allowlist(&mut self, managed: &ManagedRoster) -> (Allowlist, ManagedRoster) {
        let mut managed = managed.clone();
        let allowlist = self.beside(&mut managed);
        match managed.mended(&allowlist) {
            Some(mended) => {
                (self.problems, self.taken, self.reverted) = (Vec::new(), Vec::new(), Vec::new());
                managed = mended;
                (self.beside(&mut managed), managed)
            }
            None => (allowlist, managed),
        }
    }

    fn beside(&mut self, managed: &mut ManagedRoster) -> Allowlist {
        let mut builder = match self.before {
            Some(before) => AllowlistBuilder::after(&before.rules.snapshot.allowlist),
            None => AllowlistBuilder::default(),
        };
        for (planned, credentials) in self.plan.principals.iter().zip(&self.gathered.credentials) {
            // A principal whose files were never good: nothing could prove it, so it is nobody yet.
            if let Err(conflict) = builder.add(planned.principal.clone(), credentials.clone()) {
                self.fatal.push(self.conflict(&conflict));
            }
        }
        let admins: Vec<_> = self.plan.file.admin_fingerprints.iter().map(|at| at.value).collect();
        builder.well_known_admins(&admins);
        self.gathered.above.iter().cloned().for_each(|certificate| builder.show(certificate));
        if self.plan.file.server_certificate.value == BootstrapMode::Always {
            self.begins().filter_map(|leaf| Certificate::parse(leaf.clone()).ok()).for_each(|leaf| builder.show(Arc::new(leaf)));
        }
        let starting = self.before.is_none();
        self.include_lists(&mut builder, |look| starting || look.is_unchanged());
        if starting {
            *managed = managed.without(builder.conflicts(&managed.layer));
        }
        if let Err(conflict) = builder.layer(&managed.layer) {
            // It stood before, or was compared with all that did: what is new is in the configuration.
            let is_ours = conflict.second.is_ledger();
            self.fatal.push(self.conflict(&if is_ours { conflict.reversed() } else { conflict }));
        }
        self.include_lists(&mut builder, |look| !(starting || look.is_unchanged()));
        builder.finish()
    }

    fn tell_disabled(&mut self, managed: &ManagedRoster) {
        for (id, why) in &managed.disabled {
            let Some(kept) = managed.state.principal(&id.to_string()) else { continue };
            let why = match why {
                // The place that a person can change, not the one that is told of.
                Disabled::Conflict(conflict) if conflict.first.is_ledger() => allowlist::describe(&conflict.clone().reversed()).why,
                Disabled::Conflict(conflict) => allowlist::describe(conflict).why,
                Disabled::Invalid(wrong) => wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            };
            let message = format!("the managed principal {} (ledger entry {}) admits nobody: {why}", kept.name(), kept.index);
            self.warn_of_ledger(kept.index, message);
        }
    }

    fn warn_of_ledger(&mut self, index: u64, message: String) {
        let written = Provenance::ledger(index);
        self.warnings.push(Problem::in_file(&written.file, written.line, message).warning());
    }

    /// Includes the lists: first those that stay as they were, so that of two that claim the same the newcomer is refused.
    fn include_lists(&mut self, builder: &mut AllowlistBuilder, which: impl Fn(&Look) -> bool) {
        let mut order: Vec<usize> = (0..self.gathered.lists.len()).filter(|at| which(&self.gathered.lists[*at])).collect();
        order.sort_by_key(|at| !self.gathered.lists[*at].is_unchanged());
        for at in order {
            let (look, list) = (&self.gathered.lists[at], &self.plan.allowlists[at]);
            let Some(roster) = &look.roster else { continue };
            match builder.include(Arc::clone(roster)) {
                Ok(()) => self.taken.push((list.path.clone(), self.plan.file.allowlists[at].prefix.clone())),
                // It stood before: what is new is in the configuration.
                Err(conflict) if look.is_unchanged() => self.fatal.push(self.conflict(&conflict)),
                Err(conflict) => {
                    let Some(before) = &look.before else {
                        self.problems.push(self.conflict(&conflict));
                        continue;
                    };
                    let (conflicts, included) = reverted::include(builder, roster, before, conflict);
                    self.problems.extend(conflicts.iter().map(|conflict| self.conflict(conflict)).collect::<Vec<_>>());
                    if let Some((roster, files)) = included {
                        let prefix = self.plan.file.allowlists[at].prefix.clone();
                        self.reverted.push(Reverted { path: list.path.clone(), prefix, roster, files });
                    } else if let Err(conflict) = builder.include(Arc::clone(before)) {
                        self.fatal.push(self.conflict(&conflict));
                    }
                }
            }
        }
    }

    fn revocation(&mut self, allowlist: &Allowlist, managed: &ManagedRoster) -> Revocation {
        let found = &self.gathered.restrictions;
        let mut builder = match self.before {
            Some(before) => RevocationBuilder::after(&before.rules.snapshot.revocation),
            None => RevocationBuilder::default(),
        };
        if self.before.is_none() {
            builder.former_signers(&found.signers);
        }
        for (entry, written) in &found.ids {
            match entry.principal.as_ref().and_then(|name| self.authorities(name)) {
                Some((name, authorities)) => builder.principal_id(entry.id.clone(), written.clone(), name, &authorities),
                // Everywhere, also where its principal is gone and the id is not yet: rather too much than too little.
                None => builder.id(entry.id.clone(), written.clone()),
            }
        }
        found.files.iter().for_each(|ids| builder.include(ids));
        builder.include(&managed.revoked);
        for (id, written, name) in managed.state.own_revoked_ids() {
            builder.principal_id(id, written, &name, &managed.authorities(&name));
        }
        for kept in managed.state.revocations_within() {
            builder.id_within(kept.id.clone(), Provenance::ledger(kept.index), kept.only.iter().copied());
        }
        builder.tokens(managed.state.revoked_tokens());
        builder.crl_policy(self.plan.stale, self.plan.file.revocation.require_crl);
        if let Some(missing) = found.unfetched.first() {
            builder.crl_missing(missing.file.to_string());
        }
        for (crl, written) in &found.crls {
            if let Err(refusal) = builder.crl(Arc::clone(crl), written.clone()) {
                self.problems.push(Problem::in_file(&written.file, written.line, refusal.to_string()));
            }
        }
        for (name, kept) in managed.state.crls() {
            if let Err(refusal) = builder.crl(Arc::clone(&kept.crl), Provenance::ledger(kept.index)) {
                self.warn_of_ledger(kept.index, format!("the CRL {name}: {refusal}"));
            }
        }
        let revocation = builder.finish(allowlist);
        for told in revocation.crl_problems().iter().map(crls::tell) {
            let found = if told.severity == Severity::Error { &mut self.problems } else { &mut self.warnings };
            found.push(told);
        }
        revocation
    }

    fn authorities(&self, name: &PrincipalName) -> Option<(&PrincipalName, Vec<Arc<Authority>>)> {
        let at = self.plan.principals.iter().position(|planned| planned.principal.name == *name)?;
        let authority = |(credential, _): &(Credential, Provenance)| match credential {
            Credential::Authority(authority) => Some(Arc::clone(authority)),
            Credential::Pin(_) | Credential::SpkiPin(_) => None,
        };
        Some((&self.plan.principals[at].principal.name, self.gathered.credentials[at].iter().filter_map(authority).collect()))
    }

    fn listener(&mut self, index: usize, listener: &Listener, snapshot: &Snapshot) -> Option<(ListenerRules, Vec<KeyPair>)> {
        let name: Arc<str> = listener.name.value.as_str().into();
        let stayed = || {
            let before = self.before?.key_pairs.iter().find(|(known, _)| *known == name)?;
            Some(before.1.clone())
        };
        let Some(key_pairs) = self.gathered.key_pairs[index].clone().or_else(stayed) else {
            // What is wrong with its files was said.
            let message = format!("listener `{name}` has no certificate to serve with");
            self.fatal.push(self.plan.file.problem(listener.name.span, message));
            return None;
        };
        let settings = Settings {
            credentials: Credentials { key_pairs: key_pairs.clone() },
            client_auth: listener.client_auth,
            min_tls_13: listener.min_tls_13,
            groups: listener.groups.iter().map(|group| group.value.clone()).collect(),
            ciphers: listener.ciphers.iter().map(|cipher| cipher.value.clone()).collect(),
            strict_sni: listener.strict_sni,
            send_ca_names: listener.send_ca_names,
            ca_names: if listener.send_ca_names { snapshot.allowlist.anchor_subjects() } else { Vec::new() },
            http2: listener.http2,
            resumption: listener.resumption,
        };
        let previous = self.before.and_then(|before| before.rules.listener(&name));
        match Acceptor::new(settings, TrustId(snapshot.trust_id()), previous.map(|previous| &*previous.tls)) {
            Ok(mut tls) => {
                tls.serves_only_ours = is_ours_only(&listener.serve);
                let serves = Serves {
                    surfaces: listener.serve.clone(),
                    control_hosts: listener.control_hosts.iter().map(|host| host.value.as_str().into()).collect(),
                    tokens: listener.tokens,
                };
                let serves = Arc::new(serves);
                Some((ListenerRules { name, tls: Arc::new(tls), serves, proxy_protocol: listener.proxy_protocol }, key_pairs))
            }
            Err(error) => {
                let named = |name: &str| listener.groups.iter().chain(&listener.ciphers).find(|at| at.value == name).map(|at| at.span);
                let span = match &error {
                    SettingsError::UnknownCipher { name, .. } | SettingsError::UnknownGroup { name, .. } => named(name),
                    SettingsError::NoCertificate | SettingsError::Unusable(_) => None,
                };
                self.fatal.push(self.plan.file.problem(span.unwrap_or(listener.name.span), error.to_string()));
                None
            }
        }
    }

    /// A monitor that has a certificate never speaks plainly for want of it.
    fn monitor(&mut self) -> Option<(KeyPair, ServerOnly)> {
        let files = self.plan.file.monitor.as_ref()?.certificate.as_ref()?;
        let stayed = || self.before?.monitor.as_ref().map(|(pair, _)| pair.clone());
        let Some(pair) = self.gathered.monitor.clone().or_else(stayed) else {
            // What is wrong with its files was said.
            self.fatal.push(self.plan.file.problem(files.span, "the monitor has no certificate to serve with"));
            return None;
        };
        match ServerOnly::new(&pair) {
            Ok(tls) => Some((pair, tls)),
            Err(error) => {
                self.fatal.push(self.plan.file.problem(files.span, error.to_string()));
                None
            }
        }
    }

    /// Whatever is changed, the keys stay.
    fn tokens(&self) -> Tokens {
        let (settings, state) = (self.plan.file.token.clone(), self.plan.file.store.path.as_deref());
        match self.before {
            Some(before) => before.rules.tokens.with(settings, state),
            None => Tokens::new(settings, state),
        }
    }

    fn upstreams(&mut self) -> Option<Upstreams> {
        let before = self.before.map(|before| &before.rules.upstreams);
        let mut settings = Vec::new();
        for (index, planned) in self.plan.upstreams.iter().enumerate() {
            let stayed = || before?.find(&planned.name).map(|upstream| upstream.settings.tls.clone());
            match self.gathered.upstream_tls[index].clone().or_else(stayed) {
                Some(tls) => settings.push(crate::upstream::Settings { tls, ..planned.clone() }),
                None => {
                    let message = format!("upstream `{}` cannot be reached without its `tls` files", planned.name);
                    self.fatal.push(self.plan.file.problem(self.plan.file.upstreams[index].name.span, message));
                }
            }
        }
        if settings.len() < self.plan.upstreams.len() {
            return None;
        }
        Upstreams::compile(settings, before).map_err(|(index, error)| self.fatal.push(self.upstream_problem(index, &error))).ok()
    }

    fn upstream_problem(&self, index: usize, error: &UpstreamError) -> Problem {
        let entry = self.plan.file.upstreams.get(index);
        let span = entry.map(|entry| entry.tls.as_ref().map_or(entry.name.span, |tls| tls.span)).unwrap_or_default();
        self.plan.file.problem(span, error.to_string())
    }

    /// Tells a conflict where its second place is; in the configuration itself with a caret.
    fn conflict(&self, conflict: &Conflict) -> Problem {
        let told = from_source(&allowlist::describe(conflict));
        if told.file != self.plan.file.document.name {
            return told;
        }
        let mut named = self.plan.file.principals.iter().map(|entry| entry.name.span);
        let span = named.rfind(|span| self.plan.file.document.line(span.start) <= told.line);
        span.map_or(told.clone(), |span| self.plan.file.problem(span, told.message))
    }
}
