//! Bearer tokens that were taken back, as long as they would be in time. What is over is dropped with the next that comes, so that the
//! list is never longer than what one lifetime of a token brings.

use rpds::RedBlackTreeMapSync;

use super::document::Stamp;
use super::refusal::{Invalid, Refusal};
use crate::admission::{PrincipalId, RevokedTokens, Token, TokenId};
use crate::challenge::settings::LONGEST_TTL;
use crate::clock::rfc3339;

/// Those that were taken back, with the entry of the ledger that says so.
#[derive(Clone, Debug, Default)]
pub(super) struct Tokens {
    /// By when they are over anyway.
    one_by_one: RedBlackTreeMapSync<(u64, TokenId), u64>,
    /// Until which second all of a principal's are taken back.
    until: RedBlackTreeMapSync<PrincipalId, (u64, u64)>,
}

impl Tokens {
    /// Takes one back; `now`: when that was said, if it is known.
    pub(super) fn one(&mut self, (id, expires): (TokenId, u64), index: u64, now: Option<u64>) {
        self.one_by_one.insert_mut((expires, id), index);
        self.drop_old(now);
    }

    /// Takes all back that a principal was given until a second. Who says an earlier one takes nothing back that was said.
    pub(super) fn all(&mut self, principal: PrincipalId, until: u64, index: u64, now: Option<u64>) {
        if self.until.get(&principal).is_none_or(|(known, _)| *known <= until) {
            self.until.insert_mut(principal, (until, index));
        }
        self.drop_old(now);
    }

    /// Tells whether a token is among them.
    pub(super) fn hit(&self, token: &Token, owner: &PrincipalId) -> bool {
        let all = self.until.get(owner).is_some_and(|(until, _)| token.issued <= *until);
        all || self.one_by_one.contains_key(&(token.expires, token.id))
    }

    /// Returns the second until which all of a principal's are.
    pub(super) fn until(&self, owner: &PrincipalId) -> Option<u64> {
        self.until.get(owner).map(|(until, _)| *until)
    }

    /// Goes through those that were taken back one by one: when each is over, which, and the entry.
    pub(super) fn singles(&self) -> impl Iterator<Item = (u64, TokenId, u64)> {
        self.one_by_one.iter().map(|((expires, id), index)| (*expires, *id, *index))
    }

    /// Goes through the principals: which, until when, and the entry.
    pub(super) fn principals(&self) -> impl Iterator<Item = (PrincipalId, u64, u64)> {
        self.until.iter().map(|(id, (until, index))| (*id, *until, *index))
    }

    pub(super) fn compile(&self) -> RevokedTokens {
        let mut revoked = RevokedTokens::default();
        self.singles().for_each(|(_, id, index)| revoked.one(id, index));
        self.principals().for_each(|(id, until, index)| revoked.all(id, until, index));
        revoked
    }

    fn drop_old(&mut self, now: Option<u64>) {
        // A clock that was wrong by less than a day brings none back.
        let Some(over) = now.map(|now| now.saturating_sub(86_400)) else { return };
        while let Some(key) = self.one_by_one.first().map(|(key, _)| *key).filter(|(expires, _)| *expires < over) {
            self.one_by_one.remove_mut(&key);
        }
        let gone = |until: u64| until.saturating_add(LONGEST_TTL.as_secs()) < over;
        let old: Vec<PrincipalId> = self.principals().filter(|(_, until, _)| gone(*until)).map(|(id, ..)| id).collect();
        for id in &old {
            self.until.remove_mut(id);
        }
    }
}

/// Reads a `jti`.
pub(super) fn token_id(text: &str) -> Result<TokenId, Refusal> {
    text.parse().map_err(|why| Refusal::Invalid(vec![Invalid::new("jti", format!("`{text}` {why}"))]))
}

/// Reads whose they are.
pub(super) fn owner(text: &str) -> Result<PrincipalId, Refusal> {
    text.parse().map_err(|why| Refusal::Invalid(vec![Invalid::new("id", format!("`{text}` {why}"))]))
}

/// Reads when something was said.
pub(super) fn said(stamp: Option<&Stamp>) -> Option<u64> {
    rfc3339(&stamp?.at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_is_dropped_and_an_earlier_second_takes_nothing_back() {
        let mut tokens = Tokens::default();
        let (one, owner) = (|byte| TokenId::from_random([byte; 16]), PrincipalId::from_random(&[7; 12]));
        tokens.one((one(1), 1_000), 1, Some(500));
        tokens.one((one(2), 200_000), 2, Some(1_500));
        assert_eq!(tokens.singles().count(), 2, "a day is left for clocks that disagree");
        tokens.all(owner, 600, 3, Some(600));
        tokens.all(owner, 500, 4, Some(600));
        assert_eq!(tokens.principals().collect::<Vec<_>>(), [(owner, 600, 3)]);
        tokens.one((one(3), 300_000), 5, Some(100_000));
        assert_eq!(tokens.singles().map(|(_, id, _)| id).collect::<Vec<_>>(), [one(2), one(3)]);
        tokens.one((one(4), 9_000_000), 6, Some(8_000_000));
        assert_eq!((tokens.singles().count(), tokens.principals().count()), (1, 0));
    }

    #[test]
    fn a_token_is_taken_back_by_its_id_or_with_all_of_its_owner() {
        let mut tokens = Tokens::default();
        let (owner, other) = (PrincipalId::from_random(&[7; 12]), PrincipalId::from_random(&[8; 12]));
        let token = |byte, issued| Token { id: TokenId::from_random([byte; 16]), issued, expires: 2_000, bound: None };
        tokens.one((token(1, 1_000).id, 2_000), 1, Some(1_500));
        tokens.all(owner, 1_200, 2, Some(1_500));
        for (token, owner, expected) in [
            (token(1, 1_000), other, true),
            (token(2, 1_200), owner, true),
            (token(2, 1_201), owner, false),
            (token(2, 1_000), other, false),
        ] {
            assert_eq!(tokens.hit(&token, &owner), expected, "{token:?}");
        }
    }
}
