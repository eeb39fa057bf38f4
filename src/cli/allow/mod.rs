//! `portcullis allow`: the principals that a running proxy keeps in its ledger. One file for each of its commands; here is what they
//! share is in `principals.rs` and `terms.rs`.

pub(super) mod add;
mod generate;
mod list;
pub(super) mod principals;
mod purge;
mod remove;
mod replace;
mod set;
mod show;
mod terms;
mod update;

use super::{Exit, Failure, Output};
pub(super) use add::How;
pub(super) use generate::{Making, Wish, generate, name_for};
pub(super) use show::told;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Let in somebody new
    Add(Box<add::Arguments>),
    /// Make a key and a certificate, let in whoever has them, and write them into a zip
    Generate(Box<generate::Arguments>),
    /// List who is let in
    List(list::Arguments),
    /// Take off what has expired: certificates, and whoever has nothing else
    Purge(purge::Arguments),
    /// Have exactly these let in by the ledger, and nobody else
    Replace(Box<replace::Arguments>),
    /// Take somebody off the list
    Rm(remove::Arguments),
    /// Take one certificate off somebody who has others
    RmCert(remove::Certificate),
    /// Show all that is known of one
    Show(show::Arguments),
    /// Change what was said of somebody, or add certificates
    Update(Box<update::Arguments>),
}

pub(super) fn run(command: Command, output: &Output) -> Result<Exit, Failure> {
    match command {
        Command::Add(arguments) => add::run(&arguments, *output),
        Command::Generate(arguments) => generate::run(*arguments, *output),
        Command::List(arguments) => list::run(&arguments, *output),
        Command::Purge(arguments) => purge::run(&arguments, *output),
        Command::Replace(arguments) => replace::run(&arguments, *output),
        Command::Rm(arguments) => remove::run(&arguments, *output),
        Command::RmCert(arguments) => remove::certificate(&arguments, *output),
        Command::Show(arguments) => show::run(&arguments, *output),
        Command::Update(arguments) => update::run(&arguments, *output),
    }
}
