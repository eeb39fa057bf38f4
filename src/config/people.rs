//! Reads the tables about who: allowlists, principals, authorities, permissions.

use super::error::At;
use super::file::{AllowlistEntry, AuthorityEntry, CertificateSource, MaxShrink, PermissionEntry, PrincipalEntry, TermsEntry};
use super::sections::{self, fingerprint, plain};
use super::table::Table;
use super::value;
use super::words::Words;
use crate::admission::{Access, Clearance, Terms};
use crate::pki::SpkiPin;

pub(super) fn allowlist(table: &Table<'_>) -> Option<AllowlistEntry> {
    let path = table.required("path", table.file("path"));
    let prefix = table.parsed("prefix", prefix).map(|prefix| prefix.value).unwrap_or_default();
    let terms = terms(table);
    if !table.has("role") && !table.has("permissions") {
        table.missing("role", Some("say what they may do: role = \"Reader\" or \"Contributor\", or permissions".to_owned()));
    }
    if terms.clearance != Clearance::User {
        let key = if table.has("role") { "role" } else { "clearance" };
        let help = "a file that anybody may append to makes no administrators: use a [[principal]]".to_owned();
        table.error(key, "an allowlist gives no clearance beyond user", Some(help));
    }
    let max_shrink = table.table("max_shrink").map_or_else(MaxShrink::default, |table| max_shrink(&table));
    table.finish();
    Some(AllowlistEntry { path: path?, prefix, terms, max_shrink })
}

fn max_shrink(table: &Table<'_>) -> MaxShrink {
    let defaults = MaxShrink::default();
    let share = table.share("share").unwrap_or(defaults.share);
    let min = table.number("min", 0..=u64::MAX).map_or(defaults.min, |min| min.value);
    table.finish();
    MaxShrink { share, min }
}

impl Default for MaxShrink {
    fn default() -> Self {
        Self { share: 0.5, min: 100 }
    }
}

pub(super) fn principal(table: &Table<'_>) -> Option<PrincipalEntry> {
    let name = table.required("name", table.parsed("name", principal_name));
    let id = table.parsed("id", principal_id);
    let display_name = table.parsed("display_name", value::printable).map(|name| name.value);
    let terms = terms(table);
    let certificates = table.list("certificates", certificate_source).map(|list| list.value).unwrap_or_default();
    note_files(table, &certificates);
    let password_file = table.file("password_file");
    let fingerprints = table.list("fingerprints", fingerprint).map(|list| list.value).unwrap_or_default();
    let spki_pins = table.list("spki_pins", spki_pin).map(|list| list.value).unwrap_or_default();
    let revoked_ids = table.list("revoked_ids", value::printable).map(|list| list.value).unwrap_or_default();
    let authorities: Vec<_> = table.one_or_more("authority").iter().map(authority).collect();
    table.word("renewal", &[("none", Ok(())), ("same-key", Err(STATIC))]);
    if !["certificates", "fingerprints", "spki_pins", "authority"].into_iter().any(|key| table.has(key)) {
        let help = "give certificates, fingerprints, spki_pins, or a [principal.authority]".to_owned();
        table.reader().missing(table.span, "this principal has no credential: nothing could prove it", Some(help));
    } else if certificates.is_empty() && fingerprints.is_empty() && spki_pins.is_empty() && authorities.is_empty() {
        let wrong = ["certificates", "fingerprints", "spki_pins"].into_iter().find(|key| table.is_filled(key));
        // A list whose only entries were refused has been talked about.
        if wrong.is_none() {
            table.reader().error(table.span, "this principal has no credential: its lists are empty", None);
        }
    }
    table.finish();
    Some(PrincipalEntry {
        span: table.span,
        name: name?,
        id,
        display_name,
        terms,
        certificates,
        password_file,
        fingerprints,
        spki_pins,
        authorities: authorities.into_iter().collect::<Option<_>>()?,
        revoked_ids,
    })
}

