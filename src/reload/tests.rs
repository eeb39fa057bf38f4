//! The thread itself: a change is noticed however it is made, and what comes of it is said.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;

use super::*;

struct World {
    directory: tempfile::TempDir,
    reloader: Reloader,
    installed: Receiver<Install>,
    metrics: Arc<Metrics>,
}

fn fingerprint(number: u32) -> String {
    format!("{number:08x}").repeat(8)
}

/// The list at `list`, of which `made` has made the file.
fn world(list: &str, make: impl FnOnce(&Path)) -> World {
    let (install, installed) = mpsc::channel();
    let (directory, reloader, metrics) = begin(list, make, move |rules| drop(install.send(rules)));
    World { directory, reloader, installed, metrics }
}

fn begin(
    list: &str,
    make: impl FnOnce(&Path),
    install: impl FnMut(Install) + Send + 'static,
) -> (tempfile::TempDir, Reloader, Arc<Metrics>) {
    let directory = tempfile::tempdir().expect("a directory");
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    fs::write(directory.path().join("server.pem"), params.self_signed(&key).expect("signed").pem()).expect("written");
    fs::write(directory.path().join("server.key"), key.serialize_pem()).expect("written");
    make(directory.path());
    let config = format!(
        "[[listener]]\nname = \"edge\"\naddress = \"127.0.0.1:0\"\ncertificates = [{{ cert = \"server.pem\", key = \"server.key\" }}]\n\
         [[allowlist]]\npath = \"{list}\"\nrole = \"Reader\"\nmax_shrink = {{ min = 1 }}\n"
    );
    fs::write(directory.path().join("p.toml"), config).expect("written");
    let mut loader = Loader::new(&directory.path().join("p.toml"), true);
    let loaded = loader.start().unwrap_or_else(|problems| panic!("{problems:?}"));
    let metrics = Metrics::new(1);
    let reloader = start(loader, &loaded, Arc::clone(&metrics), None, install).expect("starts");
    (directory, reloader, metrics)
}

