//! `[revocation] crls`: files, directories, and https URLs with what their servers are verified by; and what is the matter with a CRL.

use std::path::PathBuf;
use std::time::Duration;

use super::error::{At, Problem};
use super::file::ConfigFile;
use super::reader::Reader;
use super::table::{Mixed, Table};
use super::value;
use crate::admission::{CrlProblem, CrlProblemKind};
use crate::upstream::{Url, UrlError};

/// Where CRLs are.
#[derive(Debug)]
pub enum CrlEntry {
    /// A file, or a directory of them.
    Path(String),
    Url(CrlUrl),
}

/// `{ url, ca, interval }`, or an https URL alone.
#[derive(Debug)]
pub struct CrlUrl {
    pub url: Url,
    /// What the server is verified by; `None`: the system's trust store.
    pub ca: Option<At<String>>,
    pub interval: Duration,
}

impl CrlEntry {
    /// What it is called as a source.
    pub fn path(&self, file: &ConfigFile) -> PathBuf {
        match self {
            Self::Path(path) => file.resolve(path),
            Self::Url(url) => PathBuf::from(url.url.as_str()),
        }
    }

    /// Returns the URL, where it is one.
    pub fn url(&self) -> Option<&CrlUrl> {
        match self {
            Self::Path(_) => None,
            Self::Url(url) => Some(url),
        }
    }
}

/// Reads the list.
pub(super) fn read(table: &Table<'_>) -> Vec<At<CrlEntry>> {
    let entries = table.mixed("crls").unwrap_or_default();
    let read = |entry: &Mixed<'_>| match entry {
        Mixed::Table(table) => read_table(table),
        Mixed::Text(text) => read_text(table.reader(), text),
    };
    let found: Vec<_> = entries.iter().filter_map(read).collect();
    for (index, entry) in found.iter().enumerate() {
        // As paths, since that is how sources are told apart.
        let path = |entry: &At<CrlEntry>| entry.value.url().map(|url| PathBuf::from(url.url.as_str()));
        if path(entry).is_some() && found[..index].iter().any(|earlier| path(earlier) == path(entry)) {
            table.reader().error(entry.span, "this URL stands twice", None);
        }
    }
    found
}

/// Says what is the matter with a CRL that is there: an error, or a warning where it holds all the same, or says nothing yet.
pub(super) fn tell(problem: &CrlProblem) -> Problem {
    let issuer = &problem.issuer;
    let message = match &problem.kind {
        CrlProblemKind::Forged => format!("the CA {issuer} did not sign this CRL: it says nothing"),
        CrlProblemKind::FormerIssuer => {
            format!("no configured CA is {issuer} any more: what this CRL lists of it stays revoked until the CRL is taken away, too")
        }
        CrlProblemKind::Superseded(newer) => format!("an older CRL of {issuer}: the one in {newer} counts"),
        CrlProblemKind::UnknownIssuer => format!("no configured CA is called {issuer}: this CRL says nothing yet"),
    };
    let told = Problem::in_file(&problem.written.file, problem.written.line, message);
    // What was recorded stops no start.
    if matches!(problem.kind, CrlProblemKind::Forged) && !problem.written.is_ledger() { told } else { told.warning() }
}

fn read_text(reader: &Reader<'_>, text: &At<String>) -> Option<At<CrlEntry>> {
    let read = match text.value.contains("://") {
        true => url(&text.value).map(|url| CrlEntry::Url(CrlUrl { url, ca: None, interval: INTERVAL })),
        false => value::printable(&text.value).map(CrlEntry::Path),
    };
    let said = read.map_err(|why| reader.error(text.span, format!("`crls`: {why}"), None));
    Some(At { value: said.ok()?, span: text.span })
}

fn read_table(table: &Table<'_>) -> Option<At<CrlEntry>> {
    let url = table.required("url", table.parsed("url", url));
    let ca = table.file("ca");
    let interval = table.duration("interval", SHORTEST..=LONGEST).unwrap_or(INTERVAL);
    table.finish();
    let url = url?;
    Some(At { value: CrlEntry::Url(CrlUrl { url: url.value, ca, interval }), span: url.span })
}

fn url(text: &str) -> Result<Url, String> {
    text.parse().map_err(|why| match why {
        // What is said here is logged: not the credentials.
        UrlError::Credentials => why.to_string(),
        _ => format!("`{text}`: {why}"),
    })
}

const INTERVAL: Duration = Duration::from_secs(3600);
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30 * 86_400);
