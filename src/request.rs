//! One request, as a list of steps. `connection` calls `serve` for each request of either HTTP version.

use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;

use crate::admission::ClientAddress;
use crate::gate::{Gate, Standing};
use crate::log::AccessLog;
use crate::metrics::Metrics;
use crate::rules::Rules;

/// What one worker's requests share. `install` is called on the worker's own thread.
pub struct Worker {
    pub gate: Rc<Gate>,
    /// A line for each request answered; the worker's tick flushes it.
    pub log: Rc<AccessLog>,
}

/// What one connection's requests share.
pub struct Context {
    pub worker: Rc<Worker>,
    pub standing: Rc<Standing>,
    /// The socket's peer, or what PROXY said.
    pub address: ClientAddress,
    /// As sent: lower case.
    pub sni: Option<Box<str>>,
    pub listener: Arc<str>,
    /// What the certificate that we showed covers: lower case, wildcards included.
    pub names: Arc<[Box<str>]>,
    pub secure: bool,
    pub http2: bool,
}

impl Worker {
    /// Makes a worker's share, with empty pools.
    pub fn new(gate: Rc<Gate>, metrics: Arc<Metrics>, log: Rc<AccessLog>, rules: Arc<Rules>) -> Rc<Self> {
        let _ = (metrics, rules);
        Rc::new(Self { gate, log })
    }

    /// Uses other rules from the next request on. Pools of unchanged upstreams keep their connections.
    pub fn install(&self, rules: Arc<Rules>) {
        let _ = rules;
    }
}

/// Answers one request. Never fails: a failure is an answer too, and a body that must not go on ends with an error.
pub async fn serve(context: Rc<Context>, request: Request<Incoming>) -> Response<crate::upstream::Body> {
    let _ = (context, request);
    todo!()
}
