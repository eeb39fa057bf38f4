//! A request that is ours to answer: the same steps as one that goes on to an upstream, in the same order, and a
//! service at their end. What is asked of the caller is known before its body is read.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderValue};
use http::{Method, Uri};
use http_body::Body as _;

use super::asked::{self, Asked};
use super::bodies::Room;
use super::current::Current;
use super::onward::{self, check_body};
use super::record::Record;
use super::service::{Arrival, Call, Caller, Page};
use super::{Context, enter, within};
use crate::admission::{Access, Denial, Origin, RequestScope, RouteAuth, RouteScope, Scope};
use crate::failure::Failure;
use crate::gate::{Hold, Inquiry, Lifeline};
use crate::identity;
use crate::message::{Fields, RequestHead, Response};
use crate::routing::{self, cross_site};
use crate::rules::Serves;
use crate::upstream::hop_by_hop::{self, HopError};
use crate::upstream::{Body, Upload, UploadLimits};

/// A request for one of our own surfaces.
pub(super) struct OurCall<'a> {
    pub(super) context: &'a Rc<Context>,
    pub(super) current: &'a Current,
    pub(super) serves: &'a Serves,
    pub(super) asked: &'a Asked<'a>,
}

impl OurCall<'_> {
    /// The steps. Their order is the policy, as for every request.
    pub(super) async fn answer(&self, head: &RequestHead, lifeline: &Rc<Lifeline>, record: &mut Record) -> Result<Response<Body>, Failure> {
        let (context, service) = (self.context, self.context.worker.service.as_deref());
        let needs = |surface, method: &Method, path: &str| service.and_then(|service| service.needs(surface, method, path));
        let call = asked::Call::of(self.asked, self.serves, &head.method, needs);
        record.ours(call.surface, &head.uri);
        let lists = |origin: Option<&str>| call.lists(&self.current.rules.snapshot, origin);
        if let Some(preflight) = call.preflight(&head.method, &head.headers) {
            return match lists(preflight.origin()) {
                true => Ok(super::preflight_answer(&preflight)),
                false => Err(record.refuse(Failure::Denied(Denial::OriginDenied), &self.asked.authority.host, &self.asked.path.text)),
            };
        }
        // Whoever sends its token in the body is known once that is read, and not before.
        let early = match call.takes_token_in_body() && context.takes_tokens() {
            true => Some(self.read_early(head, &call, record).await?),
            false => None,
        };
        let text = early.as_ref().and_then(|(body, _)| service?.token(body));
        let in_body = text.and_then(|text| context.asking_with(&self.current.rules, &head.headers, &text));
        let token_in_body = in_body.is_some();
        // A call that asks nobody who it is goes on whatever becomes of a token beside it: it may be the one that takes that back.
        let standing = match in_body {
            Some(standing) => standing,
            None => context.asking(&self.current.rules, call.auth(), &head.headers),
        };
        record.asks(&standing);
        let origin = self.current.rules.trust.request(context.peer.address, &standing.gateway_ips(), &head.headers);
        record.client = origin.address.ip();

        let request = call.scope(&head.method, &head.headers, self.scheme());
        let scope = Scope { address: origin.address, request: Some(request), control: context.standing.is_control() };
        let inquiry = Inquiry {
            request_id: record.id(),
            method: head.method.as_str(),
            host: &self.asked.authority.host,
            path: &self.asked.path.text,
        };
        let (grant, hold) = standing.admit(&scope, inquiry, || None)?;
        record.admitted(&grant);
        let upload_hold = if record.has_body() { hold.twin() } else { None };
        let hold = hold.on(lifeline);
        let entered = enter(context, self.current, &grant);
        record.entered = entered.map_err(|failure| record.refuse(failure, &self.asked.authority.host, &self.asked.path.text))?;

        let needs = call.served(&head.method)?;
        // INVARIANT: without a service no call was found.
        let service = service.ok_or(Failure::NoRoute)?;
        // The authority is read out of them still.
        let mut headers = head.headers.clone();
        hop_by_hop::strip_request(&mut headers).map_err(|error| match error {
            HopError::Named => Failure::Malformed("Connection names a header that every hop needs"),
            HopError::NoToken => Failure::Malformed("Connection names what is no header"),
        })?;
        identity::remove_claimed(&mut headers, Access::Read);
        let (own, mut room) = match needs.clearance {
            Some(_) => (needs.body, context.worker.bodies.of_ranked()),
            None => (needs.body.min(SMALL_BODY), context.worker.bodies.of_others()),
        };
        // Its room is given back with the answer.
        let (body, _room) = match early {
            Some((body, room)) => (body, Some(room)),
            None => {
                let most = self.most(own);
                check_body(&mut headers, Some(most))?;
                (within(&hold, pin!(self.read(upload_hold, most, &mut room, record))).await?, None)
            }
        };
        let arrival = Arrival {
            dialled: self.dialled(),
            page: Page::of(request.origin),
            address: context.peer.address,
            asker: context.standing.asker().clone(),
            control: context.standing.is_control(),
            surface: request.surface,
            clearance: request.clearance,
            forwarded: self.current.rules.trust.heard(&head.headers),
        };
        let caller = Caller { token_in_body, ..Caller::of(&grant, origin.address.ip(), arrival, record.id()) };
        let answer = service.call(Call { request: self.request(head, headers, body), caller });
        let mut answer = within(&hold, pin!(async { Ok(answer.await) })).await?;
        // An answer that is a refusal says so to the log only.
        if let Some(failure) = answer.extensions_mut().remove::<Failure>() {
            record.failed(failure);
            if failure == Failure::RateLimited {
                record.refuse(failure, &self.asked.authority.host, &self.asked.path.text);
            }
        }
        // Whose answer it is hangs on who asked: no cache may keep it for another.
        answer.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        answer.headers_mut().entry(header::X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
        let mut answer = Response::from(answer);
        if let Origin::Other(origin) = request.origin
            && lists(Some(origin))
            && let Some(origin) = head.headers.get_owned(header::ORIGIN)
        {
            cross_site::permit(&mut answer.headers, &origin);
        }
        answer.headers.insert(super::X_REQUEST_ID, record.id_value());
        record.hold = Some(hold);
        Ok(answer.map(Body::full))
    }

    /// Returns how many bytes a body may have, of which a call takes so many.
    fn most(&self, own: u64) -> u64 {
        self.current.rules.limits.body_bytes.map_or(own, |limit| limit.min(own))
    }

    /// Reads the body before anybody is known: as little as of any stranger's.
    async fn read_early(&self, head: &RequestHead, call: &asked::Call<'_>, record: &mut Record) -> Result<(Bytes, Room<'_>), Failure> {
        let (mut room, most) = (self.context.worker.bodies.of_others(), self.most(SMALL_BODY));
        check_body(&mut head.headers.clone(), Some(most))?;
        // Held as what anybody may send: it ends with its connection.
        let open = RouteScope { name: "".into(), auth: RouteAuth::None, csrf: true };
        let request = RequestScope { route: Some(&open), ..call.scope(&head.method, &head.headers, self.scheme()) };
        let standing = &self.context.standing;
        let scope = Scope { address: self.context.peer.address, request: Some(request), control: standing.is_control() };
        let (hold, other) = (standing.hold(&scope, None), record.has_body().then(|| standing.hold(&scope, None)));
        let body = within(&hold, pin!(self.read(other, most, &mut room, record))).await?;
        Ok((body, room))
    }

    fn scheme(&self) -> &'static str {
        if self.context.secure { "https" } else { "http" }
    }

    /// Reads the body whole, no longer than its hold stands.
    async fn read(&self, hold: Option<Hold>, bytes: u64, room: &mut Room<'_>, record: &mut Record) -> Result<Bytes, Failure> {
        let limits = UploadLimits { bytes, progress: self.current.rules.limits.body_progress, trailers: |trailers| trailers.clear() };
        let (mut upload, sent) = Upload::new(record.unread.take(), hold, || self.context.worker.ticker.timer(), limits);
        record.sent = sent;
        let mut body = BytesMut::new();
        while let Some(frame) = poll_fn(|context| Pin::new(&mut upload).poll_frame(context)).await {
            let frame = frame.map_err(onward::body_failure)?;
            if let Some(data) = frame.data_ref() {
                room.grow(body.len() + data.len())?;
                body.extend_from_slice(data);
            }
        }
        Ok(body.freeze())
    }

    /// Returns what the client dialled. A name that we do not answer for is none of ours: who relays a client's call to us would have it
    /// sign for the relay's name, and be believed. Then it is the first name of the certificate that we showed.
    fn dialled(&self) -> Box<str> {
        let (context, authority) = (self.context, &self.asked.authority);
        let scheme = self.scheme();
        let is_ours =
            routing::covers(&context.names, &authority.host) || self.serves.control_hosts.iter().any(|host| **host == *authority.host);
        let implied = if context.secure { 443 } else { 80 };
        let text = match authority.port.filter(|port| *port != implied) {
            _ if !is_ours => format!("{scheme}://{}", context.names.first().map_or("unnamed", |name| &**name)),
            Some(port) => format!("{scheme}://{}:{port}", authority.host),
            None => format!("{scheme}://{}", authority.host),
        };
        text.into()
    }

    fn request(&self, head: &RequestHead, headers: Fields, body: Bytes) -> http::Request<Bytes> {
        let mut request = http::Request::new(body);
        let target = head.uri.path_and_query().map(|original| self.asked.path.target(original));
        *request.uri_mut() = target.map_or_else(|| Uri::from_static("/"), Uri::from);
        *request.method_mut() = head.method.clone();
        *request.headers_mut() = headers.to_map();
        request
    }
}

/// Of what anybody who is admitted may call, or anybody at all.
const SMALL_BODY: u64 = 128 << 10;
