//! `portcullis auth-method`: principals in the words of Akeyless's command line, as methods of authentication by certificate. The same
//! principals as those of `allow`, on the same proxy; what the arguments say is in `terms.rs`.

mod terms;

use http::Method;
use serde_json::{Value, json};

use super::allow::{principals::text, told};
use super::confirm::Confirm;
use super::remote::{Remote, Target};
use super::{Exit, Failure, Output};
use crate::admin::Kind;
use crate::clock::Date;
use crate::explain::printable;
use terms::Terms;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Let in by a certificate: that one (a pin), or those that it vouches for (an authority)
    Create(Box<Create>),
    /// Delete a method: whoever it lets in is cut off at once
    Delete(Delete),
    /// Show a method
    Get(Get),
    /// List the methods
    List(List),
    /// Change a method; what is not named stays as it is
    Update(Box<Update>),
}

/// The one kind of method that there is here.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum OfKind {
    Cert,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "A method alone gives access to nothing: `portcullis allow update NAME --permission orders=write` does.\n\n  \
    portcullis auth-method create cert --name ci/pipelines --unique-identifier common_name --certificate-file-name ca.pem \\\n    \
    --bound-common-names 'pipeline-*'")]
pub(super) struct Create {
    /// The kind of method
    #[arg(value_enum)]
    kind: OfKind,
    /// Its name, a path: segments of A-Z a-z 0-9 . _ - with / between
    #[arg(long, short)]
    name: String,
    /// Which attribute of a certificate identifies the caller: `common_name`, `organizational_unit`, `organization`, `dns_sans`,
    /// `email_sans`, `uri_sans`, oid:OID
    #[arg(long, short, value_name = "ATTRIBUTE")]
    unique_identifier: String,
    #[command(flatten)]
    terms: Terms,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "A list takes the place of the one before; an empty text in it takes it away. `--access-expires 0` and `--jwt-ttl 0` \
    take those away.\n\n  portcullis auth-method update cert --name ci/pipelines --bound-ips 192.0.2.0/24\n  \
    portcullis auth-method update cert --name ci/pipelines --bound-ips ''"
)]
pub(super) struct Update {
    /// The kind of method
    #[arg(value_enum)]
    kind: OfKind,
    /// Its name
    #[arg(long, short)]
    name: String,
    /// Another name for it
    #[arg(long, value_name = "NAME")]
    new_name: Option<String>,
    /// Which attribute of a certificate identifies the caller
    #[arg(long, short, value_name = "ATTRIBUTE")]
    unique_identifier: Option<String>,
    #[command(flatten)]
    terms: Terms,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
pub(super) struct Get {
    /// The kind of method
    #[arg(value_enum)]
    kind: Option<OfKind>,
    /// Its name
    #[arg(long, short)]
    name: String,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// The kind of method
    #[arg(value_enum)]
    kind: Option<OfKind>,
    /// Only those with this in their name
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
pub(super) struct Delete {
    /// The kind of method
    #[arg(value_enum)]
    kind: Option<OfKind>,
    /// Its name
    #[arg(long, short)]
    name: String,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    target: Target,
}

pub(super) fn run(command: Command, output: &Output) -> Result<Exit, Failure> {
    match command {
        Command::Create(arguments) => create(&arguments, *output),
        Command::Delete(arguments) => delete(&arguments, *output),
        Command::Get(arguments) => get(&arguments, *output),
        Command::List(arguments) => list(&arguments, *output),
        Command::Update(arguments) => update(&arguments, *output),
    }
}

fn create(arguments: &Create, output: Output) -> Result<Exit, Failure> {
    let Create { kind: OfKind::Cert, name, unique_identifier, terms, target } = arguments;
    let mut form = terms.form(true)?;
    form.insert("name".to_owned(), json!(name));
    form.insert("unique-identifier".to_owned(), json!(unique_identifier));
    let meant = form.get("as").cloned().unwrap_or_default();
    let mut made = call(&target.remote()?, "auth-method-create-cert", &form.into())?;
    let becomes = match meant.as_str() {
        Some(kind) if kind == Kind::Pin.to_string() => "pinned: this very certificate, and no other",
        _ => "an authority: whoever it vouches for, within the bounds",
    };
    let told = format!(
        "Auth method {} created\n- access id: {}\n- the certificate is {becomes}",
        printable(text(&made, "name")),
        text(&made, "access_id")
    );
    made["as"] = meant;
    output.answer(&made, told);
    Ok(Exit::Done)
}

fn update(arguments: &Update, output: Output) -> Result<Exit, Failure> {
    let Update { kind: OfKind::Cert, name, new_name, unique_identifier, terms, target } = arguments;
    let mut form = terms.form(false)?;
    for (key, given) in [("new-name", new_name), ("unique-identifier", unique_identifier)] {
        form.extend(given.as_ref().map(|text| (key.to_owned(), json!(text))));
    }
    if form.is_empty() {
        return Err(Failure::usage("nothing to change was named"));
    }
    form.insert("name".to_owned(), json!(name));
    let changed = call(&target.remote()?, "auth-method-update-cert", &form.into())?;
    output.answer(&changed, format!("Auth method {} updated", printable(text(&changed, "name"))));
    Ok(Exit::Done)
}

fn get(arguments: &Get, output: Output) -> Result<Exit, Failure> {
    let Get { kind: None | Some(OfKind::Cert), name, target } = arguments;
    let found = call(&target.remote()?, "auth-method-get", &json!({ "name": name }))?;
    // One object of all that is inside of others.
    let mut flat = serde_json::Map::new();
    let (info, rules) = (&found["access_info"], &found["access_info"]["cert_access_rules"]);
    for (key, value) in [&found, info, rules].into_iter().filter_map(Value::as_object).flatten() {
        if !value.is_object() {
            flat.insert(key.clone(), value.clone());
        }
    }
    output.answer(&found, told(&flat.into()));
    Ok(Exit::Done)
}

fn list(arguments: &List, output: Output) -> Result<Exit, Failure> {
    let List { kind: None | Some(OfKind::Cert), filter, target } = arguments;
    let remote = target.remote()?;
    let (mut methods, mut next) = (Vec::new(), Value::Null);
    loop {
        let mut page = call(&remote, "auth-method-list", &json!({ "filter": filter, "pagination-token": next }))?;
        if let Value::Array(mut some) = page["auth_methods"].take() {
            methods.append(&mut some);
        }
        next = page["next_page"].take();
        if next.is_null() {
            break;
        }
    }
    let lines: Vec<String> = methods.iter().map(line).collect();
    output.answer(&json!({ "auth_methods": methods }), lines.join("\n"));
    Ok(Exit::Done)
}

fn line(method: &Value) -> String {
    let info = &method["access_info"];
    let mut line = format!("{}  {}", text(method, "auth_method_access_id"), printable(text(method, "auth_method_name")));
    if let Some(end) = info["access_expires"].as_u64().filter(|end| *end > 0) {
        line += &format!(", until {}", Date::of(end));
    }
    if method["delete_protection"].as_bool() == Some(true) {
        line += ", protected";
    }
    if let Some(about) = method["description"].as_str() {
        line += &format!(", {}", printable(about));
    }
    line
}

fn delete(arguments: &Delete, output: Output) -> Result<Exit, Failure> {
    let Delete { kind: None | Some(OfKind::Cert), name, confirm, target } = arguments;
    let remote = target.remote()?;
    let found = call(&remote, "auth-method-get", &json!({ "name": name }))?;
    let (id, shown) = (text(&found, "auth_method_access_id"), printable(name));
    confirm.ask(format_args!("Delete the auth method {shown} ({id})? Whoever it lets in is cut off at once."))?;
    let deleted = call(&remote, "auth-method-delete", &json!({ "name": name }))?;
    output.answer(&deleted, format!("Auth method {shown} deleted"));
    Ok(Exit::Done)
}

fn call(remote: &Remote, name: &str, form: &Value) -> Result<Value, Failure> {
    remote.call(&Method::POST, &format!("/api/v2/{name}"), Some(form))
}
