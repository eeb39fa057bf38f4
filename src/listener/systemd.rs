//! Sockets that systemd bound for us (sd_listen_fds(3)): `LISTEN_PID`, `LISTEN_FDS`, `LISTEN_FDNAMES`. They stay
//! with systemd, so that connections wait, rather than fail, while we restart.

use std::env;
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use socket2::{Domain, SockRef};

use super::socket::Kind;

/// Takes the socket with this name (`FileDescriptorName=` of the socket unit).
pub(super) fn socket(name: &str) -> io::Result<Kind> {
    let number = |key: &str| env::var(key).ok()?.parse::<i32>().ok();
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    if number("LISTEN_PID") != i32::try_from(std::process::id()).ok() {
        return Err(not_found("systemd passed no sockets to this process; start it from a .socket unit"));
    }
    let position = position(&names, number("LISTEN_FDS").unwrap_or(0), name)
        .ok_or_else(|| not_found("systemd passed no socket of this name; set FileDescriptorName= in the .socket unit"))?;
    // A duplicate that we own, got without having to vouch for a number.
    let ourselves = pidfd_open(getpid(), PidfdFlags::empty())?;
    let socket = pidfd_getfd(ourselves, FIRST + position, PidfdGetfdFlags::empty())?;
    SockRef::from(&socket).set_nonblocking(true)?;
    listening(socket)
}

fn listening(socket: OwnedFd) -> io::Result<Kind> {
    let reference = SockRef::from(&socket);
    if !reference.is_listener()? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the socket from systemd does not listen; set Accept=no"));
    }
    match reference.domain()? {
        Domain::UNIX => Ok(Kind::Unix(socket.into(), None)),
        Domain::IPV4 | Domain::IPV6 => Ok(Kind::Tcp(socket.into())),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "the socket from systemd is neither TCP nor unix")),
    }
}

/// Finds a name among those passed; names beyond the number of sockets do not count.
fn position(names: &str, count: i32, name: &str) -> Option<i32> {
    (0..count).zip(names.split(':')).find(|(_, found)| *found == name).map(|(position, _)| position)
}

fn not_found(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, why)
}

/// SD_LISTEN_FDS_START.
const FIRST: i32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_found_by_its_name() {
        for (names, count, name, expected) in
            [("edge:admin", 2, "admin", Some(1)), ("edge:admin", 1, "admin", None), ("edge", 1, "other", None), ("", 0, "", None)]
        {
            assert_eq!(position(names, count, name), expected, "{names:?} {name:?}");
        }
    }
}
