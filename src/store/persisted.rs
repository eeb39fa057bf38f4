//! The restrictions last known good, in the state directory: one JSON file, written whole and renamed into place, so that a
//! crash at any moment leaves the old one or the new one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use super::cache::SourceError;
use super::file::Files;
use super::restrictions::{Entry, HeldCrl, IdEntry, Replaced};
use super::source::{ReadError, Source};
use crate::pki::{Certificate, Crl};

/// What is kept.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) held: Vec<(PathBuf, Vec<Entry>, Replaced)>,
    pub(super) crls: Vec<HeldCrl>,
    pub(super) signers: Vec<Arc<Certificate>>,
}

#[derive(Deserialize, Serialize)]
struct Kept {
    version: u32,
    files: Vec<KeptFile>,
    crls: Vec<KeptCrl>,
    /// Base64 of the DER of each CA that signed a CRL in force.
    #[serde(default)]
    signers: Vec<String>,
}

#[derive(Deserialize, Serialize)]
struct KeptFile {
    file: PathBuf,
    replaced: Replaced,
    ids: Vec<KeptId>,
    names_files: Vec<PathBuf>,
    names_crls: Vec<PathBuf>,
}

#[derive(Deserialize, Serialize)]
struct KeptId {
    id: String,
    line: u32,
    principal: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct KeptCrl {
    file: PathBuf,
    line: u32,
    entry: PathBuf,
    /// Base64 of the DER.
    der: String,
}

/// Reads what was kept; nothing where nothing ever was.
pub(super) fn load(directory: &Path) -> Result<State, SourceError> {
    let path = directory.join(NAME);
    let refused =
        |why: String| SourceError::new(&path, 0, format!("{why}; what was last revoked is not known: restore the file, or remove it"));
    let reading = match Files.read(&path, MAX) {
        Ok(reading) => reading,
        Err(ReadError::Missing) => return Ok(State::default()),
        Err(error) => return Err(refused(error.to_string())),
    };
    let kept: Kept = serde_json::from_slice(&reading.bytes).map_err(|error| refused(format!("is damaged: {error}")))?;
    if kept.version != VERSION {
        return Err(refused(format!("has the form of version {}, and this is {VERSION}", kept.version)));
    }
    let held = kept.files.into_iter().map(|file| file.read().map_err(&refused)).collect::<Result<_, _>>()?;
    let crls = kept.crls.into_iter().map(|crl| crl.read().map_err(&refused)).collect::<Result<_, _>>()?;
    let signers = kept.signers.iter().map(|text| signer(text).map_err(&refused)).collect::<Result<_, _>>()?;
    Ok(State { held, crls, signers })
}

fn signer(text: &str) -> Result<Arc<Certificate>, String> {
    let der = STANDARD.decode(text).map_err(|error| format!("holds a CA that is no base64: {error}"))?;
    Certificate::parse(CertificateDer::from(der)).map(Arc::new).map_err(|error| format!("holds what is no CA: {error}"))
}

/// Writes what is to be kept.
pub(super) fn to_bytes(state: &State) -> Vec<u8> {
    let kept = Kept {
        version: VERSION,
        files: state.held.iter().map(|(file, entries, replaced)| KeptFile::of(file, entries, *replaced)).collect(),
        crls: state.crls.iter().map(KeptCrl::of).collect(),
        signers: state.signers.iter().map(|signer| STANDARD.encode(&signer.der)).collect(),
    };
    // INVARIANT: strings, numbers and lists: nothing that JSON cannot say. A path that is no UTF-8 would be, and
    // the configuration, which is UTF-8, can name none.
    serde_json::to_vec(&kept).unwrap_or_default()
}

/// Puts it on disk so that it is there after a power cut.
pub(super) fn store(directory: &Path, bytes: &[u8]) -> Result<(), SourceError> {
    write(directory, bytes).map_err(|error| {
        let why = format!("cannot be written: {error}; revocations hold, but a restart would know only what the files then say");
        SourceError::new(&directory.join(NAME), 0, why)
    })
}

fn write(directory: &Path, bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    if !directory.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let draft = directory.join(DRAFT);
    // A draft of a process that was killed is nobody's.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, directory.join(NAME))?;
    // The rename itself is in the directory.
    File::open(directory)?.sync_all()
}

impl KeptFile {
    fn of(file: &Path, entries: &[Entry], replaced: Replaced) -> Self {
        let mut kept = Self { file: file.to_owned(), replaced, ids: Vec::new(), names_files: Vec::new(), names_crls: Vec::new() };
        for entry in entries {
            match entry {
                Entry::Crls(path) => kept.names_crls.push(path.clone()),
                Entry::File(path) => kept.names_files.push(path.clone()),
                Entry::Id(entry) => kept.ids.push(KeptId {
                    id: entry.id.as_str().to_owned(),
                    line: entry.line,
                    principal: entry.principal.as_ref().map(ToString::to_string),
                }),
            }
        }
        kept
    }

    fn read(self) -> Result<(PathBuf, Vec<Entry>, Replaced), String> {
        let mut entries = Vec::with_capacity(self.ids.len());
        for kept in self.ids {
            let id = kept.id.parse().map_err(|why| format!("holds `{}`, which {why}", kept.id))?;
            let principal = kept.principal.map(|name| name.parse().map_err(|why| format!("holds `{name}`, which {why}"))).transpose()?;
            entries.push(Entry::Id(IdEntry { id, line: kept.line, principal }));
        }
        entries.extend(self.names_files.into_iter().map(Entry::File));
        entries.extend(self.names_crls.into_iter().map(Entry::Crls));
        Ok((self.file, entries, self.replaced))
    }
}

impl KeptCrl {
    fn of(held: &HeldCrl) -> Self {
        Self { file: held.file.clone(), line: held.line, entry: held.entry.clone(), der: STANDARD.encode(&held.crl.der) }
    }

    fn read(self) -> Result<HeldCrl, String> {
        let der = STANDARD.decode(&self.der).map_err(|error| format!("holds a CRL that is no base64: {error}"))?;
        let crl = Crl::parse(&der).map_err(|error| format!("holds what is no CRL: {error}"))?;
        Ok(HeldCrl { crl: Arc::new(crl), file: self.file, line: self.line, entry: self.entry, kept: true })
    }
}

const NAME: &str = "restrictions.json";
const DRAFT: &str = ".restrictions.json.new";
const VERSION: u32 = 1;
const MAX: u64 = 1 << 30;
