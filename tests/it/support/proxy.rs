//! The real binary, started on a directory of its own, watched through its monitor and its log.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex};

use super::certificates::{self, Identity};
use super::{DEADLINE, eventually};

/// A running proxy. Killed when dropped.
pub struct TestProxy {
    child: Child,
    directory: Arc<tempfile::TempDir>,
    log: Arc<Mutex<Vec<String>>>,
    pub server: Identity,
}

/// A directory with a server certificate and an empty allowlist directory, before the proxy starts.
pub struct Workspace {
    pub directory: Arc<tempfile::TempDir>,
    pub server: Identity,
}

impl Workspace {
    /// Makes the directory; the server's certificate covers localhost, a.test and b.test.
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("pc").tempdir().expect("temporary directory");
        let server = certificates::server(&["localhost", "a.test", "b.test"]);
        server.write(directory.path(), "server");
        std::fs::create_dir(directory.path().join("allowlist")).expect("directory");
        Self { directory: Arc::new(directory), server }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file in place.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).expect("write");
    }

    /// Lists an identity in the allowlist directory.
    pub fn allow(&self, name: &str, identity: &Identity) {
        self.write(&format!("allowlist/{name}.pem"), identity.leaf_pem());
    }

    /// The usual configuration: a listener `edge`, the allowlist directory as Contributors, everything to `upstream`.
    /// `more` is appended.
    pub fn config(client_auth: &str, upstream: &str, more: &str) -> String {
        format!(
            r#"
[[listener]]
name = "edge"
address = "127.0.0.1:0"
client_auth = "{client_auth}"
certificates = [{{ cert = "server.pem", key = "server.key" }}]

[monitor]
address = "unix:monitor.sock"
names = true

[[allowlist]]
path = "allowlist/"
role = "Contributor"

[[route]]
name = "all"
path = "/"
upstream = "app"
upgrades = ["websocket"]

[[upstream]]
name = "app"
endpoints = ["{upstream}"]

[identity]
headers = ["xfcc", "rfc9440", "portcullis"]
{more}"#
        )
    }

    /// Runs a command of the binary to its end, which is to come: a proxy that should not have started would run for ever.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(arguments).current_dir(self.directory.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let pid = child.id().to_string();
        let (ends, ended) = std::sync::mpsc::channel();
        let waiting = std::thread::spawn(move || {
            let output = child.wait_with_output().expect("the binary runs");
            let _ = ends.send(());
            output
        });
        let is_over = ended.recv_timeout(DEADLINE) != Err(RecvTimeoutError::Timeout);
        if !is_over {
            assert!(Command::new("kill").args(["-KILL", &pid]).status().expect("kill").success());
        }
        let output = waiting.join().expect("no panic");
        assert!(is_over, "{arguments:?} did not end: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// Starts the proxy with one client on its allowlist that no test uses: an empty directory is an error.
    pub fn start_with_somebody(&self, config: &str) -> TestProxy {
        self.allow("somebody", &super::Leaf::new("somebody").self_signed());
        self.start(config)
    }

    /// Starts the proxy on `portcullis.toml` with this content and waits until it is ready; a second start finds the same files.
    pub fn start(&self, config: &str) -> TestProxy {
        self.start_by(config, Command::new(env!("CARGO_BIN_EXE_portcullis")))
    }

    /// The same, where the system allows so many open files.
    pub fn start_with_files(&self, config: &str, files: u32) -> TestProxy {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {files}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_portcullis")]);
        self.start_by(config, shell)
    }

    /// The same, where modes of files bind the proxy whoever runs the tests: of root it takes that it may write what is read-only.
    pub fn start_bound_by_modes(&self, config: &str) -> TestProxy {
        let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
        if !is_root {
            return self.start(config);
        }
        let mut bound = Command::new("setpriv");
        bound.args(["--bounding-set", "-dac_override", env!("CARGO_BIN_EXE_portcullis")]);
        self.start_by(config, bound)
    }

    fn start_by(&self, config: &str, mut command: Command) -> TestProxy {
        self.write("portcullis.toml", config);
        let mut child = command
            .args(["run", "-c", "portcullis.toml"])
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, stderr) = (log.clone(), child.stderr.take().expect("piped"));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().expect("no panic while held").push(line);
            }
        });
        let proxy = TestProxy { child, directory: self.directory.clone(), log, server: self.server.clone() };
        eventually("the proxy is ready", || proxy.monitor("/readyz").is_some_and(|(status, _)| status == 200));
        proxy
    }
}