fn authority(table: &Table<'_>) -> Option<AuthorityEntry> {
    let certificates = table.full_list("certificates", "an authority needs its trust anchors", certificate_source);
    let certificates = table.required("certificates", certificates);
    note_files(table, certificates.as_ref().map(|list| list.value.as_slice()).unwrap_or_default());
    let bound = |key| {
        let help = "an empty list would match nothing: leave it out for no bound of this kind";
        table.full_list(key, help, |text| Ok(text.to_owned())).map(|list| list.value)
    };
    let common_names = bound("common_names");
    let dns_sans = bound("dns_sans");
    let email_sans = bound("email_sans");
    let uri_sans = bound("uri_sans");
    let organizational_units = bound("organizational_units");
    let extensions = bound("extensions");
    let any = table.flag("any").unwrap_or(false);
    let bounds = ["common_names", "dns_sans", "email_sans", "uri_sans", "organizational_units", "extensions"];
    match bounds.into_iter().find(|key| table.has(key)) {
        Some(key) if any => {
            table.error("any", format!("`any = true` stands beside `{key}`: which one holds?"), Some("take one of them away".to_owned()));
        }
        None if !any => {
            let help =
                "add common_names, dns_sans or another bound; or say any = true to admit every certificate of this authority".to_owned();
            table.reader().missing(table.span, "this authority has no bounds", Some(help));
        }
        Some(_) | None => {}
    }
    let priority = table.number("priority", 0..=u64::from(u32::MAX));
    let require_client_eku = table.flag("require_client_eku").unwrap_or(true);
    table.finish();
    Some(AuthorityEntry {
        span: table.span,
        certificates: certificates?.value,
        any,
        common_names,
        dns_sans,
        email_sans,
        uri_sans,
        organizational_units,
        extensions,
        priority: priority.and_then(|priority| u32::try_from(priority.value).ok()).unwrap_or(100),
        require_client_eku,
    })
}

/// Reads conditions, clearance, permissions and identifier.
fn terms(table: &Table<'_>) -> TermsEntry {
    let enabled = table.flag("enabled").unwrap_or(true);
    let valid_from = table.time("valid_from");
    let valid_until = table.time("valid_until");
    if let (Some(from), Some(until)) = (&valid_from, &valid_until)
        && from.value > until.value
    {
        table.error("valid_until", "`valid_until` lies before `valid_from`", None);
    }
    let client_ips = table.full_list("client_ips", "an empty list would keep everybody out: leave it out for any address", value::network);
    let gateway_ips = plain(table.list("gateway_ips", value::network));
    let cors_origins = table.list("cors_origins", value::printable).map(|list| list.value).unwrap_or_default();
    let serve = table.full_list("serve", "leave it out for every surface", sections::surface);
    let (clearance, permissions) = rights(table);
    let identifier = table.parsed("identifier", value::printable);
    let audit_claims = table.list("audit_claims", value::printable).map(|list| list.value).unwrap_or_default();
    let allow_any_eku = table.flag("allow_any_eku").unwrap_or(false);
    let require_crl_dp = table.flag("require_crl_dp").unwrap_or(false);
    let token_ttl = table.duration("token_ttl", Terms::TOKEN_TTL);
    let expiry_notice = table.numbers("expiry_notice", Terms::EXPIRY_NOTICE);
    let description = table.parsed("description", value::printable).map(|text| text.value);
    TermsEntry {
        enabled,
        valid_from: valid_from.map(|time| time.value),
        valid_until: valid_until.map(|time| time.value),
        client_ips: client_ips.map(|list| list.value.into_iter().map(|net| net.value).collect()),
        gateway_ips,
        cors_origins,
        serve: serve.map(|list| list.value.into_iter().map(|surface| surface.value).collect()),
        clearance,
        permissions,
        identifier,
        audit_claims,
        allow_any_eku,
        require_crl_dp,
        token_ttl,
        expiry_notice,
        description,
    }
}

/// Reads `role`, or `clearance` and `permissions`: never both, or one would have to win.
fn rights(table: &Table<'_>) -> (Clearance, Vec<PermissionEntry>) {
    let role = table.word("role", ROLES);
    let clearance = table.word("clearance", CLEARANCES);
    let permissions: Vec<_> = table.tables("permissions").iter().filter_map(permission).collect();
    if table.flag("require_when").unwrap_or(false) {
        require_when(table, clearance.as_ref().is_none_or(|word| word.value == Clearance::User), &permissions);
    }
    let Some(role) = role else { return (clearance.map_or(Clearance::User, |word| word.value), permissions) };
    for key in ["permissions", "clearance"] {
        if table.has(key) {
            let help = format!("`role` is shorthand for clearance and permissions: keep `role`, or `{key}`");
            table.error("role", format!("`role` stands beside `{key}`"), Some(help));
        }
    }
    let everywhere =
        |access| PermissionEntry { routes: vec![At { value: "*".to_owned(), span: role.span }], access: Some(access), when: Vec::new() };
    match role.value {
        Role::Administrator => (Clearance::Admin, Vec::new()),
        Role::Contributor => (Clearance::User, vec![everywhere(Access::Write)]),
        Role::Reader => (Clearance::User, vec![everywhere(Access::Read)]),
    }
}

