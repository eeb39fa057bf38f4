//! What the files of an allowlist hold, as entries: certificates, or a fingerprint a line. Takes bytes; `allowlist` gives the
//! entries their names and terms.

use std::time::Duration;

use crate::admission::{Pin, PrincipalName};
use crate::clock;
use crate::pki::certificate::ExtendedKeyUsage;
use crate::pki::{Certificate, FileError, Fingerprint, files};

/// One certificate that is let in.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) pin: Pin,
    /// As the line says; `None`: the file's name decides.
    pub(super) name: Option<PrincipalName>,
    pub(super) line: u32,
}

/// The entries of a file, and what is odd about them.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) entries: Vec<Entry>,
    /// Line and words.
    pub(super) warnings: Vec<(u32, String)>,
    /// When the first of its certificates ends, in seconds since the epoch; of fingerprints nobody knows.
    pub(super) ends: Option<u64>,
}

/// Reads a file of certificates. One that cannot be a pin refuses the file, by its line.
pub(super) fn certificates(bytes: &[u8], allow_any_eku: bool) -> Result<Listing, FileError> {
    if bytes.len() > PARSED_WHOLE {
        return many_certificates(bytes, allow_any_eku);
    }
    let mut listing = Listing::default();
    let now = clock::wall();
    for found in files::certificates(bytes, None)? {
        check_usage(found.value.extended_key_usage.as_ref(), allow_any_eku, found.line)?;
        listing.warnings.extend(validity(&found.value, now).map(|words| (found.line, words)));
        listing.ends = listing.ends.into_iter().chain([found.value.not_after]).min();
        listing.entries.push(Entry { pin: Pin::from(&found.value), name: None, line: found.line });
    }
    Ok(listing)
}

/// Reads what a pin needs and no more.
fn many_certificates(bytes: &[u8], allow_any_eku: bool) -> Result<Listing, FileError> {
    let found = files::pins(bytes, None)?;
    let mut entries = Vec::with_capacity(found.len());
    let ends = found.iter().filter_map(|found| found.value.not_after).min();
    for found in found {
        check_usage(found.value.extended_key_usage.as_ref(), allow_any_eku, found.line)?;
        entries.push(Entry { pin: Pin::from(found.value.fingerprint), name: None, line: found.line });
    }
    Ok(Listing { entries, warnings: Vec::new(), ends })
}

/// Reads a fingerprint a line, with a name behind it if wanted. An empty list has to be meant: a line that says `none`.
pub(super) fn fingerprints(bytes: &[u8], prefix: &str) -> Result<Listing, FileError> {
    let text = text(bytes)?;
    let (first, second) = text.split_at(if text.len() < PARSED_WHOLE { text.len() } else { line_near(text, text.len() / 2) });
    let (first, second) = std::thread::scope(|scope| {
        let other = (!second.is_empty()).then(|| {
            let before = u32::try_from(line_ends(first)).unwrap_or(u32::MAX);
            scope.spawn(move || part_of_fingerprints(second, before, prefix))
        });
        let first = part_of_fingerprints(first, 0, prefix);
        let died = || Err(FileError { line: 0, why: "a thread that read the file died".to_owned() });
        (first, other.map(|other| other.join().unwrap_or_else(|_| died())))
    });
    let (mut entries, mut none) = first?;
    if let Some(second) = second {
        let (more, also) = second?;
        entries.extend(more);
        none |= also;
    }
    match (entries.is_empty(), none) {
        (true, false) => Err(FileError { line: 0, why: "the file is empty; a line with `none` says that nobody is meant".to_owned() }),
        (false, true) => Err(FileError { line: 0, why: "the file says `none` beside fingerprints".to_owned() }),
        (true, true) | (false, false) => Ok(Listing { entries, warnings: Vec::new(), ends: None }),
    }
}

/// Returns the entries of some lines, and whether one of those says `none`.
fn part_of_fingerprints(text: &str, before: u32, prefix: &str) -> Result<(Vec<Entry>, bool), FileError> {
    let mut entries = Vec::with_capacity(text.len() / 65);
    let mut none = false;
    for (number, line) in lines(text) {
        let number = number.saturating_add(before);
        if line == "none" {
            none = true;
            continue;
        }
        let (digits, name) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let fingerprint: Fingerprint = digits.parse().map_err(|_| {
            let why = format!("`{}` is no fingerprint: write \"sha256:\" and 64 hex digits, then a name if wanted", shorten(digits));
            FileError { line: number, why }
        })?;
        let name = match name.trim() {
            "" => None,
            name => {
                let parsed = format!("{prefix}{name}").parse();
                Some(parsed.map_err(|why| FileError { line: number, why: format!("`{}` {why}", shorten(name)) })?)
            }
        };
        entries.push(Entry { pin: Pin::from(fingerprint), name, line: number });
    }
    Ok((entries, none))
}

