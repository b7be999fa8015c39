//! The core of pm2, compiled once more by itself: a package can be optimised alone, and millions of steps want that.

#[path = "../../src/core/mod.rs"]
pub mod core;
#[path = "../../src/model/mod.rs"]
pub mod model;
