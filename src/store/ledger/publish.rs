//! Publishing: tiles first, then the checkpoint that needs them, then what was seen of it. All of it follows from the
//! entries; a crash in between leaves an older checkpoint, and the next start goes on from there.

use std::io;
use std::path::Path;

use super::disk::{Disk, replace};
use super::error::AccessError;
use super::names;
use super::reader::Shared;
use super::tiles::{self, Kind};
use super::tree::WIDTH;
use super::writer::Ledger;

impl Ledger {
    /// Puts tiles and checkpoint on disk, and tells whoever listens. What fails is tried again by the next call; the
    /// entries are safe whether or not it succeeds.
    pub fn publish(&mut self) -> Result<(), AccessError> {
        let size = self.size();
        if self.published == Some(size) || !self.writable {
            return Ok(());
        }
        write_tiles(&self.shared, self.tiles)?;
        self.tiles = size;
        let note = self.reader().checkpoint();
        let disk = &*self.shared.disk;
        for path in [self.shared.directory.join(names::CHECKPOINT), self.state.join(names::SEEN)] {
            replace(disk, &path, note.as_bytes()).map_err(|error| AccessError::Io { path, error })?;
        }
        self.published = Some(size);
        if let Some(told) = &mut self.on_checkpoint {
            told(&note);
        }
        Ok(())
    }
}

/// Writes the tiles that a tree of `from` entries has not, or not as wide.
pub(super) fn write_tiles(shared: &Shared, from: u64) -> Result<(), AccessError> {
    let size = shared.tree().size();
    let mut tiles = Tiles { disk: &*shared.disk, written: Vec::new() };
    for number in from / WIDTH..size.div_ceil(WIDTH) {
        let Some(lines) = shared.block(number)? else { break };
        let leaves = lines.leaves();
        tiles.write(&shared.directory, Kind::Hashes(0), number, leaves.len(), &tiles::hashes(&leaves))?;
        tiles.write(&shared.directory, Kind::Entries, number, leaves.len(), &tiles::entries(lines.lines()))?;
    }
    let above: Vec<_> = {
        let tree = shared.tree();
        let new = |(kind, number, _): &(Kind, u64, &[_])| match kind {
            Kind::Entries => false,
            Kind::Hashes(level) => {
                let span = WIDTH.pow(u32::try_from(*level).unwrap_or(7));
                (number + 1) * WIDTH > from / span
            }
        };
        tiles::above(&tree).filter(new).map(|(kind, number, hashes)| (kind, number, hashes.len(), tiles::hashes(hashes))).collect()
    };
    for (kind, number, width, bytes) in above {
        tiles.write(&shared.directory, kind, number, width, &bytes)?;
    }
    tiles.sync(&shared.directory)
}

struct Tiles<'a> {
    disk: &'a dyn Disk,
    written: Vec<std::path::PathBuf>,
}

impl Tiles<'_> {
    fn write(&mut self, ledger: &Path, kind: Kind, number: u64, width: usize, bytes: &[u8]) -> Result<(), AccessError> {
        let width = width as u64;
        let path = tiles::path(ledger, kind, number, width);
        let directory = path.parent().unwrap_or(ledger);
        let written = self.disk.create_dir(directory).and_then(|()| self.disk.write(&path, bytes));
        written.map_err(|error| AccessError::Io { path: path.clone(), error })?;
        if width == WIDTH {
            // C2SP tlog-tiles: partial tiles may go once the full one is there. That they stay does no harm.
            let _ = self.forget(&tiles::path(ledger, kind, number, 1));
        }
        self.written.push(path);
        Ok(())
    }

    /// Removes the partial tiles beside this one, and their directory.
    fn forget(&self, partial: &Path) -> io::Result<()> {
        let directory = partial.parent().unwrap_or(partial);
        for name in self.disk.list(directory)? {
            self.disk.remove(&directory.join(name))?;
        }
        self.disk.remove(directory)
    }

    /// Makes the tiles last before the checkpoint that speaks of them.
    fn sync(&self, ledger: &Path) -> Result<(), AccessError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| AccessError::Io { path, error }
        };
        if self.written.len() > MANY {
            return self.disk.sync_all(ledger).map_err(io(ledger));
        }
        // A name that is lost in a crash is a tile that is missing, and that the next start writes again.
        self.written.iter().try_for_each(|path| self.disk.sync(path).map_err(io(path)))
    }
}

/// Above so many files, one sync of the file system costs less than theirs.
const MANY: usize = 16;
