//! What the arguments say of a principal, in the words of the API: a key for each that was given, and none for the others.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::cli::{Failure, input};
use crate::pki::files;
use crate::store::managed::Document;

/// Conditions, rights and what is told of a principal.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Terms")]
pub(super) struct Terms {
    /// Free text for people
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// Reader (read everywhere), Contributor (write everywhere) or Administrator (clearance admin)
    #[arg(long, conflicts_with_all = ["clearance", "permission"])]
    role: Option<String>,
    /// user, operator, admin or node
    #[arg(long)]
    clearance: Option<String>,
    /// What it may do: ROUTE[,ROUTE…]=ACCESS with read, write, admin or deny; or JSON, where there are conditions:
    /// {"routes":["orders"],"access":"write","when":{"organizational_unit":["DevOps"]}}. May be repeated
    #[arg(long, value_name = "PERMISSION", value_parser = permission)]
    permission: Vec<Value>,
    /// `=false`: not let in for now, and kept
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    enabled: Option<bool>,
    /// From when on: 2027-01-31T12:00:00Z, with an offset
    #[arg(long, value_name = "TIME")]
    valid_from: Option<String>,
    /// Until when
    #[arg(long, value_name = "TIME")]
    valid_until: Option<String>,
    /// From where: an address or a network. May be repeated
    #[arg(long, value_name = "CIDR")]
    client_ip: Vec<String>,
    /// A gateway whose forwarding header counts for this principal. May be repeated
    #[arg(long, value_name = "CIDR")]
    gateway_ip: Vec<String>,
    /// A page that may use this certificate across sites. May be repeated
    #[arg(long, value_name = "ORIGIN")]
    cors_origin: Vec<String>,
    /// A surface: proxy, admin. May be repeated; without it every one
    #[arg(long, value_name = "SURFACE")]
    serve: Vec<String>,
    /// What the upstream is told: principal, `common_name`, `dns_san`, fingerprint, oid:OID, …
    #[arg(long, value_name = "ATTRIBUTE")]
    identifier: Option<String>,
    /// An attribute that is copied into records. May be repeated
    #[arg(long, value_name = "ATTRIBUTE")]
    audit_claim: Vec<String>,
    /// Pin certificates too whose extended key usage lacks clientAuth
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    allow_any_eku: Option<bool>,
    /// same-key: a new certificate of the same key is pinned when it is first used; none
    #[arg(long)]
    renewal: Option<String>,
    /// Let in only certificates that name a CRL distribution point, of which fresh CRLs at hand speak
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    require_crl_dp: Option<bool>,
    /// Take no permission without `when`
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    require_when: Option<bool>,
    /// How long its tokens live: 30m; never longer than any
    #[arg(long, value_name = "DURATION")]
    token_ttl: Option<String>,
    /// How many days before an end notice of it is given. May be repeated
    #[arg(long, value_name = "DAYS")]
    expiry_notice: Vec<u32>,
    /// What people should know about it
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Not to be removed until this is taken away
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    protected: Option<bool>,
    /// Never let in on this certificate, however it is listed; see `portcullis revoke`. May be repeated
    #[arg(long, value_name = "ID")]
    revoked_id: Vec<String>,
}

impl Terms {
    /// Writes down what was given.
    pub(super) fn write(&self, document: &mut Map<String, Value>) {
        let mut put = |key: &str, value: Value| {
            let is_given = !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty());
            if is_given {
                document.insert(key.to_owned(), value);
            }
        };
        put("display_name", json!(self.display_name));
        put("role", json!(self.role));
        put("clearance", json!(self.clearance));
        put("permissions", json!(self.permission));
        put("enabled", json!(self.enabled));
        put("valid_from", json!(self.valid_from));
        put("valid_until", json!(self.valid_until));
        put("client_ips", json!(self.client_ip));
        put("gateway_ips", json!(self.gateway_ip));
        put("cors_origins", json!(self.cors_origin));
        put("serve", json!(self.serve));
        put("identifier", json!(self.identifier));
        put("audit_claims", json!(self.audit_claim));
        put("allow_any_eku", json!(self.allow_any_eku));
        put("renewal", json!(self.renewal));
        put("require_crl_dp", json!(self.require_crl_dp));
        put("require_when", json!(self.require_when));
        put("token_ttl", json!(self.token_ttl));
        put("expiry_notice", json!(self.expiry_notice));
        put("description", json!(self.description));
        put("protected", json!(self.protected));
        put("revoked_ids", json!(self.revoked_id));
    }
}

/// What proves a principal.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Credentials")]
pub(super) struct Credentials {
    /// Certificates to pin: PEM, DER or PFX (of a PFX, the issuers that came along are left out); `-` is standard input
    #[arg(value_name = "FILE", help_heading = "Arguments")]
    files: Vec<PathBuf>,
    /// A certificate to pin of which no more is known. May be repeated
    #[arg(long, value_name = "SHA256")]
    fingerprint: Vec<String>,
    /// A key to pin, whatever certificate it comes with: sha256/BASE64. May be repeated
    #[arg(long, value_name = "PIN")]
    spki_pin: Vec<String>,
    #[command(flatten)]
    password: input::Password,
    /// CA certificates: whoever they vouch for is let in, within the bounds below. May be repeated
    #[arg(long, value_name = "FILE")]
    authority: Vec<PathBuf>,
    #[command(flatten)]
    bounds: Bounds,
}

