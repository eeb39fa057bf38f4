//! `/v1/crls`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Asked, Receipt};
use crate::admin::operations::{control, restrictions};
use crate::admin::{Error, Input, Refusals, Shared, Wanted};
use crate::clock::Date;
use crate::request::service::Caller;
use crate::store::managed::{KeptCrl, Refusal, Stamp};

/// The CRLs of the ledger.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Crls {
    crls: Vec<Crl>,
}

/// A CRL.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Crl {
    name: String,
    /// RFC 2253.
    issuer: String,
    /// In hex.
    number: Option<String>,
    this_update: String,
    next_update: Option<String>,
    /// How many serials it lists.
    entries: usize,
    added: Option<Stamp>,
    /// The entry of the ledger that brought it.
    index: u64,
    /// Base64 of the DER; not in the list of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    der: Option<String>,
}

/// A CRL to put.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Putting {
    /// PEM, or base64 of PEM or DER.
    crl: String,
}

/// Lists the CRLs of the ledger.
#[utoipa::path(get, path = "/v1/crls", tag = "revocations", responses((status = 200, description = "all of them", body = Crls), Refusals))]
pub(crate) async fn list(State(shared): State<Arc<Shared>>) -> Result<Json<Crls>, Error> {
    let view = control(&shared)?.view();
    Ok(Json(Crls { crls: view.state.crls().map(|(name, kept)| Crl::of(name, kept, false)).collect() }))
}

/// Returns one CRL.
#[utoipa::path(get, path = "/v1/crls/{name}", tag = "revocations", params(("name" = String, Path)), responses((status = 200, description = "it", body = Crl), Refusals))]
pub(crate) async fn get(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Result<Json<Crl>, Error> {
    let view = control(&shared)?.view();
    let kept = view.state.crl(&name).ok_or(Refusal::NotFound)?;
    Ok(Json(Crl::of(&name, kept, true)))
}

/// Puts a CRL: it counts once a configured CA has signed it.
#[utoipa::path(put, path = "/v1/crls/{name}", tag = "revocations", params(("name" = String, Path), Asked), request_body = Putting, responses((status = 200, description = "it is in force", body = Receipt), Refusals))]
pub(crate) async fn put(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(name): Path<String>,
    Wanted(asked): Wanted<Asked>,
    Input(Putting { crl }): Input<Putting>,
) -> Result<Json<Receipt>, Error> {
    let how = asked.how();
    let dry_run = how.dry_run;
    let recorded = restrictions::put_crl(&shared, &caller, how, name, crl).await?;
    Ok(Json(Receipt::of(&recorded, dry_run)))
}

/// Takes a CRL away.
#[utoipa::path(delete, path = "/v1/crls/{name}", tag = "revocations", params(("name" = String, Path), Asked), responses((status = 200, description = "it is gone", body = Receipt), Refusals))]
pub(crate) async fn remove(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(name): Path<String>,
    Wanted(asked): Wanted<Asked>,
) -> Result<Json<Receipt>, Error> {
    let how = asked.how();
    let dry_run = how.dry_run;
    let recorded = restrictions::remove_crl(&shared, &caller, how, name).await?;
    Ok(Json(Receipt::of(&recorded, dry_run)))
}

impl Crl {
    fn of(name: &str, kept: &KeptCrl, whole: bool) -> Self {
        let crl = &kept.crl;
        Self {
            name: name.to_owned(),
            issuer: crl.issuer.rfc2253(),
            number: crl.number.as_ref().map(|number| number.iter().map(|byte| format!("{byte:02x}")).collect()),
            this_update: Date::of(crl.this_update).to_string(),
            next_update: crl.next_update.map(|at| Date::of(at).to_string()),
            entries: crl.len(),
            added: kept.added.clone(),
            index: kept.index,
            der: whole.then(|| STANDARD.encode(&crl.der)),
        }
    }
}
