//! The Merkle tree of RFC 6962: hashes, head, and the path from a leaf to it. In memory stands what 256 leaves hash to, and
//! where they begin in the log; the leaves themselves are read again when one is asked for.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A node or leaf of the tree.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub(super) [u8; 32]);

impl Hash {
    /// Returns the digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub fn of(bytes: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self(hash)
    }

    /// Hashes an entry. RFC 6962, 2.1: MTH({d}) = SHA-256(0x00 || d).
    pub(super) fn leaf(entry: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(1 + entry.len());
        bytes.push(LEAF);
        bytes.extend_from_slice(entry);
        Self::of(&bytes)
    }

    /// Hashes two halves. RFC 6962, 2.1: SHA-256(0x01 || left || right).
    pub(super) fn node(left: &Self, right: &Self) -> Self {
        let mut bytes = [NODE; 65];
        bytes[1..33].copy_from_slice(&left.0);
        bytes[33..].copy_from_slice(&right.0);
        Self::of(&bytes)
    }

    /// Reads base64 of 32 bytes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        STANDARD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

/// Base64, as checkpoints and receipts have it.
impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A log's tree, and where its blocks of 256 entries begin.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    size: u64,
    /// Where the next entry will be written.
    end: u64,
    /// Where each block begins; the last may be incomplete, or not begun.
    blocks: Vec<u64>,
    /// `levels[0]`: leaves of the block under way. `levels[l]`, l > 0: the hash of each complete run of 256^l leaves.
    levels: Vec<Vec<Hash>>,
}

/// The leaves of a block that is no longer in memory.
pub(super) type Block<'a> = Option<(u64, &'a [Hash])>;

impl Tree {
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Takes on an entry whose line, with its newline, has `length` bytes.
    pub(super) fn push(&mut self, leaf: Hash, length: u64) {
        if self.levels.is_empty() {
            self.levels.push(Vec::new());
            self.blocks.push(0);
        }
        self.size += 1;
        self.end += length;
        self.levels[0].push(leaf);
        if self.levels[0].len() as u64 == WIDTH {
            let mut full = merkle(&self.levels[0]);
            self.levels[0].clear();
            self.blocks.push(self.end);
            for level in 1.. {
                if self.levels.len() == level {
                    self.levels.push(Vec::new());
                }
                let hashes = &mut self.levels[level];
                hashes.push(full);
                if !(hashes.len() as u64).is_multiple_of(WIDTH) {
                    break;
                }
                full = merkle(&hashes[hashes.len() - WIDTH as usize..]);
            }
        }
    }

    /// Returns where a block's bytes are, and how many entries they hold.
    pub(super) fn block(&self, number: u64) -> Option<(std::ops::Range<u64>, u64)> {
        let at = usize::try_from(number).ok()?;
        let start = *self.blocks.get(at)?;
        let end = self.blocks.get(at + 1).copied().unwrap_or(self.end);
        let count = WIDTH.min(self.size - number * WIDTH);
        (count > 0).then_some((start..end, count))
    }

    /// Returns what a complete block hashes to; of the block under way, what it hashes to so far.
    pub(super) fn block_hash(&self, number: u64) -> Option<Hash> {
        let complete = self.level(1).get(usize::try_from(number).ok()?).copied();
        complete.or_else(|| (number == self.size / WIDTH && !self.size.is_multiple_of(WIDTH)).then(|| merkle(self.level(0))))
    }

    /// Returns the hashes of a level that stand in memory: of level 0, the leaves of the block under way.
    pub(super) fn level(&self, level: usize) -> &[Hash] {
        self.levels.get(level).map_or(&[], Vec::as_slice)
    }

    /// Returns the head. RFC 6962, 2.1: MTH({}) = SHA-256().
    pub(super) fn root(&self) -> Hash {
        // INVARIANT: the head needs no leaves but those of the block under way.
        if self.size == 0 { Hash::of(&[]) } else { self.range(0, self.size, None).unwrap_or(Hash([0; 32])) }
    }

    /// Returns the path from a leaf to the head (RFC 6962, 2.1.1), given the leaves of its block.
    pub(super) fn path(&self, index: u64, block: Block<'_>) -> Option<Vec<Hash>> {
        let mut path = Vec::new();
        let (mut low, mut high) = (0, self.size);
        if index >= high {
            return None;
        }
        while high - low > 1 {
            let middle = low + split(high - low);
            if index < middle {
                path.push(self.range(middle, high, block)?);
                high = middle;
            } else {
                path.push(self.range(low, middle, block)?);
                low = middle;
            }
        }
        path.reverse();
        Some(path)
    }

    fn range(&self, low: u64, high: u64, block: Block<'_>) -> Option<Hash> {
        let count = high - low;
        if count == 1 {
            return self.leaf(low, block);
        }
        if count >= WIDTH && count.is_power_of_two() && low.is_multiple_of(count) {
            let level = count.trailing_zeros() / 8;
            let span = WIDTH.pow(level);
            let hashes = self.level(level as usize).get(usize::try_from(low / span).ok()?..usize::try_from(high / span).ok()?)?;
            return Some(merkle(hashes));
        }
        let middle = low + split(count);
        Some(Hash::node(&self.range(low, middle, block)?, &self.range(middle, high, block)?))
    }

