//! A question put to the rules as a request would put it: the same `Decision`, got by the same call as the handshake's. What
//! is told of it is in `report`. For operators: names, files and lines are in it.

mod preview;
mod report;

use std::borrow::Cow;
use std::net::IpAddr;
use std::rc::Rc;

use http::{HeaderValue, Method, Uri, header};
use rustls_pki_types::UnixTime;
use zeroize::Zeroizing;

use crate::admission::{Candidate, ClientAddress, Decision, Denial, RequestScope, Scope, Surface};
use crate::failure::Failure;
use crate::message::Fields;
use crate::request::asked::{self, Asked};
use crate::request::{label, service};
use crate::routing::Authority;
use crate::routing::path::normalise;
use crate::rules::{ListenerRules, Rules};
use crate::upstream::tunnel;
pub use preview::{Compared, Difference, Met, Previewed};
pub use report::{Line, Report, Told, Who, paints, printable};

/// What is asked: about a client, and about a request where there is one.
#[derive(Debug)]
pub struct Question {
    /// `None`: nothing was presented.
    pub candidate: Option<Rc<Candidate>>,
    /// The bearer token that is shown beside it.
    pub token: Option<Zeroizing<String>>,
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
        let (candidate, aside) = self.shown(rules, listener);
        let asking = Asking { question: self, candidate, rules, listener };
        let mut report = match &self.request {
            None => Report::of(&asking.decide(None)),
            Some(request) => asking.request(request, needs).unwrap_or_else(|failure| {
                let mut report = Report::nothing(rules.generation);
                report.fail(failure, request.why(failure));
                report
            }),
        };
        report.listener = listener.map(|listener| listener.name.to_string());
        if let Some(finding) = aside {
            report.steps.insert(0, Line { rule: "token", passed: true, code: None, finding: finding.to_owned() });
        }
        report
    }

    /// Returns by what the client is judged: its token, where that is a credential, beside its certificate. Where it is none: why.
    fn shown(&self, rules: &Rules, listener: Option<&ListenerRules>) -> (Option<Rc<Candidate>>, Option<&'static str>) {
        let presented = || self.candidate.clone();
        let Some(token) = &self.token else { return (presented(), None) };
        if listener.is_some_and(|listener| !listener.serves.tokens) {
            return (
                presented(),
                Some("this listener takes no tokens (tokens = false): nobody is judged by one, and ours goes no further"),
            );
        }
        match rules.tokens.read(token.trim(), self.at.as_secs()).candidate() {
            Some(candidate) => (Some(Rc::new(candidate.beside(presented()))), None),
            None => (presented(), Some("the token is none of ours: it is no credential, and goes to the upstream as it is")),
        }
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
    candidate: Option<Rc<Candidate>>,
    rules: &'a Rules,
    listener: Option<&'a ListenerRules>,
}

impl Asking<'_> {
    fn request(&self, request: &Request, needs: Needs) -> Result<Report, Failure> {
        let Self { rules, listener, .. } = self;
        let asked = request.read(rules)?;
        let sni = request.sni();
        if listener.is_some_and(|listener| !listener.tls.knows(sni.as_deref())) {
            return Ok(Report::unrecognized(rules.generation, &sni.unwrap_or_default()));
        }
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
        let Question { address, at, .. } = self.question;
        let control = self.listener.is_some_and(|listener| listener.tls.serves_only_ours);
        self.rules.snapshot.decide(self.candidate.as_deref(), &Scope { address: *address, request, control }, *at)
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
    fn headers(&self) -> Fields {
        let mut headers: Fields = self.origin.iter().map(|origin| (header::ORIGIN, origin.clone())).collect();
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
