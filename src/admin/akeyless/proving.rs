//! `get-cert-challenge` and `auth`: whoever signs what we made gets a token, if the decision admits the certificate. What was proven, and
//! whether it was, is known before anything is asked of the allowlist: no answer, and no answer's time, tells who is on it.

use std::sync::Arc;

use aws_lc_rs::error::Unspecified;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use serde::Serialize;
use zeroize::{Zeroize as _, Zeroizing};

use super::bodies::{Answer, Proof, Wanted};
use super::incoming::{Incoming, Refused, failed, malformed};
use crate::admin::Shared;
use crate::admission::{Admission, Basis, Candidate, Claims, Decision, Denial, PrincipalId};
use crate::challenge::cert_data::{self, CertData};
use crate::challenge::{Challenges, Claim, Order, Refusal};
use crate::date::Date;
use crate::failure::Failure;
use crate::gate::Proven;
use crate::log::Entry;
use crate::pki::{PrivateKey, files};
use crate::request::service::Caller;

pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new().route(CHALLENGE, post(challenge)).route(AUTH, post(auth))
}

/// A token.
#[derive(Serialize)]
struct Issued {
    token: String,
    expiration: String,
    creds: Creds,
}

#[derive(Serialize)]
struct Creds {
    access_id: String,
    /// Seconds since the epoch.
    expiry: u64,
    token: String,
}

async fn challenge(State(shared): State<Arc<Shared>>, caller: Caller, body: Bytes) -> Response {
    let made = || -> Result<String, Refused> {
        let incoming = Incoming::of(&shared, &caller, CHALLENGE)?;
        let Wanted { access_id, data } = Wanted::read(&body).map_err(|why| malformed(&why))?;
        let claim = Claim { origin: &incoming.arrival.dialled, access_id: &access_id, leaf: data.leaf() };
        let challenge = incoming.ready.challenges.issue(&claim).ok_or_else(|| failed(Failure::Internal))?;
        Ok(STANDARD.encode(challenge))
    };
    made().map_or_else(|refused| *refused, |challenge| Json(serde_json::json!({ "challenge": challenge })).into_response())
}

async fn auth(State(shared): State<Arc<Shared>>, caller: Caller, headers: HeaderMap, body: Bytes) -> Response {
    let answered = match Incoming::of(&shared, &caller, AUTH) {
        Ok(incoming) => match read(body) {
            Ok(answer) => authenticate(&shared, &incoming, answer, &headers).await,
            Err(refused) => Err(refused),
        },
        Err(refused) => Err(refused),
    };
    answered.map_or_else(|refused| *refused, |issued| Json(issued).into_response())
}

/// A private key stays nowhere that we can reach, nor does what could not be read; engines keep pieces of what they read for a while.
fn read(body: Bytes) -> Result<Answer, Refused> {
    let answer = Answer::read(&body);
    if !matches!(&answer, Ok(Answer { proof: Proof::Signature { .. }, .. }))
        && let Ok(mut body) = body.try_into_mut()
    {
        body.as_mut().zeroize();
    }
    answer.map_err(|why| malformed(&why))
}

async fn authenticate(shared: &Shared, incoming: &Incoming<'_>, answer: Answer, headers: &HeaderMap) -> Result<Issued, Refused> {
    let Answer { access_id: id, cert_data: text, proof } = answer;
    let data = CertData::read(&text).map_err(|why| incoming.refuse(Denial::Unsuitable, &format!("cert-data {why}"), &id, None))?;
    let accepts_keys = incoming.view.rules.tokens.settings().accept_key_data;
    let proven = prove(&incoming.ready.challenges, &incoming.arrival.dialled, &id, &data, proof, accepts_keys).await;
    let proven = proven.map_err(|(refusal, why)| {
        if refusal == Refusal::Full {
            shared.metrics.overloaded("challenges");
        }
        incoming.refuse(refusal.denial(), why, &id, Some(&data.leaf().fingerprint))
    })?;
    // Only now is anything asked that hangs on who is known.
    let principal: PrincipalId =
        id.parse().map_err(|_| incoming.refuse(Denial::NotListed, "the access id is none", &id, Some(&data.leaf().fingerprint)))?;
    let chain = data.chain();
    let candidate = || Candidate::claimed(&chain, Claims { principal, token: None });
    let decision = incoming.judge(candidate, headers, proven)?;
    let admission = decision.admission().ok_or_else(|| failed(Failure::Internal))?;
    issue(incoming, &decision, admission, &data)
}

