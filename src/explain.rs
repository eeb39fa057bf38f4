//! A question put to the rules as a request would put it, and its decision told to a person (text) or a program
//! (JSON): the same `Decision`, got by the same call as the handshake's. For operators: names, files and lines are in it.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, Method, Uri, header};
use rustls_pki_types::UnixTime;
use serde::Serialize;
use utoipa::ToSchema;

use crate::admission::{Basis, Candidate, ClientAddress, Decision, Denial, Provenance, RequestScope, Scope, Step, Surface, Verdict};
use crate::clock::Date;
use crate::failure::Failure;
use crate::request::asked::{self, Asked};
use crate::request::{label, service};
use crate::routing::Authority;
use crate::routing::path::normalise;
use crate::rules::{ListenerRules, Rules};
use crate::tls;
use crate::upstream::tunnel;

/// What is asked: about a client, and about a request where there is one.
#[derive(Debug)]
pub struct Question {
    /// `None`: nothing was presented.
    pub candidate: Option<Candidate>,
    pub address: ClientAddress,
    pub request: Option<Request>,
    pub at: UnixTime,
    /// By name. `None`: a connection is asked about as on one that serves an upstream, a request as on one that its host is for.
    pub listener: Option<Box<str>>,
}

/// A request, as far as a decision depends on it.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    /// Absolute.
    pub uri: Uri,
    /// The `Origin` header.
    pub origin: Option<HeaderValue>,
    /// The `Upgrade` header.
    pub upgrade: Option<HeaderValue>,
    /// The name asked for in the handshake; `None`: the host of `uri`.
    pub sni: Option<Box<str>>,
}

/// Says what a call on a surface of ours asks for; `admin` knows.
pub type Needs = fn(Surface, &Method, &str) -> Option<service::Needs>;

impl Question {
    /// Asks the rules, in the order of `request.rs`.
    pub fn ask(&self, rules: &Rules, needs: Needs) -> Report {
        let listener = self.listener(rules);
        let asking = Asking { question: self, rules, listener };
        let mut report = match &self.request {
            None => Report::of(&asking.decide(None)),
            Some(request) => asking.request(request, needs).unwrap_or_else(|failure| {
                let mut report = Report::nothing(rules.generation);
                report.fail(failure, request.why(failure));
                report
            }),
        };
        report.listener = listener.map(|listener| listener.name.to_string());
        report
    }

    /// The listener that was named; else, for a request, one that its host is for.
    fn listener<'r>(&self, rules: &'r Rules) -> Option<&'r ListenerRules> {
        if let Some(name) = &self.listener {
            return rules.listener(name).map(|listener| &**listener);
        }
        let host = self.request.as_ref()?.uri.host()?.trim_end_matches('.').to_ascii_lowercase();
        let mut listeners = rules.listeners.iter().map(|listener| &**listener);
        let named = listeners.clone().find(|listener| listener.serves.control_hosts.iter().any(|ours| **ours == *host));
        named.or_else(|| listeners.clone().find(|listener| !listener.tls.serves_only_ours)).or_else(|| listeners.next())
    }
}

/// A question, to certain rules.
struct Asking<'a> {
    question: &'a Question,
    rules: &'a Rules,
    listener: Option<&'a ListenerRules>,
}

