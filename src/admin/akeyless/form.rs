//! What the calls that make or change a method say, and what a principal's document becomes by it. An empty list is no bound there, and
//! a key that is not named stays as it is. What restricts and cannot be kept here is refused, never passed over.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::kind::Kind;
use crate::date::Date;
use crate::pki::{Certificate, files};
use crate::request::service::Caller;
use crate::store::managed::{AuthorityDocument, CertificateDocument, CertificateSource, Document, Invalid};

/// The arguments of `auth-method-create-cert` and `auth-method-update-cert`, by the names of the published SDKs; `as` is ours.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(super) struct Form {
    pub(super) name: String,
    pub(super) new_name: Option<String>,
    unique_identifier: Option<String>,
    certificate_data: Option<String>,
    r#as: Option<Kind>,
    #[serde(deserialize_with = "said")]
    access_expires: Said<i64>,
    #[serde(deserialize_with = "said")]
    jwt_ttl: Said<i64>,
    bound_ips: Option<Many>,
    gw_bound_ips: Option<Many>,
    allowed_cors: Option<Many>,
    audit_logs_claims: Option<Many>,
    bound_common_names: Option<Many>,
    bound_dns_sans: Option<Many>,
    bound_email_sans: Option<Many>,
    bound_uri_sans: Option<Many>,
    bound_organizational_units: Option<Many>,
    bound_extensions: Option<Many>,
    revoked_cert_ids: Option<Many>,
    expiration_event_in: Option<Many>,
    force_sub_claims: Option<bool>,
    require_crl_dp: Option<bool>,
    product_type: Option<Many>,
    allowed_client_type: Option<Many>,
    #[serde(rename = "delete_protection")]
    delete_protection: Option<Flag>,
    description: Option<String>,
    /// How the original's command line prints the answer.
    #[serde(rename = "json")]
    _json: Option<IgnoredAny>,
    token: Option<String>,
    uid_token: Option<String>,
}

/// What was said of a key: nothing, that there be none, or a value.
type Said<T> = Option<Option<T>>;

fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Said<T>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A list; one text stands for itself, and is taken apart at commas where a list is written so in the original.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a list of texts, or one text")]
enum Many {
    One(String),
    Several(Vec<Word>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a text or a number")]
enum Word {
    Number(u64),
    Text(String),
}

/// True or false; as a text, too.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "true or false")]
enum Flag {
    Bool(bool),
    Text(String),
}

/// Collects what is wrong.
#[derive(Default)]
struct Wrong(Vec<Invalid>);

impl Wrong {
    fn say(&mut self, key: &str, why: impl Into<String>) {
        self.0.push(Invalid::new(key, why));
    }
}

impl Form {
    /// Forgets the token that the caller was judged by.
    pub(super) fn judged(self, caller: &Caller) -> Self {
        Self { token: self.token.filter(|_| !caller.token_in_body), ..self }
    }

    /// Makes the document of a new method.
    pub(super) fn make(&self) -> Result<Document, Vec<Invalid>> {
        let mut wrong = Wrong::default();
        let required = [("unique-identifier", self.unique_identifier.is_none()), ("certificate-data", self.certificate_data.is_none())];
        for (key, _) in required.into_iter().filter(|(_, is_missing)| *is_missing) {
            wrong.say(key, "is missing");
        }
        if self.new_name.is_some() {
            wrong.say("new-name", "is for a method that there is already");
        }
        let fresh = Document { name: bare(&self.name).to_owned(), ..Document::default() };
        self.apply(&fresh, true, wrong)
    }

    /// Changes the document of a method.
    pub(super) fn change(&self, old: &Document) -> Result<Document, Vec<Invalid>> {
        self.apply(old, false, Wrong::default())
    }

    fn apply(&self, old: &Document, is_new: bool, mut wrong: Wrong) -> Result<Document, Vec<Invalid>> {
        let mut new = old.clone();
        self.refuse_what_nothing_keeps(&mut wrong);
        if let Some(name) = &self.new_name {
            bare(name).clone_into(&mut new.name);
        }
        if let Some(text) = &self.unique_identifier {
            new.identifier = Some(attribute(text).to_owned());
        }
        if let Some(text) = &self.description {
            new.description = Some(text.clone()).filter(|text| !text.is_empty());
        }
        self.times(&mut new, is_new, &mut wrong);
        if let Some(list) = &self.bound_ips {
            new.client_ips = Some(list.by_commas()).filter(|list| !list.is_empty());
        }
        for (given, kept) in [
            (&self.gw_bound_ips, &mut new.gateway_ips),
            (&self.allowed_cors, &mut new.cors_origins),
            (&self.revoked_cert_ids, &mut new.revoked_ids),
        ] {
            if let Some(list) = given {
                *kept = list.by_commas();
            }
        }
        if let Some(list) = &self.audit_logs_claims {
            new.audit_claims = list.by_commas().iter().map(|claim| attribute(claim).to_owned()).collect();
        }
        if let Some(list) = &self.expiration_event_in {
            let days = |text: String| text.parse().map_err(|_| wrong.say("expiration-event-in", format!("`{text}` is no number of days")));
            new.expiry_notice = list.by_commas().into_iter().map(days).filter_map(Result::ok).collect();
        }
        new.require_crl_dp = self.require_crl_dp.unwrap_or(new.require_crl_dp);
        new.require_when = self.force_sub_claims.unwrap_or(new.require_when);
        match self.delete_protection.as_ref().map(Flag::read) {
            None => {}
            Some(Some(flag)) => new.protected = flag,
            Some(None) => wrong.say("delete_protection", "is neither \"true\" nor \"false\""),
        }
        if let Some(text) = &self.certificate_data {
            self.certificates(text, is_new, &mut new, &mut wrong);
        }
        self.bounds(&mut new, &mut wrong);
        if wrong.0.is_empty() { new.normalised() } else { Err(wrong.0) }
    }

    /// Nothing here tells one program from another, or has the original's products.
    fn refuse_what_nothing_keeps(&self, wrong: &mut Wrong) {
        let is_said = |list: &Option<Many>| list.as_ref().is_some_and(|list| !list.by_commas().is_empty());
        if is_said(&self.product_type) {
            wrong.say(
                "product-type",
                "there are no products here: `serve` of the principal says which surfaces it may use (leave this out)",
            );
        }
        if is_said(&self.allowed_client_type) {
            wrong.say("allowed-client-type", "no certificate proves which program uses it, so that this cannot be kept (leave it out)");
        }
        wrong.0.extend(refuse_tokens(self.token.as_deref(), self.uid_token.as_deref()));
    }

    /// 0 is what the SDKs send where nobody said anything: an update by them that is about something else must not widen. `null` does.
    fn times(&self, new: &mut Document, is_new: bool, wrong: &mut Wrong) {
        match self.access_expires {
            None => {}
            Some(Some(0)) if !is_new => {}
            Some(None | Some(0)) => new.valid_until = None,
            Some(Some(seconds)) => match u64::try_from(seconds).ok().filter(|seconds| *seconds <= LAST) {
                Some(seconds) => new.valid_until = Some(Date::of(seconds).to_string()),
                None => wrong.say("access-expires", format!("{seconds} is no time in seconds since 1970")),
            },
        }
        match self.jwt_ttl {
            None => {}
            Some(Some(0)) if !is_new => {}
            Some(None | Some(0)) => new.token_ttl = None,
            Some(Some(minutes)) => new.token_ttl = Some(format!("{minutes}m")),
        }
    }

    fn certificates(&self, text: &str, is_new: bool, new: &mut Document, wrong: &mut Wrong) {
        let key = "certificate-data";
        let found = match certificates(text) {
            Ok(found) => found,
            Err(why) => return wrong.say(key, why),
        };
        let kind = match self.r#as.map_or_else(|| Kind::of(&found), Ok) {
            Ok(kind) => kind,
            Err(why) => return wrong.say(key, format!("{why} (`as`: \"pin\" or \"authority\")")),
        };
        let before = Credentials::of(new);
        if self.r#as.is_none() && !is_new && before != Credentials::Only(kind) {
            return wrong.say(key, format!("is {kind}, and this method has {before}: say `as`, if that is meant"));
        }
        match kind {
            Kind::Authority => {
                let anchors = found.iter().map(|anchor| general_purpose::STANDARD.encode(&anchor.der)).collect();
                let bounds = if before == Credentials::Only(Kind::Authority) { new.authority.pop() } else { None };
                let bounds = bounds.unwrap_or_else(|| AuthorityDocument { any: true, ..AuthorityDocument::default() });
                new.authority = vec![AuthorityDocument { certificates: anchors, ..bounds }];
                new.certificates.clear();
            }
            Kind::Pin => {
                new.certificates = found.iter().map(|pin| CertificateDocument::of(pin, CertificateSource::Registered)).collect();
                new.authority.clear();
            }
        }
        new.spki_pins.clear();
    }

