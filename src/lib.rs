#![doc = include_str!("README.md")]

pub mod cli;
pub mod client;
pub mod config;
pub mod core;
pub mod daemon;
pub mod host;
pub mod keeper;
pub mod model;
pub mod wire;
