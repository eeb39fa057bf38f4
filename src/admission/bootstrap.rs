//! How the first admin comes in: the certificate that an admin listener serves with, presented as a client's. Whoever holds its
//! key can read our configuration anyway. Only where a listener serves nothing but our own surfaces.

use std::sync::Arc;

use super::permission::Clearance;
use super::principal::{Principal, PrincipalId, PrincipalName, Provenance, SERVER_CERTIFICATE, Terms};
use super::scope::Surface;
use crate::pki::Fingerprint;

/// What our own certificates may begin.
#[derive(Clone, Debug, Default)]
pub struct Bootstrap {
    mode: BootstrapMode,
    /// Those of listeners that serve our own surfaces and no upstream.
    certificates: Vec<Fingerprint>,
    principal: Option<Arc<Principal>>,
}

/// `[bootstrap] server_certificate`, as it stands now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BootstrapMode {
    /// An admin like any other.
    Always,
    /// Nothing: there has been an admin, or it is switched off.
    #[default]
    Closed,
    /// Say who it is, and register the first admin.
    FirstAdmin,
}

impl Bootstrap {
    /// Lets these certificates begin.
    pub fn new(mode: BootstrapMode, certificates: Vec<Fingerprint>, written: Provenance) -> Self {
        let name = PrincipalName::known(SERVER_CERTIFICATE);
        let terms = Terms { clearance: Clearance::Admin, serve: Some(vec![Surface::Admin]), allow_any_eku: true, ..Terms::default() };
        let principal =
            Principal { id: PrincipalId::derived(&name), name, display_name: None, terms: Arc::new(terms), provenance: written };
        Self { mode, certificates, principal: Some(Arc::new(principal)) }
    }

    /// Returns what the certificates may.
    pub fn mode(&self) -> BootstrapMode {
        self.mode
    }

    /// Returns the certificates that are admins like any other.
    pub fn admins(&self) -> &[Fingerprint] {
        if self.mode == BootstrapMode::Always { &self.certificates } else { &[] }
    }

    /// Finds whom a certificate of ours stands for.
    pub fn admits(&self, fingerprint: &Fingerprint) -> Option<&Arc<Principal>> {
        self.principal.as_ref().filter(|_| self.mode != BootstrapMode::Closed && self.certificates.contains(fingerprint))
    }
}
