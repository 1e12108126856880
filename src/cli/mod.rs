//! The commands, and the wiring of everything below them.

mod accelerators;
mod arguments;
mod child;
mod devices;
mod diff;
mod estimates;
mod exec;
mod export;
mod failure;
mod figures;
mod gc;
mod many;
mod plan;
mod records;
mod remote;
mod report;
mod rerun;
mod runs;
mod show;
mod sides;
mod signals;
mod site;
mod sources;
mod stages;
mod status;
mod tables;
mod trace;
mod used;
mod verify;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

use crate::scheduler::huge_pages;
use crate::stages::registry;

/// Does what the command line says.
pub fn main() -> ExitCode {
    huge_pages(false);
    let arguments = Arguments::parse();
    // A stage needs no other kinds, and there may be thousands of short ones.
    if let Command::Stage { call } = &arguments.command {
        return child::stage(call).into();
    }
    let registry = registry();
    let result = match &arguments.command {
        Command::Exec(arguments) => exec::exec(arguments, &registry),
        Command::Plan(arguments) => plan::plan(arguments, &registry),
        Command::Explain(arguments) => plan::explain(arguments, &registry),
        Command::Ls(arguments) => show::ls(arguments),
        Command::Show(arguments) => show::show(arguments),
        Command::Status(arguments) => status::status(arguments),
        Command::Log(arguments) => plan::log(arguments, &registry),
        Command::Verify(arguments) => verify::verify(arguments, &registry),
        Command::Diff(arguments) => diff::diff(arguments, &registry),
        Command::Gc(arguments) => gc::gc(arguments, &registry),
        Command::Export(arguments) => export::export(arguments, &registry),
        Command::Push(arguments) => remote::push(arguments, &registry),
        Command::Pull(arguments) => remote::pull(arguments, &registry),
        Command::Devices(arguments) => accelerators::devices(arguments),
        Command::Stages(arguments) => stages::stages(arguments.kind.as_deref(), &registry),
        Command::Stage { call } => Ok(child::stage(call)),
        Command::Job { batch, task } => site::job(batch, *task),
    };
    result.unwrap_or_else(failure::Failure::report).into()
}
