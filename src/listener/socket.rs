//! Listening sockets: TCP, unix (a stale one replaced, a live one never), and those that systemd hands over.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::{Bind, BindAddress, ListenError};
use crate::connection;

/// One listener's socket, not yet accepted from.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) name: Arc<str>,
    socket: Kind,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    /// The file goes when the socket does.
    Unix(UnixListener, PathBuf),
}

impl Listening {
    /// Binds a listener.
    pub(super) fn bind(bind: &Bind) -> Result<Self, ListenError> {
        let socket = match &bind.address {
            BindAddress::Systemd(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "sockets from systemd are not in this version; give ADDRESS:PORT or unix:PATH",
            )),
            BindAddress::Tcp(address) => tcp(*address).map(Kind::Tcp),
            BindAddress::Unix(path) => unix(path).map(|socket| Kind::Unix(socket, path.clone())),
        };
        match socket {
            Ok(socket) => Ok(Self { name: Arc::clone(&bind.name), socket }),
            Err(error) => Err(ListenError::Bind { name: Arc::clone(&bind.name), address: bind.address.clone(), error }),
        }
    }

    /// Returns where it listens.
    pub(super) fn bound(&self) -> Bind {
        let address = match &self.socket {
            Kind::Tcp(socket) => BindAddress::Tcp(socket.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)))),
            Kind::Unix(_, path) => BindAddress::Unix(path.clone()),
        };
        Bind { name: Arc::clone(&self.name), address }
    }

    /// Takes the next connection, if one waits.
    pub(super) fn accept(&self) -> io::Result<connection::Socket> {
        match &self.socket {
            Kind::Tcp(socket) => {
                let (stream, peer) = socket.accept()?;
                stream.set_nonblocking(true)?;
                // Small answers must not wait for an acknowledgement; a client that vanished must be noticed some day.
                stream.set_nodelay(true)?;
                SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE))?;
                Ok(connection::Socket::Tcp(stream, peer))
            }
            Kind::Unix(socket, _) => {
                let (stream, _) = socket.accept()?;
                stream.set_nonblocking(true)?;
                Ok(connection::Socket::Unix(stream))
            }
        }
    }
}

impl AsFd for Listening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Kind::Tcp(socket) => socket.as_fd(),
            Kind::Unix(socket, _) => socket.as_fd(),
        }
    }
}

impl AsRawFd for Listening {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Kind::Unix(_, path) = &self.socket {
            let _ = std::fs::remove_file(path);
        }
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