/// Checks what was sent. The key itself on a thread that may be long at it: it is checked whole before it signs.
async fn prove(
    challenges: &Arc<Challenges>,
    dialled: &str,
    id: &str,
    data: &CertData,
    proof: Proof,
    accepts_keys: bool,
) -> Result<Proven, (Refusal, &'static str)> {
    let why = |refusal: Refusal| (refusal, refusal.why());
    let claim = Claim { origin: dialled, access_id: id, leaf: data.leaf() };
    let key = match proof {
        Proof::Signature { challenge, signature } => {
            // What is no base64 is no challenge, and no signature either.
            let [challenge, signature] = [challenge, signature].map(|text| cert_data::base64(&text, MOST_PROOF).unwrap_or_default());
            return challenges.take(&claim, &challenge, &signature).map_err(why);
        }
        Proof::Key(_) if !accepts_keys => {
            let finding = "a private key was sent, and [token] accept_key_data is off: whoever sent it should replace it";
            return Err((Refusal::Signature, finding));
        }
        Proof::Key(key) => key,
    };
    let (challenges, dialled, id, data) = (Arc::clone(challenges), dialled.to_owned(), id.to_owned(), data.clone());
    let taken = tokio::task::spawn_blocking(move || {
        let key = private_key(&key).map_err(|Unspecified| Refusal::Signature)?;
        challenges.take_key(&Claim { origin: &dialled, access_id: &id, leaf: data.leaf() }, &key)
    });
    taken.await.unwrap_or(Err(Refusal::Signature)).map_err(why)
}

/// Reads base64 of PEM or DER, or PEM as it is: like `cert-data`.
fn private_key(text: &str) -> Result<PrivateKey, Unspecified> {
    let text = text.trim_ascii();
    let bytes = match text.starts_with("-----BEGIN ") {
        true => Zeroizing::new(text.as_bytes().to_vec()),
        false => Zeroizing::new(cert_data::base64(text, MOST_PROOF).map_err(|_| Unspecified)?),
    };
    files::private_key(&bytes, None).map_err(|_| Unspecified)
}

fn issue(incoming: &Incoming<'_>, decision: &Decision, admission: &Admission, data: &CertData) -> Result<Issued, Refused> {
    let (principal, leaf) = (&admission.principal, data.leaf());
    // An SPKI pin proves a key and nothing else: what its holder wrote into the certificate is told to nobody.
    let by_key_alone = matches!(admission.basis, Basis::SpkiPin);
    let told = principal.terms.audit_claims.iter().filter(|_| !by_key_alone);
    let audit: Vec<(String, String)> = told.map(|claim| (claim.to_string(), claim.values(leaf).join(","))).collect();
    let shown = incoming.caller.leaf.as_ref().map(|shown| shown.fingerprint);
    let order = Order {
        principal: principal.id,
        name: &principal.name,
        chain: &data.chain(),
        // RFC 8705, 3: who shows the certificate here shows it there.
        bound: shown.filter(|shown| *shown == leaf.fingerprint),
        now: incoming.now(),
        ttl: principal.terms.token_ttl.map(|ttl| ttl.as_secs()),
        valid_until: decision.valid_until.as_secs(),
        identifier: Some(&admission.identifier),
        audit: &audit,
    };
    let issued = incoming.view.rules.tokens.issue(&order).map_err(|error| {
        tracing::error!(%error, cause = std::error::Error::source(&error).map(tracing::field::display), "no token was issued");
        failed(Failure::Internal)
    })?;
    tell(incoming, decision, admission, leaf.fingerprint.as_bytes(), &issued.jti);
    let creds = Creds { access_id: principal.id.to_string(), expiry: issued.expires, token: issued.token.clone() };
    Ok(Issued { token: issued.token, expiration: Date::of(issued.expires).to_string(), creds })
}

/// Writes down that a token was issued: which, not what it is.
fn tell(incoming: &Incoming<'_>, decision: &Decision, admission: &Admission, fingerprint: &[u8; 32], jti: &str) {
    let (caller, principal) = (incoming.caller, &admission.principal);
    let (name, id) = (principal.name.to_string(), principal.id.to_string());
    let log = incoming.ready.audit.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    log.line(&Entry {
        event: "token",
        principal: Some(&name),
        principal_id: Some(&id),
        fingerprint: Some(fingerprint),
        listener: &caller.listener,
        connection: incoming.arrival.asker.connection,
        peer: incoming.arrival.asker.peer,
        client: caller.address,
        request_id: Some(&caller.request_id),
        action: Some("token.issue"),
        object: Some(jti),
        verdict: Some("admit"),
        generation: decision.generation,
        ..Entry::default()
    });
    log.flush();
}

const CHALLENGE: &str = "/api/v2/get-cert-challenge";
const AUTH: &str = "/api/v2/auth";
/// Of a challenge, a signature or a key, decoded.
const MOST_PROOF: usize = 16 << 10;
