//! From text to types, as far as that goes without looking at another file: globs, ids, attributes, endpoints, routes. Made once for
//! each content of the configuration file; whatever its sources then hold, `compile` puts the two together.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use super::error::{At, Problem, Span};
use super::file::{
    AuthorityEntry, CertificateFiles, CertificateSource, ConfigFile, PermissionEntry, PrincipalEntry, RouteEntry, TermsEntry,
};
use super::settings::{limits, resolved, runtime, trust};
use crate::address::Trust;
use crate::admission::bounds::BoundKind;
use crate::admission::{
    Attribute, Bounds, Identifier, Permission, Principal, PrincipalId, PrincipalName, Provenance, Renewal, RouteScope, StaleCrl, Terms,
};
use crate::limits::Limits;
use crate::listener::{BindAddress, RuntimeSettings};
use crate::pki::{Certificate, Located, files};
use crate::routing::{self, AccessRule, HostPattern, Route, Routes, path};
use crate::store::is_url;
use crate::store::restrictions::IdEntry;
use crate::upstream::{self, EndpointAddress};

/// The configuration, compiled as far as it stands for itself.
#[derive(Debug)]
pub struct Plan {
    pub file: ConfigFile,
    pub principals: Vec<PlannedPrincipal>,
    pub allowlists: Vec<PlannedList>,
    /// `[revocation] ids` and every `revoked_ids`.
    pub revoked: Vec<IdEntry>,
    pub revocation_files: Vec<PathBuf>,
    /// Files, directories and URLs.
    pub crls: Vec<PathBuf>,
    pub stale: StaleCrl,
    pub runtime: RuntimeSettings,
    pub monitor: Option<BindAddress>,
    pub limits: Limits,
    pub trust: Trust,
    /// Without what their files hold.
    pub upstreams: Vec<upstream::Settings>,
}

/// A `[[principal]]`, but for the certificates that are in files.
#[derive(Debug)]
pub struct PlannedPrincipal {
    pub principal: Principal,
    pub certificates: Vec<Planned>,
    pub password_file: Option<PathBuf>,
    pub authorities: Vec<PlannedAuthority>,
}

/// An authority, but for its certificates.
#[derive(Debug)]
pub struct PlannedAuthority {
    pub certificates: Vec<Planned>,
    pub bounds: Bounds,
    pub written: Provenance,
}

/// Certificates: to be read, or read.
#[derive(Debug)]
pub enum Planned {
    File(PathBuf, Span),
    Inline(Vec<Located<Certificate>>, Span),
}

/// An `[[allowlist]]`.
#[derive(Debug)]
pub struct PlannedList {
    pub path: PathBuf,
    pub terms: Arc<Terms>,
}

impl Plan {
    /// Compiles what the file says, or says everything that is wrong with it.
    /// Terms that stand as they stood in `before` are taken from there: rosters that were compiled under them need no change.
    pub fn compile(file: ConfigFile, before: Option<&Self>) -> Result<Self, Vec<Problem>> {
        let mut planner = Planner { file: &file, before, problems: Vec::new() };
        let principals: Vec<_> = file.principals.iter().map(|entry| planner.principal(entry)).collect();
        let allowlists: Vec<_> = file.allowlists.iter().map(|entry| planner.list(&entry.path, &entry.terms)).collect();
        let revoked = planner.revoked();
        let upstreams: Vec<_> = file.upstreams.iter().map(|entry| planner.upstream(entry)).collect();
        planner.check_routes();
        let mut problems = planner.problems;
        if !problems.is_empty() {
            problems.sort_by_key(|problem| (problem.line, problem.column));
            return Err(problems);
        }
        let path = |path: &At<String>| file.resolve(&path.value);
        let plan = Self {
            principals: principals.into_iter().flatten().collect(),
            allowlists,
            revoked,
            revocation_files: file.revocation.files.iter().map(path).collect(),
            crls: file.revocation.crls.iter().map(|entry| entry.value.path(&file)).collect(),
            stale: if file.revocation.stale_denies { StaleCrl::Deny } else { StaleCrl::Warn },
            runtime: runtime(&file),
            monitor: file.monitor.as_ref().map(|monitor| resolved(&file, &monitor.address.value)),
            limits: limits(&file),
            trust: trust(&file),
            upstreams,
            file,
        };
        // Compiled once here for its errors; each install compiles its own.
        plan.routes().map_err(|problem| vec![problem])?;
        Ok(plan)
    }

