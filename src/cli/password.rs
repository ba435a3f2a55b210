//! Where the password comes from: option, environment, terminal; never an argument, which every user of the machine
//! could read in the list of processes.

use crate::cli::error::Fault;
use crate::cli::error::Result;
use crate::cli::global::Global;
use crate::cli::out;
use crate::crypto::password::Password;
use crate::crypto::recovery;
use crate::crypto::recovery::Typed;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::io::IsTerminal;
use std::io::Read;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use zeroize::Zeroizing;

/// Environment variables; at most one may be set.
pub(super) const VARIABLES: [&str; 3] = ["BYGONE_PASSWORD", "BYGONE_PASSWORD_FILE", "BYGONE_PASSWORD_COMMAND"];

/// Where a password may come from when nobody can be asked.
struct Ways {
    variables: [&'static str; 3],
    file: &'static str,
    command: &'static str,
    hints: &'static [&'static str],
}

const USUAL: Ways = Ways {
    variables: VARIABLES,
    file: "--password-file",
    command: "--password-command",
    hints: &["there is no terminal to ask on: use --password-file FILE, --password-command COMMAND, \
              or the variables BYGONE_PASSWORD, BYGONE_PASSWORD_FILE, BYGONE_PASSWORD_COMMAND"],
};
/// The same for another repository, that something is taken from.
const FROM: Ways = Ways {
    variables: ["BYGONE_FROM_PASSWORD", "BYGONE_FROM_PASSWORD_FILE", "BYGONE_FROM_PASSWORD_COMMAND"],
    file: "--from-password-file",
    command: "--from-password-command",
    hints: &["it is the password of the repository to take from: use --from-password-file FILE, \
              --from-password-command COMMAND, or the variables BYGONE_FROM_PASSWORD, BYGONE_FROM_PASSWORD_FILE, \
              BYGONE_FROM_PASSWORD_COMMAND"],
};
/// The same for a further password of a repository.
const NEW: Ways = Ways {
    variables: ["BYGONE_NEW_PASSWORD", "BYGONE_NEW_PASSWORD_FILE", "BYGONE_NEW_PASSWORD_COMMAND"],
    file: "--new-password-file",
    command: "--new-password-command",
    hints: &["it is the new password: use --new-password-file FILE, --new-password-command COMMAND, \
              or the variables BYGONE_NEW_PASSWORD, BYGONE_NEW_PASSWORD_FILE, BYGONE_NEW_PASSWORD_COMMAND"],
};
/// Longer ones are a mistake, such as a disk image for a file.
const BYTES_MAX: u64 = 64 << 10;

/// A password, and where it came from.
pub(super) struct Given {
    bytes: Zeroizing<Vec<u8>>,
    /// In words, for a hint when it is wrong.
    pub(super) from: String,
}

impl Given {
    /// For the library. A recovery code is the same however it was typed.
    pub(super) fn password(&self) -> Password {
        match recovery::read(&self.bytes) {
            Typed::Code(code) => code.password(),
            Typed::Mistyped | Typed::Password => Password::new(self.bytes.to_vec()),
        }
    }

    /// True if it looks like a recovery code with a slip in it.
    pub(super) fn is_mistyped_code(&self) -> bool {
        matches!(recovery::read(&self.bytes), Typed::Mistyped)
    }

    /// For the process that serves a drive: a line that says where it came from, and the password.
    pub(super) fn send(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(self.from.replace('\n', " ").as_bytes())?;
        to.write_all(b"\n")?;
        to.write_all(&self.bytes)
    }

    fn receive(from: impl Read) -> io::Result<Given> {
        let mut bytes = Zeroizing::new(Vec::new());
        from.take(2 * BYTES_MAX).read_to_end(&mut bytes)?;
        let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(0);
        let from = String::from_utf8_lossy(&bytes[..end]).into_owned();
        Ok(Given { bytes: Zeroizing::new(bytes.get(end + 1..).unwrap_or_default().to_vec()), from })
    }
}

/// A source that needs no terminal.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    Text(Vec<u8>),
    File(PathBuf),
    Command(OsString),
}

