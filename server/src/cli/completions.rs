//! `completions`: scripts for the completion of commands in a shell.

use clap::{Args, Command, ValueEnum};
use clap_complete::shells;

use super::exit::Failure;
use super::output;

pub const EXAMPLES: &str = "\
Examples:
  taskcenter completions bash \\
    > ~/.local/share/bash-completion/completions/taskcenter
  taskcenter completions zsh > ~/.zfunc/_taskcenter
  taskcenter completions fish > ~/.config/fish/completions/taskcenter.fish";

/// Shell for which a script exists.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Completions {
    /// Shell that reads the script.
    shell: Shell,
}

impl Completions {
    /// Prints the script for the commands of `program`.
    pub fn run(&self, mut program: Command) -> Result<(), Failure> {
        let (name, mut script) = (program.get_name().to_owned(), Vec::new());
        match self.shell {
            Shell::Bash => clap_complete::generate(shells::Bash, &mut program, name, &mut script),
            Shell::Zsh => clap_complete::generate(shells::Zsh, &mut program, name, &mut script),
            Shell::Fish => clap_complete::generate(shells::Fish, &mut program, name, &mut script),
        }
        output::print_line(String::from_utf8_lossy(&script).trim_end())
    }
}
