//! Who is told of what, and when: a pure plan over postings, recipients, what was sent, and now.

pub mod history;
pub mod plan;
pub mod recipients;

pub use history::{Entry, Sent};
pub use plan::{Candidate, Change, Digest, Duty, Item, Section, Today};
pub use recipients::Recipient;

use crate::posting::Posting;
use crate::text;

/// Everybody who may be written to: the mailing list, and, where owners are reminded, those whose
/// address stands in a posting and who are not on the list.
pub fn audience(mut list: Vec<Recipient>, postings: &[Posting], owners: bool) -> Vec<Recipient> {
    if !owners {
        return list;
    }
    let mut known: std::collections::HashSet<String> = list.iter().map(Recipient::key).collect();
    let addresses = postings.iter().flat_map(|posting| &posting.contacts);
    for email in addresses.filter_map(|contact| contact.email.as_deref()) {
        // What a mail cannot be addressed to was reported when the posting was read.
        if known.insert(recipients::key(email)) && text::is_deliverable(email) {
            list.push(Recipient { subscribed: false, ..Recipient::new(email) });
        }
    }
    list
}
