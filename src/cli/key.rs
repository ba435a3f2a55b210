//! `bygone key`: the passwords of a repository.

use crate::cli::error::Fault;
use crate::cli::error::Result;
use crate::cli::error::usage;
use crate::cli::exit::Exit;
use crate::cli::global::Global;
use crate::cli::human;
use crate::cli::json;
use crate::cli::open::Opened;
use crate::cli::out;
use crate::cli::password;
use crate::cli::place;
use crate::cli::table::Align;
use crate::cli::table::Table;
use crate::crypto::password::Cost;
use crate::crypto::password::Password;
use crate::crypto::recovery::RecoveryCode;
use crate::format::later::KeyNote;
use crate::format::record::Event;
use crate::id::ObjectId;
use crate::meta::Time;
use crate::monitor::chain;
use crate::repo::Freshness;
use crate::repo::Log;
use crate::repo::Slot;
use serde_json::json;
use std::path::PathBuf;

/// Digits of an id that are shown.
const DIGITS: usize = 8;
const LABEL_BYTES_MAX: usize = 256;
const RECOVERY_LABEL: &str = "recovery code";

const EXAMPLES: &str = "Examples:
  bygone key list
  bygone key add --label 'desk at the office'
  bygone key add --recovery                     prints a code to write down
  bygone key remove 5c20e7f1
  bygone key change-password";

/// See and change the passwords of the repository
///
/// A repository can have several passwords; each of them opens it. Adding, changing or removing one takes a moment,
/// whatever the size of the repository: the key inside stays the same. Therefore a removed password takes nothing back from
/// somebody who has used it; see 'bygone key remove --help'.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, clap::Subcommand)]
enum KeyCommand {
    /// List the passwords: when, where and by whom they were made; never the passwords themselves
    #[command(after_help = "Examples:\n  bygone key list\n  bygone key list --json")]
    List,
    /// Add a password
    #[command(
        after_help = "Examples:\n  bygone key add\n  bygone key add --new-password-file ~/.second --label server\n  bygone key add --recovery"
    )]
    Add(AddArgs),
    /// Remove a password, but never the one that is used now
    ///
    /// From then on it does not open the repository. It does not take anything back: who opened the repository with it may have
    /// kept the key inside, which is the same for all passwords and never changes, and with that key and a way to the storage
    /// can read what is stored later, too. Against somebody like that helps only a new repository ('bygone init' and
    /// 'bygone copy'), or taking away their access to the storage.
    #[command(after_help = "Examples:\n  bygone key list\n  bygone key remove 5c20e7f1")]
    Remove {
        /// The first digits of its id, as 'bygone key list' shows it
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Put a new password in the place of the one that is used now
    ///
    /// The new one is stored and tried before the old one is removed. If that is interrupted, both open the repository; run
    /// it again. As with 'key remove', who knew the old one may have kept the key inside.
    #[command(
        after_help = "Examples:\n  bygone key change-password\n  bygone --password-file old key change-password --new-password-file new"
    )]
    ChangePassword(NewArgs),
}

#[derive(Debug, clap::Args)]
struct AddArgs {
    /// Make up a recovery code: a password of 40 characters to be written down and kept where no fire reaches it. It is shown
    /// this once
    #[arg(long, conflicts_with_all = ["new_password_file", "new_password_command"])]
    recovery: bool,

    /// What it is for, to tell it from others; everybody who can open the repository can read this
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,

    #[command(flatten)]
    new: NewArgs,
}

/// Where a new password comes from.
#[derive(Debug, clap::Args)]
struct NewArgs {
    /// Take the new password from this file [env: BYGONE_NEW_PASSWORD_FILE]
    #[arg(long, value_name = "FILE", conflicts_with = "new_password_command")]
    new_password_file: Option<PathBuf>,

    /// Take the new password from what this command prints [env: BYGONE_NEW_PASSWORD_COMMAND]
    #[arg(long, value_name = "COMMAND")]
    new_password_command: Option<String>,
}

impl NewArgs {
    fn read(&self, global: &Global) -> Result<Password> {
        let new = Global {
            password_file: self.new_password_file.clone(),
            password_command: self.new_password_command.clone(),
            ..global.clone()
        };
        Ok(password::read_further(&new)?.password())
    }
}

impl KeyArgs {
    pub(super) fn run(self, global: &Global) -> Result<Exit> {
        let mut used = None;
        // A password that was removed elsewhere must not open what is remembered here.
        let opened = Opened::with(global, &global.store_options()?, Freshness::Ask, |global| {
            let given = password::read(global)?;
            used = Some(given.password());
            Ok(given)
        })?;
        match self.command {
            KeyCommand::List => list(&opened, global)?,
            KeyCommand::Add(args) => args.run(&opened, global)?,
            KeyCommand::Remove { id } => remove(&opened, global, &id)?,
            KeyCommand::ChangePassword(new) => {
                let used = used.ok_or_else(password::none_given)?;
                change(&opened, global, &used, &new.read(global)?)?;
            }
        }
        opened.tell_requests(global);
        Ok(Exit::Done)
    }
}

fn short(slot: ObjectId) -> String {
    let mut text = slot.to_string();
    text.truncate(DIGITS);
    text
}

