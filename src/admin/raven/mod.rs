//! RavenDB's management of client certificates, over our own principals: `/admin/certificates`, its `edit`, `purge` and `export`, and
//! `/certificates/whoami`. A certificate there is a principal here, with its rank and its routes. `docs/adapters.md` says what differs.

mod form;
mod refusal;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{self, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::operations::certificates::{self, Wish};
use super::operations::principals::{self, IfMatch, Which};
use super::operations::{self, How};
use super::rights::Rights;
use super::{Error, Input, Shared, Wanted as Query};
use crate::admission::{Basis, Clearance, Snapshot, Surface};
use crate::clock;
use crate::failure::Failure;
use crate::pki::generate::{DEFAULT_DAYS, NewKey};
use crate::pki::{Certificate, Fingerprint, files, hex};
use crate::reload::View;
use crate::request::service::{Caller, Via};
use crate::rules::ListenerRules;
use crate::store::managed::{CertificateDocument, CertificateSource, Change, Document, Invalid, Refusal, State as Managed};
use form::{Definition, Wanted, invalid, slug};
pub(super) use refusal::refusal;

/// The paths that speak it.
pub(super) const ROOTS: &[&str] = &["/admin/certificates", WHOAMI];
pub(super) const WHOAMI: &str = "/certificates/whoami";

pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/admin/certificates", get(list).post(generate).put(register).delete(remove))
        .route("/admin/certificates/edit", post(edit))
        .route("/admin/certificates/export", get(export))
        .route("/admin/certificates/purge", delete(purge))
        .route(WHOAMI, get(whoami))
}

/// Makes a key and its certificate, registers that, and answers with both in a zip.
async fn generate(State(shared): State<Arc<Shared>>, caller: Caller, Input(wanted): Input<Wanted>) -> Result<Response, Error> {
    refuse("Certificate", wanted.certificate.is_some())?;
    refuse("Thumbprint", wanted.thumbprint.is_some())?;
    let days = wanted.days(clock::wall().as_secs())?.unwrap_or(DEFAULT_DAYS);
    let document = document(&wanted)?;
    may_begin(&caller, document.clearance())?;
    let (name, password) = (wanted.name()?.to_owned(), wanted.password.map(|password| password.take()));
    let made = certificates::make(Wish { name, days, key: NewKey::default(), password }).await?;
    let pinned = CertificateDocument::of(&made.certificate, CertificateSource::Generated);
    create(&shared, &caller, Document { certificates: vec![pinned], ..document }).await?;
    let zip = made.zip().map_err(|_| Failure::Internal)?;
    Ok(file(zip.to_vec(), &format!("{}.zip", made.stem)))
}

/// Registers the certificates of a file: one principal, of which the first is the primary.
async fn register(State(shared): State<Arc<Shared>>, caller: Caller, Input(wanted): Input<Wanted>) -> Result<StatusCode, Error> {
    refuse("NotAfter", wanted.not_after.is_some())?;
    refuse("Thumbprint", wanted.thumbprint.is_some())?;
    let document = document(&wanted)?;
    may_begin(&caller, document.clearance())?;
    let text = wanted.certificate.ok_or_else(|| invalid("Certificate", "is missing"))?;
    // A PFX without a password has the empty one.
    let password = wanted.password.map(|password| password.take()).unwrap_or_default();
    let found = certificates::read(text, Some(password)).await?;
    let view = operations::control(&shared)?.view();
    let ours: BTreeSet<Fingerprint> = view.rules.listeners.iter().flat_map(|listener| own(listener)).map(|own| own.fingerprint).collect();
    if found.iter().any(|certificate| ours.contains(&certificate.fingerprint)) {
        return Err(invalid("Certificate", "is one that this server serves with: it cannot be a client's"));
    }
    let pinned = found.iter().map(|certificate| CertificateDocument::of(certificate, CertificateSource::Registered)).collect();
    create(&shared, &caller, Document { certificates: pinned, ..document }).await?;
    Ok(StatusCode::CREATED)
}

/// Which certificates to list.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Filter {
    thumbprint: Option<String>,
    name: Option<String>,
    metadata_only: bool,
    secondary: bool,
    start: usize,
    page_size: Option<usize>,
}

