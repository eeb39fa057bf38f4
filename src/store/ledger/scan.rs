//! The log read from its beginning: each line hashed into the tree, where it ends, and what stands there that is no line.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;

use memchr::memchr;

use super::disk::Log;
use super::entry::MAX_LINE;
use super::tree::{Hash, LEAF, Tree};

/// What the log holds.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) tree: Tree,
    /// The head at each size that was asked for and reached.
    pub(super) heads: BTreeMap<u64, Hash>,
    /// What follows the last line that counts: how many bytes.
    pub(super) rest: u64,
}

/// A line on its way into the tree.
pub(super) struct Line<'a> {
    pub(super) index: u64,
    /// Without its newline.
    pub(super) bytes: &'a [u8],
    pub(super) leaf: Hash,
}

/// Reads the log; `each` may break before a line, which then is the first that does not count.
pub(super) fn scan(log: &dyn Log, marks: &[u64], mut each: impl FnMut(&Line<'_>) -> ControlFlow<()>) -> io::Result<Scan> {
    let mut scan = Scan { tree: Tree::default(), heads: BTreeMap::new(), rest: 0 };
    scan.mark(marks);
    // One byte before each line is ours: it becomes the prefix of the leaf, so that a line is hashed where it stands.
    let mut buffer = vec![0; 1 + CHUNK];
    let (mut start, mut filled, mut offset) = (1, 1, 0);
    'reading: loop {
        let read = match log.read_at(offset, &mut buffer[filled..]) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        offset += read as u64;
        filled += read;
        while let Some(length) = memchr(b'\n', &buffer[start..filled]).filter(|length| *length <= MAX_LINE) {
            buffer[start - 1] = LEAF;
            let leaf = Hash::of(&buffer[start - 1..start + length]);
            let line = Line { index: scan.tree.size(), bytes: &buffer[start..start + length], leaf };
            if each(&line).is_break() {
                break 'reading;
            }
            scan.tree.push(leaf, length as u64 + 1);
            scan.mark(marks);
            start += length + 1;
        }
        if read == 0 || filled - start > MAX_LINE {
            break;
        }
        buffer.copy_within(start - 1..filled, 0);
        filled -= start - 1;
        start = 1;
    }
    scan.rest = rest(log, scan.tree.end())?;
    Ok(scan)
}

impl Scan {
    fn mark(&mut self, marks: &[u64]) {
        if marks.contains(&self.tree.size()) {
            self.heads.insert(self.tree.size(), self.tree.root());
        }
    }
}

/// Counts the bytes from an offset to the end.
fn rest(log: &dyn Log, from: u64) -> io::Result<u64> {
    let mut buffer = vec![0; CHUNK];
    let mut end = from;
    loop {
        match log.read_at(end, &mut buffer) {
            Ok(0) => return Ok(end - from),
            Ok(read) => end += read as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Long enough for any line.
const CHUNK: usize = 1 << 20;
