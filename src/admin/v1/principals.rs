//! `/v1/principals`.

mod page;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Asked, AskedOf, Receipt, etag};
use crate::admin::operations::principals::{IfMatch, Which};
use crate::admin::operations::{control, principals, purge};
use crate::admin::{Error, Input, Refusals, Shared, Wanted};
use crate::admission::Provenance;
use crate::failure::Failure;
use crate::reload::{Recorded, View};
use crate::request::service::Caller;
use crate::store::managed::{Change, Document, Managed};
pub(crate) use page::{Filter, Page};

/// A principal, and where it is written.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Principal {
    #[serde(flatten)]
    #[schema(inline)]
    document: Document,
    /// `managed`: in the ledger; `static`: in a file, and only changed there.
    source: &'static str,
    /// `file:line`, or `ledger entry 17`.
    written: String,
}

/// A principal after a change.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Changed {
    principal: Option<Principal>,
    #[serde(flatten)]
    #[schema(inline)]
    receipt: Receipt,
}

/// All managed principals, as they are or are to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Set {
    /// One that has an id, or the name of one, is that one; others are new.
    principals: Vec<Document>,
}

/// What a change of many came to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Replaced {
    added: Names,
    changed: Names,
    removed: Names,
    #[serde(flatten)]
    #[schema(inline)]
    receipt: Receipt,
}

/// What a purge came to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Purged {
    /// Who has expired, or has a certificate that has, and stays as it is: the last admin, what is protected, who ranks above the caller.
    /// 1000 at most.
    left: Vec<Left>,
    #[serde(flatten)]
    #[schema(inline)]
    replaced: Replaced,
}

/// Somebody who stays, and why.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Left {
    name: String,
    /// As an error would say: `last_admin`, `protected`, …
    code: &'static str,
    message: String,
}

/// How many, and the first of them.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Names {
    count: usize,
    /// 1000 at most.
    names: Vec<String>,
}

/// Lists principals, by name.
#[utoipa::path(get, path = "/v1/principals", tag = "principals", params(Filter), responses((status = 200, description = "a page of them", body = Page), Refusals))]
pub(crate) async fn list(State(shared): State<Arc<Shared>>, Wanted(filter): Wanted<Filter>) -> Result<Json<Page>, Error> {
    let view = control(&shared)?.view();
    let filter = filter.read()?;
    // A list of a million takes a while to look through: not on the thread that serves others.
    let page = tokio::task::spawn_blocking(move || filter.page(&view)).await.map_err(|_| Failure::Internal)?;
    Ok(Json(page))
}

/// Returns the managed principals, all of one moment: what `PUT` takes back.
#[utoipa::path(get, path = "/v1/principals/export", tag = "principals", responses((status = 200, description = "all of them", body = Set), Refusals))]
pub(crate) async fn export(State(shared): State<Arc<Shared>>) -> Result<Response, Error> {
    let view = control(&shared)?.view();
    let written = tokio::task::spawn_blocking(move || page::export(&view.state, MOST_EXPORTED)).await.map_err(|_| Failure::Internal)?;
    let Some(body) = written else {
        let why = "there is more than a PUT would take back: list them page by page, by GET /v1/principals";
        return Err(Error::new(StatusCode::CONFLICT, "too_many", why));
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// Registers a principal.
#[utoipa::path(post, path = "/v1/principals", tag = "principals", params(Asked), request_body = Document, responses(
    (status = 200, description = "a dry run: what would come of it", body = Changed),
    (status = 201, description = "registered", body = Changed),
    Refusals
))]
pub(crate) async fn create(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Wanted(asked): Wanted<Asked>,
    Input(document): Input<Document>,
) -> Result<Response, Error> {
    let how = asked.how();
    let dry_run = how.dry_run;
    let (id, recorded) = principals::create(&shared, &caller, how, document).await?;
    let mut response = told(&recorded, &id, dry_run);
    if !dry_run {
        *response.status_mut() = StatusCode::CREATED;
        // INVARIANT: an id is letters, digits and a hyphen.
        if let Ok(location) = format!("/v1/principals/{id}").try_into() {
            response.headers_mut().insert(header::LOCATION, location);
        }
    }
    Ok(response)
}

