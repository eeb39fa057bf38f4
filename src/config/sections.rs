//! Reads the tables about machinery: listeners and settings; `ways` has routes and upstreams. Each reads all of its keys
//! before it gives up, so that everything wrong is said at once.

use std::path::Path;
use std::time::Duration;

use rustls_pki_types::ServerName;

use super::crls;
use super::error::At;
use super::file::{CertificateFiles, Limits, Listener, Monitor, RevocationEntry, Store, TrustEntry};
use super::table::Table;
use super::value;
use super::words::{LATER, Words, one_of};
use crate::admission::{Access, BootstrapMode, Surface, Terms};
use crate::challenge::{self, settings::LONGEST_TTL};
use crate::identity::{self, Dialect};
use crate::log::{self, Audit, Destination, Format, Refusals};
use crate::pki::Fingerprint;
use crate::tls::acceptor::ClientAuth;

pub(super) fn listener(table: &Table<'_>) -> Option<Listener> {
    let name = table.required("name", table.parsed("name", value::plain_name));
    let address = table.required("address", table.parsed("address", value::address));
    let client_auth = table.word("client_auth", &[("require", Ok(ClientAuth::Require)), ("request", Ok(ClientAuth::Request))]);
    let serve = table.words("serve", SURFACES);
    if serve.as_ref().is_some_and(|serve| serve.value.is_empty()) {
        table.error(
            "serve",
            "`serve` is an empty list: this listener would serve nothing",
            Some("leave it out for [\"proxy\"]".to_owned()),
        );
    }
    let control_hosts = table.list("control_hosts", exact_host);
    let certificates: Vec<_> = table.tables("certificates").iter().map(certificate_files).collect();
    if !table.has("certificates") {
        table.missing("certificates", Some("add certificates = [{ cert = \"…\", key = \"…\" }]".to_owned()));
    } else if certificates.is_empty() {
        table.error("certificates", "there is no certificate to serve with", None);
    }
    let min_tls = table.word("min_tls", &[("1.2", Ok(false)), ("1.3", Ok(true))]);
    let groups = table.full_list("groups", "leave it out for the defaults", value::printable);
    let ciphers = table.full_list("ciphers", "leave it out for the defaults", value::printable);
    let strict_sni = table.flag("strict_sni").unwrap_or(false);
    let send_ca_names = table.flag("send_ca_names").unwrap_or(false);
    let http2 = table.flag("http2").unwrap_or(true);
    let resumption = table.word("resumption", ON_OFF);
    let proxy_protocol = table.word("proxy_protocol", &[("off", Ok(false)), ("require", Ok(true))]);
    let tokens = table.flag("tokens").unwrap_or(false);
    table.not_yet("http3");
    table.finish();
    Some(Listener {
        name: name?,
        address: address?,
        client_auth: client_auth.map_or(ClientAuth::Require, |word| word.value),
        serve: serve.map_or_else(|| vec![Surface::Proxy], |serve| serve.value.into_iter().map(|surface| surface.value).collect()),
        control_hosts: control_hosts.map(|list| list.value).unwrap_or_default(),
        certificates: certificates.into_iter().collect::<Option<_>>()?,
        min_tls_13: min_tls.is_some_and(|word| word.value),
        groups: groups.map(|list| list.value).unwrap_or_default(),
        ciphers: ciphers.map(|list| list.value).unwrap_or_default(),
        strict_sni,
        send_ca_names,
        http2,
        resumption: resumption.is_none_or(|word| word.value),
        proxy_protocol: proxy_protocol.is_some_and(|word| word.value),
        tokens,
    })
}

/// Reads `{ cert, key }` or `{ pfx, password_file }`.
fn certificate_files(table: &Table<'_>) -> Option<At<CertificateFiles>> {
    let cert = table.file("cert");
    let key = table.file("key");
    let pfx = table.file("pfx");
    let password = table.file("password_file").map(|path| path.value);
    table.finish();
    let value = match (cert, key, pfx) {
        (Some(cert), Some(key), None) => CertificateFiles::Pem { cert: cert.value, key: key.value, password },
        (None, None, Some(pfx)) => CertificateFiles::Pfx { pfx: pfx.value, password },
        _ => {
            let help = "write { cert = \"…\", key = \"…\" } or { pfx = \"…\", password_file = \"…\" }".to_owned();
            table.reader().error(table.span, "a certificate is a `cert` with its `key`, or a `pfx`", Some(help));
            return None;
        }
    };
    Some(At { value, span: table.span })
}

