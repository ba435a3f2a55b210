//! The command line: how people and programs ask for the deeds, and how they are answered.
//!
//! One file per command: `struct XArgs`, whose comments are its help, and `run`. Around them:
//!
//! | file | is |
//! |---|---|
//! | `restore_disk` `qcow2` | whole disks brought back |
//! | `global` `filter` `keep` `select` `parity` | options and arguments shared by commands |
//! | `disks` `inside` | disks as sources, and paths that go on inside of them |
//! | `open` `password` `place` `from` | from options to an open repository |
//! | `exit` `error` `hints` | how a command ends, and what is said about it |
//! | `background` `point` | a drive that outlives its command, and where it is shown |
//! | `status` `socket` | what a drive tells about itself, and how it is asked |
//! | `out` `json` `human` `table` | how results are written |
//! | `moves` | which files of a difference were only moved |
//! | `produced` | the output of a command, to be backed up |
//! | `progress` `interrupt` `telling` | what is told meanwhile |
//!
//! Results go to standard output, all else to standard error. This is the only floor that reads the environment and
//! the terminal. Passwords never come from arguments.

mod background;
mod backup;
mod cache;
mod capture;
mod cat;
mod check;
mod completions;
mod copy;
mod diff;
mod disks;
mod drives;
mod du;
mod error;
mod exit;
mod filter;
mod find;
mod forget;
mod from;
mod global;
mod hints;
mod human;
mod init;
mod inside;
mod inspect;
mod interrupt;
mod json;
mod keep;
mod key;
mod listed;
mod locks;
mod ls;
mod man;
mod met;
mod mount;
mod moves;
mod open;
mod out;
mod parity;
mod password;
mod pin;
mod place;
mod point;
mod produced;
mod progress;
mod prune;
mod qcow2;
mod repair;
mod restore;
mod restore_disk;
mod select;
mod shown;
mod snapshots;
mod socket;
mod stats;
mod status;
mod status_words;
mod table;
mod tag;
mod telling;
mod umount;
mod undo_forget;
mod unlock;
mod versions;

use crate::cli::backup::BackupArgs;
use crate::cli::cache::CacheArgs;
use crate::cli::cat::CatArgs;
use crate::cli::check::CheckArgs;
use crate::cli::completions::CompletionsArgs;
use crate::cli::copy::CopyArgs;
use crate::cli::diff::DiffArgs;
use crate::cli::drives::DrivesArgs;
use crate::cli::du::DuArgs;
use crate::cli::error::Result;
use crate::cli::error::usage;
use crate::cli::exit::Exit;
use crate::cli::find::FindArgs;
use crate::cli::forget::ForgetArgs;
use crate::cli::global::Global;
use crate::cli::init::InitArgs;
use crate::cli::inspect::InspectArgs;
use crate::cli::key::KeyArgs;
use crate::cli::ls::LsArgs;
use crate::cli::man::ManArgs;
use crate::cli::mount::MountArgs;
use crate::cli::pin::PinArgs;
use crate::cli::pin::UnpinArgs;
use crate::cli::prune::PruneArgs;
use crate::cli::repair::RepairArgs;
use crate::cli::restore::RestoreArgs;
use crate::cli::snapshots::SnapshotsArgs;
use crate::cli::stats::StatsArgs;
use crate::cli::tag::TagArgs;
use crate::cli::umount::UmountArgs;
use crate::cli::undo_forget::UndoForgetArgs;
use crate::cli::versions::VersionsArgs;
use crate::image;
use clap::CommandFactory;
use clap::Parser;
use clap::error::ErrorKind;
use std::ffi::OsString;

const EXAMPLES: &str = "First steps:
  export BYGONE_REPOSITORY=/media/disk/backup
  bygone init                          make the repository, once
  bygone backup ~/Documents            take a snapshot
  bygone mount latest ~/Backup         open it as a drive
  bygone umount ~/Backup
  bygone restore latest:/home/ada/Documents --to ~/Restored
";