/// Which of an authority's certificates are meant.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Bounds of the authority (globs; repeated: one of them)")]
struct Bounds {
    /// No bounds at all
    #[arg(long, requires = "authority")]
    any: bool,
    #[arg(long, value_name = "GLOB", requires = "authority", help = "Common name")]
    common_name: Vec<String>,
    #[arg(long, value_name = "GLOB", requires = "authority", help = "DNS name")]
    dns_san: Vec<String>,
    #[arg(long, value_name = "GLOB", requires = "authority", help = "E-mail address")]
    email_san: Vec<String>,
    #[arg(long, value_name = "GLOB", requires = "authority", help = "URI")]
    uri_san: Vec<String>,
    #[arg(long, value_name = "GLOB", requires = "authority", help = "Organizational unit")]
    organizational_unit: Vec<String>,
    /// OID:GLOB, hex:OID:GLOB or present:OID; all of them
    #[arg(long, value_name = "EXTENSION", requires = "authority")]
    extension: Vec<String>,
    /// Lowest first; without it 100
    #[arg(long, value_name = "NUMBER", requires = "authority")]
    priority: Option<u32>,
    /// `=false`: a certificate without any extended key usage may pass
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true, requires = "authority")]
    require_client_eku: Option<bool>,
}

impl Credentials {
    /// Writes down what was given.
    pub(super) fn write(&self, document: &mut Map<String, Value>) -> Result<(), Failure> {
        let certificates = self.certificates()?;
        if certificates.len() > Document::MOST {
            return Err(Failure::usage(format_args!(
                "{} certificates, and a principal has {} at most: give each a principal of its own, as `allow replace DIRECTORY` does",
                certificates.len(),
                Document::MOST
            )));
        }
        if !certificates.is_empty() {
            document.insert("certificates".to_owned(), certificates.into());
        }
        if !self.spki_pin.is_empty() {
            document.insert("spki_pins".to_owned(), json!(self.spki_pin));
        }
        if let Some(authority) = self.authority()? {
            document.insert("authority".to_owned(), json!([authority]));
        }
        Ok(())
    }

    /// Reads the certificates to pin.
    fn certificates(&self) -> Result<Vec<Value>, Failure> {
        let password = if self.files.is_empty() { None } else { self.password.read()? };
        let mut found = Vec::new();
        for path in &self.files {
            found.extend(members(path, password.as_ref().map(|password| password.as_str()))?);
        }
        found.extend(self.fingerprint.iter().map(|fingerprint| json!({ "fingerprint": fingerprint })));
        Ok(found)
    }

    fn authority(&self) -> Result<Option<Map<String, Value>>, Failure> {
        if self.authority.is_empty() {
            return Ok(None);
        }
        let mut anchors = Vec::new();
        for path in &self.authority {
            let found = files::certificates(&input::read(path)?, None).map_err(|error| input::file_error(path, &error))?;
            anchors.extend(found.into_iter().map(|located| Value::from(STANDARD.encode(&located.value.der))));
        }
        let bounds = &self.bounds;
        let mut authority = Map::from_iter([("certificates".to_owned(), anchors.into())]);
        let lists = [
            ("common_names", &bounds.common_name),
            ("dns_sans", &bounds.dns_san),
            ("email_sans", &bounds.email_san),
            ("uri_sans", &bounds.uri_san),
            ("organizational_units", &bounds.organizational_unit),
            ("extensions", &bounds.extension),
        ];
        authority.extend(lists.into_iter().filter(|(_, list)| !list.is_empty()).map(|(key, list)| (key.to_owned(), json!(list))));
        if bounds.any {
            authority.insert("any".to_owned(), true.into());
        }
        authority.extend(bounds.priority.map(|priority| ("priority".to_owned(), priority.into())));
        authority.extend(bounds.require_client_eku.map(|required| ("require_client_eku".to_owned(), required.into())));
        Ok(Some(authority))
    }
}

/// Reads the certificates of a file that are to be pinned.
pub(in crate::cli) fn members(path: &Path, password: Option<&str>) -> Result<Vec<Value>, Failure> {
    let found = files::members(&input::read(path)?, password).map_err(|error| input::file_error(path, &error))?;
    Ok(found.into_iter().map(|located| json!({ "der": STANDARD.encode(&located.value.der) })).collect())
}

/// Reads what [`members`] wrote.
pub(super) fn der(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Reads `orders,billing=write`, or JSON.
fn permission(text: &str) -> Result<Value, String> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| error.to_string());
    }
    let (routes, access) = text.rsplit_once('=').ok_or("expected ROUTE[,ROUTE…]=ACCESS, or JSON")?;
    let routes: Vec<&str> = routes.split(',').map(str::trim).collect();
    Ok(json!({ "routes": routes, "access": access.trim() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_is_routes_and_access_or_json() {
        assert_eq!(permission("orders, billing=write"), Ok(json!({"routes": ["orders", "billing"], "access": "write"})));
        let with_when = r#"{"routes":["*"],"access":"read","when":{"organization":["A=B"]}}"#;
        assert_eq!(permission(with_when), Ok(serde_json::from_str(with_when).expect("JSON")));
        for bad in ["", "orders", "{orders=write"] {
            assert!(permission(bad).is_err(), "{bad}");
        }
    }
}
