//! What RavenDB's clients send and read: names, dates, thumbprints, and what they are here.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::admin::rights::Rights;
use crate::admin::v1::certificates::Secret;
use crate::admin::{Detail, Error};
use crate::admission::{Clearance, NotAName, PrincipalName};
use crate::clock::Date;
use crate::date::rfc3339;
use crate::pki::{Certificate, hex};
use crate::store::managed::{CertificateDocument, Document, PermissionDocument};

/// What is asked of the calls that make, register or change a certificate. What none of them knows is refused: it may be a restriction.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Wanted {
    pub(super) name: Option<String>,
    pub(super) security_clearance: Option<String>,
    pub(super) permissions: Option<Permissions>,
    pub(super) password: Option<Secret>,
    pub(super) not_after: Option<String>,
    pub(super) certificate: Option<String>,
    pub(super) thumbprint: Option<String>,
}

/// Databases, which are routes here, and the access to each. In one spelling of each name: which of two would hold?
#[derive(Debug)]
pub(super) struct Permissions(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Permissions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Permissions;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of names and access")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Permissions, A::Error> {
                let mut pairs: Vec<(String, String)> = Vec::new();
                while let Some((name, access)) = map.next_entry::<String, String>()? {
                    if pairs.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name)) {
                        return Err(A::Error::custom("a name stands there twice"));
                    }
                    pairs.push((name, access));
                }
                Ok(Permissions(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

impl Wanted {
    /// Returns the name.
    pub(super) fn name(&self) -> Result<&str, Error> {
        self.name.as_deref().filter(|name| !name.trim().is_empty()).ok_or_else(|| invalid("Name", "is missing"))
    }

    /// Returns rank and access, in our words.
    pub(super) fn rights(&self) -> Result<(Clearance, Vec<PermissionDocument>), Error> {
        let named = self.security_clearance.as_deref().unwrap_or_default();
        let Some((_, clearance)) = CLEARANCES.iter().find(|(name, _)| *name == named) else {
            let names: Vec<&str> = CLEARANCES.iter().map(|(name, _)| *name).collect();
            return Err(invalid("SecurityClearance", format!("`{named}` is none of {}", names.join(", "))));
        };
        let mut permissions = Vec::new();
        for (route, access) in self.permissions.iter().flat_map(|Permissions(pairs)| pairs) {
            let Some((_, known)) = ACCESS.iter().find(|(name, _)| name == access).filter(|_| !route.trim().is_empty()) else {
                return Err(invalid(
                    "Permissions",
                    format!("`{route}`: `{access}` is none of Read, ReadWrite, Admin, or the name is empty"),
                ));
            };
            permissions.push(PermissionDocument { routes: vec![route.clone()], access: (*known).to_owned(), when: BTreeMap::new() });
        }
        Ok((*clearance, permissions))
    }

    /// Returns how many whole days there are to `NotAfter`; `None`: it is not said.
    pub(super) fn days(&self, now: u64) -> Result<Option<u32>, Error> {
        let Some(text) = self.not_after.as_deref() else { return Ok(None) };
        let wrong = |why: &str| invalid("NotAfter", format!("`{text}` {why}"));
        // The original writes no offset where it means UTC.
        let at = rfc3339(text)
            .or_else(|| rfc3339(&format!("{text}Z")))
            .ok_or_else(|| wrong("is no time: write it like 2027-01-31T00:00:00Z"))?;
        let days = at.saturating_sub(now) / DAY;
        if days == 0 { Err(wrong("is not a day ahead")) } else { Ok(Some(u32::try_from(days).unwrap_or(u32::MAX))) }
    }
}

/// A registered certificate, as it is listed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Definition {
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
    pub(super) thumbprint: String,
    public_key_pinning_hash: Option<String>,
    security_clearance: &'static str,
    permissions: BTreeMap<String, &'static str>,
    not_before: Option<String>,
    not_after: Option<String>,
    /// Of one that stands beside another in the same principal: the thumbprint of the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    collection_primary_key: Option<String>,
    collection_secondary_keys: Vec<String>,
}

impl Definition {
    /// Describes a principal's certificates: the first with the others as its secondaries, then those, if they are asked for.
    pub(super) fn of(document: &Document, secondary: bool, metadata_only: bool) -> Vec<Self> {
        let thumbprints: Vec<String> = document.certificates.iter().map(thumbprint).collect();
        let Some((primary, others)) = thumbprints.split_first() else { return Vec::new() };
        let rights = Rights::of(document);
        let shown = if secondary { document.certificates.len() } else { 1 };
        let of = |(at, entry): (usize, &CertificateDocument)| {
            let whole = entry.certificate().and_then(Result::ok);
            let name = document.display_name.as_ref().unwrap_or(&document.name);
            let mut definition = Self::new(name, &rights, whole.as_ref(), &thumbprints[at]);
            definition.certificate = entry.der.clone().filter(|_| !metadata_only);
            definition.collection_primary_key = (at > 0).then(|| primary.clone());
            if at == 0 {
                definition.collection_secondary_keys = others.to_vec();
            }
            definition
        };
        document.certificates.iter().take(shown).enumerate().map(of).collect()
    }

    /// Describes one certificate.
    pub(super) fn new(name: &str, rights: &Rights, certificate: Option<&Certificate>, thumbprint: &str) -> Self {
        let word = |access: &str| ACCESS.iter().find(|(_, known)| *known == access).map(|(name, _)| *name);
        Self {
            name: name.to_owned(),
            certificate: None,
            thumbprint: thumbprint.to_owned(),
            public_key_pinning_hash: certificate.map(|known| known.spki_pin.to_string().trim_start_matches("sha256/").to_owned()),
            security_clearance: clearance_name(rights.clearance),
            permissions: rights.routes.iter().filter_map(|(route, access)| Some((route.clone(), word(access)?))).collect(),
            not_before: certificate.map(|known| date(known.not_before)),
            not_after: certificate.map(|known| date(known.not_after)),
            collection_primary_key: None,
            collection_secondary_keys: Vec::new(),
        }
    }

    /// Adds the certificate itself.
    pub(super) fn with_der(self, base64: String) -> Self {
        Self { certificate: Some(base64), ..self }
    }
}

/// SHA-1 in upper case, as the original has it; of a certificate that is known by its fingerprint only: that.
pub(super) fn thumbprint(entry: &CertificateDocument) -> String {
    entry.thumbprint().map_or_else(|| entry.fingerprint.to_ascii_uppercase(), |sha1| hex::upper(&sha1))
}

/// Returns what the original calls a clearance.
pub(super) fn clearance_name(clearance: Clearance) -> &'static str {
    CLEARANCES.iter().find(|(_, known)| *known == clearance).map_or("ValidUser", |(name, _)| name)
}

