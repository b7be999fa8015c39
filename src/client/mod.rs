//! client

pub mod actions;
