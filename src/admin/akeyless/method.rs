//! A principal, as the original writes a method of authentication by certificate.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::form::theirs;
use crate::date::{duration, rfc3339};
use crate::pki::files;
use crate::store::managed::{AuthorityDocument, Document};

/// A method.
#[derive(Debug, Serialize)]
pub(super) struct Method {
    access_info: AccessInfo,
    auth_method_access_id: String,
    auth_method_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    creation_date: Option<String>,
    delete_protection: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    expiration_events: Vec<Event>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modification_date: Option<String>,
}

/// Who may use it.
#[derive(Debug, Serialize)]
struct AccessInfo {
    /// In seconds since the epoch; 0: for ever.
    access_expires: u64,
    audit_logs_claims: Vec<String>,
    cert_access_rules: Rules,
    /// By commas.
    cidr_whitelist: String,
    force_sub_claims: bool,
    gw_cidr_whitelist: String,
    /// In minutes; 0: as long as any.
    jwt_ttl: u64,
    rules_type: &'static str,
}

/// What a certificate has to be.
#[derive(Debug, Serialize)]
struct Rules {
    allowed_cors: Vec<String>,
    bound_common_names: Vec<String>,
    bound_dns_sans: Vec<String>,
    bound_email_sans: Vec<String>,
    bound_extensions: Vec<String>,
    bound_organizational_units: Vec<String>,
    bound_uri_sans: Vec<String>,
    /// Base64 of PEM, as it may be sent.
    certificate: String,
    require_crl_dp: bool,
    revoked_cert_ids: Vec<String>,
    unique_identifier: String,
}

/// When notice of an end is given.
#[derive(Debug, Serialize)]
struct Event {
    seconds_before: u64,
}

impl Method {
    /// Describes a principal. Of several authorities it tells the bounds of all: which go together only `/v1` says.
    pub(super) fn of(document: &Document) -> Self {
        let bounds = |list: fn(&AuthorityDocument) -> &Option<Vec<String>>| {
            document.authority.iter().filter_map(|authority| list(authority).as_ref()).flatten().cloned().collect()
        };
        let is_pinned = !(document.certificates.is_empty() && document.spki_pins.is_empty());
        let default = if is_pinned { "principal" } else { "common_name" };
        let minutes = |text: &str| duration(text).map_or(0, |ttl| ttl.as_secs().div_ceil(60));
        Self {
            access_info: AccessInfo {
                access_expires: document.valid_until.as_deref().and_then(rfc3339).unwrap_or(0),
                audit_logs_claims: document.audit_claims.iter().map(|claim| theirs(claim).to_owned()).collect(),
                cert_access_rules: Rules {
                    allowed_cors: document.cors_origins.clone(),
                    bound_common_names: bounds(|authority| &authority.common_names),
                    bound_dns_sans: bounds(|authority| &authority.dns_sans),
                    bound_email_sans: bounds(|authority| &authority.email_sans),
                    bound_extensions: bounds(|authority| &authority.extensions),
                    bound_organizational_units: bounds(|authority| &authority.organizational_units),
                    bound_uri_sans: bounds(|authority| &authority.uri_sans),
                    certificate: STANDARD.encode(pem(document)),
                    require_crl_dp: document.require_crl_dp,
                    revoked_cert_ids: document.revoked_ids.clone(),
                    unique_identifier: theirs(document.identifier.as_deref().unwrap_or(default)).to_owned(),
                },
                cidr_whitelist: document.client_ips.as_ref().map(|list| list.join(",")).unwrap_or_default(),
                force_sub_claims: document.require_when,
                gw_cidr_whitelist: document.gateway_ips.join(","),
                jwt_ttl: document.token_ttl.as_deref().map_or(0, minutes),
                rules_type: "cert",
            },
            auth_method_access_id: document.id.clone(),
            auth_method_name: format!("/{}", document.name),
            creation_date: document.created.as_ref().map(|stamp| stamp.at.clone()),
            delete_protection: document.protected,
            description: document.description.clone(),
            expiration_events: document.expiry_notice.iter().map(|days| Event { seconds_before: u64::from(*days) * 86_400 }).collect(),
            modification_date: document.changed.as_ref().map(|stamp| stamp.at.clone()),
        }
    }
}

/// Writes every certificate that is known whole.
fn pem(document: &Document) -> String {
    let anchors = document.authority.iter().flat_map(|authority| &authority.certificates);
    let pins = document.certificates.iter().filter_map(|entry| entry.der.as_ref());
    let block = |text: &String| match STANDARD.decode(text.trim()) {
        Ok(der) => files::pem_of(&der),
        Err(_) => format!("{}\n", text.trim()),
    };
    anchors.chain(pins).map(block).collect()
}
