//! The gate with small snapshots and a clock that is moved.

mod cuts;
mod renewal;

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Instant;

use super::*;
use crate::admission::{
    Access, AllowlistBuilder, ClientAddress, Denial, Origin, Permission, Principal, PrincipalId, Provenance, RequestScope, RouteAuth,
    RouteScope, Surface, Terms,
};
use crate::admission::{Credential, Pin};
use rustls_pki_types::UnixTime;

const NOW: u64 = 1_800_000_000;
const PEER: ClientAddress = ClientAddress::Settled(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));

/// A worker's gate, its clock, and what it counted.
struct World {
    gate: Rc<Gate>,
    clock: Clock,
    metrics: Arc<Metrics>,
    generation: u64,
}

impl World {
    /// Begins with the given principals, each with one pinned certificate.
    fn with(principals: &[(&str, &Candidate, Terms)]) -> Self {
        let (clock, metrics) = (Clock::fixed(NOW), Metrics::new(1));
        let gate = Gate::new(clock.clone(), Arc::clone(&metrics), snapshot(1, principals));
        Self { gate, clock, metrics, generation: 1 }
    }

    fn install(&mut self, principals: &[(&str, &Candidate, Terms)]) {
        self.generation += 1;
        let cuts = Cuts::new(Instant::now(), Arc::clone(&self.metrics));
        self.gate.install(snapshot(self.generation, principals), Rc::new(Leads::to(RouteAuth::Required)), Some(&cuts)).finish();
    }

    /// The same list, and another route.
    fn lead(&self, ways: Leads) {
        self.gate.install(self.gate.snapshot(), Rc::new(ways), None).finish();
    }

    fn open(&self, candidate: &Rc<Candidate>) -> Result<Rc<Standing>, Denial> {
        self.open_as(Some(candidate), false)
    }

    fn open_as(&self, candidate: Option<&Rc<Candidate>>, http_denials: bool) -> Result<Rc<Standing>, Denial> {
        let possession = candidate.map(|candidate| Possession::assertion(Rc::clone(candidate), UnixTime::since_unix_epoch(NOW.seconds())));
        Standing::open(&self.gate, possession, PEER, asker(), http_denials).map_err(|decision| match decision.verdict {
            Verdict::Deny(denial) => denial,
            Verdict::Admit(_) | Verdict::Open => panic!("an admission is no error"),
        })
    }

    fn denials(&self, code: &str) -> bool {
        let text = self.metrics.render(0);
        text.contains(&format!("portcullis_denials_total{{code=\"{code}\",listener=\"edge\"}} "))
            || text.contains(&format!("portcullis_denials_total{{listener=\"edge\",code=\"{code}\"}} "))
    }
}

/// Rules with one route, or none.
struct Leads {
    route: Option<RouteScope>,
    /// What it needs; `None`: what the method says.
    access: Option<Access>,
    served: bool,
    /// Anybody's word on where its client is counts.
    hears: bool,
}

impl Leads {
    fn to(auth: RouteAuth) -> Self {
        Self { route: Some(route(auth)), access: None, served: true, hears: true }
    }
}

impl Ways for Leads {
    fn way<'a>(&'a self, target: &'a Target) -> Way<'a> {
        let access = self.access.unwrap_or(if target.method == http::Method::GET { Access::Read } else { Access::Write });
        Way { route: self.route.as_ref(), access, served: self.served }
    }

    fn hears(&self, _: ClientAddress) -> bool {
        self.hears
    }

    fn answers_denied(&self, _: &str) -> bool {
        true
    }

    fn takes_tokens(&self, _: &str) -> bool {
        true
    }
}

fn target(access: Access) -> Target {
    Target {
        method: if access == Access::Read { http::Method::GET } else { http::Method::POST },
        authority: http::HeaderValue::from_static("api.example.com"),
        path: http::uri::PathAndQuery::from_static("/orders/1"),
        upgrade: None,
    }
}

