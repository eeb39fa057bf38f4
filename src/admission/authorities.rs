//! What each authority says of a leaf: named, led to, in time, unrevoked, for clients, in bounds. The first that
//! vouches is final; where none does, the one that came furthest says why.

use std::sync::Arc;

use rustls_pki_types::UnixTime;

use super::bounds::OutOfBounds;
use super::chain::{Found, Issuer as PathIssuer, Path};
use super::crl::Status;
use super::decision::{Denial, Horizon, Step, Steps};
use super::snapshot::Snapshot;
use super::trust::{Listed, Trust};
use crate::date::Date;
use crate::pki::{Certificate, Validity};

/// Asks the authorities about one leaf.
pub(super) struct Authorities<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) leaf: &'a Certificate,
    pub(super) now: UnixTime,
    pub(super) horizon: &'a mut Horizon,
}

/// How far an authority came before it failed. Later is further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Path,
    Shape,
    Time,
    Revocation,
    Usage,
    Bounds,
}

/// Why an authority does not vouch; put into words only when somebody reads it.
#[derive(Clone)]
struct Failure<'f> {
    stage: Stage,
    denial: Denial,
    why: Why<'f>,
}

#[derive(Clone)]
enum Why<'f> {
    Bounds(OutOfBounds<'f>),
    Known(Arc<str>),
    NoPath,
}

impl<'a> Authorities<'a> {
    /// Looks for a revocation of the leaf along every path: a revoked leaf loses, even where another path is clean.
    pub(super) fn leaf_revoked(&mut self, found: &Found) -> Option<String> {
        found.paths.iter().find_map(|path| {
            let issuer = path.issuers.first()?;
            let by_crl = match self.status(self.leaf, issuer, false) {
                Status::Revoked(why) => Some(why),
                Status::Clean | Status::Unknown(_) => None,
            };
            by_crl.or_else(|| revoked_by_id(self.snapshot, self.leaf, &path.issuers))
        })
    }

