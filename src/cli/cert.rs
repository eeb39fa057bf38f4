//! `portcullis cert new`, in `new.rs`, and `cert inspect`: what a certificate is, to us. Names for it that `revoked_ids` take, and what an
//! allowlist can do with it.

mod new;
pub(super) use new::write as written;

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::input;
use super::{Exit, Failure, Output};
use crate::clock::{self, Date};
use crate::explain::printable;
use crate::pki::certificate::KeyKind;
use crate::pki::files::{self, Role};
use crate::pki::{Certificate, San};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show what a certificate file holds, and the ids to list or revoke it by
    Inspect(Inspect),
    /// Make a client its key and certificate: PFX, PEM and key, and say how to list it
    New(new::Arguments),
}

#[derive(Debug, clap::Args)]
pub(super) struct Inspect {
    /// PEM, DER or PFX; `-` is standard input
    file: PathBuf,
    #[command(flatten)]
    password: input::Password,
}

pub(super) fn run(command: &Command, output: &Output) -> Result<Exit, Failure> {
    match command {
        Command::Inspect(arguments) => inspect(arguments, output),
        Command::New(arguments) => new::run(arguments, output),
    }
}

fn inspect(arguments: &Inspect, output: &Output) -> Result<Exit, Failure> {
    let bytes = input::read(&arguments.file)?;
    let password = arguments.password.read()?;
    let password = password.as_ref().map(|password| password.as_str());
    let found = files::roles(&bytes, password).map_err(|error| input::file_error(&arguments.file, &error))?;
    let now = clock::wall().as_secs();
    let reports: Vec<_> = found.iter().map(|(located, role)| Report::of(&located.value, *role, located.line, now)).collect();
    let text = reports.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n");
    output.answer(&reports, text);
    Ok(Exit::Done)
}

/// One certificate, told.
#[derive(Debug, Serialize)]
struct Report {
    /// Where its block starts; 0 for DER and PFX.
    line: u32,
    subject: String,
    issuer: String,
    serial: String,
    not_before: String,
    not_after: String,
    validity: &'static str,
    fingerprint_sha256: String,
    fingerprint_sha1: String,
    spki_pin: String,
    key: String,
    version: u8,
    ca: bool,
    sans: Vec<String>,
    /// `null`: no such extension.
    extended_key_usage: Option<Vec<&'static str>>,
    revocation_ids: Vec<String>,
    /// `pin`, `authority`, `either` or `neither`.
    material: &'static str,
    notes: Vec<String>,
}

impl Report {
    fn of(certificate: &Certificate, role: Role, line: u32, now: u64) -> Self {
        let ca = certificate.basic_constraints.is_some_and(|constraints| constraints.ca);
        Self {
            line,
            subject: certificate.subject.rfc2253(),
            issuer: certificate.issuer.rfc2253(),
            serial: certificate.serial_hex(),
            not_before: Date::of(certificate.not_before).to_string(),
            not_after: Date::of(certificate.not_after).to_string(),
            validity: if now < certificate.not_before {
                "not yet valid"
            } else if now > certificate.not_after {
                "expired"
            } else {
                "valid"
            },
            fingerprint_sha256: certificate.fingerprint.to_string(),
            fingerprint_sha1: hex(&certificate.sha1()),
            spki_pin: certificate.spki_pin.to_string(),
            key: key(certificate.key),
            version: certificate.version,
            ca,
            sans: certificate.sans.iter().map(san).collect(),
            extended_key_usage: certificate.extended_key_usage.as_ref().map(|usage| {
                let purposes = [(usage.client_auth, "clientAuth"), (usage.server_auth, "serverAuth"), (usage.any, "anyExtendedKeyUsage")];
                purposes.into_iter().filter_map(|(given, name)| given.then_some(name)).collect()
            }),
            revocation_ids: revocation_ids(certificate),
            material: material(certificate, ca),
            notes: notes(certificate, role, ca),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "subject      {}", or_dash(&self.subject))?;
        writeln!(f, "issuer       {}", or_dash(&self.issuer))?;
        writeln!(f, "serial       {}", self.serial)?;
        writeln!(f, "validity     {} to {} ({})", self.not_before, self.not_after, self.validity)?;
        writeln!(f, "key          {}", self.key)?;
        writeln!(f, "CA           {}", if self.ca { "yes" } else { "no" })?;
        let usage = self.extended_key_usage.as_ref();
        writeln!(f, "EKU          {}", usage.map_or("absent".to_owned(), |usage| or_dash(&usage.join(", ")).to_owned()))?;
        writeln!(f, "names        {}", or_dash(&self.sans.join(", ")))?;
        writeln!(f, "fingerprint  sha256:{}", self.fingerprint_sha256)?;
        writeln!(f, "             sha1:{}", self.fingerprint_sha1)?;
        writeln!(f, "SPKI pin     {}", self.spki_pin)?;
        writeln!(f, "revoke by    {}", self.revocation_ids.join("\n             "))?;
        write!(f, "usable as    {}", self.material)?;
        self.notes.iter().try_for_each(|note| write!(f, "\nnote         {note}"))
    }
}

