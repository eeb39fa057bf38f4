//! A configuration that somebody considers: a text in the place of the configuration file, looked at as a reload would look at it, by a copy of
//! the loader. Nothing is put in force, saved or fetched; what it names is read where the configuration in force would have it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::{Loader, RETRY, Seen, UNSTABLE};
use crate::config::error::Problem;
use crate::pki::Fingerprint;
use crate::rules::Rules;
use crate::store::{Fetched, ReadError, Reading, Source, Stamp};

/// A copy of a loader, to try texts on.
#[derive(Debug)]
pub struct Candidate(Loader);

/// What would come of a text.
#[derive(Debug)]
pub struct Considered {
    /// The file whose place it would take.
    pub file: String,
    pub before: Policy,
    /// `None`: it would not be put in force.
    pub after: Option<Policy>,
    /// With an `after`: last good content stays in the place of what is wrong.
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
}

/// Rules, and what tells them from others.
#[derive(Debug)]
pub struct Policy {
    pub rules: Arc<Rules>,
    pub hash: String,
}

impl Loader {
    /// Copies what is known. Content is shared, so that it costs less than a look.
    pub fn candidate(&self) -> Candidate {
        Candidate(Self {
            path: self.path.clone(),
            configs: self.configs.clone(),
            config_problems: self.config_problems.clone(),
            sources: self.sources.clone(),
            rounds: self.rounds,
            in_force: self.in_force.clone(),
            saves: false,
            restored: true,
            fetched: Arc::clone(&self.fetched),
            fetches: false,
            wanted: Vec::new(),
            managed: self.managed.clone(),
            ledger: None,
            instead: None,
        })
    }

    fn policy(&self) -> Option<Policy> {
        Some(Policy { rules: Arc::clone(self.rules()?), hash: self.policy_hash(self.managed()) })
    }
}

impl Candidate {
    /// Looks at a text as if a rename had put it in the place of the configuration file. `None`: nothing is in force to compare with.
    pub fn consider(self, text: Vec<u8>) -> Option<Considered> {
        let Self(mut loader) = self;
        let (before, known) = (loader.policy()?, loader.watched());
        let hash = Fingerprint::of(&text);
        loader.instead = Some(text.into());
        let seen = Seen { renamed: true, ..Seen::default() };
        let deadline = Instant::now() + UNSTABLE;
        let mut look = loader.look_once(&seen);
        while look.unstable && Instant::now() < deadline {
            std::thread::park_timeout(RETRY);
            look = loader.look_once(&seen);
        }
        let taken = loader.in_force.as_ref().is_some_and(|in_force| in_force.config.hash == hash);
        let tell = |problem| discreet(problem, &known);
        Some(Considered {
            file: loader.path.display().to_string(),
            before,
            after: loader.policy().filter(|_| taken),
            problems: look.problems.into_iter().map(tell).collect(),
            warnings: look.warnings.into_iter().map(tell).collect(),
        })
    }
}

/// Takes out what a message repeats of a file that the configuration in force does not name: whoever may ask what would be may not
/// read any file by that, a line at a time.
fn discreet(mut problem: Problem, known: &[PathBuf]) -> Problem {
    let file = Path::new(&*problem.file);
    if problem.excerpt.is_some() || known.iter().any(|known| file.starts_with(known)) {
        return problem;
    }
    // To the last one: what is repeated may hold some itself.
    if let (Some(first), Some(last)) = (problem.message.find('`'), problem.message.rfind('`')) {
        problem.message.replace_range(first..=last, "…");
    }
    problem
}

/// A text in the place of one file; everything else from where it is.
pub(super) struct Instead {
    pub(super) path: PathBuf,
    pub(super) text: Arc<[u8]>,
    pub(super) rest: Arc<Fetched>,
}

impl Instead {
    /// Like no file's: this is another one than what stands there.
    fn own_stamp(&self) -> Stamp {
        Stamp { device: 0, inode: 0, size: self.text.len() as u64, modified: (0, 0), changed: (0, 0) }
    }
}

impl Source for Instead {
    fn stamp(&self, unit: &Path) -> Result<Stamp, ReadError> {
        if unit == self.path { Ok(self.own_stamp()) } else { self.rest.stamp(unit) }
    }

    fn read(&self, unit: &Path, limit: u64) -> Result<Reading, ReadError> {
        if unit != self.path {
            return self.rest.read(unit, limit);
        }
        match self.text.len() as u64 > limit {
            true => Err(ReadError::TooLarge { limit }),
            false => Ok(Reading { bytes: self.text.to_vec(), stamp: self.own_stamp(), young: false, exposed: false }),
        }
    }

    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>, ReadError> {
        self.rest.list(directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_message_repeats_of_a_file_is_told_of_files_in_force_only() {
        let said = |file: &str, message: &str| {
            discreet(Problem::in_file(&file.into(), 3, message), &["revoked.txt".into(), "/etc/list".into()]).message
        };
        assert_eq!(said("/etc/shadow", "`root:$6$x` is no revoked id"), "… is no revoked id");
        assert_eq!(said("/etc/shadow", "`a` b `c` is none"), "… is none", "content with backticks in it");
        assert_eq!(said("/etc/shadow", "is not there"), "is not there");
        for known in ["revoked.txt", "/etc/list/a.txt"] {
            assert_eq!(said(known, "`x` is no revoked id"), "`x` is no revoked id");
        }
    }
}
