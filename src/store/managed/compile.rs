//! From a document to what the decision reads: every text parsed, every mistake said at once, by its key. The same words mean the same as
//! in the configuration file. What depends on the time (whether an anchor is valid now) is not asked here: what was recorded once can be
//! compiled for ever.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::UnixTime;

use super::document::{AuthorityDocument, CertificateSource, Document, PermissionDocument, certificates};
use super::managed::Kin;
use super::refusal::Invalid;
use crate::admission::bounds::BoundKind;
use crate::admission::conditions::network;
use crate::admission::layer::Entry;
use crate::admission::{
    Access, Attribute, Authority, Bounds, Clearance, Credential, Identifier, Permission, Pin, Predecessor, Principal, PrincipalId,
    PrincipalName, Provenance, Renewal, RevokedId, Surface, Terms,
};
use crate::clock::rfc3339;
use crate::date::{duration, duration_text};
use crate::pki::{Certificate, Fingerprint};

/// What need not be read again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known<'k> {
    /// Of each certificate: it was read, and compared with its fingerprint.
    pub(super) kin: Option<&'k [Kin]>,
    /// Those of a document with the same, which had nothing wrong with it.
    pub(super) terms: Option<&'k Arc<Terms>>,
}

impl Document {
    /// Entries of a list. Who has more certificates to pin has more principals.
    pub const MOST: usize = 1_000;

    /// Compiles, as entry `index` of the ledger has it.
    pub fn compile(&self, index: u64) -> Result<Entry, Vec<Invalid>> {
        self.compile_knowing(index, Known::default())
    }

    pub(super) fn compile_knowing(&self, index: u64, known: Known<'_>) -> Result<Entry, Vec<Invalid>> {
        let mut reader = Reader::default();
        // First: what follows compares some of them with one another, on the thread that takes people off the list.
        for (key, length) in self.lengths().into_iter().filter(|(_, length)| *length > Self::MOST) {
            reader.wrong(key, format!("has {length} entries, and {} are the most", Self::MOST));
        }
        if !reader.wrong.is_empty() {
            return Err(reader.wrong);
        }
        let id: Option<PrincipalId> = reader.parse("id", &self.id);
        let name: Option<PrincipalName> = reader.parse("name", &self.name);
        if let Some(display_name) = &self.display_name {
            reader.printable("display_name", display_name);
        }
        let terms = known.terms.cloned().unwrap_or_else(|| {
            self.check_require_when(&mut reader);
            Arc::new(self.terms(&mut reader))
        });
        let credentials = self.credentials(known.kin, &mut reader);
        if self.certificates.is_empty() && self.spki_pins.is_empty() && self.authority.is_empty() {
            let why = "this principal has no credential: nothing could prove it; give certificates, fingerprints, spki_pins or authority";
            reader.wrong("certificates", why);
        }
        for (at, text) in self.revoked_ids.iter().enumerate() {
            reader.parse::<RevokedId>(&format!("revoked_ids[{at}]"), text);
        }
        let (Some(id), Some(name), true) = (id, name, reader.wrong.is_empty()) else { return Err(reader.wrong) };
        let provenance = Provenance::ledger(index);
        let credentials = credentials.into_iter().map(|credential| (credential, provenance.clone())).collect();
        let display_name = self.display_name.as_deref().map(Into::into);
        Ok((Principal { id, name, display_name, terms, provenance }, credentials))
    }

