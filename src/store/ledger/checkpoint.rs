//! A checkpoint: origin, size and head of the tree, as C2SP tlog-checkpoint writes them into a signed note.

use super::note::{NotANote, Signer, Verifier};
use super::tree::Hash;

/// What a log says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub origin: String,
    pub size: u64,
    pub root: Hash,
}

impl Checkpoint {
    /// Returns the signed note.
    pub(super) fn sign(&self, signer: &Signer) -> String {
        signer.sign(&format!("{}\n{}\n{}\n", self.origin, self.size, self.root))
    }

    /// Reads a note that this key signed, of the log that bears its name.
    pub fn open(note: &str, verifier: &Verifier) -> Result<Self, NotANote> {
        let checkpoint = Self::parse(verifier.open(note)?).ok_or(NotANote::Form)?;
        // A key signs for one log: the checkpoint of another one proves nothing here.
        if checkpoint.origin == verifier.name() { Ok(checkpoint) } else { Err(NotANote::Unsigned) }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let origin = lines.next().filter(|origin| !origin.is_empty())?.to_owned();
        let size = number(lines.next()?)?;
        let root = Hash::parse(lines.next()?)?;
        // C2SP tlog-checkpoint: extension lines are opaque, but not empty.
        lines.all(|line| !line.is_empty()).then_some(Self { origin, size, root })
    }
}

/// Reads ASCII decimals without leading zeroes.
pub(super) fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_read_as_it_was_written() {
        let signer = Signer::new("example.com/log", [1; 32]).unwrap();
        let checkpoint = Checkpoint { origin: "example.com/log".to_owned(), size: 42, root: Hash::of(b"x") };
        let note = checkpoint.sign(&signer);
        assert_eq!(Checkpoint::open(&note, signer.verifier()), Ok(checkpoint.clone()));
        let other = Checkpoint { origin: "example.com/other".to_owned(), ..checkpoint };
        assert_eq!(Checkpoint::open(&other.sign(&signer), signer.verifier()), Err(NotANote::Unsigned));
    }

    #[test]
    fn what_is_signed_but_no_checkpoint_is_refused() {
        let signer = Signer::new("o", [1; 32]).unwrap();
        let root = Hash::of(b"x");
        for text in [
            format!("o\n042\n{root}\n"),
            format!("o\n+4\n{root}\n"),
            format!("o\n\n{root}\n"),
            format!("o\n18446744073709551616\n{root}\n"),
            format!("o\n4\n{root}=\n"),
            "o\n4\nAAAA\n".to_owned(),
            "o\n4\n".to_owned(),
            format!("\n4\n{root}\n"),
            format!("o\n4\n{root}\n\nx\n"),
        ] {
            assert_eq!(Checkpoint::open(&signer.sign(&text), signer.verifier()), Err(NotANote::Form), "{text:?}");
        }
        assert!(Checkpoint::open(&signer.sign(&format!("o\n4\n{root}\nextension\n")), signer.verifier()).is_ok());
    }
}
