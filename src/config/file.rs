//! What operators write, as data: every table of the configuration file, with the place of whatever may yet prove wrong. Nothing here has
//! looked at another file; `compile` does. Paths stand as written, relative to the directory of the configuration file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use ipnet::IpNet;
use rustls_pki_types::UnixTime;
use toml::de::DeTable;

use super::crls::CrlEntry;
use super::error::{At, Document, Problem, Span};
use super::reader::Reader;
use super::table::Table;
use super::{cross_check, people, sections, ways};
use crate::admission::{Access, BootstrapMode, Clearance, RouteAuth, Surface};
use crate::challenge;
use crate::identity;
use crate::limits;
use crate::listener::BindAddress;
use crate::log;
use crate::pki::{Fingerprint, SpkiPin};
use crate::tls::acceptor::ClientAuth;

/// The whole file.
#[derive(Debug)]
pub struct ConfigFile {
    pub document: Arc<Document>,
    /// Where relative paths start.
    pub directory: PathBuf,
    pub listeners: Vec<Listener>,
    pub monitor: Option<Monitor>,
    pub admin_fingerprints: Vec<At<Fingerprint>>,
    /// What the certificates of admin listeners may begin, as long as there was no admin.
    pub server_certificate: At<BootstrapMode>,
    pub allowlists: Vec<AllowlistEntry>,
    pub principals: Vec<PrincipalEntry>,
    pub routes: Vec<RouteEntry>,
    pub upstreams: Vec<UpstreamEntry>,
    pub identity: identity::Settings,
    pub revocation: RevocationEntry,
    pub trust: TrustEntry,
    pub audit: log::Audit,
    /// `[audit] expiry_notice`: how many days before an end.
    pub expiry_notice: Vec<u32>,
    pub store: Store,
    pub token: challenge::Settings,
    /// 0: one a core.
    pub workers: usize,
    pub limits: Limits,
}

/// `[[listener]]`
#[derive(Debug)]
pub struct Listener {
    pub name: At<String>,
    pub address: At<BindAddress>,
    pub client_auth: ClientAuth,
    pub serve: Vec<Surface>,
    /// The hosts of our own surfaces, where `proxy` is served beside them.
    pub control_hosts: Vec<At<String>>,
    pub certificates: Vec<At<CertificateFiles>>,
    pub min_tls_13: bool,
    pub groups: Vec<At<String>>,
    pub ciphers: Vec<At<String>>,
    pub strict_sni: bool,
    pub send_ca_names: bool,
    pub http2: bool,
    pub resumption: bool,
    pub proxy_protocol: bool,
    /// Bearer tokens of ours count here.
    pub tokens: bool,
}

/// A certificate of ours with its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CertificateFiles {
    Pem { cert: String, key: String, password: Option<String> },
    Pfx { pfx: String, password: Option<String> },
}

/// `[monitor]`
#[derive(Debug)]
pub struct Monitor {
    pub address: At<BindAddress>,
    /// `None`: plain HTTP.
    pub certificate: Option<At<CertificateFiles>>,
    /// Principal names in labels and `/status`; else ids.
    pub names: bool,
}

/// `[[allowlist]]`
#[derive(Debug)]
pub struct AllowlistEntry {
    pub path: At<String>,
    pub prefix: String,
    pub terms: TermsEntry,
    pub max_shrink: MaxShrink,
}

/// How much of a source may vanish at once: more than this share of it, and more than `min`, needs force.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaxShrink {
    pub share: f64,
    pub min: u64,
}

/// `[[principal]]`
#[derive(Debug)]
pub struct PrincipalEntry {
    pub span: Span,
    pub name: At<String>,
    pub id: Option<At<String>>,
    pub display_name: Option<String>,
    pub terms: TermsEntry,
    pub certificates: Vec<At<CertificateSource>>,
    /// Opens the PFX files among `certificates`.
    pub password_file: Option<At<String>>,
    pub fingerprints: Vec<At<Fingerprint>>,
    pub spki_pins: Vec<At<SpkiPin>>,
    pub authorities: Vec<AuthorityEntry>,
    pub revoked_ids: Vec<At<String>>,
}

/// Where certificates are: in a file, or in the configuration itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    File(String),
    Inline(String),
}

