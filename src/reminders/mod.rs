//! Who is told of what, and when: a pure plan over postings, recipients, what was sent, and now.

pub mod history;
pub mod plan;
pub mod recipients;

pub use history::{Entry, Past, Sent};
pub use plan::{Candidate, Change, Digest, Duty, Item, Section, Today};
pub use recipients::Recipient;

use std::collections::HashSet;

use crate::posting::Posting;
use crate::text;

/// Everybody who may be written to: the mailing list, and, where owners are reminded, those whose
/// address stands in a posting and who are not on the list.
pub fn audience(mut list: Vec<Recipient>, postings: &[Posting], owners: bool) -> Vec<Recipient> {
    let mut owners = Owners::new(postings, owners);
    for recipient in &list {
        owners.leave_out(&recipient.key());
    }
    list.extend(owners);
    list
}

/// The owners of postings, in the order of the postings, without those who are met on the mailing
/// list before.
#[derive(Debug, Default)]
pub struct Owners {
    addresses: std::vec::IntoIter<String>,
    keys: HashSet<String>,
}

impl Owners {
    /// The owners of postings; nobody, where owners are not `reminded`.
    pub fn new(postings: &[Posting], reminded: bool) -> Self {
        let mut keys = HashSet::new();
        let contacts = postings.iter().filter(|_| reminded).flat_map(|posting| &posting.contacts);
        let addresses: Vec<String> = contacts
            .filter_map(|contact| contact.email.as_deref())
            // What a mail cannot be addressed to was reported when the posting was read.
            .filter(|email| text::is_deliverable(email) && keys.insert(recipients::key(email)))
            .map(str::to_owned)
            .collect();
        Self { addresses: addresses.into_iter(), keys }
    }

    /// Leaves out the recipient with this key.
    pub fn leave_out(&mut self, key: &str) {
        self.keys.remove(key);
    }
}

impl Iterator for Owners {
    type Item = Recipient;

    fn next(&mut self) -> Option<Recipient> {
        let email =
            self.addresses.by_ref().find(|email| self.keys.contains(&recipients::key(email)))?;
        Some(Recipient { subscribed: false, ..Recipient::new(email) })
    }
}