/// Makes a free name fit to be a principal's: what a segment has no room for becomes a hyphen.
pub(super) fn slug(name: &str) -> String {
    let mut slug = String::new();
    for character in name.chars().take(LONGEST_SLUG) {
        let fits = character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-');
        if fits || !slug.ends_with('-') {
            slug.push(if fits { character } else { '-' });
        }
    }
    // Dots at an end make a name look like a path.
    let slug = slug.trim_matches(|character| matches!(character, '.' | '-' | '_'));
    match slug.parse::<PrincipalName>() {
        _ if slug.is_empty() => "certificate".to_owned(),
        // Names are free there, and some are ours here.
        Err(NotAName::Reserved) => format!("{slug}-1"),
        Ok(_) | Err(NotAName::Malformed) => slug.to_owned(),
    }
}

/// As .NET writes a UTC time.
pub(super) fn date(seconds: u64) -> String {
    let text = Date::of(seconds).to_string();
    format!("{}.0000000Z", text.trim_end_matches('Z'))
}

pub(super) fn invalid(key: &str, why: impl Into<String>) -> Error {
    Error::invalid(vec![Detail { key: key.to_owned(), why: why.into() }])
}

const CLEARANCES: [(&str, Clearance); 4] = [
    ("ClusterAdmin", Clearance::Admin),
    ("ClusterNode", Clearance::Node),
    ("Operator", Clearance::Operator),
    ("ValidUser", Clearance::User),
];
const ACCESS: [(&str, &str); 3] = [("Admin", "admin"), ("Read", "read"), ("ReadWrite", "write")];
const LONGEST_SLUG: usize = 128;
const DAY: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_becomes_a_principals() {
        for (name, expected) in [
            ("cluster.admin.client.certificate", "cluster.admin.client.certificate"),
            ("Build agent 7", "Build-agent-7"),
            ("../../etc/passwd", "etc-passwd"),
            ("..", "certificate"),
            ("a/b\\c", "a-b-c"),
            ("  ", "certificate"),
            ("Jörg Müller", "J-rg-M-ller"),
            ("名前", "certificate"),
            ("a\0b\r\nc", "a-b-c"),
            (".hidden", "hidden"),
            ("Server certificate", "Server-certificate-1"),
        ] {
            assert_eq!(slug(name), expected, "{name:?}");
            assert!(slug(name).parse::<PrincipalName>().is_ok(), "{name:?}");
        }
        assert_eq!(slug(&"x/".repeat(10_000)).len(), 127);
    }

    #[test]
    fn what_is_asked_for_is_understood_whole_or_refused() {
        let read = |text: &str| serde_json::from_str::<Wanted>(text);
        let rights = |text: &str| read(text).ok().and_then(|wanted| wanted.rights().ok());
        let (clearance, permissions) =
            rights(r#"{"SecurityClearance":"ValidUser","Permissions":{"orders":"ReadWrite","stock":"Read","x":"Admin"}}"#).unwrap();
        let told: Vec<_> = permissions.iter().map(|permission| (&*permission.routes[0], &*permission.access)).collect();
        assert_eq!((clearance, told), (Clearance::User, vec![("orders", "write"), ("stock", "read"), ("x", "admin")]));
        assert_eq!(rights(r#"{"SecurityClearance":"ClusterAdmin","Permissions":null}"#).unwrap(), (Clearance::Admin, vec![]));
        for text in [
            r#"{"SecurityClearance":"UnauthenticatedClients"}"#,
            r#"{"SecurityClearance":"clusteradmin"}"#,
            r#"{"SecurityClearance":""}"#,
            r#"{"Name":"no clearance"}"#,
            r#"{"SecurityClearance":"ValidUser","Permissions":{"orders":"Everything"}}"#,
            r#"{"SecurityClearance":"ValidUser","Permissions":{" ":"Read"}}"#,
            r#"{"SecurityClearance":"ValidUser","Permissions":{"orders":"Read","Orders":"Admin"}}"#,
            r#"{"SecurityClearance":"ValidUser","SecurityClearance":"ClusterAdmin"}"#,
            r#"{"SecurityClearance":"ValidUser","TwoFactorAuthenticationKey":"x"}"#,
        ] {
            assert!(rights(text).is_none(), "{text}");
        }
        let printed = format!("{:?}", read(r#"{"Name":"n","Password":"p@$$w0rd"}"#).unwrap());
        assert!(!printed.contains("w0rd"), "{printed}");
    }

    #[test]
    fn a_time_ahead_is_told_in_whole_days() {
        let days = |text: &str| serde_json::from_str::<Wanted>(&format!(r#"{{"NotAfter":"{text}"}}"#)).unwrap().days(0);
        for (text, expected) in [
            ("1970-01-02T00:00:00Z", Some(1)),
            ("1970-01-03T00:00:00.0000000Z", Some(2)),
            ("1970-01-03T23:59:59", Some(2)),
            ("1970-01-01T23:59:59Z", None),
            ("soon", None),
        ] {
            assert_eq!(days(text).ok().flatten(), expected, "{text}");
        }
        assert_eq!(date(86_400), "1970-01-02T00:00:00.0000000Z");
    }
}
