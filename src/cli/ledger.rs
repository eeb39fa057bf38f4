//! `portcullis ledger`: reads and verifies the ledger offline. Takes no lock and writes nothing, so that it may run
//! beside the proxy, or on a copy. Log and receipts of a proxy elsewhere are asked for.

mod about;
mod remote;

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::output::print_line;
use super::progress::Progress;
use super::remote::Elsewhere;
use super::{Exit, Failure, Output, input, load};
use crate::clock::Date;
use crate::explain::paints;
use crate::store::ledger::{AccessError, Actor, Entry, Extent, OpenError, Reader, Report, Verifier, verify_directory, verify_receipt};
use crate::store::managed::Change;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List what was changed, by whom and why: the newest, or from an index on
    Log(LogArguments),
    /// Make the proof that an entry is in the ledger, to be verified offline (C2SP tlog-proof)
    Receipt(ReceiptArguments),
    /// Verify every entry, tile and checkpoint of the ledger; of a proxy elsewhere, every entry and the checkpoint
    Verify(VerifyArguments),
    /// Verify a receipt offline
    VerifyReceipt(VerifyReceiptArguments),
}

/// Which ledger, and whose.
#[derive(Debug, clap::Args)]
pub(super) struct Where {
    #[command(flatten)]
    config: load::Config,
    /// The state directory, or a copy of the ledger directory in it; the configuration is not read then
    #[arg(long, value_name = "DIR", conflicts_with = "path")]
    state: Option<PathBuf>,
    /// The verifier to trust (NAME+ID+BASE64, or a file that has it); else `ledger.pub` of the directory itself. With --admin: the key of
    /// --cert, as everywhere
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct LogArguments {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    elsewhere: Elsewhere,
    /// The first entry; without it, the newest are listed
    #[arg(long, value_name = "INDEX")]
    from: Option<u64>,
    /// How many entries
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Only what is as new: 2027-01-31T12:00:00Z, with an offset, or seconds since 1970
    #[arg(long, value_name = "TIME", value_parser = input::time)]
    since: Option<u64>,
    /// Only of this actor: an id, a name, a fingerprint, a token's id, or a kind (admin, bootstrap, file, socket, system, token)
    #[arg(long)]
    actor: Option<String>,
    /// Only this action
    #[arg(long, value_parser = Change::ACTIONS)]
    action: Option<String>,
    /// Only what was done to this: a principal's name or id, a revoked id, a CRL's name
    #[arg(long)]
    object: Option<String>,
    /// Print the lines as they stand in the ledger
    #[arg(long, conflicts_with = "admin")]
    raw: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ReceiptArguments {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    elsewhere: Elsewhere,
    /// The entry
    index: u64,
}

#[derive(Debug, clap::Args)]
pub(super) struct VerifyArguments {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    elsewhere: Elsewhere,
    /// The verifier to trust (NAME+ID+BASE64, or a file that has it) where a proxy elsewhere is asked: nothing that it says of itself counts
    #[arg(long, value_name = "KEY", requires = "admin")]
    verifier: Option<String>,
    /// A file with a checkpoint seen before, which history has to go on from. What verifies is written there for the next time; where
    /// there is no such file, it is begun
    #[arg(long, value_name = "FILE", requires = "admin")]
    checkpoint: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct VerifyReceiptArguments {
    /// The receipt; `-` is standard input
    receipt: PathBuf,
    /// The entry's line, as `ledger log --raw` prints it; `-` is standard input
    entry: PathBuf,
    /// The ledger's verifier (NAME+ID+BASE64, or a file that has it): what the proof is worth
    #[arg(long, value_name = "KEY")]
    key: String,
}

pub(super) fn run(command: Command, output: &Output) -> Result<Exit, Failure> {
    match command {
        Command::Log(arguments) => log(&arguments, *output),
        Command::Receipt(arguments) => receipt(&arguments, *output),
        Command::Verify(arguments) => verify(&arguments, *output),
        Command::VerifyReceipt(arguments) => check_receipt(&arguments, *output),
    }
}

impl Where {
    fn directory(&self) -> Result<PathBuf, Failure> {
        if let Some(state) = &self.state {
            return Ok(state.clone());
        }
        let state = self.config.load()?.settings.state;
        state.ok_or_else(|| Failure::file(&self.config.path, "`[store] path` is empty: there is no ledger"))
    }

    fn key(&self) -> Result<Option<Verifier>, Failure> {
        self.key.as_deref().map(key).transpose()
    }

    fn reader(&self, extent: Extent) -> Result<Reader, Failure> {
        Reader::offline(&self.directory()?, self.key()?, extent).map_err(|error| not_open(&error))
    }
}

fn log(arguments: &LogArguments, output: Output) -> Result<Exit, Failure> {
    if let Some(remote) = arguments.elsewhere.remote(&arguments.place.config, arguments.place.key.as_deref())? {
        let listed = remote::log(arguments, &remote, output)?;
        output.answer(&listed, &listed);
        return Ok(Exit::Done);
    }
    let reader = arguments.place.reader(Extent::All)?;
    let mut found: VecDeque<Entry> = VecDeque::new();
    let from = arguments.from.unwrap_or(0);
    let mut bar = Progress::new("entries read", arguments.reads(from, reader.size()), output);
    for entry in reader.entries(from) {
        bar.advance();
        if !arguments.take(&mut found, entry.map_err(not_read)?) {
            break;
        }
    }
    drop(bar);
    if arguments.raw {
        for entry in &found {
            print_line(reader.line(entry.index).map_err(not_read)?.unwrap_or_default());
        }
    } else {
        let listed = Listed { size: reader.size(), entries: found };
        output.answer(&listed, &listed);
    }
    Ok(Exit::Done)
}

impl LogArguments {
    /// Keeps an entry that is wanted: the first ones from an index on, else the newest. False: no more are.
    fn take(&self, found: &mut VecDeque<Entry>, entry: Entry) -> bool {
        if !self.wants(&entry) {
            return true;
        }
        if found.len() == self.limit {
            if self.from.is_some() {
                return false;
            }
            found.pop_front();
        }
        if self.limit > 0 {
            found.push_back(entry);
        }
        true
    }

    /// Returns how many entries have to be read, of so many.
    fn reads(&self, from: u64, size: u64) -> u64 {
        let all = size.saturating_sub(from);
        if self.from.is_some() && !self.is_filtered() { all.min(self.limit as u64) } else { all }
    }

    /// Says whether all have to be looked at to know which are listed.
    fn is_filtered(&self) -> bool {
        self.since.is_some() || self.actor.is_some() || self.action.is_some() || self.object.is_some()
    }

    fn wants(&self, entry: &Entry) -> bool {
        // RFC 3339 in UTC and of one length orders as text does; entries have a fraction, which is left out.
        let new = self.since.is_none_or(|since| entry.time.get(..19) >= Date::of(since).to_string().get(..19));
        new && self.action.as_ref().is_none_or(|action| *action == entry.action)
            && self.object.as_ref().is_none_or(|wanted| about::is(entry, wanted))
            && self.actor.as_ref().is_none_or(|wanted| is(&entry.actor, wanted))
    }
}

fn is(actor: &Actor, wanted: &str) -> bool {
    actor.kind.to_string() == wanted
        || [&actor.id, &actor.name, &actor.fingerprint, &actor.token, &actor.via].into_iter().flatten().any(|known| known == wanted)
}

#[derive(Serialize)]
struct Listed {
    /// How many entries the ledger has.
    size: u64,
    entries: VecDeque<Entry>,
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.entries {
            let Entry { index, time, actor, action, object, reason, .. } = entry;
            let name = actor.name.as_ref().or(actor.id.as_ref()).or(actor.fingerprint.as_ref()).or(actor.via.as_ref());
            write!(f, "{index} {time} {}", actor.kind)?;
            name.map_or(Ok(()), |name| write!(f, " {}", printable(name)))?;
            actor.token.as_ref().map_or(Ok(()), |token| write!(f, " by token {}", printable(token)))?;
            write!(f, ": {} {}", printable(action), printable(object))?;
            let about = about::told(entry);
            if !about.is_empty() {
                write!(f, " {about}")?;
            }
            reason.as_ref().map_or(Ok(()), |reason| write!(f, " ({})", printable(reason)))?;
            writeln!(f)?;
        }
        write!(f, "{} of {} entries", self.entries.len(), self.size)
    }
}

/// What others wrote, without what a terminal would obey.
fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if paints(c) { c.escape_default().collect() } else { vec![c] }).collect()
}

