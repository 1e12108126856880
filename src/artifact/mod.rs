//! What flows between stages: one typed reader and writer per artifact kind.
//!
//! An artifact is a directory in formats that researchers open elsewhere: safetensors for tensors,
//! JSON or JSON Lines for everything else. A file `summary.json` holds the few numbers that
//! listings and tables show. Unaware of which stage wrote a directory and where it is kept.
//!
//! | kind | files | type |
//! |---|---|---|
//! | `pool`, `subset` | `pool.json`, `samples.jsonl`; a subset also `choices.jsonl`, `shares.jsonl` | [`Pool`], [`PoolReader`], [`PoolWriter`], [`Choice`], [`Share`] |
//! | `vectors` | `vectors.safetensors`, `ids.json` | [`Vectors`] |
//! | `clusters` | `clusters.safetensors`, `ids.json`; where their number was chosen also `sweep.json` | [`Clusters`] |
//! | `scores` | `scores.safetensors`, `ids.json`; with the scorer `influence` also `influences.safetensors` | [`Scores`], [`Influences`] |
//! | `checkpoint` | the Hugging Face layout | `ml::checkpoint` |
//! | `curve` | `curve.jsonl` | [`CurvePoint`] |
//! | `metrics` | `metrics.json` | [`Metrics`] |
//! | `answers` | `answers.jsonl` | [`Answer`] |
//! | `shard` | what the stage kind that is split merges | [`PieceWriter`], [`Pieces`] |
//!
//! Concept vectors (COINCIDE) say in their summary of how many layers they are, `concept_layers`: they are as
//! many equal parts, each with its image half before its language half ([`Vectors::language_halves`]).

pub mod checkpoint;
mod columns;
pub mod compare;
mod export;
mod files;
mod image_folder;
mod metrics;
mod piece;
mod pool;
mod rows;
mod samples;

pub use columns::{Clusters, Influences, Scores, SweepPoint, Vectors, align};
pub use export::{ExportOptions, Exported, Layout, Reasons, export};
pub use files::{read_json, read_json_lines, write_json, write_json_lines, write_summary, write_whole};
pub use image_folder::ImageFolder;
pub use metrics::{Answer, Benchmark, CurvePoint, Metrics};
pub use piece::{PieceWriter, Pieces};
pub use pool::{Choice, Drop, ImageReference, Pool, Sample, Share, Turn};
pub use rows::{ScoresWriter, VectorsWriter};
pub use samples::{PoolReader, PoolWriter};
