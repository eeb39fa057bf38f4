//! Reads what the configuration names, each unit whole, each with its last good content: the allowlists, certificates, keys and
//! restrictions that `compile` puts together with the plan. What is wrong is a problem; whether it stops anything is for `load` to say.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls_pki_types::{CertificateDer, UnixTime};

use super::changed::Part;
use super::error::{At, Problem, Span};
use super::file::CertificateFiles;
use super::plan::{Plan, Planned, PlannedAuthority, PlannedPrincipal};
use super::units::{Bundle, Pair, PinFile, read_bundle, read_pair, read_pins};
use crate::admission::{Authority, Credential, Pin, Provenance};
use crate::clock;
use crate::metrics::CertificateExpiry;
use crate::pki::{Certificate, Fingerprint, files};
use crate::store::{Allowlists, Cache, Found, Good, ListSpec, Look, Reading, Restrictions, Revoked, Round, SourceError, Wanted, listing};
use crate::tls::KeyPair;

/// The last good content of everything that a configuration names.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub lists: Allowlists,
    pub restrictions: Restrictions,
    pins: Cache<PinFile>,
    bundles: Cache<Bundle>,
    pairs: Cache<Pair>,
}

/// What all sources hold, as far as it is good.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// By principal of the plan: what proves it.
    pub credentials: Vec<Vec<(Credential, Provenance)>>,
    /// The pinned certificates of those who stand above operators.
    pub above: Vec<Arc<Certificate>>,
    /// By `[[allowlist]]`.
    pub lists: Vec<Look>,
    /// By listener; `None` where one of its certificates was never good.
    pub key_pairs: Vec<Option<Vec<KeyPair>>>,
    /// The monitor's; `None` where it has none, or none that was ever good.
    pub monitor: Option<KeyPair>,
    /// By upstream; `None` where one of its files was never good.
    pub upstream_tls: Vec<Option<crate::upstream::Tls>>,
    pub restrictions: Found,
    /// What is wrong, with the last good content in its place or nobody.
    pub problems: Vec<Problem>,
    /// What restricts, and was never known: nothing may be put in force without it.
    pub unknown: Vec<Problem>,
    /// The same of what is fetched: put in force without it at a start only.
    pub unfetched: Vec<Problem>,
    pub warnings: Vec<Problem>,
    pub sources: Vec<SourceStatus>,
    pub expiries: Vec<CertificateExpiry>,
    /// How many days before an end notice of it is given, where its principal does not say.
    pub expiry_notice: Vec<u32>,
    pub(super) parts: Vec<Part>,
}

/// One source, for the status page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SourceStatus {
    pub name: String,
    /// Since the epoch; `None`: never.
    pub last_good: Option<Duration>,
    pub error: Option<String>,
}

/// One look, with all that it needs and finds.
pub struct Gathering<'g, 's> {
    pub plan: &'g Plan,
    pub sources: &'g mut Sources,
    pub round: &'g mut Round<'s>,
    pub found: Gathered,
}

impl Sources {
    /// Reads everything that a plan names. `revoked`: what the configuration itself says of revocation.
    /// `fetches`: hears what is to be fetched before that is looked at.
    pub fn gather(
        &mut self,
        plan: &Plan,
        revoked: &Revoked,
        round: &mut Round<'_>,
        now: Instant,
        fetches: impl FnOnce(Vec<Wanted>, &Restrictions),
    ) -> Gathered {
        let found = Gathered { expiry_notice: plan.file.expiry_notice.clone(), ..Gathered::default() };
        let mut gathering = Gathering { plan, sources: self, round, found };
        for principal in 0..plan.principals.len() {
            gathering.principal(principal);
        }
        for list in 0..plan.allowlists.len() {
            gathering.list(list);
        }
        for listener in &plan.file.listeners {
            gathering.listener(&listener.certificates);
        }
        gathering.monitor();
        for upstream in 0..plan.file.upstreams.len() {
            gathering.upstream(upstream);
        }
        fetches(gathering.fetches(), &gathering.sources.restrictions);
        gathering.restrictions(revoked, now);
        gathering.found
    }

    /// Forgets what the rounds since did not ask for.
    pub fn end(&mut self, round: &Round<'_>, plan: &Plan) {
        let specs: Vec<(&Path, &str)> =
            plan.allowlists.iter().zip(&plan.file.allowlists).map(|(list, entry)| (list.path.as_path(), entry.prefix.as_str())).collect();
        self.lists.end(round, &specs);
        self.pins.end(round);
        self.bundles.end(round);
        self.pairs.end(round);
    }
}

