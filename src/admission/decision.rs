//! The answer: a verdict, the code of its denial, the steps of its reasoning, and until when it holds.

use std::borrow::Cow;
use std::sync::Arc;

use rustls_pki_types::{CertificateDer, UnixTime};

use super::permission::Access;
use super::principal::Principal;
use crate::pki::Fingerprint;

/// The answer to one question.
#[derive(Clone, Debug)]
pub struct Decision {
    pub verdict: Verdict,
    /// Every step taken, in order; the last one of a denial is the one that failed. None of an admission that was asked for in brief.
    pub steps: Steps,
    /// The principal whose credential matched, also when its conditions or permissions then denied: for the log only.
    pub principal: Option<Arc<Principal>>,
    /// The number of the snapshot that was asked.
    pub generation: u64,
    /// The first second at which the answer may differ for reasons of time alone.
    pub valid_until: UnixTime,
}

/// Yes or no.
#[derive(Clone, Debug)]
pub enum Verdict {
    Admit(Admission),
    Deny(Denial),
    /// A route with auth none, or optional and no certificate was presented: nobody in particular may go on.
    Open,
}

/// Who was admitted, and by what.
#[derive(Clone, Debug)]
pub struct Admission {
    pub principal: Arc<Principal>,
    pub basis: Basis,
    /// What identifies the client to the upstream.
    pub identifier: Arc<str>,
    /// The highest access that the permissions give on the request's route; `None` for a connection.
    pub access: Option<Access>,
}

/// The credential that matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Basis {
    /// An authority of the principal; the chain that reached its anchor, without the leaf, for `Client-Cert-Chain`.
    Authority {
        chain: Arc<[CertificateDer<'static>]>,
    },
    Pin,
    /// A pin of the same key: this certificate renews it, and is to be pinned too.
    Renewal {
        predecessor: Fingerprint,
    },
    /// Proves a key and nothing else: no name of the leaf may be used.
    SpkiPin,
    /// A certificate that we serve with ourselves.
    ServerCertificate {
        /// It may say who it is and register the first admin; else all that an admin may.
        first_only: bool,
    },
    /// `[bootstrap] admin_fingerprints`.
    WellKnownAdmin,
}

impl Basis {
    /// Returns the name that reports and answers use.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Authority { .. } => "authority",
            Self::Pin => "pin",
            Self::Renewal { .. } => "renewal",
            Self::ServerCertificate { .. } => "server_certificate",
            Self::SpkiPin => "spki_pin",
            Self::WellKnownAdmin => "well_known_admin",
        }
    }
}

