//! Tests of the core, by what they protect.

mod calls;
mod crashes;
mod freezing;
mod messages;
mod prepare;
mod simulator;
mod starts;
mod stops;
mod table;
mod world;
