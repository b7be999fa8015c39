//! Tests of the core, by what they protect.

#![expect(
    clippy::needless_raw_string_hashes,
    reason = "scripts are all quoted alike, whether or not they have quotes in them"
)]

mod calls;
mod crashes;
mod freezing;
mod messages;
mod prepare;
mod reloads;
mod schedule;
mod starts;
mod stops;
mod table;
mod world;