    /// Compiles the routes.
    pub fn routes(&self) -> Result<Routes, Problem> {
        let routes = self.file.routes.iter().map(|entry| self.route(entry)).collect();
        Routes::compile(routes).map_err(|tie| {
            let (first, second) = (&self.file.routes[tie.first], &self.file.routes[tie.second]);
            let line = self.file.document.line(first.name.span.start);
            let message =
                format!("route `{}` ties with `{}` in line {line}: they match the same requests", second.name.value, first.name.value);
            self.file.problem(second.name.span, message).help("give them different hosts or paths")
        })
    }

    /// Returns every file and directory that is named.
    pub fn paths(&self) -> Vec<PathBuf> {
        let file = &self.file;
        let mut paths: Vec<PathBuf> = self.allowlists.iter().map(|list| list.path.clone()).collect();
        for planned in &self.principals {
            paths.extend(planned.password_file.clone());
            let certificates = planned.certificates.iter().chain(planned.authorities.iter().flat_map(|authority| &authority.certificates));
            paths.extend(certificates.filter_map(|source| match source {
                Planned::File(path, _) => Some(path.clone()),
                Planned::Inline(..) => None,
            }));
        }
        let of_monitor = file.monitor.iter().filter_map(|monitor| monitor.certificate.as_ref());
        for files in file.listeners.iter().flat_map(|listener| &listener.certificates).chain(of_monitor) {
            let (first, second, third) = match &files.value {
                CertificateFiles::Pem { cert, key, password } => (Some(cert), Some(key), password.as_ref()),
                CertificateFiles::Pfx { pfx, password } => (Some(pfx), None, password.as_ref()),
            };
            paths.extend([first, second, third].into_iter().flatten().map(|path| file.resolve(path)));
        }
        for tls in file.upstreams.iter().filter_map(|upstream| upstream.tls.as_ref()) {
            paths.extend([&tls.ca, &tls.client_cert, &tls.client_key].into_iter().flatten().map(|path| file.resolve(&path.value)));
        }
        paths.extend(self.revocation_files.iter().chain(&self.crls).filter(|path| !is_url(path)).cloned());
        paths.extend(file.revocation.crls.iter().filter_map(|entry| Some(file.resolve(&entry.value.url()?.ca.as_ref()?.value))));
        paths
    }

    /// Where something in the configuration file was written.
    pub fn written(&self, span: Span) -> Provenance {
        written(&self.file, span)
    }

    fn route(&self, entry: &RouteEntry) -> Route {
        let scope = RouteScope { name: entry.name.value.as_str().into(), auth: entry.auth, csrf: entry.csrf };
        Route {
            policy: self.policy(&scope),
            scope,
            upstream: entry.upstream.value.as_str().into(),
            hosts: entry.hosts.iter().map(|host| pattern(&host.value)).collect(),
            path: entry.path.value.as_str().into(),
            upgrades: entry.upgrades.iter().map(|token| token.as_str().into()).collect(),
            rules: entry
                .rules
                .iter()
                .map(|rule| AccessRule { methods: rule.methods.clone(), path: rule.path.value.as_str().into(), access: rule.access })
                .collect(),
            case_sensitive: entry.case_sensitive,
            keep_encoded_slash: entry.keep_encoded_slash,
            judge_without_parameters: entry.judge_without_parameters,
        }
    }

    /// Tells the set of principals that may ever use a route from others: a connection opened for one is no connection for another (421).
    fn policy(&self, route: &RouteScope) -> Box<str> {
        let terms = self.principals.iter().map(|entry| &entry.principal.terms).chain(self.allowlists.iter().map(|entry| &entry.terms));
        let reaching = terms.enumerate().filter(|(_, terms)| terms.may_reach(route)).map(|(at, _)| at.to_string());
        reaching.collect::<Vec<_>>().join(",").into()
    }
}

/// Reads entry by entry, and goes on after a mistake.
struct Planner<'f> {
    file: &'f ConfigFile,
    before: Option<&'f Plan>,
    problems: Vec<Problem>,
}