/// Makes the managed principals exactly these.
#[utoipa::path(put, path = "/v1/principals", tag = "principals", params(Asked), request_body = Set, responses((status = 200, description = "what came of it", body = Replaced), Refusals))]
pub(crate) async fn replace_all(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Wanted(asked): Wanted<Asked>,
    Input(set): Input<Set>,
) -> Result<Json<Replaced>, Error> {
    let how = asked.how();
    let dry_run = how.dry_run;
    let before = control(&shared)?.view();
    let recorded = principals::replace_all(&shared, &caller, how, set.principals).await?;
    Ok(Json(Replaced::of(&recorded, &before, dry_run)))
}

/// Takes away what has expired: certificates, and whoever has nothing else.
#[utoipa::path(post, path = "/v1/purge-expired", tag = "principals", params(Asked), responses((status = 200, description = "what came of it", body = Purged), Refusals))]
pub(crate) async fn purge(State(shared): State<Arc<Shared>>, caller: Caller, Wanted(asked): Wanted<Asked>) -> Result<Json<Purged>, Error> {
    let how = asked.how();
    let dry_run = how.dry_run;
    let before = control(&shared)?.view();
    let (recorded, left) = purge::purge(&shared, &caller, how).await?;
    Ok(Json(Purged {
        left: left.into_iter().take(MOST_NAMES).map(Left::of).collect(),
        replaced: Replaced::of(&recorded, &before, dry_run),
    }))
}

/// Returns one principal.
#[utoipa::path(get, path = "/v1/principals/{id}", tag = "principals", params(("id" = String, Path, description = "its id, or `-`"), Named), responses((status = 200, description = "it; `ETag` is its version", body = Principal), Refusals))]
pub(crate) async fn get(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Wanted(named): Wanted<Named>,
) -> Result<Response, Error> {
    let view = control(&shared)?.view();
    let which = super::which(id, named.name)?;
    if let Ok(kept) = which.find(&view.state, &view.rules.snapshot) {
        let mut response = Json(Principal::managed(kept)).into_response();
        response.headers_mut().insert(header::ETAG, etag(kept.document().version));
        return Ok(response);
    }
    let found = tokio::task::spawn_blocking(move || which.find_static(&view.rules.snapshot)).await.map_err(|_| Failure::Internal)?;
    let found = found.ok_or(crate::store::managed::Refusal::NotFound)?;
    Ok(Json(Principal::of_file(&found)).into_response())
}

/// Which principal.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Named {
    /// By its name, in any case; the path says `-` then.
    name: Option<String>,
}

/// Changes some keys of a principal: a JSON merge patch (RFC 7396), in which `null` takes a key away.
#[utoipa::path(patch, path = "/v1/principals/{id}", tag = "principals", params(("id" = String, Path, description = "its id, or `-`"), AskedOf, ("If-Match" = Option<String>, Header, description = "the version that is meant, as `ETag` told it")), request_body = serde_json::Value, responses((status = 200, description = "as it is now", body = Changed), Refusals))]
pub(crate) async fn patch(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
    Wanted(asked): Wanted<AskedOf>,
    version: IfMatch,
    Input(patch): Input<serde_json::Value>,
) -> Result<Response, Error> {
    let (which, how) = asked.split(id)?;
    let dry_run = how.dry_run;
    let recorded = principals::patch(&shared, &caller, how, (which.clone(), version), patch).await?;
    answer(&recorded, &which, dry_run)
}