    /// Asks the authorities in order; returns the number of the first that vouches, and the path it vouches by.
    pub(super) fn first<'f>(&mut self, found: &'f Found, steps: &mut Steps) -> Result<(u32, &'f Path), Option<Denial>> {
        let trust: &'a Trust = &self.snapshot.allowlist.trust;
        let mut named: Vec<u32> = found.named.iter().flat_map(|known| &trust.known(*known).authorities).copied().collect();
        named.sort_unstable();
        named.dedup();
        // Once for all authorities: thousands may share an anchor.
        let checked: Vec<Result<(), Failure<'a>>> = found.paths.iter().map(|path| self.check_path(path)).collect();
        let mut furthest: Option<(Stage, Denial)> = None;
        let mut untold = 0;
        for number in named {
            let listed = &trust.authorities()[number as usize];
            let of = || format!("authority of {} ({})", listed.name, listed.written);
            match self.vouches(number, listed, found, &checked) {
                Ok(path) => {
                    let anchor = || trust.known(path.anchor).certificate.subject.rfc2253();
                    steps.found("authority", || format!("{}: leads to {:?} in {}, within bounds", of(), anchor(), path.issuers.len()));
                    return Ok((number, path));
                }
                Err(failure) => {
                    match steps.iter().len() < MOST_STEPS {
                        true => steps.push(Step {
                            rule: "authority",
                            finding: format!("{}: {}", of(), self.describe(&failure, number, found)).into(),
                            denial: Some(failure.denial),
                        }),
                        false => untold += 1,
                    }
                    // The order is that of priorities, so that of two equally far the first stays.
                    if furthest.is_none_or(|(stage, _)| failure.stage > stage) {
                        furthest = Some((failure.stage, failure.denial));
                    }
                }
            }
        }
        if let Some((_, denial)) = furthest.filter(|_| untold > 0) {
            steps.push(Step { rule: "authority", finding: format!("{untold} more do not vouch either").into(), denial: Some(denial) });
        }
        Err(furthest.map(|(_, denial)| denial))
    }

    fn vouches<'f>(
        &self,
        number: u32,
        listed: &'a Listed,
        found: &'f Found,
        checked: &[Result<(), Failure<'a>>],
    ) -> Result<&'f Path, Failure<'a>> {
        if let Some(why) = &found.misshapen {
            return Err(Failure { stage: Stage::Shape, denial: Denial::Unsuitable, why: Why::Known(why.as_str().into()) });
        }
        let mut furthest: Option<&Failure<'a>> = None;
        let mut usable = None;
        for (path, checked) in found.paths.iter().zip(checked).filter(|(path, _)| self.stands_in(path.anchor, number)) {
            match checked {
                Ok(()) => usable = usable.or(Some(path)),
                Err(failure) if furthest.is_none_or(|before| failure.stage > before.stage) => furthest = Some(failure),
                Err(_) => {}
            }
        }
        let Some(path) = usable else {
            let none = Failure { stage: Stage::Path, denial: Denial::ChainInvalid, why: Why::NoPath };
            return Err(furthest.cloned().unwrap_or(none));
        };
        self.check_usage(listed)?;
        let bounds = listed.authority.bounds.check(self.leaf);
        bounds.map_err(|out| Failure { stage: Stage::Bounds, denial: out.denial(), why: Why::Bounds(out) })?;
        Ok(path)
    }

    /// Tells whether a configured certificate stands in an authority's bundle.
    fn stands_in(&self, known: u32, authority: u32) -> bool {
        self.snapshot.allowlist.trust.known(known).authorities.binary_search(&authority).is_ok()
    }

    fn describe(&self, failure: &Failure<'_>, authority: u32, found: &Found) -> String {
        match &failure.why {
            Why::Bounds(out) => out.describe(self.leaf),
            Why::Known(why) => why.to_string(),
            Why::NoPath => {
                let why = found.failures.iter().filter(|(known, _)| self.stands_in(*known, authority)).map(|(_, why)| why.as_str());
                match why.collect::<Vec<_>>().join("; ") {
                    none if none.is_empty() => {
                        "an anchor bears the issuer's name or key, but no signature leads to it: another key, or an intermediate is missing"
                            .to_owned()
                    }
                    why => format!("no valid path: {why}"),
                }
            }
        }
    }

    /// Judges what changes with time: dates and revocation of every certificate of a path but the leaf's own dates.
    fn check_path(&mut self, path: &Path) -> Result<(), Failure<'a>> {
        let fails = |stage, denial, why: String| Err(Failure { stage, denial, why: Why::Known(why.into()) });
        let time = |denial, why| fails(Stage::Time, denial, why);
        for issuer in &path.issuers {
            let name = || issuer.certificate.subject.rfc2253();
            match validity(&issuer.certificate, self.now, self.snapshot.clock_skew, self.horizon) {
                Validity::Valid => {}
                Validity::Expired => {
                    return time(
                        Denial::Expired,
                        format!("{:?} on the path has expired (notAfter {})", name(), Date::of(issuer.certificate.not_after)),
                    );
                }
                Validity::NotYet => {
                    return time(
                        Denial::NotYetValid,
                        format!("{:?} on the path is not yet valid (notBefore {})", name(), Date::of(issuer.certificate.not_before)),
                    );
                }
            }
        }
        if path.disjoint {
            return time(Denial::Expired, "there is no second at which all certificates of the path are valid".to_owned());
        }
        let revoked = |why| fails(Stage::Revocation, Denial::Revoked, why);
        for (at, issuer) in path.issuers.iter().enumerate() {
            let above = &path.issuers[at + 1..];
            if let Some(why) = revoked_by_id(self.snapshot, &issuer.certificate, above) {
                return revoked(format!("{:?} on the path: {why}", issuer.certificate.subject.rfc2253()));
            }
        }
        if let Some(why) = self.snapshot.revocation.crls.anchor_revoked(path.anchor) {
            return revoked(format!("the trust anchor: {why}"));
        }
        let members = std::iter::once(self.leaf).chain(path.issuers.iter().map(|issuer| &*issuer.certificate));
        for (member, issuer) in members.zip(&path.issuers) {
            match self.status(member, issuer, false) {
                Status::Clean => {}
                Status::Revoked(why) => return revoked(format!("{:?} on the path: {why}", member.subject.rfc2253())),
                Status::Unknown(why) => return fails(Stage::Revocation, Denial::RevocationUnknown, why),
            }
        }
        Ok(())
    }

    fn check_usage(&self, listed: &Listed) -> Result<(), Failure<'a>> {
        let why = match self.leaf.extended_key_usage {
            Some(usage) if usage.client_auth => return Ok(()),
            Some(usage) if usage.any && !listed.authority.require_client_eku => return Ok(()),
            None if !listed.authority.require_client_eku => return Ok(()),
            Some(_) => "the leaf's extendedKeyUsage does not list clientAuth",
            None => "the leaf has no extendedKeyUsage, and clientAuth is required (require_client_eku = false lets it pass)",
        };
        Err(Failure { stage: Stage::Usage, denial: Denial::Unsuitable, why: Why::Known(why.into()) })
    }

    /// Finds the path of an authority that a fresh CRL speaks of in every certificate: not all that would do otherwise do here.
    pub(super) fn demanding<'f>(&mut self, number: u32, found: &'f Found) -> Result<&'f Path, String> {
        let mut why = None;
        for path in &found.paths {
            if !self.stands_in(path.anchor, number) || self.check_path(path).is_err() {
                continue;
            }
            let members = std::iter::once(self.leaf).chain(path.issuers.iter().map(|issuer| &*issuer.certificate));
            let unknown = members.zip(&path.issuers).find_map(|(member, issuer)| match self.status(member, issuer, true) {
                Status::Clean => None,
                Status::Revoked(why) | Status::Unknown(why) => Some(why),
            });
            match unknown {
                None => return Ok(path),
                Some(unknown) => why = why.or(Some(unknown)),
            }
        }
        Err(why.unwrap_or_else(|| "no path".to_owned()))
    }

    fn status(&mut self, member: &Certificate, issuer: &PathIssuer, demanded: bool) -> Status {
        let (now, skew) = (self.now.as_secs(), self.snapshot.clock_skew);
        self.snapshot.revocation.crls.status(member, issuer, now, skew, demanded, self.horizon)
    }
}

