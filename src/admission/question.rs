//! One question, asked in the order that is the policy: proof, revocation, whose it is, terms, permission. Each step is noted.

use std::borrow::Cow;
use std::sync::Arc;

use rustls_pki_types::UnixTime;

use super::allowlist::Match;
use super::attribute::AmbiguousCommonName;
use super::authorities::{Authorities, validity};
use super::bootstrap::BootstrapMode;
use super::candidate::Candidate;
use super::chain::{Found, Paths};
use super::claims::{Proof, Token};
use super::conditions::weak_key;
use super::credential::Pin;
use super::decision::{Admission, Basis, Decision, Denial, Horizon, Steps, Verdict, shortened};
use super::permission::{Access, Refusal, access_on};
use super::principal::{Identifier, Principal};
use super::renewal::{self, Outcome};
use super::required_crl;
use super::scope::{RequestScope, RouteAuth, RouteScope, Scope};
use super::snapshot::Snapshot;
use crate::date::Date;
use crate::pki::{Certificate, Validity};

/// One question, while it is being answered.
pub(super) struct Question<'a> {
    snapshot: &'a Snapshot,
    scope: &'a Scope<'a>,
    now: UnixTime,
    steps: Steps,
    horizon: Horizon,
    principal: Option<Arc<Principal>>,
}

/// Whose a credential is, and which.
type Owner = (Arc<Principal>, Basis);

impl<'a> Question<'a> {
    /// Asks it, of a candidate or of nobody.
    pub(super) fn answer(
        snapshot: &'a Snapshot,
        candidate: Option<&Candidate>,
        scope: &'a Scope<'a>,
        now: UnixTime,
        steps: Steps,
    ) -> Decision {
        let mut question = Self { snapshot, scope, now, steps, horizon: Horizon::new(now), principal: None };
        let verdict = question.verdict(candidate).unwrap_or_else(Verdict::Deny);
        let Self { steps, horizon, principal, .. } = question;
        Decision { verdict, steps, principal, generation: snapshot.generation, valid_until: horizon.until() }
    }

    fn verdict(&mut self, candidate: Option<&Candidate>) -> Result<Verdict, Denial> {
        let route = self.scope.request.and_then(|request| request.route);
        if route.is_some_and(|route| route.auth == RouteAuth::None) {
            self.steps.passed("route", "auth = \"none\": no certificate is consulted");
            return Ok(Verdict::Open);
        }
        let Some(candidate) = candidate else {
            if route.is_some_and(|route| route.auth == RouteAuth::Optional) {
                self.steps.passed("route", "auth = \"optional\", and no certificate was presented");
                return Ok(Verdict::Open);
            }
            return Err(self.steps.failed("certificate", "no certificate was presented", Denial::NoCredential));
        };
        self.proof(candidate)?;
        let leaf = self.leaf(candidate)?;
        let (principal, basis) = self.principal(candidate, leaf)?;
        self.principal = Some(Arc::clone(&principal));
        self.claimed(candidate, &principal)?;
        let identifier = self.identifier(&principal, &basis, leaf)?;
        principal.terms.check(self.scope, self.now, &mut self.horizon, &mut self.steps)?;
        let access = match (self.scope.request, route) {
            (Some(request), _) if !request.surface.is_proxied() => {
                principal.terms.check_call(&request, &basis, &mut self.steps)?;
                None
            }
            (Some(request), Some(route)) => Some(self.access(&principal, &basis, leaf, &request, route)?),
            _ => None,
        };
        Ok(Verdict::Admit(Admission { principal, basis, identifier, access }))
    }

