//! What the arguments say of a method, by the names of the original's API: a key for each that was given, and none for the others.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::admin::Kind;
use crate::cli::{Failure, input};
use crate::pki::{Certificate, files};

/// Certificate, bounds and conditions.
#[derive(Debug, clap::Args)]
pub(super) struct Terms {
    /// The certificate: a client's own, or a CA's (several of them, where a chain needs them); PEM or DER
    #[arg(long, value_name = "FILE")]
    certificate_file_name: Option<PathBuf>,
    /// The same, as base64 of PEM
    #[arg(long, value_name = "BASE64", conflicts_with = "certificate_file_name")]
    certificate_data: Option<String>,
    /// What the certificate is; without it the certificate has to say so: CA:FALSE is a pin, keyCertSign an authority
    #[arg(long, value_name = "KIND", value_enum)]
    r#as: Option<As>,
    /// Until when, in seconds since 1970; 0: for ever
    #[arg(long, value_name = "SECONDS")]
    access_expires: Option<u64>,
    /// How long its tokens live, in minutes; 0: as long as any
    #[arg(long, value_name = "MINUTES")]
    jwt_ttl: Option<u64>,
    /// From where: addresses or networks, by commas. May be repeated
    #[arg(long, value_name = "CIDR")]
    bound_ips: Vec<String>,
    /// Gateways whose forwarding header counts for this method, by commas. May be repeated
    #[arg(long, value_name = "CIDR")]
    gw_bound_ips: Vec<String>,
    /// Pages that may use such a certificate across sites, by commas. May be repeated
    #[arg(long, value_name = "ORIGIN")]
    allowed_cors: Vec<String>,
    /// Attributes that are copied into records, by commas. May be repeated
    #[arg(long, value_name = "ATTRIBUTE")]
    audit_logs_claims: Vec<String>,
    /// Common names that an authority's leaf may have: globs. May be repeated, as may the next five
    #[arg(long, value_name = "GLOB")]
    bound_common_names: Vec<String>,
    /// DNS names
    #[arg(long, value_name = "GLOB")]
    bound_dns_sans: Vec<String>,
    /// E-mail addresses
    #[arg(long, value_name = "GLOB")]
    bound_email_sans: Vec<String>,
    /// URIs
    #[arg(long, value_name = "GLOB")]
    bound_uri_sans: Vec<String>,
    /// Organizational units
    #[arg(long, value_name = "GLOB")]
    bound_organizational_units: Vec<String>,
    /// Extensions, OID:GLOB; all of them
    #[arg(long, value_name = "EXTENSION")]
    bound_extensions: Vec<String>,
    /// Never let in on these certificates, nor on what these intermediates vouch for; see `portcullis revoke`. May be repeated
    #[arg(long, value_name = "ID")]
    revoked_cert_ids: Vec<String>,
    /// How many days before an end notice of it is given, by commas. May be repeated
    #[arg(long, value_name = "DAYS")]
    expiration_event_in: Vec<String>,
    /// Take no permission without `when`
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    force_sub_claims: Option<bool>,
    /// Let in only certificates that name a CRL distribution point, of which fresh CRLs at hand speak
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    require_crl_dp: Option<bool>,
    /// Not to be deleted until this is taken away
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", alias = "delete_protection")]
    delete_protection: Option<bool>,
    /// What people should know about it
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Is refused: there are no products here
    #[arg(long, value_name = "PRODUCT", hide = true)]
    product_type: Vec<String>,
    /// Is refused: no certificate proves which program uses it
    #[arg(long, value_name = "PROGRAM", hide = true)]
    allowed_client_type: Vec<String>,
}

/// What a person says that a certificate is.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum As {
    /// A CA's: whoever it vouches for is let in
    Authority,
    /// A client's own: that one is let in, and no other
    Pin,
}

impl From<As> for Kind {
    fn from(kind: As) -> Self {
        match kind {
            As::Authority => Self::Authority,
            As::Pin => Self::Pin,
        }
    }
}

impl Terms {
    /// Writes down what was given. Of a new method it is always said what the certificate is.
    pub(super) fn form(&self, is_new: bool) -> Result<Map<String, Value>, Failure> {
        let mut form = Map::new();
        let mut put = |key: &str, value: Value| {
            let is_given = !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty());
            if is_given {
                form.insert(key.to_owned(), value);
            }
        };
        put("bound-ips", json!(self.bound_ips));
        put("gw-bound-ips", json!(self.gw_bound_ips));
        put("allowed-cors", json!(self.allowed_cors));
        put("audit-logs-claims", json!(self.audit_logs_claims));
        put("bound-common-names", json!(self.bound_common_names));
        put("bound-dns-sans", json!(self.bound_dns_sans));
        put("bound-email-sans", json!(self.bound_email_sans));
        put("bound-uri-sans", json!(self.bound_uri_sans));
        put("bound-organizational-units", json!(self.bound_organizational_units));
        put("bound-extensions", json!(self.bound_extensions));
        put("revoked-cert-ids", json!(self.revoked_cert_ids));
        put("expiration-event-in", json!(self.expiration_event_in));
        put("force-sub-claims", json!(self.force_sub_claims));
        put("require-crl-dp", json!(self.require_crl_dp));
        put("delete_protection", json!(self.delete_protection));
        put("description", json!(self.description));
        put("product-type", json!(self.product_type));
        put("allowed-client-type", json!(self.allowed_client_type));
        for (key, given) in [("access-expires", self.access_expires), ("jwt-ttl", self.jwt_ttl)] {
            // A person who writes 0 means it.
            form.extend(given.map(|number| (key.to_owned(), if number == 0 { Value::Null } else { number.into() })));
        }
        if let Some((certificates, whose)) = self.certificates()? {
            let unclear = |why| Failure::usage(format_args!("{whose}: {why}\nsay --as pin or --as authority"));
            // An update says nothing of the kind unless it is to change: that is compared with what there is.
            let clear = self.r#as.map_or_else(|| Kind::of(&certificates), |kind| Ok(kind.into())).map_err(unclear)?;
            if is_new || self.r#as.is_some() {
                form.insert("as".to_owned(), json!(clear.to_string()));
            }
            let pem: String = certificates.iter().map(|certificate| files::pem_of(&certificate.der)).collect();
            form.insert("certificate-data".to_owned(), json!(STANDARD.encode(pem)));
        } else if is_new {
            return Err(Failure::usage("which certificate? --certificate-file-name FILE"));
        } else if self.r#as.is_some() {
            return Err(Failure::usage("--as is for a certificate: --certificate-file-name FILE"));
        }
        Ok(form)
    }

    /// Reads the certificates, and says where they were.
    fn certificates(&self) -> Result<Option<(Vec<Certificate>, String)>, Failure> {
        let (bytes, path) = match (&self.certificate_file_name, &self.certificate_data) {
            (Some(path), _) => (input::read(path)?, path.as_path()),
            (None, Some(text)) => {
                let bytes = STANDARD.decode(text.trim()).map_err(|_| Failure::usage("--certificate-data is no base64"))?;
                (bytes, Path::new("--certificate-data"))
            }
            (None, None) => return Ok(None),
        };
        let found = files::certificates(&bytes, None).map_err(|error| input::file_error(path, &error))?;
        Ok(Some((found.into_iter().map(|located| located.value).collect(), path.display().to_string())))
    }
}
