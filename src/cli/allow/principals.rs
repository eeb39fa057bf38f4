//! The principals of a running proxy, as the commands call for them: found by name or id.

use http::{Method, StatusCode};
use serde_json::Value;

use crate::admission::PrincipalId;
use crate::cli::Failure;
use crate::cli::remote::{Remote, encoded};
use crate::explain::printable;

/// Finds whom a command means: by id, or by name in any case.
pub(in crate::cli) fn find(remote: &Remote, who: &str) -> Result<Value, Failure> {
    if who.parse::<PrincipalId>().is_ok() {
        let reply = remote.send(&Method::GET, &path(who), None, None)?;
        // A name may look like an id.
        if reply.status != StatusCode::NOT_FOUND {
            return if reply.status.is_success() { reply.json() } else { Err(reply.refusal()) };
        }
    }
    let reply = remote.send(&Method::GET, &format!("/v1/principals/-?name={}", encoded(who)), None, None)?;
    match reply.status {
        StatusCode::NOT_FOUND => Err(Failure::refused(format_args!("not_found: there is nobody called {who}; see portcullis allow list"))),
        status if status.is_success() => reply.json(),
        _ => Err(reply.refusal()),
    }
}

/// The same, where it is to be changed: who stands in a file is changed there.
pub(in crate::cli) fn find_managed(remote: &Remote, who: &str) -> Result<Value, Failure> {
    let found = find(remote, who)?;
    match text(&found, "source") {
        "static" => {
            let (name, written) = (text(&found, "name"), printable(text(&found, "written")));
            Err(Failure::refused(format_args!("static: {name} stands in {written}: change it there")))
        }
        _ => Ok(found),
    }
}

/// Returns where the API has a principal.
pub(in crate::cli) fn path(id: &str) -> String {
    format!("/v1/principals/{}", encoded(id))
}

/// Reads a text of an answer.
pub(in crate::cli) fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}
