//! The cryptography we use: aws-lc through rustls, narrowed by the names that a listener's settings give.

use std::sync::{Arc, OnceLock};

use rustls::crypto::aws_lc_rs::{ALL_CIPHER_SUITES, ALL_KX_GROUPS, default_provider};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};

use super::acceptor::{Settings, SettingsError};

/// Returns the cryptography that every TLS of ours uses, either side: never rustls' process default, which panics when two are compiled in.
pub fn default() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(default_provider())))
}

/// Returns the provider with the groups and ciphers that were asked for, in that order.
pub(super) fn provider(settings: &Settings) -> Result<Arc<CryptoProvider>, SettingsError> {
    if settings.groups.is_empty() && settings.ciphers.is_empty() {
        return Ok(default());
    }
    let mut provider = default().as_ref().clone();
    if !settings.groups.is_empty() {
        provider.kx_groups = settings.groups.iter().map(|name| group(name)).collect::<Result<_, _>>()?;
    }
    if !settings.ciphers.is_empty() {
        provider.cipher_suites = settings.ciphers.iter().map(|name| cipher(name)).collect::<Result<_, _>>()?;
    }
    Ok(Arc::new(provider))
}

fn group(name: &str) -> Result<&'static dyn SupportedKxGroup, SettingsError> {
    let known = |group: &&dyn SupportedKxGroup| format!("{:?}", group.name());
    ALL_KX_GROUPS
        .iter()
        .find(|group| known(group).eq_ignore_ascii_case(name))
        .copied()
        .ok_or_else(|| SettingsError::UnknownGroup { name: name.to_owned(), known: ALL_KX_GROUPS.iter().map(known).collect() })
}

fn cipher(name: &str) -> Result<rustls::SupportedCipherSuite, SettingsError> {
    let known = |suite: &rustls::SupportedCipherSuite| format!("{:?}", suite.suite());
    ALL_CIPHER_SUITES
        .iter()
        .find(|suite| known(suite).eq_ignore_ascii_case(name))
        .copied()
        .ok_or_else(|| SettingsError::UnknownCipher { name: name.to_owned(), known: ALL_CIPHER_SUITES.iter().map(known).collect() })
}
