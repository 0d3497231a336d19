//! Who is reminded of what, and when: a pure plan over postings, recipients, what was sent, and now.

pub mod plan;
pub mod recipients;

pub use plan::{Digest, Item, Sent, plan};
pub use recipients::Recipient;
