//! A refusal as RavenDB tells it: 403 and `InvalidAuth` for who is not admitted or ranks too low, with what was presented and what it
//! would have taken; else the status that it has everywhere, and the name of an exception that its clients know.

use http::StatusCode;
use serde::Serialize;

use super::form::{clearance_name, date};
use crate::admin::Error;
use crate::admin::dialect::{Asked, Foreign, is_of_the_certificate};
use crate::admin::needs::{self, Found};
use crate::clock;
use crate::pki::hex;

/// Makes the answer.
pub(in crate::admin) fn refusal(error: &Error, asked: &Asked<'_>) -> Foreign {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Auth {
        r#type: &'static str,
        message: String,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Exception<'a> {
        url: &'a str,
        r#type: &'static str,
        message: &'a str,
        error: &'a str,
    }
    if is_of_the_certificate(error) || error.status == StatusCode::FORBIDDEN {
        return Foreign::new(StatusCode::FORBIDDEN, &Auth { r#type: "InvalidAuth", message: why(error, asked) });
    }
    let exception = match error.status {
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::UNSUPPORTED_MEDIA_TYPE => "System.ArgumentException",
        _ => "System.InvalidOperationException",
    };
    let mut message = error.message.clone();
    for detail in &error.details {
        message.push_str(&format!("; {}: {}", detail.key, detail.why));
    }
    Foreign::new(error.status, &Exception { url: asked.path, r#type: exception, message: &message, error: &message })
}

/// Says it in words that differ by what is the matter: people at the other end search for them.
fn why(error: &Error, asked: &Asked<'_>) -> String {
    let supplied = asked.leaf.map_or_else(
        || "The caller".to_owned(),
        |leaf| format!("The supplied client certificate '{}' (thumbprint {})", leaf.subject.rfc2253(), hex::upper(&leaf.sha1())),
    );
    let now = clock::wall().as_secs();
    let ended = asked.leaf.filter(|leaf| leaf.not_after < now).map(|leaf| date(leaf.not_after));
    let begins = asked.leaf.filter(|leaf| leaf.not_before > now).map(|leaf| date(leaf.not_before));
    match (error.code, ended, begins) {
        ("no_credential", ..) => {
            "This server requires a client certificate for authentication, but none was provided by the client.".to_owned()
        }
        ("not_listed", ..) => {
            format!("{supplied} is unknown to the server. In order to register it please contact your system administrator.")
        }
        ("expired", Some(ended), _) => format!("{supplied} has expired on {ended}."),
        ("not_yet_valid", _, Some(begins)) => format!("{supplied} cannot be used before {begins}."),
        (code, ..) => {
            let needed = match needs::find(asked.method, asked.path) {
                Found::Row(Some(clearance)) if code == "clearance_too_low" => {
                    format!(" To access this endpoint the security clearance {} is needed.", clearance_name(clearance))
                }
                _ => String::new(),
            };
            format!("{supplied} is not authorized: {}.{needed}", error.message)
        }
    }
}