/// Looks at a certificate's dates, and notes when they will tell otherwise.
pub(super) fn validity(certificate: &Certificate, now: UnixTime, skew: u64, horizon: &mut Horizon) -> Validity {
    horizon.change_at(certificate.not_before.saturating_sub(skew));
    horizon.change_at(certificate.not_after.saturating_add(skew).saturating_add(1));
    certificate.validity(now, skew)
}

/// Looks a path member up among ids, in the light of the CAs above it. `above` is empty for an anchor.
fn revoked_by_id(snapshot: &Snapshot, member: &Certificate, above: &[PathIssuer]) -> Option<String> {
    let revocation = &snapshot.revocation;
    // An anchor's own issuer stands on no path.
    let key = above.first().map(|issuer| issuer.certificate.spki_pin).or_else(|| snapshot.issuer_of(member));
    let issuer = snapshot.issuer(key.as_ref());
    let everywhere = revocation.issuer_hit(member, issuer);
    let by_key = |certificate: &Arc<Certificate>, below| revocation.anchor_hit(&certificate.spki_pin, member, issuer, below);
    everywhere
        .or_else(|| above.iter().find_map(|ca| by_key(&ca.certificate, true)))
        .or_else(|| revocation.anchor_hit(&member.spki_pin, member, issuer, false))
}

/// Steps of one decision, authorities that do not vouch included: thousands would help nobody.
const MOST_STEPS: usize = 64;
