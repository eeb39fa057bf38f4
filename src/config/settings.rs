//! Tables that need no more than another type: addresses, trust, limits.

use super::file::{ConfigFile, Listener};
use crate::address::{ForwardingHeader, Trust};
use crate::limits::Limits;
use crate::listener::{Bind, BindAddress, RuntimeSettings};

/// Unix sockets stand where the configuration file says, from its own directory.
pub(super) fn resolved(file: &ConfigFile, address: &BindAddress) -> BindAddress {
    match address {
        BindAddress::Unix(path) => BindAddress::Unix(file.directory.join(path)),
        BindAddress::Systemd(_) | BindAddress::Tcp(_) => address.clone(),
    }
}

pub(super) fn runtime(file: &ConfigFile) -> RuntimeSettings {
    let bind = |listener: &Listener| Bind { name: listener.name.value.as_str().into(), address: resolved(file, &listener.address.value) };
    RuntimeSettings { workers: file.workers, binds: file.listeners.iter().map(bind).collect() }
}

pub(super) fn trust(file: &ConfigFile) -> Trust {
    let header = if file.trust.forwarded_header { ForwardingHeader::Forwarded } else { ForwardingHeader::XForwardedFor };
    Trust { proxy_from: file.trust.proxy_from.clone(), forwarded_from: file.trust.forwarded_from.clone(), header }
}

pub(super) fn limits(file: &ConfigFile) -> Limits {
    let limits = &file.limits;
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Limits {
        handshake: limits.handshake,
        head: limits.head,
        idle: limits.idle,
        body_progress: limits.body_progress,
        connect: limits.connect,
        response: limits.response,
        head_bytes: count(limits.head_bytes),
        body_bytes: Some(limits.body_bytes).filter(|bytes| *bytes > 0),
        drain: limits.drain,
        connections: count(limits.connections),
        handshakes: count(limits.handshakes),
        max_connection_age: Some(limits.max_connection_age).filter(|age| !age.is_zero()),
        denial_lines: small(limits.denial_lines),
        principal_rate: small(limits.principal_rate),
        principal_concurrency: small(limits.principal_concurrency),
        challenge_rate: small(limits.challenge_rate),
    }
}
