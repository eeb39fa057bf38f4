//! Reads where requests go: `[[route]]` with its rules, and `[[upstream]]`.

use http::Method;
use rustls_pki_types::ServerName;

use super::error::At;
use super::file::{RouteEntry, RuleEntry, UpstreamEntry, UpstreamTls};
use super::sections::{ACCESS, ON_OFF, host};
use super::table::Table;
use super::value;
use super::words::LATER;
use crate::admission::RouteAuth;

pub(super) fn route(table: &Table<'_>) -> Option<RouteEntry> {
    let name = table.required("name", table.parsed("name", value::plain_name));
    let hosts = table.list("hosts", host);
    let path = table.parsed("path", rooted);
    let upstream = table.required("upstream", table.text("upstream"));
    let auth =
        table.word("auth", &[("required", Ok(RouteAuth::Required)), ("optional", Ok(RouteAuth::Optional)), ("none", Ok(RouteAuth::None))]);
    let csrf = table.word("csrf", ON_OFF);
    let upgrades = table.list("upgrades", upgrade);
    let rules: Vec<_> = table.tables("rules").iter().map(rule).collect();
    let case_sensitive = table.flag("case_sensitive").unwrap_or(true);
    let encoded_slash = table.word("encoded_slash", &[("refuse", Ok(false)), ("keep", Ok(true))]);
    let path_parameters = table.word("path_parameters", &[("refuse", Ok(false)), ("judge-without", Ok(true))]);
    table.finish();
    let name = name?;
    Some(RouteEntry {
        span: name.span,
        name,
        hosts: hosts.map(|list| list.value).unwrap_or_default(),
        path: path.unwrap_or(At { value: "/".to_owned(), span: table.span }),
        upstream: upstream?,
        auth: auth.map_or(RouteAuth::Required, |word| word.value),
        csrf: csrf.is_none_or(|word| word.value),
        upgrades: upgrades.map(|list| list.value.into_iter().map(|token| token.value).collect()).unwrap_or_default(),
        rules: rules.into_iter().collect::<Option<_>>()?,
        case_sensitive,
        keep_encoded_slash: encoded_slash.is_some_and(|word| word.value),
        judge_without_parameters: path_parameters.is_some_and(|word| word.value),
    })
}

fn rule(table: &Table<'_>) -> Option<RuleEntry> {
    let methods = table.full_list("methods", "leave it out for any method", method);
    let path = table.required("path", table.parsed("path", rooted));
    let access = table.required("access", table.word("access", ACCESS));
    table.finish();
    let methods = methods.map(|list| list.value.into_iter().map(|method| method.value).collect()).unwrap_or_default();
    Some(RuleEntry { methods, path: path?, access: access?.value })
}

pub(super) fn upstream(table: &Table<'_>) -> Option<UpstreamEntry> {
    let name = table.required("name", table.parsed("name", value::plain_name));
    let endpoints = table.full_list("endpoints", "an upstream needs at least one endpoint", value::printable);
    let endpoints = table.required("endpoints", endpoints);
    table.word("balance", &[("round-robin", Ok(())), ("least-requests", Err(LATER)), ("hash-identity", Err(LATER))]);
    if table.table("health").is_some() {
        table.error(
            "health",
            "`health` is not in this version",
            Some("leave it out: a dead endpoint is passed over when connecting".to_owned()),
        );
    }
    let tls = table.table("tls").map(|table| upstream_tls(&table));
    table.finish();
    Some(UpstreamEntry { name: name?, endpoints: endpoints?.value, tls })
}

fn upstream_tls(table: &Table<'_>) -> UpstreamTls {
    let ca = table.file("ca");
    let client_cert = table.file("client_cert");
    let client_key = table.file("client_key");
    let server_name = table.parsed("server_name", |text| match ServerName::try_from(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!("`{text}` is neither a DNS name nor an address")),
    });
    if client_cert.is_some() != client_key.is_some() {
        table.reader().error(table.span, "`client_cert` and `client_key` go together", None);
    }
    table.finish();
    UpstreamTls { span: table.span, ca, client_cert, client_key, server_name }
}

fn rooted(text: &str) -> Result<String, String> {
    if text.starts_with('/') { Ok(text.to_owned()) } else { Err(format!("`{text}` does not start with `/`")) }
}

fn upgrade(text: &str) -> Result<String, String> {
    match text.to_ascii_lowercase().as_str() {
        // A tunnel that nobody looks into, or another protocol that does not know our gate.
        protocol if protocol == "h2c" || protocol.starts_with("tls") || protocol.starts_with("http") => {
            Err(format!("`{text}` is never passed on"))
        }
        protocol if !protocol.is_empty() && protocol.bytes().all(|b| b.is_ascii_alphanumeric() || b"-./+_".contains(&b)) => {
            Ok(protocol.to_owned())
        }
        _ => Err(format!("`{text}` is no protocol: write \"websocket\"")),
    }
}

fn method(text: &str) -> Result<Method, String> {
    match Method::from_bytes(text.as_bytes()) {
        Ok(method) if text.bytes().all(|byte| !byte.is_ascii_lowercase()) => Ok(method),
        _ => Err(format!("`{text}` is no method: write it like \"GET\"")),
    }
}