/// `[principal.authority]`
#[derive(Debug)]
pub struct AuthorityEntry {
    pub span: Span,
    pub certificates: Vec<At<CertificateSource>>,
    pub any: bool,
    pub common_names: Option<Vec<At<String>>>,
    pub dns_sans: Option<Vec<At<String>>>,
    pub email_sans: Option<Vec<At<String>>>,
    pub uri_sans: Option<Vec<At<String>>>,
    pub organizational_units: Option<Vec<At<String>>>,
    pub extensions: Option<Vec<At<String>>>,
    pub priority: u32,
    pub require_client_eku: bool,
}

/// What allowlists and principals have in common: conditions, clearance, permissions, identifier.
#[derive(Debug)]
pub struct TermsEntry {
    pub enabled: bool,
    pub valid_from: Option<UnixTime>,
    pub valid_until: Option<UnixTime>,
    pub client_ips: Option<Vec<IpNet>>,
    pub gateway_ips: Vec<IpNet>,
    pub cors_origins: Vec<At<String>>,
    pub serve: Option<Vec<Surface>>,
    pub clearance: Clearance,
    pub permissions: Vec<PermissionEntry>,
    pub identifier: Option<At<String>>,
    pub audit_claims: Vec<At<String>>,
    pub allow_any_eku: bool,
    pub require_crl_dp: bool,
    pub token_ttl: Option<Duration>,
    /// In days.
    pub expiry_notice: Vec<u32>,
    pub description: Option<String>,
}

/// `{ routes, access, when }`
#[derive(Debug)]
pub struct PermissionEntry {
    pub routes: Vec<At<String>>,
    /// `None`: deny.
    pub access: Option<Access>,
    /// Attribute, and globs for it.
    pub when: Vec<(At<String>, Vec<At<String>>)>,
}

/// `[[route]]`
#[derive(Debug)]
pub struct RouteEntry {
    pub name: At<String>,
    /// The whole table's header: ties are shown there.
    pub span: Span,
    pub hosts: Vec<At<String>>,
    pub path: At<String>,
    pub upstream: At<String>,
    pub auth: RouteAuth,
    pub csrf: bool,
    pub upgrades: Vec<String>,
    pub rules: Vec<RuleEntry>,
    pub case_sensitive: bool,
    pub keep_encoded_slash: bool,
    pub judge_without_parameters: bool,
}

/// `{ methods, path, access }`
#[derive(Debug)]
pub struct RuleEntry {
    pub methods: Vec<Method>,
    pub path: At<String>,
    pub access: Access,
}

/// `[[upstream]]`
#[derive(Debug)]
pub struct UpstreamEntry {
    pub name: At<String>,
    pub endpoints: Vec<At<String>>,
    pub tls: Option<UpstreamTls>,
}

/// `tls = { … }` of an upstream.
#[derive(Debug, Default)]
pub struct UpstreamTls {
    pub span: Span,
    pub ca: Option<At<String>>,
    pub client_cert: Option<At<String>>,
    pub client_key: Option<At<String>>,
    pub server_name: Option<At<String>>,
}

/// `[revocation]`
#[derive(Debug)]
pub struct RevocationEntry {
    pub ids: Vec<At<String>>,
    pub files: Vec<At<String>>,
    pub crls: Vec<At<CrlEntry>>,
    /// `crl_stale = "deny"`
    pub stale_denies: bool,
    pub require_crl: bool,
}

/// `[trust]`
#[derive(Debug, Default)]
pub struct TrustEntry {
    pub proxy_from: Vec<IpNet>,
    pub forwarded_from: Vec<IpNet>,
    /// `header = "forwarded"`, instead of X-Forwarded-For.
    pub forwarded_header: bool,
}

/// `[store]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The state directory; `None` for `path = ""`: nothing is kept.
    pub path: Option<PathBuf>,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub handshake: Duration,
    pub head: Duration,
    pub idle: Duration,
    pub body_progress: Duration,
    pub connect: Duration,
    pub response: Duration,
    pub drain: Duration,
    pub head_bytes: u64,
    /// 0: no limit.
    pub body_bytes: u64,
    pub connections: u64,
    pub handshakes: u64,
    /// Zero: no limit.
    pub max_connection_age: Duration,
    pub clock_skew: Duration,
    /// Log lines about denials from one source in a second.
    pub denial_lines: u64,
    /// Requests a second; 0: no limit.
    pub principal_rate: u64,
    /// 0: no limit.
    pub principal_concurrency: u64,
    /// Calls a second; 0: no limit.
    pub challenge_rate: u64,
}