/// Refuses what gives access without a condition on the leaf.
fn require_when(table: &Table<'_>, is_user: bool, permissions: &[PermissionEntry]) {
    let help = || Some("add `when` to it, or take `require_when` away".to_owned());
    if table.has("role") || !is_user {
        table.error("require_when", "`require_when` stands beside a role or clearance, which gives access without conditions", help());
    }
    for permission in permissions.iter().filter(|permission| permission.access.is_some() && permission.when.is_empty()) {
        let span = permission.routes.first().map_or(table.span, |route| route.span);
        table.reader().error(span, "this permission has no `when`, and `require_when` asks for one", help());
    }
}

fn permission(table: &Table<'_>) -> Option<PermissionEntry> {
    let routes = table.full_list("routes", "name routes, or \"*\" for all of them", value::printable);
    let routes = table.required("routes", routes);
    let access = table.required("access", table.word("access", GIVEN));
    let mut when = Vec::new();
    if let Some(table) = table.table("when") {
        for (attribute, globs) in table.own_lists("an attribute with a list of globs") {
            when.push((attribute, globs));
        }
        if when.is_empty() {
            table.reader().error(table.span, "`when` says nothing", Some("leave it out for a permission without condition".to_owned()));
        }
    }
    table.finish();
    Some(PermissionEntry { routes: routes?.value, access: access?.value, when })
}

#[derive(Clone, Copy)]
enum Role {
    Administrator,
    Contributor,
    Reader,
}

/// Reads a file's path, or PEM written into the configuration.
fn note_files(table: &Table<'_>, certificates: &[At<CertificateSource>]) {
    for certificate in certificates {
        if let CertificateSource::File(path) = &certificate.value {
            table.names_file(path, certificate.span);
        }
    }
}

fn certificate_source(text: &str) -> Result<CertificateSource, String> {
    match text.trim_start().starts_with("-----BEGIN") {
        true => Ok(CertificateSource::Inline(text.to_owned())),
        false => value::printable(text).map(CertificateSource::File),
    }
}

fn spki_pin(text: &str) -> Result<SpkiPin, String> {
    text.parse().map_err(|_| format!("`{text}` is no SPKI pin: write \"sha256/\" and the base64 of 32 bytes"))
}

fn principal_name(text: &str) -> Result<String, String> {
    let segment = |segment: &str| !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    match text.len() <= 256 && text.split('/').all(segment) {
        true => Ok(text.to_owned()),
        false => Err(format!("`{text}` is no name of a principal: segments of A-Z a-z 0-9 . _ - with `/` between them")),
    }
}

/// Reads the beginning of names: what it makes with a segment behind it has to be a name.
fn prefix(text: &str) -> Result<String, String> {
    match text.is_empty() || principal_name(&format!("{text}x")).is_ok() {
        true => Ok(text.to_owned()),
        false => Err(format!("`{text}` begins no name of a principal: A-Z a-z 0-9 . _ - and `/` between segments")),
    }
}

fn principal_id(text: &str) -> Result<String, String> {
    let plain = |rest: &str| rest.len() == 12 && rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    match text.strip_prefix("p-").is_some_and(plain) {
        true => Ok(text.to_owned()),
        false => Err(format!("`{text}` is no id: \"p-\" and 12 of a-z 0-9")),
    }
}

const CLEARANCES: &Words<Clearance> =
    &[("user", Ok(Clearance::User)), ("operator", Ok(Clearance::Operator)), ("admin", Ok(Clearance::Admin)), ("node", Ok(Clearance::Node))];

const GIVEN: &Words<Option<Access>> =
    &[("read", Ok(Some(Access::Read))), ("write", Ok(Some(Access::Write))), ("admin", Ok(Some(Access::Admin))), ("deny", Ok(None))];

/// What is said of renewal here.
const STATIC: &str = "is only for managed principals: a static list cannot grow by itself";

const ROLES: &Words<Role> =
    &[("Reader", Ok(Role::Reader)), ("Contributor", Ok(Role::Contributor)), ("Administrator", Ok(Role::Administrator))];
