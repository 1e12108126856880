//! A small library for LLaVA models on burn: checkpoints in the Hugging Face layout, text and images
//! to batches, clustering and projection.
//!
//! Unaware of everything above it: stages, artifacts, experiments. What it is given are plain values,
//! directories and configs.

pub mod config;
pub mod names;
pub mod tensors;
pub mod weights;