    fn lengths(&self) -> [(&'static str, usize); 11] {
        [
            ("audit_claims", self.audit_claims.len()),
            ("authority", self.authority.len()),
            ("certificates", self.certificates.len()),
            ("client_ips", self.client_ips.as_ref().map_or(0, Vec::len)),
            ("cors_origins", self.cors_origins.len()),
            ("expiry_notice", self.expiry_notice.len()),
            ("gateway_ips", self.gateway_ips.len()),
            ("permissions", self.permissions.len()),
            ("revoked_ids", self.revoked_ids.len()),
            ("serve", self.serve.as_ref().map_or(0, Vec::len)),
            ("spki_pins", self.spki_pins.len()),
        ]
    }

    /// Says which trust anchors are of no use now: asked when a document comes, not of what was recorded.
    pub fn untimely(&self, now: UnixTime) -> Vec<Invalid> {
        let mut wrong = Vec::new();
        for (at, entry) in self.authority.iter().enumerate() {
            let Ok(authority) = entry.compile(&format!("authority[{at}]"), &mut Reader::default()) else { continue };
            for problem in authority.problems(now, 0).iter().filter(|problem| problem.kind.is_of_time()) {
                let key = format!("authority[{at}].certificates");
                wrong.push(Invalid::new(key, format!("certificate {} {}", problem.index + 1, problem.kind.describe())));
            }
        }
        wrong
    }

    fn terms(&self, reader: &mut Reader) -> Terms {
        let is_pinned = !(self.certificates.is_empty() && self.spki_pins.is_empty());
        let default = if is_pinned { Identifier::Principal } else { Identifier::Attribute(Attribute::CommonName) };
        let valid_from = reader.time("valid_from", self.valid_from.as_deref());
        let valid_until = reader.time("valid_until", self.valid_until.as_deref());
        if let (Some(from), Some(until)) = (valid_from, valid_until)
            && from > until
        {
            reader.wrong("valid_until", "lies before `valid_from`");
        }
        if let Some(word) = self.renewal.as_deref()
            && !["none", "same-key"].contains(&word)
        {
            reader.wrong("renewal", format!("`{word}` is neither \"none\" nor \"same-key\""));
        }
        let clearance = self.clearance.as_deref().map_or(Some(Clearance::User), |word| reader.word("clearance", word, CLEARANCES));
        let filled = |list: &Option<Vec<String>>| list.as_ref().is_some_and(Vec::is_empty);
        for (key, is_empty) in [("client_ips", filled(&self.client_ips)), ("serve", filled(&self.serve))] {
            if is_empty {
                reader.wrong(key, "is an empty list, which would keep everybody out: leave it out");
            }
        }
        Terms {
            enabled: self.enabled,
            valid_from,
            valid_until,
            client_ips: self.client_ips.as_ref().map(|texts| reader.all("client_ips", texts, network)),
            gateway_ips: reader.all("gateway_ips", &self.gateway_ips, network),
            cors_origins: reader.parse_all("cors_origins", &self.cors_origins),
            serve: self.serve.as_ref().map(|words| {
                let surface = |(at, word): (usize, &String)| reader.word(&format!("serve[{at}]"), word, SURFACES);
                words.iter().enumerate().filter_map(surface).collect()
            }),
            clearance: clearance.unwrap_or_default(),
            permissions: self.permissions.iter().enumerate().map(|(at, entry)| entry.compile(at, reader)).collect(),
            identifier: self.identifier.as_ref().and_then(|text| reader.parse("identifier", text)).unwrap_or(default),
            audit_claims: reader.parse_all("audit_claims", &self.audit_claims),
            allow_any_eku: self.allow_any_eku,
            renewal: self.renewal(reader),
            require_crl_dp: self.require_crl_dp,
            token_ttl: self.token_ttl.as_deref().and_then(|text| reader.token_ttl(text)),
            expiry_notice: self.notices(reader),
            description: self.description.as_deref().map(|text| {
                reader.printable("description", text);
                text.into()
            }),
        }
    }

    fn notices(&self, reader: &mut Reader) -> Vec<u32> {
        let range = Terms::EXPIRY_NOTICE;
        for (at, days) in self.expiry_notice.iter().enumerate().filter(|(_, days)| !range.contains(days)) {
            reader.wrong(&format!("expiry_notice[{at}]"), format!("{days} is not {} to {} days", range.start(), range.end()));
        }
        self.expiry_notice.clone()
    }

    /// Refuses what gives access without a condition on the leaf, where there has to be one.
    fn check_require_when(&self, reader: &mut Reader) {
        if !self.require_when {
            return;
        }
        if self.clearance() != Clearance::User {
            reader.wrong("require_when", "stands beside a clearance, which gives access without conditions");
        }
        for (at, _) in self.permissions.iter().enumerate().filter(|(_, entry)| entry.access != "deny" && entry.when.is_empty()) {
            reader.wrong(&format!("permissions[{at}].when"), "is missing, and `require_when` asks for it");
        }
    }

    /// Says what a renewed certificate is compared with. What cannot be read was said of the credentials.
    fn renewal(&self, reader: &mut Reader) -> Renewal {
        if !self.renews_same_key() {
            return Renewal::None;
        }
        let mut predecessors = Vec::new();
        for (at, entry) in self.certificates.iter().enumerate() {
            let issuer = match entry.issuer.as_deref().map(certificates) {
                Some(Ok(mut found)) if found.len() == 1 => found.pop().map(Arc::new),
                Some(Ok(_)) => {
                    reader.wrong(&format!("certificates[{at}].issuer"), "holds more than one certificate");
                    None
                }
                Some(Err(why)) => {
                    reader.wrong(&format!("certificates[{at}].issuer"), why);
                    None
                }
                None => None,
            };
            let is_renewed = entry.source == CertificateSource::Renewed;
            let added = entry.added.as_deref().and_then(rfc3339).map(|at| UnixTime::since_unix_epoch(Duration::from_secs(at)));
            if let Some(Ok(certificate)) = entry.certificate() {
                predecessors.push(Predecessor { certificate: Arc::new(certificate), issuer, renewed: added.filter(|_| is_renewed) });
            }
        }
        Renewal::SameKey(predecessors.into())
    }

    fn credentials(&self, kin: Option<&[Kin]>, reader: &mut Reader) -> Vec<Credential> {
        let mut credentials = Vec::with_capacity(self.certificates.len() + self.spki_pins.len());
        for (at, entry) in self.certificates.iter().enumerate() {
            let key = |key: &str| format!("certificates[{at}].{key}");
            let Some(fingerprint) = reader.with(|| key("fingerprint"), &entry.fingerprint, |text| text.parse::<Fingerprint>()) else {
                continue;
            };
            if let Some(kin) = kin.and_then(|kin| kin.get(at)) {
                credentials.push(Credential::Pin(Pin::known(fingerprint, *kin)));
                continue;
            }
            if let Some(read) = entry.der.as_ref().and_then(|_| entry.read.pin(&fingerprint, self.allow_any_eku)) {
                match read {
                    Ok(pin) => credentials.push(Credential::Pin(pin)),
                    Err(why) => reader.unsuitable(&key("der"), why),
                }
                continue;
            }
            match entry.certificate() {
                None => credentials.push(Credential::Pin(Pin::from(fingerprint))),
                Some(Err(why)) => reader.wrong(&key("der"), why),
                Some(Ok(certificate)) if certificate.fingerprint != fingerprint => {
                    reader.wrong(&key("fingerprint"), "is not that of the certificate beside it");
                }
                Some(Ok(certificate)) => match Pin::unsuitable(&certificate, self.allow_any_eku) {
                    Some(why) => reader.unsuitable(&key("der"), why),
                    None => credentials.push(Credential::Pin(Pin::from(&certificate))),
                },
            }
        }
        credentials.extend(reader.parse_all("spki_pins", &self.spki_pins).into_iter().map(Credential::SpkiPin));
        for (at, entry) in self.authority.iter().enumerate() {
            credentials.extend(
                entry.compile(&format!("authority[{at}]"), reader).ok().map(|authority| Credential::Authority(Arc::new(authority))),
            );
        }
        credentials
    }
}

impl AuthorityDocument {
    fn compile(&self, key: &str, reader: &mut Reader) -> Result<Authority, ()> {
        let before = reader.wrong.len();
        let mut anchors: Vec<Arc<Certificate>> = Vec::new();
        for (at, text) in self.certificates.iter().enumerate() {
            match certificates(text) {
                Ok(found) => anchors.extend(found.into_iter().map(Arc::new)),
                Err(why) => reader.wrong(&format!("{key}.certificates[{at}]"), why),
            }
        }
        if self.certificates.is_empty() {
            reader.wrong(&format!("{key}.certificates"), "an authority needs its trust anchors");
        }
        let mut bounds = Bounds::default();
        let kinds = [
            (BoundKind::CommonNames, &self.common_names),
            (BoundKind::DnsSans, &self.dns_sans),
            (BoundKind::EmailSans, &self.email_sans),
            (BoundKind::OrganizationalUnits, &self.organizational_units),
            (BoundKind::UriSans, &self.uri_sans),
        ];
        for (kind, globs) in kinds {
            reader.bound(&format!("{key}.{}", kind.name()), globs.as_deref(), |globs| bounds.set(kind, globs));
        }
        reader.bound(&format!("{key}.extensions"), self.extensions.as_deref(), |entries| bounds.set_extensions(entries));
        let bounded = kinds.iter().any(|(_, globs)| globs.is_some()) || self.extensions.is_some();
        match (self.any, bounded) {
            (true, true) => reader.wrong(&format!("{key}.any"), "stands beside bounds: which one holds?"),
            (false, false) => reader.wrong(key, "has no bounds: add common_names, dns_sans or another; or say any = true"),
            (true, false) | (false, true) => {}
        }
        let authority = Authority { certificates: anchors, bounds, priority: self.priority, require_client_eku: self.require_client_eku };
        for problem in authority.problems(UnixTime::since_unix_epoch(Duration::ZERO), 0) {
            if !problem.kind.is_of_time() {
                let why = format!("certificate {} {}", problem.index + 1, problem.kind.describe());
                reader.wrong(&format!("{key}.certificates"), why);
            }
        }
        if reader.wrong.len() == before { Ok(authority) } else { Err(()) }
    }
}

impl PermissionDocument {
    fn compile(&self, at: usize, reader: &mut Reader) -> Permission {
        let key = |key: &str| format!("permissions[{at}].{key}");
        if self.routes.is_empty() {
            reader.wrong(&key("routes"), "names no route: name some, or \"*\" for all of them");
        }
        let mut when = Vec::new();
        for (attribute, globs) in &self.when {
            let key = key(&format!("when.{attribute}"));
            if globs.is_empty() {
                reader.wrong(&key, "is an empty list: nothing would match");
            }
            let globs = reader.parse_all(&key, globs);
            when.extend(reader.parse::<Attribute>(&key, attribute).map(|attribute| (attribute, globs)));
        }
        let access = reader.word(&key("access"), &self.access, GIVEN);
        // Where the word is none, there is no document.
        Permission { routes: reader.parse_all(&key("routes"), &self.routes), access: access.flatten(), when }
    }
}

/// Reads text by text, and goes on after a mistake.
#[derive(Default)]
struct Reader {
    wrong: Vec<Invalid>,
}

impl Reader {
    fn wrong(&mut self, key: &str, why: impl Into<String>) {
        self.wrong.push(Invalid::new(key, why));
    }