pub(super) fn monitor(table: &Table<'_>) -> Option<Monitor> {
    let address = table.required("address", table.parsed("address", value::address));
    // Not compiled without its certificate where one was meant: half of it is no reason to speak plainly.
    let certificate = table.table("certificate").map(|table| certificate_files(&table));
    let names = table.flag("names").unwrap_or(false);
    table.finish();
    Some(Monitor { address: address?, certificate: certificate.map_or(Some(None), |files| files.map(Some))?, names })
}

pub(super) fn bootstrap(table: &Table<'_>) -> (Vec<At<Fingerprint>>, At<BootstrapMode>) {
    let words: &Words<BootstrapMode> = &[
        ("until-first-admin", Ok(BootstrapMode::FirstAdmin)),
        ("always", Ok(BootstrapMode::Always)),
        ("never", Ok(BootstrapMode::Closed)),
    ];
    let mode = table.word("server_certificate", words).unwrap_or(At { value: BootstrapMode::FirstAdmin, span: table.span });
    let fingerprints = table.list("admin_fingerprints", fingerprint);
    table.finish();
    (fingerprints.map(|list| list.value).unwrap_or_default(), mode)
}

/// Reads `sha256:HEX`, or 64 hex digits.
pub(super) fn fingerprint(text: &str) -> Result<Fingerprint, String> {
    text.parse().map_err(|_| format!("`{text}` is no fingerprint: write \"sha256:\" and 64 hex digits"))
}

pub(super) fn identity(table: &Table<'_>) -> identity::Settings {
    let headers = table.words("headers", DIALECTS);
    let xfcc_cert = table.flag("xfcc_cert").unwrap_or(false);
    let xfcc_chain = table.flag("xfcc_chain").unwrap_or(false);
    table.not_yet("assertion");
    table.finish();
    let headers = headers.map(|list| list.value).unwrap_or_default();
    for (at, dialect) in headers.iter().enumerate() {
        if headers[..at].iter().any(|earlier| earlier.value == dialect.value) {
            table.reader().error(dialect.span, "this dialect stands twice", None);
        }
    }
    let dialects: Vec<Dialect> = headers.into_iter().map(|dialect| dialect.value).collect();
    for (key, on) in [("xfcc_cert", xfcc_cert), ("xfcc_chain", xfcc_chain)] {
        if on && !dialects.contains(&Dialect::Xfcc) {
            table.error(key, format!("`{key}` without \"xfcc\" among the headers"), None);
        }
    }
    identity::Settings { dialects, xfcc_cert, xfcc_chain }
}

pub(super) fn revocation(table: &Table<'_>) -> RevocationEntry {
    let ids = table.list("ids", value::printable);
    let files = table.list("files", value::printable);
    files.iter().flat_map(|files| &files.value).for_each(|file| table.names_file(&file.value, file.span));
    let crls = crls::read(table);
    let crl_stale = table.word("crl_stale", &[("deny", Ok(true)), ("warn", Ok(false))]);
    let require_crl = table.flag("require_crl").unwrap_or(false);
    table.finish();
    RevocationEntry {
        ids: ids.map(|list| list.value).unwrap_or_default(),
        files: files.map(|list| list.value).unwrap_or_default(),
        crls,
        stale_denies: crl_stale.is_none_or(|word| word.value),
        require_crl,
    }
}

pub(super) fn trust(table: &Table<'_>) -> TrustEntry {
    let proxy_from = table.list("proxy_from", value::network);
    let forwarded_from = table.list("forwarded_from", value::network);
    let header = table.word("header", &[("x-forwarded-for", Ok(false)), ("forwarded", Ok(true))]);
    table.finish();
    TrustEntry {
        proxy_from: plain(proxy_from),
        forwarded_from: plain(forwarded_from),
        forwarded_header: header.is_some_and(|word| word.value),
    }
}

