//! Toy stage kinds: small enough to say by heart what they make.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use runner::stage::{Context, Registry, SHARD, Shard, Sharded, Stage};
use serde::Deserialize;

/// Every kind has one output, `out`, with the file `text.txt`.
macro_rules! declaration {
    ($kind:literal) => {
        concat!("kind: ", $kind, "\nversion: 1\nsummary: A toy.\noutputs: {out: {kind: text, doc: The text.}}\n")
    };
}

/// All toys.
pub fn registry() -> Registry {
    Registry::new(&[&Write, &Join, &Length, &Read, &Fail, &Meet, &Peek, &Compute, &Shout])
}

/// The text in an artifact of a toy.
pub fn text(artifact: &Path) -> String {
    fs::read_to_string(artifact.join("text.txt")).unwrap()
}

fn write(context: &Context<'_>, text: &str) -> anyhow::Result<()> {
    fs::write(context.output("out")?.join("text.txt"), text).context("cannot write the text")
}

/// The texts of the inputs `0`, `1`, ….
fn inputs(context: &Context<'_>) -> anyhow::Result<Vec<String>> {
    let directories = (0..).map_while(|slot| context.optional_input(&slot.to_string()));
    directories.map(|directory| Ok(fs::read_to_string(directory.join("text.txt"))?)).collect()
}

#[derive(Deserialize)]
struct Params {
    #[serde(default)]
    text: String,
}

/// Writes the param `text`.
struct Write;

impl Stage for Write {
    fn declaration(&self) -> &'static str {
        declaration!("write")
    }

    fn run(&self, context: &Context<'_>) -> anyhow::Result<()> {
        context.progress(1, 1, "texts");
        write(context, &context.params::<Params>()?.text)
    }
}

/// Writes the texts of its inputs one after another, then the param `text`.
struct Join;

impl Stage for Join {
    fn declaration(&self) -> &'static str {
        declaration!("join")
    }

    fn run(&self, context: &Context<'_>) -> anyhow::Result<()> {
        write(context, &(inputs(context)?.concat() + &context.params::<Params>()?.text))
    }
}

/// Writes how long the texts of its inputs are together.
struct Length;

impl Stage for Length {
    fn declaration(&self) -> &'static str {
        declaration!("length")
    }

    fn run(&self, context: &Context<'_>) -> anyhow::Result<()> {
        write(context, &inputs(context)?.concat().len().to_string())
    }
}

/// Writes what the file of the path param `file` holds. With the param `text`, first appends that to
/// the file.
struct Read;

impl Stage for Read {
    fn declaration(&self) -> &'static str {
        declaration!("read")
    }

    fn run(&self, context: &Context<'_>) -> anyhow::Result<()> {
        let path = &context.external("file").context("no file")?.path;
        let text = fs::read_to_string(path)?;
        let more = context.params::<Params>()?.text;
        if !more.is_empty() {
            fs::write(path, text.clone() + &more)?;
        }
        write(context, &text)
    }
}

/// Fails in the way that the param `text` says.
struct Fail;

impl Stage for Fail {
    fn declaration(&self) -> &'static str {
        declaration!("fail")
    }

    fn run(&self, context: &Context<'_>) -> anyhow::Result<()> {
        write(context, "half a result")?;
        match context.params::<Params>()?.text.as_str() {
            "panic" => panic!("this toy is broken"),
            "empty" => Ok(fs::remove_file(context.output("out")?.join("text.txt"))?),
            "link" => Ok(std::os::unix::fs::symlink(std::env::temp_dir(), context.output("out")?.join("elsewhere"))?),
            "manifest" => Ok(fs::write(context.output("out")?.join("manifest.json"), "{}")?),
            _ => bail!("loss is NaN at step 7"),
        }
    }
}

/// Ends only when as many stages as the param `number` run at once, which meet in the directory
/// `place`.
struct Meet;

#[derive(Deserialize)]
struct Meeting {
    name: String,
    place: String,
    number: usize,
}