impl Asking<'_> {
    fn request(&self, request: &Request, needs: Needs) -> Result<Report, Failure> {
        let Self { rules, listener, .. } = self;
        let asked = request.read(rules)?;
        let sni = request.sni();
        let (serves, names) = listener.map_or((None, &[][..]), |listener| (Some(&listener.serves), listener.tls.names(sni.as_deref())));
        if let Some(serves) = serves
            && asked.is_ours(serves, sni.as_deref(), names)?
        {
            return Ok(self.call(request, &asked::Call::of(&asked, serves, &request.method, needs)));
        }
        asked.check_directed(sni.as_deref(), names)?;
        let headers = request.headers();
        if let Some(preflight) = asked.preflight(&request.method, &headers) {
            asked.check_preflight(&rules.snapshot, &preflight)?;
            let mut report = Report::nothing(rules.generation);
            report.verdict = "open";
            let finding =
                "a preflight: nobody is asked for a certificate, and somebody who can reach the route lists the origin".to_owned();
            report.steps.push(Line { rule: "request", passed: true, code: None, finding });
            return Ok(report);
        }
        let offer = request.offer();
        let scope = asked.scope(&request.method, &headers, "https", offer.is_some());
        let mut report = Report::of(&self.decide(Some(scope)));
        report.route = scope.route.map(|route| route.name.to_string());
        if report.admits() {
            let served = asked.served(&request.method);
            let served = served.and_then(|route| offer.map_or(Ok(()), |offer| asked::upgrade_to(offer, route).map(drop)));
            if let Err(failure) = served {
                report.fail(failure, request.why(failure));
            }
        }
        Ok(report)
    }

    /// A request that is ours to answer.
    fn call(&self, request: &Request, call: &asked::Call<'_>) -> Report {
        let mut report = Report::of(&self.decide(Some(call.scope(&request.method, &request.headers(), "https"))));
        report.route = Some(label(call.surface).to_owned());
        if report.admits() {
            let served = call.served(&request.method);
            let served = served.and_then(|needs| if needs.has_method { Ok(()) } else { Err(Failure::MethodNotAllowed) });
            if let Err(failure) = served {
                report.fail(failure, request.why(failure));
            }
        }
        report
    }

    fn decide(&self, request: Option<RequestScope<'_>>) -> Decision {
        let Question { candidate, address, at, .. } = self.question;
        let control = self.listener.is_some_and(|listener| listener.tls.serves_only_ours);
        self.rules.snapshot.decide(candidate.as_ref(), &Scope { address: *address, request, control }, *at)
    }
}

impl Request {
    /// Brings authority and path into the form that is judged.
    fn read<'a>(&'a self, rules: &'a Rules) -> Result<Asked<'a>, Failure> {
        asked::check_connect(&self.method, self.offer().is_some())?;
        let authority = Authority::parse(self.uri.authority().map_or("", |authority| authority.as_str()))?;
        Ok(Asked::of(&rules.routes, authority, normalise(self.uri.path())?))
    }

    /// What the client asked for in its handshake; addresses are not (RFC 6066, 3).
    fn sni(&self) -> Option<Cow<'_, str>> {
        let name = self.sni.as_deref().or_else(|| self.uri.host())?.trim_end_matches('.');
        let is_name = !name.starts_with('[') && name.parse::<IpAddr>().is_err();
        is_name.then(|| name.to_ascii_lowercase().into())
    }

    /// What the decision depends on. An OPTIONS of a page is a preflight: no page sends another one by itself.
    fn headers(&self) -> HeaderMap {
        let mut headers: HeaderMap = self.origin.iter().map(|origin| (header::ORIGIN, origin.clone())).collect();
        if self.origin.is_some() && self.method == Method::OPTIONS {
            headers.insert(header::ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("GET"));
        }
        headers
    }

    /// What nobody upgrades to is ignored.
    fn offer(&self) -> Option<&HeaderValue> {
        self.upgrade.as_ref().filter(|offer| !tunnel::is_idle_offer(offer))
    }

    /// Says for an operator why the request fails.
    fn why(&self, failure: Failure) -> String {
        let Self { method, uri, upgrade, .. } = self;
        match failure {
            Failure::Malformed(why) => format!("{uri}: {why}"),
            Failure::Denied(Denial::OriginDenied) => "a preflight, and nobody who can reach the route lists the origin".to_owned(),
            Failure::MethodNotAllowed => format!("{method} is not served"),
            Failure::Misdirected => {
                format!("the connection was opened for {}, under which {uri} is not served", self.sni().unwrap_or_default())
            }
            Failure::NoRoute => format!("no route for {uri}"),
            Failure::UpgradeRefused => {
                let offered = upgrade.as_ref().map_or(Default::default(), |offered| String::from_utf8_lossy(offered.as_bytes()));
                format!("the route does not list the upgrade {offered}")
            }
            failure => failure.message().to_owned(),
        }
    }
}

