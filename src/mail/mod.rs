//! Mail: the message of a digest, its signature, and the ways by which it leaves.

pub mod confirmation;
pub mod dkim;
pub mod message;
pub(crate) mod refusal;
pub mod transport;
pub mod unsubscribe;

pub use message::{Composed, Composer, Shared};
