//! A small library for LLaVA models on burn: checkpoints in the Hugging Face layout, text and images
//! to batches, clustering and projection.
//!
//! Unaware of everything above it: stages, artifacts, experiments. What it is given are plain values,
//! directories and configs.

pub mod batch;
pub mod config;
pub mod conversation;
pub mod names;
pub mod preprocess;
pub mod tensors;
pub mod weights;
