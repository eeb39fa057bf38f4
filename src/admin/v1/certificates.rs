//! `/v1/principals/{id}/certificates`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderName, HeaderValue};
use serde::Deserialize;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::principals::answer;
use super::{AskedOf, Receipt, invalid};
use crate::admin::operations::certificates::{self, Wish};
use crate::admin::operations::control;
use crate::admin::operations::principals::IfMatch;
use crate::admin::{Error, Input, Refusals, Shared, Wanted};
use crate::failure::Failure;
use crate::pki::Fingerprint;
use crate::pki::generate::NewKey;
use crate::request::service::Caller;
use crate::store::managed::CertificateSource;

/// Certificates to pin.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Registration {
    /// PEM, or base64 of DER or of a PFX. Each certificate is a pin; of a PFX the issuers of others in it are left out.
    certificate: String,
    /// Of a PFX.
    #[schema(value_type = Option<String>)]
    password: Option<Secret>,
}

/// What to generate.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Generation {
    /// The common name; else the principal's name.
    name: Option<String>,
    /// 365 where it is not said.
    days: Option<u32>,
    /// `ec-p256` (the default) or `rsa-3072`.
    key: Option<String>,
    /// Encrypts key and PFX.
    #[schema(value_type = Option<String>)]
    password: Option<Secret>,
}

/// A text that is wiped when it is done with, and never printed.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(String);

impl Secret {
    /// Takes the text out.
    pub(crate) fn take(mut self) -> Zeroizing<String> {
        Zeroizing::new(std::mem::take(&mut self.0))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// Pins certificates for a principal.
#[utoipa::path(post, path = "/v1/principals/{id}/certificates", tag = "certificates", params(("id" = String, Path, description = "its id, or `-`"), AskedOf, ("If-Match" = Option<String>, Header, description = "the version that is meant, as `ETag` told it")), request_body = Registration, responses((status = 200, description = "the principal as it is now", body = super::principals::Changed), Refusals))]
pub(crate) async fn add(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
    Wanted(asked): Wanted<AskedOf>,
    version: IfMatch,
    Input(Registration { certificate, password }): Input<Registration>,
) -> Result<Response, Error> {
    let (which, how) = asked.split(id)?;
    let dry_run = how.dry_run;
    let found = certificates::read(certificate, password.map(Secret::take)).await?;
    let recorded = certificates::add(&shared, &caller, how, (which.clone(), version), &found, CertificateSource::Registered).await?;
    answer(&recorded, &which, dry_run)
}

/// Takes a certificate away from a principal.
#[utoipa::path(delete, path = "/v1/principals/{id}/certificates/{fingerprint}", tag = "certificates", params(("id" = String, Path, description = "its id, or `-`"), ("fingerprint" = String, Path, description = "SHA-256 of the DER, hex"), AskedOf, ("If-Match" = Option<String>, Header, description = "the version that is meant, as `ETag` told it")), responses((status = 200, description = "the principal as it is now", body = super::principals::Changed), Refusals))]
pub(crate) async fn remove(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path((id, fingerprint)): Path<(String, String)>,
    Wanted(asked): Wanted<AskedOf>,
    version: IfMatch,
) -> Result<Response, Error> {
    let (which, how) = asked.split(id)?;
    let dry_run = how.dry_run;
    let fingerprint: Fingerprint = fingerprint.parse().map_err(|error| invalid("fingerprint", format!("is {error}")))?;
    let recorded = certificates::remove(&shared, &caller, how, (which.clone(), version), fingerprint).await?;
    answer(&recorded, &which, dry_run)
}

/// Makes a key and its certificate, pins that for the principal, and answers with both. The key is not kept: this answer is all there is of it.
#[utoipa::path(post, path = "/v1/principals/{id}/certificates/generate", tag = "certificates", params(("id" = String, Path, description = "its id, or `-`"), AskedOf, ("If-Match" = Option<String>, Header, description = "the version that is meant, as `ETag` told it")), request_body = Generation, responses((status = 200, description = "a zip of certificate, key and PFX (in a dry run: what would be recorded); `Portcullis-Ledger-Index` and `Portcullis-Fingerprint` tell of it", content((Vec<u8> = "application/zip"), (Receipt = "application/json"))), Refusals))]
pub(crate) async fn generate(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
    Wanted(asked): Wanted<AskedOf>,
    version: IfMatch,
    Input(Generation { name, days, key, password }): Input<Generation>,
) -> Result<Response, Error> {
    let (which, how) = asked.split(id)?;
    let dry_run = how.dry_run;
    let key = match key.as_deref() {
        None | Some("ec-p256") => NewKey::EcP256,
        Some("rsa-3072") => NewKey::Rsa3072,
        Some(_) => return Err(invalid("key", "is neither ec-p256 nor rsa-3072")),
    };
    let view = control(&shared)?.view();
    // Before a key is made for nobody.
    let name = name.map_or_else(|| which.find(&view.state, &view.rules.snapshot).map(|kept| kept.name().to_owned()), Ok)?;
    let made = certificates::make(Wish { name, days: days.unwrap_or(365), key, password: password.map(Secret::take) }).await?;
    let added = std::slice::from_ref(&made.certificate);
    let recorded = certificates::add(&shared, &caller, how, (which, version), added, CertificateSource::Generated).await?;
    let receipt = Receipt::of(&recorded, dry_run);
    if dry_run {
        return Ok(Json(receipt).into_response());
    }
    let zip = made.zip().map_err(|_| Failure::Internal)?;
    let mut response = zip.to_vec().into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/zip"));
    let file = format!("attachment; filename=\"{}.zip\"", made.stem);
    let values = [
        (header::CONTENT_DISPOSITION, file),
        (FINGERPRINT, made.certificate.fingerprint.to_string()),
        (LEDGER_INDEX, receipt.index.map(|index| index.to_string()).unwrap_or_default()),
    ];
    // INVARIANT: a stem is letters, digits and what needs no quoting.
    headers.extend(values.into_iter().filter_map(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?))));
    Ok(response)
}

const FINGERPRINT: HeaderName = HeaderName::from_static("portcullis-fingerprint");
const LEDGER_INDEX: HeaderName = HeaderName::from_static("portcullis-ledger-index");