impl Stage for Meet {
    fn declaration(&self) -> &'static str {
        declaration!("meet")
    }

    fn run(&self, context: &Context<'_>) -> anyhow::Result<()> {
        let Meeting { name, place, number } = context.params()?;
        fs::write(Path::new(&place).join(&name), "")?;
        let patience = Instant::now() + Duration::from_secs(20);
        while fs::read_dir(&place)?.count() < number {
            ensure!(Instant::now() < patience, "nobody came");
            std::thread::sleep(Duration::from_millis(2));
        }
        write(context, &name)
    }
}

/// Writes what the file `note` in the directory `place` holds, which its key does not know of.
struct Peek;

impl Stage for Peek {
    fn declaration(&self) -> &'static str {
        declaration!("peek")
    }

    fn run(&self, context: &Context<'_>) -> anyhow::Result<()> {
        let place: String = context.params::<std::collections::BTreeMap<String, String>>()?.remove("place").unwrap();
        write(context, &fs::read_to_string(Path::new(&place).join("note"))?)
    }
}

/// Writes what it computes on; as `meet` does, once as many as the param `number` run at once.
struct Compute;

impl Stage for Compute {
    fn declaration(&self) -> &'static str {
        "{kind: compute, version: 1, summary: A toy., accelerated: true, outputs: {out: {kind: text, doc: The text.}}}"
    }

    fn run(&self, context: &Context<'_>) -> anyhow::Result<()> {
        Meet.run(context)?;
        write(context, &context.execution().device.to_string())
    }
}

/// Writes the texts of its inputs letter by letter in upper case. Split, a shard does every so many letters,
/// and notes in the directory `place` that it ran; it ends when `number` of them run at once. What the file
/// `broken` there names fails: a shard, or `merge`.
pub struct Shout;

#[derive(Deserialize)]
struct Shouting {
    place: PathBuf,
    number: usize,
}

impl Shouting {
    fn may_run(&self, what: &str) -> anyhow::Result<()> {
        ensure!(fs::read_to_string(self.place.join("broken")).unwrap_or_default() != what, "{what} is broken");
        Ok(())
    }
}

impl Stage for Shout {
    fn declaration(&self) -> &'static str {
        "{kind: shout, version: 1, summary: A toy., accelerated: true, sharded: true, outputs: {out: {kind: text, doc: The text.}}}"
    }

    fn run(&self, context: &Context<'_>) -> anyhow::Result<()> {
        write(context, &inputs(context)?.concat().to_uppercase())
    }

    fn sharded(&self) -> Option<&dyn Sharded> {
        Some(self)
    }
}

impl Sharded for Shout {
    fn shard(&self, context: &Context<'_>, shard: Shard) -> anyhow::Result<()> {
        let toy: Shouting = context.params()?;
        let note = toy.place.join(format!("{} on {}", shard.index + 1, context.execution().device));
        ensure!(!note.exists(), "this shard ran before");
        toy.may_run(&shard.to_string())?;
        fs::write(note, "")?;
        let patience = Instant::now() + Duration::from_secs(20);
        while toy.number > 1 && fs::read_dir(&toy.place)?.count() < toy.number {
            ensure!(Instant::now() < patience, "nobody came");
            std::thread::sleep(Duration::from_millis(2));
        }
        let text = inputs(context)?.concat();
        let own: BTreeMap<usize, String> = text
            .chars()
            .enumerate()
            .filter(|(place, _)| shard.has(*place))
            .map(|(place, letter)| (place, letter.to_uppercase().to_string()))
            .collect();
        context.warn("letters are not all there is");
        context.progress(own.len(), own.len(), "letters");
        Ok(fs::write(context.output(SHARD)?.join("letters.json"), serde_json::to_vec(&own)?)?)
    }

    fn merge(&self, context: &Context<'_>, shards: &[PathBuf]) -> anyhow::Result<()> {
        context.params::<Shouting>()?.may_run("merge")?;
        let mut letters: BTreeMap<usize, String> = BTreeMap::new();
        for shard in shards {
            letters.extend(serde_json::from_slice::<BTreeMap<usize, String>>(&fs::read(shard.join("letters.json"))?)?);
        }
        write(context, &letters.into_values().collect::<String>())
    }
}
