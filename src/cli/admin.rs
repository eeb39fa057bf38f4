//! `portcullis admin`: certificates of admins, made or trusted. Over the control socket this is how the first admin comes to be, and the
//! way back in for who has lost the last one.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::allow::add::{How, create};
use super::allow::{Making, Wish, generate, name_for};
use super::{Exit, Failure, Output, input};
use crate::pki::{files, hex};
use crate::store::managed::{CertificateDocument, CertificateSource};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make an admin its key and certificate, as a zip of PFX, certificate and key
    #[command(visible_alias = "generateClientCert")]
    GenerateClientCert(Generate),
    /// Let in an admin by a certificate that it has already
    #[command(visible_alias = "trustClientCert")]
    TrustClientCert(Trust),
}

#[derive(Debug, clap::Args)]
pub(super) struct Generate {
    /// The common name; and the principal's, made fit for it
    name: String,
    /// Where to put the zip; made if it is not there
    directory: PathBuf,
    /// Encrypts key and PFX; `-` asks. Other processes can read an argument: rather use --password-file
    password: Option<String>,
    #[command(flatten)]
    password_file: input::Password,
    #[command(flatten)]
    making: Making,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, clap::Args)]
pub(super) struct Trust {
    /// The principal's name, made fit for it
    name: String,
    /// PFX, PEM or DER; of a PFX, the issuers that came along are left out
    file: PathBuf,
    /// Opens the PFX; `-` asks. Other processes can read an argument: rather use --password-file
    password: Option<String>,
    #[command(flatten)]
    password_file: input::Password,
    #[command(flatten)]
    how: How,
}

pub(super) fn run(command: Command, output: &Output) -> Result<Exit, Failure> {
    match command {
        Command::GenerateClientCert(Generate { name, directory, password, password_file, making, how }) => {
            let password = input::positional(password, || password_file.read_new(), input::ask_new)?;
            let wish = Wish { name: &name, directory: &directory, prefix: "admin.client.certificate.", password, document: admin() };
            generate(wish, &making, &how, *output)
        }
        Command::TrustClientCert(arguments) => trust(arguments, *output),
    }
}

fn trust(arguments: Trust, output: Output) -> Result<Exit, Failure> {
    let Trust { name, file, password, password_file, how } = arguments;
    let password = input::positional(password, || password_file.read(), input::ask)?;
    let found = files::members(&input::read(&file)?, password.as_ref().map(|password| password.as_str()));
    let found = found.map_err(|error| input::file_error(&file, &error))?;
    let mut document = admin();
    name_for(&name, &crate::pki::generate::file_stem(&name), &mut document);
    let pins = found.iter().map(|located| json!(CertificateDocument::of(&located.value, CertificateSource::Registered)));
    document.insert("certificates".to_owned(), pins.collect());
    let answer = create(&how.target.remote()?, &how, document)?;
    let mut text = how.changed(&answer, "let in");
    let mut certificates = Vec::new();
    for located in &found {
        let (fingerprint, thumbprint) = (located.value.fingerprint.to_string(), hex::upper(&located.value.sha1()));
        text += &format!("\nfingerprint  sha256:{fingerprint}\nthumbprint   {thumbprint}");
        certificates.push(json!({"fingerprint": fingerprint, "thumbprint": thumbprint}));
    }
    let told = json!({
        "principal": answer["principal"], "index": answer["index"], "certificates": certificates, "dry_run": how.dry_run,
    });
    output.answer(&told, text);
    Ok(Exit::Done)
}

fn admin() -> Map<String, Value> {
    Map::from_iter([("clearance".to_owned(), "admin".into())])
}
