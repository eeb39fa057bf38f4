//! Bearer tokens of ours: who shows one is judged by it, and no upstream ever reads it. Those of others pass untouched, and are no
//! credential.

use std::rc::Rc;

use http::header::AUTHORIZATION;

use super::Context;
use crate::admission::RouteAuth;
use crate::challenge::{Bearer, Tokens};
use crate::gate::Standing;
use crate::message::{Fields, Name, text};
use crate::pki::Fingerprint;
use crate::rules::Rules;

/// The tokens that came over one connection last, latest first.
#[derive(Default)]
pub struct Shown {
    known: Vec<Known>,
    refused: Vec<Refused>,
    /// One for each reason, whatever came and however often: who shows what is none costs no more than its denial.
    worthless: Vec<(&'static str, Rc<Standing>)>,
}

/// A token that was read: neither its signature is checked nor its certificate parsed for each request.
struct Known {
    /// SHA-256 of its text.
    digest: Fingerprint,
    /// Under which rules it was read: others may ask for another issuer.
    generation: u64,
    standing: Rc<Standing>,
}

/// A token that is none, for as long as that is sure: its key may be found the next second.
struct Refused {
    digest: Fingerprint,
    generation: u64,
    second: u64,
    why: &'static str,
}

impl Context {
    /// Tells whether tokens count here.
    pub(super) fn takes_tokens(&self) -> bool {
        self.serves.borrow().1.tokens
    }

    /// Returns by whose standing a request is judged: that of the token that it shows, where tokens count, or the connection's. Where
    /// nobody is asked for a credential a token is none, and what is open does not end with it.
    pub(super) fn asking(&self, rules: &Rules, auth: RouteAuth, headers: &Fields) -> Rc<Standing> {
        if auth == RouteAuth::None || !self.takes_tokens() || !headers.contains_key(Name::Authorization) {
            return Rc::clone(&self.standing);
        }
        self.token(rules, headers).unwrap_or_else(|| Rc::clone(&self.standing))
    }

    /// The same for a call that may have its token in its body: there, or in its head, and not in both.
    pub(super) fn asking_with(&self, rules: &Rules, headers: &Fields, text: &str) -> Option<Rc<Standing>> {
        let is_twofold = headers.get_all(&AUTHORIZATION).any(Tokens::mentions);
        if is_twofold { Some(self.worthless(NOT_ALONE)) } else { self.read(rules, text) }
    }

    fn token(&self, rules: &Rules, headers: &Fields) -> Option<Rc<Standing>> {
        let mut ours = headers.get_all(&AUTHORIZATION).filter(|value| Tokens::mentions(value));
        let value = ours.next()?;
        // Two credentials, or one wrapped in something: whoever reads it behind us may see another one than we do.
        let alone = headers.get_all(&AUTHORIZATION).count() == 1;
        match bearer_token(value).filter(|_| alone) {
            Some(text) => self.read(rules, text).or_else(|| Some(self.worthless(NOT_ONE))),
            None => Some(self.worthless(NOT_ALONE)),
        }
    }

    /// Returns the standing of a token; `None`: it is none of ours.
    fn read(&self, rules: &Rules, text: &str) -> Option<Rc<Standing>> {
        let (digest, generation) = (Fingerprint::of(text.as_bytes()), rules.generation);
        let mut shown = self.shown.borrow_mut();
        let found = shown.known.iter().position(|known| known.digest == digest).map(|at| shown.known.remove(at));
        let known = found.filter(|known| known.generation == generation && !known.standing.is_over());
        let known = match known {
            Some(known) => known,
            None => {
                let second = self.worker.gate.clock().now().as_secs();
                let is_same = |refused: &&Refused| (refused.digest, refused.generation, refused.second) == (digest, generation, second);
                if let Some(why) = shown.refused.iter().find(is_same).map(|refused| refused.why) {
                    drop(shown);
                    return Some(self.worthless(why));
                }
                let ours = match rules.tokens.read(text, second) {
                    Bearer::Foreign => return None,
                    Bearer::Refused(why) => {
                        shown.refused.truncate(MOST - 1);
                        shown.refused.insert(0, Refused { digest, generation, second, why });
                        drop(shown);
                        return Some(self.worthless(why));
                    }
                    ours @ Bearer::Ours(_) => ours,
                };
                let possession = ours.possession(self.standing.presented())?;
                Known { digest, generation, standing: self.standing.open_token(possession) }
            }
        };
        let standing = Rc::clone(&known.standing);
        shown.known.truncate(MOST - 1);
        shown.known.insert(0, known);
        Some(standing)
    }

    /// Returns the standing of whoever shows what is no token: denied wherever a credential is asked for.
    fn worthless(&self, why: &'static str) -> Rc<Standing> {
        let mut shown = self.shown.borrow_mut();
        if let Some((_, standing)) = shown.worthless.iter().find(|(known, _)| *known == why) {
            return Rc::clone(standing);
        }
        let standing = self.standing.open_token(Tokens::worthless(why, self.standing.presented()));
        // As many as there are reasons.
        shown.worthless.push((why, Rc::clone(&standing)));
        standing
    }
}

/// Takes every token of ours out of a request: wherever it stands, whoever has it could use it. `Authorization` may have others beside.
pub(super) fn strip(headers: &mut Fields) {
    // Most heads have none.
    if !headers.are_shorter_than(SHORTEST) {
        headers.retain(|_, value| !Tokens::mentions(value));
    }
}

/// Returns the token of a `Bearer` credential (RFC 6750, 2.1; RFC 9110, 11.4: the scheme in any case, then spaces).
pub fn bearer_token(value: &[u8]) -> Option<&str> {
    let (scheme, token) = text(value)?.split_once(' ')?;
    let token = token.trim_start_matches(' ');
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    (scheme.eq_ignore_ascii_case("Bearer") && is_token).then_some(token)
}

/// Of a token of ours, in characters: its header has 127, its signature 86, and between them there is a certificate.
const SHORTEST: u32 = 400;
const NOT_ALONE: &str = "it is not the one and only bearer token of the request";
const NOT_ONE: &str = "it begins as a token of ours does, and is none";
/// Behind a balancer one connection carries many clients' requests.
const MOST: usize = 8;