    fn bounds(&self, new: &mut Document, wrong: &mut Wrong) {
        let given = [
            ("bound-common-names", &self.bound_common_names),
            ("bound-dns-sans", &self.bound_dns_sans),
            ("bound-email-sans", &self.bound_email_sans),
            ("bound-uri-sans", &self.bound_uri_sans),
            ("bound-organizational-units", &self.bound_organizational_units),
            ("bound-extensions", &self.bound_extensions),
        ];
        let [authority] = new.authority.as_mut_slice() else {
            let is_pinned = new.authority.is_empty();
            let why = match is_pinned {
                true => "means nothing beside a pin, which is one exact certificate: bounds are for an authority",
                false => "of which authority? this one has several: use /v1/principals",
            };
            // Where the certificate is missing that was said already.
            let has_credential = !is_pinned || !new.certificates.is_empty() || !new.spki_pins.is_empty();
            for (key, _) in given.iter().filter(|(_, list)| has_credential && list.as_ref().is_some_and(|list| !list.whole().is_empty())) {
                wrong.say(key, why);
            }
            return;
        };
        let kept = [
            &mut authority.common_names,
            &mut authority.dns_sans,
            &mut authority.email_sans,
            &mut authority.uri_sans,
            &mut authority.organizational_units,
            &mut authority.extensions,
        ];
        let mut is_bounded = false;
        for ((_, given), kept) in given.into_iter().zip(kept) {
            if let Some(list) = given {
                *kept = Some(list.whole()).filter(|list| !list.is_empty());
            }
            is_bounded |= kept.is_some();
        }
        authority.any = !is_bounded;
    }
}

impl Many {
    /// Takes each text whole: names have commas in them.
    fn whole(&self) -> Vec<String> {
        let all = match self {
            Self::One(text) => vec![text.clone()],
            Self::Several(words) => words.iter().map(ToString::to_string).collect(),
        };
        all.into_iter().filter(|text| !text.is_empty()).collect()
    }

    fn by_commas(&self) -> Vec<String> {
        let whole = self.whole();
        let parts = whole.iter().flat_map(|text| text.split(',')).map(str::trim);
        parts.filter(|part| !part.is_empty()).map(ToOwned::to_owned).collect()
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl Flag {
    fn read(&self) -> Option<bool> {
        match self {
            Self::Bool(flag) => Some(*flag),
            Self::Text(text) => text.parse().ok(),
        }
    }
}

/// What proves a principal, in the two kinds that a method has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Credentials {
    Only(Kind),
    Others,
}

impl Credentials {
    fn of(document: &Document) -> Self {
        match (document.authority.len(), document.certificates.is_empty(), document.spki_pins.is_empty()) {
            (1, true, true) => Self::Only(Kind::Authority),
            (0, false, true) => Self::Only(Kind::Pin),
            _ => Self::Others,
        }
    }
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only(kind) => kind.fmt(f),
            Self::Others => f.write_str("several credentials"),
        }
    }
}

/// Refuses tokens that say nothing here: one that was not read as ours when the caller was judged, and those of the original's own kind.
pub(super) fn refuse_tokens(token: Option<&str>, uid_token: Option<&str>) -> Vec<Invalid> {
    let given = [
        (
            "token",
            token,
            "is not taken: it is no token of this gateway, or the listener takes none (tokens = true); or present the certificate",
        ),
        ("uid-token", uid_token, "is not taken: there is no universal identity here; give `token`, or present the certificate"),
    ];
    let given = given.into_iter().filter(|(_, token, _)| token.is_some_and(|token| !token.is_empty()));
    given.map(|(key, _, why)| Invalid::new(key, why)).collect()
}

/// Names begin with `/` there, or do not.
pub(super) fn bare(name: &str) -> &str {
    name.strip_prefix('/').unwrap_or(name)
}

/// The original's words for attributes, in ours.
fn attribute(text: &str) -> &str {
    SANS.iter().find(|(theirs, _)| *theirs == text).map_or(text, |(_, ours)| ours)
}

/// Our words for attributes, in the original's.
pub(super) fn theirs(text: &str) -> &str {
    SANS.iter().find(|(_, ours)| *ours == text).map_or(text, |(theirs, _)| theirs)
}

/// Reads base64 of PEM, as the SDKs send it, or of DER; or PEM as it is. Line breaks and missing padding do no harm.
fn certificates(text: &str) -> Result<Vec<Certificate>, String> {
    if text.len() > MOST_DATA {
        return Err(format!("is longer than {MOST_DATA} characters"));
    }
    let bytes = match text.trim_start().starts_with("-----BEGIN") {
        true => text.as_bytes().to_vec(),
        false => {
            let text: String = text.split_ascii_whitespace().collect();
            LENIENT.decode(text).map_err(|_| "is neither base64 of a certificate nor PEM".to_owned())?
        }
    };
    let found = files::certificates(&bytes, None).map_err(|error| error.to_string())?;
    Ok(found.into_iter().map(|located| located.value).collect())
}

const SANS: [(&str, &str); 3] = [("dns_sans", "dns_san"), ("email_sans", "email_san"), ("uri_sans", "uri_san")];
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));
/// 64 KiB of PEM, in base64.
const MOST_DATA: usize = 90_000;
/// The last second of the year 9999.
const LAST: u64 = 253_402_300_799;