trait Seconds {
    fn seconds(self) -> std::time::Duration;
}

impl Seconds for u64 {
    fn seconds(self) -> std::time::Duration {
        std::time::Duration::from_secs(self)
    }
}

fn asker() -> Asker {
    Asker { listener: "edge".into(), peer: Some("192.0.2.1:5000".parse().unwrap()), connection: 1 }
}

/// A self-signed client that anybody can make.
fn client(name: &str) -> Rc<Candidate> {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    Rc::new(Candidate::presented(&[params.self_signed(&key).unwrap().der().clone()]).unwrap())
}

fn chain(candidate: &Candidate) -> Vec<CertificateDer<'static>> {
    vec![candidate.leaf().unwrap().der.clone()]
}

fn snapshot(generation: u64, principals: &[(&str, &Candidate, Terms)]) -> Arc<Snapshot> {
    let mut allowlist = AllowlistBuilder::default();
    for (name, candidate, terms) in principals {
        let name: crate::admission::PrincipalName = name.parse().unwrap();
        let provenance = Provenance { file: "test".into(), line: 1 };
        let principal = Principal {
            id: PrincipalId::derived(&name),
            name,
            display_name: None,
            terms: Arc::new(terms.clone()),
            provenance: provenance.clone(),
        };
        let pin = Credential::Pin(Pin::from(candidate.leaf().unwrap()));
        allowlist.add(principal, vec![(pin, provenance)]).unwrap();
    }
    Arc::new(Snapshot {
        generation,
        allowlist: allowlist.finish(),
        revocation: Default::default(),
        clock_skew: 0,
        bootstrap: Default::default(),
    })
}

fn may(access: Access) -> Terms {
    Terms {
        permissions: vec![Permission { routes: vec!["*".parse().unwrap()], access: Some(access), when: Vec::new() }],
        ..Terms::default()
    }
}

fn route(auth: RouteAuth) -> RouteScope {
    RouteScope { name: "orders".into(), auth, csrf: true }
}

fn asks(route: &RouteScope, access: Access) -> Scope<'_> {
    let request = RequestScope {
        surface: Surface::Proxy,
        route: Some(route),
        access,
        clearance: None,
        begins: true,
        origin: Origin::Absent,
        unsafe_method: access > Access::Read,
    };
    Scope { address: PEER, request: Some(request), control: false }
}

/// Counts how often it was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Polls once.
fn now_or_never<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

#[test]
fn a_removed_client_lapses_at_once_and_others_do_not() {
    let (alice, bob) = (client("alice"), client("bob"));
    let mut world = World::with(&[("alice", &alice, may(Access::Write)), ("bob", &bob, may(Access::Write))]);
    let (for_alice, for_bob) = (world.open(&alice).unwrap(), world.open(&bob).unwrap());
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut lapsed = Box::pin(for_alice.lapsed());
    assert!(lapsed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());

    world.install(&[("bob", &bob, may(Access::Write))]);
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert_eq!(now_or_never(lapsed), Some(Lapse::Denied(Denial::NotListed)));
    let route = route(RouteAuth::Required);
    assert_eq!(for_alice.check(&asks(&route, Access::Read)).unwrap_err(), Denial::NotListed);
    assert_eq!(now_or_never(for_bob.lapsed()), None);
    assert!(for_bob.check(&asks(&route, Access::Read)).is_ok());
    // Back on the list: the connection that was cut stays cut, the next one is admitted.
    world.install(&[("alice", &alice, may(Access::Write))]);
    assert_eq!(for_alice.check(&asks(&route, Access::Read)).unwrap_err(), Denial::NotListed);
    assert!(world.open(&alice).is_ok());
}

