//! How long a change takes to be true everywhere: what it waits for.

use super::*;

#[test]
fn a_revocation_is_measured_when_the_last_cut_one_is_gone() {
    let (alice, bob) = (client("alice"), client("bob"));
    let mut world = World::with(&[("alice", &alice, may(Access::Write)), ("bob", &bob, may(Access::Write))]);
    let (one, two, other) = (world.open(&alice).unwrap(), world.open(&alice).unwrap(), world.open(&bob).unwrap());
    let count = |world: &World, expected: u64| {
        let text = world.metrics.render(0);
        assert!(text.contains(&format!("portcullis_revocation_seconds_count {expected}\n")), "{text}");
    };
    world.install(&[("bob", &bob, may(Access::Write))]);
    drop(one);
    count(&world, 0);
    drop(two);
    count(&world, 1);
    let text = world.metrics.render(0);
    assert!(text.contains("portcullis_connections_cut_total{code=\"not_listed\"} 2\n"), "{text}");
    // Nobody is cut: nothing is measured.
    world.install(&[("bob", &bob, may(Access::Write))]);
    count(&world, 1);
    drop(other);
    count(&world, 1);
}

#[test]
fn a_token_that_is_taken_back_is_gone_with_what_is_open_by_it_however_long_its_connection_stays() {
    let (alice, bob) = (client("alice"), client("bob"));
    let mut world = World::with(&[("alice", &alice, may(Access::Write)), ("bob", &bob, may(Access::Write))]);
    let connection = world.open(&bob).unwrap();
    let possession = Possession::assertion(Rc::clone(&alice), UnixTime::since_unix_epoch(NOW.seconds()));
    let (idle, busy) = (connection.open_token(possession.clone()), connection.open_token(possession));
    let route = route(RouteAuth::Required);
    let hold = busy.hold(&asks(&route, Access::Read), None);
    let count = |world: &World, expected: u64| {
        let text = world.metrics.render(0);
        assert!(text.contains(&format!("portcullis_revocation_seconds_count {expected}\n")), "{text}");
    };
    world.install(&[("bob", &bob, may(Access::Write))]);
    assert!(idle.is_over() && busy.is_over() && !connection.is_over());
    count(&world, 0);
    drop(hold);
    count(&world, 1);
    drop((idle, busy));
    count(&world, 1);
}