impl World {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).expect("written");
    }

    /// Waits until this many entries are in force.
    fn until(&self, entries: usize) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let install = self.installed.recv_timeout(deadline.saturating_duration_since(Instant::now())).expect("in force in time");
            if install.rules.snapshot.allowlist.len() == entries {
                return;
            }
        }
    }

    /// Waits until the report says so.
    fn reports(&self, wanted: impl Fn(&Report) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !wanted(&self.reloader.control().view().report) {
            assert!(Instant::now() < deadline, "{:?}", self.reloader.control().view().report);
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

/// Reads everything again, and waits for what comes of it.
pub(super) fn reload(reloader: &Reloader, force: bool) -> Option<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(reloader.control().reload(force))
}

#[test]
fn the_end_waits_for_what_the_thread_is_at() {
    let (enters, entered) = mpsc::channel();
    let (releases, released) = mpsc::channel::<()>();
    let (does, done) = mpsc::channel();
    let one = |directory: &Path| fs::write(directory.join("list.txt"), fingerprint(1)).expect("written");
    let (directory, reloader, _metrics) = begin("list.txt", one, move |_| {
        let _ = enters.send(());
        let _ = released.recv();
        let _ = does.send(());
    });
    fs::write(directory.path().join("list.txt"), format!("{}\n{}\n", fingerprint(1), fingerprint(2))).expect("written");
    entered.recv_timeout(DEADLINE).expect("an install begins");
    assert!(!reloader.settle(Duration::ZERO), "it is at work");
    drop(releases);
    assert!(reloader.settle(DEADLINE));
    assert!(done.try_recv().is_ok(), "what was begun is done");
    assert!(reloader.settle(DEADLINE), "and it stays so");
}

#[test]
fn a_change_is_noticed_however_it_is_made() {
    let lines = |count: u32| (1..=count).map(|number| fingerprint(number) + "\n").collect::<String>();
    let world = world("list.txt", |directory| fs::write(directory.join("list.txt"), lines(1)).expect("written"));
    world.write("list.txt", &lines(2));
    world.until(2);
    world.write("draft", &lines(3));
    fs::rename(world.path("draft"), world.path("list.txt")).expect("renamed");
    world.until(3);
    // And once more, with the watch on another file by now.
    world.write("list.txt", &lines(4));
    world.until(4);
    // A broken state is said, and what follows it is seen.
    world.write("list.txt", "rubbish");
    world.reports(|report| report.problems.len() == 1 && report.status.sources.iter().any(|source| source.error.is_some()));
    fs::remove_file(world.path("list.txt")).expect("removed");
    fs::create_dir(world.path("list.txt")).expect("made");
    world.reports(|report| report.problems.iter().any(|problem| problem.message.contains("was a file")));
    fs::remove_dir(world.path("list.txt")).expect("removed");
    world.write("list.txt", &lines(5));
    world.until(5);
    world.reports(|report| report.problems.is_empty() && report.status.entries == 5);
}

#[test]
fn a_swapped_link_is_noticed_again_and_again() {
    let world = world("map/list.txt", |directory| {
        for version in 1..=4 {
            let place = directory.join(format!("map/..v{version}"));
            fs::create_dir_all(&place).expect("made");
            fs::write(place.join("list.txt"), (1..=version).map(|number| fingerprint(number) + "\n").collect::<String>()).expect("written");
        }
        symlink("..v1", directory.join("map/..data")).expect("made");
        symlink("..data/list.txt", directory.join("map/list.txt")).expect("made");
    });
    for version in 2..=4 {
        symlink(format!("..v{version}"), world.path("map/..tmp")).expect("made");
        fs::rename(world.path("map/..tmp"), world.path("map/..data")).expect("renamed");
        fs::remove_dir_all(world.path(&format!("map/..v{}", version - 1))).expect("removed");
        world.until(version);
    }
}

#[test]
fn a_directory_that_returns_is_watched_again() {
    let world = world("list/", |directory| fs::create_dir(directory.join("list")).expect("made"));
    for round in 1..=2 {
        fs::remove_dir_all(world.path("list")).expect("removed");
        world.reports(|report| report.problems.len() == 1);
        fs::create_dir(world.path("list")).expect("made");
        world.reports(|report| report.problems.is_empty());
        let params = rcgen::CertificateParams::new(vec![format!("c{round}")]).expect("a name");
        let certificate = params.self_signed(&rcgen::KeyPair::generate().expect("a key")).expect("signed");
        fs::write(world.path("list/a.pem"), certificate.pem()).expect("written");
        world.until(1);
        fs::remove_file(world.path("list/a.pem")).expect("removed");
        world.until(0);
    }
}

#[test]
fn who_asks_is_answered_and_force_loses_what_a_reload_does_not() {
    let lines = |count: u32| (1..=count).map(|number| fingerprint(number) + "\n").collect::<String>();
    let world = world("list.txt", |directory| fs::write(directory.join("list.txt"), lines(10)).expect("written"));
    let report = reload(&world.reloader, false).expect("runs");
    assert_eq!((report.generation, report.problems.len(), report.status.entries), (1, 0, 10));
    world.write("list.txt", &lines(2));
    let report = reload(&world.reloader, false).expect("runs");
    assert!(report.problems[0].message.contains("max_shrink"), "{report:?}");
    assert_eq!(report.status.entries, 10);
    let report = reload(&world.reloader, true).expect("runs");
    assert_eq!((report.problems.len(), report.status.entries), (0, 2));
    world.until(2);
    let text = world.metrics.render(0);
    for wanted in
        ["portcullis_reload_total{result=\"unchanged\"} 1", "portcullis_reload_total{result=\"failure\"}", "portcullis_allowlist_entries 2"]
    {
        assert!(text.contains(wanted), "{wanted} is not in:\n{text}");
    }
}
