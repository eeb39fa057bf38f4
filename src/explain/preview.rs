//! Other rules, and what they would mean for clients that were seen: each is asked about as it was seen last, under the rules in force and
//! under the others, by the same call as the handshake's.

use http::{Method, Uri};
use rustls_pki_types::UnixTime;
use serde::Serialize;
use utoipa::ToSchema;

use super::report::Report;
use crate::admission::{Candidate, RequestScope, Scope};
use crate::clock::Date;
use crate::failure::Failure;
use crate::gate::Sighting;
use crate::message::Fields;
use crate::pki::Fingerprint;
use crate::request::asked::Asked;
use crate::routing::Authority;
use crate::routing::path::normalise;
use crate::rules::{ListenerRules, Rules};

/// What other rules would mean for those that were seen.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Compared {
    /// Admitted now, denied by the others.
    pub cut_off: usize,
    /// Denied now, admitted by the others.
    pub let_in: usize,
    /// Admitted by both, as another principal: what is open ends, and they may come again.
    pub renamed: usize,
    /// The same answer from both.
    pub unchanged: usize,
    /// Those for whom something would change: who would be cut off first, then the latest first; at most a thousand.
    pub clients: Vec<Previewed>,
    /// How many more there are.
    pub more: usize,
}

/// One client for whom something would change.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Previewed {
    pub difference: Difference,
    pub met: Met,
    pub before: Report,
    pub after: Report,
}

/// What would change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    CutOff,
    LetIn,
    Renamed,
}

/// Where a client was seen.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Met {
    /// Its name by the rules in force; else by the others.
    pub principal: Option<String>,
    pub fingerprint: String,
    /// RFC 2253, as its holder wrote it.
    pub subject: Option<String>,
    pub listener: String,
    /// That it asked for last.
    pub route: Option<String>,
    /// A request by which it did: method, host and path, without the query.
    pub request: Option<String>,
    /// Where it comes from, as conditions see it.
    pub address: Option<String>,
    pub last_seen: String,
    /// It is connected.
    pub live: bool,
    /// The name that its connection was opened for (SNI), where that is known.
    pub sni: Option<String>,
}

impl Compared {
    /// Asks both about each, at one time.
    pub fn of(mut seen: Vec<Sighting>, before: &Rules, after: &Rules, at: UnixTime) -> Self {
        // Of one leaf in a row: it is parsed, and its path verified, once for each of the two.
        seen.sort_by_key(|sighting| *sighting.fingerprint.as_bytes());
        let mut compared = Self::default();
        let mut changed = Vec::new();
        let mut parsed: Option<(Fingerprint, Candidate, Candidate)> = None;
        for sighting in &seen {
            if parsed.as_ref().is_none_or(|(fingerprint, ..)| *fingerprint != sighting.fingerprint) {
                let presented = || Candidate::presented(&sighting.chain);
                parsed = presented().zip(presented()).map(|(one, other)| (sighting.fingerprint, one, other));
            }
            let Some((_, one, other)) = &parsed else { continue };
            let (before, after) = (judge(sighting, one, before, at), judge(sighting, other, after, at));
            let id = |report: &Report| report.principal.as_ref().map(|who| who.id.clone());
            let difference = match (before.admits(), after.admits()) {
                (true, false) => Difference::CutOff,
                (false, true) => Difference::LetIn,
                (true, true) if id(&before) != id(&after) => Difference::Renamed,
                _ => {
                    compared.unchanged += 1;
                    continue;
                }
            };
            *match difference {
                Difference::CutOff => &mut compared.cut_off,
                Difference::LetIn => &mut compared.let_in,
                Difference::Renamed => &mut compared.renamed,
            } += 1;
            let met = Met::of(sighting, one, [&before, &after]);
            changed.push((difference, std::cmp::Reverse(sighting.last), Previewed { difference, met, before, after }));
        }
        changed.sort_by_key(|(difference, last, _)| (*difference, *last));
        compared.more = changed.len().saturating_sub(MOST);
        compared.clients = changed.into_iter().take(MOST).map(|(_, _, client)| client).collect();
        compared
    }
}

