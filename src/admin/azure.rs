//! The users of Azure confidential ledger's data plane, over our own principals: `GET /app/users`, `GET`, `PATCH` and `DELETE` of one of
//! them. A user is a certificate, named by its fingerprint, with one of three roles. `docs/adapters.md` says what differs.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::dialect::{Asked, Foreign, is_of_the_certificate};
use super::operations::{self, How, principals};
use super::rights::Rights;
use super::{Detail, Error, Input, Shared, Wanted};
use crate::admission::{Clearance, Snapshot};
use crate::pki::Fingerprint;
use crate::request::service::Caller;
use crate::store::managed::{Change, Document, Refusal};

/// The paths that speak it.
pub(super) const ROOTS: &[&str] = &["/app/users"];

pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new().route("/app/users", get(list)).route("/app/users/{user}", get(show).patch(assign).delete(remove))
}

/// A user, as the original writes it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct User {
    assigned_role: &'static str,
    user_id: String,
}

/// A page of users.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Users {
    ledger_users: Vec<User>,
    /// Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_link: Option<String>,
}

/// Which page. Whatever else is in the query (`api-version`) is for other versions of the original.
#[derive(Debug, Deserialize)]
struct Page {
    /// The name of the principal that ends the page before.
    token: Option<String>,
    #[serde(rename = "api-version")]
    version: Option<String>,
}

/// What is to become of a user.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Patch {
    assigned_role: Option<String>,
    /// As in the path, where it is said again.
    user_id: Option<String>,
}

async fn list(State(shared): State<Arc<Shared>>, Wanted(page): Wanted<Page>) -> Result<Json<Users>, Error> {
    let view = operations::control(&shared)?.view();
    let mut principals = view.state.principals(page.token.as_deref());
    let (mut ledger_users, mut last) = (Vec::new(), None);
    for kept in principals.by_ref().take(PAGE) {
        let document = kept.document();
        let assigned_role = role_of(&Rights::of(&document));
        ledger_users.extend(document.pinned().map(|pin| User { assigned_role, user_id: pin.to_string() }));
        last = Some(kept.name());
    }
    let version = page.version.filter(|version| version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte)));
    let version = version.map(|version| format!("api-version={version}&")).unwrap_or_default();
    let next_link = last.filter(|_| principals.next().is_some()).map(|last| format!("/app/users?{version}token={last}"));
    Ok(Json(Users { ledger_users, next_link }))
}

async fn show(State(shared): State<Arc<Shared>>, Path(user): Path<String>) -> Result<Json<User>, Error> {
    let view = operations::control(&shared)?.view();
    let fingerprint = user_id(&user)?;
    let of_file = |snapshot: &Snapshot| snapshot.allowlist.owner_of_pin(&fingerprint).map(|principal| Rights::of_terms(&principal.terms));
    let rights = view.state.owner(&fingerprint).map(|kept| Rights::of(&kept.document())).or_else(|| of_file(&view.rules.snapshot));
    let rights = rights.ok_or(Refusal::NotFound)?;
    Ok(Json(User { assigned_role: role_of(&rights), user_id: fingerprint.to_string() }))
}

/// Gives a certificate a role: a new principal, or the one whose certificate it is.
async fn assign(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Path(user): Path<String>,
    Input(patch): Input<Patch>,
) -> Result<Json<User>, Error> {
    let fingerprint = user_id(&user)?;
    if patch.user_id.as_deref().is_some_and(|again| again.parse() != Ok(fingerprint)) {
        return Err(Error::invalid(vec![Detail { key: "userId".to_owned(), why: "is not that of the path".to_owned() }]));
    }
    let wanted = patch.assigned_role.as_deref().map(role).transpose()?;
    let id = principals::new_id()?;
    let recorded = operations::change(
        &shared,
        &caller,
        How::default(),
        Box::new(move |state, snapshot| {
            let Some(kept) = state.owner(&fingerprint) else {
                not_of_a_file(snapshot, &fingerprint)?;
                // RFC 7396: of somebody who is not there nothing can be left as it is.
                let role = wanted.ok_or_else(|| Refusal::Invalid(vec![invalid("assignedRole", "is missing")]))?;
                let document = Document {
                    id: id.clone(),
                    name: format!("users/{fingerprint}"),
                    role: Some(role.to_owned()),
                    fingerprints: vec![fingerprint.to_string()],
                    ..Document::default()
                };
                return Ok(vec![Change::put(document.normalised().map_err(Refusal::Invalid)?)]);
            };
            let mut document = kept.document();
            let Some(role) = wanted.filter(|role| *role != role_of(&Rights::of(&document))) else { return Ok(Vec::new()) };
            if !Rights::of(&document).is_plain() {
                return Err(Refusal::Invalid(vec![invalid("assignedRole", "would take away a `deny` or a `when`, which no role can say")]));
            }
            (document.clearance, document.role) = (None, Some(role.to_owned()));
            document.permissions.clear();
            Ok(vec![Change::put(document.normalised().map_err(Refusal::Invalid)?)])
        }),
    )
    .await?;
    let kept = recorded.state.owner(&fingerprint).ok_or(Refusal::NotFound)?;
    Ok(Json(User { assigned_role: role_of(&Rights::of(&kept.document())), user_id: fingerprint.to_string() }))
}

