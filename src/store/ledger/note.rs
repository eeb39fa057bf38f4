//! C2SP signed notes: a text, a blank line, signatures. Ed25519 only; lines of keys that we do not know (witnesses) are
//! passed over, as the standard demands.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::tree::Hash;
use crate::pki::hex;

/// Why a text is no note of ours, or no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotANote {
    Form,
    Key,
    Signature,
    Unsigned,
}

impl fmt::Display for NotANote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "is no signed note (C2SP signed-note)",
            Self::Key => "is no Ed25519 key of a note: NAME+ID+BASE64",
            Self::Signature => "bears a signature that is wrong",
            Self::Unsigned => "is not signed by this ledger's key",
        })
    }
}

impl std::error::Error for NotANote {}

/// The public half of a ledger's key; `NAME+ID+BASE64` in text.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    id: [u8; 4],
    key: [u8; 32],
}

impl Verifier {
    fn new(name: &str, key: [u8; 32]) -> Self {
        // C2SP signed-note: SHA-256(name || 0x0A || signature type || public key), its first four bytes.
        let named = [name.as_bytes(), &[b'\n', ED25519_TYPE], &key].concat();
        let [a, b, c, d, ..] = Hash::of(&named).0;
        Self { name: name.to_owned(), id: [a, b, c, d], key }
    }

    /// Returns the name: the origin of the log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the text of a note that this key signed.
    pub(super) fn open<'a>(&self, note: &'a str) -> Result<&'a str, NotANote> {
        if note.len() > MAX_NOTE || note.bytes().any(|byte| byte < b' ' && byte != b'\n') {
            return Err(NotANote::Form);
        }
        let (text, signatures) = note.rfind("\n\n").map(|at| (&note[..=at], &note[at + 2..])).ok_or(NotANote::Form)?;
        let mut signed = false;
        for line in signatures.strip_suffix('\n').ok_or(NotANote::Form)?.split('\n') {
            let (name, signature) = line.strip_prefix("\u{2014} ").and_then(|rest| rest.split_once(' ')).ok_or(NotANote::Form)?;
            let signature = STANDARD.decode(signature).map_err(|_| NotANote::Form)?;
            let (id, signature) = signature.split_at_checked(4).ok_or(NotANote::Form)?;
            if name.is_empty() || signature.is_empty() {
                return Err(NotANote::Form);
            }
            if name == self.name && id == self.id {
                let key = UnparsedPublicKey::new(&ED25519, &self.key);
                key.verify(text.as_bytes(), signature).map_err(|_| NotANote::Signature)?;
                signed = true;
            }
        }
        if signed { Ok(text) } else { Err(NotANote::Unsigned) }
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = STANDARD.encode([&[ED25519_TYPE], self.key.as_slice()].concat());
        write!(f, "{}+{}+{key}", self.name, hex::lower(&self.id))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Verifier {
    type Err = NotANote;

    fn from_str(text: &str) -> Result<Self, NotANote> {
        let (name, id, key) = parts(text)?;
        let verifier = Self::new(name, key);
        (hex::lower(&verifier.id) == id).then_some(verifier).ok_or(NotANote::Key)
    }
}

/// The private half.
pub(super) struct Signer {
    pair: Ed25519KeyPair,
    seed: [u8; 32],
    verifier: Verifier,
}

impl Signer {
    /// Makes a key from 32 random bytes.
    pub(super) fn new(name: &str, seed: [u8; 32]) -> Result<Self, NotANote> {
        if !is_name(name) {
            return Err(NotANote::Key);
        }
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| NotANote::Key)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| NotANote::Key)?;
        Ok(Self { pair, seed, verifier: Verifier::new(name, public) })
    }

    pub(super) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Signs a text that ends in a newline.
    pub(super) fn sign(&self, text: &str) -> String {
        let signature = [&self.verifier.id, self.pair.sign(text.as_bytes()).as_ref()].concat();
        format!("{text}\n\u{2014} {} {}\n", self.verifier.name, STANDARD.encode(signature))
    }

    /// Reads a key as [`Signer::to_secret`] wrote it.
    pub(super) fn parse(text: &str) -> Result<Self, NotANote> {
        let (name, id, seed) = parts(text.trim_end().strip_prefix(PRIVATE).ok_or(NotANote::Key)?)?;
        let signer = Self::new(name, seed)?;
        (hex::lower(&signer.verifier.id) == id).then_some(signer).ok_or(NotANote::Key)
    }

    /// Writes the key as Go's `sumdb/note` does: for the key file, and for nothing else.
    pub(super) fn to_secret(&self) -> String {
        let seed = STANDARD.encode([&[ED25519_TYPE], self.seed.as_slice()].concat());
        format!("{PRIVATE}{}+{}+{seed}\n", self.verifier.name, hex::lower(&self.verifier.id))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.verifier)
    }
}

