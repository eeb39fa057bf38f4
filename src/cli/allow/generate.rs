//! `portcullis allow generate`: a key, its certificate, and a principal that it proves, in one step. The key is made here and never sent.

use std::path::{Path, PathBuf};

use rustls_pki_types::UnixTime;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::add::{How, create};
use super::terms::Terms;
use crate::admission::PrincipalName;
use crate::cli::cert::written;
use crate::cli::{Exit, Failure, Output, input};
use crate::clock::{self, Date};
use crate::pki::generate::{DEFAULT_DAYS, GenerateError, Generated, NewKey, Options};
use crate::pki::{generate as made, hex};
use crate::store::managed::{CertificateDocument, CertificateSource};

#[derive(Debug, clap::Args)]
#[command(after_help = "The key is made here, and is nowhere but in the zip.")]
pub(in crate::cli) struct Arguments {
    /// The common name; and the principal's, made fit for it
    name: String,
    /// Where to put the zip: PFX, certificate and key
    #[arg(default_value = ".")]
    directory: PathBuf,
    #[command(flatten)]
    password: input::Password,
    #[command(flatten)]
    terms: Terms,
    #[command(flatten)]
    making: Making,
    #[command(flatten)]
    how: How,
}

/// What certificate is made.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Making {
    /// How long the certificate is to be valid
    #[arg(long, value_name = "N", default_value_t = DEFAULT_DAYS)]
    days: u32,
    /// An RSA key of 3072 bits, for clients that know no elliptic curves
    #[arg(long)]
    rsa: bool,
}

/// For whom, and where it goes.
pub(in crate::cli) struct Wish<'a> {
    pub(in crate::cli) name: &'a str,
    pub(in crate::cli) directory: &'a Path,
    /// What the file is called, before the name.
    pub(in crate::cli) prefix: &'a str,
    pub(in crate::cli) password: Option<Zeroizing<String>>,
    /// Terms of the principal.
    pub(in crate::cli) document: Map<String, Value>,
}

pub(super) fn run(arguments: Arguments, output: Output) -> Result<Exit, Failure> {
    let mut document = Map::new();
    arguments.terms.write(&mut document);
    let password = arguments.password.read_new()?;
    let wish = Wish { name: &arguments.name, directory: &arguments.directory, prefix: "", password, document };
    generate(wish, &arguments.making, &arguments.how, output)
}

/// Makes them, writes the zip, and only then has the certificate let in: a key that is let in and lost could not be had again.
pub(in crate::cli) fn generate(wish: Wish<'_>, making: &Making, how: &How, output: Output) -> Result<Exit, Failure> {
    let Wish { name, directory, prefix, password, mut document } = wish;
    if password.as_ref().is_some_and(|password| password.is_empty()) {
        return Err(Failure::usage("the password is empty; leave it out for a key that is not encrypted"));
    }
    let remote = how.target.remote()?;
    let made = make(name, making, password.as_ref().map(|password| password.as_str()))?;
    name_for(name, &made.stem, &mut document);
    let certificate = CertificateDocument::of(&made.certificate, CertificateSource::Generated);
    document.insert("certificates".to_owned(), json!([certificate]));
    let files = match how.dry_run {
        true => Vec::new(),
        false => {
            let zip = made.zip().map_err(Failure::local)?;
            written(directory, &[(format!("{prefix}{}.zip", made.stem), zip.as_slice())])?
        }
    };
    let answer = create(&remote, how, document).map_err(|failure| kept(failure, &files))?;
    let path = files.first().map(|path| path.display().to_string());
    let thumbprint = hex::upper(&made.certificate.sha1());
    let mut text = how.changed(&answer, "let in");
    text += &path.as_ref().map(|path| format!("\nwrote        {path}")).unwrap_or_default();
    text += &format!("\nfingerprint  sha256:{}\nthumbprint   {thumbprint}", made.certificate.fingerprint);
    text += &format!("\nvalid until  {}", Date::of(made.certificate.not_after));
    if password.is_none() {
        text += "\nnote         the key is not encrypted, and the PFX is under the empty password";
    }
    let told = json!({
        "file": path, "principal": answer["principal"], "index": answer["index"], "fingerprint": made.certificate.fingerprint.to_string(),
        "thumbprint": thumbprint, "encrypted": password.is_some(), "dry_run": how.dry_run,
    });
    output.answer(&told, text);
    Ok(Exit::Done)
}

fn make(name: &str, making: &Making, password: Option<&str>) -> Result<Generated, Failure> {
    let key = if making.rsa { NewKey::Rsa3072 } else { NewKey::EcP256 };
    let options = Options { days: making.days, key, password, now: UnixTime::since_unix_epoch(clock::wall()) };
    made::generate(name, &options).map_err(|error| match error {
        GenerateError::Failed(_) => Failure::local(error),
        GenerateError::Days(_) | GenerateError::Name(_) | GenerateError::Password(_) => Failure::usage(error),
    })
}

/// Names a principal: free text becomes what is shown, and what it is called is made of it.
pub(in crate::cli) fn name_for(name: &str, stem: &str, document: &mut Map<String, Value>) {
    let is_name = name.parse::<PrincipalName>().is_ok();
    document.insert("name".to_owned(), if is_name { name } else { stem }.into());
    if !is_name {
        document.entry("display_name").or_insert_with(|| name.into());
    }
}

/// A zip of somebody who was refused is of no use. Where no answer came, nobody knows: it stays.
fn kept(failure: Failure, files: &[PathBuf]) -> Failure {
    let Some(path) = files.first() else { return failure };
    if failure.exit == Exit::Network {
        let message = format!("{failure}\n{} was written; whether its certificate is let in, portcullis allow list says", path.display());
        return Failure { message, ..failure };
    }
    // Best effort: what stays behind is for its owner's eyes, and nobody lets it in.
    let _ = std::fs::remove_file(path);
    failure
}