/// A decision, ready to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Report {
    /// `admit`, `deny` or `open`.
    pub verdict: &'static str,
    /// Of a denial.
    pub code: Option<&'static str>,
    /// What the client sees of a denial.
    #[serde(flatten)]
    pub told: Option<Told>,
    pub generation: u64,
    /// That was asked about.
    pub listener: Option<String>,
    /// Of a request.
    pub route: Option<String>,
    /// The first second at which the answer may differ for reasons of time alone; `null`: none.
    pub valid_until: Option<String>,
    /// Whose credential matched, also where its conditions or permissions then denied.
    pub principal: Option<Who>,
    /// Of an admission: `pin`, `spki_pin`, `authority` or `well_known_admin`.
    pub basis: Option<&'static str>,
    /// What the upstream is told.
    pub identifier: Option<String>,
    /// The highest access on the route.
    pub access: Option<&'static str>,
    pub steps: Vec<Line>,
}

/// How a denial reaches the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Told {
    /// The HTTP status, where denials are answers.
    pub status: u16,
    /// The TLS alert of a listener that requires a certificate; `null`: not in a handshake.
    pub alert: Option<&'static str>,
}

/// A principal and where it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Who {
    pub name: String,
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    pub clearance: &'static str,
    /// `file:line`.
    pub written: String,
}

/// One step of the reasoning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Line {
    pub rule: &'static str,
    pub passed: bool,
    pub code: Option<&'static str>,
    pub finding: String,
}

impl Report {
    /// Tells a decision.
    pub fn of(decision: &Decision) -> Self {
        let (verdict, admission, denial) = match &decision.verdict {
            Verdict::Admit(admission) => ("admit", Some(admission), None),
            Verdict::Deny(denial) => ("deny", None, Some(*denial)),
            Verdict::Open => ("open", None, None),
        };
        let principal = admission.map(|admission| &admission.principal).or(decision.principal.as_ref());
        let until = decision.valid_until.as_secs();
        Self {
            verdict,
            code: denial.map(Denial::code),
            told: denial.map(|denial| Told { status: Failure::Denied(denial).status().as_u16(), alert: tls::alert_name(denial) }),
            generation: decision.generation,
            listener: None,
            route: None,
            valid_until: (until < FOREVER).then(|| Date::of(until).to_string()),
            principal: principal.map(|principal| Who {
                name: principal.name.to_string(),
                id: principal.id.to_string(),
                display_name: principal.display_name.as_deref().map(printable),
                clearance: principal.terms.clearance.name(),
                written: written(&principal.provenance),
            }),
            basis: admission.map(|admission| match admission.basis {
                Basis::Authority { .. } => "authority",
                Basis::Pin => "pin",
                Basis::Renewal { .. } => "renewal",
                Basis::ServerCertificate { .. } => "server_certificate",
                Basis::SpkiPin => "spki_pin",
                Basis::WellKnownAdmin => "well_known_admin",
            }),
            identifier: admission.map(|admission| printable(&admission.identifier)),
            access: admission.and_then(|admission| admission.access).map(|access| access.name()),
            steps: decision.steps.iter().map(Line::of).collect(),
        }
    }

    /// Tells of no decision: none was needed.
    fn nothing(generation: u64) -> Self {
        Self {
            verdict: "deny",
            code: None,
            told: None,
            generation,
            listener: None,
            route: None,
            valid_until: None,
            principal: None,
            basis: None,
            identifier: None,
            access: None,
            steps: Vec::new(),
        }
    }

    /// Ends an admission in a failure of the request itself.
    fn fail(&mut self, failure: Failure, why: String) {
        self.verdict = "deny";
        self.code = Some(failure.code());
        self.told = Some(Told { status: failure.status().as_u16(), alert: None });
        self.steps.push(Line { rule: "request", passed: false, code: self.code, finding: printable(&why) });
    }

    /// Tells whether the client may go on.
    pub fn admits(&self) -> bool {
        self.code.is_none()
    }
}