/// Puts another document in the place of a principal's own.
#[utoipa::path(put, path = "/v1/principals/{id}", tag = "principals", params(("id" = String, Path, description = "its id, or `-`"), AskedOf, ("If-Match" = Option<String>, Header, description = "the version that is meant, as `ETag` told it")), request_body = Document, responses((status = 200, description = "as it is now", body = Changed), Refusals))]
pub(crate) async fn replace(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
    Wanted(asked): Wanted<AskedOf>,
    version: IfMatch,
    Input(document): Input<Document>,
) -> Result<Response, Error> {
    let (which, how) = asked.split(id)?;
    let dry_run = how.dry_run;
    let recorded = principals::replace(&shared, &caller, how, (which.clone(), version), document).await?;
    answer(&recorded, &which, dry_run)
}

/// Deletes a principal.
#[utoipa::path(delete, path = "/v1/principals/{id}", tag = "principals", params(("id" = String, Path, description = "its id, or `-`"), AskedOf, ("If-Match" = Option<String>, Header, description = "the version that is meant, as `ETag` told it")), responses((status = 200, description = "it is gone", body = Receipt), Refusals))]
pub(crate) async fn delete(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(id): Path<String>,
    Wanted(asked): Wanted<AskedOf>,
    version: IfMatch,
) -> Result<Json<Receipt>, Error> {
    let (which, how) = asked.split(id)?;
    let dry_run = how.dry_run;
    let recorded = principals::delete(&shared, &caller, how, (which, version)).await?;
    Ok(Json(Receipt::of(&recorded, dry_run)))
}

/// Tells a principal as a change left it.
pub(super) fn answer(recorded: &Recorded, which: &Which, dry_run: bool) -> Result<Response, Error> {
    let put = recorded.changes.iter().find_map(|change| match change {
        Change::PrincipalPut { document } => Some(document.id.clone()),
        _ => None,
    });
    let id = put.or_else(|| match which {
        Which::Id(id) => Some(id.clone()),
        Which::Name(name) => recorded.state.principal_named(name).map(|kept| kept.id().to_string()),
        Which::Certificate(fingerprint) => recorded.state.owner(fingerprint).map(|kept| kept.id().to_string()),
    });
    Ok(told(recorded, &id.unwrap_or_default(), dry_run))
}

fn told(recorded: &Recorded, id: &str, dry_run: bool) -> Response {
    let kept = recorded.state.principal(id);
    let changed = Changed { principal: kept.map(|kept| Principal::managed(kept)), receipt: Receipt::of(recorded, dry_run) };
    let mut response = Json(changed).into_response();
    if let Some(kept) = kept {
        response.headers_mut().insert(header::ETAG, etag(kept.document().version));
    }
    response
}

impl Principal {
    fn managed(kept: &Managed) -> Self {
        Self { document: kept.document(), source: "managed", written: Provenance::ledger(kept.index).to_string() }
    }

    fn of_file(principal: &crate::admission::Principal) -> Self {
        Self { document: principals::describe(principal), source: "static", written: principal.provenance.to_string() }
    }
}

impl Replaced {
    fn of(recorded: &Recorded, before: &View, dry_run: bool) -> Self {
        let (mut added, mut changed, mut removed) = (Names::default(), Names::default(), Names::default());
        for change in &recorded.changes {
            match change {
                Change::PrincipalPut { document } if document.version == 1 => added.take(&document.name),
                Change::PrincipalPut { document } => changed.take(&document.name),
                Change::PrincipalRemove { id, name } => {
                    let known = before.state.principal(id).map(|kept| kept.name().to_owned());
                    removed.take(known.as_ref().unwrap_or(name));
                }
                _ => {}
            }
        }
        Self { added, changed, removed, receipt: Receipt::of(recorded, dry_run) }
    }
}

impl Left {
    fn of(left: purge::Left) -> Self {
        Self { name: left.name, code: left.why.code(), message: left.why.to_string() }
    }
}

impl Names {
    fn take(&mut self, name: &str) {
        self.count += 1;
        if self.names.len() < MOST_NAMES {
            self.names.push(name.to_owned());
        }
    }
}

const MOST_NAMES: usize = 1000;
/// What `needs` lets a `PUT` of all of them be long.
const MOST_EXPORTED: usize = 256 << 20;
