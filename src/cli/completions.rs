//! `bygone completions`: what a shell needs to complete our commands.

use crate::cli::Cli;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::out::Out;
use clap::CommandFactory;
use clap_complete::Shell;

const EXAMPLES: &str = "Examples:
  bygone completions bash > ~/.local/share/bash-completion/completions/bygone
  bygone completions zsh > ~/.zfunc/_bygone
  bygone completions fish > ~/.config/fish/completions/bygone.fish";

/// Print the completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CompletionsArgs {
    /// Which shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl CompletionsArgs {
    pub(super) fn run(self) -> Result<Exit> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "bygone", &mut script);
        let mut out = Out::new();
        out.bytes(&script)?;
        out.finish()?;
        Ok(Exit::Done)
    }
}
