//! What commands read: certificate files of bounded size, passwords, times.

use std::io::{IsTerminal, Read};
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
        self.read_or(|| prompt("Password: "))
    }

    /// Reads the password for something new: who types it types it twice.
    pub(super) fn read_new(&self) -> Result<Option<Zeroizing<String>>, Failure> {
        self.read_or(|| {
            let password = prompt("New password: ")?;
            match prompt("Once more: ")? == password {
                true => Ok(password),
                false => Err(Failure::usage("the two passwords differ")),
            }
        })
    }

    fn read_or(&self, ask: impl FnOnce() -> Result<Zeroizing<String>, Failure>) -> Result<Option<Zeroizing<String>>, Failure> {
        let Some(path) = &self.password_file else { return Ok(std::env::var("PORTCULLIS_PASSWORD").ok().map(Zeroizing::new)) };
        if path == Path::new("-") && std::io::stdin().is_terminal() {
            return ask().map(Some);
        }
        let bytes = Zeroizing::new(read(path)?);
        let text = std::str::from_utf8(&bytes).map_err(|_| Failure::file(path, "not UTF-8"))?;
        Ok(Some(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned())))
    }
}

/// Asks at the terminal, without echo.
fn prompt(words: &str) -> Result<Zeroizing<String>, Failure> {
    rpassword::prompt_password(words).map(Zeroizing::new).map_err(|error| Failure::local(format_args!("the terminal: {error}")))
}

/// Reads a file whole; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let result = if path == Path::new("-") {
        std::io::stdin().lock().take(MAX_INPUT + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_INPUT + 1).read_to_end(&mut bytes))
    };
    result.map_err(|error| Failure::file(path, error))?;
    if bytes.len() as u64 > MAX_INPUT {
        return Err(Failure::file(path, format_args!("more than {} MiB", MAX_INPUT >> 20)));
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
