//! Bearer tokens of ours: who shows one is judged by it, and no upstream ever reads it. Those of others pass untouched, and are no
//! credential.

use std::rc::Rc;

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use super::Context;
use crate::challenge::{Bearer, Tokens};
use crate::gate::Standing;
use crate::pki::Fingerprint;
use crate::rules::Rules;

/// The tokens that came over one connection last, latest first.
#[derive(Default)]
pub struct Shown(Vec<Known>);

/// A token that was read: neither its signature is checked nor its certificate parsed for each request.
struct Known {
    /// SHA-256 of its text.
    digest: Fingerprint,
    /// Under which rules it was read: others may ask for another issuer.
    generation: u64,
    standing: Rc<Standing>,
}

impl Context {
    /// Returns by whose standing a request is judged: that of the token that it shows, where tokens count, or the connection's.
    pub(super) fn asking(&self, rules: &Rules, headers: &HeaderMap) -> Rc<Standing> {
        let takes_tokens = self.serves.borrow().1.tokens;
        if !takes_tokens || !headers.contains_key(AUTHORIZATION) {
            return Rc::clone(&self.standing);
        }
        self.token(rules, headers).unwrap_or_else(|| Rc::clone(&self.standing))
    }

    fn token(&self, rules: &Rules, headers: &HeaderMap) -> Option<Rc<Standing>> {
        let mut ours = headers.get_all(AUTHORIZATION).iter().filter(|value| Tokens::mentions(value.as_bytes()));
        let value = ours.next()?;
        // Two credentials, or one wrapped in something: whoever reads it behind us may see another one than we do.
        let alone = headers.get_all(AUTHORIZATION).iter().count() == 1;
        let Some(text) = bearer(value).filter(|_| alone) else {
            let read = Bearer::Refused("it is not the one and only bearer token of the request");
            return read.possession(self.standing.presented()).map(|possession| self.standing.open_token(possession));
        };
        let digest = Fingerprint::of(text.as_bytes());
        let mut shown = self.shown.borrow_mut();
        let found = shown.0.iter().position(|known| known.digest == digest).map(|at| shown.0.remove(at));
        let known = found.filter(|known| known.generation == rules.generation && !known.standing.is_over());
        let known = match known {
            Some(known) => known,
            None => {
                let read = rules.tokens.read(text, self.worker.gate.clock().now().as_secs());
                let possession = read.possession(self.standing.presented())?;
                Known { digest, generation: rules.generation, standing: self.standing.open_token(possession) }
            }
        };
        let standing = Rc::clone(&known.standing);
        shown.0.truncate(MOST - 1);
        shown.0.insert(0, known);
        Some(standing)
    }
}

/// Takes every token of ours out of a request.
pub(super) fn strip(headers: &mut HeaderMap) {
    let mentions = |value: &HeaderValue| Tokens::mentions(value.as_bytes());
    if !headers.get_all(AUTHORIZATION).iter().any(mentions) {
        return;
    }
    let kept: Vec<HeaderValue> = headers.get_all(AUTHORIZATION).iter().filter(|value| !mentions(value)).cloned().collect();
    headers.remove(AUTHORIZATION);
    for value in kept {
        headers.append(AUTHORIZATION, value);
    }
}

/// Returns the token of a `Bearer` credential (RFC 6750, 2.1; RFC 9110, 11.4: the scheme in any case, then spaces).
fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim_start_matches(' ');
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    (scheme.eq_ignore_ascii_case("Bearer") && is_token).then_some(token)
}

/// Behind a balancer one connection carries many clients' requests.
const MOST: usize = 8;
