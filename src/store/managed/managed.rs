//! A managed principal as the state keeps it: its document as it is written down, the entry that wrote it, and what was read of its
//! certificates. There may be a million, of which few are ever looked at: a document is read again when somebody asks for it.

use std::sync::{Arc, OnceLock};

use super::compile::Known;
use super::document::Document;
use super::refusal::Invalid;
use crate::admission::layer::Entry;
use crate::admission::{Credential, PrincipalId};

/// What was read of one certificate; `None`: only its fingerprint is known.
pub(super) type Kin = Option<[u64; 2]>;

/// A managed principal, and the entry that wrote it last.
#[derive(Clone, Debug)]
pub struct Managed {
    id: PrincipalId,
    name: Box<str>,
    text: Text,
    pub index: u64,
    /// Of each certificate, once the document was compiled; only where one is known whole.
    kin: OnceLock<Box<[Kin]>>,
}

/// The JSON of a document.
#[derive(Clone, Debug)]
pub(super) enum Text {
    Own(Box<[u8]>),
    /// It lies among others, as it was stored: they stay in memory together, until the last of them is changed or gone.
    Stored {
        among: Arc<Stored>,
        start: usize,
        end: usize,
    },
}

/// A state as it was stored. Each of a few threads that read it counts references of its own: else they would wait for one another.
pub(super) type Stored = Arc<Vec<u8>>;

impl Managed {
    pub(super) fn new(id: PrincipalId, (name, text): (&str, Box<[u8]>), index: u64) -> Self {
        Self { id, name: name.into(), text: Text::Own(text), index, kin: OnceLock::new() }
    }

    /// Takes a document with its text, and what was read of the certificates from who read it; `None`: that was of others.
    pub(super) fn recalled(id: PrincipalId, (document, text): (&Document, Text), index: u64, kin: Option<Vec<Kin>>) -> Option<Self> {
        let fits = |kin: &Vec<Kin>| {
            let known = document.certificates.iter().map(|entry| entry.der.is_some());
            kin.iter().map(Option::is_some).eq(known)
        };
        let kin = match kin {
            Some(kin) if !fits(&kin) => return None,
            kin => kin.map(|kin| OnceLock::from(kin.into_boxed_slice())).unwrap_or_default(),
        };
        Some(Self { id, name: document.name.as_str().into(), text, index, kin })
    }

    /// Returns its id.
    pub fn id(&self) -> &PrincipalId {
        &self.id
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads its document.
    pub fn document(&self) -> Document {
        // INVARIANT: it was written by us, or read once before.
        serde_json::from_slice(self.text()).unwrap_or_default()
    }

    /// Returns the JSON of its document.
    pub fn text(&self) -> &[u8] {
        match &self.text {
            Text::Own(text) => text,
            Text::Stored { among, start, end } => &among[*start..*end],
        }
    }

    pub(super) fn kin(&self) -> Option<&[Kin]> {
        self.kin.get().map(AsRef::as_ref)
    }

    /// Compiles its document, with what was known of it or of the one before.
    pub(super) fn compile(&self, document: &Document, known: Known<'_>) -> Result<Entry, Vec<Invalid>> {
        let compiled = document.compile_knowing(self.index, Known { kin: self.kin(), ..known })?;
        self.learn(document, &compiled);
        Ok(compiled)
    }

    /// Keeps what was read of its certificates when it was compiled.
    pub(super) fn learn(&self, document: &Document, (_, credentials): &Entry) {
        if self.kin.get().is_none() && document.certificates.iter().any(|entry| entry.der.is_some()) {
            let kin =
                credentials.iter().filter_map(|(credential, _)| if let Credential::Pin(pin) = credential { Some(pin.kin()) } else { None });
            // INVARIANT: each certificate is one pin, in their order.
            let _ = self.kin.set(kin.collect());
        }
    }
}

/// The same, however it is kept and however much was read of it.
impl PartialEq for Managed {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index && self.document() == other.document()
    }
}
