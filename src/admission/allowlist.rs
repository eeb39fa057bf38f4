//! Principals and their credentials, compiled for lookup.

use std::sync::Arc;

use ipnet::IpNet;
use rustls_pki_types::UnixTime;

use super::bounds::{Attribute, Bounds, OriginPattern};
use super::permission::{Clearance, Permission};
use super::scope::Surface;
use crate::pki::{Certificate, Fingerprint, SpkiPin};

/// `p-` and 12 characters of `[a-z0-9]`; derived from the name unless the configuration gives one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrincipalId(Box<str>);

/// `/`-separated segments of `[A-Za-z0-9._-]+`; unique case-insensitively.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrincipalName(Box<str>);

/// Where something was written: for the log, `check` and `explain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    pub file: Arc<str>,
    /// 1-based; 0 where the whole file is meant.
    pub line: u32,
}

/// A named client on the allowlist. A pin list has a million of these: what many share is in `terms`.
#[derive(Clone, Debug)]
pub struct Principal {
    pub id: PrincipalId,
    pub name: PrincipalName,
    pub display_name: Option<Box<str>>,
    pub terms: Arc<Terms>,
    pub provenance: Provenance,
}

/// What holds for a principal whatever proves it: conditions, clearance, permissions, identifier.
#[derive(Clone, Debug)]
pub struct Terms {
    pub enabled: bool,
    pub valid_from: Option<UnixTime>,
    pub valid_until: Option<UnixTime>,
    /// `None`: from anywhere.
    pub client_ips: Option<Vec<IpNet>>,
    /// Gateways trusted to forward the client's address.
    pub gateway_ips: Vec<IpNet>,
    pub cors_origins: Vec<OriginPattern>,
    /// `None`: every surface.
    pub serve: Option<Vec<Surface>>,
    pub clearance: Clearance,
    pub permissions: Vec<Permission>,
    pub identifier: Identifier,
    pub audit_claims: Vec<Attribute>,
    /// A pin whose EKU list lacks clientAuth may pass.
    pub allow_any_eku: bool,
}

/// Which attribute identifies the caller to the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identifier {
    Attribute(Attribute),
    Fingerprint,
    Principal,
    Serial,
}

/// What proves a principal.
#[derive(Clone, Debug)]
pub enum Credential {
    Authority(Arc<Authority>),
    Pin(Fingerprint),
    SpkiPin(SpkiPin),
}

/// Trust anchors with bounds.
#[derive(Debug)]
pub struct Authority {
    /// The bundle: trust anchors; partial chains may end at any of them.
    pub certificates: Vec<Arc<Certificate>>,
    pub bounds: Bounds,
    /// Lowest first; 100 unless configured.
    pub priority: u32,
    /// An absent EKU does not pass (the default).
    pub require_client_eku: bool,
}

/// All principals in force.
#[derive(Debug)]
pub struct Allowlist {}

/// Collects principals, then compiles them; refuses what would be ambiguous.
#[derive(Debug, Default)]
pub struct AllowlistBuilder {}

/// One fingerprint, SPKI pin, name or id claimed twice by different principals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// `certificate`, `spki pin`, `name`, `id`.
    pub kind: &'static str,
    pub value: String,
    pub first: Provenance,
    pub second: Provenance,
}

impl AllowlistBuilder {
    /// Adds a principal with its credentials. The same credential twice in one principal counts once.
    pub fn add(&mut self, principal: Principal, credentials: Vec<(Credential, Provenance)>) -> Result<(), Conflict> {
        let _ = (principal, credentials);
        todo!()
    }

    /// Adds the fingerprints of well-known admins.
    pub fn well_known_admins(&mut self, fingerprints: &[Fingerprint]) {
        let _ = fingerprints;
        todo!()
    }

    /// Makes every intermediate configured for any authority available to every path.
    pub fn finish(self) -> Allowlist {
        todo!()
    }
}
