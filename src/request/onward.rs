//! A request on its way to the upstream: hop-by-hop headers go, then what the client claimed, then ours is
//! written; sent; and the answer, or the tunnel, on its way back.

use std::rc::Rc;

use http::header::{self, HeaderMap, HeaderValue};
use http::uri::{PathAndQuery, Uri};
use http::{Extensions, Method, StatusCode, Version};

use super::Context;
use super::bearer;
use super::carried::{Chosen, join_cookies};
use super::current::{Current, Handles};
use super::record::Record;
use super::told::Named;
use crate::address;
use crate::admission::Access;
use crate::failure::Failure;
use crate::gate::{Grant, Hold, Lifeline};
use crate::http1::Upgraded;
use crate::identity;
use crate::message::{Fields, Name, Names, Request, RequestHead, Response, text};
use crate::upstream::hop_by_hop::{self, HopError};
use crate::upstream::{self, Answer, Body, BodyError, Upload, UploadLimits, tunnel};

/// All that is known of a request that may go on.
pub(super) struct Onward<'a> {
    pub(super) context: &'a Rc<Context>,
    pub(super) current: &'a Rc<Current>,
    pub(super) lifeline: &'a Rc<Lifeline>,
    pub(super) handles: &'a Handles,
    pub(super) grant: &'a Grant,
    pub(super) named: &'a Rc<Named>,
    pub(super) needed: Access,
    pub(super) origin: address::Origin,
    /// The path in its normal form, with the query as it came.
    pub(super) target: Option<PathAndQuery>,
}

impl Onward<'_> {
    /// Makes the request that the upstream reads.
    pub(super) fn prepare(&self, head: &mut RequestHead, chosen: Option<&Chosen>, id: HeaderValue) -> Result<(), Failure> {
        let headers = &mut head.headers;
        let asked = hop_by_hop::strip_request(headers).map_err(|error| match error {
            HopError::Named => Failure::Malformed("Connection names a header that every hop needs"),
            HopError::NoToken => Failure::Malformed("Connection names what is no header"),
        })?;
        bearer::strip(headers);
        check_body(headers, self.current.rules.limits.body_bytes)?;
        join_cookies(headers);
        if headers.get_all(&Name::Trailer).any(names_ours) {
            headers.remove(Name::Trailer);
        }

        // Ours is written behind the strip, lest `Connection: client-cert` take it away.
        self.tell(headers);
        if !self.named.is_spelled() {
            headers.insert(Name::Host, &self.named.value);
        }
        headers.insert(Name::XRequestId, id);
        if asked.trailers {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
        }
        if let Some(chosen) = chosen {
            chosen.write(headers);
        }

        if chosen.is_some_and(|chosen| chosen.connect) {
            head.method = Method::GET;
        }
        head.uri = Uri::from(self.target.clone().unwrap_or_else(|| PathAndQuery::from_static("/")));
        head.version = Version::HTTP_11;
        head.extensions = Extensions::new();
        Ok(())
    }

    /// Sends it, and returns the answer: its body still flows, held for as long.
    pub(super) async fn send(
        &self,
        request: &mut Request<Upload>,
        hold: Option<Hold>,
        chosen: Option<Box<Chosen>>,
        record: &mut Record,
    ) -> Result<Response<Body>, Failure> {
        let Some(reached) = &self.handles.upstream else { return Err(Failure::UpstreamUnavailable) };
        let limits = &self.current.rules.limits;
        let limits =
            UploadLimits { bytes: limits.body_bytes.unwrap_or(u64::MAX), progress: limits.body_progress, trailers: clean_trailers };
        let (upload_hold, tunnel_hold) = if chosen.is_some() { (None, hold) } else { (hold, None) };
        let sent;
        (request.body, sent) = Upload::new(record.unread.take(), upload_hold, || self.context.worker.ticker.timer(), limits);
        record.sent.clone_from(&sent);
        let answered = reached.pool.forward(request, sent, clean_trailers, self.grant).await;
        let took = record.upstream_ended();
        let answer = answered.map_err(failure_of).inspect_err(|failure| reached.metrics.failed(failure.code()))?;
        reached.metrics.seconds.observe(took);
        match answer {
            Answer::Response(response) => Ok(response),
            Answer::Switched(response, upstream) => {
                let (chosen, hold) = chosen.zip(tunnel_hold).ok_or(Failure::UpstreamFailed)?;
                switch(response.map(|()| Body::empty()), upstream, (*chosen, hold), self.lifeline, record)
            }
        }
    }
}

