//! `runner export`: the samples of a finished stage as LLaVA-style JSON.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::arguments::{Export, ExportFormat};
use super::failure::{Exit, Failure};
use super::plan::find;
use super::workspace::Workspace;
use crate::artifact::{
    ExportOptions, Exported, ImageFolder, Layout, PoolReader, Reasons, export as write, write_whole,
};
use crate::cache::Health;
use crate::console::{self, Gauge};
use crate::plan::{Plan, Planned, Source, StageIndex};
use crate::scheduler::{Examination, Verdict, examine};
use crate::stage::Registry;
use crate::text::{count, ticked_list};

/// The artifact kinds that hold samples.
const KINDS: [&str; 2] = ["subset", "pool"];

/// Writes the samples of a stage.
pub fn export(arguments: &Export, registry: &Registry) -> Result<Exit, Failure> {
    let (mut workspace, plan, stage) = find(&arguments.stage, registry)?;
    let slot = slot(&plan, stage)?;
    let examination = examine(&plan, workspace.cache()?)?;
    let name = plan[stage].name();
    let again = || {
        let command = format!("{} --only '{name}'", arguments.stage.command("exec"));
        Some(format!("`{command}` runs it"))
    };
    if examination[stage].verdict != Verdict::Fresh {
        let message = format!("`{name}` is not finished, so it has no samples to export");
        return Err(Failure::Usage { message, hint: again() });
    }
    let from = artifact(&workspace, &examination, stage, slot)?;
    let digest = examination[stage].outputs[slot];
    if workspace.cache()?.store().verify(&digest) != Health::Intact {
        workspace.cache()?.set_aside(&digest)?;
        let message = format!("the result of `{name}` is damaged in the store, and was set aside");
        return Err(Failure::Usage { message, hint: again() });
    }
    let reasons = match arguments.with_choices {
        true => Some(reasons(&workspace, &examination, &plan[stage], &from)?),
        false => None,
    };
    let layout = match arguments.format {
        ExportFormat::Json => Layout::List,
        ExportFormat::Jsonl => Layout::Lines,
    };
    let locations = plan.locations(stage);
    let pool = PoolReader::open(&from)?;
    let images = arguments.images.as_ref().map(|folder| ImageFolder::new(folder, &pool, &locations)).transpose()?;
    let gauge = Gauge::count(&format!("exporting `{name}`"));
    let progress = |done, total| gauge.set(done, total);
    let options = ExportOptions { layout, reasons: reasons.as_ref(), images: images.as_ref(), progress: &progress };
    let done = match arguments.to.as_path() {
        to if to == Path::new("-") => match write(&pool, &options, &mut console::output()) {
            // A reader that has gone, such as `head`, is no error.
            Err(error) if is_broken_pipe(&error) => return Ok(Exit::Done),
            done => done?,
        },
        to => to_file(to, |file| write(&pool, &options, file))?,
    };
    let to = if arguments.to == Path::new("-") { String::new() } else { format!(" to `{}`", arguments.to.display()) };
    drop(gauge);
    console::note(&format!("exported {} of `{name}`{to}", count(done.samples, "sample")));
    if let Some(folder) = &arguments.images {
        console::note(&format!("their images are in `{}`, and their paths are relative to it", folder.display()));
    } else if done.datasets.len() > 1 {
        let datasets = ticked_list(&done.datasets);
        console::note(&format!(
            "note: the samples are of {datasets}: each names its own, and its image paths are relative to that \
             dataset's folder"
        ));
    }
    Ok(Exit::Done)
}

/// The output slot of a stage that holds samples.
fn slot(plan: &Plan, stage: StageIndex) -> Result<&str, Failure> {
    let samples = |stage: StageIndex| plan[stage].outputs.iter().find(|(_, kind)| KINDS.contains(&kind.as_str()));
    if let Some((slot, _)) = samples(stage) {
        return Ok(slot);
    }
    let others: Vec<&str> =
        plan.order().filter(|stage| samples(*stage).is_some()).map(|stage| plan[stage].name()).take(5).collect();
    let planned = &plan[stage];
    let message = format!("`{}` makes {}, no samples", planned.name(), ticked_list(planned.outputs.values()));
    let hint = (!others.is_empty()).then(|| format!("samples are made by {}", ticked_list(others)));
    Err(Failure::Usage { message, hint })
}

/// The directory of the artifact that a finished stage made.
fn artifact(
    workspace: &Workspace,
    examination: &Examination,
    stage: StageIndex,
    slot: &str,
) -> Result<PathBuf, Failure> {
    let directory = examination[stage].outputs.get(slot).and_then(|artifact| workspace.artifact(artifact));
    Ok(directory.with_context(|| format!("the stage has no artifact in the slot `{slot}`"))?)
}

/// What the stage knew of its samples.
fn reasons(
    workspace: &Workspace,
    examination: &Examination,
    planned: &Planned,
    from: &Path,
) -> Result<Reasons, Failure> {
    let input = |slot: &str| match planned.inputs.get(slot) {
        Some(Source::Stage(output)) => artifact(workspace, examination, output.stage, &output.slot).map(Some),
        Some(Source::External(external)) => Ok(Some(external.path.clone())),
        None => Ok(None),
    };
    let (clusters, scores) = (input("clusters")?, input("scores")?);
    let reasons = Reasons::read(from, clusters.as_deref(), scores.as_deref())?;
    if reasons.is_empty() {
        let message = format!("`{}` chose nothing: there are no clusters and no scores to add", planned.name());
        return Err(Failure::usage(
            message,
            Some("leave `--with-choices` out, or export a stage of the kind `select`"),
        ));
    }
    Ok(reasons)
}

/// Writes a file of a folder that is there.
fn to_file(path: &Path, write: impl FnOnce(&mut dyn Write) -> anyhow::Result<Exported>) -> Result<Exported, Failure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        let message = format!("there is no folder `{}`", folder.display());
        return Err(Failure::usage(message, Some("make it, or name another file")));
    }
    Ok(write_whole(path, write)?)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = |cause: &(dyn std::error::Error + 'static)| cause.downcast_ref::<io::Error>().map(io::Error::kind);
    error.chain().any(|cause| io(cause) == Some(io::ErrorKind::BrokenPipe))
}