impl Gathered {
    /// Tells one content of all sources from another.
    pub fn identity(&self) -> Fingerprint {
        Part::identity(&self.parts)
    }
}

impl Gathering<'_, '_> {
    fn principal(&mut self, index: usize) {
        let plan = self.plan;
        let (planned, entry) = (&plan.principals[index], &plan.file.principals[index]);
        let until = planned.principal.terms.valid_until.map(|until| until.as_secs());
        self.expires_of(&planned.principal, ("principal", planned.principal.name.as_str()), until);
        let mut credentials: Vec<(Credential, Provenance)> = Vec::new();
        for source in &planned.certificates {
            self.pins_of(planned, source, &mut credentials);
        }
        let own = |span| plan.written(span);
        credentials.extend(entry.fingerprints.iter().map(|at| (Credential::Pin(Pin::from(at.value)), own(at.span))));
        credentials.extend(entry.spki_pins.iter().map(|at| (Credential::SpkiPin(at.value), own(at.span))));
        for (authority, entry) in planned.authorities.iter().zip(&entry.authorities) {
            if let Some(authority) = self.authority(authority, entry.priority, entry.require_client_eku, entry.span) {
                credentials.push((Credential::Authority(authority), own(entry.span)));
            }
        }
        self.found.credentials.push(credentials);
    }

    fn pins_of(&mut self, planned: &PlannedPrincipal, source: &Planned, credentials: &mut Vec<(Credential, Provenance)>) {
        let allow_any_eku = planned.principal.terms.allow_any_eku;
        let above = planned.principal.terms.clearance.is_above_operators();
        // In a label: principals by name only where the monitor may tell names.
        let name = match self.plan.file.monitor.as_ref().is_some_and(|monitor| monitor.names) {
            true => planned.principal.name.to_string(),
            false => planned.principal.id.to_string(),
        };
        match source {
            Planned::File(path, span) => {
                let password = planned.password_file.as_deref();
                let paths: Vec<&Path> = [path.as_path()].into_iter().chain(password).collect();
                let label = format!("{allow_any_eku} {above}");
                let read = |readings: &[Reading]| read_pins(readings, allow_any_eku, above);
                let (good, error) = self.sources.pins.get(self.round, &paths, &label, MAX_FILE, read);
                let Some(good) = self.settle(path, *span, good, error) else { return };
                self.found.above.extend(good.value.certificates.iter().cloned());
                self.warn(path, &good.value.warnings);
                self.expires_of(&planned.principal, ("pin", &name), good.value.ends);
                let file: Arc<str> = path.display().to_string().into();
                credentials.extend(
                    good.value.pins.iter().map(|(pin, line)| (Credential::Pin(*pin), Provenance { file: Arc::clone(&file), line: *line })),
                );
            }
            Planned::Inline(certificates, span) => {
                for certificate in certificates.iter().map(|located| &located.value) {
                    match Pin::unsuitable(certificate, allow_any_eku) {
                        Some(why) => {
                            self.found.problems.push(self.plan.file.problem(*span, format!("a certificate that cannot be a pin: {why}")))
                        }
                        None => {
                            credentials.push((Credential::Pin(Pin::from(certificate)), self.plan.written(*span)));
                            self.found.above.extend(above.then(|| Arc::new(certificate.clone())));
                        }
                    }
                    if let Some(why) = listing::validity(certificate, clock::wall()) {
                        self.found.warnings.push(self.plan.file.problem(*span, why).warning());
                    }
                    self.expires_of(&planned.principal, ("pin", &name), Some(certificate.not_after));
                }
            }
        }
    }

    fn authority(&mut self, planned: &PlannedAuthority, priority: u32, require_client_eku: bool, span: Span) -> Option<Arc<Authority>> {
        let mut certificates: Vec<(Arc<Certificate>, Provenance)> = Vec::new();
        for source in &planned.certificates {
            match source {
                Planned::File(path, span) => {
                    let (good, error) = self.sources.bundles.get(self.round, &[path], "", MAX_FILE, read_bundle);
                    let Some(good) = self.settle(path, *span, good, error) else { continue };
                    let file: Arc<str> = path.display().to_string().into();
                    let at = |line| Provenance { file: Arc::clone(&file), line };
                    certificates.extend(good.value.iter().map(|(certificate, line)| (Arc::clone(certificate), at(*line))));
                }
                Planned::Inline(found, span) => {
                    let at = self.plan.written(*span);
                    certificates.extend(found.iter().map(|located| (Arc::new(located.value.clone()), at.clone())));
                }
            }
        }
        if certificates.is_empty() {
            return None;
        }
        for (certificate, at) in &certificates {
            self.expires("anchor", &at.file, Some(certificate.not_after));
            // Those that ended already are for `check_anchors`.
            if let Some(why) = ended(certificate.not_after).filter(|_| certificate.not_after > clock::wall().as_secs()) {
                self.found.warnings.push(Problem::in_file(&at.file, at.line, format!("this trust anchor {why}")).warning());
            }
        }
        let places: Vec<Provenance> = certificates.iter().map(|(_, at)| at.clone()).collect();
        let certificates: Vec<_> = certificates.into_iter().map(|(certificate, _)| certificate).collect();
        let authority = Authority { certificates, bounds: planned.bounds.clone(), priority, require_client_eku };
        self.check_anchors(&authority, &places, span);
        Some(Arc::new(authority))
    }

