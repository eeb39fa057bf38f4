//! `portcullis quickstart`: certificates, configuration, an upstream and the running proxy in one command, and three
//! commands to try from another terminal: an admitted client, a stranger, and a removal that cuts a live download.

mod materials;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use serde_json::json;

use super::echo::Echo;
use super::run::Proxy;
use super::{Exit, Failure, Output};
use crate::admin;
use crate::listener::BindAddress;
use materials::{CONFIG, LISTED, Materials};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where to put everything; made with mode 0700 where it does not exist. Keys in it are kept
    #[arg(default_value = "portcullis-quickstart")]
    directory: PathBuf,
}

/// Runs until a signal ends it.
pub(super) fn run(arguments: Arguments, output: &Output) -> Result<Exit, Failure> {
    nobody_runs(&arguments.directory)?;
    let materials = Materials::lay_out(arguments.directory)?;
    let upstream = start_echo()?;
    let config = materials.configure(free_port(8443)?, free_port(9090)?, &format!("http://{upstream}"))?;
    let proxy = Proxy::start(&config, "warn")?;
    let edge = proxy.bound().iter().find_map(|bind| match bind.address {
        BindAddress::Tcp(address) => Some(address),
        BindAddress::Systemd(_) | BindAddress::Unix(_) => None,
    });
    let edge = edge.ok_or_else(|| Failure::local("the listener has no address"))?;
    let commands = commands(&materials, edge.port());
    output.answer(
        &json!({
            "directory": materials.directory,
            "url": format!("https://localhost:{}", edge.port()),
            "upstream": upstream,
            "monitor": proxy.monitor().map(ToString::to_string),
            "commands": commands,
            "status": local(&materials, "status"),
            "reload": local(&materials, "reload"),
            "list": local(&materials, "allow list --source all"),
            "notes": materials.notes,
        }),
        introduction(&materials, &commands, edge, &upstream, proxy.monitor()),
    );
    proxy.wait()
}

/// A second one of the same directory would put other ports into the configuration of the first before it found that out.
fn nobody_runs(directory: &Path) -> Result<(), Failure> {
    let socket = admin::socket_path(&directory.join("state"));
    let answers = admin::Reachable::of(&socket).is_ok_and(|reachable| UnixStream::connect(reachable.path()).is_ok());
    match answers {
        true => Err(Failure::file(directory, "a proxy runs with it already: end that one, or name another directory")),
        false => Ok(()),
    }
}

fn introduction(materials: &Materials, commands: &[String; 3], edge: SocketAddr, upstream: &str, monitor: Option<&BindAddress>) -> String {
    let [admitted, stranger, removal] = commands;
    let notes: String = materials.notes.iter().map(|note| format!("{note}\n")).collect();
    let directory = materials.directory.display();
    let monitor = monitor.map(|address| format!("\nWatch it:     http://{address}/metrics and /status")).unwrap_or_default();
    let again = format!("cp {} {}", quoted(&materials.path("client.pem")), quoted(&materials.path(LISTED)));
    format!(
        "{notes}\
Portcullis:   https://localhost:{port}, which forwards to an echo on {upstream}
Files:        {directory}: portcullis.toml, allowlist/, and the certificates of a server, a client and a stranger{monitor}

Three commands for another terminal, in this directory:

1. The client on the allowlist gets through; the answer shows what the upstream is told of it:

{admitted}

2. A stranger, made by the same two OpenSSL commands, hears a TLS alert:

{stranger}

3. Off the list means off, now: a download is under way when its client's file is taken away:

{removal}

To list the client again:  {again}
How it stands:             {status}
Who may come in:           {list}
Read the files again:      {reload}
Ctrl-C ends it.",
        port = edge.port(),
        status = local(materials, "status"),
        reload = local(materials, "reload"),
        list = local(materials, "allow list --source all"),
    )
}

/// One command each, to be pasted as it is.
fn commands(materials: &Materials, port: u16) -> [String; 3] {
    let curl = |who: &str, path: &str| {
        let [ca, certificate, key] =
            ["server.pem".to_owned(), format!("{who}.pem"), format!("{who}.key")].map(|name| quoted(&materials.path(&name)));
        format!("curl -sSN --cacert {ca} --cert {certificate} --key {key} 'https://localhost:{port}{path}'")
    };
    [
        curl("client", "/hello"),
        curl("stranger", "/hello"),
        format!("{} & sleep 3; rm {}; wait $!", curl("client", "/drip?seconds=30&interval=500"), quoted(&materials.path(LISTED))),
    ]
}

/// A command of ours to this proxy, as this one was called.
fn local(materials: &Materials, command: &str) -> String {
    let called = std::env::args_os().next().map_or_else(|| PathBuf::from("portcullis"), PathBuf::from);
    format!("{} {command} -c {}", quoted(&called), quoted(&materials.path(CONFIG)))
}

/// Quotes a path for a shell, if it needs to be.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%".contains(c);
    if text.chars().all(plain) && !text.starts_with('-') { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Starts the upstream on a thread of its own and returns where it listens.
fn start_echo() -> Result<String, Failure> {
    let (bound, address) = mpsc::channel();
    let serve = move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(bound.send(Err(error))),
        };
        tokio::task::LocalSet::new().block_on(&runtime, async {
            match Echo::bind("127.0.0.1:9000").or_else(|_| Echo::bind("127.0.0.1:0")) {
                Ok(echo) => {
                    // The other end waits for it.
                    let _ = bound.send(Ok(echo.address.clone()));
                    echo.serve().await;
                }
                Err(error) => drop(bound.send(Err(error))),
            }
        });
    };
    std::thread::Builder::new().name("echo".to_owned()).spawn(serve).map_err(Failure::local)?;
    match address.recv() {
        Ok(Ok(address)) => Ok(address),
        Ok(Err(error)) => Err(Failure::network(format_args!("echo: {error}"))),
        Err(_) => Err(Failure::local("the echo did not start")),
    }
}

/// Returns the usual port on loopback, or one that is free where somebody has it.
fn free_port(usual: u16) -> Result<SocketAddr, Failure> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|listener| listener.local_addr());
    bind(usual).or_else(|_| bind(0)).map_err(|error| Failure::network(format_args!("no port on 127.0.0.1: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_for_a_shell_only_where_they_must_be() {
        assert_eq!(quoted(Path::new("q/client.pem")), "q/client.pem");
        assert_eq!(quoted(Path::new("my q/it's")), r"'my q/it'\''s'");
        assert_eq!(quoted(Path::new("-rf")), "'-rf'");
    }

    #[test]
    fn a_port_in_use_is_avoided() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_ne!(free_port(port).unwrap().port(), port);
    }
}