impl Chosen {
    /// Writes the one offer that goes on.
    fn write(&self, headers: &mut Fields) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        // INVARIANT: a token of a header value.
        if let Ok(protocol) = HeaderValue::from_bytes(&self.protocol) {
            headers.insert(header::UPGRADE, protocol);
        }
        if let Some(key) = &self.key {
            headers.insert(header::SEC_WEBSOCKET_KEY, key);
        }
        headers.remove(header::CONTENT_LENGTH);
    }
}

/// Opens the tunnel, if the upstream took what was offered.
fn switch(
    mut response: Response<Body>,
    upstream: Upgraded,
    (chosen, hold): (Chosen, Hold),
    lifeline: &Rc<Lifeline>,
    record: &mut Record,
) -> Result<Response<Body>, Failure> {
    if !tunnel::is_switch_to(&response.headers, &chosen.protocol, chosen.key.as_ref()) {
        return Err(Failure::UpstreamFailed);
    }
    let headers = &mut response.headers;
    hop_by_hop::strip_answer(headers);
    headers.remove(header::CONTENT_LENGTH);
    if chosen.connect {
        // RFC 8441, 5: a 200 opens the tunnel, and the handshake's proof is between us and the upstream.
        headers.remove(header::SEC_WEBSOCKET_ACCEPT);
        response.status = StatusCode::OK;
    } else {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        if let Ok(protocol) = HeaderValue::from_bytes(&chosen.protocol) {
            headers.insert(header::UPGRADE, protocol);
        }
    }
    let (tunnelled, lifeline) = (record.tunnelled(), Rc::clone(lifeline));
    tokio::task::spawn_local(async move {
        match tunnel::carry(chosen.client, upstream, hold).await {
            Ok((to_upstream, to_client)) => tunnelled.ended(to_upstream, to_client),
            Err(lapse) => {
                lifeline.cut();
                tunnelled.cut(lapse);
            }
        }
    });
    Ok(response)
}

/// Refuses an expectation that we do not meet, and a body that says itself that it is too large.
pub(super) fn check_body(headers: &mut Fields, limit: Option<u64>) -> Result<(), Failure> {
    // We say 100 ourselves, once somebody wants the body.
    if headers.get_all(&Name::Expect).any(|expect| !expect.eq_ignore_ascii_case(b"100-continue")) {
        return Err(Failure::ExpectationFailed);
    }
    headers.remove_all(Names::of(&[Name::Expect]));
    let length = headers.get(Name::ContentLength).and_then(|length| text(length)?.parse::<u64>().ok());
    match (length, limit) {
        (Some(length), Some(limit)) if length > limit => Err(Failure::BodyTooLarge),
        _ => Ok(()),
    }
}

/// Says what a body that did not come whole means for its request.
pub(super) fn body_failure(error: BodyError) -> Failure {
    match error {
        BodyError::TimedOut => Failure::RequestTimeout,
        BodyError::TooLarge => Failure::BodyTooLarge,
        BodyError::Malformed => Failure::Malformed("the body's framing is malformed"),
        // Its own hold says which denial it is before this is heard; whoever went away hears nothing.
        BodyError::Abandoned | BodyError::Denied | BodyError::Truncated => Failure::Malformed("the body broke off"),
    }
}

fn failure_of(error: upstream::Error) -> Failure {
    match error {
        upstream::Error::Broken | upstream::Error::Malformed => Failure::UpstreamFailed,
        upstream::Error::Client(error) => body_failure(error),
        upstream::Error::Overloaded => Failure::Overloaded,
        upstream::Error::Timeout => Failure::UpstreamTimeout,
        upstream::Error::Unavailable => Failure::UpstreamUnavailable,
    }
}

/// Trailers are headers that come late: none may claim an identity, or say what only headers may.
fn clean_trailers(trailers: &mut HeaderMap) {
    let mut fields = Fields::from(std::mem::take(trailers));
    identity::remove_claimed(&mut fields, Access::Read);
    upstream::remove_forbidden_trailers(&mut fields);
    bearer::strip(&mut fields);
    fields.remove_all(OF_HEADS);
    *trailers = fields.to_map();
}

fn names_ours(trailer: &[u8]) -> bool {
    hop_by_hop::tokens(trailer).any(identity::is_ours)
}

/// What no trailer says for us.
const OF_HEADS: Names = Names::of(&[Name::XForwardedFor, Name::XForwardedHost, Name::XForwardedProto, Name::XRequestId]);
