//! A principal as it is written down: in the ledger, and in the bodies of the API. Key names and meanings are those of `[[principal]]`;
//! what the texts mean is for `compile.rs` to say. Never a private key, never a password.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::refusal::Invalid;
use super::remembered::Remembered;
use crate::admission::Clearance;
use crate::pki::certificate::sha1;
use crate::pki::{Certificate, Fingerprint, files};

/// A managed principal.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Document {
    /// Empty in what a client sends to make a new one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Counts its changes from 1, for `If-Match`.
    pub version: u64,
    #[serde(skip_serializing_if = "is_true")]
    pub enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ips: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gateway_ips: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cors_origins: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serve: Option<Vec<String>>,
    /// `user` where it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clearance: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "mostly_one")]
    pub permissions: Vec<PermissionDocument>,
    /// Shorthand for clearance and permissions, in what is sent; never kept.
    #[serde(skip_serializing)]
    pub role: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identifier: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub audit_claims: Vec<String>,
    #[serde(skip_serializing_if = "is_false")]
    pub allow_any_eku: bool,
    /// `none` or `same-key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal: Option<String>,
    /// The leaf has to name a CRL distribution point, and fresh CRLs to speak of it and of every certificate of its path.
    #[serde(skip_serializing_if = "is_false")]
    pub require_crl_dp: bool,
    /// Each permission that gives access has to say `when`.
    #[serde(skip_serializing_if = "is_false")]
    pub require_when: bool,
    /// How long its tokens live: `30m`. As long as any where it is not said, and never longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_ttl: Option<String>,
    /// How many days before an end notice of it is given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expiry_notice: Vec<u32>,
    /// What people wrote about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Not to be deleted until this is taken away.
    #[serde(skip_serializing_if = "is_false")]
    pub protected: bool,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "mostly_one")]
    pub certificates: Vec<CertificateDocument>,
    /// Shorthand for certificates of which only the fingerprint is known, in what is sent; never kept.
    #[serde(skip_serializing)]
    pub fingerprints: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spki_pins: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub authority: Vec<AuthorityDocument>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub revoked_ids: Vec<String>,
    /// Set by whoever records, as is `changed`: what a client sends here counts for nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Stamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed: Option<Stamp>,
}

/// When, and by whom.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Stamp {
    /// RFC 3339, UTC.
    pub at: String,
    pub by: String,
}

/// A pinned certificate.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CertificateDocument {
    /// 64 lower-case hex digits.
    pub fingerprint: String,
    /// Base64 of the DER; in what is sent, PEM too. Absent where only the fingerprint is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub der: Option<String>,
    /// The certificate of who issued it, base64 of DER (in what is sent, PEM too): a renewal may be signed by that key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub added: Option<String>,
    #[serde(skip_serializing_if = "is_registered")]
    pub source: CertificateSource,
    #[serde(skip)]
    #[schema(ignore)]
    pub read: Remembered,
}

/// How a certificate came to be pinned.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CertificateSource {
    Generated,
    #[default]
    Registered,
    Renewed,
}

/// Routes, access, and when.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PermissionDocument {
    #[serde(deserialize_with = "mostly_one")]
    pub routes: Vec<String>,
    /// `read`, `write`, `admin` or `deny`.
    pub access: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub when: BTreeMap<String, Vec<String>>,
}

/// Trust anchors with bounds.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuthorityDocument {
    /// Each PEM, of one certificate or more, or base64 of DER.
    pub certificates: Vec<String>,
    #[serde(skip_serializing_if = "is_false")]
    pub any: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub common_names: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_sans: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_sans: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri_sans: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organizational_units: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Vec<String>>,
    pub priority: u32,
    #[serde(skip_serializing_if = "is_true")]
    pub require_client_eku: bool,
}