/// Takes a certificate off its principal, and the principal away with its last one.
async fn remove(State(shared): State<Arc<Shared>>, caller: Caller, Path(user): Path<String>) -> Result<StatusCode, Error> {
    let fingerprint = user_id(&user)?;
    operations::change(
        &shared,
        &caller,
        How::default(),
        Box::new(move |state, snapshot| {
            let Some(kept) = state.owner(&fingerprint) else {
                not_of_a_file(snapshot, &fingerprint)?;
                return Err(Refusal::NotFound);
            };
            let mut document = kept.document();
            document.certificates.retain(|entry| entry.fingerprint != fingerprint.to_string());
            let is_last = document.certificates.is_empty() && document.spki_pins.is_empty() && document.authority.is_empty();
            Ok(vec![match is_last {
                true => Change::PrincipalRemove { id: document.id, name: document.name },
                false => Change::put(document),
            }])
        }),
    )
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What files say is theirs to change.
fn not_of_a_file(snapshot: &Snapshot, fingerprint: &Fingerprint) -> Result<(), Refusal> {
    let owner = snapshot.allowlist.owner_of_pin(fingerprint).filter(|owner| !owner.provenance.is_ledger());
    owner.map_or(Ok(()), |owner| Err(Refusal::Static { name: owner.name.to_string() }))
}

fn user_id(text: &str) -> Result<Fingerprint, Error> {
    // 64 digits, as the original writes it, or as `openssl x509 -fingerprint -sha256` does.
    text.parse().map_err(|_| {
        let message = "a user is the SHA-256 fingerprint of a certificate: 64 hex digits";
        Error::new(StatusCode::BAD_REQUEST, "invalid_resource_name", message)
    })
}

fn role(text: &str) -> Result<&'static str, Error> {
    ROLES.into_iter().find(|role| *role == text).ok_or_else(|| {
        let why = format!("is none of {}", ROLES.join(", "));
        Error::invalid(vec![Detail { key: "assignedRole".to_owned(), why }])
    })
}

fn role_of(rights: &Rights) -> &'static str {
    match (rights.clearance, rights.everywhere()) {
        (Clearance::Admin, _) => ADMINISTRATOR,
        (Clearance::User, Some("write")) => CONTRIBUTOR,
        (Clearance::User, Some("read")) => READER,
        _ => CUSTOM,
    }
}

fn invalid(key: &str, why: &str) -> crate::store::managed::Invalid {
    crate::store::managed::Invalid::new(key, why)
}

/// Tells a refusal as CCF does, on which the original is built.
pub(super) fn refusal(error: &Error, asked: &Asked<'_>) -> Foreign {
    #[derive(Serialize)]
    struct Body {
        error: Words,
    }
    #[derive(Serialize)]
    struct Words {
        code: String,
        message: String,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        details: Vec<Part>,
    }
    #[derive(Serialize)]
    struct Part {
        #[serde(skip_serializing_if = "Option::is_none")]
        auth_policy: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        target: Option<String>,
        code: String,
        message: String,
    }
    let code = code(error);
    let of_key =
        |Detail { key, why }: &Detail| Part { auth_policy: None, target: Some(key.clone()), code: code.clone(), message: why.clone() };
    let (status, message, details) = match error.status {
        _ if is_of_the_certificate(error) => {
            let message = match error.code {
                "no_credential" => "No caller user certificate.".to_owned(),
                "not_listed" => "Could not find matching user certificate.".to_owned(),
                _ => error.message.clone(),
            };
            let part = Part { auth_policy: Some("user_cert"), target: None, code: code.clone(), message };
            (StatusCode::UNAUTHORIZED, "Invalid authentication information.".to_owned(), vec![part])
        }
        StatusCode::FORBIDDEN => (error.status, format!("{}: {} {}", error.message, asked.method, asked.path), Vec::new()),
        status => (status, error.message.clone(), error.details.iter().map(of_key).collect()),
    };
    Foreign::new(status, &Body { error: Words { code, message, details } })
}

/// The codes of the original where it has one, else ours in its spelling: `last_admin` is `LastAdmin`.
fn code(error: &Error) -> String {
    if is_of_the_certificate(error) {
        return "InvalidAuthenticationInfo".to_owned();
    }
    match error.code {
        "body_too_large" | "invalid" | "malformed_request" => "InvalidInput".to_owned(),
        "internal" => "InternalError".to_owned(),
        "method_not_allowed" => "UnsupportedHttpVerb".to_owned(),
        "no_route" | "not_found" => "ResourceNotFound".to_owned(),
        "unsupported_media_type" => "UnsupportedContentType".to_owned(),
        _ if error.status == StatusCode::FORBIDDEN => "NotAllowed".to_owned(),
        other => other.split('_').map(capitalised).collect(),
    }
}

fn capitalised(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(characters).collect()
}

/// Of principals: those that hold several certificates make a longer page.
const PAGE: usize = 1000;
const ADMINISTRATOR: &str = "Administrator";
const CONTRIBUTOR: &str = "Contributor";
const READER: &str = "Reader";
/// Anything that the three cannot say: operators, nodes, permissions of some routes.
const CUSTOM: &str = "Custom";
const ROLES: [&str; 3] = [ADMINISTRATOR, CONTRIBUTOR, READER];
