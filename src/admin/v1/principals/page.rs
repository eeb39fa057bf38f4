//! A page of principals: the filter of a query, read, and what fits it, by name.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Principal;
use crate::admin::Error;
use crate::admin::v1::{invalid, limit};
use crate::date::rfc3339;
use crate::pki::Fingerprint;
use crate::reload::View;
use crate::store::managed::{Document, Managed, State};

/// Which principals to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filter {
    /// How many at most: 1 to 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// The `next` of the page before: a name.
    after: Option<String>,
    /// Only the one of this name, in any case.
    name: Option<String>,
    /// Only whose certificate this is: SHA-256, hex.
    fingerprint: Option<String>,
    /// Only those of this clearance.
    clearance: Option<String>,
    /// Only those of which a certificate, or they themselves, end before: RFC 3339.
    expires_before: Option<String>,
    /// Only those with this in name, display name or id.
    q: Option<String>,
    /// `managed` (the default), `static` or `all`.
    source: Option<String>,
}

/// A page of principals, by name.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PrincipalPage)]
pub(crate) struct Page {
    principals: Vec<Principal>,
    /// Give it as `after` for the next page; `null`: there is none.
    next: Option<String>,
}

/// A filter that was read.
pub(super) struct Read {
    limit: usize,
    after: Option<String>,
    name: Option<String>,
    fingerprint: Option<Fingerprint>,
    clearance: Option<String>,
    expires_before: Option<u64>,
    q: Option<String>,
    managed: bool,
    files: bool,
}

impl Filter {
    pub(super) fn read(self) -> Result<Read, Error> {
        let limit = limit(self.limit)?;
        if let Some(clearance) = &self.clearance
            && !["admin", "node", "operator", "user"].contains(&clearance.as_str())
        {
            return Err(invalid("clearance", "is none of admin, node, operator, user"));
        }
        let fingerprint =
            self.fingerprint.map(|text| text.parse().map_err(|error| invalid("fingerprint", format!("is {error}")))).transpose()?;
        let time = |text: String| rfc3339(&text).ok_or_else(|| invalid("expires_before", "is no time like 2027-01-31T12:00:00Z"));
        let (managed, files) = match self.source.as_deref() {
            None | Some("managed") => (true, false),
            Some("static") => (false, true),
            Some("all") => (true, true),
            Some(_) => return Err(invalid("source", "is none of managed, static, all")),
        };
        Ok(Read {
            limit,
            after: self.after.map(|name| name.to_ascii_lowercase()),
            name: self.name,
            fingerprint,
            clearance: self.clearance,
            expires_before: self.expires_before.map(time).transpose()?,
            q: self.q.map(|text| text.to_lowercase()),
            managed,
            files,
        })
    }
}

/// Writes all managed principals as `PUT` reads them; `None` where that is longer.
pub(super) fn export(state: &State, most: usize) -> Option<Vec<u8>> {
    let mut out = br#"{"principals":["#.to_vec();
    for (at, kept) in state.principals(None).enumerate() {
        out.extend_from_slice(if at == 0 { b"\n" } else { b",\n" });
        out.extend_from_slice(kept.text());
        if out.len() > most {
            return None;
        }
    }
    out.extend_from_slice(b"\n]}\n");
    (out.len() <= most).then_some(out)
}

impl Read {
    pub(super) fn page(&self, view: &View) -> Page {
        let mut found: Vec<Principal> = Vec::new();
        if self.managed {
            let after = self.after.as_deref();
            let all: Box<dyn Iterator<Item = &Arc<Managed>> + '_> = match (&self.name, &self.fingerprint) {
                (Some(name), _) => Box::new(view.state.principal_named(name).into_iter()),
                (None, Some(fingerprint)) => Box::new(view.state.owner(fingerprint).into_iter()),
                (None, None) => Box::new(view.state.principals(after)),
            };
            let fits = all.filter(|kept| self.is_behind(kept.name()) && self.fits(&kept.document()));
            found.extend(fits.take(self.limit + 1).map(|kept| Principal::managed(kept)));
        }
        if self.files {
            self.add_static(view, &mut found);
        }
        let next = (found.len() > self.limit).then(|| {
            found.truncate(self.limit);
            found.last().map(|last| last.document.name.clone())
        });
        Page { principals: found, next: next.flatten() }
    }

    /// Looks through all of them: of a million in no order, the first page is the least so many.
    fn add_static(&self, view: &View, found: &mut Vec<Principal>) {
        let allowlist = &view.rules.snapshot.allowlist;
        let owner = self.fingerprint.map(|fingerprint| allowlist.owner_of_pin(&fingerprint).map(|owner| owner.id));
        for principal in allowlist.principals().filter(|principal| !principal.provenance.is_ledger()) {
            let is_named = self.name.as_ref().is_none_or(|name| name.eq_ignore_ascii_case(principal.name.as_str()));
            if !is_named || !self.is_behind(principal.name.as_str()) || owner.is_some_and(|owner| owner != Some(principal.id)) {
                continue;
            }
            let entry = Principal::of_file(&principal);
            if self.fits(&entry.document) {
                found.push(entry);
            }
            if found.len() > 2 * (self.limit + 1) {
                self.order(found);
            }
        }
        self.order(found);
    }

    fn order(&self, found: &mut Vec<Principal>) {
        found.sort_by_cached_key(|principal| principal.document.name.to_ascii_lowercase());
        found.truncate(self.limit + 1);
    }

    fn is_behind(&self, name: &str) -> bool {
        self.after.as_ref().is_none_or(|after| name.to_ascii_lowercase() > *after)
    }

    fn fits(&self, document: &Document) -> bool {
        let has = |text: &str, part: &str| text.to_lowercase().contains(part);
        let ends = |before: u64| {
            let own = document.valid_until.as_deref().and_then(rfc3339).is_some_and(|at| at < before);
            own || document
                .certificates
                .iter()
                .any(|entry| matches!(entry.certificate(), Some(Ok(certificate)) if certificate.not_after < before))
        };
        self.clearance.as_ref().is_none_or(|clearance| document.clearance().name() == clearance)
            && self.q.as_ref().is_none_or(|q| {
                has(&document.name, q) || has(&document.id, q) || document.display_name.as_ref().is_some_and(|name| has(name, q))
            })
            && self.expires_before.is_none_or(ends)
    }
}
