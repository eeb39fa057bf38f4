//! Collects all that is wrong with one document, so that it can be said at once, and which keys exist. What its tables
//! hold is read in `table`.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use toml::de::DeTable;

use super::error::{At, Document, Problem, Span};
use super::table::Table;

/// Collects what is wrong with one document, and which keys exist.
#[derive(Debug)]
pub(super) struct Reader<'d> {
    pub(super) document: &'d Document,
    problems: RefCell<Vec<Problem>>,
    /// Lines with a syntax error: what else is said of them would only repeat it.
    broken: RefCell<BTreeSet<u32>>,
    /// Every key that was asked for: (table, key). A test compares them with `config.example.toml`.
    pub(super) asked: RefCell<BTreeSet<(String, &'static str)>>,
    /// Every file that is named.
    pub(super) files: RefCell<Vec<At<String>>>,
}

impl<'d> Reader<'d> {
    pub(super) fn new(document: &'d Document) -> Self {
        Self { document, problems: RefCell::default(), broken: RefCell::default(), asked: RefCell::default(), files: RefCell::default() }
    }

    /// Notes an error about a stretch of the document.
    pub(super) fn error(&self, span: Span, message: impl Into<String>, help: Option<String>) {
        let mut problem = self.document.problem(span, message);
        problem.help = help;
        self.note(problem);
    }

    /// Notes an error of TOML itself. The parser goes on behind it as well as it can.
    pub(super) fn syntax(&self, span: Span, message: &str) {
        let problem = self.document.problem(span, message);
        // The first of a line is the cause of the others.
        if self.broken.borrow_mut().insert(problem.line) {
            self.problems.borrow_mut().push(problem.help("the file is TOML: https://toml.io"));
        }
    }

    /// Notes that something is absent; unless a syntax error may have swallowed it.
    pub(super) fn missing(&self, span: Span, message: impl Into<String>, help: Option<String>) {
        if self.broken.borrow().is_empty() {
            self.error(span, message, help);
        }
    }

    fn note(&self, problem: Problem) {
        if !self.broken.borrow().contains(&problem.line) {
            self.problems.borrow_mut().push(problem);
        }
    }

    /// Returns the document as a table.
    pub(super) fn root<'r>(&'r self, table: &'r DeTable<'r>) -> Table<'r> {
        Table::of(self, table)
    }

    /// Says which of the named files are not there, once anything else is wrong: nobody will come to read them, and an
    /// operator wants to hear everything at once.
    pub(super) fn check_files(&self, directory: &Path) {
        if self.problems.borrow().is_empty() {
            return;
        }
        for path in self.files.borrow().iter() {
            if let Err(error) = std::fs::metadata(directory.join(&path.value)) {
                self.error(path.span, format!("`{}`: {error}", path.value), None);
            }
        }
    }

    /// Returns what was found wrong, in the order of the file, and every key that was asked for.
    pub(super) fn finish(self) -> (Vec<Problem>, BTreeSet<(String, &'static str)>) {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| (problem.line, problem.column));
        problems.dedup();
        (problems, self.asked.into_inner())
    }
}
