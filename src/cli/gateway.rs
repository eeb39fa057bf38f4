//! The way to a gateway of which we want a token, for `auth`, `get-cert-challenge` and `token`: by its URL, verified, over the calls of
//! the third system. What is signed has to name the very gateway that was dialled.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use serde_json::Value;

use super::remote::{Remote, trusted};
use super::{Failure, input, remote};
use crate::challenge::{Message, cert_data, signing};
use crate::pki::{Certificate, PrivateKey, files};
use crate::routing::Authority;
use crate::tls::KeyPair;
use crate::upstream::{Tls, Url};

/// Which gateway is meant.
#[derive(Debug, clap::Args)]
pub(super) struct Gateway {
    /// The gateway: https://HOST:PORT, with the path of its API if that is not /api/v2. Else PORTCULLIS_GATEWAY
    #[arg(long, value_name = "URL")]
    pub(super) gateway_url: Option<String>,
    /// What the gateway's certificate is verified by; without it what the system trusts
    #[arg(long, value_name = "FILE")]
    pub(super) cacert: Option<PathBuf>,
}

/// The URL of a gateway alone: whoever signs calls nobody.
#[derive(Debug, clap::Args)]
pub(super) struct Dialled {
    /// The gateway that the challenge came from: https://HOST:PORT. Else PORTCULLIS_GATEWAY
    #[arg(long, value_name = "URL")]
    gateway_url: Option<String>,
}

/// A gateway that may be called.
pub(super) struct Api {
    remote: Remote,
    path: String,
    origin: String,
}

/// A certificate with what leads to its anchor, leaf first, and its key.
pub(super) struct Identity {
    pub(super) chain: Vec<Certificate>,
    pub(super) key: PrivateKey,
}

impl Gateway {
    /// Finds the way; calls nobody yet. `shown`: an identity for the handshake too.
    pub(super) fn api(&self, shown: Option<&Identity>) -> Result<Api, Failure> {
        let url = url(self.gateway_url.as_deref())?;
        let client = shown.map(|identity| KeyPair::new(&identity.chain, identity.key.clone()).map_err(Failure::local)).transpose()?;
        let tls = Tls { ca: trusted(self.cacert.as_deref())?, client: client.map(|pair| pair.certified), server_name: None };
        let (origin, path) = (origin(&url)?, url.target().path().trim_end_matches('/').to_owned());
        let path = if path.is_empty() { "/api/v2".to_owned() } else { path };
        Ok(Api { remote: Remote::at(url, tls)?, path, origin })
    }
}

impl Dialled {
    /// Returns what a challenge of that gateway names.
    pub(super) fn origin(&self) -> Result<String, Failure> {
        origin(&url(self.gateway_url.as_deref())?)
    }
}

impl Api {
    /// Calls; whatever is no success is the failure.
    pub(super) fn call(&self, name: &str, body: &Value) -> Result<Value, Failure> {
        let reply = self.remote.send(&Method::POST, &format!("{}/{name}", self.path), Some(body), None)?;
        let answer = reply.json();
        match answer.as_ref().ok().and_then(|answer| answer["error"].as_str()) {
            Some(error) => Err(match reply.status {
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Failure::network(error),
                // Untrusted text, for a terminal.
                _ => Failure::refused(crate::explain::printable(error)),
            }),
            None if reply.status.is_success() => answer,
            None => Err(reply.refusal()),
        }
    }

    /// Returns what a challenge of this gateway names.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }
}

impl Identity {
    /// Reads a certificate and its key: from two files, from one, or from a PFX.
    pub(super) fn read(cert: &std::path::Path, key: Option<&std::path::Path>, password: Option<&str>) -> Result<Self, Failure> {
        let bytes = input::read(cert)?;
        let chain = files::chain(&bytes, password).map_err(|error| input::file_error(cert, &error))?;
        let file = key.unwrap_or(cert);
        Ok(Self { chain: chain.into_iter().map(|located| located.value).collect(), key: private_key(file, password)? })
    }
}

/// Reads a private key.
pub(super) fn private_key(path: &std::path::Path, password: Option<&str>) -> Result<PrivateKey, Failure> {
    let bytes = zeroize::Zeroizing::new(input::read(path)?);
    files::private_key(&bytes, password).map_err(|error| input::file_error(path, &error))
}

/// Signs a challenge, in base64 as it came, if it is one and names the gateway that was dialled: a key that signs whatever it is given
/// can be made to sign a handshake, or an answer to another gateway.
pub(super) fn signed(challenge: &str, origin: &str, key: &PrivateKey) -> Result<Vec<u8>, Failure> {
    let bytes = cert_data::base64(challenge, MOST).map_err(|why| Failure::refused(format_args!("the challenge {why}: not signed")))?;
    let message = Message::read(&bytes).map_err(|why| Failure::refused(format_args!("{why}")))?;
    if message.origin != origin {
        return Err(Failure::refused(format_args!(
            "the challenge is of {}, and {origin} was dialled: not signed. Behind a balancer the gateway has to know that name (control_hosts)",
            message.origin
        )));
    }
    signing::sign(key, &bytes).map_err(Failure::local)
}

/// Writes bytes as the calls have them.
pub(super) fn encoded(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn url(given: Option<&str>) -> Result<Url, Failure> {
    let variable = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty());
    let text = given.or(variable.as_deref()).ok_or_else(|| Failure::usage(format_args!("which gateway? --gateway-url, or {VARIABLE}")))?;
    remote::url(text).map_err(|why| Failure::usage(format_args!("the gateway's URL {why}")))
}

/// Spelled as gateways spell it.
fn origin(url: &Url) -> Result<String, Failure> {
    let authority = url.authority();
    let read = Authority::parse(&authority).map_err(|error| Failure::usage(format_args!("{}: {}", url.as_str(), error.why())))?;
    Ok(format!("https://{read}"))
}

const VARIABLE: &str = "PORTCULLIS_GATEWAY";
/// Of a challenge, in bytes: they have less than 400.
const MOST: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_one_spelling() {
        for (url, expected) in [
            ("https://gate.test", "https://gate.test"),
            ("https://GATE.test:443/api/v2", "https://gate.test"),
            ("https://gate.test:8443/", "https://gate.test:8443"),
            ("https://127.0.0.1:8443/api/v2", "https://127.0.0.1:8443"),
            ("https://[0:0::1]:8443", "https://[::1]:8443"),
        ] {
            assert_eq!(origin(&url.parse().unwrap()).unwrap(), expected, "{url}");
        }
    }
}