impl Planner<'_> {
    fn principal(&mut self, entry: &PrincipalEntry) -> Option<PlannedPrincipal> {
        let name: Option<PrincipalName> = self.parse(&entry.name);
        let id: Option<Option<PrincipalId>> = entry.id.as_ref().map_or(Some(None), |id| self.parse(id).map(Some));
        let is_pinned = !(entry.certificates.is_empty() && entry.fingerprints.is_empty() && entry.spki_pins.is_empty());
        let default = if is_pinned { Identifier::Principal } else { Identifier::Attribute(Attribute::CommonName) };
        let terms = Arc::new(self.terms(&entry.terms, default));
        let certificates = entry.certificates.iter().filter_map(|source| self.certificates(source)).collect();
        let authorities = entry.authorities.iter().filter_map(|authority| self.authority(authority)).collect();
        let name = name?;
        let principal = Principal {
            id: id?.unwrap_or_else(|| PrincipalId::derived(&name)),
            name,
            display_name: entry.display_name.as_deref().map(Into::into),
            terms,
            provenance: written(self.file, entry.name.span),
        };
        let password_file = entry.password_file.as_ref().map(|path| self.file.resolve(&path.value));
        Some(PlannedPrincipal { principal, certificates, password_file, authorities })
    }

    fn authority(&mut self, entry: &AuthorityEntry) -> Option<PlannedAuthority> {
        let mut bounds = Bounds::default();
        let kinds = [
            (BoundKind::CommonNames, &entry.common_names),
            (BoundKind::DnsSans, &entry.dns_sans),
            (BoundKind::EmailSans, &entry.email_sans),
            (BoundKind::UriSans, &entry.uri_sans),
            (BoundKind::OrganizationalUnits, &entry.organizational_units),
        ];
        for (kind, globs) in kinds {
            self.bound(globs.as_deref(), |texts| bounds.set(kind, texts));
        }
        self.bound(entry.extensions.as_deref(), |texts| bounds.set_extensions(texts));
        let certificates = entry.certificates.iter().filter_map(|source| self.certificates(source)).collect();
        Some(PlannedAuthority { certificates, bounds, written: written(self.file, entry.span) })
    }

    /// Sets one bound, as often as it takes to say what is wrong with each of its entries.
    fn bound<E: Display>(&mut self, globs: Option<&[At<String>]>, mut set: impl FnMut(&[&str]) -> Result<(), (usize, E)>) {
        let Some(globs) = globs else { return };
        let mut rest: Vec<&At<String>> = globs.iter().collect();
        while !rest.is_empty() {
            let texts: Vec<&str> = rest.iter().map(|glob| glob.value.as_str()).collect();
            match set(&texts) {
                Ok(()) => return,
                Err((at, why)) if at < rest.len() => self.refuse(rest.remove(at), &why),
                Err((_, why)) => return self.refuse(rest[0], &why),
            }
        }
    }

    fn list(&mut self, path: &At<String>, terms: &TermsEntry) -> PlannedList {
        let path = self.file.resolve(&path.value);
        let terms = self.terms(terms, Identifier::Principal);
        let known = self.before.and_then(|before| before.allowlists.iter().find(|list| list.path == path && *list.terms == terms));
        let terms = known.map_or_else(|| Arc::new(terms), |list| Arc::clone(&list.terms));
        PlannedList { path, terms }
    }

    fn terms(&mut self, entry: &TermsEntry, default: Identifier) -> Terms {
        Terms {
            enabled: entry.enabled,
            valid_from: entry.valid_from,
            valid_until: entry.valid_until,
            client_ips: entry.client_ips.clone(),
            gateway_ips: entry.gateway_ips.clone(),
            cors_origins: self.parse_all(&entry.cors_origins),
            serve: entry.serve.clone(),
            clearance: entry.clearance,
            permissions: entry.permissions.iter().map(|permission| self.permission(permission)).collect(),
            identifier: entry.identifier.as_ref().and_then(|identifier| self.parse(identifier)).unwrap_or(default),
            audit_claims: self.parse_all(&entry.audit_claims),
            allow_any_eku: entry.allow_any_eku,
            // Whoever writes the list by hand writes its renewals too.
            renewal: Renewal::None,
            require_crl_dp: entry.require_crl_dp,
            token_ttl: entry.token_ttl,
            expiry_notice: entry.expiry_notice.clone(),
            description: entry.description.as_deref().map(Into::into),
        }
    }

    fn permission(&mut self, entry: &PermissionEntry) -> Permission {
        let mut when = Vec::new();
        for (attribute, globs) in &entry.when {
            let globs = self.parse_all(globs);
            when.extend(self.parse::<Attribute>(attribute).map(|attribute| (attribute, globs)));
        }
        Permission { routes: self.parse_all(&entry.routes), access: entry.access, when }
    }

    fn revoked(&mut self) -> Vec<IdEntry> {
        let file = self.file;
        let mut found = Vec::new();
        let global = file.revocation.ids.iter().map(|id| (id, None));
        let own = file.principals.iter().flat_map(|entry| entry.revoked_ids.iter().map(move |id| (id, Some(&entry.name.value))));
        for (id, principal) in global.chain(own) {
            let principal: Option<PrincipalName> = principal.and_then(|name| name.parse().ok());
            found.extend(self.parse(id).map(|parsed| IdEntry { id: parsed, line: file.document.line(id.span.start), principal }));
        }
        found
    }

    /// Reads certificates that stand in the configuration itself.
    fn certificates(&mut self, source: &At<CertificateSource>) -> Option<Planned> {
        match &source.value {
            CertificateSource::File(path) => Some(Planned::File(self.file.resolve(path), source.span)),
            CertificateSource::Inline(pem) => match files::certificates(pem.as_bytes(), None) {
                Ok(found) => Some(Planned::Inline(found, source.span)),
                Err(error) => {
                    self.problems.push(self.file.problem(source.span, format!("the certificate: {error}")));
                    None
                }
            },
        }
    }

    fn upstream(&mut self, entry: &super::file::UpstreamEntry) -> upstream::Settings {
        let mut endpoints = Vec::new();
        for text in &entry.endpoints {
            match text.value.parse::<upstream::Endpoint>() {
                Ok(mut endpoint) => {
                    if let EndpointAddress::Unix(path) = &mut endpoint.address {
                        *path = self.file.directory.join(&*path);
                    }
                    endpoints.push(endpoint);
                }
                Err(why) => self.problems.push(self.file.problem(text.span, format!("`{}`: {why}", text.value))),
            }
        }
        let limits = &self.file.limits;
        if let Some(tls) = entry.tls.as_ref().filter(|_| !endpoints.iter().any(|endpoint| endpoint.protocol.is_tls())) {
            let help = "use https:// or h2:// endpoints, or leave `tls` out";
            self.problems.push(self.file.problem(tls.span, "`tls` stands beside endpoints without TLS").help(help));
        }
        upstream::Settings {
            name: entry.name.value.as_str().into(),
            endpoints,
            connect: limits.connect,
            first_byte: limits.response,
            body_progress: limits.body_progress,
            ..upstream::Settings::default()
        }
    }

    /// A path that no request's normal form can have would never match, and leave its upstream open to a lesser rule.
    fn check_routes(&mut self) {
        let file = self.file;
        for route in &file.routes {
            self.check_path(&route.path);
            if route.path.value.contains('*') {
                let problem = file.problem(route.path.span, "a route's path is a prefix, and has no `*`");
                self.problems.push(problem.help("leave it out: `/orders/` matches all that lies below"));
            }
            for rule in &route.rules {
                self.check_path(&rule.path);
                if let Err(why) = routing::check_rule_path(&rule.path.value, &route.path.value, route.case_sensitive) {
                    self.problems.push(file.problem(rule.path.span, format!("`{}`: {why}", rule.path.value)));
                }
            }
        }
    }

    fn check_path(&mut self, at: &At<String>) {
        match path::normalise(&at.value) {
            Ok(normal) if *normal.text == *at.value => {}
            Ok(normal) => {
                let problem = self.file.problem(at.span, format!("`{}` is not in the form that requests are judged in", at.value));
                self.problems.push(problem.help(format!("write it as \"{}\"", normal.text)));
            }
            Err(_) => self.problems.push(self.file.problem(at.span, format!("`{}` is no path that a request can have", at.value))),
        }
    }

    fn parse_all<T: FromStr<Err: Display>>(&mut self, texts: &[At<String>]) -> Vec<T> {
        texts.iter().filter_map(|text| self.parse(text)).collect()
    }

    fn parse<T: FromStr<Err: Display>>(&mut self, text: &At<String>) -> Option<T> {
        text.value.parse().map_err(|why| self.refuse(text, &why)).ok()
    }

    fn refuse(&mut self, text: &At<String>, why: &impl Display) {
        self.problems.push(self.file.problem(text.span, format!("`{}` {why}", text.value)));
    }
}

fn written(file: &ConfigFile, span: Span) -> Provenance {
    Provenance { file: Arc::clone(&file.document.name), line: file.document.line(span.start) }
}

fn pattern(host: &str) -> HostPattern {
    match host.starts_with("*.") {
        true => HostPattern::Wildcard(host.into()),
        false => HostPattern::Exact(host.into()),
    }
}
