//! `portcullis auth`, `get-cert-challenge`, `sign-challenge`: a token for whoever has a key, without a handshake. The key stays here.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::gateway::{self, Dialled, Gateway, Identity, encoded, signed};
use super::{Exit, Failure, Output, input};
use crate::challenge::signature;
use crate::explain::printable;
use crate::pki::files;

#[derive(Debug, clap::Args)]
pub(super) struct Auth {
    /// The principal that we are: p-…
    #[arg(long, value_name = "ID")]
    access_id: String,
    /// By what: a certificate
    #[arg(long, value_name = "TYPE", default_value = "cert", value_parser = ["cert"])]
    access_type: String,
    /// Our certificate, maybe with those that lead to its anchor: PEM, DER or PFX
    #[arg(long, value_name = "FILE")]
    cert_file_name: PathBuf,
    /// Its key; without it the key is in the file of the certificate
    #[arg(long, value_name = "FILE")]
    key_file_name: Option<PathBuf>,
    /// Show the certificate in the handshake too: the token then counts only beside it
    #[arg(long)]
    bind: bool,
    #[command(flatten)]
    gateway: Gateway,
    #[command(flatten)]
    password: input::Password,
}

#[derive(Debug, clap::Args)]
pub(super) struct GetCertChallenge {
    /// The principal that we are: p-…
    #[arg(long, value_name = "ID")]
    access_id: String,
    /// Our certificate: base64 of its PEM or DER
    #[arg(long, value_name = "BASE64", required_unless_present = "cert_file_name", conflicts_with = "cert_file_name")]
    cert_data: Option<String>,
    /// The same, from a file of PEM
    #[arg(long, value_name = "FILE")]
    cert_file_name: Option<PathBuf>,
    #[command(flatten)]
    gateway: Gateway,
}

#[derive(Debug, clap::Args)]
pub(super) struct SignChallenge {
    /// The key: PEM, DER or PFX
    #[arg(long, value_name = "FILE")]
    key_file_name: PathBuf,
    /// The challenge, as `get-cert-challenge` prints it; `-` reads it from standard input
    challenge: String,
    #[command(flatten)]
    dialled: Dialled,
    #[command(flatten)]
    password: input::Password,
}

/// Gets a challenge, signs it, and prints the token.
pub(super) fn auth(arguments: &Auth, output: &Output) -> Result<Exit, Failure> {
    let password = arguments.password.read()?;
    let password = password.as_ref().map(|password| password.as_str());
    let identity = Identity::read(&arguments.cert_file_name, arguments.key_file_name.as_deref(), password)?;
    let api = arguments.gateway.api(arguments.bind.then_some(&identity))?;
    let pem: String = identity.chain.iter().map(|certificate| files::pem_of(&certificate.der)).collect();
    let (access_id, cert_data) = (&arguments.access_id, encoded(pem.as_bytes()));
    let asked = api.call("get-cert-challenge", &json!({ "access-id": access_id, "cert-data": cert_data }))?;
    let challenge = challenge_of(&asked)?;
    let signature = signed(challenge, api.origin(), &identity.key)?;
    let bytes = crate::challenge::cert_data::base64(challenge, challenge.len()).unwrap_or_default();
    if !signature::verifies(&identity.chain[0], &bytes, &signature) {
        return Err(Failure::local("the key is not that of the certificate, or of a kind that gateways do not take"));
    }
    let answered = api.call(
        "auth",
        &json!({
            "access-type": arguments.access_type,
            "access-id": access_id,
            "cert-data": cert_data,
            "cert-challenge": challenge,
            "signed-cert-challenge": encoded(&signature),
        }),
    );
    // The gateway tells every caller the same; so do we, with what is worth a look.
    let hint = "\nthe gateway tells nobody why: its log has the code (`denied`, checkpoint `challenge`). Is the access id that of the \
        principal (`p-…`, see `portcullis allow show NAME`), and this certificate one of its own, listed and valid?";
    let token = answered.map_err(|failure| match failure.exit {
        Exit::Refused => Failure { message: failure.message + hint, ..failure },
        _ => failure,
    })?;
    let text = token["token"].as_str().ok_or_else(|| Failure::network("the answer has no token"))?;
    output.answer(&token, printable(text));
    Ok(Exit::Done)
}

/// Prints a challenge.
pub(super) fn get_cert_challenge(arguments: &GetCertChallenge, output: &Output) -> Result<Exit, Failure> {
    let cert_data = match (&arguments.cert_data, &arguments.cert_file_name) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) => encoded(&input::read(path)?),
        (None, None) => return Err(Failure::usage("--cert-data or --cert-file-name")),
    };
    let api = arguments.gateway.api(None)?;
    let asked = api.call("get-cert-challenge", &json!({ "access-id": arguments.access_id, "cert-data": cert_data }))?;
    let challenge = printable(challenge_of(&asked)?);
    output.answer(&asked, format_args!("Challenge: {challenge}"));
    Ok(Exit::Done)
}

/// Prints a signature.
pub(super) fn sign_challenge(arguments: &SignChallenge, output: &Output) -> Result<Exit, Failure> {
    let origin = arguments.dialled.origin()?;
    let password = arguments.password.read()?;
    let key = gateway::private_key(&arguments.key_file_name, password.as_ref().map(|password| password.as_str()))?;
    let text = match arguments.challenge.as_str() {
        "-" => String::from_utf8(input::read(std::path::Path::new("-"))?).map_err(|_| Failure::usage("the challenge is no text"))?,
        text => text.to_owned(),
    };
    let text = text.trim();
    let signature = encoded(&signed(text.strip_prefix("Challenge:").unwrap_or(text), &origin, &key)?);
    output.answer(&json!({ "signed-cert-challenge": signature }), &signature);
    Ok(Exit::Done)
}

fn challenge_of(answer: &Value) -> Result<&str, Failure> {
    answer["challenge"].as_str().ok_or_else(|| Failure::network("the answer has no challenge"))
}
