//! The command line: one file per subcommand. Here are the arguments, the exit codes and how a failure is told.

mod admin;
mod allow;
mod auth;
mod auth_method;
mod cert;
mod check;
mod completions;
mod confirm;
mod crl;
mod echo;
mod explain;
mod gateway;
mod input;
mod ledger;
mod live;
mod load;
mod man;
mod output;
mod preview;
mod progress;
mod quickstart;
mod reload;
mod remote;
mod revoke;
mod run;
mod status;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub(crate) use output::{Exit, Failure, Output};

/// An mTLS-terminating HTTP reverse proxy that lets in exactly the clients on an allowlist of certificates.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, propagate_version = true)]
#[command(after_help = "Exit codes: 0 done or allowed, 1 refused, 2 usage, 3 local file or key, 4 network.")]
struct Arguments {
    /// Answer in JSON, on standard output
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make and trust admins' certificates: over the control socket this is how the first one comes to be
    #[command(subcommand)]
    Admin(Box<admin::Command>),
    /// Say who is let in: the principals that a running proxy keeps in its ledger
    #[command(subcommand)]
    Allow(Box<allow::Command>),
    /// Get a token by our certificate and its key, which stays here
    Auth(Box<auth::Auth>),
    /// Manage principals in the words of Akeyless, as methods of authentication by certificate
    #[command(subcommand)]
    AuthMethod(Box<auth_method::Command>),
    /// Work with certificates
    #[command(subcommand)]
    Cert(cert::Command),
    /// Check the configuration and all that it names, tell every problem, and summarise what would be in force
    Check(check::Arguments),
    /// Print a shell's completions
    Completions(completions::Arguments),
    /// List who is connected to a running proxy, or end a connection
    Connections(Box<live::Connections>),
    /// Keep revocation lists on a running proxy
    #[command(subcommand)]
    Crl(Box<crl::Command>),
    /// Run an upstream that answers with what it was asked: for tests and demos
    Echo(echo::Arguments),
    /// Replay a decision from the files: who would be admitted, by which rule, in which file and line
    Explain(Box<explain::Arguments>),
    /// Get a challenge to sign, of which a token comes
    GetCertChallenge(auth::GetCertChallenge),
    /// Read and verify the ledger of changes, offline
    #[command(subcommand)]
    Ledger(Box<ledger::Command>),
    /// Write the manual pages
    Man(man::Arguments),
    /// Say what another configuration would mean for the clients that a running proxy has seen of late
    Preview(preview::Arguments),
    /// Make certificates and a configuration, run an upstream and the proxy, and print three commands to try
    Quickstart(quickstart::Arguments),
    /// List who came to a running proxy of late, proved a key, and was denied
    Refusals(Box<remote::Target>),
    /// Have a running proxy read everything again, and say what came of it
    Reload(reload::Arguments),
    /// Revoke a certificate, a key, or whatever an id hits, on a running proxy
    Revoke(Box<revoke::Revoke>),
    /// List what was revoked by commands
    Revoked(revoke::Revoked),
    /// Run the proxy
    Run(run::Arguments),
    /// Sign a challenge of the gateway that was dialled, and nothing else
    SignChallenge(auth::SignChallenge),
    /// Say how a running proxy stands
    Status(status::Arguments),
    /// Ask about a token, or take it back
    #[command(subcommand)]
    Token(token::Command),
    /// Take back a revocation
    Unrevoke(Box<revoke::Unrevoke>),
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    // First thing: whatever needs cryptography finds the one provider, and never has to choose.
    let installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    debug_assert!(installed.is_ok(), "nobody installed a provider before");
    let arguments = Arguments::parse();
    let output = Output::new(arguments.json);
    let result = match arguments.command {
        Command::Admin(command) => admin::run(*command, &output),
        Command::Allow(command) => allow::run(*command, &output),
        Command::Auth(arguments) => auth::auth(&arguments, &output),
        Command::AuthMethod(command) => auth_method::run(*command, &output),
        Command::Cert(command) => cert::run(&command, &output),
        Command::Check(arguments) => check::run(&arguments, &output),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Connections(arguments) => live::connections(&arguments, &output),
        Command::Crl(command) => crl::run(&command, &output),
        Command::Echo(arguments) => echo::run(&arguments, &output),
        Command::Explain(arguments) => explain::run(*arguments, &output),
        Command::GetCertChallenge(arguments) => auth::get_cert_challenge(&arguments, &output),
        Command::Ledger(command) => ledger::run(*command, &output),
        Command::Man(arguments) => man::run(&arguments, &output),
        Command::Preview(arguments) => preview::run(&arguments, &output),
        Command::Quickstart(arguments) => quickstart::run(arguments, &output),
        Command::Refusals(target) => live::refusals(&target, &output),
        Command::Reload(arguments) => reload::run(&arguments, &output),
        Command::Revoke(arguments) => revoke::revoke(&arguments, &output),
        Command::Revoked(arguments) => revoke::revoked(&arguments, &output),
        Command::Run(arguments) => run::run(&arguments),
        Command::SignChallenge(arguments) => auth::sign_challenge(&arguments, &output),
        Command::Status(arguments) => status::run(&arguments, &output),
        Command::Token(command) => token::run(&command, &output),
        Command::Unrevoke(arguments) => revoke::unrevoke(&arguments, &output),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output.failure(&failure);
            failure.exit.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// A page of the manual that says nothing is worse than none.
    fn speaks(command: &clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        assert!(command.get_about().is_some(), "{path} has no help text");
        for argument in command.get_arguments().filter(|argument| !matches!(argument.get_id().as_str(), "help" | "version")) {
            assert!(argument.get_help().is_some(), "{path}: {} has no help text", argument.get_id());
        }
        command.get_subcommands().filter(|below| below.get_name() != "help").for_each(|below| speaks(below, &path));
    }

    #[test]
    fn every_command_and_every_argument_has_help_text() {
        let mut command = Arguments::command();
        command.build();
        speaks(&command, "");
        command.debug_assert();
    }
}
