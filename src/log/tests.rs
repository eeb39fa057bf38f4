//! The access log: lines arrive whole, or are counted.

use super::*;

fn file_log(directory: &tempfile::TempDir) -> AccessLog {
    let settings = Settings { format: Format::Json, destination: Destination::File(directory.path().join("access.log")) };
    AccessLog::open(settings, Arc::default()).unwrap()
}

#[test]
fn every_line_of_every_handle_arrives() {
    let directory = tempfile::tempdir().unwrap();
    let log = file_log(&directory);
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let log = log.clone();
            std::thread::spawn(move || {
                for connection in 0..50 {
                    log.line(&Entry { event: "request", connection, ..Entry::default() });
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(log.settle(Duration::from_secs(30)));
    let text = std::fs::read_to_string(directory.path().join("access.log")).unwrap();
    assert_eq!(text.lines().count(), 100);
    assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
}

#[test]
fn a_rotated_file_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let log = file_log(&directory);
    let (old, new) = (directory.path().join("access.log.1"), directory.path().join("access.log"));
    log.line(&Entry { event: "before", ..Entry::default() });
    log.flush();
    std::fs::rename(&new, &old).unwrap();
    log.reopen();
    log.line(&Entry { event: "after", ..Entry::default() });
    assert!(log.settle(Duration::from_secs(30)));
    assert!(std::fs::read_to_string(new).unwrap().contains("after"));
    assert!(std::fs::read_to_string(old).unwrap().contains("before"));
}

#[test]
fn a_full_disk_drops_lines_and_counts_them() {
    let dropped = Arc::new(AtomicU64::new(0));
    let settings = Settings { format: Format::Json, destination: Destination::File("/dev/full".into()) };
    let log = AccessLog::open(settings, Arc::clone(&dropped)).unwrap();
    log.line(&Entry::default());
    log.line(&Entry::default());
    assert!(log.settle(Duration::from_secs(30)));
    assert_eq!(dropped.load(Ordering::Relaxed), 2);
}

#[test]
fn lines_arrive_as_they_were_written_but_harmless() {
    use std::io::Write;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let mut lines = Lines::open(Destination::File(path.clone()), Arc::default()).unwrap();
    lines.write_all(b"one\n").unwrap();
    lines.clone().write_all("a\u{7f}\u{9b}2J\u{202e}\u{1f600}é\x1b\nb\u{ff}\n".as_bytes()).unwrap();
    assert!(lines.settle(Duration::from_secs(30)));
    assert_eq!(std::fs::read_to_string(path).unwrap(), "one\na\\u007f\\u009b2J\\u202e\u{1f600}é\\u001b\\u000ab\u{ff}\n");
}

#[test]
fn a_log_that_is_off_writes_nothing() {
    let log = AccessLog::open(Settings { destination: Destination::Off, ..Settings::default() }, Arc::default()).unwrap();
    log.line(&Entry::default());
    assert!(!log.is_on() && log.buffer.borrow().bytes.is_empty());
    assert!(log.settle(Duration::from_secs(30)));
}

#[test]
fn a_destination_that_cannot_be_opened_is_an_error_at_the_start() {
    let settings = Settings { format: Format::Json, destination: Destination::File("/nonexistent/access.log".into()) };
    assert!(AccessLog::open(settings, Arc::default()).is_err());
}
