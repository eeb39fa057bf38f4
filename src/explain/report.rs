//! A decision told to a person (text) or a program (JSON): the wire types of `explain`, for `cli` and `admin`. It asks nothing.

use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;

use crate::admission::{Decision, Denial, Step, Verdict};
use crate::clock::Date;
use crate::failure::Failure;
use crate::tls;

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
    /// Of an admission: `authority`, `pin`, `renewal`, `server_certificate`, `spki_pin` or `well_known_admin`.
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
                written: principal.provenance.to_string(),
            }),
            basis: admission.map(|admission| admission.basis.name()),
            identifier: admission.map(|admission| printable(&admission.identifier)),
            access: admission.and_then(|admission| admission.access).map(|access| access.name()),
            steps: decision.steps.iter().map(Line::of).collect(),
        }
    }

    /// Tells of no decision: none was needed.
    pub(super) fn nothing(generation: u64) -> Self {
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

    /// Tells of a handshake that does not begin: nobody is asked anything in it.
    pub(super) fn unrecognized(generation: u64, name: &str) -> Self {
        let mut report = Self::nothing(generation);
        report.fail(Failure::Misdirected, format!("strict_sni, and the listener has no certificate for {name}"));
        report.told = Some(Told { status: Failure::Misdirected.status().as_u16(), alert: Some("unrecognized_name") });
        report
    }

    /// Ends an admission in a failure of the request itself.
    pub(super) fn fail(&mut self, failure: Failure, why: String) {
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

/// Findings quote certificates, whose makers chose the text: it must not paint the operator's terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if paints(c) { '\u{fffd}' } else { c }).collect()
}

/// Tells what no terminal is to be sent: controls, what turns the direction of the text round, and what cannot be seen.
pub fn paints(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Later than any date we print (the year 10000): no end in time.
const FOREVER: u64 = 253_402_300_800;

#[cfg(test)]
mod tests {
    use rustls_pki_types::UnixTime;

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
