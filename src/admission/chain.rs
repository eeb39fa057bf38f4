//! Leaf to trust anchor: which certificates lead there, by whose signatures. What holds for good is found
//! here, once per candidate and trust; dates and revocation are looked at each time, in `authorities.rs`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, VerifiedPath};

use super::crl::{Crls, Speaking};
use super::trust::Trust;
use crate::pki::{Certificate, Fingerprint};

/// The paths of a candidate, and the trust they were found under.
#[derive(Debug)]
pub struct Paths {
    /// Trust anchors and CRLs.
    under: [Fingerprint; 2],
    found: Arc<Found>,
}

/// What leads from a leaf towards the configured trust anchors.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The configured certificates that bear the name or the key of an issuer on the way; ascending.
    pub(super) named: Vec<u32>,
    /// Every path whose signatures hold, shortest first.
    pub(super) paths: Vec<Path>,
    /// Why a path to a configured certificate does not hold.
    pub(super) failures: Vec<(u32, String)>,
    /// Why the leaf is none that an authority could vouch for.
    pub(super) misshapen: Option<String>,
}

/// A path whose signatures hold.
#[derive(Debug)]
pub(super) struct Path {
    /// From the leaf's issuer to the anchor, which is the last.
    pub(super) issuers: Vec<Issuer>,
    /// The anchor among the configured certificates.
    pub(super) anchor: u32,
    /// No second lies in the validity of all its certificates.
    pub(super) disjoint: bool,
}

/// A CA on a path, and the CRLs that speak for it.
#[derive(Clone, Debug)]
pub(super) struct Issuer {
    pub(super) certificate: Arc<Certificate>,
    pub(super) speaking: Speaking,
}

impl Paths {
    /// Returns what was found before, if it was found under the same trust.
    pub(super) fn remembered(&self, trust: &Trust, crls: &Crls) -> Option<Arc<Found>> {
        (self.under == under(trust, crls)).then(|| Arc::clone(&self.found))
    }

