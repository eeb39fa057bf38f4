//! `portcullis cert new`: a client's key and certificate, as files for their owner's eyes. Lists nobody: it says what to list.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustls_pki_types::UnixTime;
use serde::Serialize;

use crate::cli::{Exit, Failure, Output, input};
use crate::clock::{self, Date};
use crate::pki::generate::{DEFAULT_DAYS, GenerateError, NewKey, Options, generate};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The common name, and, made fit for it, the name of the files
    name: String,
    /// How long it is to be valid
    #[arg(long, value_name = "N", default_value_t = DEFAULT_DAYS)]
    days: u32,
    /// An RSA key of 3072 bits, for clients that know no elliptic curves
    #[arg(long)]
    rsa: bool,
    #[command(flatten)]
    password: input::Password,
    /// Where to put the files; made if it is not there
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<Exit, Failure> {
    let password = arguments.password.read_new()?;
    if password.as_ref().is_some_and(|password| password.is_empty()) {
        return Err(Failure::usage("the password is empty; leave it out for a key that is not encrypted"));
    }
    let options = Options {
        days: arguments.days,
        key: if arguments.rsa { NewKey::Rsa3072 } else { NewKey::EcP256 },
        password: password.as_ref().map(|password| password.as_str()),
        now: UnixTime::since_unix_epoch(clock::wall()),
    };
    let made = generate(&arguments.name, &options).map_err(|error| match error {
        GenerateError::Failed(_) => Failure::local(error),
        GenerateError::Days(_) | GenerateError::Name(_) | GenerateError::Password(_) => Failure::usage(error),
    })?;
    let files = write(&arguments.out, &made.files())?;
    let report = Report {
        files: files.iter().map(|path| path.display().to_string()).collect(),
        fingerprint_sha256: made.certificate.fingerprint.to_string(),
        spki_pin: made.certificate.spki_pin.to_string(),
        serial: made.certificate.serial_hex(),
        not_after: Date::of(made.certificate.not_after).to_string(),
        encrypted: password.is_some(),
        notes: notes(password.as_ref().map(|password| password.as_str())),
        principal: principal(&made.stem, &made.certificate.fingerprint.to_string()),
    };
    output.answer(&report, &report);
    Ok(Exit::Done)
}

/// What was made, told.
#[derive(Debug, Serialize)]
struct Report {
    /// PFX, certificate, key.
    files: Vec<String>,
    fingerprint_sha256: String,
    spki_pin: String,
    serial: String,
    not_after: String,
    /// Key and PFX are behind a password.
    encrypted: bool,
    notes: Vec<&'static str>,
    /// What to put into the configuration.
    principal: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "wrote        {}", self.files.join("\n             "))?;
        writeln!(f, "fingerprint  sha256:{}", self.fingerprint_sha256)?;
        writeln!(f, "valid until  {}", self.not_after)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note         {note}"))?;
        write!(f, "to list it   copy the .crt into a directory of [[allowlist]], or put this into portcullis.toml:\n\n{}", self.principal)
    }
}

fn notes(password: Option<&str>) -> Vec<&'static str> {
    match password {
        None => vec!["the key is not encrypted, and the PFX is under the empty password: see --password-file"],
        Some(password) if !password.is_ascii() => vec!["Java opens no PFX under a password with letters beyond ASCII"],
        Some(_) => Vec::new(),
    }
}

fn principal(name: &str, fingerprint: &str) -> String {
    format!("[[principal]]\nname = \"{name}\"\nrole = \"Reader\"\nfingerprints = [\"sha256:{fingerprint}\"]")
}

/// Writes all files or none, and over nothing: a key that is lost is lost for good.
pub(in crate::cli) fn write(directory: &Path, files: &[(String, &[u8])]) -> Result<Vec<PathBuf>, Failure> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| Failure::file(directory, error))?;
    let mut written: Vec<PathBuf> = Vec::new();
    for (name, content) in files {
        let path = directory.join(name);
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let result = opened.and_then(|file| {
            written.push(path.clone());
            fill(file, content)
        });
        if let Err(error) = result {
            // Best effort: what stays behind is for its owner's eyes, and the failure below says that this did not work.
            written.iter().for_each(|path| drop(std::fs::remove_file(path)));
            return Err(match error.kind() {
                io::ErrorKind::AlreadyExists => Failure::file(&path, "is there already, and is not overwritten: nothing was written"),
                _ => Failure::file(&path, error),
            });
        }
    }
    Ok(written)
}

fn fill(mut file: File, content: &[u8]) -> io::Result<()> {
    file.write_all(content)?;
    file.sync_all()
}
