//! `portcullis revoke` and `unrevoke`: an id, or the certificates of a file. Revocation beats every listing, and holds at once.

use std::path::{Path, PathBuf};

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::allow::How;
use super::confirm::Confirm;
use super::remote::{Target, encoded, pages};
use super::{Exit, Failure, Output, input};
use crate::admission::RevokedId;
use crate::explain::printable;
use crate::pki::{Certificate, SpkiPin, files};

#[derive(Debug, clap::Args)]
#[command(after_help = IDS)]
pub(super) struct Revoke {
    #[command(flatten)]
    what: What,
    /// Who issued the certificates of a file, where that is not in it: PEM or DER
    #[arg(long, value_name = "FILE")]
    issuer: Option<PathBuf>,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, clap::Args)]
#[command(after_help = IDS)]
pub(super) struct Unrevoke {
    #[command(flatten)]
    what: What,
    /// Who issued the certificates of a file, where that is not in it: PEM or DER
    #[arg(long, value_name = "FILE")]
    issuer: Option<PathBuf>,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, clap::Args)]
pub(super) struct Revoked {
    /// Only ids with this in them
    search: Option<String>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
struct What {
    /// An id, or a file with the certificate: PEM, DER or PFX. A file whose name could be an id: ./NAME
    #[arg(value_name = "ID|FILE", required = true)]
    what: Vec<String>,
    #[command(flatten)]
    password: input::Password,
}

const IDS: &str = "Ids: sha256:HEX (certificate), spki:BASE64 (key), serial:HEX@spki:BASE64 (issuer by key), serial:HEX, serial-dec:N, ski:HEX, sha1:HEX; \
    portcullis cert inspect FILE prints them.\nOf a file: the certificate's fingerprint, and its serial with the issuer's key where that is known. \
    A signature can be respelled into another fingerprint; the fingerprint's id hits both.";

/// One thing to revoke, and why it is as it is.
#[derive(Default)]
struct Ids {
    ids: Vec<String>,
    notes: Vec<String>,
}

pub(super) fn revoke(arguments: &Revoke, output: &Output) -> Result<Exit, Failure> {
    let Ids { ids, mut notes } = arguments.what.ids(arguments.issuer.as_deref())?;
    let (how, remote) = (&arguments.how, arguments.how.target.remote()?);
    let body = |id: &str| json!({ "id": id });
    if !how.dry_run {
        let mut question = String::new();
        for id in &ids {
            let would = remote.call(&Method::POST, "/v1/revocations?dry_run=true", Some(&body(id)))?;
            question += &format!("{}\n", told(id, &would));
        }
        arguments.confirm.ask(format_args!("{question}Revoke {}?", if ids.len() == 1 { "it" } else { "them" }))?;
    }
    let (mut answers, mut lines) = (Vec::new(), Vec::new());
    let mut failed = None;
    for id in &ids {
        // The others too: each of them counts by itself.
        let answer = match remote.call(&Method::POST, &how.query("/v1/revocations"), Some(&body(id))) {
            Ok(answer) => answer,
            Err(failure) => {
                failed.get_or_insert(failure);
                continue;
            }
        };
        lines.push(format!("{}: {}", how.told("revoked"), told(id, &answer)));
        answers.push(answer);
    }
    lines.append(&mut notes.iter().map(|note| format!("note: {note}")).collect());
    notes.dedup();
    if let Some(failure) = failed {
        // What was done stands on standard error, too: the failure is the answer.
        let done = lines.iter().map(|line| format!("\n{line}")).collect::<String>();
        return Err(Failure { message: failure.message + &done, ..failure });
    }
    output.answer(&json!({ "revoked": answers, "notes": notes, "dry_run": how.dry_run }), lines.join("\n"));
    Ok(Exit::Done)
}

pub(super) fn unrevoke(arguments: &Unrevoke, output: &Output) -> Result<Exit, Failure> {
    let Ids { ids, .. } = arguments.what.ids(arguments.issuer.as_deref())?;
    let (how, remote) = (&arguments.how, arguments.how.target.remote()?);
    let (mut taken_back, mut lines) = (Vec::new(), Vec::new());
    for id in &ids {
        let reply = remote.send(&Method::DELETE, &how.query(&format!("/v1/revocations?id={}", encoded(id))), None, None)?;
        // A file has two ids, and who revoked it may have named one.
        let done = match reply.status {
            status if status.is_success() => how.told("taken back"),
            StatusCode::NOT_FOUND => "not revoked by a command".to_owned(),
            _ => return Err(reply.refusal()),
        };
        lines.push(format!("{done}: {}", printable(id)));
        if reply.status.is_success() {
            taken_back.push(id);
        }
    }
    if taken_back.is_empty() {
        return Err(Failure::refused(format_args!(
            "not_found: {}\nsee `portcullis revoked`; what a file revokes, the file takes back",
            lines.join("\n")
        )));
    }
    output.answer(&json!({ "unrevoked": taken_back, "dry_run": how.dry_run }), lines.join("\n"));
    Ok(Exit::Done)
}

pub(super) fn revoked(arguments: &Revoked, output: &Output) -> Result<Exit, Failure> {
    let filter = arguments.search.as_ref().map(|search| format!("&q={}", encoded(search))).unwrap_or_default();
    let found = pages(&arguments.target.remote()?, "/v1/revocations", "revocations", &filter)?;
    let line = |one: &Value| {
        let text = |value: &Value| printable(value.as_str().unwrap_or("-"));
        let some = if one["everywhere"] == false { "  (where principals that are gone said so)" } else { "" };
        let [id, at, by, reason] = [&one["id"], &one["added"]["at"], &one["added"]["by"], &one["reason"]].map(text);
        format!("{id}  {at}  by {by}  {reason}{some}")
    };
    let text = found.iter().map(line).collect::<Vec<_>>().join("\n");
    output.answer(&json!({ "revocations": found }), if found.is_empty() { "nothing".to_owned() } else { text });
    Ok(Exit::Done)
}

impl What {
    fn ids(&self, issuer: Option<&Path>) -> Result<Ids, Failure> {
        let mut all = Ids::default();
        let issuers = match issuer {
            Some(path) => certificates(path, None)?,
            None => Vec::new(),
        };
        for what in &self.what {
            if what.parse::<RevokedId>().is_ok() {
                all.ids.push(what.clone());
                continue;
            }
            let path = Path::new(what);
            if !path.exists() {
                return Err(Failure::usage(format_args!("{}: neither an id nor a file\n{IDS}", printable(what))));
            }
            all.take(&certificates(path, self.password.read()?.as_ref().map(|password| password.as_str()))?, &issuers);
        }
        Ok(all)
    }
}

impl Ids {
    /// Takes the certificates of a file; those that issued others of it only lend their keys.
    fn take(&mut self, found: &[Certificate], issuers: &[Certificate]) {
        let issued = |issuer: &Certificate, certificate: &Certificate| {
            issuer.subject.der == certificate.issuer.der && certificate.is_signed_by(issuer.spki())
        };
        let is_other = |one: &Certificate, other: &Certificate| one.fingerprint != other.fingerprint;
        for certificate in found {
            if found.iter().any(|other| is_other(certificate, other) && issued(certificate, other)) {
                continue;
            }
            self.ids.push(format!("sha256:{}", certificate.fingerprint));
            match found.iter().chain(issuers).find(|issuer| issued(issuer, certificate)) {
                Some(issuer) => self.ids.push(format!("serial:{}@spki:{}", certificate.serial_hex(), base64_of(issuer.spki_pin))),
                None => self.notes.push(format!(
                    "who issued sha256:{} is not in the file: it is known by its fingerprint only; see --issuer",
                    certificate.fingerprint
                )),
            }
        }
    }
}

fn base64_of(pin: SpkiPin) -> String {
    let text = pin.to_string();
    text.strip_prefix("sha256/").unwrap_or(&text).to_owned()
}

fn certificates(path: &Path, password: Option<&str>) -> Result<Vec<Certificate>, Failure> {
    let found = files::certificates(&input::read(path)?, password).map_err(|error| input::file_error(path, &error))?;
    Ok(found.into_iter().map(|located| located.value).collect())
}

/// Tells what an id hits. None at all may be meant (an authority issued it), or a slip.
fn told(id: &str, answer: &Value) -> String {
    let hits: Vec<String> = answer["hits"].as_array().into_iter().flatten().map(hit).collect();
    let warning = answer["warning"].as_str().map(|warning| format!("warning: {}", printable(warning)));
    let hits = (!hits.is_empty()).then(|| format!("hits {}", hits.join(", ")));
    let said: Vec<String> = hits.into_iter().chain(warning).collect();
    format!("{}: {}", printable(id), said.join("; "))
}

fn hit(hit: &Value) -> String {
    let whose = hit["principal"].as_str().map_or_else(|| "a CA of an authority".to_owned(), printable);
    match hit["fingerprint"].as_str() {
        Some(fingerprint) => format!("{whose} (sha256:{})", printable(fingerprint)),
        None => whose,
    }
}