impl TestProxy {
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).expect("write");
    }

    /// Replaces a file by rename, as careful writers do.
    pub fn replace(&self, name: &str, content: impl AsRef<[u8]>) {
        let temporary = self.path(&format!(".{}.new", name.replace('/', "_")));
        std::fs::write(&temporary, content).expect("write");
        std::fs::rename(&temporary, self.path(name)).expect("rename");
    }

    pub fn allow(&self, name: &str, identity: &Identity) {
        self.replace(&format!("allowlist/{name}.pem"), identity.leaf_pem());
    }

    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).expect("remove");
    }

    /// Asks the monitor; `None` while it does not answer.
    pub fn monitor(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = UnixStream::connect(self.path("monitor.sock")).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: monitor\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }

    /// Returns `/status`.
    pub fn status(&self) -> serde_json::Value {
        let (code, body) = self.monitor("/status").expect("the monitor answers");
        assert_eq!(code, 200, "{body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }

    pub fn generation(&self) -> u64 {
        self.status()["generation"].as_u64().expect("a number")
    }

    /// Waits until a generation after `before` is in force.
    pub fn wait_for_generation_after(&self, before: u64) {
        eventually("a new generation is in force", || self.generation() > before);
    }

    /// Returns where a listener is bound.
    pub fn address(&self, listener: &str) -> SocketAddr {
        let status = self.status();
        let listeners = status["listeners"].as_array().expect("listeners");
        let found = listeners.iter().find(|entry| entry["name"] == listener).unwrap_or_else(|| panic!("no listener {listener}: {status}"));
        found["address"].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no address: {found}"))
    }

    /// Returns the value of a metric, `name` or `name{label="value",...}` with the labels in any order; `None` while there is none.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let (_, text) = self.monitor("/metrics")?;
        let parts = |series: &str| {
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let mut labels: Vec<String> = labels.trim_end_matches('}').split(',').map(str::to_owned).collect();
            labels.sort();
            (name.to_owned(), labels)
        };
        let wanted = parts(series);
        text.lines()
            .filter_map(|line| line.rsplit_once(' '))
            .find_map(|(series, value)| (parts(series) == wanted).then(|| value.parse().ok())?)
    }

    /// Returns the log so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("no panic while held").join("\n")
    }

    /// Returns what reads the log so far, for a task of its own.
    pub fn log_reader(&self) -> impl Fn() -> Vec<String> + Clone + Send + Sync + 'static {
        let log = Arc::clone(&self.log);
        move || log.lock().expect("no panic while held").clone()
    }

    /// Returns what finds the latest line with all of these texts: without a copy of a long log.
    pub fn log_finder(&self) -> impl Fn(&[&str]) -> Option<String> + Clone + Send + Sync + 'static {
        let log = Arc::clone(&self.log);
        move |texts| {
            let log = log.lock().expect("no panic while held");
            log.iter().rev().find(|line| texts.iter().all(|text| line.contains(text))).cloned()
        }
    }

    /// Lets no file grow beyond so many bytes, or any: to the proxy, a full disk.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let limit = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
        let arguments = ["--pid", &self.pid().to_string(), &format!("--fsize={limit}:")];
        assert!(Command::new("prlimit").args(arguments).status().expect("prlimit, of util-linux").success());
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name, as an operator would.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().expect("kill");
        assert!(status.success());
    }

    /// Waits for the process to end and returns its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        let mut code = None;
        eventually("the proxy ends", || match self.child.try_wait().expect("a child of ours") {
            Some(status) => {
                code = status.code();
                true
            }
            None => false,
        });
        code
    }

    /// The process is still running.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_none()
    }
}

impl Drop for TestProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the proxy's log\n{}", self.log());
        }
    }
}

/// Returns the exit code of a command, and all that it says.
pub fn told(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat())
}