fn list(opened: &Opened, global: &Global) -> Result<()> {
    let slots = opened.runtime.block_on(opened.repo.slots())?;
    let notes = opened.log.key_notes();
    let mut table = Table::new(&[
        ("ID", Align::Left),
        ("", Align::Left),
        ("MADE", Align::Left),
        ("USER", Align::Left),
        ("HOST", Align::Left),
        ("LABEL", Align::Left),
    ]);
    for Slot { id, made_secs } in slots {
        let note = notes.get(&id);
        let time = note.map_or(Time { secs: made_secs, nanos: 0 }, |note| note.time);
        let is_used = id == opened.repo.slot();
        let text = |of: fn(&KeyNote) -> &String| note.map(|note| of(note).clone());
        let (user, host, label) = (text(|note| &note.user), text(|note| &note.host), text(|note| &note.label));
        if global.json {
            let body = json!({
                "id": id.to_string(),
                "used_now": is_used,
                "time": json::time(time),
                "user": user,
                "host": host,
                "label": label,
            });
            out::line(json::line("key", &body))?;
        } else {
            let is_used = if is_used { "*" } else { "" };
            let [user, host, label] = [user, host, label].map(Option::unwrap_or_default);
            table.row([short(id), is_used.to_owned(), human::time(time), user, host, label]);
        }
    }
    if !global.json {
        out::line(format_args!("{table}\n* opened the repository just now"))?;
    }
    Ok(())
}

impl AddArgs {
    fn run(self, opened: &Opened, global: &Global) -> Result<()> {
        if self.label.as_ref().is_some_and(|label| label.len() > LABEL_BYTES_MAX) {
            return Err(usage(format!("a label is at most {LABEL_BYTES_MAX} bytes long")));
        }
        let code = self.recovery.then(RecoveryCode::generate);
        let password = match &code {
            Some(code) => code.password(),
            None => self.new.read(global)?,
        };
        let known = opened.runtime.block_on(opened.repo.slots_opened_by(&password))?;
        if let Some(slot) = known.first() {
            return Err(Fault::KnownPassword { slot: short(*slot) }.into());
        }
        let added = opened.repo.add_password(&password, Cost::DEFAULT, human::now().secs);
        let slot = opened.runtime.block_on(added)?;
        // The code comes first: whatever fails from here on, it opens the repository.
        if global.json {
            let shown = code.as_ref().map(|code| code.shown().to_string());
            out::line(json::line("key", &json!({ "id": slot.to_string(), "recovery_code": shown })))?;
        } else if let Some(code) = &code {
            out::line(format_args!("{}\n", *code.shown()))?;
            out::line("Write this down. It opens the repository like a password, and it is not shown again.")?;
        }
        let default = if code.is_some() { RECOVERY_LABEL } else { "" };
        note(opened, global, slot, self.label.as_deref().unwrap_or(default));
        if !global.json && !global.quiet {
            out::line(format_args!("Added {}. The other passwords still open the repository.", short(slot)))?;
        }
        Ok(())
    }
}

/// Notes who made a slot. A password works without.
fn note(opened: &Opened, global: &Global, slot: ObjectId, label: &str) {
    let time = human::now();
    let note = KeyNote { slot, time, host: place::host(), user: place::user(), label: label.to_owned() };
    let machine = place::machine();
    let author = opened.author(&machine);
    let said = Log::say(&opened.repo, author, time, vec![Event::Key(Box::new(note))]);
    if let Err(error) = opened.runtime.block_on(said) {
        out::warning(global.json, format_args!("who made the password cannot be noted: {}", chain(&error)));
    }
}

fn remove(opened: &Opened, global: &Global, digits: &str) -> Result<()> {
    let slots = opened.runtime.block_on(opened.repo.slots())?;
    let digits = digits.to_ascii_lowercase();
    let fits: Vec<ObjectId> =
        slots.iter().map(|slot| slot.id).filter(|id| id.to_string().starts_with(&digits)).collect();
    let slot = match fits[..] {
        [only] if !digits.is_empty() => only,
        [] => return Err(Fault::NoKey { digits }.into()),
        _ => return Err(Fault::KeysAlike { digits }.into()),
    };
    if slots.len() == 1 {
        return Err(Fault::OnlyKey.into());
    }
    opened.runtime.block_on(opened.repo.remove_slot(slot))?;
    if global.json {
        out::line(json::line("key_removed", &json!({ "id": slot.to_string() })))?;
    } else if !global.quiet {
        let left = human::plural(slots.len() as u64 - 1, "password opens", "passwords open");
        out::line(format_args!("Removed {}; {left} the repository now.", short(slot)))?;
    }
    Ok(())
}

fn change(opened: &Opened, global: &Global, old: &Password, new: &Password) -> Result<()> {
    let label = opened.log.key_notes().get(&opened.repo.slot()).map(|note| note.label.clone()).unwrap_or_default();
    let changed = opened.repo.change_password(old, new, Cost::DEFAULT, human::now().secs);
    let changed = opened.runtime.block_on(changed)?;
    if changed.is_new {
        // A code that was changed is no code any more.
        let label = if label == RECOVERY_LABEL { "" } else { &label };
        note(opened, global, changed.slot, label);
    }
    if global.json {
        let removed: Vec<String> = changed.removed.iter().map(ToString::to_string).collect();
        let body = json!({ "id": changed.slot.to_string(), "removed": removed });
        out::line(json::line("key_changed", &body))?;
    } else if !global.quiet {
        out::line("The new password opens the repository, the old one does not any more.")?;
    }
    Ok(())
}
