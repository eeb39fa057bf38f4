//! Words of a fixed set: what each means, or why it is refused. `reader` asks for those that a key takes.

use super::error::nearest;

/// What one word of a fixed set means, or why it is refused.
pub(super) type Words<T> = [(&'static str, Result<T, &'static str>)];

/// Finds the meaning of a word.
pub(super) fn one_of<T: Clone>(text: &str, words: &Words<T>) -> Result<T, String> {
    match words.iter().find(|(word, _)| *word == text) {
        Some((_, Ok(meaning))) => Ok(meaning.clone()),
        Some((_, Err(why))) => Err(format!("\"{text}\" {why}")),
        None => {
            let usable = || words.iter().filter(|(_, meaning)| meaning.is_ok()).map(|(word, _)| *word);
            let list = usable().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
            let meant = nearest(text, usable()).map(|meant| format!("; did you mean \"{meant}\"?")).unwrap_or_default();
            Err(format!("\"{text}\" is none of {list}{meant}"))
        }
    }
}

/// What is said of a word that stands in the contract, and whose feature comes later.
pub(super) const LATER: &str = "is not in this version";