    /// Judges what was shown instead of a handshake, and the certificate of the connection that it came over.
    fn proof(&mut self, candidate: &Candidate) -> Result<(), Denial> {
        let beside = candidate.connection().map(|beside| self.beside(beside)).transpose()?;
        match &candidate.proof {
            Proof::Handshake => Ok(()),
            Proof::Worthless(why, _) => Err(self.steps.failed("token", String::from(&**why), Denial::TokenInvalid)),
            Proof::Claimed(claims, _) => {
                if let Some(token) = &claims.token {
                    token.check(&claims.principal, self.snapshot, self.now.as_secs(), &mut self.horizon, &mut self.steps)?;
                    self.bound(token, candidate.connection())?;
                }
                match beside {
                    Some(other) if other.id != claims.principal => {
                        let finding =
                            format!("the connection's certificate is that of {}, the token that of {}", other.name, claims.principal);
                        Err(self.steps.failed("token", finding, Denial::TokenInvalid))
                    }
                    Some(_) | None => Ok(()),
                }
            }
        }
    }

    /// Judges the certificate of the connection that a token came over, as the connection itself was: who shows one that is denied has
    /// no better claim by a token.
    fn beside(&mut self, beside: &Candidate) -> Result<Arc<Principal>, Denial> {
        let decision = self.snapshot.decide(Some(beside), &Scope { request: None, ..*self.scope }, self.now);
        self.horizon.change_at(decision.valid_until.as_secs());
        match decision.verdict {
            Verdict::Admit(admission) => {
                self.steps.passed("connection", "the certificate that was shown beside the token is admitted");
                Ok(admission.principal)
            }
            Verdict::Deny(denial) => {
                decision.steps.iter().for_each(|step| self.steps.push(step.clone()));
                self.principal = decision.principal;
                Err(denial)
            }
            // No certificate's answer.
            Verdict::Open => Err(self.steps.failed("connection", "no certificate was presented", Denial::NoCredential)),
        }
    }

    /// RFC 8705, 3: a token that was issued over mutual TLS is worth nothing without that certificate.
    fn bound(&mut self, token: &Token, beside: Option<&Candidate>) -> Result<(), Denial> {
        let Some(bound) = &token.bound else { return Ok(()) };
        let shown = beside.and_then(|beside| beside.leaf().ok()).map(|leaf| leaf.fingerprint);
        if shown.as_ref() == Some(bound) {
            return Ok(());
        }
        let finding = format!("the token is bound to the certificate sha256:{bound}, which this connection did not show");
        Err(self.steps.failed("token", finding, Denial::TokenInvalid))
    }

    /// Compares whose the certificate is now with whose it was claimed to be.
    fn claimed(&mut self, candidate: &Candidate, principal: &Principal) -> Result<(), Denial> {
        let Some(claims) = candidate.claims().filter(|claims| claims.principal != principal.id) else { return Ok(()) };
        let (finding, denial) = match claims.token {
            Some(_) => {
                (format!("the certificate is now that of {}, and the token {}'s", principal.name, claims.principal), Denial::TokenInvalid)
            }
            None => (format!("the certificate is that of {}, and {} was asked for", principal.name, claims.principal), Denial::NotListed),
        };
        Err(self.steps.failed("principal", finding, denial))
    }

