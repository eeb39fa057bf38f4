//! A principal's pinned certificates: registered as they come (PEM, DER, PFX), generated, taken away.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::How;
use super::principals::{IfMatch, Which, edit};
use crate::admin::{Error, Shared};
use crate::clock::Clock;
use crate::failure::Failure;
use crate::pki::files::{FileError, Located};
use crate::pki::generate::{self, GenerateError, Generated, NewKey, Options};
use crate::pki::{Certificate, Fingerprint, files};
use crate::reload::Recorded;
use crate::request::service::Caller;
use crate::store::managed::{CertificateDocument, CertificateSource, Document, Invalid, Refusal};

/// What to generate.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) name: String,
    pub(crate) days: u32,
    pub(crate) key: NewKey,
    pub(crate) password: Option<Zeroizing<String>>,
}

/// Reads what somebody is to be pinned by: PEM as it is, else base64 of DER or PFX. Issuers in a PFX are skipped.
pub(crate) async fn read(text: String, password: Option<Zeroizing<String>>) -> Result<Vec<Certificate>, Error> {
    read_by(text, password, files::members).await
}

/// Reads what a client presents: a chain, leaf first.
pub(crate) async fn read_chain(text: String, password: Option<Zeroizing<String>>) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found = read_by(text, password, files::certificates).await?;
    Ok(found.into_iter().map(|certificate| certificate.der).collect())
}

/// One of the ways in which `pki` reads certificates.
type FileReader = fn(&[u8], Option<&str>) -> Result<Vec<Located<Certificate>>, FileError>;

async fn read_by(text: String, password: Option<Zeroizing<String>>, of: FileReader) -> Result<Vec<Certificate>, Error> {
    let wrong = |why: String| Error::from(Refusal::Invalid(vec![Invalid::new("certificate", why)]));
    // The key of a PFX is derived at some cost: not on the thread that serves others.
    let read = tokio::task::spawn_blocking(move || {
        let bytes = match text.contains("-----BEGIN") {
            true => text.into_bytes(),
            false => {
                let text: String = text.split_ascii_whitespace().collect();
                STANDARD.decode(text).map_err(|_| "is neither PEM nor base64 of DER or PFX".to_owned())?
            }
        };
        let found = of(&bytes, password.as_ref().map(|password| password.as_str()));
        found.map(|found| found.into_iter().map(|located| located.value).collect()).map_err(|error| error.to_string())
    });
    read.await.map_err(|_| Failure::Internal)?.map_err(wrong)
}

/// Makes a key and its certificate; nothing is kept of the key.
pub(crate) async fn make(wish: Wish) -> Result<Arc<Generated>, Error> {
    let made = tokio::task::spawn_blocking(move || {
        let Wish { name, days, key, password } = wish;
        let password = password.as_ref().map(|password| password.as_str());
        generate::generate(&name, &Options { days, key, password, now: Clock::default().now() })
    });
    made.await.map_err(|_| Failure::Internal)?.map(Arc::new).map_err(|error| match error {
        GenerateError::Failed(_) => Failure::Internal.into(),
        GenerateError::Days(_) => Refusal::Invalid(vec![Invalid::new("days", error.to_string())]).into(),
        GenerateError::Name(_) => Refusal::Invalid(vec![Invalid::new("name", error.to_string())]).into(),
        GenerateError::Password(_) => Refusal::Invalid(vec![Invalid::new("password", error.to_string())]).into(),
    })
}

/// Pins certificates for a principal, beside those that it has.
pub(crate) async fn add(
    shared: &Arc<Shared>,
    caller: &Caller,
    how: How,
    at: (Which, IfMatch),
    certificates: &[Certificate],
    source: CertificateSource,
) -> Result<Recorded, Error> {
    let added: Vec<CertificateDocument> = certificates.iter().map(|certificate| CertificateDocument::of(certificate, source)).collect();
    edit(shared, caller, how, at, move |old| {
        let mut new = old.clone();
        for entry in &added {
            match new.certificates.iter_mut().find(|known| known.fingerprint == entry.fingerprint) {
                // Known by its fingerprint so far, maybe.
                Some(known) => known.der = entry.der.clone(),
                None => new.certificates.push(entry.clone()),
            }
        }
        Ok(new)
    })
    .await
}

/// Takes a certificate away from a principal.
pub(crate) async fn remove(
    shared: &Arc<Shared>,
    caller: &Caller,
    how: How,
    at: (Which, IfMatch),
    fingerprint: Fingerprint,
) -> Result<Recorded, Error> {
    edit(shared, caller, how, at, move |old| {
        let text = fingerprint.to_string();
        let mut new = Document::clone(old);
        new.certificates.retain(|entry| entry.fingerprint != text);
        if new.certificates.len() == old.certificates.len() { Err(Refusal::NotFound) } else { Ok(new) }
    })
    .await
}
