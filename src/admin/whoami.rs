//! `GET /v1/whoami`: who we take the caller for, and by what.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Error, Refusals};
use crate::clock::Date;
use crate::pki::Certificate;
use crate::request::service::{Caller, Via};

/// Who calls.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WhoAmI {
    /// `null` on the local socket: its file says who may use it.
    principal: Option<Who>,
    /// `admin`, `operator`, `user` or `node`.
    clearance: Option<&'static str>,
    /// `tls`, `socket`, or `bootstrap`: by the certificate that the listener serves with.
    via: &'static str,
    /// What was presented, and its key proven.
    certificate: Option<Presented>,
    /// The id (`jti`) of the bearer token that was shown; the certificate is then the one that it was given for.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// The effective client address.
    address: Option<String>,
    listener: String,
}

/// A principal.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CallingPrincipal)]
struct Who {
    id: String,
    name: String,
    /// What proved it: `pin`, `spki_pin`, `authority` or `well_known_admin`.
    basis: &'static str,
}

/// A certificate.
#[derive(Debug, Serialize, ToSchema)]
struct Presented {
    /// SHA-256 of its DER.
    fingerprint: String,
    /// RFC 2253.
    subject: Option<String>,
    not_before: Option<String>,
    not_after: Option<String>,
}

/// Says who we take you for.
#[utoipa::path(get, path = "/v1/whoami", tag = "about", responses((status = 200, description = "who calls", body = WhoAmI), Refusals))]
pub(super) async fn whoami(caller: Caller) -> Result<Json<WhoAmI>, Error> {
    let certificate = caller.leaf.as_ref().map(|leaf| {
        let read = Certificate::parse(leaf.der.clone()).ok();
        let read = read.as_ref();
        Presented {
            fingerprint: leaf.fingerprint.to_string(),
            subject: read.map(|read| read.subject.rfc2253()),
            not_before: read.map(|read| Date::of(read.not_before).to_string()),
            not_after: read.map(|read| Date::of(read.not_after).to_string()),
        }
    });
    Ok(Json(WhoAmI {
        clearance: caller.clearance().map(|clearance| clearance.name()),
        principal: caller.principal.map(|principal| Who {
            id: principal.id.to_string(),
            name: principal.name.to_string(),
            basis: principal.basis.name(),
        }),
        via: match caller.via {
            Via::Bootstrap => "bootstrap",
            Via::Socket => "socket",
            Via::Tls => "tls",
        },
        certificate,
        token: caller.token.as_ref().map(|token| token.id.to_string()),
        address: caller.address.map(|address| address.to_string()),
        listener: caller.listener.to_string(),
    }))
}