    fn unsuitable(&mut self, key: &str, why: &str) {
        self.wrong(key, format!("this certificate cannot be a pin: {why}"));
    }

    fn with<T, E: Display>(&mut self, key: impl Fn() -> String, text: &str, read: impl Fn(&str) -> Result<T, E>) -> Option<T> {
        read(text).map_err(|why| self.wrong(&key(), format!("`{text}` {why}"))).ok()
    }

    fn parse<T: FromStr<Err: Display>>(&mut self, key: &str, text: &str) -> Option<T> {
        self.with(|| key.to_owned(), text, str::parse)
    }

    fn parse_all<T: FromStr<Err: Display>>(&mut self, key: &str, texts: &[String]) -> Vec<T> {
        texts.iter().enumerate().filter_map(|(at, text)| self.with(|| format!("{key}[{at}]"), text, str::parse)).collect()
    }

    /// Like `parse_all`, where the reason repeats the text.
    fn all<T>(&mut self, key: &str, texts: &[String], read: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let one = |(at, text): (usize, &String)| read(text).map_err(|why| self.wrong(&format!("{key}[{at}]"), why)).ok();
        texts.iter().enumerate().filter_map(one).collect()
    }

    fn word<T: Copy>(&mut self, key: &str, word: &str, words: &[(&str, T)]) -> Option<T> {
        let found = words.iter().find(|(known, _)| *known == word).map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(known, _)| *known).collect();
            self.wrong(key, format!("`{word}` is none of {}", known.join(", ")));
        }
        found
    }

    fn time(&mut self, key: &str, text: Option<&str>) -> Option<UnixTime> {
        let text = text?;
        let seconds = rfc3339(text);
        if seconds.is_none() {
            self.wrong(key, format!("`{text}` is no time: write it like 2027-01-31T00:00:00Z"));
        }
        seconds.map(|seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }

    fn token_ttl(&mut self, text: &str) -> Option<Duration> {
        let fits = |duration: Duration| match Terms::TOKEN_TTL.contains(&duration) {
            true => Ok(duration),
            false => Err(format!("`{text}` is not 1s to {}", duration_text(*Terms::TOKEN_TTL.end()))),
        };
        duration(text).and_then(fits).map_err(|why| self.wrong("token_ttl", why)).ok()
    }

    fn printable(&mut self, key: &str, text: &str) {
        if text.is_empty() || text.chars().any(char::is_control) {
            self.wrong(key, "is empty or holds a control character");
        }
    }

    fn bound<E: Display>(&mut self, key: &str, globs: Option<&[String]>, set: impl FnOnce(&[String]) -> Result<(), (usize, E)>) {
        let Some(globs) = globs else { return };
        if let Err((at, why)) = set(globs) {
            match globs.get(at) {
                Some(text) => self.wrong(&format!("{key}[{at}]"), format!("`{text}` {why}")),
                None => self.wrong(key, why.to_string()),
            }
        }
    }
}

const CLEARANCES: &[(&str, Clearance)] =
    &[("user", Clearance::User), ("operator", Clearance::Operator), ("admin", Clearance::Admin), ("node", Clearance::Node)];

const GIVEN: &[(&str, Option<Access>)] =
    &[("read", Some(Access::Read)), ("write", Some(Access::Write)), ("admin", Some(Access::Admin)), ("deny", None)];

const SURFACES: &[(&str, Surface)] =
    &[("proxy", Surface::Proxy), ("admin", Surface::Admin), ("console", Surface::Console), ("challenge", Surface::Challenge)];