/// The password of a repository that exists.
pub(super) fn read(global: &Global) -> Result<Given> {
    match without_terminal(global, &USUAL)? {
        Some(given) => Ok(given),
        None => ask("Password of the repository: ", &USUAL),
    }
}

/// The password of the repository that something is taken from.
pub(super) fn read_from(global: &Global) -> Result<Given> {
    match without_terminal(global, &FROM)? {
        Some(given) => Ok(given),
        None => ask("Password of the repository to take from: ", &FROM),
    }
}

/// The password of a repository that is about to be made: asked for twice.
pub(super) fn read_new(global: &Global) -> Result<Given> {
    to_keep(global, "Password for the new repository: ", &USUAL)
}

/// A further password of a repository that exists: asked for twice. The options for it are in the place of the usual ones.
pub(super) fn read_further(global: &Global) -> Result<Given> {
    to_keep(global, "New password: ", &NEW)
}

/// What it would be if nobody could be asked and nothing else names one.
pub(super) fn none_given() -> Fault {
    Fault::NoPassword { hints: USUAL.hints }
}

/// A password that will be one from now on. A recovery code with a slip in it would be taken for a password like any other, and
/// the right code would not open anything.
fn to_keep(global: &Global, prompt: &str, ways: &Ways) -> Result<Given> {
    let given = match without_terminal(global, ways)? {
        Some(given) => given,
        None => ask_twice(prompt, ways)?,
    };
    if given.is_mistyped_code() {
        let from = &given.from;
        out::warning(
            global.json,
            format_args!(
                "the new password (from {from}) looks like a recovery code of which a character is wrong or missing; it is taken as it is"
            ),
        );
    }
    Ok(given)
}

fn ask_twice(prompt: &str, ways: &Ways) -> Result<Given> {
    let first = ask(prompt, ways)?;
    let again = ask("The same again: ", ways)?;
    if first.password().matches(&again.password()) { Ok(first) } else { Err(Fault::PasswordsDiffer.into()) }
}

/// The password that the parent process writes into our standard input.
pub(super) fn read_from_parent() -> Result<Given> {
    let failed = |source| Fault::Password { from: "the parent process".to_owned(), source };
    Ok(Given::receive(io::stdin().lock()).map_err(failed)?)
}

fn without_terminal(global: &Global, ways: &Ways) -> Result<Option<Given>> {
    let Some((source, from)) = choose(global, ways, |name| std::env::var_os(name))? else { return Ok(None) };
    let bytes = match source {
        Source::Text(bytes) => Ok(Zeroizing::new(bytes)),
        Source::File(path) => from_file(&path),
        Source::Command(command) => from_command(&command),
    };
    let bytes = bytes.map_err(|source| Fault::Password { from: from.clone(), source })?;
    not_empty(Given { bytes, from }).map(Some)
}

/// Options win over the environment; two variables contradict each other.
fn choose(
    global: &Global,
    ways: &Ways,
    variable: impl Fn(&str) -> Option<OsString>,
) -> std::result::Result<Option<(Source, String)>, Fault> {
    if let Some(path) = &global.password_file {
        return Ok(Some((Source::File(path.clone()), format!("{} '{}'", ways.file, path.display()))));
    }
    if let Some(command) = &global.password_command {
        return Ok(Some((Source::Command(command.into()), ways.command.to_owned())));
    }
    let mut set = ways.variables.into_iter().filter_map(|name| variable(name).map(|value| (name, value)));
    let Some((name, value)) = set.next() else { return Ok(None) };
    if let Some((second, _)) = set.next() {
        return Err(Fault::TwoPasswords { first: name, second });
    }
    let from = format!("the variable {name}");
    Ok(Some(match name {
        name if name.ends_with("_FILE") => {
            let from = format!("the file '{}' named by {name}", Path::new(&value).display());
            (Source::File(value.into()), from)
        }
        name if name.ends_with("_COMMAND") => (Source::Command(value), from),
        _ => (Source::Text(value.into_vec()), from),
    }))
}

fn from_file(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    fs::File::open(path)?.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    first_line(bytes)
}

