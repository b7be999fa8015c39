//! The client against a pretend daemon that answers, or misbehaves, as each test wants.