/// A page of certificates, and who is admin without being among them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    results: Vec<Definition>,
    loaded_server_cert: Option<String>,
    well_known_admin_certs: Vec<String>,
}

async fn list(State(shared): State<Arc<Shared>>, caller: Caller, Query(filter): Query<Filter>) -> Result<Json<Listed>, Error> {
    let view = operations::control(&shared)?.view();
    let loaded_server_cert = serving(&view, &caller).and_then(|listener| own(listener).next()).map(|own| hex::upper(&own.sha1()));
    // A long list takes a while to look through: not on the thread that serves others.
    tokio::task::spawn_blocking(move || {
        let admins = view.rules.snapshot.allowlist.well_known().map(|fingerprint| fingerprint.to_string().to_ascii_uppercase());
        let well_known_admin_certs = admins.collect();
        let results = match &filter.thumbprint {
            Some(text) => {
                let fingerprint = find(&view.state, text)?;
                let kept = view.state.owner(&fingerprint).ok_or(Refusal::NotFound)?;
                let document = kept.document();
                let at = document.pinned().position(|pinned| pinned == fingerprint).unwrap_or_default();
                Definition::of(&document, true, filter.metadata_only).into_iter().skip(at).take(1).collect()
            }
            None => {
                let named = |document: &Document| {
                    let is = |name: &str| filter.name.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(name));
                    is(&document.name) || document.display_name.as_deref().is_some_and(is)
                };
                let documents = view.state.principals(None).map(|kept| kept.document()).filter(|document| named(document));
                let all = documents.flat_map(|document| Definition::of(&document, filter.secondary, filter.metadata_only));
                all.skip(filter.start).take(filter.page_size.unwrap_or(MOST).min(MOST)).collect()
            }
        };
        Ok(Json(Listed { results, loaded_server_cert, well_known_admin_certs }))
    })
    .await
    .map_err(|_| Failure::Internal)?
}

/// Gives another name, rank and routes. What the original does not know of a principal stays as it is.
async fn edit(State(shared): State<Arc<Shared>>, caller: Caller, Input(wanted): Input<Wanted>) -> Result<StatusCode, Error> {
    for (key, is_there) in
        [("Certificate", wanted.certificate.is_some()), ("NotAfter", wanted.not_after.is_some()), ("Password", wanted.password.is_some())]
    {
        refuse(key, is_there)?;
    }
    let new = document(&wanted)?;
    let thumbprint = wanted.thumbprint.ok_or_else(|| invalid("Thumbprint", "is missing"))?;
    let fingerprint = found(&shared, thumbprint).await?;
    let at = (Which::Certificate(fingerprint), IfMatch::default());
    principals::edit(&shared, &caller, How::default(), at, move |old| {
        let (before, after) = (Rights::of(old), Rights::of(&new));
        let mut edited = Document { display_name: new.display_name.clone(), clearance: new.clearance.clone(), ..old.clone() };
        if before.routes != after.routes {
            if !before.is_plain() {
                return Err(wrong("Permissions", "would take away a `deny` or a `when`, which they cannot say: PATCH /v1/principals can"));
            }
            edited.permissions.clone_from(&new.permissions);
        }
        Ok(edited)
    })
    .await?;
    Ok(StatusCode::CREATED)
}

/// Which certificate to delete.
#[derive(Debug, Deserialize)]
struct Deleted {
    thumbprint: String,
}