#[derive(Serialize)]
struct Proof {
    index: u64,
    /// The line that it proves, without its newline.
    entry: String,
    receipt: String,
}

fn receipt(arguments: &ReceiptArguments, output: Output) -> Result<Exit, Failure> {
    let index = arguments.index;
    if let Some(remote) = arguments.elsewhere.remote(&arguments.place.config, arguments.place.key.as_deref())? {
        let receipt = remote::receipt(index, &remote)?;
        output.answer(&serde_json::json!({ "index": index, "receipt": receipt }), receipt.trim_end());
        return Ok(Exit::Done);
    }
    let reader = arguments.place.reader(Extent::Published)?;
    let (Some(entry), Some(receipt)) = (reader.line(index).map_err(not_read)?, reader.receipt(index).map_err(not_read)?) else {
        return Err(Failure::usage(format_args!("there is no entry {index}: the checkpoint has {}, from 0 on", reader.size())));
    };
    let proof = Proof { index, entry, receipt };
    output.answer(&proof, proof.receipt.trim_end());
    Ok(Exit::Done)
}

fn verify(VerifyArguments { place, elsewhere, verifier, checkpoint }: &VerifyArguments, output: Output) -> Result<Exit, Failure> {
    if let Some(remote) = elsewhere.remote(&place.config, place.key.as_deref())? {
        let Some(verifier) = verifier else {
            return Err(Failure::usage("--admin needs --verifier: the proxy that is asked cannot vouch for itself"));
        };
        let report = remote::verify(&remote, key(verifier)?, checkpoint.as_deref(), output)?;
        output.answer(&report, Told { report: &report, trusted: true });
        return Ok(Exit::Done);
    }
    let (directory, key) = (place.directory()?, place.key()?);
    let trusted = key.is_some();
    let mut bar = None;
    let report = verify_directory(&directory, key, |count, all| {
        bar.get_or_insert_with(|| Progress::new("entries verified", all, output)).reach(count);
    });
    drop(bar);
    let report = report.map_err(|error| not_open(&error))?;
    output.answer(&report, Told { report: &report, trusted });
    Ok(if report.problems.is_empty() { Exit::Done } else { Exit::Refused })
}

