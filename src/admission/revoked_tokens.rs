//! Tokens that were taken back before their time: one by one, or all that a principal had until some second.

use std::collections::HashMap;

use super::claims::{Token, TokenId};
use super::principal::PrincipalId;
use crate::date::Date;

/// Tokens that count no more. Whoever fills it leaves out what has expired anyway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RevokedTokens {
    /// Each with where it was written.
    one_by_one: HashMap<TokenId, u64>,
    /// All that were issued until this second, and where that was written.
    until: HashMap<PrincipalId, (u64, u64)>,
}

impl RevokedTokens {
    /// Revokes one, as entry `index` of the ledger says.
    pub fn one(&mut self, id: TokenId, index: u64) {
        self.one_by_one.insert(id, index);
    }

    /// Revokes all that a principal was given until some second, inclusive, as entry `index` of the ledger says.
    pub fn all(&mut self, principal: PrincipalId, until: u64, index: u64) {
        self.until.insert(principal, (until, index));
    }

    /// Tells whether this one was taken back by itself.
    pub(super) fn has(&self, id: &TokenId) -> bool {
        self.one_by_one.contains_key(id)
    }

    /// Says by what a token is taken back.
    pub(super) fn hit(&self, token: &Token, owner: &PrincipalId) -> Option<String> {
        if let Some(index) = self.one_by_one.get(&token.id) {
            return Some(format!("is revoked (ledger entry {index})"));
        }
        let (until, index) = self.until.get(owner)?;
        let hit = token.issued <= *until;
        hit.then(|| {
            format!("is one of those that the principal had until {}, all of them revoked (ledger entry {index})", Date::of(*until))
        })
    }
}
