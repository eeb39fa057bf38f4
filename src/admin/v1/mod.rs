//! `/v1`: the operations in JSON. A handler reads what was sent, asks an operation, and tells what came of it.

pub(super) mod certificates;
pub(super) mod crls;
pub(super) mod explain;
pub(super) mod ledger;
pub(super) mod live;
pub(super) mod preview;
pub(super) mod principals;
pub(super) mod revocations;
pub(super) mod tokens;

use std::collections::BTreeSet;

use axum::extract::FromRequestParts;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::operations::How;
use super::operations::principals::{IfMatch, Which};
use super::{Detail, Error};
use crate::reload::Recorded;
use crate::store::managed::Change;

/// How a change is asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// Only say what would come of it.
    dry_run: bool,
    /// Why, for the ledger: at most 4096 bytes.
    reason: Option<String>,
}

/// Which principal, and how a change of it is asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AskedOf {
    /// By its name, in any case; the path says `-` then.
    name: Option<String>,
    /// Only say what would come of it.
    dry_run: bool,
    /// Why, for the ledger: at most 4096 bytes.
    reason: Option<String>,
}

/// What was recorded of a change.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Receipt {
    /// The entry of the ledger; with several, the first. `null` where nothing was to be changed, and in a dry run.
    index: Option<u64>,
    /// Every entry, in order.
    indices: Vec<u64>,
    /// The number of the rules that it is in force by.
    generation: u64,
    dry_run: bool,
    /// What `revoked_ids` named and stays revoked for what it held for, though the principal, its authority or its pin is gone: `DELETE
    /// /v1/revocations` takes it back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    still_revoked: Vec<String>,
}

impl Asked {
    pub(super) fn how(self) -> How {
        How { dry_run: self.dry_run, reason: self.reason }
    }
}

impl AskedOf {
    pub(super) fn split(self, id: String) -> Result<(Which, How), Error> {
        Ok((which(id, self.name)?, How { dry_run: self.dry_run, reason: self.reason }))
    }
}

impl Receipt {
    pub(super) fn of(recorded: &Recorded, dry_run: bool) -> Self {
        let indices: Vec<u64> = recorded.entries.iter().map(|entry| entry.index).collect();
        let kept = |change: &Change| match change {
            Change::RevocationAdd { id, only, .. } if !only.is_empty() => Some(id.clone()),
            _ => None,
        };
        let still_revoked: BTreeSet<String> = recorded.changes.iter().filter_map(kept).collect();
        let still_revoked = still_revoked.into_iter().take(MOST_KEPT).collect();
        Self { index: indices.first().copied(), indices, generation: recorded.generation, dry_run, still_revoked }
    }
}

/// Of a set that is replaced there may be any number.
const MOST_KEPT: usize = 1000;

/// Says which principal is meant: by the id in the path, or by `?name=` and `-`.
pub(super) fn which(id: String, name: Option<String>) -> Result<Which, Error> {
    match (id.as_str(), name) {
        ("-", Some(name)) => Ok(Which::Name(name)),
        (_, None) => Ok(Which::Id(id)),
        (_, Some(_)) => Err(invalid("name", "goes with `-` in the place of the id")),
    }
}

/// Reads how many to list.
pub(super) fn limit(wanted: Option<usize>) -> Result<usize, Error> {
    let limit = wanted.unwrap_or(100);
    if (1..=1000).contains(&limit) { Ok(limit) } else { Err(invalid("limit", "is none of 1 to 1000")) }
}

pub(super) fn invalid(key: &str, why: impl Into<String>) -> Error {
    Error::invalid(vec![Detail { key: key.to_owned(), why: why.into() }])
}

/// RFC 9110, 13.1.1: a version of ours is `"7"`; `*` is whatever there is.
impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        if_match(&parts.headers)
    }
}

fn if_match(headers: &HeaderMap) -> Result<IfMatch, Error> {
    let mut values = headers.get_all(header::IF_MATCH).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(IfMatch(None)),
        (Some(value), None) if value == "*" => Ok(IfMatch(None)),
        (Some(value), None) => {
            let version = value.to_str().ok().and_then(|text| text.trim().strip_prefix('"')?.strip_suffix('"')?.parse().ok());
            version
                .map(|version| IfMatch(Some(version)))
                .ok_or_else(|| invalid("If-Match", "is no version that we gave: like \"7\", with the quotes"))
        }
        (Some(_), Some(_)) => Err(invalid("If-Match", "stands there twice")),
    }
}

pub(super) fn etag(version: u64) -> HeaderValue {
    // INVARIANT: quotes and digits.
    HeaderValue::try_from(format!("\"{version}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"0\""))
}