impl Line {
    fn of(step: &Step) -> Self {
        Self { rule: step.rule, passed: step.denial.is_none(), code: step.denial.map(Denial::code), finding: printable(&step.finding) }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.verdict, self.code) {
            ("open", _) => writeln!(f, "verdict     open: no certificate is asked for")?,
            (_, None) => writeln!(f, "verdict     admitted")?,
            (_, Some(code)) => {
                write!(f, "verdict     denied: {code}")?;
                if let Some(Told { status, alert }) = self.told {
                    write!(f, " (HTTP {status}")?;
                    alert.map_or(Ok(()), |alert| write!(f, ", TLS alert {alert}"))?;
                    f.write_str(")")?;
                }
                writeln!(f)?;
            }
        }
        if let Some(Who { name, id, clearance, written, .. }) = &self.principal {
            writeln!(f, "principal   {name} ({id}, {clearance}), {written}")?;
        }
        if let Some(basis) = self.basis {
            writeln!(f, "proven by   {basis}")?;
        }
        if let Some(listener) = &self.listener {
            writeln!(f, "listener    {listener}")?;
        }
        if let Some(route) = &self.route {
            writeln!(f, "route       {route}")?;
        }
        if let Some(identifier) = &self.identifier {
            writeln!(f, "identifier  {identifier}")?;
        }
        if let Some(access) = self.access {
            writeln!(f, "access      {access}")?;
        }
        if let Some(until) = &self.valid_until {
            writeln!(f, "holds until {until}, as long as the rules stay as they are")?;
        }
        f.write_str("steps")?;
        let width = self.steps.iter().map(|step| step.rule.len()).max().unwrap_or(0);
        for step in &self.steps {
            let mark = if step.passed { "ok  " } else { "FAIL" };
            write!(f, "\n  {mark}  {:width$}  {}", step.rule, step.finding)?;
        }
        Ok(())
    }
}

/// Says where something is written: `file:line`, or the file.
pub fn written(provenance: &Provenance) -> String {
    match provenance.line {
        0 => provenance.file.to_string(),
        line => format!("{}:{line}", provenance.file),
    }
}

/// Findings quote certificates, whose makers chose the text: it must not paint the operator's terminal.
pub fn printable(text: &str) -> String {
    // Beside controls: what turns the direction of the text round, and what cannot be seen.
    let paints =
        |c: char| c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    text.chars().map(|c| if paints(c) { '\u{fffd}' } else { c }).collect()
}

/// Later than any date we print (the year 10000): no end in time.
const FOREVER: u64 = 253_402_300_800;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Steps;

    fn denied(denial: Denial, finding: &str) -> Decision {
        let mut steps = Steps::default();
        steps.passed("validity", "valid");
        let denial = steps.failed("bounds", finding.to_owned(), denial);
        Decision {
            verdict: Verdict::Deny(denial),
            steps,
            principal: None,
            generation: 4,
            valid_until: UnixTime::since_unix_epoch(std::time::Duration::from_secs(90)),
        }
    }

    #[test]
    fn a_denial_names_its_code_its_status_its_alert_and_its_failed_step() {
        let report = Report::of(&denied(Denial::BoundsMismatch, "common name matches none"));
        assert!(!report.admits());
        let text = report.to_string();
        assert!(text.starts_with("verdict     denied: bounds_mismatch (HTTP 403, TLS alert access_denied)\n"), "{text}");
        assert!(text.ends_with("\n  ok    validity  valid\n  FAIL  bounds    common name matches none"), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(
            (json["code"].as_str(), json["status"].as_u64(), json["steps"][1]["passed"].as_bool()),
            (Some("bounds_mismatch"), Some(403), Some(false))
        );
        assert_eq!(json["valid_until"], "1970-01-01T00:01:30Z");
    }

    #[test]
    fn a_finding_cannot_paint_the_terminal() {
        let report = Report::of(&denied(Denial::NotListed, "CN=\u{1b}[2Jadmin\n  ok"));
        assert_eq!(report.steps[1].finding, "CN=\u{fffd}[2Jadmin\u{fffd}  ok");
    }

    #[test]
    fn every_denial_is_told() {
        for denial in Denial::ALL {
            assert!(Report::of(&denied(*denial, "")).told.is_some_and(|told| told.status >= 400), "{}", denial.code());
        }
    }
}
