//! What is wrong between tables of the configuration file: names used twice, names of nothing, addresses taken twice.

use std::collections::BTreeMap;

use super::error::{At, nearest};
use super::file::ConfigFile;
use super::reader::Reader;
use crate::admission::Surface;
use crate::listener::BindAddress;

/// Says all of it.
pub(super) fn check(file: &ConfigFile, reader: &Reader<'_>) {
    unique(reader, "listener", file.listeners.iter().map(|listener| &listener.name));
    unique(reader, "route", file.routes.iter().map(|route| &route.name));
    unique(reader, "upstream", file.upstreams.iter().map(|upstream| &upstream.name));
    unique(reader, "principal", file.principals.iter().map(|principal| &principal.name));
    unique(reader, "id", file.principals.iter().filter_map(|principal| principal.id.as_ref()));
    check_addresses(file, reader);
    let upstreams: Vec<&str> = file.upstreams.iter().map(|upstream| upstream.name.value.as_str()).collect();
    for route in &file.routes {
        known(reader, "upstream", &route.upstream, &upstreams);
    }
    let routes: Vec<&str> = file.routes.iter().map(|route| route.name.value.as_str()).collect();
    let terms = file.allowlists.iter().map(|entry| &entry.terms).chain(file.principals.iter().map(|entry| &entry.terms));
    for permission in terms.flat_map(|terms| &terms.permissions) {
        for route in permission.routes.iter().filter(|route| !route.value.contains(['*', '?', '\\'])) {
            known(reader, "route", route, &routes);
        }
    }
    check_control_hosts(file, reader);
    if file.trust.proxy_from.is_empty() {
        for listener in file.listeners.iter().filter(|listener| listener.proxy_protocol) {
            let help = "list the load balancers in [trust] proxy_from: who may speak PROXY has to be said".to_owned();
            reader.error(listener.name.span, "`proxy_protocol = \"require\"`, and nobody may speak PROXY", Some(help));
        }
    }
}

/// What is ours to answer and what is an upstream's must differ by something: by listener, or by host.
fn check_control_hosts(file: &ConfigFile, reader: &Reader<'_>) {
    for listener in &file.listeners {
        let proxied = listener.serve.iter().any(|surface| surface.is_proxied());
        let ours = listener.serve.iter().find(|surface| !surface.is_proxied());
        match (ours, listener.control_hosts.first()) {
            (Some(ours), None) if proxied => {
                let message =
                    format!("listener `{}` serves \"{}\" beside \"proxy\", and nothing tells them apart", listener.name.value, ours.name());
                let help = "add control_hosts = [\"admin.example.com\"], or a listener of its own".to_owned();
                reader.error(listener.name.span, message, Some(help));
            }
            // A challenge names the host that was dialled, if that is one of ours.
            (Some(_), Some(host)) if !proxied && !listener.serve.contains(&Surface::Challenge) => {
                let help = "leave it out: every host is ours where \"proxy\" is not served".to_owned();
                reader.error(host.span, "`control_hosts` stands on a listener that serves no \"proxy\"", Some(help));
            }
            (None, Some(host)) => {
                let help = "add \"admin\" to `serve`, or leave it out".to_owned();
                reader.error(host.span, "`control_hosts` stands on a listener that serves only \"proxy\"", Some(help));
            }
            _ => {}
        }
    }
}

fn check_addresses(file: &ConfigFile, reader: &Reader<'_>) {
    let mut seen = Vec::new();
    let monitor = file.monitor.iter().map(|monitor| &monitor.address);
    for address in file.listeners.iter().map(|listener| &listener.address).chain(monitor) {
        // Port 0 is a new port for each.
        let any_port = matches!(&address.value, BindAddress::Tcp(address) if address.port() == 0);
        if !any_port && seen.contains(&&address.value) {
            reader.error(address.span, "this address is taken by another listener", None);
        }
        seen.push(&address.value);
    }
}

/// Refuses a name that stands twice; letters of either case are the same.
fn unique<'a>(reader: &Reader<'_>, kind: &str, names: impl Iterator<Item = &'a At<String>>) {
    let mut seen = BTreeMap::new();
    for name in names {
        if let Some(first) = seen.insert(name.value.to_lowercase(), name.span) {
            let line = reader.document.line(first.start);
            reader.error(name.span, format!("{kind} `{}` stands in line {line} already", name.value), Some("names are unique".to_owned()));
        }
    }
}

/// Refuses the name of something that is not there.
fn known(reader: &Reader<'_>, kind: &str, name: &At<String>, names: &[&str]) {
    if !names.contains(&name.value.as_str()) {
        let help = match nearest(&name.value, names.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("add a [[{kind}]] with this name"),
        };
        reader.error(name.span, format!("there is no {kind} `{}`", name.value), Some(help));
    }
}