/// Returns what is logged where, and how many days before an end notice of it is given.
pub(super) fn audit(table: &Table<'_>, directory: &Path) -> (Audit, Vec<u32>) {
    let format = table.word("format", &[("json", Ok(Format::Json)), ("combined", Ok(Format::Combined))]);
    let place = |text: &str| {
        Ok(match value::printable(text)?.as_str() {
            "off" => Destination::Off,
            "stderr" => Destination::Stderr,
            "stdout" => Destination::Stdout,
            path => Destination::File(directory.join(path)),
        })
    };
    let destination = table.parsed("destination", place);
    let refusals = table.flag_or("refusals", place);
    let notice = match table.has("expiry_notice") {
        true => table.numbers("expiry_notice", Terms::EXPIRY_NOTICE),
        false => vec![30, 14, 7, 1],
    };
    table.finish();
    let audit = Audit {
        access: log::Settings {
            format: format.map_or(Format::Json, |word| word.value),
            destination: destination.map_or(Destination::Stdout, |destination| destination.value),
        },
        refusals: match refusals {
            None | Some(Ok(true)) => Refusals::Operational,
            Some(Ok(false) | Err(Destination::Off)) => Refusals::Off,
            Some(Err(own)) => Refusals::Own(own),
        },
    };
    (audit, notice)
}

pub(super) fn store(table: &Table<'_>, directory: &Path) -> Store {
    let path = table.text("path");
    table.finish();
    let path = path.map_or_else(|| DEFAULT_STATE.to_owned(), |path| path.value);
    Store { path: if path.is_empty() { None } else { Some(directory.join(path)) } }
}

pub(super) fn token(table: &Table<'_>) -> challenge::Settings {
    let defaults = challenge::Settings::default();
    let second = Duration::from_secs(1);
    let max_ttl = table.duration("max_ttl", second..=LONGEST_TTL).unwrap_or(defaults.max_ttl);
    let ttl = table.duration("ttl", second..=LONGEST_TTL);
    if ttl.is_some_and(|ttl| ttl > max_ttl) {
        table.error("ttl", "`ttl` is longer than `max_ttl`", Some("raise `max_ttl`, or lower `ttl`".to_owned()));
    }
    let day = Duration::from_secs(86_400);
    let settings = challenge::Settings {
        ttl: ttl.unwrap_or(defaults.ttl.min(max_ttl)),
        max_ttl,
        accept_key_data: table.flag("accept_key_data").unwrap_or(defaults.accept_key_data),
        issuer: table.parsed("issuer", named).map_or(defaults.issuer, |issuer| issuer.value),
        audience: table.parsed("audience", named).map_or(defaults.audience, |audience| audience.value),
        rotate: table.duration("rotate", day..=366 * day).unwrap_or(defaults.rotate),
    };
    table.finish();
    settings
}

/// Reads `iss` or `aud`: a text with nothing odd in it.
fn named(text: &str) -> Result<String, String> {
    match value::printable(text)? {
        text if text.is_empty() || text.len() > 256 => Err("must be 1 to 256 characters".to_owned()),
        text => Ok(text),
    }
}

pub(super) fn runtime(table: &Table<'_>) -> usize {
    let workers = table.number("workers", 0..=1024);
    table.finish();
    workers.and_then(|workers| usize::try_from(workers.value).ok()).unwrap_or(0)
}

