//! `runner`: a declarative experiment runner for data-selection research on multimodal language
//! models.
//!
//! An experiment is one YAML file. It is read ([`spec`]), resolved to a frozen acyclic graph of
//! stages ([`plan`]), each stage is given a key over the content it depends on ([`fingerprint`]),
//! looked up in the action cache ([`cache`]) and, on a miss, executed by the [`scheduler`], which
//! knows a stage only by its contract ([`stage`]). The mathematics is in `ml` (tensors, models,
//! training) and [`selection`] (the paper's algorithms on plain slices); the files under [`stages`]
//! are the thin layer between artifacts and mathematics.
//!
//! # The house
//!
//! Imports go strictly down this list; `tests/` keeps it true.
//!
//! | layer | module | knows | is unaware of |
//! |---|---|---|---|
//! | 9 | [`cli`] (+ `main`) | everything; commands, exit codes, wiring | |
//! | 8 | [`console`] | events → progress and lines; diagnostics; the only place that prints | |
//! | 7 | [`stages`] | one file per kind: artifacts in, artifacts out | plan, cache, scheduler |
//! | 6 | [`scheduler`] | plan, cache, executors, events | YAML, mathematics |
//! | 5 | [`cache`] | action cache, store, stat cache, remote caches | the graph |
//! | 4 | [`fingerprint`] | the key and its explanation, one walk | files, SQLite |
//! | 3 | [`plan`] | spec + signatures → frozen acyclic graph | cache, execution |
//! | 2 | [`stage`] | the contract: trait, signature, context, registry | any particular kind |
//! | 1 | [`spec`] | YAML → typed syntax with marks | files' meaning, stages' code |
//! | 1 | [`report`] | tables, exporters, golden comparison | where numbers come from |
//! | 1 | [`artifact`] | what flows between stages: one typed reader/writer per artifact kind | |
//! | 1 | [`hub`] | files of the Hugging Face Hub: what there is, and bringing it here | everything above |
//! | 0 | `ml` | a small burn library: models, losses, gradients, projection, training | everything above |
//! | 0 | [`selection`] | the paper's algorithms on slices | files, tensors' devices |
//! | 0 | [`mini`] | makes the miniature suite: datasets, benchmarks, tokenizer | everything above |
//! | 0 | [`devices`] | which accelerators this build and machine have | stages |
//! | 0 | [`images`] | images where they are: files, base64 text, cells of Parquet files | samples, pools, models |
//! | 0 | [`digest`], [`slots`], [`text`] | hashing; small maps; plurals, lists, did-you-mean | |

pub mod artifact;
pub mod cache;
pub mod cli;
pub mod console;
pub mod devices;
pub mod digest;
pub mod fingerprint;
pub mod hub;
pub mod images;
pub mod mini;
#[cfg(feature = "ml")]
pub mod ml;
pub mod plan;
pub mod report;
pub mod scheduler;
pub mod selection;
pub mod slots;
pub mod spec;
pub mod stage;
pub mod stages;
pub mod text;