    fn leaf(&self, index: u64, block: Block<'_>) -> Option<Hash> {
        let (number, at) = (index / WIDTH, usize::try_from(index % WIDTH).ok()?);
        match block {
            Some((loaded, leaves)) if loaded == number => leaves.get(at).copied(),
            _ if number == self.size / WIDTH => self.level(0).get(at).copied(),
            _ => None,
        }
    }
}

/// Returns the head of some hashes taken as leaves.
pub(super) fn merkle(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => Hash::of(&[]),
        [hash] => *hash,
        [left, right] => Hash::node(left, right),
        many => {
            let (left, right) = many.split_at(split(many.len() as u64) as usize);
            Hash::node(&merkle(left), &merkle(right))
        }
    }
}

/// Returns the head that a leaf and its path lead to. RFC 9162, 2.1.3.2.
pub(super) fn climb(leaf: Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, leaf);
    for step in path {
        if last == 0 {
            return None;
        }
        if node & 1 == 1 || node == last {
            hash = Hash::node(step, &hash);
            // RFC 9162: up to where the node is a right child, or the first of its level.
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = Hash::node(&hash, step);
        }
        node >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}

/// RFC 6962, 2.1: the largest power of two smaller than n, for n > 1.
fn split(count: u64) -> u64 {
    1 << (63 - (count - 1).leading_zeros())
}

/// How many leaves a block, and how many hashes a tile has: as C2SP tlog-tiles.
pub(super) const WIDTH: u64 = 256;
pub(super) const LEAF: u8 = 0;
const NODE: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|index| Hash::leaf(&index.to_be_bytes())).collect()
    }

    fn tree(leaves: &[Hash]) -> Tree {
        let mut tree = Tree::default();
        leaves.iter().for_each(|leaf| tree.push(*leaf, 10));
        tree
    }

    #[test]
    fn heads_are_those_of_the_certificate_transparency_test_vectors() {
        let entries: [&[u8]; 8] = [
            &[],
            &[0x00],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
        ];
        let heads = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        for (size, head) in heads.iter().enumerate() {
            let leaves: Vec<Hash> = entries[..size].iter().map(|entry| Hash::leaf(entry)).collect();
            assert_eq!(crate::pki::hex::lower(&tree(&leaves).root().0), *head, "{size}");
        }
    }

    #[test]
    fn the_head_is_that_of_the_definition_at_every_size() {
        let leaves = leaves(1_100);
        let mut tree = Tree::default();
        for (size, leaf) in leaves.iter().enumerate() {
            assert_eq!(tree.root(), merkle(&leaves[..size]));
            tree.push(*leaf, 10);
        }
        let leaves = self::leaves(70_000);
        assert_eq!(self::tree(&leaves).root(), merkle(&leaves), "three levels of tiles");
    }

    #[test]
    fn a_path_leads_to_the_head_and_to_no_other() {
        for size in [1, 2, 3, 255, 256, 257, 511, 512, 513, 66_000] {
            let leaves = leaves(size);
            let tree = tree(&leaves);
            for index in [0, 1, size / 3, size / 2, size.saturating_sub(2), size - 1].into_iter().filter(|index| *index < size) {
                let start = (index - index % WIDTH) as usize;
                let block = &leaves[start..leaves.len().min(start + WIDTH as usize)];
                let path = tree.path(index, Some((index / WIDTH, block))).unwrap();
                assert_eq!(climb(leaves[index as usize], index, size, &path), Some(tree.root()), "{index} of {size}");
                assert_ne!(climb(Hash::leaf(b"another"), index, size, &path), Some(tree.root()));
                for other in [index + 1, index ^ 1, size - 1 - index].into_iter().filter(|other| *other != index && *other < size) {
                    assert_ne!(climb(leaves[index as usize], other, size, &path), Some(tree.root()), "{index} as {other} of {size}");
                }
                let longer: Vec<Hash> = path.iter().copied().chain([tree.root()]).collect();
                assert_ne!(climb(leaves[index as usize], index, size, &longer), Some(tree.root()));
                if let Some((_, shorter)) = path.split_last() {
                    assert_eq!(climb(leaves[index as usize], index, size, shorter), None);
                }
            }
            assert_eq!(tree.path(size, None), None);
        }
    }

    #[test]
    fn blocks_are_where_their_entries_are() {
        let tree = tree(&leaves(600));
        assert_eq!(tree.block(0), Some((0..2_560, 256)));
        assert_eq!(tree.block(2), Some((5_120..6_000, 88)));
        assert_eq!(tree.block(3), None);
        assert_eq!(self::tree(&leaves(256)).block(1), None, "not begun");
    }
}