    pub(super) fn find(leaf: &Certificate, presented: &[CertificateDer<'static>], trust: &Trust, crls: &Crls) -> (Self, Arc<Found>) {
        let found = Arc::new(Found::find(leaf, presented, trust, crls));
        (Self { under: under(trust, crls), found: Arc::clone(&found) }, found)
    }
}

impl Found {
    fn find(leaf: &Certificate, presented: &[CertificateDer<'static>], trust: &Trust, crls: &Crls) -> Self {
        let mut found = Self::default();
        if trust.authorities().is_empty() {
            return found;
        }
        let mut search = Search::around(leaf, presented, trust);
        found.named = search.nodes.iter().filter_map(|node| node.known).collect();
        found.named.sort_unstable();
        // Nothing below costs a signature unless some anchor could match.
        if found.named.is_empty() {
            return found;
        }
        found.misshapen = misshapen(leaf);
        if found.misshapen.is_some() {
            return found;
        }
        search.verify_edges();
        found.failures = search.failures();
        for steps in search.paths() {
            let issuers: Vec<&Arc<Certificate>> = steps.iter().map(|node| &search.nodes[*node].certificate).collect();
            let Some(anchor) = steps.last().and_then(|node| search.nodes[*node].known) else { continue };
            match verify(leaf, &issuers) {
                Ok(disjoint) => {
                    let issuer = |certificate: &&Arc<Certificate>| Issuer {
                        certificate: Arc::clone(certificate),
                        speaking: crls.speaking_for(certificate),
                    };
                    found.paths.push(Path { issuers: issuers.iter().map(issuer).collect(), anchor, disjoint });
                }
                Err(why) => found.failures.push((anchor, why)),
            }
        }
        found
    }
}

impl Path {
    /// Returns the chain without the leaf, anchor included, for `Client-Cert-Chain`.
    pub(super) fn chain(&self) -> Arc<[CertificateDer<'static>]> {
        self.issuers.iter().map(|issuer| issuer.certificate.der.clone()).collect()
    }
}

/// Tells whether a certificate can be read as RFC 5280 has it.
pub(super) fn is_readable_anchor(certificate: &Certificate) -> bool {
    webpki::anchor_from_trusted_cert(&certificate.der).is_ok()
}

/// The certificates that may lie between a leaf and an anchor, and whose key signed which.
struct Search<'a> {
    leaf: &'a Certificate,
    nodes: Vec<Node>,
    /// By node, the leaf first (so one more than there are nodes): the nodes whose key signed it.
    signed_by: Vec<Vec<usize>>,
    out_of_budget: bool,
}

struct Node {
    certificate: Arc<Certificate>,
    /// Its index among the configured certificates.
    known: Option<u32>,
    /// Why it issues nothing.
    problem: Option<&'static str>,
}

const LEAF: usize = 0;

impl<'a> Search<'a> {
    /// Gathers what the names and key ids of issuers reach, going up from the leaf. No signature is looked at.
    fn around(leaf: &'a Certificate, presented: &[CertificateDer<'static>], trust: &Trust) -> Self {
        let mut search = Self { leaf, nodes: Vec::new(), signed_by: Vec::new(), out_of_budget: false };
        let presented = read(presented, trust);
        let (mut seen_known, mut seen_presented) = (HashSet::new(), HashSet::new());
        let mut at = LEAF;
        while at <= search.nodes.len() {
            let child = search.certificate(at);
            let key_id = child.authority_key_id.as_deref();
            let by_key = key_id.map_or(&[][..], |id| trust.by_key_id(id));
            // By key first, lest many of one name crowd out the right one.
            let known: Vec<u32> = by_key.iter().chain(trust.by_subject(&child.issuer.der)).copied().collect();
            let leads = |issuer: &Certificate| {
                issuer.subject.der == child.issuer.der || (key_id.is_some() && key_id == issuer.subject_key_id.as_deref())
            };
            let sent: Vec<usize> = (0..presented.len()).filter(|index| leads(&presented[*index])).collect();
            for index in known {
                if search.nodes.len() < MAX_NODES && seen_known.insert(index) {
                    let known = trust.known(index);
                    let problem = known.problem.map(|problem| problem.describe());
                    search.nodes.push(Node { certificate: Arc::clone(&known.certificate), known: Some(index), problem });
                }
            }
            for index in sent {
                if search.nodes.len() < MAX_NODES && seen_presented.insert(index) {
                    let problem = issues_nothing(&presented[index]);
                    search.nodes.push(Node { certificate: Arc::clone(&presented[index]), known: None, problem });
                }
            }
            at += 1;
        }
        search
    }

    /// Checks signatures from the anchors down, so that what no anchor vouches for costs at most one check for each CA of its
    /// issuer's name, and cannot multiply paths.
    fn verify_edges(&mut self) {
        let places = self.nodes.len() + 1;
        self.signed_by = vec![Vec::new(); places];
        let mut vouched: Vec<usize> =
            (1..places).filter(|place| self.node(*place).known.is_some() && self.node(*place).problem.is_none()).collect();
        let mut is_vouched = vec![false; places];
        vouched.iter().for_each(|place| is_vouched[*place] = true);
        let mut budget = MAX_SIGNATURES;
        let mut next = 0;
        while let Some(&issuer_at) = vouched.get(next) {
            next += 1;
            let issuer = Arc::clone(&self.node(issuer_at).certificate);
            let mut children: Vec<usize> =
                (0..places).filter(|place| *place != issuer_at && self.certificate(*place).issuer.der == issuer.subject.der).collect();
            // Those that name this very key first: the budget is spent on what is likely.
            children.sort_by_key(|place| likelihood(self.certificate(*place), &issuer));
            for child in children {
                if budget == 0 {
                    self.out_of_budget = true;
                    return;
                }
                budget -= 1;
                if !self.certificate(child).is_signed_by(issuer.spki()) {
                    continue;
                }
                self.signed_by[child].push(issuer_at);
                if child != LEAF && self.node(child).problem.is_none() && !std::mem::replace(&mut is_vouched[child], true) {
                    vouched.push(child);
                }
            }
        }
    }

