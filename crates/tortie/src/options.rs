//! Command lines of the long-running parts: parsed by clap, or answered with its text and exit status.

use clap::Parser;
use std::process::ExitCode;

/// Parses the arguments that come after `name`; help and mistakes are printed, and yield the exit status.
pub(crate) fn parse<T: Parser>(name: &str, arguments: &[String]) -> Result<T, ExitCode> {
    let words = std::iter::once(name.to_owned()).chain(arguments.iter().cloned());
    T::try_parse_from(words).map_err(|error| {
        // a reader that went away needs no help
        let _ = error.print();
        if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    })
}
