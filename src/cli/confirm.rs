//! Asking before what cannot be taken back: at a terminal, or not at all without `--yes`.

use std::fmt;
use std::io::{BufRead, IsTerminal, Write};

use super::{Failure, input};

#[derive(Debug, clap::Args)]
pub(super) struct Confirm {
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Confirm {
    /// Asks whether to go on; whoever says no, or cannot be asked, has not done it.
    pub(super) fn ask(&self, question: impl fmt::Display) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return Err(Failure::usage(format_args!("{question}\nno terminal to ask at: say --yes; nothing was changed")));
        }
        let mut answer = String::new();
        let mut terminal = std::io::stderr().lock();
        let asked = write!(terminal, "{question} [y/N] ").and_then(|()| terminal.flush());
        drop(terminal);
        asked.and_then(|()| std::io::stdin().lock().read_line(&mut answer)).map_err(input::terminal)?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(Failure::refused("nothing was changed")),
        }
    }
}
