//! `portcullis man`: the manual, a page for each command, from the arguments as they are.

use std::fs::DirBuilder;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;

use super::{Exit, Failure, Output};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where to put the pages; made if it is not there. Pages of the same names are replaced
    directory: PathBuf,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<Exit, Failure> {
    let directory = &arguments.directory;
    DirBuilder::new().recursive(true).create(directory).map_err(|error| Failure::file(directory, error))?;
    let mut root = super::Arguments::command().disable_help_subcommand(true);
    root.build();
    let mut pages = Vec::new();
    write(&root, directory, &mut pages)?;
    let text = format!("wrote {} pages into {}", pages.len(), directory.display());
    output.answer(&serde_json::json!({ "pages": pages }), text);
    Ok(Exit::Done)
}

/// Writes the page of a command, and those of the commands below it.
fn write(command: &clap::Command, directory: &Path, pages: &mut Vec<String>) -> Result<(), Failure> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let path = directory.join(format!("{name}.1"));
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).title(name).render(&mut page).map_err(Failure::local)?;
    std::fs::write(&path, page).map_err(|error| Failure::file(&path, error))?;
    pages.push(path.display().to_string());
    command.get_subcommands().filter(|below| !below.is_hide_set()).try_for_each(|below| write(below, directory, pages))
}
