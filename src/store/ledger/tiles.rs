//! C2SP tlog-tiles: the tree and the entries as files of 256 each, which existing monitors and verifiers read.

use std::path::{Path, PathBuf};

use super::tree::{Hash, Tree, WIDTH};

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Entries,
    Hashes(usize),
}

/// Returns where a tile stands: `tile/<level or "entries">/x001/x234/067[.p/<width>]`.
pub(super) fn path(ledger: &Path, kind: Kind, number: u64, width: u64) -> PathBuf {
    let mut path = ledger.join("tile").join(match kind {
        Kind::Entries => "entries".to_owned(),
        Kind::Hashes(level) => level.to_string(),
    });
    let mut groups = vec![format!("{:03}", number % 1_000)];
    let mut rest = number / 1_000;
    while rest > 0 {
        groups.push(format!("x{:03}", rest % 1_000));
        rest /= 1_000;
    }
    let last = groups.remove(0);
    path.extend(groups.iter().rev());
    if width == WIDTH { path.join(last) } else { path.join(format!("{last}.p")).join(width.to_string()) }
}

/// Returns the bytes of a tile of hashes.
pub(super) fn hashes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// Returns the bytes of an entry bundle: each entry after its length, in 16 bits.
pub(super) fn entries<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bundle = Vec::new();
    for line in lines {
        // INVARIANT: no line is longer (MAX_LINE).
        bundle.extend_from_slice(&u16::try_from(line.len()).unwrap_or(u16::MAX).to_be_bytes());
        bundle.extend_from_slice(line);
    }
    bundle
}

/// Returns the tiles above level 0 of a tree, each with its number and its hashes; the last of a level may be partial.
pub(super) fn above(tree: &Tree) -> impl Iterator<Item = (Kind, u64, &[Hash])> {
    let levels = (1..).map_while(|level| Some((level, tree.level(level))).filter(|(_, hashes)| !hashes.is_empty()));
    levels.flat_map(|(level, hashes)| {
        let tiles = hashes.chunks(WIDTH as usize).enumerate();
        tiles.map(move |(number, hashes)| (Kind::Hashes(level), number as u64, hashes))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_stand_where_the_standard_says() {
        for (kind, number, width, expected) in [
            (Kind::Hashes(0), 1_234_067, 256, "l/tile/0/x001/x234/067"),
            (Kind::Hashes(1), 0, 17, "l/tile/1/000.p/17"),
            (Kind::Hashes(0), 273, 112, "l/tile/0/273.p/112"),
            (Kind::Entries, 1_000, 256, "l/tile/entries/x001/000"),
        ] {
            assert_eq!(path(Path::new("l"), kind, number, width), Path::new(expected));
        }
    }
}
