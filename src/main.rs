//! The `bygone` program: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(bygone::cli::main(std::env::args_os()))
}