    /// Judges the leaf alone: readable, strong enough, in time, not revoked.
    fn leaf<'c>(&mut self, candidate: &'c Candidate) -> Result<&'c Certificate, Denial> {
        let leaf = match candidate.leaf() {
            Ok(leaf) => leaf,
            Err(error) => return Err(self.steps.failed("certificate", error.to_string(), Denial::Unsuitable)),
        };
        if let Some(why) = weak_key(leaf) {
            return Err(self.steps.failed("certificate", format!("the leaf has {why}"), Denial::Unsuitable));
        }
        self.steps.found("certificate", || format!("sha256:{}, subject {:?}", leaf.fingerprint, shortened(&leaf.subject.rfc2253())));
        match validity(leaf, self.now, self.snapshot.clock_skew, &mut self.horizon) {
            Validity::Valid => self.steps.passed("validity", "the leaf is valid now"),
            Validity::Expired => {
                let finding = format!("the leaf has expired (notAfter {})", Date::of(leaf.not_after));
                return Err(self.steps.failed("validity", finding, Denial::Expired));
            }
            Validity::NotYet => {
                let finding = format!("the leaf is not yet valid (notBefore {})", Date::of(leaf.not_before));
                return Err(self.steps.failed("validity", finding, Denial::NotYetValid));
            }
        }
        let revocation = &self.snapshot.revocation;
        if let Some(why) = revocation.leaf_hit(leaf).or_else(|| revocation.crls.lists(leaf)) {
            return Err(self.steps.failed("revocation", format!("the leaf: {why}"), Denial::Revoked));
        }
        self.steps.passed("revocation", "no id and no CRL of a configured CA names the leaf");
        Ok(leaf)
    }

    /// Finds whose credential this is. The first that matches is final; rights are never united.
    fn principal(&mut self, candidate: &Candidate, leaf: &Certificate) -> Result<Owner, Denial> {
        let allowlist = &self.snapshot.allowlist;
        if let Some(principal) = allowlist.find_admin(&leaf.fingerprint) {
            return self.pinned(Arc::clone(principal), Basis::WellKnownAdmin, leaf, "pin", |_| {
                "the fingerprint is that of a well-known admin".into()
            });
        }
        if let Some(Match { principal, written }) = allowlist.find_pin(&leaf.fingerprint) {
            let finding = |principal: &Principal| format!("pinned for {} in {written}", principal.name).into();
            return self.pinned(principal, Basis::Pin, leaf, "pin", finding);
        }
        if let Some(Match { principal, written }) = allowlist.find_spki_pin(&leaf.spki_pin) {
            let finding = |principal: &Principal| format!("the key is pinned for {} in {written}", principal.name).into();
            return self.pinned(principal, Basis::SpkiPin, leaf, "spki_pin", finding);
        }
        // Our own certificate begins as a client certificate, and in no other way.
        let may_begin = self.scope.control && !candidate.is_claimed();
        if let Some(principal) = self.snapshot.bootstrap.admits(&leaf.fingerprint).filter(|_| may_begin) {
            let basis = Basis::ServerCertificate { first_only: self.snapshot.bootstrap.mode() == BootstrapMode::FirstAdmin };
            let finding =
                |_: &Principal| "the certificate that we serve with here, and there has been no admin yet, or it may always".into();
            return self.pinned(Arc::clone(principal), basis, leaf, "bootstrap", finding);
        }
        match self.renewed(leaf)? {
            Ok(renewed) => Ok(renewed),
            Err(None) => self.vouched(candidate, leaf),
            // An authority may vouch for it all the same.
            Err(Some(why)) => self.vouched(candidate, leaf).map_err(|denial| match denial {
                Denial::Revoked => Denial::Revoked,
                _ => self.steps.failed("renewal", why, Denial::IssuerUnknown),
            }),
        }
    }

    /// Asks whether it renews a pin. The inner `Err`: it does not, and why, if there is a pin that it could have renewed.
    fn renewed(&mut self, leaf: &Certificate) -> Result<Result<Owner, Option<String>>, Denial> {
        match renewal::judge(self.snapshot, leaf, self.now, &mut self.horizon) {
            None => Ok(Err(None)),
            Some(Outcome::Failed(why)) => Ok(Err(Some(why))),
            Some(Outcome::Renews { found, predecessor }) => {
                let finding = |principal: &Principal| {
                    format!("it renews sha256:{predecessor}, pinned for {} in {}, on the same key", principal.name, found.written).into()
                };
                self.pinned(found.principal, Basis::Renewal { predecessor }, leaf, "renewal", finding).map(Ok)
            }
            Some(Outcome::Revoked(principal, why)) => {
                self.principal = Some(principal);
                Err(self.steps.failed("revocation", format!("the leaf: {why}"), Denial::Revoked))
            }
        }
    }

    fn pinned(
        &mut self,
        principal: Arc<Principal>,
        basis: Basis,
        leaf: &Certificate,
        rule: &'static str,
        finding: impl FnOnce(&Principal) -> Cow<'static, str>,
    ) -> Result<Owner, Denial> {
        self.steps.found(rule, || finding(&principal));
        self.principal = Some(Arc::clone(&principal));
        // An SPKI pin proves a key and nothing else: what its holder wrote into a certificate is no reason either way.
        if !matches!(basis, Basis::SpkiPin)
            && let Some(why) = Pin::unsuitable(leaf, principal.terms.allow_any_eku)
        {
            return Err(self.steps.failed(rule, format!("unfit to be a pin: {why}"), Denial::Unsuitable));
        }
        let revocation = &self.snapshot.revocation;
        let key = self.snapshot.issuer_of(leaf);
        if let Some(why) = revocation.principal_hit(&principal.name, leaf, self.snapshot.issuer(key.as_ref())) {
            return Err(self.steps.failed("revocation", format!("the leaf: {why}"), Denial::Revoked));
        }
        if let Basis::Pin = basis
            && let Some(why) = renewal::revoked_key(self.snapshot, &principal, &leaf.spki_pin)
        {
            return Err(self.steps.failed("revocation", format!("the leaf: {why}"), Denial::Revoked));
        }
        if principal.terms.require_crl_dp {
            let known = required_crl::check(self.snapshot, leaf, self.now, &mut self.horizon);
            known.map_err(|why| self.steps.failed("revocation", why, Denial::RevocationUnknown))?;
            self.steps.passed("revocation", required_crl::FRESH);
        }
        Ok((principal, basis))
    }

    /// Asks the authorities.
    fn vouched(&mut self, candidate: &Candidate, leaf: &Certificate) -> Result<Owner, Denial> {
        let snapshot = self.snapshot;
        // Who respells the signature of a pinned certificate is not to slip past what holds for that pin.
        if !snapshot.allowlist.trust.authorities().is_empty()
            && let Some(pin) = leaf.twin().and_then(|twin| snapshot.allowlist.find_pin(&twin))
        {
            let finding =
                format!("the signature of the certificate pinned for {} in {}, respelled: a pin is exact", pin.principal.name, pin.written);
            return Err(self.steps.failed("principal", finding, Denial::NotListed));
        }
        let found = self.found(candidate, leaf);
        let mut authorities = Authorities { snapshot, leaf, now: self.now, horizon: &mut self.horizon };
        if let Some(why) = authorities.leaf_revoked(&found) {
            return Err(self.steps.failed("revocation", format!("the leaf: {why}"), Denial::Revoked));
        }
        let (number, mut path) = match authorities.first(&found, &mut self.steps) {
            Ok(vouched) => vouched,
            Err(Some(denial)) => {
                let finding =
                    "no pin is this certificate, and none of the authorities above vouches for it; the one that came furthest says why";
                return Err(self.steps.failed("principal", finding, denial));
            }
            Err(None) => return Err(self.stranger(leaf)),
        };
        let principal = snapshot.allowlist.trust.authorities()[number as usize].principal();
        self.principal = Some(Arc::clone(&principal));
        if principal.terms.require_crl_dp {
            let known = required_crl::names_it(leaf).and_then(|()| authorities.demanding(number, &found));
            path = known.map_err(|why| self.steps.failed("revocation", why, Denial::RevocationUnknown))?;
            self.steps.passed("revocation", required_crl::FRESH);
        }
        let issuer = self.snapshot.issuer(path.issuers.first().map(|issuer| &issuer.certificate.spki_pin));
        if let Some(why) = snapshot.revocation.principal_hit(&principal.name, leaf, issuer) {
            return Err(self.steps.failed("revocation", format!("the leaf: {why}"), Denial::Revoked));
        }
        Ok((principal, Basis::Authority { chain: path.chain() }))
    }

    /// Finds the paths, or remembers them: signatures are checked again only when anchors or CRLs changed.
    fn found(&self, candidate: &Candidate, leaf: &Certificate) -> Arc<Found> {
        let (trust, crls) = (&self.snapshot.allowlist.trust, &self.snapshot.revocation.crls);
        let mut remembered = candidate.paths.borrow_mut();
        if let Some(found) = remembered.as_ref().and_then(|paths| paths.remembered(trust, crls)) {
            return found;
        }
        let (paths, found) = Paths::find(leaf, candidate.intermediates(), trust, crls);
        *remembered = Some(paths);
        found
    }

    /// Denies a leaf that nobody knows, and says to the operator whom it resembles.
    fn stranger(&mut self, leaf: &Certificate) -> Denial {
        let allowlist = &self.snapshot.allowlist;
        let place = |found: &Match| format!("the certificate pinned for {} in {}", found.principal.name, found.written);
        let resembles = if let Some(pin) = allowlist.find_kin_by_key(&leaf.spki_pin) {
            format!("; it has the key of {}, but is another certificate: a renewal is pinned anew", place(&pin))
        } else if let Some(pin) = allowlist.find_kin_by_subject(&leaf.subject.der) {
            format!("; it has the subject of {}, but another key: it is another certificate", place(&pin))
        } else if let Some(pin) = allowlist.find_kin_by_subject(&leaf.issuer.der) {
            format!("; its issuer has the subject of {}: a pin is never an issuer", place(&pin))
        } else {
            String::new()
        };
        let asked = allowlist.trust.authorities().len();
        let finding =
            format!("no principal has this certificate or key, and no anchor of {asked} authorities its issuer's name or key{resembles}");
        self.steps.failed("principal", finding, Denial::NotListed)
    }

    /// Finds what identifies the caller to the upstream.
    fn identifier(&mut self, principal: &Principal, basis: &Basis, leaf: &Certificate) -> Result<Arc<str>, Denial> {
        let name = || Arc::from(principal.name.as_str());
        let identifier: Arc<str> = match (&principal.terms.identifier, basis) {
            (_, Basis::SpkiPin) | (Identifier::Principal, _) => name(),
            (Identifier::Fingerprint, _) => leaf.fingerprint.to_string().into(),
            (Identifier::Serial, _) => leaf.serial_hex().into(),
            (Identifier::Attribute(attribute), _) => match attribute.deciding_values(leaf) {
                Err(AmbiguousCommonName) => {
                    let finding = "the leaf has more than one common name, and common_name identifies";
                    return Err(self.steps.failed("identifier", finding, Denial::AmbiguousCommonName));
                }
                Ok(values) => match values.into_iter().find(|value| !value.is_empty() && !value.contains('\0')) {
                    Some(value) => value.as_ref().into(),
                    None => {
                        let finding = format!("the leaf has no {attribute}, which identifies");
                        return Err(self.steps.failed("identifier", finding, Denial::IdentifierMissing));
                    }
                },
            },
        };
        self.steps.found("identifier", || format!("{} is {:?}", principal.terms.identifier, shortened(&identifier)));
        Ok(identifier)
    }

    /// Judges what the principal may do on a route.
    fn access(
        &mut self,
        principal: &Principal,
        basis: &Basis,
        leaf: &Certificate,
        request: &RequestScope<'_>,
        route: &RouteScope,
    ) -> Result<Access, Denial> {
        let terms = &principal.terms;
        terms.check_origin(request, route, &mut self.steps)?;
        if terms.clearance.skips_permissions() {
            self.steps.passed("permission", "admins skip the permissions of routes");
            return Ok(Access::Admin);
        }
        let named = (!matches!(basis, Basis::SpkiPin)).then_some(leaf);
        let (needed, name) = (request.access, &route.name);
        let (finding, denial) = match access_on(&terms.permissions, route, named) {
            Ok(access) if access >= needed => {
                self.steps.found("permission", || format!("{} on route {name:?}, {} needed", access.name(), needed.name()));
                return Ok(access);
            }
            Ok(access) => (format!("{} on route {name:?}, {} needed", access.name(), needed.name()), Denial::NotPermitted),
            Err(Refusal::Ambiguous) => {
                (format!("the leaf has more than one common name, and `when` asks for it on route {name:?}"), Denial::AmbiguousCommonName)
            }
            Err(Refusal::Denied { number }) => (format!("permission {} denies route {name:?}", number + 1), Denial::NotPermitted),
            Err(Refusal::Nothing) => (format!("no permission names route {name:?} for this leaf"), Denial::NotPermitted),
        };
        Err(self.steps.failed("permission", finding, denial))
    }
}