/// Asks about a client as it was seen: on its listener, for the request that it made last, where these rules lead that.
fn judge(sighting: &Sighting, candidate: &Candidate, rules: &Rules, at: UnixTime) -> Report {
    let mut report;
    let failed = match rules.listener(&sighting.listener) {
        None => {
            report = Report::nothing(rules.generation);
            Some((Failure::NoRoute, format!("there is no listener {}", sighting.listener)))
        }
        Some(listener) if !listener.tls.knows(sighting.sni.as_deref()) => {
            report = Report::unrecognized(rules.generation, sighting.sni.as_deref().unwrap_or_default());
            None
        }
        Some(listener) => {
            let asked = sighting.scope();
            let Led { request, failed } = Led::of(sighting, asked.request, rules, listener);
            let scope = Scope { request, control: listener.tls.serves_only_ours, ..asked };
            report = Report::of(&rules.snapshot.decide(Some(candidate), &scope, at));
            report.route = request.and_then(|request| request.route).map(|route| route.name.to_string());
            match request {
                Some(request) if !listener.serves.surfaces.contains(&request.surface) => {
                    Some((Failure::NoRoute, format!("the listener does not serve {}", request.surface.name())))
                }
                _ => failed,
            }
        }
    };
    report.listener = Some(sighting.listener.to_string());
    if let Some((failure, why)) = failed.filter(|_| report.admits()) {
        report.fail(failure, why);
    }
    report
}

/// Where rules lead a request.
struct Led<'r> {
    request: Option<RequestScope<'r>>,
    /// Why it leads to no upstream.
    failed: Option<(Failure, String)>,
}

impl<'r> Led<'r> {
    fn of(sighting: &'r Sighting, asked: Option<RequestScope<'r>>, rules: &'r Rules, listener: &ListenerRules) -> Self {
        let Some(request) = asked.filter(|request| request.surface.is_proxied()) else { return Self { request: asked, failed: None } };
        match sighting.place().and_then(|place| Self::by_place(place, sighting.sni.as_deref(), request, (rules, listener))) {
            Some(led) => led,
            None => Self::by_name(request, rules),
        }
    }

    /// By host and path, as the request itself would be. `None`: they cannot be read.
    fn by_place(
        (method, host, path): (&str, &str, &str),
        sni: Option<&str>,
        request: RequestScope<'r>,
        (rules, listener): (&'r Rules, &ListenerRules),
    ) -> Option<Self> {
        let method: Method = method.parse().ok()?;
        let uri = Uri::builder().scheme("https").authority(host).path_and_query(path).build().ok()?;
        let none = Fields::default();
        let asked = Asked::of(&rules.routes, Authority::of(&uri, &none).ok()?, normalise(path).ok()?);
        if listener.serves.control_hosts.iter().any(|ours| **ours == *asked.authority.host) {
            let request = Some(RequestScope { route: None, ..request });
            let why = format!("{host} is one of control_hosts: no upstream is behind it");
            return Some(Self { request, failed: Some((Failure::NoRoute, why)) });
        }
        // By itself it changes nothing, and was counted as what may: it upgrades.
        let upgrades = request.unsafe_method && matches!(method, Method::GET | Method::HEAD | Method::OPTIONS);
        let name = asked.route.map(|route| &route.scope.name);
        let route = rules.routes.iter().find(|route| Some(&route.scope.name) == name).map(|route| &route.scope);
        let nowhere = route.is_none().then(|| (Failure::NoRoute, format!("no route leads {host}{path} anywhere")));
        let covered = listener.tls.names(sni);
        let directed = asked.is_ours(&listener.serves, sni, covered).and_then(|_| asked.check_directed(sni, covered));
        // As a request itself is asked, before its route is.
        let failed = match (directed, sni) {
            (Err(failure), Some(sni)) => Some((failure, format!("the connection was opened for {sni}, and {host} is not to be had on it"))),
            _ => nowhere,
        };
        Some(Self { request: Some(RequestScope { route, access: asked.access(&method, upgrades), ..request }), failed })
    }

    fn by_name(request: RequestScope<'r>, rules: &'r Rules) -> Self {
        let name = request.route.map(|route| &*route.name);
        let route = name.and_then(|name| rules.routes.iter().find(|route| *route.scope.name == *name)).map(|route| &route.scope);
        let failed = name.filter(|_| route.is_none()).map(|name| (Failure::NoRoute, format!("there is no route {name}")));
        Self { request: Some(RequestScope { route, ..request }), failed }
    }
}

impl Met {
    fn of(sighting: &Sighting, candidate: &Candidate, reports: [&Report; 2]) -> Self {
        let scope = sighting.scope();
        Self {
            principal: reports.iter().find_map(|report| report.principal.as_ref()).map(|who| who.name.clone()),
            fingerprint: sighting.fingerprint.to_string(),
            subject: candidate.leaf().ok().map(|leaf| super::printable(&leaf.subject.rfc2253())),
            listener: sighting.listener.to_string(),
            route: scope.request.and_then(|request| request.route).map(|route| route.name.to_string()),
            request: sighting.place().map(|(method, host, path)| super::printable(&format!("{method} {host}{path}"))),
            address: scope.address.ip().map(|ip| ip.to_string()),
            last_seen: Date::of(sighting.last).to_string(),
            live: sighting.live,
            sni: sighting.sni.as_deref().map(super::printable),
        }
    }
}

/// How many are told one by one.
const MOST: usize = 1000;
