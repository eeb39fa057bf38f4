//! What commands read: certificate files of bounded size, passwords, times.

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::Failure;
use crate::clock::rfc3339;
use crate::pki::FileError;

/// How a password is given: never as an argument, which any other process can read.
#[derive(Debug, clap::Args)]
pub(super) struct Password {
    /// File whose first line is the password; `-` asks for it, or reads standard input if that is no terminal. Else PORTCULLIS_PASSWORD
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl Password {
    /// Reads the password of something that is there.
    pub(super) fn read(&self) -> Result<Option<Zeroizing<String>>, Failure> {
        from(self.password_file.as_deref(), VARIABLE, ask)
    }

    /// Reads the password for something new.
    pub(super) fn read_new(&self) -> Result<Option<Zeroizing<String>>, Failure> {
        from(self.password_file.as_deref(), VARIABLE, ask_new)
    }
}

fn from(
    file: Option<&Path>,
    variable: &str,
    ask: impl FnOnce() -> Result<Zeroizing<String>, Failure>,
) -> Result<Option<Zeroizing<String>>, Failure> {
    let Some(path) = file else { return Ok(std::env::var(variable).ok().map(Zeroizing::new)) };
    if path == Path::new("-") && std::io::stdin().is_terminal() {
        return ask().map(Some);
    }
    first_line(path).map(Some)
}

/// Reads a password from the first line of a file.
pub(super) fn first_line(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let bytes = Zeroizing::new(read(path)?);
    let text = std::str::from_utf8(&bytes).map_err(|_| Failure::file(path, "not UTF-8"))?;
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

/// The same for the certificate that we call a proxy with: a command may need both.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct CertPassword {
    /// File whose first line is the password of `--cert` or `--key`; `-` asks for it. Else PORTCULLIS_CERT_PASSWORD
    #[arg(long, value_name = "FILE", requires = "cert")]
    cert_password_file: Option<PathBuf>,
}

impl CertPassword {
    pub(super) fn read(&self) -> Result<Option<Zeroizing<String>>, Failure> {
        from(self.cert_password_file.as_deref(), "PORTCULLIS_CERT_PASSWORD", || prompt("Password of the certificate: "))
    }
}

/// Asks at the terminal, without echo.
fn prompt(words: &str) -> Result<Zeroizing<String>, Failure> {
    rpassword::prompt_password(words).map(Zeroizing::new).map_err(terminal)
}

/// Tells that the terminal is to blame.
#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
pub(super) fn terminal(error: std::io::Error) -> Failure {
    Failure::local(format_args!("the terminal: {error}"))
}

/// Reads a password that may stand among the arguments, where every process of the machine can read it: hence the warning. `-` asks.
pub(super) fn positional(
    word: Option<String>,
    otherwise: impl FnOnce() -> Result<Option<Zeroizing<String>>, Failure>,
    ask: impl FnOnce() -> Result<Zeroizing<String>, Failure>,
) -> Result<Option<Zeroizing<String>>, Failure> {
    match word.map(Zeroizing::new) {
        None => otherwise(),
        Some(word) if *word == "-" => from(Some(Path::new("-")), "", ask),
        Some(word) => {
            let warning = "other processes can read a password among the arguments, and the shell keeps it; give `-` or --password-file";
            // Nothing to be done about a closed standard error.
            let _ = writeln!(std::io::stderr(), "portcullis: warning: {warning}");
            Ok(Some(word))
        }
    }
}

/// Asks for a password.
pub(super) fn ask() -> Result<Zeroizing<String>, Failure> {
    prompt("Password: ")
}

/// Asks for the password of something new: who types it types it twice.
pub(super) fn ask_new() -> Result<Zeroizing<String>, Failure> {
    let password = prompt("New password: ")?;
    match prompt("Once more: ")? == password {
        true => Ok(password),
        false => Err(Failure::usage("the two passwords differ")),
    }
}

/// Reads a file whole; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    read_up_to(path, MAX_INPUT)
}

/// The same, of so many bytes.
pub(super) fn read_up_to(path: &Path, most: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let result = if path == Path::new("-") {
        std::io::stdin().lock().take(most + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
    };
    result.map_err(|error| Failure::file(path, error))?;
    if bytes.len() as u64 > most {
        return Err(Failure::file(path, format_args!("more than {} MiB", most >> 20)));
    }
    Ok(bytes)
}

/// Tells what is wrong with a file's content, and where.
pub(super) fn file_error(path: &Path, error: &FileError) -> Failure {
    match error.line {
        0 => Failure::file(path, &error.why),
        line => Failure::local(format_args!("{}:{line}: {}", path.display(), error.why)),
    }
}

/// Reads `--at`: RFC 3339, or seconds since the epoch.
pub(super) fn time(text: &str) -> Result<u64, String> {
    parse_time(text).ok_or_else(|| "expected a time as 2027-01-31T12:00:00Z, with an offset, or seconds since 1970".to_owned())
}

fn parse_time(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    rfc3339(text)
}

/// How often a bar moves, and how long it is.
const VARIABLE: &str = "PORTCULLIS_PASSWORD";
/// No list that a person inspects is longer; a device file is.
const MAX_INPUT: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_carry_an_offset() {
        for (text, seconds) in [
            ("2026-11-20T23:12:10Z", Some(1_795_216_330)),
            ("2026-11-21T00:12:10.5+01:00", Some(1_795_216_330)),
            ("2026-11-20 18:12:10-05:00", Some(1_795_216_330)),
            ("1795216330", Some(1_795_216_330)),
            ("2026-11-20T23:12:10", None),
            ("2026-02-30T00:00:00Z", None),
            ("2026-11-20", None),
            ("2026-11-20T23:12:10Zx", None),
            ("tomorrow", None),
            ("", None),
        ] {
            assert_eq!(parse_time(text), seconds, "{text}");
        }
    }

    #[test]
    fn an_endless_file_is_not_read_for_ever() {
        assert!(read(Path::new("/dev/zero")).unwrap_err().message.contains("more than"));
    }
}