/// Every notation that `[revocation] ids` takes for this certificate.
fn revocation_ids(certificate: &Certificate) -> Vec<String> {
    let spki = certificate.spki_pin.to_string();
    let spki = spki.strip_prefix("sha256/").unwrap_or(&spki);
    let mut ids = vec![format!("sha256:{}", certificate.fingerprint), format!("spki:{spki}")];
    if certificate.is_self_issued() {
        ids.push(format!("serial:{}@spki:{spki}", certificate.serial_hex()));
    }
    ids.push(format!("serial:{}", certificate.serial_hex()));
    if let Some(key_id) = &certificate.subject_key_id {
        ids.push(format!("ski:{}", hex(key_id)));
    }
    ids.push(format!("sha1:{}", hex(&certificate.sha1())));
    ids
}

/// What an allowlist can do with it: a CA that does not say whether it signs certificates could be meant either way.
fn material(certificate: &Certificate, ca: bool) -> &'static str {
    let signs = certificate.key_usage.map(|usage| usage.key_cert_sign);
    match (ca, signs) {
        (false, _) | (true, Some(false)) => "pin",
        (true, Some(true)) => "authority",
        (true, None) => "either",
    }
}

fn notes(certificate: &Certificate, role: Role, ca: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if role == Role::Issuer {
        notes.push("it signed another certificate of this PFX: where the PFX is listed, this one is no pin".to_owned());
    }
    if certificate.extended_key_usage.as_ref().is_some_and(|usage| !usage.client_auth && !usage.any) {
        notes.push(
            "the extended key usage lacks clientAuth: refused as a client's certificate, unless the pin has allow_any_eku".to_owned(),
        );
    }
    if ca && certificate.key_usage.is_none() {
        notes.push(
            "CA:TRUE and no key usage, as openssl req -x509 makes it: say whether it is meant as a pin or as an authority".to_owned(),
        );
    }
    if !certificate.canonical {
        notes.push("the outer DER is not canonical: others can respell it under another fingerprint; pin the key instead".to_owned());
    }
    if let Some(twin) = certificate.twin().filter(|_| !certificate.is_self_issued()) {
        notes.push(format!("its signature has a twin: anybody can turn it into sha256:{twin}; a revoked sha256 id matches both"));
    }
    notes
}

fn key(kind: KeyKind) -> String {
    match kind {
        KeyKind::Ec { bits } => format!("EC P-{bits}"),
        KeyKind::Ed25519 => "Ed25519".to_owned(),
        KeyKind::Other => "of a kind we do not know".to_owned(),
        KeyKind::Rsa { bits } => format!("RSA {bits}"),
        KeyKind::RsaPss { bits } => format!("RSA {bits}, for PSS only"),
    }
}

fn san(name: &San) -> String {
    match name {
        San::Dns(name) => format!("DNS:{}", printable(name)),
        San::Email(address) => format!("email:{}", printable(address)),
        San::Ip(address) => format!("IP:{address}"),
        San::Other => "other name".to_owned(),
        San::Uri(uri) => format!("URI:{}", printable(uri)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}