#[test]
fn a_denied_scope_cuts_its_stream_and_not_the_connection() {
    let alice = client("alice");
    let mut world = World::with(&[("alice", &alice, may(Access::Write))]);
    let standing = world.open(&alice).unwrap();
    let route = route(RouteAuth::Required);
    let (reading, writing) = (
        standing.hold(&asks(&route, Access::Read), Some(&target(Access::Read))),
        standing.hold(&asks(&route, Access::Write), Some(&target(Access::Write))),
    );
    assert_eq!(standing.holds_open(), 2);
    world.install(&[("alice", &alice, may(Access::Read))]);
    assert_eq!(now_or_never(writing.lapsed()), Some(Lapse::Denied(Denial::NotPermitted)));
    assert_eq!(now_or_never(reading.lapsed()), None);
    assert_eq!(now_or_never(standing.lapsed()), None);
    assert_eq!(standing.check(&asks(&route, Access::Write)).unwrap_err(), Denial::NotPermitted);
    drop((reading, writing));
    assert_eq!(standing.holds_open(), 0);
}

#[test]
fn a_hold_lapses_with_its_connection() {
    let alice = client("alice");
    let mut world = World::with(&[("alice", &alice, may(Access::Write))]);
    let standing = world.open(&alice).unwrap();
    let route = route(RouteAuth::Required);
    let hold = standing.hold(&asks(&route, Access::Read), Some(&target(Access::Read)));
    let woken = Arc::new(Woken::default());
    assert!(hold.poll_lapsed(&mut Context::from_waker(&Waker::from(Arc::clone(&woken)))).is_pending());
    world.install(&[]);
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert_eq!(now_or_never(hold.lapsed()), Some(Lapse::Denied(Denial::NotListed)));
}

#[test]
fn a_certificate_that_went_to_another_principal_cuts_the_streams_of_the_first() {
    let alice = client("alice");
    let mut world = World::with(&[("alice", &alice, may(Access::Write))]);
    let standing = world.open(&alice).unwrap();
    let route = route(RouteAuth::Required);
    let hold = standing.hold(&asks(&route, Access::Read), Some(&target(Access::Read)));
    world.install(&[("carol", &alice, may(Access::Write))]);
    assert_eq!(now_or_never(hold.lapsed()), Some(Lapse::Denied(Denial::NotListed)));
    let grant = standing.check(&asks(&route, Access::Read)).unwrap();
    assert_eq!(grant.admitted().unwrap().admission.principal.name.to_string(), "carol");
}

#[test]
fn an_answer_is_remembered_for_its_very_question_only() {
    let alice = client("alice");
    let terms = Terms { client_ips: Some(vec!["192.0.2.0/24".parse().unwrap()]), ..may(Access::Read) };
    let mut world = World::with(&[("alice", &alice, terms)]);
    let standing = world.open(&alice).unwrap();
    let route = route(RouteAuth::Required);
    let question = asks(&route, Access::Read);
    // The latest answer stands first; what it says is the same value for all that are told the same.
    let answer = |scope: &Scope<'_>| {
        standing.check(scope).unwrap();
        Rc::clone(&standing.answers.borrow()[0])
    };
    let same = |scope: &Scope<'_>| Rc::ptr_eq(&answer(&question), &answer(scope));
    assert!(same(&question));
    assert_eq!(standing.check(&asks(&route, Access::Write)).unwrap_err(), Denial::NotPermitted);
    let elsewhere = Scope { address: ClientAddress::Settled("198.51.100.1".parse().unwrap()), ..question };
    assert_eq!(standing.check(&elsewhere).unwrap_err(), Denial::ClientIpDenied);
    let neighbour = Scope { address: ClientAddress::Settled("192.0.2.2".parse().unwrap()), ..question };
    assert!(!same(&neighbour));
    let of_a_page = Scope { request: question.request.map(|request| RequestScope { origin: Origin::Same, ..request }), ..question };
    assert!(!same(&of_a_page));
    let foreign = |text| {
        let request = question.request.map(|request| RequestScope { origin: Origin::Other(text), unsafe_method: true, ..request });
        Scope { request, ..question }
    };
    assert_eq!(standing.check(&foreign("https://evil.example")).unwrap_err(), Denial::OriginDenied);
    let other_route = RouteScope { name: "reports".into(), ..route.clone() };
    assert!(!same(&asks(&other_route, Access::Read)));
    // However many questions: the answers stay right, and their number bounded.
    for host in 0..100 {
        let address = ClientAddress::Settled(std::net::IpAddr::V4([192, 0, 2, host].into()));
        assert!(standing.check(&Scope { address, ..question }).is_ok());
    }
    let before = standing.check(&question).unwrap();
    world.install(&[("alice", &alice, may(Access::Read))]);
    let after = standing.check(&question).unwrap();
    assert_eq!((before.admitted().unwrap().generation, after.admitted().unwrap().generation), (1, 2));
}

