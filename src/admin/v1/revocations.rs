//! `/v1/revocations`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Asked, Receipt, invalid};
use crate::admin::operations::{How, certificates, control, restrictions};
use crate::admin::{Error, Input, Refusals, Shared, Wanted};
use crate::admission::RevokedId;
use crate::failure::Failure;
use crate::request::service::Caller;
use crate::store::managed::Stamp;

/// Which revocations to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filter {
    /// How many at most: 1 to 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// The `next` of the page before: an id.
    after: Option<String>,
    /// Only ids with this in them.
    q: Option<String>,
}

/// Revoked ids, in order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RevocationPage)]
pub(crate) struct Page {
    revocations: Vec<Revoked>,
    next: Option<String>,
}

/// A revoked id of the ledger's.
#[derive(Debug, Serialize, ToSchema)]
struct Revoked {
    id: String,
    /// It holds for everybody.
    everywhere: bool,
    /// What principals that are gone said it of: it holds for these certificates (`sha256:HEX`), keys, and what leads to anchors of these keys
    /// (`sha256/BASE64`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    only: Vec<String>,
    reason: Option<String>,
    added: Option<Stamp>,
    /// The entry of the ledger that says so.
    index: u64,
}

/// What to revoke: an id, or the certificate itself.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revoking {
    /// `sha256:HEX`, `spki:BASE64`, `serial:HEX`, `serial:HEX@spki:BASE64`, `serial-dec:N`, `ski:HEX`, `sha1:HEX`, or bare hex.
    id: Option<String>,
    /// PEM, or base64 of DER: its fingerprint is revoked.
    certificate: Option<String>,
    reason: Option<String>,
}

/// An id, revoked.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Hitting {
    id: String,
    /// Whom it hits, of the certificates that are known here.
    hits: Vec<Hit>,
    warning: Option<String>,
    #[serde(flatten)]
    #[schema(inline)]
    receipt: Receipt,
}

/// Somebody who is hit.
#[derive(Debug, Serialize, ToSchema)]
struct Hit {
    /// `null`: a CA of some authority.
    principal: Option<String>,
    principal_id: Option<String>,
    fingerprint: Option<String>,
}

/// Which id.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// As it was written.
    id: String,
    #[serde(default)]
    dry_run: bool,
    reason: Option<String>,
}

/// Lists the revoked ids of the ledger.
#[utoipa::path(get, path = "/v1/revocations", tag = "revocations", params(Filter), responses((status = 200, description = "a page of them", body = Page), Refusals))]
pub(crate) async fn list(State(shared): State<Arc<Shared>>, Wanted(filter): Wanted<Filter>) -> Result<Json<Page>, Error> {
    let view = control(&shared)?.view();
    let limit = super::limit(filter.limit)?;
    let is_behind = |id: &str| filter.after.as_deref().is_none_or(|after| id > after);
    let fits = |id: &str| filter.q.as_deref().is_none_or(|q| id.to_lowercase().contains(&q.to_lowercase()));
    let all = view.state.revocations().filter(|kept| is_behind(kept.id.as_str()) && fits(kept.id.as_str()));
    let mut revocations: Vec<Revoked> = all
        .take(limit + 1)
        .map(|kept| Revoked {
            id: kept.id.to_string(),
            everywhere: kept.everywhere,
            only: kept.only.iter().map(ToString::to_string).collect(),
            reason: kept.reason.clone(),
            added: kept.added.clone(),
            index: kept.index,
        })
        .collect();
    let more = revocations.len() > limit;
    revocations.truncate(limit);
    let next = revocations.last().filter(|_| more).map(|last| last.id.clone());
    Ok(Json(Page { revocations, next }))
}

/// Revokes an id, for everybody. The answer says whom it hits.
#[utoipa::path(post, path = "/v1/revocations", tag = "revocations", params(Asked), request_body = Revoking, responses((status = 200, description = "revoked; `index` is `null` where it was before", body = Hitting), Refusals))]
pub(crate) async fn revoke(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Wanted(asked): Wanted<Asked>,
    Input(Revoking { id, certificate, reason }): Input<Revoking>,
) -> Result<Json<Hitting>, Error> {
    let How { dry_run, reason: asked } = asked.how();
    let id = match (id, certificate) {
        (Some(id), None) => id.trim().to_owned(),
        (None, Some(text)) => match &certificates::read(text, None).await?[..] {
            [only] => format!("sha256:{}", only.fingerprint),
            _ => return Err(invalid("certificate", "holds more than one: revoke each by itself")),
        },
        _ => return Err(invalid("id", "or `certificate`: one of the two says what to revoke")),
    };
    let parsed: RevokedId = id.parse().map_err(|error| invalid("id", format!("{error}")))?;
    let view = control(&shared)?.view();
    let recorded = restrictions::revoke(&shared, &caller, How { dry_run, reason: reason.or(asked) }, id.clone()).await?;
    let (hits, all) = tokio::task::spawn_blocking(move || restrictions::hits(&view, &parsed)).await.map_err(|_| Failure::Internal)?;
    let warning = match (hits.is_empty(), all) {
        (true, true) => Some(
            "hits no certificate that is known here. Of an authority none is known before it comes; else: is it the id that you mean?"
                .to_owned(),
        ),
        (_, false) => Some("there are more certificates than were looked through: it may hit others".to_owned()),
        (false, true) => None,
    };
    let hits = hits.into_iter().map(Hit::of).collect();
    Ok(Json(Hitting { id, hits, warning, receipt: Receipt::of(&recorded, dry_run) }))
}

/// Takes a revocation back.
#[utoipa::path(delete, path = "/v1/revocations", tag = "revocations", params(Which), responses((status = 200, description = "it is gone", body = Receipt), Refusals))]
pub(crate) async fn unrevoke(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Wanted(Which { id, dry_run, reason }): Wanted<Which>,
) -> Result<Json<Receipt>, Error> {
    let recorded = restrictions::unrevoke(&shared, &caller, How { dry_run, reason }, id).await?;
    Ok(Json(Receipt::of(&recorded, dry_run)))
}

impl Hit {
    fn of(hit: restrictions::Hit) -> Self {
        let (principal_id, principal) = hit.principal.unzip();
        Self { principal, principal_id, fingerprint: hit.fingerprint }
    }
}