    /// Lists the paths to anchors along signatures that hold, shortest first; as node indices.
    fn paths(&self) -> Vec<Vec<usize>> {
        let mut paths = Vec::new();
        let mut visits = 0;
        self.climb(LEAF, &mut Vec::new(), &mut paths, &mut visits);
        paths.sort_by_key(Vec::len);
        paths.iter().map(|path| path.iter().map(|place| place - 1).collect()).collect()
    }

    fn climb(&self, from: usize, path: &mut Vec<usize>, paths: &mut Vec<Vec<usize>>, visits: &mut usize) {
        for place in &self.signed_by[from] {
            let node = self.node(*place);
            // RFC 4158, 5.2: the same name with the same key again leads nowhere new.
            let again = path.iter().any(|before| {
                let before = self.certificate(*before);
                before.spki_pin == node.certificate.spki_pin && before.subject.der == node.certificate.subject.der
            });
            *visits += 1;
            if again || node.problem.is_some() || *visits > MAX_VISITS || paths.len() >= MAX_PATHS || path.len() >= MAX_ISSUERS {
                continue;
            }
            path.push(*place);
            if node.known.is_some() {
                paths.push(path.clone());
            }
            self.climb(*place, path, paths, visits);
            path.pop();
        }
    }

    /// Says what stands in the way of paths to configured certificates.
    fn failures(&self) -> Vec<(u32, String)> {
        let mut failures = Vec::new();
        for node in &self.nodes {
            let (Some(known), Some(problem)) = (node.known, node.problem) else { continue };
            failures.push((known, format!("the configured certificate {} {problem}", node.certificate.subject.rfc2253())));
        }
        for known in self.nodes.iter().filter_map(|node| node.known) {
            for node in self.nodes.iter().filter(|node| node.known.is_none()) {
                if let Some(problem) = node.problem {
                    failures.push((known, format!("the presented {} {problem}", node.certificate.subject.rfc2253())));
                }
            }
            if self.out_of_budget {
                failures.push((known, format!("gave up after {MAX_SIGNATURES} signatures: too many certificates of one name")));
            }
        }
        failures
    }

    fn certificate(&self, place: usize) -> &Certificate {
        if place == LEAF { self.leaf } else { &self.node(place).certificate }
    }

    fn node(&self, place: usize) -> &Node {
        &self.nodes[place - 1]
    }
}

/// Reads what was presented besides the leaf; what cannot be read, is configured anyway or comes too late is left out.
fn read(presented: &[CertificateDer<'static>], trust: &Trust) -> Vec<Arc<Certificate>> {
    let mut read: Vec<Arc<Certificate>> = Vec::new();
    for certificate in presented.iter().take(MAX_PRESENTED).filter_map(|der| Certificate::parse(der.clone()).ok()) {
        let twice = read.iter().any(|other| other.fingerprint == certificate.fingerprint);
        if !twice && !trust.has(&certificate) {
            read.push(Arc::new(certificate));
        }
    }
    read
}

/// Says why a presented certificate issues nothing. webpki knows of the CA flag, but not of keyUsage.
fn issues_nothing(certificate: &Certificate) -> Option<&'static str> {
    if !certificate.basic_constraints.is_some_and(|constraints| constraints.ca) {
        Some("is no CA")
    } else if certificate.key_usage.is_some_and(|usage| !usage.key_cert_sign) {
        // RFC 5280, 4.2.1.3.
        Some("has a keyUsage without keyCertSign")
    } else if super::conditions::weak_key(certificate).is_some() {
        Some("has a key that is too weak, too large or of an unknown kind")
    } else if !certificate.canonical {
        // Spelled otherwise it would have another fingerprint, and slip past an id that revokes it.
        Some("is not encoded in canonical DER")
    } else {
        None
    }
}

/// Says why a leaf is none that an authority could vouch for.
fn misshapen(leaf: &Certificate) -> Option<String> {
    if leaf.basic_constraints.is_some_and(|constraints| constraints.ca) {
        Some("the leaf is a CA (basicConstraints CA:TRUE): fit for a pin, not for an authority".to_owned())
    } else if leaf.version != 3 {
        Some(format!("the leaf is an X.509 v{} certificate, which has no extensions: fit for a pin, not for an authority", leaf.version))
    } else if !leaf.canonical {
        Some("the leaf's encoding is not canonical DER: others could spell it otherwise".to_owned())
    } else {
        EndEntityCert::try_from(&leaf.der).err().map(|error| format!("the leaf is no certificate as RFC 5280 has it: {error}"))
    }
}

