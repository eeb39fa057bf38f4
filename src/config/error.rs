//! Everything that can be wrong with what operators write: file, line, column, the line itself with a caret, and what to do about it.
//! A problem stops what it belongs to; a warning is only told. `cli/check` prints them, `reload` logs them.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

use crate::admission::Provenance;

/// One thing wrong, told to a person (`Display`) or a program (`Serialize`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub severity: Severity,
    pub file: Arc<str>,
    /// 1-based; 0 where the whole file is meant.
    pub line: u32,
    /// In characters, 1-based; 0 where the whole line is meant.
    pub column: u32,
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<Excerpt>,
}

/// The line that a problem is in, fit to be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Excerpt {
    pub text: String,
    /// Where the caret stands in `text`, in characters from 0.
    pub caret: usize,
    /// How many characters it underlines; at least one.
    pub width: usize,
}

/// Whether a problem stops anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
}

/// A text with the name it is shown under, and where its lines begin.
#[derive(Debug)]
pub struct Document {
    pub name: Arc<str>,
    pub text: String,
    lines: Vec<usize>,
}

/// A stretch of a document, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

/// A value, and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    pub value: T,
    pub span: Span,
}

impl Problem {
    /// Makes an error about a whole file, or a line of one that holds no configuration (`line` 0: the file).
    pub fn in_file(file: &Arc<str>, line: u32, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, file: file.clone(), line, column: 0, message: message.into(), help: None, excerpt: None }
    }

    /// Adds what to do.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Makes it a warning.
    pub fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Returns `file:line:column`, as far as they are known.
    pub fn place(&self) -> String {
        match (self.line, self.column) {
            (0, _) => self.file.to_string(),
            (line, 0) => Provenance { file: Arc::clone(&self.file), line }.to_string(),
            (line, column) => format!("{}:{line}:{column}", self.file),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(f, "{severity}: {}", self.message)?;
        let number = self.line.to_string();
        let gutter = " ".repeat(if self.excerpt.is_some() { number.len() } else { 1 });
        write!(f, "{gutter}--> {}", self.place())?;
        if let Some(excerpt) = &self.excerpt {
            let indent = " ".repeat(excerpt.caret);
            let carets = "^".repeat(excerpt.width);
            write!(f, "\n{gutter} |\n{number} | {}\n{gutter} | {indent}{carets}", excerpt.text)?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n{gutter} = {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

impl Document {
    /// Takes a text to be read, under the name that its problems will bear.
    pub fn new(name: impl Into<Arc<str>>, text: String) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { name: name.into(), text, lines }
    }

    /// Decodes UTF-8; a problem says where it ends to be that.
    pub fn decode(name: impl Into<Arc<str>>, bytes: Vec<u8>) -> Result<Self, Problem> {
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(name, text)),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                // The line is shown with the bad bytes replaced; what stands before them is unchanged, so the place is right.
                let lossy = Self::new(name, String::from_utf8_lossy(error.as_bytes()).into_owned());
                let span = Span { start: at, end: at + '\u{fffd}'.len_utf8() };
                Err(lossy.problem(span, "not UTF-8").help("save the file as UTF-8"))
            }
        }
    }

    /// Returns the line, 1-based, that a byte stands in.
    pub fn line(&self, at: usize) -> u32 {
        u32::try_from(self.lines.partition_point(|start| *start <= at)).unwrap_or(u32::MAX)
    }

    /// Makes an error about a stretch of the document.
    pub fn problem(&self, span: Span, message: impl Into<String>) -> Problem {
        let line = self.line(span.start);
        let start = self.lines[line as usize - 1];
        let end = self.lines.get(line as usize).map_or(self.text.len(), |next| next - 1);
        let text = self.text[start..end].trim_end_matches('\r');
        let before = self.text.get(start..span.start.min(self.text.len())).map_or(0, |before| before.chars().count());
        let width = self.text.get(span.start..span.end.clamp(span.start, start + text.len().max(span.start - start)));
        let width = width.map_or(1, |marked| marked.chars().count().max(1));
        Problem {
            severity: Severity::Error,
            file: self.name.clone(),
            line,
            column: u32::try_from(before + 1).unwrap_or(u32::MAX),
            message: message.into(),
            help: None,
            excerpt: Excerpt::of(text, before, width),
        }
    }
}