#[test]
fn connections_of_one_client_are_told_the_same_by_one_value_and_others_by_their_own() {
    let (alice, bob) = (client("alice"), client("bob"));
    let both = may(Access::Write);
    let mut world = World::with(&[("alice", &alice, both.clone()), ("bob", &bob, both)]);
    let told = |standing: &Standing, name: &str| {
        let route = RouteScope { name: name.into(), ..route(RouteAuth::Required) };
        Rc::clone(standing.check(&asks(&route, Access::Read)).unwrap().admitted().unwrap())
    };
    let (first, second, of_bob) = (world.open(&alice).unwrap(), world.open(&alice).unwrap(), world.open(&bob).unwrap());
    let before = told(&first, "app");
    assert!(Rc::ptr_eq(&before, &told(&second, "app")));
    assert_eq!(&*told(&of_bob, "app").admission.principal.name.to_string(), "bob");
    world.install(&[("alice", &alice, may(Access::Read))]);
    let after = told(&first, "app");
    assert!(!Rc::ptr_eq(&before, &after) && Rc::ptr_eq(&after, &told(&second, "app")));
    assert_eq!((before.admission.access, after.admission.access), (Some(Access::Write), Some(Access::Read)));
}

#[test]
fn a_clock_that_jumps_is_followed_both_ways() {
    let alice = client("alice");
    let end = UnixTime::since_unix_epoch((NOW + 100).seconds());
    let begin = UnixTime::since_unix_epoch((NOW - 100).seconds());
    let terms = Terms { valid_from: Some(begin), valid_until: Some(end), ..may(Access::Write) };
    for (moved_to, denied) in [(NOW + 99, false), (NOW + 3600, true), (NOW - 99, false), (NOW - 3600, true)] {
        let world = World::with(&[("alice", &alice, terms.clone())]);
        let standing = world.open(&alice).unwrap();
        let route = route(RouteAuth::Required);
        let hold = standing.hold(&asks(&route, Access::Read), Some(&target(Access::Read)));
        world.clock.set(moved_to);
        world.gate.tick().finish();
        let expected = denied.then_some(Denial::PrincipalExpired);
        assert_eq!(now_or_never(standing.lapsed()), expected.map(Lapse::Denied), "{moved_to}");
        assert_eq!(now_or_never(hold.lapsed()), expected.map(Lapse::Denied), "{moved_to}");
    }
}

#[test]
fn a_request_between_two_ticks_is_judged_by_the_clock() {
    let alice = client("alice");
    let end = UnixTime::since_unix_epoch((NOW + 100).seconds());
    let world = World::with(&[("alice", &alice, Terms { valid_until: Some(end), ..may(Access::Write) })]);
    let standing = world.open(&alice).unwrap();
    let route = route(RouteAuth::Required);
    assert!(standing.check(&asks(&route, Access::Read)).is_ok());
    world.clock.set(NOW + 200);
    assert_eq!(standing.check(&asks(&route, Access::Read)).unwrap_err(), Denial::PrincipalExpired);
    assert_eq!(now_or_never(standing.lapsed()), Some(Lapse::Denied(Denial::PrincipalExpired)));
}

