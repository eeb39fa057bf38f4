//! A disk in memory that loses power, or fails, at any operation. What was not synced is lost, kept or torn: as the
//! test says, for a real one may do any of it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::super::disk::{Disk, Log};

/// A disk; clones are the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    files: Vec<File>,
    /// Names now, and those that last.
    names: BTreeMap<PathBuf, usize>,
    lasting: BTreeMap<PathBuf, usize>,
    locked: bool,
    read_only: bool,
    operations: usize,
    fault: Option<(usize, Fault)>,
    down: bool,
}

#[derive(Clone, Debug, Default)]
struct File {
    now: Vec<u8>,
    lasting: Vec<u8>,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The power goes; a write that is under way got this far.
    Power(Part),
    /// This operation fails, once, after having got this far.
    Fails(io::ErrorKind, Part),
    /// Every write fails from here on, until `heal`.
    Full,
}

/// How much of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    None,
    Half,
    All,
}

/// What a power cut leaves of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    Everything,
    /// This many bytes of what was added to the log; of everything else, everything.
    Bytes(usize),
    /// The length, but zeroes in the first half of what was added.
    Holes,
}

impl Memory {
    /// Goes wrong at an operation, counted from now.
    pub(super) fn fault(&self, after: usize, fault: Fault) {
        let mut content = self.0.lock().unwrap();
        let at = content.operations + after;
        content.fault = Some((at, fault));
    }

    pub(super) fn heal(&self) {
        self.0.lock().unwrap().fault = None;
    }

    pub(super) fn make_read_only(&self, read_only: bool) {
        self.0.lock().unwrap().read_only = read_only;
    }

    pub(super) fn operations(&self) -> usize {
        self.0.lock().unwrap().operations
    }

    /// Returns what another process finds: of a killed one everything, after a power cut what lasted.
    pub(super) fn after(&self, left: Left) -> Self {
        let content = self.0.lock().unwrap();
        let names = if left == Left::Nothing { &content.lasting } else { &content.names };
        let mut files = content.files.clone();
        for (at, file) in files.iter_mut().enumerate() {
            let log = content.names.iter().any(|(path, number)| *number == at && path.ends_with("entries.jsonl"));
            file.lasting = match left {
                Left::Nothing => file.lasting.clone(),
                Left::Bytes(count) if log => file.now[..(file.lasting.len() + count).min(file.now.len())].to_vec(),
                Left::Holes if log && file.now.len() > file.lasting.len() => {
                    let mut bytes = file.now.clone();
                    let from = file.lasting.len();
                    let to = from + (bytes.len() - from).div_ceil(2);
                    bytes[from..to].fill(0);
                    bytes
                }
                Left::Bytes(_) | Left::Everything | Left::Holes => file.now.clone(),
            };
            file.now.clone_from(&file.lasting);
        }
        let content = Content { files, names: names.clone(), lasting: names.clone(), ..Content::default() };
        Self(Arc::new(Mutex::new(content)))
    }

    /// Returns how many bytes of the log are not synced.
    pub(super) fn unsynced(&self) -> usize {
        let content = self.0.lock().unwrap();
        let log = content.names.iter().find(|(path, _)| path.ends_with("entries.jsonl")).map(|(_, number)| &content.files[*number]);
        log.map_or(0, |file| file.now.len().saturating_sub(file.lasting.len()))
    }

    pub(super) fn get(&self, path: &str) -> Option<Vec<u8>> {
        self.read(Path::new(path)).ok()
    }

    pub(super) fn put(&self, path: &str, bytes: &[u8]) {
        let mut content = self.0.lock().unwrap();
        content.file(Path::new(path)).now = bytes.to_vec();
        content.file(Path::new(path)).lasting = bytes.to_vec();
        content.lasting = content.names.clone();
    }

    pub(super) fn paths(&self) -> Vec<String> {
        self.0.lock().unwrap().names.keys().map(|path| path.display().to_string()).collect()
    }

    pub(super) fn delete(&self, prefix: &str) {
        self.0.lock().unwrap().names.retain(|path, _| !path.starts_with(prefix));
    }