impl Document {
    /// Reads what a client sent, or what was recorded.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Invalid> {
        serde_json::from_slice(bytes).map_err(|error| Invalid::new("", error.to_string()))
    }

    /// Brings what a client sent into the form that is kept: shorthands written out, certificates as base64 of DER with their
    /// fingerprints, all digests in one spelling. Says everything that is wrong with that; the rest is for [`Document::compile`].
    pub fn normalised(mut self) -> Result<Self, Vec<Invalid>> {
        let mut wrong = Vec::new();
        self.expand_role(&mut wrong);
        let known = std::mem::take(&mut self.fingerprints);
        self.certificates
            .extend(known.into_iter().map(|fingerprint| CertificateDocument { fingerprint, ..CertificateDocument::default() }));
        let (mut certificates, mut seen): (Vec<CertificateDocument>, HashSet<String>) = Default::default();
        for (at, entry) in std::mem::take(&mut self.certificates).into_iter().enumerate() {
            match entry.normalised() {
                // Twice the same is once.
                Ok(entry) if !seen.insert(entry.fingerprint.clone()) => {}
                Ok(entry) => certificates.push(entry),
                Err((key, why)) => wrong.push(Invalid::new(format!("certificates[{at}].{key}"), why)),
            }
        }
        self.certificates = certificates;
        if self.clearance.as_deref() == Some(Clearance::User.name()) {
            self.clearance = None;
        }
        if self.renewal.as_deref() == Some("none") {
            self.renewal = None;
        }
        if wrong.is_empty() { Ok(self) } else { Err(wrong) }
    }

    /// Returns the clearance; what is none is refused where a document is compiled, and counts as the least here.
    pub fn clearance(&self) -> Clearance {
        let named = [Clearance::Admin, Clearance::Node, Clearance::Operator].into_iter();
        named.into_iter().find(|clearance| self.clearance.as_deref() == Some(clearance.name())).unwrap_or(Clearance::User)
    }

    /// A renewed certificate of the same key is pinned too.
    pub fn renews_same_key(&self) -> bool {
        self.renewal.as_deref() == Some("same-key")
    }

    /// Returns the fingerprints of the pinned certificates.
    pub fn pinned(&self) -> impl Iterator<Item = Fingerprint> {
        self.certificates.iter().filter_map(|entry| entry.fingerprint.parse().ok())
    }

    fn expand_role(&mut self, wrong: &mut Vec<Invalid>) {
        let Some(role) = self.role.take() else { return };
        for (key, is_there) in [("clearance", self.clearance.is_some()), ("permissions", !self.permissions.is_empty())] {
            if is_there {
                wrong.push(Invalid::new("role", format!("is shorthand for clearance and permissions: keep `role`, or `{key}`")));
            }
        }
        let everywhere =
            |access: &str| vec![PermissionDocument { routes: vec!["*".to_owned()], access: access.to_owned(), when: BTreeMap::new() }];
        match role.as_str() {
            "Administrator" => self.clearance = Some(Clearance::Admin.name().to_owned()),
            "Contributor" => self.permissions = everywhere("write"),
            "Reader" => self.permissions = everywhere("read"),
            _ => wrong.push(Invalid::new("role", format!("`{role}` is none of Administrator, Contributor, Reader"))),
        }
    }
}

impl CertificateDocument {
    /// Pins a certificate that is known whole.
    pub fn of(certificate: &Certificate, source: CertificateSource) -> Self {
        Self {
            fingerprint: certificate.fingerprint.to_string(),
            der: Some(STANDARD.encode(&certificate.der)),
            issuer: None,
            added: None,
            source,
            read: Remembered::of(certificate),
        }
    }

    /// Returns the certificate, where it is known whole.
    pub fn certificate(&self) -> Option<Result<Certificate, String>> {
        self.der.as_deref().map(|text| {
            let mut found = certificates(text)?;
            match (found.pop(), found.is_empty()) {
                (Some(only), true) => Ok(only),
                (Some(_) | None, _) => Err("holds more than one certificate".to_owned()),
            }
        })
    }

