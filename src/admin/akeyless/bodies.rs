//! The bodies of the calls that prove a key, read before anybody is known. What is missing or too long is its sender's to mend; whether
//! anything is proven is for `proving.rs` and `creds.rs`.

use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::admin::v1::certificates::Secret;
use crate::challenge::CertData;

/// Who wants a challenge. Other fields are for other ways of the original, here and below.
#[derive(Debug)]
pub struct Wanted {
    pub access_id: String,
    pub data: CertData,
}

/// An answer to one.
pub struct Answer {
    pub access_id: String,
    /// Not read yet: what it holds is part of what is proven.
    pub cert_data: String,
    pub proof: Proof,
}

/// What is to prove it.
pub enum Proof {
    Key(Zeroizing<String>),
    Signature { challenge: String, signature: String },
}

/// A token that something is asked of.
#[derive(Deserialize)]
pub struct Held {
    pub token: Option<String>,
}

/// Why a body is none of its call's.
#[derive(Debug)]
pub struct Malformed(String);

impl Wanted {
    /// Reads the body of `get-cert-challenge`.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        struct Said {
            access_id: Option<String>,
            cert_data: Option<String>,
        }
        let said: Said = json(body)?;
        let access_id = access_id(said.access_id)?;
        let data = CertData::read(&cert_data(said.cert_data)?).map_err(|why| Malformed(format!("cert-data {why}")))?;
        Ok(Self { access_id, data })
    }
}

impl Answer {
    /// Reads the body of `auth`.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        struct Said {
            access_type: Option<String>,
            access_id: Option<String>,
            cert_data: Option<String>,
            cert_challenge: Option<String>,
            signed_cert_challenge: Option<String>,
            key_data: Option<Secret>,
        }
        let said: Said = json(body)?;
        let key = said.key_data.map(Secret::take);
        if said.access_type.is_some_and(|kind| kind != "cert") {
            return Err(Malformed("access-type is none that is served here: cert".to_owned()));
        }
        let access_id = access_id(said.access_id)?;
        let cert_data = cert_data(said.cert_data)?;
        let proof = match (said.cert_challenge, said.signed_cert_challenge, key) {
            (Some(challenge), Some(signature), None) => Proof::Signature { challenge, signature },
            (None, None, Some(key)) => Proof::Key(key),
            _ => {
                return Err(Malformed("cert-challenge and signed-cert-challenge are needed, both, and no key-data beside them".to_owned()));
            }
        };
        Ok(Self { access_id, cert_data, proof })
    }
}

impl Held {
    /// Reads the body of a call about a token.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        json(body)
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads JSON. What it holds may be secret: an error says where it is wrong, not how.
fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Malformed> {
    let wrong =
        |error: serde_json::Error| format!("the body is not the JSON of this call: line {}, column {}", error.line(), error.column());
    serde_json::from_slice(body).map_err(|error| Malformed(wrong(error)))
}

fn access_id(said: Option<String>) -> Result<String, Malformed> {
    let id = said.filter(|id| (1..=MOST_ID).contains(&id.len()));
    id.ok_or_else(|| Malformed("access-id is missing, or longer than 255 bytes".to_owned()))
}

fn cert_data(said: Option<String>) -> Result<String, Malformed> {
    said.ok_or_else(|| Malformed("cert-data is missing".to_owned()))
}

const MOST_ID: usize = 255;
