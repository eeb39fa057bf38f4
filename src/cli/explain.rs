//! `portcullis explain`: replays a decision offline, from the files, by the same call as the handshake's. Or, in
//! `running.rs`, asks a running proxy.

mod running;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderValue, Method, Uri};
use rustls_pki_types::UnixTime;
use serde::Serialize;
use zeroize::Zeroizing;

use super::remote::Target;
use super::{Exit, Failure, Output, input};
use crate::admin;
use crate::admission::{Candidate, ClientAddress};
use crate::clock;
use crate::config::Loaded;
use crate::explain::{Question, Report, Request};
use crate::listener::{Bind, BindAddress};
use crate::pki::files;
use crate::store::is_url;

#[derive(Debug, clap::Args)]
#[command(after_help = "Exits with 0 when the client would be admitted, with 1 when it would be denied.")]
pub(super) struct Arguments {
    /// The client's certificate, PEM, DER or PFX; further ones in the file are taken as its intermediates. `-` is
    /// standard input. Without it: a client that presents none
    certificate: Option<PathBuf>,
    #[command(flatten)]
    password: input::Password,
    /// File of a bearer token that the client shows, beside the certificate of its connection if there is one; `-` is standard input
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
    /// The request; without it the connection is asked about
    #[arg(long, value_name = "METHOD URL", value_parser = request_line)]
    route: Option<(Method, Uri)>,
    /// The request's `Origin`, as a browser would send it
    #[arg(long, requires = "route")]
    origin: Option<HeaderValue>,
    /// The request's `Upgrade`, such as websocket
    #[arg(long, requires = "route")]
    upgrade: Option<HeaderValue>,
    /// The listener; without it one that the URL's port or host is for
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// The name that the handshake asked for [default: the URL's host]
    #[arg(long, value_name = "HOST", requires = "route")]
    sni: Option<String>,
    /// Where the client comes from
    #[arg(long, value_name = "ADDRESS")]
    client_ip: Option<IpAddr>,
    /// When: 2027-01-31T12:00:00Z, or seconds since 1970 [default: now]
    #[arg(long, value_name = "TIME", value_parser = input::time)]
    at: Option<u64>,
    /// Ask the proxy that runs with this configuration, not the files; `--admin` asks one elsewhere
    #[arg(long)]
    running: bool,
    #[command(flatten)]
    target: Target,
}

pub(super) fn run(arguments: Arguments, output: &Output) -> Result<Exit, Failure> {
    if arguments.running || arguments.target.is_elsewhere() {
        return running::run(&arguments, *output);
    }
    let candidate = match &arguments.certificate {
        None => None,
        Some(path) => {
            let bytes = input::read(path)?;
            let found = files::certificates(&bytes, arguments.password.read()?.as_ref().map(|password| password.as_str()));
            let found = found.map_err(|error| input::file_error(path, &error))?;
            Candidate::presented(&found.into_iter().map(|located| located.value.der).collect::<Vec<_>>())
        }
    };
    let token = arguments.token()?;
    let loaded = arguments.target.config.load()?;
    if token.is_some() {
        loaded.rules.tokens.load().map_err(|error| Failure::local(format_args!("the keys that sign tokens cannot be read: {error}")))?;
    }
    let (rules, notes) = (&loaded.rules, notes(&loaded));
    if let Some(name) = arguments.listener.as_ref().filter(|name| rules.listener(name).is_none()) {
        let known: Vec<&str> = rules.listeners.iter().map(|listener| &*listener.name).collect();
        return Err(Failure::usage(format!("--listener {name}: there is no such listener; there are {}", known.join(", "))));
    }
    let listener = arguments.listener.map(String::into_boxed_str);
    let question = Question {
        candidate: candidate.map(Rc::new),
        token,
        address: arguments.client_ip.map_or(ClientAddress::Unknown, |ip| ClientAddress::Settled(ip.to_canonical())),
        listener: listener.or_else(|| by_port(&loaded, &arguments.route.as_ref()?.1)),
        request: arguments.route.map(|(method, uri)| {
            let sni = arguments.sni.map(String::into_boxed_str);
            Request { method, uri, origin: arguments.origin, upgrade: arguments.upgrade, sni }
        }),
        at: UnixTime::since_unix_epoch(Duration::from_secs(arguments.at.unwrap_or_else(|| clock::wall().as_secs()))),
    };
    let report = question.ask(rules, admin::asks);
    let hint = if report.code == Some("client_ip_denied") && arguments.client_ip.is_none() {
        "\nno --client-ip was given: whoever is bound to addresses is denied"
    } else {
        ""
    };
    let text = format!("{report}{hint}{}", notes.iter().map(|note| format!("\n{note}")).collect::<String>());
    output.answer(&Answer { report: &report, notes }, text);
    Ok(if report.admits() { Exit::Done } else { Exit::Refused })
}