/// Every (table, key) that the reader knows.
pub type Keys = BTreeSet<(String, &'static str)>;

impl ConfigFile {
    /// Reads a document whole: the file, or everything that is wrong with it.
    pub fn read(document: Arc<Document>, directory: &Path) -> Result<Self, Vec<Problem>> {
        Self::read_with_keys(document, directory).0
    }

    /// Reads a document, and tells which keys were looked for.
    pub fn read_with_keys(document: Arc<Document>, directory: &Path) -> (Result<Self, Vec<Problem>>, Keys) {
        let reader = Reader::new(&document);
        let (root, errors) = DeTable::parse_recoverable(&document.text);
        for error in &errors {
            // Before anything else, and without guessing: after a syntax error a missing key may only be a lost one.
            let end = document.text.len();
            reader.syntax(error.span().map_or(Span { start: end, end }, Span::from), error.message());
        }
        let file = read(&reader, &reader.root(root.get_ref()), document.clone(), directory);
        reader.check_files(directory);
        let (problems, keys) = reader.finish();
        match file {
            Some(file) if problems.is_empty() => (Ok(file), keys),
            _ => (Err(problems), keys),
        }
    }

    /// Returns a path of the file as it is opened.
    pub fn resolve(&self, path: &str) -> PathBuf {
        self.directory.join(path)
    }

    /// Makes an error about a stretch of the file.
    pub fn problem(&self, span: Span, message: impl Into<String>) -> Problem {
        self.document.problem(span, message)
    }
}

/// Reads every table, whatever is wrong with the others.
fn read(reader: &Reader<'_>, root: &Table<'_>, document: Arc<Document>, directory: &Path) -> Option<ConfigFile> {
    let listeners = root.tables("listener").iter().map(sections::listener).collect::<Vec<_>>();
    let monitor = root.table("monitor").map(|table| sections::monitor(&table));
    let (admin_fingerprints, server_certificate) = sections::bootstrap(&root.optional("bootstrap"));
    let allowlists = root.tables("allowlist").iter().map(people::allowlist).collect::<Vec<_>>();
    let principals = root.tables("principal").iter().map(people::principal).collect::<Vec<_>>();
    let routes = root.tables("route").iter().map(ways::route).collect::<Vec<_>>();
    let upstreams = root.tables("upstream").iter().map(ways::upstream).collect::<Vec<_>>();
    let identity = root.table("identity").map(|table| sections::identity(&table)).unwrap_or_default();
    let revocation = sections::revocation(&root.optional("revocation"));
    let trust = sections::trust(&root.optional("trust"));
    let (audit, expiry_notice) = sections::audit(&root.optional("audit"), directory);
    let store = sections::store(&root.optional("store"), directory);
    let workers = sections::runtime(&root.optional("runtime"));
    let limits = sections::limits(&root.optional("limits"));
    let token = sections::token(&root.optional("token"));
    root.finish();
    if !root.has("listener") {
        reader.missing(Span::default(), "there is no [[listener]]", Some("add one: name, address, certificates".to_owned()));
    }
    let file = ConfigFile {
        document,
        directory: directory.to_owned(),
        listeners: whole(listeners)?,
        monitor: monitor.map_or(Some(None), |monitor| monitor.map(Some))?,
        admin_fingerprints,
        server_certificate,
        allowlists: whole(allowlists)?,
        principals: whole(principals)?,
        routes: whole(routes)?,
        upstreams: whole(upstreams)?,
        identity,
        revocation,
        trust,
        audit,
        expiry_notice,
        store,
        token,
        workers,
        limits,
    };
    cross_check::check(&file, reader);
    Some(file)
}

/// All of them, or none: names of a table that could not be read would be called unknown elsewhere.
fn whole<T>(entries: Vec<Option<T>>) -> Option<Vec<T>> {
    entries.into_iter().collect()
}

impl Default for Limits {
    /// Spells the compiled ones: a default stands in one place.
    fn default() -> Self {
        let limits = limits::Limits::default();
        let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        Self {
            handshake: limits.handshake,
            head: limits.head,
            idle: limits.idle,
            body_progress: limits.body_progress,
            connect: limits.connect,
            response: limits.response,
            drain: limits.drain,
            head_bytes: number(limits.head_bytes),
            body_bytes: limits.body_bytes.unwrap_or(0),
            connections: number(limits.connections),
            handshakes: number(limits.handshakes),
            max_connection_age: limits.max_connection_age.unwrap_or_default(),
            clock_skew: Duration::ZERO,
            denial_lines: limits.denial_lines.into(),
            principal_rate: limits.principal_rate.into(),
            principal_concurrency: limits.principal_concurrency.into(),
            challenge_rate: limits.challenge_rate.into(),
        }
    }
}
