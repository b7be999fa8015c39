//! The face for Node.
