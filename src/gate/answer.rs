//! An answer that was given, with everything it depends on: the question in full, the snapshot, the time.

use std::cell::RefCell;

use super::Grant;
use super::refusals::Inquiry;
use crate::admission::{Access, Clearance, ClientAddress, Decision, Origin, RequestScope, RouteScope, Scope, Surface};

/// While an answer holds: under one snapshot, and from the second it was given to the second time may change it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) installs: u64,
    pub(super) from: u64,
    pub(super) until: u64,
}

impl Window {
    pub(super) fn holds(&self, installs: u64, now: u64) -> bool {
        self.installs == installs && (self.from..self.until).contains(&now)
    }
}

/// A question about a request, kept; and its latest answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) question: Question,
    pub(super) judged: RefCell<Judged>,
}

/// A verdict and while it holds. The denial keeps its decision, for the log.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) window: Window,
    pub(super) outcome: Result<Grant, Box<Decision>>,
}

impl Answer {
    pub(super) fn new(scope: &Scope<'_>, inquiry: Option<Inquiry<'_>>, judged: Judged) -> Self {
        Self { question: Question::keep(scope, inquiry), judged: RefCell::new(judged) }
    }

    /// Tells whether it answers this very question.
    pub(super) fn answers(&self, scope: &Scope<'_>) -> bool {
        self.question.scope() == *scope
    }

    /// Returns the question.
    pub(super) fn scope(&self) -> Scope<'_> {
        self.question.scope()
    }
}

/// A `Scope` that owns what it names. Routes by value: the rules they came from may be gone.
#[derive(Clone, Debug)]
pub(super) struct Question {
    address: ClientAddress,
    request: Option<RequestQuestion>,
    control: bool,
    /// The request by which it was asked: `GET host /path`, one piece of memory.
    place: Option<Box<str>>,
}

#[derive(Clone, Debug)]
struct RequestQuestion {
    surface: Surface,
    route: Option<RouteScope>,
    access: Access,
    clearance: Option<Clearance>,
    begins: bool,
    origin: KeptOrigin,
    unsafe_method: bool,
}

#[derive(Clone, Debug)]
enum KeptOrigin {
    Absent,
    CrossSite,
    Other(Box<str>),
    Same,
}

impl Question {
    pub(super) fn keep(scope: &Scope<'_>, inquiry: Option<Inquiry<'_>>) -> Self {
        let request = scope.request.as_ref().map(|request| RequestQuestion {
            surface: request.surface,
            route: request.route.cloned(),
            access: request.access,
            clearance: request.clearance,
            begins: request.begins,
            origin: match request.origin {
                Origin::Absent => KeptOrigin::Absent,
                Origin::CrossSite => KeptOrigin::CrossSite,
                Origin::Other(text) => KeptOrigin::Other(text.into()),
                Origin::Same => KeptOrigin::Same,
            },
            unsafe_method: request.unsafe_method,
        });
        let is_short = |inquiry: &Inquiry<'_>| inquiry.method.len() + inquiry.host.len() + inquiry.path.len() <= LONGEST_PLACE;
        let place = |inquiry: Inquiry<'_>| format!("{} {} {}", inquiry.method, inquiry.host, inquiry.path).into();
        let place = inquiry.filter(|inquiry| request.is_some() && is_short(inquiry)).map(place);
        Self { address: scope.address, request, control: scope.control, place }
    }

    /// Returns method, host and path of the request by which it was asked, where they are known; the path as it was sent, without the query.
    pub(super) fn place(&self) -> Option<(&str, &str, &str)> {
        let (method, rest) = self.place.as_ref()?.split_once(' ')?;
        let (host, path) = rest.split_once(' ')?;
        Some((method, host, path))
    }

    pub(super) fn scope(&self) -> Scope<'_> {
        let request = self.request.as_ref().map(|request| RequestScope {
            surface: request.surface,
            route: request.route.as_ref(),
            access: request.access,
            clearance: request.clearance,
            begins: request.begins,
            origin: match &request.origin {
                KeptOrigin::Absent => Origin::Absent,
                KeptOrigin::CrossSite => Origin::CrossSite,
                KeptOrigin::Other(text) => Origin::Other(text),
                KeptOrigin::Same => Origin::Same,
            },
            unsafe_method: request.unsafe_method,
        });
        Scope { address: self.address, request, control: self.control }
    }
}

/// A longer request is not kept: what it asked for then goes by the name of its route.
const LONGEST_PLACE: usize = 1024;