#[test]
fn a_stranger_is_denied_and_where_denials_are_answers_each_request_is() {
    let mallory = client("mallory");
    let mut world = World::with(&[]);
    assert_eq!(world.open(&mallory).unwrap_err(), Denial::NotListed);
    assert!(world.denials("not_listed"));
    let standing = world.open_as(Some(&mallory), true).unwrap();
    let required = route(RouteAuth::Required);
    assert_eq!(standing.denied(), Some(Denial::NotListed));
    assert_eq!(standing.check(&asks(&required, Access::Read)).unwrap_err(), Denial::NotListed);
    let open = route(RouteAuth::None);
    let grant = standing.check(&asks(&open, Access::Read)).unwrap();
    assert!(grant.admitted().is_none());
    // Listed meanwhile: the same connection is admitted, and from then on it can lapse.
    world.install(&[("mallory", &mallory, may(Access::Write))]);
    assert!(standing.check(&asks(&required, Access::Read)).is_ok());
    assert_eq!((standing.denied(), now_or_never(standing.lapsed())), (None, None));
    world.install(&[]);
    assert_eq!(now_or_never(standing.lapsed()), Some(Lapse::Denied(Denial::NotListed)));
}

#[test]
fn without_a_certificate_only_open_routes_are_open() {
    let world = World::with(&[]);
    assert_eq!(world.open_as(None, false).unwrap_err(), Denial::NoCredential);
    let standing = world.open_as(None, true).unwrap();
    assert_eq!(standing.denied(), None);
    for (auth, expected) in [(RouteAuth::None, None), (RouteAuth::Optional, None), (RouteAuth::Required, Some(Denial::NoCredential))] {
        assert_eq!(standing.check(&asks(&route(auth), Access::Read)).err(), expected, "{auth:?}");
    }
}

#[test]
fn only_admitted_chains_are_remembered() {
    let alice = client("alice");
    let world = World::with(&[("alice", &alice, may(Access::Write))]);
    let first = world.gate.candidate(&chain(&alice)).unwrap();
    assert!(!Rc::ptr_eq(&first, &world.gate.candidate(&chain(&alice)).unwrap()));
    let _standing = world.open(&first).unwrap();
    for name in 0..20 {
        let stranger = client(&format!("stranger-{name}"));
        assert!(world.open(&stranger).is_err());
        assert!(!Rc::ptr_eq(&stranger, &world.gate.candidate(&chain(&stranger)).unwrap()));
    }
    assert!(Rc::ptr_eq(&first, &world.gate.candidate(&chain(&alice)).unwrap()));
    // Another chain with the same leaf is another candidate.
    let longer = [chain(&alice), chain(&client("intermediate"))].concat();
    assert!(!Rc::ptr_eq(&first, &world.gate.candidate(&longer).unwrap()));
    assert!(world.gate.candidate(&[]).is_none());
}

#[test]
fn a_standing_leaves_when_it_is_dropped() {
    let alice = client("alice");
    let mut world = World::with(&[("alice", &alice, may(Access::Write))]);
    let standings: Vec<_> = (0..3).map(|_| world.open(&alice).unwrap()).collect();
    assert_eq!(world.gate.standing_count(), 3);
    drop(standings);
    assert_eq!(world.gate.standing_count(), 0);
    let _next = world.open(&alice).unwrap();
    world.install(&[]);
    assert_eq!(world.gate.standing_count(), 1);
}

#[test]
fn gateways_are_those_of_the_principal_now() {
    let alice = client("alice");
    let mut world = World::with(&[("alice", &alice, may(Access::Write))]);
    let standing = world.open(&alice).unwrap();
    assert!(standing.gateway_ips().is_empty());
    let terms = Terms { gateway_ips: vec!["192.0.2.0/24".parse().unwrap()], ..may(Access::Write) };
    world.install(&[("alice", &alice, terms)]);
    assert_eq!(standing.gateway_ips().len(), 1);
}

