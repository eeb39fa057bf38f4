//! Idempotency keys: whoever repeats a call with the key of one that was answered gets that answer, and nothing is done twice. Kept in
//! memory, of so many calls, each caller's apart from others'.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::Error;
use crate::pki::Fingerprint;

/// What was answered, by caller and key.
#[derive(Debug, Default)]
pub(super) struct Replays(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    answers: HashMap<Key, Known>,
    order: VecDeque<Key>,
}

/// Whose key, and which.
pub(super) type Key = (String, String);

#[derive(Debug)]
struct Known {
    call: Fingerprint,
    /// `None`: under way.
    answer: Option<(StatusCode, HeaderMap, Bytes)>,
}

/// What to do about a call.
#[derive(Debug)]
pub(super) enum Begun {
    Answered(Box<Response<Bytes>>),
    New,
    Refused(Error),
}

impl Replays {
    /// Begins a call, unless it was answered, or is under way. `call` tells it from any other.
    pub(super) fn begin(&self, key: &Key, call: Fingerprint) -> Begun {
        let mut kept = self.kept();
        match kept.answers.get(key) {
            Some(known) if known.call != call => {
                Begun::Refused(conflict("idempotency_key_reused", "this key was another call's: give each call its own"))
            }
            Some(Known { answer: None, .. }) => {
                Begun::Refused(conflict("idempotency_in_progress", "the call with this key is under way: ask again in a moment"))
            }
            Some(Known { answer: Some((status, headers, body)), .. }) => {
                let mut response = Response::new(body.clone());
                *response.status_mut() = *status;
                *response.headers_mut() = headers.clone();
                response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
                Begun::Answered(Box::new(response))
            }
            None => {
                kept.answers.insert(key.clone(), Known { call, answer: None });
                kept.order.push_back(key.clone());
                while kept.order.len() > MOST {
                    let oldest = kept.order.pop_front();
                    oldest.map(|oldest| kept.answers.remove(&oldest));
                }
                Begun::New
            }
        }
    }

    /// Keeps an answer. One that may be another the next time is not, nor one that holds a key: the call may be made again.
    pub(super) fn end(&self, key: &Key, response: &Response<Bytes>) {
        let mut kept = self.kept();
        let is_json =
            response.headers().get(http::header::CONTENT_TYPE).is_none_or(|kind| kind.as_bytes().starts_with(b"application/json"));
        let lasts = !response.status().is_server_error() && response.status() != StatusCode::TOO_MANY_REQUESTS;
        let Some(known) = kept.answers.get_mut(key) else { return };
        match (lasts, is_json && response.body().len() <= MOST_BYTES) {
            (true, true) => known.answer = Some((response.status(), response.headers().clone(), response.body().clone())),
            (true, false) => {
                let gone = conflict("idempotency_not_kept", "this call was made, and its answer is too large or too secret to be kept");
                let gone = gone.render("");
                known.answer = Some((gone.status(), gone.headers().clone(), gone.into_body()));
            }
            (false, _) => self::forget(&mut kept, key),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Whoever panicked had only plain data in hand.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget(kept: &mut Kept, key: &Key) {
    kept.answers.remove(key);
    kept.order.retain(|known| known != key);
}

fn conflict(code: &'static str, message: &str) -> Error {
    Error::new(StatusCode::CONFLICT, code, message)
}

const MOST: usize = 4096;
const MOST_BYTES: usize = 16 * 1024;