pub(super) fn limits(table: &Table<'_>) -> Limits {
    let defaults = Limits::default();
    let brief = Duration::from_millis(10)..=Duration::from_secs(3600);
    let timeout = |key, default| table.duration(key, brief.clone()).unwrap_or(default);
    let long = Duration::ZERO..=Duration::from_secs(366 * 86_400);
    let count = |key, default| table.number(key, 0..=1 << 40).map_or(default, |number: At<u64>| number.value);
    let positive = |key, default| table.number(key, 1..=1 << 40).map_or(default, |number: At<u64>| number.value);
    let limits = Limits {
        handshake: timeout("handshake", defaults.handshake),
        head: timeout("head", defaults.head),
        idle: timeout("idle", defaults.idle),
        body_progress: timeout("body_progress", defaults.body_progress),
        connect: timeout("connect", defaults.connect),
        response: timeout("response", defaults.response),
        drain: table.duration("drain", long.clone()).unwrap_or(defaults.drain),
        head_bytes: table.size("head_bytes", 1 << 10..=16 << 20).unwrap_or(defaults.head_bytes),
        body_bytes: table.size("body_bytes", 0..=1 << 50).unwrap_or(defaults.body_bytes),
        connections: positive("connections", defaults.connections),
        handshakes: positive("handshakes", defaults.handshakes),
        max_connection_age: table.duration("max_connection_age", long).unwrap_or(defaults.max_connection_age),
        clock_skew: table.duration("clock_skew", Duration::ZERO..=Duration::from_secs(300)).unwrap_or(defaults.clock_skew),
        denial_lines: positive("denial_lines", defaults.denial_lines),
        principal_rate: count("principal_rate", defaults.principal_rate),
        principal_concurrency: count("principal_concurrency", defaults.principal_concurrency),
        challenge_rate: count("challenge_rate", defaults.challenge_rate),
    };
    table.finish();
    limits
}

/// Values without their places.
pub(super) fn plain<T>(list: Option<At<Vec<At<T>>>>) -> Vec<T> {
    list.map(|list| list.value.into_iter().map(|entry| entry.value).collect()).unwrap_or_default()
}

/// Reads an exact host or `*.example.org`; in the form that requests are compared in.
pub(super) fn host(text: &str) -> Result<String, String> {
    let lower = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let bare = lower.strip_prefix("*.").unwrap_or(&lower);
    let is_name = ServerName::try_from(bare).is_ok() && !bare.contains('*');
    if !is_name || (bare.len() != lower.len() && bare.parse::<std::net::IpAddr>().is_ok()) {
        return Err(format!("`{text}` is no host: write a name without port, or \"*.example.org\""));
    }
    Ok(lower)
}

/// Reads a host as the authority of a request names it: an IPv6 address in brackets.
fn exact_host(text: &str) -> Result<String, String> {
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<std::net::Ipv6Addr>() {
        return Ok(format!("[{address}]"));
    }
    match host(text) {
        Ok(host) if !host.starts_with('*') => Ok(host),
        Ok(_) | Err(_) => Err(format!("`{text}` is no host: write a name without port and without `*`")),
    }
}

/// Reads one word outside of a table's own keys.
pub(super) fn surface(text: &str) -> Result<Surface, String> {
    one_of(text, USABLE)
}

pub(super) const ON_OFF: &Words<bool> = &[("on", Ok(true)), ("off", Ok(false))];

pub(super) const ACCESS: &Words<Access> = &[("read", Ok(Access::Read)), ("write", Ok(Access::Write)), ("admin", Ok(Access::Admin))];

/// Beside the configuration file.
pub(super) const DEFAULT_STATE: &str = "state";

/// What a listener may serve.
pub(super) const SURFACES: &Words<Surface> =
    &[("proxy", Ok(Surface::Proxy)), ("admin", Ok(Surface::Admin)), ("challenge", Ok(Surface::Challenge)), ("console", Err(LATER))];

/// What a principal may use: all of them, also those that nobody serves yet.
pub(super) const USABLE: &Words<Surface> = &[
    ("proxy", Ok(Surface::Proxy)),
    ("admin", Ok(Surface::Admin)),
    ("challenge", Ok(Surface::Challenge)),
    ("console", Ok(Surface::Console)),
];

const DIALECTS: &Words<Dialect> = &[
    ("xfcc", Ok(Dialect::Xfcc)),
    ("rfc9440", Ok(Dialect::Rfc9440)),
    ("portcullis", Ok(Dialect::Portcullis)),
    ("ingress-nginx", Err(LATER)),
    ("haproxy", Err(LATER)),
    ("traefik", Err(LATER)),
    ("aws", Err(LATER)),
    ("google", Err(LATER)),
];
