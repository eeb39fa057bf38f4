//! A list of which some files meet what somebody else has already: those count as they were, all the others as they are now. Who was taken
//! off in another file must not stay because of them.

use std::path::PathBuf;
use std::sync::Arc;

use crate::admission::{AllowlistBuilder, Conflict, Roster};

/// A list that is in force with some of its files as they were.
#[derive(Clone, Debug)]
pub struct Reverted {
    pub path: PathBuf,
    pub prefix: String,
    pub roster: Arc<Roster>,
    /// As provenances name them.
    pub files: Vec<Arc<str>>,
}

/// The roster that was included, and its files that are as they were.
pub(super) type Included = (Arc<Roster>, Vec<Arc<str>>);

/// Includes a list whose inclusion met `conflict`, with as few files as they were in `before` as it takes. Returns every conflict, and what
/// was included; `None`: nothing.
pub(super) fn include(
    builder: &mut AllowlistBuilder,
    now: &Roster,
    before: &Roster,
    mut conflict: Conflict,
) -> (Vec<Conflict>, Option<Included>) {
    let (mut conflicts, mut files) = (Vec::new(), Vec::new());
    loop {
        let file = Arc::clone(&conflict.second.file);
        conflicts.push(conflict);
        if files.contains(&file) || files.len() == MOST {
            return (conflicts, None);
        }
        files.push(file);
        let roster = Arc::new(now.with_files_of(before, &files));
        match builder.include(Arc::clone(&roster)) {
            Ok(()) => return (conflicts, Some((roster, files))),
            Err(next) => conflict = next,
        }
    }
}

/// Each costs a pass over the list.
const MOST: usize = 64;
