//! Watches directories, never files: an editor, a secret manager or the kubelet puts another file, or another link, in the place
//! of the old one, and only the directory hears of it. So: the directory of every path, and of every link on the way there.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use notify::event::{EventKind, ModifyKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

/// The directories that are watched now.
pub(super) struct Watch {
    /// `None`: the system gives no events; looking every second has to do.
    watcher: Option<RecommendedWatcher>,
    /// With the device and inode that the watch is on: a directory made anew is another one.
    armed: BTreeMap<PathBuf, (u64, u64)>,
}

/// What of a directory is of interest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Interest {
    everything: bool,
    names: BTreeSet<OsString>,
}

/// What an event says, as far as it concerns us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Any,
    Removed(OsString),
    Renamed,
}

pub(super) type Interests = BTreeMap<PathBuf, Interest>;

impl Watch {
    pub(super) fn new(heard: impl Fn(Event) + Send + 'static) -> Self {
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| match event {
            Ok(event) => heard(event),
            // A lost event, most likely: whatever changed is seen within a second.
            Err(error) => tracing::debug!(%error, "a change of files could not be told"),
        });
        if let Err(error) = &watcher {
            tracing::warn!(%error, "files cannot be watched; changes are seen within a second instead of at once");
        }
        Self { watcher: watcher.ok(), armed: BTreeMap::new() }
    }

    /// Watches these directories and no others. Those that were made anew since are watched anew.
    pub(super) fn arm(&mut self, interests: &Interests) {
        let Some(watcher) = &mut self.watcher else { return };
        let identity = |path: &Path| fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        let stale: Vec<PathBuf> = self
            .armed
            .iter()
            .filter(|(path, armed)| !interests.contains_key(*path) || identity(path) != Some(**armed))
            .map(|(path, _)| path.clone())
            .collect();
        for path in stale {
            self.armed.remove(&path);
            // It may be gone, and its watch with it.
            let _ = watcher.unwatch(&path);
        }
        for path in interests.keys() {
            if self.armed.contains_key(path) {
                continue;
            }
            let Some(identity) = identity(path) else { continue };
            match watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.armed.insert(path.clone(), identity)),
                Err(error) => tracing::warn!(%error, directory = %path.display(), "cannot be watched; changes are seen within a second"),
            }
        }
    }
}

/// Says which directories tell of changes to these paths: for each link on the way the directory it is in, and the file's own;
/// of a directory that is named, all of it.
pub(super) fn interests(paths: &[PathBuf]) -> Interests {
    let mut found = Interests::new();
    for path in paths {
        follow(&absolute(path), &mut found);
    }
    found
}

/// Says what an event means; `None` for what concerns nobody.
pub(super) fn change(event: &Event, interests: &Interests) -> Option<Change> {
    // We read files ourselves.
    if matches!(event.kind, EventKind::Access(_)) {
        return None;
    }
    if event.need_rescan() {
        return Some(Change::Any);
    }
    let concerned = event.paths.iter().find(|path| concerns(path, interests))?;
    let name = || concerned.file_name().unwrap_or(OsStr::new("")).to_owned();
    Some(match event.kind {
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(_) => Change::Removed(name()),
        EventKind::Modify(ModifyKind::Name(_)) => Change::Renamed,
        _ => Change::Any,
    })
}

fn concerns(path: &Path, interests: &Interests) -> bool {
    // The directory itself: moved, removed, or its mode changed.
    if interests.contains_key(path) {
        return true;
    }
    let Some((directory, name)) = path.parent().zip(path.file_name()) else { return false };
    interests.get(directory).is_some_and(|interest| interest.everything || interest.names.contains(name))
}

/// Walks a path as the system does, component by component, through its links.
fn follow(path: &Path, found: &mut Interests) {
    let mut walked = PathBuf::from("/");
    let mut rest: Vec<OsString> = components(path);
    let mut hops = 0;
    while let Some(name) = rest.pop() {
        if name == ".." {
            walked.pop();
            continue;
        }
        let here = walked.join(&name);
        let kind = fs::symlink_metadata(&here).map(|metadata| metadata.file_type());
        let link = kind.as_ref().is_ok_and(fs::FileType::is_symlink);
        // Of the directories above only what may be swapped: the links.
        if link || rest.is_empty() || kind.is_err() {
            found.entry(walked.clone()).or_default().names.insert(name);
        }
        match kind {
            Ok(_) if link => {
                let Ok(target) = fs::read_link(&here) else { return };
                hops += 1;
                // ELOOP, as the system would say.
                if hops > MAX_LINKS {
                    return;
                }
                if target.is_absolute() {
                    walked = PathBuf::from("/");
                }
                rest.extend(components(&target));
            }
            Ok(kind) => {
                walked = here;
                if rest.is_empty() && kind.is_dir() {
                    found.entry(walked.clone()).or_default().everything = true;
                    follow_links_in(&walked, found);
                }
            }
            // What comes next will be made here.
            Err(_) => return,
        }
    }
}

/// Of the files of a directory those that are links may change elsewhere.
fn follow_links_in(directory: &Path, found: &mut Interests) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let leads_to_a_file = || fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_file());
        if entry.file_type().is_ok_and(|kind| kind.is_symlink()) && leads_to_a_file() {
            follow(&entry.path(), found);
        }
    }
}

/// The names of a path, last first.
fn components(path: &Path) -> Vec<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::Prefix(_) | Component::RootDir => None,
    };
    let mut names: Vec<OsString> = path.components().filter_map(name).collect();
    names.reverse();
    names
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// As Linux has it (path_resolution(7)).
const MAX_LINKS: usize = 40;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_link_on_the_way_is_watched_in_its_directory() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().canonicalize().expect("there");
        // As the kubelet lays out a ConfigMap.
        fs::create_dir_all(root.join("map/..v1")).expect("made");
        fs::write(root.join("map/..v1/list.pem"), "").expect("written");
        symlink("..v1", root.join("map/..data")).expect("made");
        symlink("..data/list.pem", root.join("map/list.pem")).expect("made");
        let found = interests(&[root.join("map/list.pem")]);
        let names =
            |directory: &str| found[&root.join(directory)].names.iter().map(|name| name.to_string_lossy().into_owned()).collect::<Vec<_>>();
        assert_eq!(names("map"), ["..data", "list.pem"]);
        assert_eq!(names("map/..v1"), ["list.pem"]);
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn what_is_missing_is_waited_for_where_it_will_be_made() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().canonicalize().expect("there");
        fs::create_dir(root.join("here")).expect("made");
        symlink("loop", root.join("loop")).expect("made");
        let found = interests(&[root.join("missing/list.pem"), root.join("here"), root.join("loop")]);
        assert!(found[&root].names.contains(OsStr::new("missing")) && found[&root].names.contains(OsStr::new("loop")));
        assert!(found[&root.join("here")].everything);
        fs::create_dir(root.join("elsewhere")).expect("made");
        fs::write(root.join("elsewhere/a.pem"), "").expect("written");
        symlink("../elsewhere/a.pem", root.join("here/a.pem")).expect("made");
        assert!(interests(&[root.join("here")])[&root.join("elsewhere")].names.contains(OsStr::new("a.pem")));
        assert!(!found[&root].everything);
    }
}
