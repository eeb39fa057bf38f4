//! `portcullis allow add`: lets in somebody new.

use http::Method;
use serde_json::{Map, Value};

use super::principals::text;
use super::terms::{Credentials, Terms};
use crate::cli::remote::{Remote, Target, encoded};
use crate::cli::{Exit, Failure, Output};
use crate::explain::printable;

#[derive(Debug, clap::Args)]
#[command(after_help = "Without a role or a permission a principal is let in, and may do nothing.\n\n  \
    portcullis allow add alice alice.pem --role Reader\n  \
    portcullis allow add ci/pipelines --authority ca.pem --common-name 'pipeline-*' --permission orders=write")]
pub(in crate::cli) struct Arguments {
    /// Its name: segments of A-Z a-z 0-9 . _ - with / between
    name: String,
    #[command(flatten)]
    credentials: Credentials,
    #[command(flatten)]
    terms: Terms,
    #[command(flatten)]
    how: How,
}

/// How a change is asked for.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct How {
    /// Only say what would come of it
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
    /// Why, for the ledger
    #[arg(long, value_name = "TEXT")]
    pub(in crate::cli) reason: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) target: Target,
}

impl How {
    /// Adds it to what is called.
    pub(in crate::cli) fn query(&self, path: &str) -> String {
        let reason = self.reason.as_ref().map(|reason| format!("reason={}", encoded(reason)));
        let wanted: Vec<String> = self.dry_run.then(|| "dry_run=true".to_owned()).into_iter().chain(reason).collect();
        if wanted.is_empty() { path.to_owned() } else { format!("{path}?{}", wanted.join("&")) }
    }

    /// Says what came of a change: who, and where the ledger has it.
    pub(in crate::cli) fn changed(&self, answer: &Value, done: &str) -> String {
        let principal = &answer["principal"];
        let entry = answer["index"].as_u64().map(|index| format!(", ledger entry {index}")).unwrap_or_default();
        let done = if entry.is_empty() && !self.dry_run { "is so already".to_owned() } else { self.told(done) };
        format!("{} ({}): {done}{entry}{}", text(principal, "name"), text(principal, "id"), still_revoked([answer]))
    }

    /// Says `would be` of what is only tried.
    pub(in crate::cli) fn told(&self, done: &str) -> String {
        if self.dry_run { format!("would be {done}") } else { done.to_owned() }
    }
}

/// Says what stays revoked though what said so is gone.
pub(super) fn still_revoked<'a>(answers: impl IntoIterator<Item = &'a Value>) -> String {
    let ids = answers.into_iter().flat_map(|answer| answer["still_revoked"].as_array().into_iter().flatten());
    let line = |id: &Value| {
        let id = printable(id.as_str().unwrap_or_default());
        format!("\nstill revoked, where the principal's revoked_ids said so: {id}; `portcullis unrevoke {id}` takes that back")
    };
    ids.map(line).collect()
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<Exit, Failure> {
    let mut document = Map::from_iter([("name".to_owned(), Value::from(arguments.name.as_str()))]);
    arguments.credentials.write(&mut document)?;
    arguments.terms.write(&mut document);
    let remote = arguments.how.target.remote()?.showing(output);
    let made = create(&remote, &arguments.how, document)?;
    output.answer(&made, arguments.how.changed(&made, "let in") + &may_do_nothing(&made["principal"]));
    Ok(Exit::Done)
}

/// Says so of whom nothing is permitted: its connections are admitted, and each of its requests is denied.
pub(in crate::cli) fn may_do_nothing(principal: &Value) -> String {
    let is_ranked = principal["clearance"].as_str().is_some_and(|clearance| clearance != "user");
    let has_permission = principal["permissions"].as_array().is_some_and(|permissions| !permissions.is_empty());
    if is_ranked || has_permission {
        return String::new();
    }
    let name = printable(text(principal, "name"));
    format!(
        "\nnote: no permission is said, so it may do nothing: portcullis allow update {name} --role Reader, or --permission ROUTE=ACCESS"
    )
}

/// Has a principal made.
pub(in crate::cli) fn create(remote: &Remote, how: &How, document: Map<String, Value>) -> Result<Value, Failure> {
    remote.call(&Method::POST, &how.query("/v1/principals"), Some(&document.into()))
}
