//! `portcullis completions`: a shell's completions, from the arguments as they are.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Exit, Failure};

#[derive(Debug, clap::Args)]
#[command(after_help = "bash: portcullis completions bash > /etc/bash_completion.d/portcullis\n\
    zsh: portcullis completions zsh > /usr/local/share/zsh/site-functions/_portcullis\n\
    fish: portcullis completions fish > ~/.config/fish/completions/portcullis.fish")]
pub(super) struct Arguments {
    /// Which shell
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::Arguments::command(), "portcullis", &mut script);
    super::output::print_line(String::from_utf8_lossy(&script).trim_end());
    Ok(Exit::Done)
}