/// Returns where the line behind a place begins.
fn line_near(text: &str, place: usize) -> usize {
    // Bytes: the place may lie within a character, the end of a line does not.
    text.as_bytes()[place..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |at| place + at + 1)
}

fn line_ends(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

/// Returns the lines that say something, with their numbers: comments, blanks and a byte order mark do not.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (u32, &str)> {
    let numbered = text.strip_prefix('\u{feff}').unwrap_or(text).lines().zip(1..);
    numbered.map(|(line, number)| (number, line.split_once('#').map_or(line, |(line, _)| line).trim())).filter(|(_, line)| !line.is_empty())
}

/// Decodes a text file.
pub(super) fn text(bytes: &[u8]) -> Result<&str, FileError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        FileError { line: u32::try_from(line).unwrap_or(u32::MAX), why: "not a text file: save it as UTF-8".to_owned() }
    })
}

/// Cuts what a message repeats: the file may be anything.
pub(super) fn shorten(text: &str) -> String {
    let clean = text.chars().take(80).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect::<String>();
    if clean.len() < text.len() { clean + "…" } else { clean }
}

/// Says what time makes of a certificate, if it admits nobody now.
pub fn validity(certificate: &Certificate, now: Duration) -> Option<String> {
    if now.as_secs() > certificate.not_after {
        Some("this certificate has expired: it admits nobody".to_owned())
    } else if now.as_secs() < certificate.not_before {
        Some("this certificate is not valid yet: it admits nobody until then".to_owned())
    } else {
        None
    }
}

fn check_usage(usage: Option<&ExtendedKeyUsage>, allow_any_eku: bool, line: u32) -> Result<(), FileError> {
    match usage {
        Some(usage) if !usage.client_auth && !usage.any && !allow_any_eku => {
            let why =
                "this certificate's extendedKeyUsage lists neither clientAuth nor anyExtendedKeyUsage; allow_any_eku = true lets it pass";
            Err(FileError { line, why: why.to_owned() })
        }
        Some(_) | None => Ok(()),
    }
}

/// Up to here (some thousand certificates) all of a certificate is read, so that a denial can say how a stranger relates to it; and
/// up to here fingerprints are read on one core.
const PARSED_WHOLE: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_with_their_names() {
        let (a, b) = ("ab".repeat(32), "CD".repeat(32));
        let text = format!("\u{feff}# partners\n\n{a}\r\nsha256:{b}\tacme/one # the first\n");
        let listing = fingerprints(text.as_bytes(), "p/").expect("good");
        let found: Vec<_> = listing.entries.iter().map(|entry| (entry.line, entry.name.as_ref().map(ToString::to_string))).collect();
        assert_eq!(found, [(3, None), (4, Some("p/acme/one".to_owned()))]);
    }

    #[test]
    fn a_long_list_keeps_its_order_and_its_lines() {
        let many = PARSED_WHOLE / 65 + 2;
        let line = |number: usize| format!("{} c{number}\n", Fingerprint::of(&number.to_be_bytes()));
        let text: String = (0..many).map(line).collect();
        let listing = fingerprints(text.as_bytes(), "").expect("good");
        assert_eq!(listing.entries.len(), many);
        for (number, entry) in listing.entries.iter().enumerate() {
            assert_eq!((entry.line as usize, entry.pin), (number + 1, Fingerprint::of(&number.to_be_bytes()).into()));
        }
        let error = fingerprints(format!("{text}wrong\n").as_bytes(), "").expect_err("the last line");
        assert_eq!(error.line as usize, many + 1);
    }

    #[test]
    fn a_bad_line_refuses_the_file_by_its_number() {
        let a = "ab".repeat(32);
        let cases = [
            (String::new(), (0, "the file is empty")),
            ("\u{feff}\n  \n# only a comment\n".to_owned(), (0, "the file is empty")),
            (format!("{a}\n{}", &a[1..]), (2, "`bab")),
            (format!("{a} a b"), (1, "`a b` is no principal name")),
            (format!("{a}\nnone\n"), (0, "the file says `none` beside")),
            ("x".repeat(100_000), (1, "`xxx")),
        ];
        for (text, (line, why)) in cases {
            let error = fingerprints(text.as_bytes(), "").expect_err(&text);
            assert!(error.line == line && error.why.starts_with(why) && error.why.len() < 300, "{error:?}");
        }
        assert_eq!(fingerprints(b"none\n", "").expect("meant").entries.len(), 0);
        assert_eq!(fingerprints(b"\xff\xfe\n\x00", "").expect_err("binary").line, 1);
    }
}