macro_rules! denials {
    ($($(#[$doc:meta])* $variant:ident = $code:literal,)*) => {
        /// The reason for a no. The code is stable: logs, metrics, JSON and docs all carry it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Denial { $($(#[$doc])* $variant,)* }

        impl Denial {
            /// Every denial, alphabetical.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the stable code.
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }
        }
    };
}

denials! {
    /// More than one common name where one decides or identifies.
    AmbiguousCommonName = "ambiguous_common_name",
    /// An anchor's names or bounds do not fit.
    BoundsMismatch = "bounds_mismatch",
    /// An anchor is named, but no valid path leads to it.
    ChainInvalid = "chain_invalid",
    /// A challenge was answered too late.
    ChallengeExpired = "challenge_expired",
    /// No challenge of ours for this principal, certificate and origin; or one that was answered already.
    ChallengeInvalid = "challenge_invalid",
    /// The principal ranks too low for this management call.
    ClearanceTooLow = "clearance_too_low",
    /// The effective client address is outside `client_ips`.
    ClientIpDenied = "client_ip_denied",
    /// notAfter of the leaf or of a path member has passed.
    Expired = "expired",
    /// The attribute that identifies the client is absent.
    IdentifierMissing = "identifier_missing",
    /// A same-key renewal that failed.
    IssuerUnknown = "issuer_unknown",
    /// No certificate where one is required.
    NoCredential = "no_credential",
    /// No principal has this certificate, no anchor its issuer's name or key.
    NotListed = "not_listed",
    /// No permission for this access on this route.
    NotPermitted = "not_permitted",
    /// notBefore of the leaf or of a path member lies ahead.
    NotYetValid = "not_yet_valid",
    /// A page of a foreign origin.
    OriginDenied = "origin_denied",
    /// `enabled = false`.
    PrincipalDisabled = "principal_disabled",
    /// Outside `valid_from` .. `valid_until`.
    PrincipalExpired = "principal_expired",
    /// A required CRL is missing or stale.
    RevocationUnknown = "revocation_unknown",
    /// The leaf or a path member is revoked.
    Revoked = "revoked",
    /// The signature of a challenge is not one by the certificate's key.
    SignatureInvalid = "signature_invalid",
    /// The principal may not use this surface.
    SurfaceDenied = "surface_denied",
    /// The time of a bearer token is over.
    TokenExpired = "token_expired",
    /// A bearer token that is none, revoked, another's, or without the certificate that it is bound to.
    TokenInvalid = "token_invalid",
    /// EKU, CA flag, weak key, unparsable, not canonical.
    Unsuitable = "unsuitable",
}

/// One line of a decision's reasoning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The rule that was applied: `validity`, `revocation`, `pin`, `authority`, `bounds`, `conditions`, `permission`, …
    pub rule: &'static str,
    /// What was found, for the operator: names, files and lines included. Never shown to a client. Most steps pass and say
    /// what is always the same: every connection is judged again after an install, and borrowed words cost nothing then.
    pub finding: Cow<'static, str>,
    /// Why it failed; `None` where it passed.
    pub denial: Option<Denial>,
}

/// The reasoning so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    taken: Vec<Step>,
    /// Nobody will ask what passed.
    brief: bool,
}

impl Steps {
    /// Leaves out what passes.
    pub(super) fn in_brief() -> Self {
        Self { taken: Vec::new(), brief: true }
    }

    /// Notes a step that passed.
    pub fn passed(&mut self, rule: &'static str, finding: &'static str) {
        self.found(rule, || finding);
    }

    /// The same in words that cost something to find.
    pub(super) fn found<F: Into<Cow<'static, str>>>(&mut self, rule: &'static str, finding: impl FnOnce() -> F) {
        if !self.brief {
            self.taken.push(Step { rule, finding: finding().into(), denial: None });
        }
    }

    /// Notes a step that failed, and returns its denial.
    pub fn failed(&mut self, rule: &'static str, finding: impl Into<Cow<'static, str>>, denial: Denial) -> Denial {
        self.taken.push(Step { rule, finding: finding.into(), denial: Some(denial) });
        denial
    }

    /// Takes a step that was noted elsewhere.
    pub(super) fn push(&mut self, step: Step) {
        self.taken.push(step);
    }

    /// Returns the steps in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Step> {
        self.taken.iter()
    }
}

impl Decision {
    /// Returns who was admitted.
    pub fn admission(&self) -> Option<&Admission> {
        match &self.verdict {
            Verdict::Admit(admission) => Some(admission),
            Verdict::Deny(_) | Verdict::Open => None,
        }
    }

    /// Returns the reason for a no.
    pub fn denial(&self) -> Option<Denial> {
        match &self.verdict {
            Verdict::Deny(denial) => Some(*denial),
            Verdict::Admit(_) | Verdict::Open => None,
        }
    }
}

/// Gathers until when an answer holds: the first second after now at which some date that was looked at lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Horizon {
    now: u64,
    until: u64,
}

impl Horizon {
    pub(super) fn new(now: UnixTime) -> Self {
        Self { now: now.as_secs(), until: u64::MAX }
    }

    /// Notes that the answer may change at this second.
    pub(super) fn change_at(&mut self, second: u64) {
        if second > self.now {
            self.until = self.until.min(second);
        }
    }

    pub(super) fn until(self) -> UnixTime {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(self.until))
    }
}

/// Shortens a text that a client chose, for a finding.
pub(super) fn shortened(text: &str) -> &str {
    const MOST: usize = 300;
    let mut end = text.len().min(MOST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