    /// Returns SHA-1 of the DER, where that is known: for lookup and display, never a basis of trust.
    pub fn thumbprint(&self) -> Option<[u8; 20]> {
        STANDARD.decode(self.der.as_deref()?).ok().map(|der| sha1(&der))
    }

    fn normalised(mut self) -> Result<Self, (&'static str, String)> {
        let claimed: Option<Fingerprint> = match self.fingerprint.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|error| ("fingerprint", format!("`{text}` is {error}")))?),
        };
        match self.certificate() {
            Some(Err(why)) => return Err(("der", why)),
            Some(Ok(certificate)) => {
                if claimed.is_some_and(|claimed| claimed != certificate.fingerprint) {
                    return Err(("fingerprint", format!("is not that of the certificate beside it, {}", certificate.fingerprint)));
                }
                let issuer = match self.issuer.as_deref().map(certificates) {
                    None => None,
                    Some(Ok(found)) if found.len() == 1 => found.first().map(|issuer| STANDARD.encode(&issuer.der)),
                    Some(Ok(_)) => return Err(("issuer", "holds more than one certificate".to_owned())),
                    Some(Err(why)) => return Err(("issuer", why)),
                };
                self = Self { added: self.added, issuer, ..Self::of(&certificate, self.source) };
            }
            None => {
                let claimed = claimed.ok_or(("fingerprint", "is missing, and so is `der`: which certificate?".to_owned()))?;
                self.fingerprint = claimed.to_string();
            }
        }
        Ok(self)
    }
}

/// Reads PEM, or base64 of DER.
pub(super) fn certificates(text: &str) -> Result<Vec<Certificate>, String> {
    let found = if text.trim_start().starts_with("-----BEGIN") {
        files::certificates(text.as_bytes(), None)
    } else {
        let der = STANDARD.decode(text.trim()).map_err(|_| "is neither PEM nor base64 of DER".to_owned())?;
        files::certificates(&der, None)
    };
    found.map(|found| found.into_iter().map(|located| located.value).collect()).map_err(|error| error.to_string())
}

impl Default for Document {
    fn default() -> Self {
        Self {
            id: String::new(),
            name: String::new(),
            display_name: None,
            version: 0,
            enabled: true,
            valid_from: None,
            valid_until: None,
            client_ips: None,
            gateway_ips: Vec::new(),
            cors_origins: Vec::new(),
            serve: None,
            clearance: None,
            permissions: Vec::new(),
            role: None,
            identifier: None,
            audit_claims: Vec::new(),
            allow_any_eku: false,
            renewal: None,
            require_crl_dp: false,
            require_when: false,
            token_ttl: None,
            expiry_notice: Vec::new(),
            description: None,
            protected: false,
            certificates: Vec::new(),
            fingerprints: Vec::new(),
            spki_pins: Vec::new(),
            authority: Vec::new(),
            revoked_ids: Vec::new(),
            created: None,
            changed: None,
        }
    }
}

impl Default for AuthorityDocument {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            any: false,
            common_names: None,
            dns_sans: None,
            email_sans: None,
            uri_sans: None,
            organizational_units: None,
            extensions: None,
            priority: 100,
            require_client_eku: true,
        }
    }
}

/// Reads a list that nearly always has one item, in room for one: there may be a million such lists, and a vector begins with four.
fn mostly_one<'d, D: Deserializer<'d>, T: Deserialize<'d>>(from: D) -> Result<Vec<T>, D::Error> {
    struct List<T>(PhantomData<T>);

    impl<'d, T: Deserialize<'d>> Visitor<'d> for List<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a sequence")
        }

        fn visit_seq<A: SeqAccess<'d>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = items.next_element()? {
                if list.is_empty() {
                    list.reserve_exact(1);
                }
                list.push(item);
            }
            Ok(list)
        }
    }

    from.deserialize_seq(List(PhantomData))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_true(flag: &bool) -> bool {
    *flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_registered(source: &CertificateSource) -> bool {
    *source == CertificateSource::Registered
}
