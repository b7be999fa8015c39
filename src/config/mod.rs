//! What people write, turned into the record that the daemon is asked to `prepare`.
//!
//! The way of a declaration: [`ecosystem`] finds the declarations in a file's value or text; [`spelling`] brings every option to its
//! one name; [`check`] validates and converts the values against [`options::TABLE`]; [`resolve`] turns the result and the
//! surroundings (working directory, environment, home) into the record.
//!
//! **Invariant:** nothing here reads a file, the environment or the clock. What the outside world must answer (does this file exist,
//! where is `python`, who is `www-data`) is asked of a [`Lookup`], so the same input gives the same record.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod check;
pub mod cron;
pub mod ecosystem;
pub mod environment;
mod files;
mod interpreter;
mod lookup;
pub mod options;
pub mod paths;
pub mod resolve;
pub mod spelling;
#[cfg(test)]
mod testing;
mod texts;
pub mod units;
pub mod unknown;
mod words;

pub use lookup::{Account, Lookup};
pub use words::split as split_words;

/// A JSON object; members keep their order, which is visible in records.
pub type Object = serde_json::Map<String, serde_json::Value>;