/// Deletes a principal by its primary certificate.
async fn remove(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Query(Deleted { thumbprint }): Query<Deleted>,
) -> Result<StatusCode, Error> {
    let fingerprint = found(&shared, thumbprint).await?;
    let plan = move |state: &Managed, snapshot: &Snapshot| {
        let document = &Which::Certificate(fingerprint).find(state, snapshot)?.document();
        if document.pinned().next() != Some(fingerprint) {
            return Err(wrong("thumbprint", "is a secondary certificate: delete its primary, or it alone at /v1/principals"));
        }
        if !(document.spki_pins.is_empty() && document.authority.is_empty()) {
            return Err(wrong("thumbprint", "is not all that proves this principal: change it at /v1/principals"));
        }
        Ok(vec![Change::PrincipalRemove { id: document.id.clone(), name: document.name.clone() }])
    };
    operations::change(&shared, &caller, How::default(), Box::new(plan)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes what has expired.
async fn purge(State(shared): State<Arc<Shared>>, caller: Caller) -> Result<StatusCode, Error> {
    operations::purge::purge(&shared, &caller, How::default()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Answers with the certificates that the caller's listener serves with, without keys.
async fn export(State(shared): State<Arc<Shared>>, caller: Caller) -> Result<Response, Error> {
    let view = operations::control(&shared)?.view();
    let certificates: Vec<Certificate> = serving(&view, &caller).into_iter().flat_map(|listener| own(listener)).collect();
    let pfx = tokio::task::spawn_blocking(move || files::pfx_of(&certificates)).await.map_err(|_| Failure::Internal)?;
    Ok(file(pfx.map_err(|_| Failure::Internal)?, "cluster.server.certificates.pfx"))
}

/// Says whose the caller's certificate is; nothing, where there is none.
async fn whoami(State(shared): State<Arc<Shared>>, caller: Caller) -> Result<Response, Error> {
    let (Some(leaf), Some(principal)) = (&caller.leaf, &caller.principal) else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    let view = operations::control(&shared)?.view();
    let known = view.rules.snapshot.allowlist.find(principal.name.as_str()).filter(|known| known.id == principal.id);
    let rights = known.as_ref().map_or_else(|| Rights::rank(principal.clearance), |known| Rights::of_terms(&known.terms));
    let name = match principal.basis {
        Basis::ServerCertificate { .. } => "Server Certificate",
        Basis::WellKnownAdmin => "Well Known Admin Certificate",
        Basis::Authority { .. } | Basis::Pin | Basis::Renewal { .. } | Basis::SpkiPin => {
            known.as_ref().and_then(|known| known.display_name.as_deref()).unwrap_or(principal.name.as_str())
        }
    };
    let certificate = Certificate::parse(leaf.der.clone()).map_err(|_| Failure::Internal)?;
    let definition = Definition::new(name, &rights, Some(&certificate), &hex::upper(&certificate.sha1()));
    Ok(Json(definition.with_der(STANDARD.encode(&leaf.der))).into_response())
}

/// Reads name, rank and routes.
fn document(wanted: &Wanted) -> Result<Document, Error> {
    let (name, (clearance, permissions)) = (wanted.name()?, wanted.rights()?);
    let document = Document {
        name: slug(name),
        display_name: Some(name.to_owned()),
        clearance: Some(clearance.name().to_owned()),
        permissions,
        ..Document::default()
    };
    document.normalised().map_err(|wrong| Refusal::Invalid(wrong).into())
}

/// Registers a principal under the first free name: names need not differ there, and are told apart by a number here.
async fn create(shared: &Arc<Shared>, caller: &Caller, mut document: Document) -> Result<(), Error> {
    document.id = principals::new_id()?;
    let plan = move |state: &Managed, snapshot: &Snapshot| {
        let is_free = |name: &String| state.principal_named(name).is_none() && snapshot.allowlist.find(name).is_none();
        let numbered = (2..MOST_OF_A_NAME).map(|number| format!("{}-{number}", document.name));
        let name = std::iter::once(document.name.clone()).chain(numbered).find(is_free).ok_or(Refusal::NameTaken)?;
        Ok(vec![Change::put(Document { name, ..document.clone() })])
    };
    operations::change(shared, caller, How::default(), Box::new(plan)).await.map(drop)
}

/// Before a key is made for nobody: the server certificate registers an admin, and nobody else. Asked again when it is done.
fn may_begin(caller: &Caller, clearance: Clearance) -> Result<(), Error> {
    match caller.via {
        Via::Bootstrap if clearance != Clearance::Admin => Err(Refusal::ClearanceTooLow.into()),
        Via::Bootstrap | Via::Socket | Via::Tls => Ok(()),
    }
}

/// Finds a certificate by its thumbprint, on another thread: only one by SHA-256 is looked up at once.
async fn found(shared: &Shared, text: String) -> Result<Fingerprint, Error> {
    let view = operations::control(shared)?.view();
    tokio::task::spawn_blocking(move || find(&view.state, &text)).await.map_err(|_| Failure::Internal)?.map_err(Error::from)
}

fn find(state: &Managed, text: &str) -> Result<Fingerprint, Refusal> {
    let bytes = hex::decode(text.trim()).ok_or_else(|| wrong("thumbprint", "is neither SHA-1 nor SHA-256 in hex"))?;
    if let Ok(sha256) = <[u8; 32]>::try_from(bytes.as_slice()) {
        return Ok(Fingerprint::from_bytes(sha256));
    }
    let sha1 = <[u8; 20]>::try_from(bytes.as_slice()).map_err(|_| wrong("thumbprint", "is neither SHA-1 nor SHA-256 in hex"))?;
    let entries = state.principals(None).flat_map(|kept| kept.document().certificates);
    let mut found = entries.filter(|entry| entry.thumbprint() == Some(sha1)).filter_map(|entry| entry.fingerprint.parse().ok());
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(Refusal::NotFound),
        // Two certificates with one SHA-1 can be made. Neither is meant by it then.
        (Some(_), Some(_)) => Err(wrong("thumbprint", "is that of two certificates: name the one that is meant by SHA-256")),
    }
}

/// Finds the listener that a caller came by; of those on the local socket, one that serves what they call.
fn serving<'v>(view: &'v View, caller: &Caller) -> Option<&'v Arc<ListenerRules>> {
    let ours = || view.rules.listeners.iter().find(|listener| listener.serves.ours().any(|surface| surface == Surface::Admin));
    view.rules.listener(&caller.listener).or_else(ours)
}

fn own(listener: &ListenerRules) -> impl Iterator<Item = Certificate> {
    listener.tls.certificates().filter_map(|der| Certificate::parse(der.clone()).ok())
}

fn file(content: Vec<u8>, name: &str) -> Response {
    let mut response = content.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    // INVARIANT: a file's name here is letters, digits and what needs no quoting.
    if let Ok(value) = HeaderValue::try_from(format!("attachment; filename={name}")) {
        headers.insert(CONTENT_DISPOSITION, value);
    }
    response
}

/// Refuses what a call has no use for, rather than passing over it.
fn refuse(key: &str, is_there: bool) -> Result<(), Error> {
    if is_there { Err(invalid(key, "means nothing in this call")) } else { Ok(()) }
}

fn wrong(key: &str, why: &str) -> Refusal {
    Refusal::Invalid(vec![Invalid::new(key, why)])
}

const CONTENT_DISPOSITION: HeaderName = header::CONTENT_DISPOSITION;
/// In one answer.
const MOST: usize = 10_000;
/// Whoever has more of one name has a program in a loop.
const MOST_OF_A_NAME: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::managed::CertificateDocument;

    /// Two certificates of one SHA-1 can be made; here they are the same text under two fingerprints.
    #[test]
    fn a_thumbprint_of_two_certificates_means_neither() {
        let text = STANDARD.encode(b"twins");
        let entry = |digit: &str| CertificateDocument { fingerprint: digit.repeat(64), der: Some(text.clone()), ..Default::default() };
        let thumbprint = entry("1").thumbprint().map(|sha1| hex::upper(&sha1)).unwrap_or_default();
        let mut state = Managed::default();
        for (index, digit) in (0..).zip(["1", "2"]) {
            let document = Document {
                id: format!("p-{}", digit.replace('1', "a").replace('2', "b").repeat(12)),
                name: format!("ci/{digit}"),
                certificates: vec![entry(digit)],
                ..Document::default()
            };
            assert_eq!(find(&state, &"3".repeat(40)), Err(Refusal::NotFound));
            state.replay(index, &Change::put(document)).expect("good");
            if digit == "1" {
                assert_eq!(find(&state, &thumbprint).map(|found| found.to_string()), Ok("1".repeat(64)));
            }
        }
        let refused = find(&state, &thumbprint);
        assert!(
            matches!(&refused, Err(Refusal::Invalid(wrong)) if wrong[0].why.contains("name the one that is meant by SHA-256")),
            "{refused:?}"
        );
        assert_eq!(find(&state, &"2".repeat(64)).map(|found| found.to_string()), Ok("2".repeat(64)));
    }
}