/// Tells whether a text may name a key. C2SP signed-note: not empty, no Unicode space, no plus; we allow no controls either.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

fn parts(text: &str) -> Result<(&str, &str, [u8; 32]), NotANote> {
    let mut parts = text.trim_end().splitn(3, '+');
    let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else { return Err(NotANote::Key) };
    match STANDARD.decode(key).map_err(|_| NotANote::Key)?.split_first() {
        Some((&ED25519_TYPE, key)) if is_name(name) => Ok((name, id, key.try_into().map_err(|_| NotANote::Key)?)),
        _ => Err(NotANote::Key),
    }
}

/// C2SP signed-note: the type of plain Ed25519 signatures.
const ED25519_TYPE: u8 = 1;
const PRIVATE: &str = "PRIVATE+KEY+";
/// Room for a checkpoint with sixteen post-quantum cosignatures, and more.
pub(super) const MAX_NOTE: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// Key and note of Go's golang.org/x/mod/sumdb/note examples.
    const GO_KEY: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const GO_VERIFIER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const GO_NOTE: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn keys_and_notes_are_those_of_the_go_module() {
        let signer = Signer::parse(GO_KEY).unwrap();
        assert_eq!(signer.verifier().to_string(), GO_VERIFIER);
        assert_eq!(signer.to_secret().trim_end(), GO_KEY);
        let verifier: Verifier = GO_VERIFIER.parse().unwrap();
        let text = verifier.open(GO_NOTE).unwrap();
        assert_eq!(signer.sign(text), GO_NOTE);
    }

    #[test]
    fn a_note_is_signed_by_this_key_or_is_none() {
        let verifier: Verifier = GO_VERIFIER.parse().unwrap();
        let witness = Signer::new("witness.example", [7; 32]).unwrap();
        let signed = format!("{GO_NOTE}{}", witness.sign("another text\n").rsplit_once("\n\n").unwrap().1);
        assert!(verifier.open(&signed).is_ok(), "the lines of unknown keys are passed over, right or wrong");
        for (note, why) in [
            (GO_NOTE.replace("problem is", "problem was"), NotANote::Signature),
            (GO_NOTE.replace("PeterNeumann ", "PeterPan "), NotANote::Unsigned),
            (GO_NOTE.trim_end().to_owned(), NotANote::Form),
            (GO_NOTE.replace("\n\n", "\n"), NotANote::Form),
            (GO_NOTE.replace('\u{2014}', "-"), NotANote::Form),
            (GO_NOTE.replace("your", "your\t"), NotANote::Form),
            (GO_NOTE.replace("JnAM=", "JnAM"), NotANote::Form),
            (format!("{GO_NOTE}\n"), NotANote::Form),
            (String::new(), NotANote::Form),
        ] {
            assert_eq!(verifier.open(&note), Err(why), "{note}");
        }
    }

    #[test]
    fn a_key_says_its_own_id() {
        for text in
            [GO_VERIFIER.replace("c74", "d74"), GO_VERIFIER.replace("ARpc", "Ahpc"), GO_VERIFIER.replace("ARpc", ""), "a+b".to_owned()]
        {
            assert_eq!(text.parse::<Verifier>(), Err(NotANote::Key), "{text}");
        }
        assert!(Signer::new("two words", [0; 32]).is_err() && Signer::new("a+b", [0; 32]).is_err());
    }
}
