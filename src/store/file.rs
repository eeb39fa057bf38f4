//! Files as a source. A read is stable or it does not count; whatever stands where a file should (a FIFO, a device, a
//! directory, a file without end) is refused without waiting for it.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::source::{ReadError, Reading, Source, Stamp};
use crate::clock;

/// The file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files;

impl Source for Files {
    fn stamp(&self, unit: &Path) -> Result<Stamp, ReadError> {
        regular(&fs::metadata(unit)?)
    }

    fn read(&self, unit: &Path, limit: u64) -> Result<Reading, ReadError> {
        // Asked before opening: to open some devices is to use them.
        regular(&fs::metadata(unit)?)?;
        // O_NONBLOCK: a FIFO that took the file's place since would otherwise hold us until somebody writes to it.
        let mut file = OpenOptions::new().read(true).custom_flags(NONBLOCK).open(unit)?;
        let metadata = file.metadata()?;
        let before = regular(&metadata)?;
        if before.size > limit {
            return Err(ReadError::TooLarge { limit });
        }
        let bytes = read_up_to(&mut file, before.size, limit)?;
        let after = regular(&file.metadata()?)?;
        // The path leads elsewhere by now: what was read is the past, and whoever replaced it wants the new one.
        let there = regular(&fs::metadata(unit)?)?;
        if before != after || before != there || bytes.len() as u64 != before.size {
            return Err(ReadError::Changing);
        }
        Ok(Reading { bytes, stamp: before, young: is_young(&before), exposed: metadata.mode() & 0o077 != 0 })
    }

    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>, ReadError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
            if !hidden {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }
}

/// One byte beyond the limit tells that there are more: the size that a file claims is no promise.
fn read_up_to(file: &mut File, size: u64, limit: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(ReadError::TooLarge { limit }) } else { Ok(bytes) }
}

fn regular(metadata: &Metadata) -> Result<Stamp, ReadError> {
    let kind = metadata.file_type();
    let other = match () {
        () if kind.is_file() => None,
        () if kind.is_dir() => Some("a directory"),
        () if kind.is_fifo() => Some("a FIFO"),
        () if kind.is_socket() => Some("a socket"),
        () => Some("a device"),
    };
    match other {
        Some(other) => Err(ReadError::NotAFile(other)),
        None => Ok(Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }),
    }
}

/// Times of files come from the tick of the kernel (up to 10 ms), and some file systems keep whole seconds only, or
/// every other: two changes within one tick look like one.
fn is_young(stamp: &Stamp) -> bool {
    let changed = Duration::new(u64::try_from(stamp.changed.0).unwrap_or(0), u32::try_from(stamp.changed.1).unwrap_or(0));
    let tick = if changed.subsec_nanos() == 0 { Duration::from_secs(3) } else { Duration::from_millis(50) };
    clock::wall().saturating_sub(changed) < tick
}

/// The flag as the standard library takes it.
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_with_its_stamp() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.pem");
        fs::write(&path, b"content").expect("written");
        let reading = Files.read(&path, 7).expect("readable");
        assert_eq!(reading.bytes, b"content");
        assert!(reading.young, "just written");
        assert_eq!(Files.stamp(&path).expect("there"), reading.stamp);
        assert!(matches!(Files.read(&path, 6), Err(ReadError::TooLarge { limit: 6 })));
    }

    #[test]
    fn a_second_change_cannot_hide_behind_a_coarse_clock() {
        let now = clock::wall().as_secs().cast_signed();
        for (changed, young) in [((now - 1, 0), true), ((now - 10, 0), false), ((now - 1, 1), false), ((now + 100, 1), true)] {
            let stamp = Stamp { device: 1, inode: 1, size: 1, modified: changed, changed };
            assert_eq!(is_young(&stamp), young, "{changed:?}");
        }
    }

    #[test]
    fn what_is_no_file_is_refused_without_waiting() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        std::process::Command::new("mkfifo").arg(at("fifo")).status().expect("mkfifo");
        fs::create_dir(at("directory")).expect("made");
        std::os::unix::fs::symlink("loop", at("loop")).expect("made");
        std::os::unix::fs::symlink("/dev/zero", at("zero")).expect("made");
        let cases = [
            ("fifo", "is a FIFO, not a regular file"),
            ("directory", "is a directory, not a regular file"),
            ("zero", "is a device, not a regular file"),
            ("missing", "is not there"),
        ];
        for (name, wanted) in cases {
            assert_eq!(Files.read(&at(name), 100).expect_err(name).to_string(), wanted);
        }
        assert!(matches!(Files.read(&at("loop"), 100), Err(ReadError::Io(_))));
    }

    #[test]
    fn a_directory_is_listed_without_what_is_hidden() {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["b.pem", ".a.pem.swp", "a.pem"] {
            fs::write(directory.path().join(name), b"").expect("written");
        }
        let names: Vec<_> = Files.list(directory.path()).expect("listed");
        assert_eq!(names, [directory.path().join("a.pem"), directory.path().join("b.pem")]);
        assert!(matches!(Files.list(&directory.path().join("a.pem")), Err(ReadError::NotADirectory)));
    }
}
