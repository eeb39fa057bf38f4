//! A live connection's grant, kept true as rules and time move on. `check` is asked for each request;
//! `Hold` stands for each open request, stream and upgrade, and lapses when its scope is denied.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::{Asker, Gate, Grant, Possession};
use crate::admission::{ClientAddress, Decision, Denial, Scope};

/// One connection's standing. Registered with its worker's gate while it lives.
pub struct Standing {}

/// An open request, stream or upgrade: lapses when its own scope, or the whole connection, is denied.
pub struct Hold {}

/// Measures one install: from the change being seen to the last connection cut. The last holder to drop it observes
/// `portcullis_revocation_seconds`, if anything was cut.
#[derive(Debug)]
pub struct Cuts {
    pub seen: Instant,
}

impl Standing {
    /// Opens the standing of a connection after its handshake, full or resumed, before any request is read.
    /// `Err` with the decision when the connection itself is denied; a `request` listener then uses `open_denied`-style
    /// standing: pass `http_denials = true` and the standing opens, and every `check` answers with the denial.
    pub fn open(
        gate: &Rc<Gate>,
        possession: Option<Possession>,
        address: ClientAddress,
        asker: Asker,
        http_denials: bool,
    ) -> Result<Rc<Self>, Box<Decision>> {
        let _ = (gate, possession, address, asker, http_denials);
        todo!()
    }

    /// Asks for one request. Remembered by everything the answer depends on, so that a request costs two comparisons.
    pub fn check(&self, scope: &Scope<'_>) -> Result<Grant, Denial> {
        let _ = scope;
        todo!()
    }

    /// Stands for an open request in `scope` until dropped.
    pub fn hold(self: &Rc<Self>, scope: &Scope<'_>) -> Hold {
        let _ = scope;
        todo!()
    }

    /// Waits until the connection itself is denied.
    pub fn lapsed(self: &Rc<Self>) -> impl Future<Output = Denial> + 'static {
        std::future::pending()
    }

    /// The connection itself stands denied (only on listeners whose denials are HTTP answers, or while it is being cut).
    pub fn denied(&self) -> Option<Denial> {
        todo!()
    }

    /// Returns who is asking.
    pub fn asker(&self) -> &Asker {
        todo!()
    }

    /// Gateways of the principal, whose forwarding header counts; empty when none.
    pub fn gateway_ips(&self) -> Arc<[ipnet::IpNet]> {
        todo!()
    }
}

impl Hold {
    /// Waits until the scope, or the connection, is denied. May be polled from one task at a time.
    pub fn poll_lapsed(&self, context: &mut std::task::Context<'_>) -> std::task::Poll<Denial> {
        let _ = context;
        todo!()
    }
}
