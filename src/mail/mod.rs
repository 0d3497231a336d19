//! Mail: the message of a digest, and the ways by which it leaves.

pub mod message;
pub mod transport;

pub use message::{Composed, compose};
