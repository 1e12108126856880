//! The mathematics against the programs that everyone else uses: transformers, PEFT, PyTorch, Pillow and
//! scikit-learn.
//!
//! The scripts in `make` wrote what those programs compute into `fixtures`, with their versions; `make/README.md`
//! says how. Nothing here needs Python.

mod clusters;
mod conversations;
mod gradients;
mod images;
mod models;
mod projection;
mod support;
mod training;
mod written;
