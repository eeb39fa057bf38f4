//! Receipts: that an entry is in the log, as a text that is verified offline (C2SP tlog-proof).

use std::fmt;

use super::checkpoint::{Checkpoint, number};
use super::note::{MAX_NOTE, NotANote, Verifier};
use super::tree::{Hash, climb};

/// Why a receipt proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotProven {
    Checkpoint(NotANote),
    Form,
    Path,
}

impl fmt::Display for NotProven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkpoint(error) => write!(f, "the checkpoint {error}"),
            Self::Form => f.write_str("this is no receipt (C2SP tlog-proof); `portcullis ledger receipt INDEX` makes one"),
            Self::Path => f.write_str(
                "the path does not lead from this entry to the checkpoint: another entry, or not in this log; \
                `portcullis ledger log --from INDEX --limit 1 --raw` has the line that it is for",
            ),
        }
    }
}

impl std::error::Error for NotProven {}

/// A receipt's parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt<'a> {
    pub index: u64,
    pub path: Vec<Hash>,
    /// The signed note, as it was given.
    pub checkpoint: &'a str,
}

impl<'a> Receipt<'a> {
    /// Reads a receipt; proves nothing yet.
    pub fn parse(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix(HEADER)?.strip_prefix('\n')?;
        let (proof, checkpoint) = rest.split_once("\n\n")?;
        let mut lines = proof.split('\n').peekable();
        // Not authenticated, so of no use to us.
        lines.next_if(|line| line.starts_with("extra "));
        let index = number(lines.next()?.strip_prefix("index ")?)?;
        let path = lines.map(Hash::parse).collect::<Option<Vec<_>>>()?;
        (path.len() <= MAX_PATH && checkpoint.len() <= MAX_NOTE).then_some(Self { index, path, checkpoint })
    }
}

impl fmt::Display for Receipt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}\nindex {}", self.index)?;
        self.path.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

/// Verifies that an entry (its line, without the newline) is in the log of this key; returns its index and the checkpoint.
pub fn verify_receipt(receipt: &str, entry: &[u8], verifier: &Verifier) -> Result<(u64, Checkpoint), NotProven> {
    let receipt = Receipt::parse(receipt).ok_or(NotProven::Form)?;
    let checkpoint = Checkpoint::open(receipt.checkpoint, verifier).map_err(NotProven::Checkpoint)?;
    let head = climb(Hash::leaf(entry), receipt.index, checkpoint.size, &receipt.path);
    if head == Some(checkpoint.root) { Ok((receipt.index, checkpoint)) } else { Err(NotProven::Path) }
}

const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// A tree of 2^64 leaves is no higher.
const MAX_PATH: usize = 64;
