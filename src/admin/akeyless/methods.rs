//! Methods of authentication by certificate: made, changed, shown, listed, deleted. A method is a managed principal, its access id the
//! principal's; without a permission of its own it lets nobody do anything.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::form::{Form, bare, refuse_tokens};
use super::method::Method;
use crate::admin::operations::principals::{IfMatch, Which};
use crate::admin::operations::{self, How, principals};
use crate::admin::{Error, Input, Shared};
use crate::request::service::Caller;
use crate::store::managed::Refusal;

pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/v2/auth-method-create-cert", post(create))
        .route("/api/v2/auth-method-update-cert", post(update))
        .route("/api/v2/auth-method-get", post(get))
        .route("/api/v2/auth-method-list", post(list))
        .route("/api/v2/auth-method-delete", post(delete))
}

/// A method that was made.
#[derive(Debug, Serialize)]
struct Made {
    access_id: String,
    name: String,
}

/// A method that was changed or deleted.
#[derive(Debug, Serialize)]
struct Done {
    name: String,
}

/// Which method.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Named {
    name: String,
    /// How the original's command line prints the answer.
    #[serde(rename = "json")]
    _json: Option<IgnoredAny>,
    token: Option<String>,
    uid_token: Option<String>,
}

/// Which methods.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Filter {
    /// A part of the name, in any case.
    filter: Option<String>,
    /// The `next_page` of the page before: a name.
    pagination_token: Option<String>,
    r#type: Option<Vec<String>>,
    /// How the original's command line prints the answer.
    #[serde(rename = "json")]
    _json: Option<IgnoredAny>,
    token: Option<String>,
    uid_token: Option<String>,
}

/// A page of methods.
#[derive(Debug, Serialize)]
struct Page {
    auth_methods: Vec<Method>,
    /// Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page: Option<String>,
}

async fn create(State(shared): State<Arc<Shared>>, caller: Caller, Input(form): Input<Form>) -> Result<Json<Made>, Error> {
    let form = form.judged(&caller);
    let document = form.make().map_err(Refusal::Invalid)?;
    let made = principals::create(&shared, &caller, How::default(), document).await;
    let (access_id, _) = made.map_err(in_their_words)?;
    Ok(Json(Made { access_id, name: form.name }))
}

async fn update(State(shared): State<Arc<Shared>>, caller: Caller, Input(form): Input<Form>) -> Result<Json<Done>, Error> {
    let form = form.judged(&caller);
    let name = form.new_name.as_ref().unwrap_or(&form.name).clone();
    let at = (method(&form.name), IfMatch::default());
    let changed = principals::edit(&shared, &caller, How::default(), at, move |old| form.change(old).map_err(Refusal::Invalid)).await;
    changed.map_err(in_their_words)?;
    Ok(Json(Done { name }))
}

async fn get(State(shared): State<Arc<Shared>>, caller: Caller, Input(named): Input<Named>) -> Result<Json<Method>, Error> {
    without_token(&caller, named.token.as_deref(), named.uid_token.as_deref())?;
    let view = operations::control(&shared)?.view();
    let which = method(&named.name);
    match which.find(&view.state, &view.rules.snapshot) {
        Ok(kept) => Ok(Json(Method::of(&kept.document()))),
        Err(refusal) => {
            let of_file = which.find_static(&view.rules.snapshot).ok_or(refusal)?;
            Ok(Json(Method::of(&principals::describe(&of_file))))
        }
    }
}

async fn list(State(shared): State<Arc<Shared>>, caller: Caller, Input(filter): Input<Filter>) -> Result<Json<Page>, Error> {
    without_token(&caller, filter.token.as_deref(), filter.uid_token.as_deref())?;
    let is_meant = filter.r#type.as_ref().is_none_or(|kinds| kinds.is_empty() || kinds.iter().any(|kind| KINDS.contains(&kind.as_str())));
    let part = filter.filter.map(|part| part.to_ascii_lowercase()).unwrap_or_default();
    let view = operations::control(&shared)?.view();
    let after = filter.pagination_token.as_deref().map(bare).filter(|after| !after.is_empty());
    let fits = |name: &str| is_meant && format!("/{}", name.to_ascii_lowercase()).contains(&part);
    let mut found = view.state.principals(after).filter(|kept| fits(kept.name())).take(PAGE + 1).peekable();
    let (mut auth_methods, mut last) = (Vec::new(), None);
    while auth_methods.len() < PAGE
        && let Some(kept) = found.next()
    {
        auth_methods.push(Method::of(&kept.document()));
        last = Some(format!("/{}", kept.name()));
    }
    let next_page = last.filter(|_| found.peek().is_some());
    Ok(Json(Page { auth_methods, next_page }))
}

async fn delete(State(shared): State<Arc<Shared>>, caller: Caller, Input(named): Input<Named>) -> Result<Json<Done>, Error> {
    without_token(&caller, named.token.as_deref(), named.uid_token.as_deref())?;
    let at = (method(&named.name), IfMatch::default());
    principals::delete(&shared, &caller, How::default(), at).await?;
    Ok(Json(Done { name: named.name }))
}

/// Refuses a token that nobody was judged by.
fn without_token(caller: &Caller, token: Option<&str>, uid_token: Option<&str>) -> Result<(), Refusal> {
    let wrong = refuse_tokens(token.filter(|_| !caller.token_in_body), uid_token);
    if wrong.is_empty() { Ok(()) } else { Err(Refusal::Invalid(wrong)) }
}

fn method(name: &str) -> Which {
    Which::Name(bare(name).to_owned())
}

/// What is wrong with a document is told by the argument that said it.
fn in_their_words(mut error: Error) -> Error {
    for detail in &mut error.details {
        let found = KEYS.iter().find_map(|(ours, theirs)| Some((detail.key.strip_prefix(ours)?, theirs)));
        if let Some((rest, theirs)) = found {
            detail.key = format!("{theirs}{rest}");
        }
    }
    error
}

/// What the original calls ours; it has others.
const KINDS: [&str; 2] = ["cert", "certificate"];
/// Methods on a page.
const PAGE: usize = 1000;
/// Keys of a document, and the arguments that set them.
const KEYS: [(&str, &str); 17] = [
    ("audit_claims", "audit-logs-claims"),
    ("authority[0].certificates", "certificate-data"),
    ("authority[0].common_names", "bound-common-names"),
    ("authority[0].dns_sans", "bound-dns-sans"),
    ("authority[0].email_sans", "bound-email-sans"),
    ("authority[0].extensions", "bound-extensions"),
    ("authority[0].organizational_units", "bound-organizational-units"),
    ("authority[0].uri_sans", "bound-uri-sans"),
    ("certificates", "certificate-data"),
    ("client_ips", "bound-ips"),
    ("cors_origins", "allowed-cors"),
    ("expiry_notice", "expiration-event-in"),
    ("gateway_ips", "gw-bound-ips"),
    ("identifier", "unique-identifier"),
    ("revoked_ids", "revoked-cert-ids"),
    ("token_ttl", "jwt-ttl"),
    ("require_when", "force-sub-claims"),
];