#[test]
fn an_open_request_is_judged_by_where_the_rules_of_now_lead_it() {
    let alice = client("alice");
    let elsewhere = || Some(RouteScope { name: "reports".into(), ..route(RouteAuth::Required) });
    let leads = || Leads::to(RouteAuth::Required);
    let cases = [
        ("the same", leads(), None),
        ("nowhere", Leads { route: None, ..leads() }, Some(Lapse::NoRoute)),
        ("elsewhere", Leads { route: elsewhere(), ..leads() }, Some(Lapse::Withdrawn)),
        ("to what takes it no more", Leads { served: false, ..leads() }, Some(Lapse::Withdrawn)),
        ("to what needs more", Leads { access: Some(Access::Write), ..leads() }, Some(Lapse::Denied(Denial::NotPermitted))),
        ("to what needs less", Leads { access: Some(Access::Read), ..leads() }, None),
        ("to what is open", Leads::to(RouteAuth::None), None),
        ("to what is open to those without", Leads::to(RouteAuth::Optional), None),
    ];
    for (what, ways, expected) in cases {
        let world = World::with(&[("alice", &alice, may(Access::Read))]);
        let standing = world.open(&alice).unwrap();
        let hold = standing.hold(&asks(&route(RouteAuth::Required), Access::Read), Some(&target(Access::Read)));
        world.lead(ways);
        assert_eq!(now_or_never(hold.lapsed()), expected, "{what}");
        assert_eq!(now_or_never(standing.lapsed()), None, "{what}");
    }
}

#[test]
fn an_address_is_believed_no_longer_than_whoever_said_it() {
    let alice = client("alice");
    let from = |nets: &[&str], gateways: &[&str]| Terms {
        client_ips: Some(nets.iter().map(|net| net.parse().unwrap()).collect()),
        gateway_ips: gateways.iter().map(|net| net.parse().unwrap()).collect(),
        ..may(Access::Read)
    };
    let (here, office, gateway) = ("192.0.2.0/24", "198.51.100.0/24", "192.0.2.1/32");
    let required = route(RouteAuth::Required);
    let scope = Scope { address: ClientAddress::Settled("198.51.100.7".parse().unwrap()), ..asks(&required, Access::Read) };
    let unheard = || Leads { hears: false, ..Leads::to(RouteAuth::Required) };

    let mut world = World::with(&[("alice", &alice, from(&[here, office], &[]))]);
    let standing = world.open(&alice).unwrap();
    let [one, two] = [(); 2].map(|()| standing.hold(&scope, Some(&target(Access::Read))));
    world.install(&[("alice", &alice, from(&[office], &[gateway]))]);
    assert_eq!(now_or_never(one.lapsed()), None, "a trusted forwarder says that it is from the office");
    world.lead(unheard());
    assert_eq!(now_or_never(one.lapsed()), None, "the principal's own gateway says so");
    world.install(&[("alice", &alice, from(&[here], &[]))]);
    assert_eq!(now_or_never(two.lapsed()), Some(Lapse::Denied(Denial::ClientIpDenied)), "from the office nobody may come");

    let mut world = World::with(&[("alice", &alice, from(&[here, office], &[]))]);
    let standing = world.open(&alice).unwrap();
    let hold = standing.hold(&scope, Some(&target(Access::Read)));
    world.lead(unheard());
    assert_eq!(now_or_never(hold.lapsed()), None, "nobody says so any more: it is from here, and may be");
    world.install(&[("alice", &alice, from(&[here], &[]))]);
    assert_eq!(now_or_never(hold.lapsed()), None);

    let world = World::with(&[("alice", &alice, from(&[office], &[gateway]))]);
    let standing = world.open(&alice).unwrap();
    let hold = standing.hold(&scope, Some(&target(Access::Read)));
    let terms = from(&[office], &[]);
    world.gate.install(snapshot(2, &[("alice", &alice, terms)]), Rc::new(unheard()), None).finish();
    assert_eq!(now_or_never(hold.lapsed()), Some(Lapse::Denied(Denial::ClientIpDenied)), "a gateway that is none any more says so");
}

