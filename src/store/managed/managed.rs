//! A managed principal as the state keeps it: the document, the entry that wrote it, and what was read of its certificates.

use std::sync::OnceLock;

use super::compile::Known;
use super::document::Document;
use super::refusal::Invalid;
use crate::admission::Credential;
use crate::admission::layer::Entry;

/// What was read of one certificate; `None`: only its fingerprint is known.
pub(super) type Kin = Option<[u64; 2]>;

/// A managed principal, and the entry that wrote it last.
#[derive(Clone, Debug)]
pub struct Managed {
    pub document: Document,
    pub index: u64,
    /// Of each certificate, once the document was compiled; only where one is known whole.
    kin: OnceLock<Box<[Kin]>>,
}

impl Managed {
    pub(super) fn new(document: Document, index: u64) -> Self {
        Self { document, index, kin: OnceLock::new() }
    }

    /// Takes what was read of the certificates from who read it; `None`: that was of others.
    pub(super) fn recalled(document: Document, index: u64, kin: Option<Vec<Kin>>) -> Option<Self> {
        let fits = |kin: &Vec<Kin>| {
            let known = document.certificates.iter().map(|entry| entry.der.is_some());
            kin.iter().map(Option::is_some).eq(known)
        };
        match kin {
            Some(kin) if !fits(&kin) => None,
            kin => Some(Self { document, index, kin: kin.map(|kin| OnceLock::from(kin.into_boxed_slice())).unwrap_or_default() }),
        }
    }

    pub(super) fn kin(&self) -> Option<&[Kin]> {
        self.kin.get().map(AsRef::as_ref)
    }

    /// Compiles it, with what was known of it or of the one before.
    pub(super) fn compile(&self, known: Known<'_>) -> Result<Entry, Vec<Invalid>> {
        let compiled = self.document.compile_knowing(self.index, Known { kin: self.kin(), ..known })?;
        self.learn(&compiled);
        Ok(compiled)
    }

    /// Keeps what was read of its certificates when it was compiled.
    pub(super) fn learn(&self, (_, credentials): &Entry) {
        if self.kin.get().is_none() && self.document.certificates.iter().any(|entry| entry.der.is_some()) {
            let kin =
                credentials.iter().filter_map(|(credential, _)| if let Credential::Pin(pin) = credential { Some(pin.kin()) } else { None });
            // INVARIANT: each certificate is one pin, in their order.
            let _ = self.kin.set(kin.collect());
        }
    }
}

/// The same, however much was read of it.
impl PartialEq for Managed {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index && self.document == other.document
    }
}
