//! Completions and manual pages out of the command tree. Pure.

use super::args;
use super::parse::Stop;
use clap_complete::Shell;

/// A completion script.
pub(super) fn completions(shell: &str) -> Result<Vec<u8>, Stop> {
    let shell = match shell {
        "bash" => Shell::Bash,
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        other => return Err(Stop::usage(format!("no completions for {other:?}; use bash, zsh or fish"))),
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::root(), "execd", &mut script);
    Ok(script)
}

/// A manual page in roff: of execd, or of one subcommand.
pub(super) fn manual(page: Option<&str>) -> Result<Vec<u8>, Stop> {
    let mut tree = args::root();
    tree.build();
    let command = match page {
        None => tree,
        Some(name) => {
            let found = tree.find_subcommand(name).cloned();
            let found = found.ok_or_else(|| Stop::usage(format!("{name:?} is no subcommand; see execd --help")))?;
            found.display_name(format!("execd-{name}")).bin_name(format!("execd {name}"))
        }
    };
    let mut roff = Vec::new();
    clap_mangen::Man::new(command).render(&mut roff).map_err(Stop::usage)?;
    Ok(roff)
}
