//! A small library for LLaVA models on burn: checkpoints in the Hugging Face layout, text and images
//! to batches, the model, its losses and gradients, training, scoring and decoding, clustering and
//! projection.
//!
//! Unaware of everything above it: stages, artifacts, experiments. What it is given are plain values,
//! directories and configs.

pub mod adapter;
pub mod agreement;
pub mod answer;
pub mod backward;
pub mod batch;
pub mod config;
pub mod conversation;
pub mod device;
pub mod factors;
pub mod gradient;
pub mod hidden;
pub mod initial;
pub mod kernels;
pub mod kmeans;
pub mod language;
pub mod linear;
pub mod llava;
pub mod lora;
pub mod loss;
pub mod moments;
pub mod names;
pub mod optimizer;
pub mod parameters;
pub mod precision;
pub mod preprocess;
pub mod projection;
mod resize;
pub mod samples;
pub mod saves;
pub mod score;
pub mod speed;
pub mod tensors;
pub mod train;
pub mod vision;
pub mod weights;
pub mod zeroth;
