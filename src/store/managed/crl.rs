//! A managed CRL: as an entry of the ledger has it, and as it is kept.

use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::document::Stamp;
use super::refusal::{Invalid, Refusal};
use crate::pki::Crl;

/// A CRL, and the entry that brought it.
#[derive(Debug)]
pub struct KeptCrl {
    pub crl: Arc<Crl>,
    pub added: Option<Stamp>,
    pub index: u64,
}

/// Base64 of a CRL's DER, which is read once however often it is looked at: a long one takes a while.
#[derive(Clone, Debug)]
pub struct CrlText {
    text: Arc<str>,
    read: Arc<OnceLock<Result<Arc<Crl>, Refusal>>>,
}

impl CrlText {
    /// Takes one that was read already.
    pub fn of(crl: Arc<Crl>) -> Self {
        let text = STANDARD.encode(&crl.der).into();
        Self { text, read: Arc::new(OnceLock::from(Ok(crl))) }
    }

    /// Reads it.
    pub fn read(&self) -> Result<&Arc<Crl>, Refusal> {
        self.read.get_or_init(|| parse(&self.text).map(Arc::new)).as_ref().map_err(Refusal::clone)
    }
}

fn parse(text: &str) -> Result<Crl, Refusal> {
    let invalid = |why: String| Refusal::Invalid(vec![Invalid::new("der", why)]);
    let der = STANDARD.decode(text).map_err(|_| invalid("is no base64".to_owned()))?;
    Crl::parse(&der).map_err(|why| invalid(why.to_string()))
}

impl PartialEq for CrlText {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl<'d> Deserialize<'d> for CrlText {
    fn deserialize<D: Deserializer<'d>>(from: D) -> Result<Self, D::Error> {
        Ok(Self { text: String::deserialize(from)?.into(), read: Arc::default() })
    }
}

impl Serialize for CrlText {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.text)
    }
}
