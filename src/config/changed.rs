//! Which sources are others than those in force: for the log, so that whoever changed a file reads that it was taken up.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::pki::Fingerprint;

/// The content of one source.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) name: String,
    /// `None`: it never was good.
    pub(super) hash: Option<Fingerprint>,
    /// Of a directory: its files that are others than those in force.
    pub(super) files: Vec<PathBuf>,
}

impl Part {
    pub(super) fn of(name: impl Into<String>, hash: Option<Fingerprint>) -> Self {
        Self { name: name.into(), hash, files: Vec::new() }
    }

    /// Tells one content of all parts from another.
    pub(super) fn identity(parts: &[Self]) -> Fingerprint {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.hash.as_ref().map_or([0; 32], |hash| *hash.as_bytes())).collect();
        Fingerprint::of(&bytes)
    }

    /// Names what came, went or has other content, each once.
    pub(super) fn changed(before: &[Self], after: &[Self]) -> Vec<String> {
        let by_name = |parts: &'_ [Self]| parts.iter().map(|part| (part.name.clone(), part.hash)).collect::<BTreeMap<_, _>>();
        let (then, now) = (by_name(before), by_name(after));
        let mut changed = Vec::new();
        for part in after.iter().filter(|part| then.get(&part.name) != Some(&part.hash)) {
            match part.files.is_empty() {
                true => changed.push(part.name.clone()),
                false => changed.extend(part.files.iter().map(|file| file.display().to_string())),
            }
        }
        changed.extend(then.into_keys().filter(|name| !now.contains_key(name)));
        changed.sort();
        changed.dedup();
        changed
    }
}

/// The first few, and how many more there are.
pub fn some(names: &[String]) -> String {
    match names.len().saturating_sub(SOME) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names[..SOME].join(", ")),
    }
}

const SOME: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, content: &str) -> Part {
        Part::of(name, Some(Fingerprint::of(content.as_bytes())))
    }

    #[test]
    fn what_came_went_or_has_other_content_is_named_once() {
        let before = [part("a.pem", "1"), part("a.pem", "1"), part("b.pem", "1"), part("list/", "1")];
        let list = Part { files: vec!["list/new.pem".into(), "list/gone.pem".into()], ..part("list/", "2") };
        let after = [part("a.pem", "1"), part("c.pem", "1"), list];
        assert_eq!(Part::changed(&before, &after), ["b.pem", "c.pem", "list/gone.pem", "list/new.pem"]);
        assert!(Part::changed(&after, &after).is_empty());
        assert_ne!(Part::identity(&before), Part::identity(&after));
    }

    #[test]
    fn a_log_line_names_a_few() {
        let names: Vec<String> = (1..=7).map(|number| number.to_string()).collect();
        assert_eq!(some(&names), "1, 2, 3, 4, 5 and 2 more");
        assert_eq!((some(&names[..5]).as_str(), some(&[]).as_str()), ("1, 2, 3, 4, 5", ""));
    }
}