impl Arguments {
    /// Reads the token: never an argument, which any other process can read.
    fn token(&self) -> Result<Option<Zeroizing<String>>, Failure> {
        let Some(path) = &self.token else { return Ok(None) };
        let is_stdin = |path: &PathBuf| path == Path::new("-");
        if is_stdin(path) && self.certificate.as_ref().is_some_and(is_stdin) {
            return Err(Failure::usage("standard input holds the certificate or the token, not both"));
        }
        let token = input::first_line(path)?;
        let token = token.trim().strip_prefix("Bearer ").unwrap_or(token.trim()).trim_start();
        Ok(Some(Zeroizing::new(token.to_owned())))
    }
}

/// The report, and what else it depends on.
#[derive(Debug, Serialize)]
struct Answer<'r> {
    #[serde(flatten)]
    report: &'r Report,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

/// The one listener on the port of a URL, if there is one.
fn by_port(loaded: &Loaded, uri: &Uri) -> Option<Box<str>> {
    let port = uri.port_u16().unwrap_or(443);
    let on_port = |bind: &&Bind| matches!(bind.address, BindAddress::Tcp(address) if address.port() == port);
    let mut found = loaded.settings.runtime.binds.iter().filter(on_port);
    let first = found.next()?;
    found.next().is_none().then(|| (*first.name).into())
}

/// Says of each CRL's URL that nothing was fetched from there for this answer.
fn notes(loaded: &Loaded) -> Vec<String> {
    let urls = loaded.status.sources.iter().map(|source| &*source.name).filter(|name| is_url(Path::new(name)));
    let note = |url: &str| match loaded.missing.iter().any(|missing| **missing == *url) {
        true => format!("{url}: no copy of it is kept, and nothing was fetched for this answer"),
        false => format!("{url}: as last kept in the state directory; nothing was fetched for this answer"),
    };
    urls.map(note).collect()
}

/// Reads `POST https://host/path`; a URL alone is a GET.
fn request_line(text: &str) -> Result<(Method, Uri), String> {
    let (method, url) = text.trim().split_once(' ').unwrap_or(("GET", text.trim()));
    let method = method.parse().map_err(|_| format!("{method} is no method"))?;
    let uri: Uri = url.trim().parse().map_err(|error| format!("{url}: {error}"))?;
    match uri.scheme_str() {
        Some("https") if uri.host().is_some() => Ok((method, uri)),
        _ => Err("expected METHOD https://host/path".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_a_method_and_a_url() {
        let (method, uri) = request_line("POST https://api.example.com:8443/orders/?a=1").unwrap();
        assert_eq!((method, uri.path()), (Method::POST, "/orders/"));
        assert_eq!(request_line("https://h/").unwrap().0, Method::GET);
        for bad in ["", "GET", "GET /orders", "G@T https://h/", "GET ftp://h/", "GET http://h/"] {
            assert!(request_line(bad).is_err(), "{bad}");
        }
    }
}