#[test]
fn a_route_that_opens_and_closes_under_a_stream_cuts_those_whom_it_denies() {
    let alice = client("alice");
    let mut world = World::with(&[("alice", &alice, may(Access::Read))]);
    let (somebody, nobody) = (world.open(&alice).unwrap(), world.open_as(None, true).unwrap());
    let open = route(RouteAuth::None);
    let holds = [&somebody, &nobody].map(|standing| standing.hold(&asks(&open, Access::Read), Some(&target(Access::Read))));
    let lapsed = |expected: [Option<Lapse>; 2]| assert_eq!([0, 1].map(|index| now_or_never(holds[index].lapsed())), expected);
    world.lead(Leads::to(RouteAuth::Optional));
    lapsed([None, None]);
    world.lead(Leads::to(RouteAuth::Required));
    lapsed([None, Some(Lapse::Denied(Denial::NoCredential))]);
    // Whose stream it is does not get lost while nobody asks.
    let hold = somebody.hold(&asks(&route(RouteAuth::Required), Access::Read), Some(&target(Access::Read)));
    world.lead(Leads::to(RouteAuth::None));
    world.install(&[("carol", &alice, may(Access::Read))]);
    assert_eq!(now_or_never(hold.lapsed()), Some(Lapse::Denied(Denial::NotListed)));
}

#[test]
fn what_is_at_work_does_not_wait_for_the_review() {
    let alice = client("alice");
    let world = World::with(&[("alice", &alice, may(Access::Write))]);
    let standing = world.open(&alice).unwrap();
    let reading = standing.hold(&asks(&route(RouteAuth::Required), Access::Read), Some(&target(Access::Read)));
    let review = world.gate.install(
        snapshot(2, &[("alice", &alice, may(Access::Write))]),
        Rc::new(Leads { route: None, ..Leads::to(RouteAuth::None) }),
        None,
    );
    assert_eq!(now_or_never(reading.lapsed()), Some(Lapse::NoRoute));
    drop(review);
    let review = world.gate.install(snapshot(3, &[]), Rc::new(Leads::to(RouteAuth::Required)), None);
    assert_eq!(now_or_never(standing.lapsed()), Some(Lapse::Denied(Denial::NotListed)));
    drop(review);
}

#[test]
fn those_come_first_from_whom_a_change_takes_something() {
    let (alice, bob) = (client("alice"), client("bob"));
    let both = |of_bob: Terms| [("alice", &*alice, may(Access::Write)), ("bob", &*bob, of_bob)];
    let world = World::with(&both(may(Access::Write)));
    let (of_alice, of_bob): (Vec<_>, Vec<_>) = (0..2000).map(|_| (world.open(&alice).unwrap(), world.open(&bob).unwrap())).unzip();
    let holds: Vec<_> = of_bob
        .iter()
        .map(|standing| standing.hold(&asks(&route(RouteAuth::Required), Access::Write), Some(&target(Access::Write))))
        .collect();
    let judged = |standings: &[Rc<Standing>]| standings.iter().filter(|standing| standing.has_caught_up()).count();
    // His rights shrink, then he is off the list; each time he is asked before anybody else.
    for now in [both(may(Access::Read)).to_vec(), both(may(Access::Read))[..1].to_vec()] {
        let mut review = world.gate.install(snapshot(2, &now), Rc::new(Leads::to(RouteAuth::Required)), None);
        while judged(&of_bob) < of_bob.len() {
            assert!(review.step());
        }
        assert_eq!(judged(&of_alice), 0);
        review.finish();
        assert_eq!(judged(&of_alice), of_alice.len());
    }
    assert!(holds.iter().all(|hold| hold.lapse() == Some(Lapse::Denied(Denial::NotListed))));
    assert!(of_alice.iter().all(|standing| standing.denied().is_none()));
}