fn from_command(command: &OsString) -> io::Result<Zeroizing<Vec<u8>>> {
    // Standard input may be what is backed up.
    let output = Command::new("sh").arg("-c").arg(command).stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let bytes = Zeroizing::new(output.stdout);
    if !output.status.success() {
        return Err(io::Error::other(format!("the command ended with {}", output.status)));
    }
    first_line(bytes)
}

/// Takes one line break off the end; more lines are a mistake.
fn first_line(mut bytes: Zeroizing<Vec<u8>>) -> io::Result<Zeroizing<Vec<u8>>> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    if bytes.len() as u64 > BYTES_MAX || bytes.contains(&b'\n') {
        return Err(io::Error::other("it has more than one line; a password is one line"));
    }
    Ok(bytes)
}

fn ask(prompt: &str, ways: &Ways) -> Result<Given> {
    if !io::stdin().is_terminal() && !io::stderr().is_terminal() {
        return Err(Fault::NoPassword { hints: ways.hints }.into());
    }
    let from = "the terminal".to_owned();
    match rpassword::prompt_password(prompt) {
        Ok(text) => not_empty(Given { bytes: Zeroizing::new(text.into_bytes()), from }),
        Err(source) => Err(Fault::Password { from, source }.into()),
    }
}

fn not_empty(given: Given) -> Result<Given> {
    if given.bytes.is_empty() { Err(Fault::EmptyPassword { from: given.from }.into()) } else { Ok(given) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn chosen(global: &Global, set: &[(&str, &str)]) -> std::result::Result<Option<Source>, Fault> {
        let variable = |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value));
        choose(global, &USUAL, variable).map(|found| found.map(|(source, _)| source))
    }

    #[test]
    fn options_win_over_the_environment() {
        let none = Global::default();
        let file = Global { password_file: Some("/f".into()), ..Global::default() };
        let command = Global { password_command: Some("c".into()), ..Global::default() };
        let env = [("BYGONE_PASSWORD", "p")];
        assert_eq!(chosen(&none, &[]).unwrap(), None);
        assert_eq!(chosen(&none, &env).unwrap(), Some(Source::Text(b"p".to_vec())));
        assert_eq!(chosen(&file, &env).unwrap(), Some(Source::File("/f".into())));
        assert_eq!(chosen(&command, &env).unwrap(), Some(Source::Command("c".into())));
        assert_eq!(chosen(&none, &[("BYGONE_PASSWORD_FILE", "/g")]).unwrap(), Some(Source::File("/g".into())));
        assert_eq!(chosen(&none, &[("BYGONE_PASSWORD_COMMAND", "d")]).unwrap(), Some(Source::Command("d".into())));
        let two = chosen(&none, &[("BYGONE_PASSWORD", "p"), ("BYGONE_PASSWORD_FILE", "/g")]);
        assert!(matches!(two, Err(Fault::TwoPasswords { .. })));
    }

    #[test]
    fn one_line_break_is_no_part_of_a_password() {
        let line = |text: &str| first_line(Zeroizing::new(text.as_bytes().to_vec())).map(|bytes| bytes.to_vec());
        assert_eq!(line("a b \n").unwrap(), b"a b ");
        assert_eq!(line("a\r\n").unwrap(), b"a");
        assert_eq!(line("a").unwrap(), b"a");
        assert_eq!(line("").unwrap(), b"");
        assert!(line("a\n\n").is_err());
        assert!(line("a\nb").is_err());
        assert!(line(&"x".repeat(65 << 10)).is_err());
    }

    #[test]
    fn a_child_gets_what_the_parent_has() {
        let given = Given { bytes: Zeroizing::new(b"a\nb\xff".to_vec()), from: "the file\n'x'".to_owned() };
        let mut pipe = Vec::new();
        given.send(&mut pipe).unwrap();
        let received = Given::receive(&pipe[..]).unwrap();
        assert_eq!((received.bytes.as_slice(), received.from.as_str()), (&b"a\nb\xff"[..], "the file 'x'"));
        assert!(Given::receive(&b""[..]).unwrap().bytes.is_empty());
    }

    #[test]
    fn commands_are_run_by_a_shell() {
        assert_eq!(from_command(&"printf '%s\\n' \"a b\"".into()).unwrap().as_slice(), b"a b");
        assert!(from_command(&"echo secret; exit 3".into()).is_err());
    }
}
