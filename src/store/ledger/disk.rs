//! All that the ledger asks of a file system, operation by operation: so that a test can fail, or lose power, at each.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock, syncfs};

/// A file system.
pub(super) trait Disk: fmt::Debug + Send + Sync {
    /// Makes a directory, and those above it, for nobody but us.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;
    /// Opens the log, made empty if it may be and was not there; tells whether it can be written to.
    fn log(&self, path: &Path, write: bool) -> io::Result<(Arc<dyn Log>, bool)>;
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes a file's content, or a directory's names, last.
    fn sync(&self, path: &Path) -> io::Result<()>;
    /// Makes everything last that was written below a directory: for more files than are worth a `sync` each.
    fn sync_all(&self, directory: &Path) -> io::Result<()>;
    /// Writes a file whole; readable by nobody but us.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
}

/// The file of entries.
pub(super) trait Log: fmt::Debug + Send + Sync {
    /// Tells this file from any other.
    fn identity(&self) -> io::Result<(u64, u64)>;
    /// Takes it for ourselves; false where another process has it.
    fn lock(&self) -> io::Result<bool>;
    /// Reads what there is from `offset`; zero bytes at the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    fn sync(&self) -> io::Result<()>;
    fn truncate(&self, length: u64) -> io::Result<()>;
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
}

/// Replaces a file so that a crash leaves the old one or the new one.
pub(super) fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    disk.write(&draft, bytes)?;
    disk.sync(&draft)?;
    disk.rename(&draft, path)?;
    // The rename itself is in the directory.
    disk.sync(path.parent().unwrap_or(Path::new(".")))
}

/// Reads a file; `None` where there is none.
pub(super) fn read_if_there(disk: &dyn Disk, path: &Path) -> io::Result<Option<Vec<u8>>> {
    match disk.read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The machine's own.
#[derive(Debug)]
pub(super) struct Machine;

impl Disk for Machine {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        // A name is in the directory above.
        path.parent().filter(|above| !above.as_os_str().is_empty()).map_or(Ok(()), |above| self.sync(above))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(directory)?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn log(&self, path: &Path, write: bool) -> io::Result<(Arc<dyn Log>, bool)> {
        let mut options = OpenOptions::new();
        options.read(true).mode(0o600);
        if write {
            match options.clone().write(true).create(true).truncate(false).open(path) {
                Ok(file) => return Ok((Arc::new(file), true)),
                Err(error) if is_read_only(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((Arc::new(options.open(path)?), false))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn sync_all(&self, directory: &Path) -> io::Result<()> {
        Ok(syncfs(File::open(directory)?)?)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(bytes)
    }
}

impl Log for File {
    fn identity(&self) -> io::Result<(u64, u64)> {
        let found = self.metadata()?;
        Ok((found.dev(), found.ino()))
    }

    fn lock(&self) -> io::Result<bool> {
        for _ in 0..LOCK_TRIES {
            match flock(self, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(true),
                Err(rustix::io::Errno::WOULDBLOCK) => std::thread::park_timeout(LOCK_WAIT),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }
}

/// A child has its parent's locks until it runs its program, and a process that ends has its own for a moment more: a
/// second, before we say that the ledger is another's.
const LOCK_TRIES: u32 = 100;
const LOCK_WAIT: Duration = Duration::from_millis(10);

/// Tells whether the file system, or its permissions, let nothing be written.
pub(super) fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}