struct Told<'a> {
    report: &'a Report,
    trusted: bool,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { origin, key, size, root, problems } = self.report;
        problems.iter().try_for_each(|problem| writeln!(f, "{problem}"))?;
        let verdict = if problems.is_empty() { "verified" } else { "does not verify" };
        write!(f, "{origin}: {size} entries, head {root}: {verdict}")?;
        if self.trusted { Ok(()) } else { write!(f, "\nheld against the key that lies there, {key}; name the one you know with --key") }
    }
}

#[derive(Serialize)]
struct Proven {
    index: u64,
    origin: String,
    size: u64,
}

fn check_receipt(arguments: &VerifyReceiptArguments, output: Output) -> Result<Exit, Failure> {
    let text = |path: &Path| String::from_utf8(input::read(path)?).map_err(|_| Failure::file(path, "not UTF-8"));
    let (receipt, entry) = (text(&arguments.receipt)?, text(&arguments.entry)?);
    let line = entry.strip_suffix('\n').unwrap_or(&entry);
    match verify_receipt(&receipt, line.as_bytes(), &key(&arguments.key)?) {
        Ok((index, checkpoint)) => {
            let proven = Proven { index, origin: checkpoint.origin, size: checkpoint.size };
            output.answer(&proven, format_args!("verified: entry {index} of {}, at {} entries", proven.origin, proven.size));
            Ok(Exit::Done)
        }
        Err(error) => Err(refused(error)),
    }
}

/// Reads a verifier: itself, or a file that has it.
fn key(text: &str) -> Result<Verifier, Failure> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    let path = Path::new(text);
    let content = input::read(path)?;
    String::from_utf8_lossy(&content).parse().map_err(|error| Failure::file(path, error))
}

fn not_open(error: &OpenError) -> Failure {
    match error {
        OpenError::Damaged { .. } => refused(error),
        OpenError::Busy { .. } | OpenError::Io { .. } | OpenError::Publish(_) => Failure::local(error),
    }
}

fn not_read(error: AccessError) -> Failure {
    match error {
        AccessError::Changed { .. } => refused(error),
        AccessError::Io { .. } => Failure::local(error),
    }
}

/// It does not verify.
fn refused(why: impl fmt::Display) -> Failure {
    Failure { exit: Exit::Refused, message: why.to_string(), problems: Vec::new() }
}
