//! A call of somebody who is not known yet: how often it may come, what a decision in its course is about, and how it is refused.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use serde::Serialize;

use crate::admin::{Ready, Shared, operations};
use crate::admission::{Access, Candidate, Decision, Denial, RequestScope, Scope, Surface};
use crate::failure::Failure;
use crate::gate::Proven;
use crate::gate::{Desk, Inquiry};
use crate::pki::Fingerprint;
use crate::reload::View;
use crate::request::service::{Arrival, Caller};

/// Such a call.
pub(super) struct Incoming<'a> {
    pub(super) ready: &'a Ready,
    pub(super) caller: &'a Caller,
    pub(super) arrival: Arc<Arrival>,
    pub(super) view: Arc<View>,
    path: &'static str,
}

/// An answer that ends a call early.
pub(super) type Refused = Box<Response>;

impl<'a> Incoming<'a> {
    /// Lets a call of this path in, unless its source has made too many.
    pub(super) fn of(shared: &'a Shared, caller: &'a Caller, path: &'static str) -> Result<Self, Refused> {
        let unavailable = |_| failed(Failure::Overloaded);
        let ready = shared.running().map_err(unavailable)?;
        let view = operations::control(shared).map_err(unavailable)?.view();
        // Over the local socket there is nobody to prove anything.
        let arrival = caller.arrival.clone().ok_or_else(|| failed(Failure::NoRoute))?;
        if !ready.sources.take(caller.address, view.rules.limits.challenge_rate, Instant::now()) {
            shared.metrics.overloaded("challenge_rate");
            return Err(failed(Failure::RateLimited));
        }
        ready.desk.limit_refusals(view.rules.limits.denial_lines);
        Ok(Self { ready, caller, arrival, view, path })
    }

    /// Judges whose key was proven; what is denied is counted and logged.
    pub(super) fn judge(&self, make: impl Fn() -> Option<Candidate>, headers: &HeaderMap, proven: Proven) -> Result<Decision, Refused> {
        let desk = self.desk();
        let (Some(first), Some(candidate)) = (make(), make()) else { return Err(failed(Failure::Internal)) };
        // A principal's own gateways may say where the client is: known only with the principal.
        let connection = Scope { address: self.arrival.address, request: None, control: self.arrival.control };
        let principal = desk.snapshot().decide(Some(&first), &connection, desk.clock().now()).principal;
        let gateways = principal.as_ref().map(|principal| &*principal.terms.gateway_ips).unwrap_or_default();
        let address = self.view.rules.trust.request(self.arrival.address, gateways, &headers.clone().into()).address;
        let scope = Scope { address, ..self.scope() };
        let decision = desk.judge_inquiry(candidate, &scope, &self.arrival.asker, Some(self.inquiry()), proven);
        match decision.denial() {
            Some(denial) => Err(unauthenticated(denial)),
            None => Ok(decision),
        }
    }

    /// Refuses what proved nothing: counted and logged in nobody's name. What it claimed is told to the operator as that.
    pub(super) fn refuse(&self, denial: Denial, why: &str, access_id: &str, claimed: Option<&Fingerprint>) -> Refused {
        let id: String = access_id.chars().take(SHOWN).collect();
        let certificate = claimed.map_or_else(|| "no certificate".to_owned(), |claimed| format!("sha256:{claimed}"));
        let why = format!("{why} (claimed, not proven: access id {id:?}, {certificate})");
        self.desk().refuse(denial, why, &self.scope(), &self.arrival.asker, Some(self.inquiry()));
        unauthenticated(denial)
    }

    pub(super) fn desk(&self) -> &Desk {
        &self.ready.desk
    }

    /// Returns the second that it is.
    pub(super) fn now(&self) -> u64 {
        self.desk().clock().now().as_secs()
    }

    fn scope(&self) -> Scope<'_> {
        let request = RequestScope {
            surface: Surface::Challenge,
            route: None,
            access: Access::Write,
            clearance: None,
            begins: false,
            origin: self.arrival.page.origin(),
            unsafe_method: true,
        };
        Scope { address: self.arrival.address, request: Some(request), control: self.arrival.control }
    }

    fn inquiry(&self) -> Inquiry<'_> {
        let host = self.arrival.dialled.split_once("://").map_or("", |(_, host)| host);
        Inquiry { request_id: &self.caller.request_id, method: "POST", host, path: self.path }
    }
}

/// Refuses what is no call: in the caller's own hands to mend.
pub(super) fn malformed(why: &dyn fmt::Display) -> Refused {
    told(StatusCode::BAD_REQUEST, &why.to_string(), Failure::Malformed("not the JSON of this call"))
}

/// Refuses for reasons of ours.
pub(super) fn failed(failure: Failure) -> Refused {
    let mut response = told(failure.status(), failure.message(), failure);
    if matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// Refuses whoever proved nothing, or is nobody: one answer, whatever it was. The log knows.
fn unauthenticated(denial: Denial) -> Refused {
    let mut response = told(StatusCode::UNAUTHORIZED, "authentication failed", Failure::Denied(denial));
    // RFC 9110, 15.5.2: a 401 carries a challenge.
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(r#"ClientCertificate realm="portcullis""#));
    response
}

fn told(status: StatusCode, why: &str, failure: Failure) -> Refused {
    #[derive(Serialize)]
    struct Body<'a> {
        error: &'a str,
    }
    let mut response = (status, axum::Json(Body { error: why })).into_response();
    // For the log, which the caller never sees.
    response.extensions_mut().insert(failure);
    Box::new(response)
}

/// Of an access id, in the log.
const SHOWN: usize = 64;