/// Verifies one path by RFC 5280: signatures, path lengths, name constraints, critical extensions. Dates are for the caller, but
/// for the one thing that no time changes: `true` where the certificates' validities have no second in common.
fn verify(leaf: &Certificate, issuers: &[&Arc<Certificate>]) -> Result<bool, String> {
    let Some((anchor, intermediates)) = issuers.split_last() else { return Err("no issuer".to_owned()) };
    if let Some(constraints) = anchor.basic_constraints
        && let Some(most) = constraints.path_len
    {
        // RFC 5280, 4.2.1.9: self-issued ones do not count. webpki looks at the anchor's name and key only.
        let between = intermediates.iter().filter(|intermediate| !intermediate.is_self_issued()).count();
        if u32::try_from(between).is_ok_and(|between| between > most) {
            return Err(format!("{between} intermediates, and the anchor's pathLenConstraint allows {most}"));
        }
    }
    if let Some(foreign) = issuers.iter().find(|issuer| !for_clients(issuer)) {
        return Err(format!("the extendedKeyUsage of {} rules clients out", foreign.subject.rfc2253()));
    }
    let error = |error: webpki::Error| format!("{error}");
    let end_entity = EndEntityCert::try_from(&leaf.der).map_err(error)?;
    let trusted = [webpki::anchor_from_trusted_cert(&anchor.der).map_err(error)?];
    let ders: Vec<CertificateDer<'_>> = intermediates.iter().map(|intermediate| CertificateDer::from(intermediate.der.as_ref())).collect();
    // A time at which all are valid, if there is one: whether now is another is judged each time.
    let begins = intermediates.iter().map(|intermediate| intermediate.not_before).chain([leaf.not_before]).max().unwrap_or_default();
    let time = UnixTime::since_unix_epoch(Duration::from_secs(begins));
    // All of these and no others: a shorter way is a path of its own.
    let whole = |path: &VerifiedPath<'_>| match path.intermediate_certificates().count() == intermediates.len() {
        true => Ok(()),
        false => Err(webpki::Error::UnknownIssuer),
    };
    let verified = end_entity.verify_for_usage(ALL_VERIFICATION_ALGS, &trusted, &ders, time, EveryPurpose, None, Some(&whole));
    match verified {
        Ok(_) => Ok(false),
        Err(webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. }) => Ok(true),
        Err(why) => Err(error(why)),
    }
}

fn for_clients(issuer: &Certificate) -> bool {
    issuer.extended_key_usage.is_none_or(|usage| usage.client_auth || usage.any)
}

/// Lets every extendedKeyUsage pass: webpki asks the same of leaf and issuers, and we do not.
struct EveryPurpose;

impl ExtendedKeyUsageValidator for EveryPurpose {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

/// Sorts first the children that name this very key, last those that name another.
fn likelihood(child: &Certificate, issuer: &Certificate) -> u8 {
    match (&child.authority_key_id, &issuer.subject_key_id) {
        (Some(named), Some(key)) if named == key => 0,
        (Some(_), Some(_)) => 2,
        _ => 1,
    }
}

fn under(trust: &Trust, crls: &Crls) -> [Fingerprint; 2] {
    [trust.anchors_identity(), crls.identity()]
}

/// Presented certificates looked at: real chains have four at most.
const MAX_PRESENTED: usize = 16;
/// Certificates between a leaf and all anchors that share names with them.
const MAX_NODES: usize = 128;
/// Signature checks for one candidate: a few milliseconds, whatever was sent.
const MAX_SIGNATURES: usize = 48;
/// webpki takes six intermediates; the anchor comes after.
const MAX_ISSUERS: usize = 7;
const MAX_PATHS: usize = 16;
const MAX_VISITS: usize = 512;