impl Excerpt {
    /// Cuts a line down to what a terminal shows, around the caret. `None` where the line may hold a secret.
    fn of(line: &str, caret: usize, width: usize) -> Option<Self> {
        if line.contains("PRIVATE KEY") {
            return None;
        }
        let from = if line.chars().count() > EXCERPT { caret.saturating_sub(EXCERPT / 2) } else { 0 };
        // Tabs as one space, so that the caret stands right; control characters would let a file paint the operator's terminal.
        let shown = line.chars().skip(from).take(EXCERPT).map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        });
        let text: String = shown.collect();
        let caret = caret - from;
        let width = width.min(text.chars().count().saturating_sub(caret)).max(1);
        Some(Self { text, caret, width })
    }
}

impl Span {
    /// Joins two stretches: from the start of the one to the end of the other.
    pub fn to(self, end: Self) -> Self {
        Self { start: self.start, end: end.end }
    }
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

impl<T> At<T> {
    /// Keeps the place, changes the value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> At<U> {
        At { value: change(self.value), span: self.span }
    }
}

/// Of all the names, returns the one that was probably meant.
pub fn nearest<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_lowercase().replace('-', "_");
    let far = (given.chars().count() / 3).clamp(1, 3);
    let distances = names.into_iter().map(|name| (distance(&given, &name.to_lowercase().replace('-', "_")), name));
    distances.filter(|(distance, _)| *distance <= far).min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// Levenshtein's distance, with the swap of two neighbours as one step.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// How many characters of a line are shown.
const EXCERPT: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_its_line_and_a_caret() {
        let document = Document::new("p.toml", "a = 1\n\tnäme = \"x\"\r\nb = 2".to_owned());
        let start = document.text.find("\"x\"").expect("present");
        let problem = document.problem(Span { start, end: start + 3 }, "bad value").help("write it well");
        let wanted = "error: bad value\n --> p.toml:2:9\n  |\n2 |  näme = \"x\"\n  |         ^^^\n  = write it well";
        assert_eq!(problem.to_string(), wanted);
        let json = serde_json::to_value(&problem).expect("plain data");
        assert_eq!((json["line"].as_u64(), json["column"].as_u64(), json["severity"].as_str()), (Some(2), Some(9), Some("error")));
    }

    #[test]
    fn an_entry_of_the_ledger_is_a_place_by_its_words() {
        let entry = Provenance::ledger(36);
        assert_eq!(Problem::in_file(&entry.file, entry.line, "m").place(), "ledger entry 36");
        assert_eq!(Problem::in_file(&"a.pem".into(), 36, "m").place(), "a.pem:36");
    }

    #[test]
    fn a_caret_stands_at_the_end_of_the_file_and_in_long_lines() {
        let document = Document::new("p.toml", "a =".to_owned());
        let problem = document.problem(Span { start: 3, end: 3 }, "m");
        assert_eq!((problem.line, problem.column), (1, 4));
        assert_eq!(problem.excerpt.map(|excerpt| (excerpt.caret, excerpt.width)), Some((3, 1)));
        let long = Document::new("p.toml", format!("{}X{}", "a".repeat(1000), "b".repeat(1000)));
        let excerpt = long.problem(Span { start: 1000, end: 1001 }, "m").excerpt.expect("shown");
        assert_eq!(excerpt.text.chars().nth(excerpt.caret), Some('X'));
        assert_eq!(excerpt.text.chars().count(), EXCERPT);
        let over = Document::new("p.toml", "a = '''x\ny'''\n".to_owned());
        assert_eq!(over.problem(Span { start: 4, end: 13 }, "m").excerpt.map(|excerpt| excerpt.width), Some(4));
    }

    #[test]
    fn a_secret_or_a_control_character_is_not_shown() {
        let document = Document::new("p.toml", "a = \"-----BEGIN PRIVATE KEY-----\"\nb\u{1b} = 1".to_owned());
        assert_eq!(document.problem(Span { start: 0, end: 1 }, "m").excerpt, None);
        let start = document.text.find('b').expect("present");
        assert!(!document.problem(Span { start, end: start + 1 }, "m").to_string().contains('\u{1b}'));
    }

    #[test]
    fn bytes_that_are_no_utf8_are_placed() {
        let problem = Document::decode("p.toml", b"a = 1\nb = \"\xff\"".to_vec()).expect_err("not UTF-8");
        assert_eq!((problem.line, problem.column), (2, 6));
    }

    #[test]
    fn the_nearest_name_is_found() {
        let names = ["address", "client_auth", "name", "http2"];
        let cases =
            [("adress", Some("address")), ("client-auth", Some("client_auth")), ("nmae", Some("name")), ("zebra", None), ("x", None)];
        for (given, wanted) in cases {
            assert_eq!(nearest(given, names), wanted, "{given}");
        }
    }
}