    /// Counts an operation that changes something; returns how much of it is to be done, and its error.
    fn change(&self, grows: bool) -> (Part, io::Result<()>) {
        let mut content = self.0.lock().unwrap();
        if content.read_only {
            return (Part::None, Err(io::ErrorKind::ReadOnlyFilesystem.into()));
        }
        if content.down {
            return (Part::None, Err(io::Error::other("no power")));
        }
        let number = content.operations;
        content.operations += 1;
        match content.fault {
            Some((at, Fault::Power(part))) if number == at => {
                content.down = true;
                (part, Err(io::Error::other("no power")))
            }
            Some((at, Fault::Fails(kind, part))) if number == at => (part, Err(kind.into())),
            Some((at, Fault::Full)) if number >= at && grows => (Part::Half, Err(io::ErrorKind::StorageFull.into())),
            _ => (Part::All, Ok(())),
        }
    }
}

impl Content {
    fn file(&mut self, path: &Path) -> &mut File {
        let number = *self.names.entry(path.to_owned()).or_insert_with(|| {
            self.files.push(File::default());
            self.files.len() - 1
        });
        &mut self.files[number]
    }
}

impl Part {
    fn of(self, bytes: &[u8]) -> &[u8] {
        match self {
            Self::None => &[],
            Self::Half => &bytes[..bytes.len() / 2],
            Self::All => bytes,
        }
    }
}

impl Disk for Memory {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let content = self.0.lock().unwrap();
        let children = content.names.keys().filter(|path| path.parent() == Some(directory));
        let found: Vec<String> = children.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        if found.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found) }
    }

    fn log(&self, path: &Path, write: bool) -> io::Result<(Arc<dyn Log>, bool)> {
        let mut content = self.0.lock().unwrap();
        let writable = write && !content.read_only;
        if !writable && !content.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        content.file(path);
        let number = content.names[path];
        Ok((Arc::new(MemoryLog { disk: self.clone(), path: path.to_owned(), number }), writable))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let content = self.0.lock().unwrap();
        content.names.get(path).map(|number| content.files[*number].now.clone()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(false).1?;
        self.0.lock().unwrap().names.remove(path);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (part, result) = self.change(false);
        if part == Part::All {
            let mut content = self.0.lock().unwrap();
            let number = content.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            content.names.insert(to.to_owned(), number);
        }
        result
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let (part, result) = self.change(false);
        if part == Part::All {
            let mut content = self.0.lock().unwrap();
            if let Some(number) = content.names.get(path).copied() {
                let file = &mut content.files[number];
                file.lasting.clone_from(&file.now);
            } else {
                let Content { names, lasting, .. } = &mut *content;
                lasting.retain(|name, _| name.parent() != Some(path));
                lasting.extend(names.iter().filter(|(name, _)| name.parent() == Some(path)).map(|(name, number)| (name.clone(), *number)));
            }
        }
        result
    }

    fn sync_all(&self, _: &Path) -> io::Result<()> {
        let (part, result) = self.change(false);
        if part == Part::All {
            let mut content = self.0.lock().unwrap();
            content.files.iter_mut().for_each(|file| file.lasting.clone_from(&file.now));
            content.lasting = content.names.clone();
        }
        result
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let (part, result) = self.change(true);
        if part != Part::None {
            self.0.lock().unwrap().file(path).now = part.of(bytes).to_vec();
        }
        result
    }
}

#[derive(Debug)]
struct MemoryLog {
    disk: Memory,
    path: PathBuf,
    number: usize,
}

impl Log for MemoryLog {
    fn identity(&self) -> io::Result<(u64, u64)> {
        Ok((0, self.number as u64))
    }

    fn lock(&self) -> io::Result<bool> {
        Ok(!std::mem::replace(&mut self.disk.0.lock().unwrap().locked, true))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut content = self.disk.0.lock().unwrap();
        let bytes = &content.file(&self.path).now;
        let found = bytes.get(offset as usize..).unwrap_or_default();
        // Short reads happen.
        let count = found.len().min(buffer.len()).min(3_000);
        buffer[..count].copy_from_slice(&found[..count]);
        Ok(count)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync(&self.path)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let (part, result) = self.disk.change(false);
        if part == Part::All {
            self.disk.0.lock().unwrap().file(&self.path).now.truncate(length as usize);
        }
        result
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (part, result) = self.disk.change(true);
        let written = part.of(bytes);
        let mut content = self.disk.0.lock().unwrap();
        let now = &mut content.file(&self.path).now;
        let end = offset as usize + written.len();
        now.resize(now.len().max(end), 0);
        now[offset as usize..end].copy_from_slice(written);
        result
    }
}
