//! What was rendered for one connection: by admission (which is of one route and generation) and settings. Connections
//! of one client that are told the same share it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use super::{Rendered, Settings};
use crate::gate::{Admitted, Grant};
use crate::metrics::Metrics;

/// More routes than this on one connection and the oldest is rendered again.
const MOST: usize = 8;

/// The blocks of one connection.
pub struct Remembered {
    metrics: Arc<Metrics>,
    blocks: RefCell<VecDeque<Block>>,
}

/// Holds what it was rendered from, so that an address cannot come to mean something else.
struct Block {
    admitted: Rc<Admitted>,
    settings: Arc<Settings>,
    rendered: Rc<Rendered>,
}

impl Remembered {
    /// Starts with nothing, for a new connection.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, blocks: RefCell::default() }
    }

    /// Returns the block of a grant, rendered if this is the first time; `None` on an open route: no identity is sent.
    /// `by`: the URI SANs of the certificate that this connection was shown.
    pub fn rendered(&self, grant: &Grant, settings: &Arc<Settings>, by: &[Box<str>]) -> Option<Rc<Rendered>> {
        let admitted = grant.admitted()?;
        let mut blocks = self.blocks.borrow_mut();
        let known = blocks.iter().find(|block| Rc::ptr_eq(&block.admitted, admitted) && Arc::ptr_eq(&block.settings, settings));
        if let Some(block) = known {
            return Some(Rc::clone(&block.rendered));
        }
        let rendered = in_common(admitted, grant, settings, by);
        for (dialect, _) in rendered.left_out() {
            self.metrics.identity_left_out(dialect.name());
        }
        // Of other generations nothing is asked again.
        blocks.retain(|block| block.admitted.generation == admitted.generation);
        blocks.truncate(MOST - 1);
        blocks.push_front(Block { admitted: Rc::clone(admitted), settings: Arc::clone(settings), rendered: Rc::clone(&rendered) });
        Some(rendered)
    }
}

/// Returns what was rendered for another connection of the client, if it was told the same; else renders.
fn in_common(admitted: &Admitted, grant: &Grant, settings: &Arc<Settings>, by: &[Box<str>]) -> Rc<Rendered> {
    let told = admitted.told.get().and_then(|told| told.downcast_ref::<Told>());
    if let Some(told) = told.filter(|told| Arc::ptr_eq(&told.settings, settings) && *told.by == *by) {
        return Rc::clone(&told.rendered);
    }
    let rendered = Rc::new(Rendered::new(settings, &admitted.admission, grant.leaf(), by));
    // The first stays: connections that are shown another of our certificates are few.
    let told = Told { settings: Arc::clone(settings), by: by.into(), rendered: Rc::clone(&rendered) };
    let _ = admitted.told.set(Rc::new(told));
    rendered
}

/// What was rendered first of an admission, and what from.
struct Told {
    settings: Arc<Settings>,
    by: Box<[Box<str>]>,
    rendered: Rc<Rendered>,
}
