//! What every command says in the same way: exit codes, failures, JSON or text.

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use crate::config::Problem;

/// The exit codes: a contract with scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or the answer is yes.
    Done = 0,
    /// The answer is no.
    Refused = 1,
    Usage = 2,
    /// A local file, directory or key.
    Local = 3,
    Network = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Local => "local",
            Self::Network => "network",
            Self::Refused => "refused",
            Self::Usage => "usage",
        }
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    /// What is wrong with the configuration, where that is it.
    pub(crate) problems: Vec<Problem>,
}

impl Failure {
    fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string(), problems: Vec::new() }
    }

    /// A file, directory or key of this machine is to blame.
    pub(crate) fn local(message: impl fmt::Display) -> Self {
        Self::new(Exit::Local, message)
    }

    /// A file is to blame; says which.
    pub(crate) fn file(path: &Path, why: impl fmt::Display) -> Self {
        Self::local(format_args!("{}: {why}", path.display()))
    }

    /// An address or a peer is to blame.
    pub(crate) fn network(message: impl fmt::Display) -> Self {
        Self::new(Exit::Network, message)
    }

    /// The answer is no.
    pub(crate) fn refused(message: impl fmt::Display) -> Self {
        Self::new(Exit::Refused, message)
    }

    /// The arguments are to blame.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Text for people or JSON for programs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// A program reads what is printed.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Prints an answer: the value as JSON, or the text.
    pub(crate) fn answer(self, value: &impl Serialize, text: impl fmt::Display) {
        if self.json {
            // A type of ours always serialises; were it not so, nothing is a clearer answer than half of one.
            print_line(serde_json::to_string_pretty(value).unwrap_or_default());
        } else {
            print_line(text);
        }
    }

    /// Prints a failure to standard error; in JSON to standard output as well, where a program looks for its answer.
    pub(crate) fn failure(self, failure: &Failure) {
        // Nothing to be done about a closed standard error.
        let mut out = std::io::stderr().lock();
        let told = failure.problems.iter().try_for_each(|problem| writeln!(out, "{problem}\n"));
        let _ = told.and_then(|()| writeln!(out, "portcullis: {failure}"));
        if self.json {
            let error = serde_json::json!({"code": failure.exit.name(), "message": failure.message, "problems": failure.problems});
            print_line(serde_json::json!({ "error": error }));
        }
    }
}

/// Prints a line to standard output. A reader that went away (`| head`) is no reason to panic, as `println!` would.
pub(crate) fn print_line(text: impl fmt::Display) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