    /// Says which anchors anchor nothing. Those out of time come back, or were good; they admit nobody meanwhile.
    fn check_anchors(&mut self, authority: &Authority, places: &[Provenance], span: Span) {
        let problems = authority.problems(now(), self.plan.file.limits.clock_skew.as_secs());
        let all = problems.len() == authority.certificates.len();
        for problem in &problems {
            let Some(at) = places.get(problem.index) else { continue };
            let said = Problem::in_file(&at.file, at.line, format!("this certificate {}: it anchors nothing", problem.kind.describe()));
            if problem.kind.is_of_time() { self.found.warnings.push(said.warning()) } else { self.found.problems.push(said) }
        }
        if all && problems.iter().all(|problem| problem.kind.is_of_time()) {
            let help = "renew the bundle: nobody of this authority is admitted";
            self.found.problems.push(self.plan.file.problem(span, "no trust anchor of this authority is valid now").help(help));
        }
    }

    fn list(&mut self, index: usize) {
        let (planned, entry) = (&self.plan.allowlists[index], &self.plan.file.allowlists[index]);
        let spec = ListSpec {
            path: &planned.path,
            prefix: &entry.prefix,
            terms: &planned.terms,
            share: entry.max_shrink.share,
            min: entry.max_shrink.min,
        };
        let mut look = self.sources.lists.look(self.round, spec);
        for error in &look.errors {
            let problem = self.problem(&planned.path, entry.path.span, error, look.before.is_some());
            self.found.problems.push(problem);
        }
        self.found.warnings.extend(look.warnings.iter().map(|error| from_source(error).warning()));
        let error = look.errors.first().map(ToString::to_string);
        self.found.sources.push(SourceStatus { name: planned.path.display().to_string(), last_good: look.last_good, error });
        let name = planned.path.display().to_string();
        self.found.parts.push(Part { name, hash: look.hash, files: std::mem::take(&mut look.changed) });
        self.ends_of_list(&planned.path, &look.ends);
        self.found.lists.push(look);
    }

    fn listener(&mut self, certificates: &[At<CertificateFiles>]) {
        let pairs: Vec<Option<KeyPair>> = certificates.iter().map(|files| self.pair(files, "server")).collect();
        self.found.key_pairs.push(pairs.into_iter().collect());
    }

    fn monitor(&mut self) {
        let Some(monitor) = &self.plan.file.monitor else { return };
        match &monitor.certificate {
            Some(files) => self.found.monitor = self.pair(files, "server"),
            None if monitor.address.value.is_exposed() => {
                let said = self.plan.file.problem(monitor.address.span, "the monitor speaks plain HTTP where other machines can hear it");
                let help = "bind it to loopback or a unix socket, or give it a `certificate`";
                self.found.warnings.push(said.warning().help(help));
            }
            None => {}
        }
    }

    fn pair(&mut self, files: &At<CertificateFiles>, kind: &'static str) -> Option<KeyPair> {
        let file = &self.plan.file;
        let (paths, is_pfx): (Vec<PathBuf>, bool) = match &files.value {
            CertificateFiles::Pem { cert, key, password } => {
                ([cert, key].into_iter().chain(password).map(|path| file.resolve(path)).collect(), false)
            }
            CertificateFiles::Pfx { pfx, password } => ([pfx].into_iter().chain(password).map(|path| file.resolve(path)).collect(), true),
        };
        let borrowed: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        let (good, error) =
            self.sources.pairs.get(self.round, &borrowed, &is_pfx.to_string(), MAX_KEY, |readings| read_pair(readings, is_pfx));
        let key = &paths[usize::from(!is_pfx)];
        let good = self.settle(&paths[0], files.span, good, error)?;
        if good.value.exposed {
            let why = format!("{}: this key is readable for more than its owner", key.display());
            self.found.warnings.push(file.problem(files.span, why).warning().help("chmod 600, if its group is not meant to read it"));
        }
        if let Some(why) = ended(good.value.pair.not_after) {
            self.found.warnings.push(file.problem(files.span, format!("{}: our certificate {why}", paths[0].display())).warning());
        }
        self.expires(kind, &paths[0].display().to_string(), Some(good.value.pair.not_after));
        Some(good.value.pair.clone())
    }

