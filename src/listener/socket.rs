//! Listening sockets: TCP, unix (a stale one replaced, a live one never), and those that systemd hands over.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::{Bind, BindAddress, ListenError, systemd};
use crate::connection;

/// One listener's socket, or the monitor's, not yet accepted from.
#[derive(Debug)]
pub(crate) struct Listening {
    name: Arc<str>,
    address: BindAddress,
    socket: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Tcp(TcpListener),
    /// With the file that goes when the socket does; one of systemd's stays.
    Unix(UnixListener, Option<Removed>),
}

/// A file that is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Removed(PathBuf);

/// One socket in the reactor of the thread that accepts from it.
#[derive(Debug)]
pub(crate) struct Accepting {
    pub(super) name: Arc<str>,
    socket: Registered,
}

#[derive(Debug)]
enum Registered {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener, #[expect(dead_code, reason = "dropped with the socket")] Option<Removed>),
}

impl Listening {
    /// Binds a listener.
    pub(crate) fn bind(bind: &Bind) -> Result<Self, ListenError> {
        let socket = match &bind.address {
            BindAddress::Systemd(name) => systemd::socket(name),
            BindAddress::Tcp(address) => tcp(*address).map(Kind::Tcp),
            BindAddress::Unix(path) => unix(path).map(|socket| Kind::Unix(socket, Some(Removed(path.clone())))),
        };
        match socket {
            Ok(socket) => Ok(Self { name: Arc::clone(&bind.name), address: bind.address.clone(), socket }),
            Err(error) => Err(ListenError::Bind { name: Arc::clone(&bind.name), address: bind.address.clone(), error }),
        }
    }

    /// Returns where it listens.
    pub(crate) fn bound(&self) -> Bind {
        let address = match &self.socket {
            Kind::Tcp(socket) => socket.local_addr().map_or_else(|_| self.address.clone(), BindAddress::Tcp),
            Kind::Unix(..) => self.address.clone(),
        };
        Bind { name: Arc::clone(&self.name), address }
    }

    /// Takes the socket into the reactor of the current runtime.
    pub(crate) fn register(self) -> io::Result<Accepting> {
        let socket = match self.socket {
            Kind::Tcp(socket) => {
                // Small answers must not wait for an acknowledgement; a client that vanished must be noticed some day. Linux hands
                // both on to what is accepted: three calls fewer a connection.
                SockRef::from(&socket).set_tcp_nodelay(true)?;
                SockRef::from(&socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE))?;
                Registered::Tcp(tokio::net::TcpListener::from_std(socket)?)
            }
            Kind::Unix(socket, file) => Registered::Unix(tokio::net::UnixListener::from_std(socket)?, file),
        };
        Ok(Accepting { name: self.name, socket })
    }
}

impl Accepting {
    /// Waits for the next connection, and takes it out of this reactor: it may live in another.
    pub(crate) async fn accept(&self) -> io::Result<connection::Socket> {
        match &self.socket {
            Registered::Tcp(socket) => {
                let (stream, peer) = socket.accept().await?;
                let stream = stream.into_std()?;
                Ok(connection::Socket::Tcp(stream, peer))
            }
            Registered::Unix(socket, _) => {
                let (stream, _) = socket.accept().await?;
                Ok(connection::Socket::Unix(stream.into_std()?))
            }
        }
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn unix(path: &Path) -> io::Result<UnixListener> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    // Before anybody can connect: who may is for the directory's owner to say, and certificates are asked for anyway.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Removes a socket that nobody answers on: what a killed process leaves. Anything else is somebody else's.
fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket; remove it or choose another path"))
        }
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
            Err(error) => Err(error),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

const BACKLOG: i32 = 4096;
const KEEP_ALIVE: Duration = Duration::from_secs(120);
const SOCKET_MODE: u32 = 0o660;

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(path: &Path) -> Result<Listening, ListenError> {
        Listening::bind(&Bind { name: "edge".into(), address: BindAddress::Unix(path.into()) })
    }

    #[test]
    fn a_stale_unix_socket_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("edge.sock");
        // What a killed process leaves: the file, and nobody behind it.
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let live = bind(&path).unwrap();
        let error = bind(&path).unwrap_err().to_string();
        assert!(error.contains("another process listens there"), "{error}");
        UnixStream::connect(&path).unwrap();
        drop(live);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notes");
        std::fs::write(&path, "keep me").unwrap();
        assert!(bind(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "keep me");
    }

    #[test]
    fn what_is_accepted_neither_waits_to_send_nor_stays_for_ever() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let address = BindAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
            let listening = Listening::bind(&Bind { name: "edge".into(), address }).unwrap();
            let BindAddress::Tcp(address) = listening.bound().address else { panic!("another kind of address") };
            let accepting = listening.register().unwrap();
            let client = std::net::TcpStream::connect(address).unwrap();
            let connection::Socket::Tcp(stream, peer) = accepting.accept().await.unwrap() else { panic!("another kind of socket") };
            assert_eq!(peer, client.local_addr().unwrap());
            let socket = SockRef::from(&stream);
            assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap() && socket.nonblocking().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEP_ALIVE);
        });
    }

    #[test]
    fn port_0_becomes_the_port_that_was_bound() {
        let address = BindAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
        let listening = Listening::bind(&Bind { name: "edge".into(), address }).unwrap();
        assert!(matches!(listening.bound().address, BindAddress::Tcp(address) if address.port() > 0));
    }
}
