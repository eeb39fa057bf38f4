//! Whom a change of the rules takes something from, as far as that is seen at a glance: for the order in which `gate` asks everybody
//! again, and for nothing else. What this overlooks (conditions of an authority, a CRL's issuer, a route) is asked all the same.

use std::sync::Arc;

use super::principal::Terms;
use super::roster::Roster;
use super::snapshot::Snapshot;
use crate::pki::Certificate;

/// What one snapshot has, and another had, of principals; and the ids that revoke now.
#[derive(Debug)]
pub struct Changes {
    now: Arc<Snapshot>,
    gone: Vec<Arc<Roster>>,
    come: Vec<Arc<Roster>>,
}

impl Changes {
    /// Compares two snapshots by what they share: a source that did not change is not looked into.
    pub fn between(before: &Snapshot, now: &Arc<Snapshot>) -> Self {
        let (gone, come) = (before.allowlist.parts_beside(&now.allowlist), now.allowlist.parts_beside(&before.allowlist));
        Self { now: Arc::clone(now), gone, come }
    }

    /// Tells whether a client is likely to be denied now, or to be admitted on other terms.
    pub fn concern(&self, leaf: &Certificate) -> bool {
        let then = terms_of(leaf, &self.gone);
        let revocation = &self.now.revocation;
        then.is_some_and(|then| terms_of(leaf, &self.come) != Some(then))
            || revocation.leaf_hit(leaf).is_some()
            || revocation.crls.lists(leaf).is_some()
    }
}

fn terms_of<'a>(leaf: &Certificate, rosters: &'a [Arc<Roster>]) -> Option<&'a Arc<Terms>> {
    rosters.iter().find_map(|roster| {
        let (owner, _) = roster.find_pin(&leaf.fingerprint).or_else(|| roster.find_spki_pin(&leaf.spki_pin))?;
        Some(roster.terms(owner))
    })
}