/// Backups that open as drives
///
/// Bygone takes snapshots of folders into a repository (a folder, a disk, a bucket in a cloud), encrypted and without
/// storing anything twice. Every snapshot is whole, and can be opened as a drive within moments, wherever it lies.
#[derive(Debug, Parser)]
#[command(name = "bygone", version, max_term_width = 100, subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = format!("{EXAMPLES}\n{}", exit::help()))]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,

    /// The process that serves a drive in the background; started by `mount` alone.
    #[arg(long, hide = true)]
    serve_drive: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Init(InitArgs),
    Backup(Box<BackupArgs>),
    Snapshots(SnapshotsArgs),
    Ls(LsArgs),
    Cat(CatArgs),
    Find(Box<FindArgs>),
    Diff(DiffArgs),
    Versions(VersionsArgs),
    Du(DuArgs),
    Stats(StatsArgs),
    Inspect(InspectArgs),
    Mount(MountArgs),
    Umount(UmountArgs),
    Drives(DrivesArgs),
    Restore(RestoreArgs),
    Copy(CopyArgs),
    Forget(Box<ForgetArgs>),
    UndoForget(UndoForgetArgs),
    Prune(PruneArgs),
    Tag(TagArgs),
    Key(KeyArgs),
    Check(CheckArgs),
    Repair(RepairArgs),
    Cache(CacheArgs),
    Pin(PinArgs),
    Unpin(UnpinArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

/// Runs the command line and returns the exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // Before anything else is read or opened: this process is not to be trusted with it.
    if let [_, flag, memory] = &arguments[..]
        && flag == image::PROGRAM_FLAG
    {
        let memory = memory.to_str().and_then(|memory| memory.parse().ok()).unwrap_or(0);
        let served = image::serve(memory, std::io::stdin(), std::io::stdout());
        return if served.is_ok() { Exit::Done } else { Exit::Failed }.number();
    }
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return not_parsed(&error, &arguments).number(),
    };
    if cli.serve_drive {
        telling::to_file();
    } else {
        telling::to_stderr(cli.global.verbose);
    }
    let json = cli.global.json;
    let exit = run(cli).unwrap_or_else(|error| {
        error.tell(json);
        error.exit()
    });
    exit.number()
}

fn run(cli: Cli) -> Result<Exit> {
    let global = &cli.global;
    match cli.command {
        Command::Init(args) => args.run(global),
        Command::Backup(args) => args.run(global),
        Command::Snapshots(args) => args.run(global),
        Command::Ls(args) => args.run(global),
        Command::Cat(args) => args.run(global),
        Command::Find(args) => args.run(global),
        Command::Diff(args) => args.run(global),
        Command::Versions(args) => args.run(global),
        Command::Du(args) => args.run(global),
        Command::Stats(args) => args.run(global),
        Command::Inspect(args) => args.run(global),
        Command::Mount(args) => args.run(global, cli.serve_drive),
        Command::Umount(args) => args.run(global),
        Command::Drives(args) => args.run(global),
        Command::Restore(args) => args.run(global),
        Command::Copy(args) => args.run(global),
        Command::Forget(args) => args.run(global),
        Command::UndoForget(args) => args.run(global),
        Command::Prune(args) => args.run(global),
        Command::Tag(args) => args.run(global),
        Command::Key(args) => args.run(global),
        Command::Check(args) => args.run(global),
        Command::Repair(args) => args.run(global),
        Command::Cache(args) => args.run(global),
        Command::Pin(args) => args.run(global),
        Command::Unpin(args) => args.run(global),
        Command::Completions(args) => args.run(),
        Command::Man(args) => args.run(),
    }
}

/// Help and version are results; everything else is a mistake in the command line.
fn not_parsed(error: &clap::Error, arguments: &[OsString]) -> Exit {
    let is_result = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if !is_result && arguments.iter().any(|argument| argument == "--json") {
        let text = error.render().to_string();
        let message = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
        usage(message).tell(true);
        return Exit::Usage;
    }
    if arguments.len() <= 1 {
        // Variables of the environment are arguments to clap, which then does not show what there is.
        out::note(Cli::command().render_help());
        return Exit::Usage;
    }
    match error.print() {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Exit::Pipe,
        _ if is_result => Exit::Done,
        _ => Exit::Usage,
    }
}
