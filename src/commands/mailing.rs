//! What all commands about digests begin with: the mailing list, the languages, the ledger, the way out.

mod audience;
mod languages;
mod ledger;
mod transport;

pub(super) use audience::{Audience, List, PAGE, find, leave_out, listed, narrowed, recipients};
pub(super) use languages::Languages;
pub(super) use ledger::{
    keep, ledger, ledger_failure, ledger_to_read, server, sound_ledger, sound_ledger_to_read,
};
pub(super) use transport::{outbox, signer, transport};

/// What became of digests, in words: "3 digests sent, 1 refused".
pub(super) fn counted(sent: String, others: [(u32, &str); 3]) -> String {
    let others = others.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}"));
    std::iter::once(sent).chain(others).collect::<Vec<_>>().join(", ")
}

/// An address that may stand in a log: `a…@example.org`.
pub(super) fn masked(email: &str) -> String {
    match email.rsplit_once('@') {
        Some((local, domain)) => format!("{}…@{domain}", local.chars().next().unwrap_or('?')),
        None => "…".to_owned(),
    }
}
