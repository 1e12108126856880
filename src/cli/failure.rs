//! Why a command came to no good end, and the exit code that says so.

use std::process::ExitCode;

use crate::cache::{CacheError, RemoteError};
use crate::console::{self, diagnostics};
use crate::hub::HubError;
use crate::spec::Problems;

/// The exit codes of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything was done.
    Done = 0,
    /// A stage failed, or the machine did.
    Failed = 1,
    /// The experiment or the command line is wrong.
    Wrong = 2,
    /// A table differs from its golden.
    Differs = 3,
    /// The user interrupted the run.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command stopped.
#[derive(Debug)]
pub enum Failure {
    /// The command line asks for something that is not there.
    Usage {
        /// What is wrong.
        message: String,
        /// How to mend it.
        hint: Option<String>,
    },
    /// The experiment is wrong.
    Problems(Problems),
    /// The work directory or the machine failed.
    Other(anyhow::Error),
}

impl Failure {
    /// Something that is not there.
    pub fn usage(message: impl Into<String>, hint: Option<&str>) -> Failure {
        Failure::Usage { message: message.into(), hint: hint.map(str::to_string) }
    }

    /// Says what is wrong and returns the exit code for it.
    pub fn report(self) -> Exit {
        match self {
            Failure::Usage { message, hint } => {
                console::report(&message, hint.as_deref());
                Exit::Wrong
            }
            Failure::Problems(problems) => {
                console::note(diagnostics::render(&problems).trim_end());
                Exit::Wrong
            }
            Failure::Other(error) => {
                let hint = error.downcast_ref::<CacheError>().and_then(CacheError::hint).map(str::to_string);
                let hint = hint.or_else(|| error.downcast_ref::<HubError>().and_then(HubError::hint));
                let hint = hint.or_else(|| error.downcast_ref::<RemoteError>()?.hint().map(str::to_string));
                console::report(&format!("{error:#}"), hint.as_deref());
                Exit::Failed
            }
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::Other(error)
    }
}

impl From<RemoteError> for Failure {
    /// An address that is none is the fault of the command line.
    fn from(error: RemoteError) -> Failure {
        match error.is_usage() {
            true => Failure::usage(error.to_string(), error.hint()),
            false => Failure::Other(error.into()),
        }
    }
}

impl From<CacheError> for Failure {
    fn from(error: CacheError) -> Failure {
        Failure::Other(error.into())
    }
}