    fn upstream(&mut self, index: usize) {
        let plan = self.plan;
        let Some(entry) = &plan.file.upstreams[index].tls else {
            self.found.upstream_tls.push(Some(crate::upstream::Tls::default()));
            return;
        };
        let mut whole = true;
        let mut tls = crate::upstream::Tls {
            server_name: entry.server_name.as_ref().map(|name| name.value.as_str().into()),
            ..crate::upstream::Tls::default()
        };
        if let Some(ca) = &entry.ca {
            match self.server_anchors(ca, "upstream_ca") {
                Some(anchors) => tls.ca = anchors,
                None => whole = false,
            }
        }
        if let (Some(cert), Some(key)) = (&entry.client_cert, &entry.client_key) {
            let files = CertificateFiles::Pem { cert: cert.value.clone(), key: key.value.clone(), password: None };
            match self.pair(&At { value: files, span: cert.span }, "upstream_client") {
                Some(pair) => tls.client = Some(pair.certified),
                None => whole = false,
            }
        }
        self.found.upstream_tls.push(whole.then_some(tls));
    }

    /// Reads what servers that we call are verified by.
    pub(super) fn server_anchors(&mut self, ca: &At<String>, kind: &'static str) -> Option<Vec<CertificateDer<'static>>> {
        let path = self.plan.file.resolve(&ca.value);
        let (good, error) = self.sources.bundles.get(self.round, &[&path], "upstream", MAX_FILE, |readings| {
            let found = files::certificates(&readings[0].bytes, None).map_err(|error| (0, error))?;
            Ok(found.into_iter().map(|located| (Arc::new(located.value), located.line)).collect())
        });
        let good = self.settle(&path, ca.span, good, error)?;
        self.expires(kind, &path.display().to_string(), good.value.iter().map(|(ca, _)| ca.not_after).min());
        Some(good.value.iter().map(|(ca, _)| CertificateDer::clone(&ca.der)).collect())
    }

    /// Notes what is wrong with a unit, and returns what it may be used for.
    fn settle<T>(&mut self, path: &Path, span: Span, good: Option<Good<T>>, error: Option<SourceError>) -> Option<Good<T>> {
        if let Some(error) = &error {
            let problem = self.problem(path, span, error, good.is_some());
            self.found.problems.push(problem);
        }
        let name = path.display().to_string();
        if !self.found.sources.iter().any(|source| source.name == name) {
            let error = error.map(|error| error.to_string());
            self.found.sources.push(SourceStatus { name, last_good: good.as_ref().map(|good| good.read), error });
        }
        self.found.parts.push(Part::of(path.display().to_string(), good.as_ref().map(|good| good.hash)));
        good
    }

    /// A file that is not there at all is a mistake where it is named; what is wrong inside it is said of the file.
    fn problem(&self, path: &Path, span: Span, error: &SourceError, has_last_good: bool) -> Problem {
        if has_last_good {
            return from_source(error).help("its last good content stays in force");
        }
        match error.line == 0 && *error.file == *path.display().to_string() {
            true => self.plan.file.problem(span, error.to_string()),
            false => from_source(error),
        }
    }

    fn warn(&mut self, path: &Path, warnings: &[(u32, String)]) {
        let file: Arc<str> = path.display().to_string().into();
        self.found.warnings.extend(warnings.iter().map(|(line, why)| Problem::in_file(&file, *line, why.clone()).warning()));
    }
}

/// Tells a source's error as a problem of its file.
pub fn from_source(error: &SourceError) -> Problem {
    Problem::in_file(&error.file, error.line, error.why.clone())
}

fn ended(not_after: u64) -> Option<String> {
    let left = not_after.checked_sub(clock::wall().as_secs());
    match left {
        None => Some("has expired".to_owned()),
        Some(left) if left < SOON => Some(format!("expires in {} days", left / 86_400)),
        Some(_) => None,
    }
}

pub(super) fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(clock::wall().as_secs()))
}

const MAX_FILE: u64 = 64 << 20;
const MAX_KEY: u64 = 1 << 20;
/// When the end of our own certificates is worth a warning.
const SOON: u64 = 14 * 86_400;
