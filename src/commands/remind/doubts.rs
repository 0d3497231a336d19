//! What an earlier run left in doubt: whether it arrived, leaves again, or is given up.

use std::collections::HashSet;

use super::{Audience, PAGE, ledger_failure, mailing, masked};
use crate::commands::{Opened, Result, Shell};
use crate::ledger::{Doubtful, Ledger, Mark, Suppressions};
use crate::reminders::{Recipient, Today};
use crate::site::{InDoubt, Transport};

/// How often a message that may have arrived is sent again, before a person has to look.
const MAX_DOUBTS: u32 = 10;

/// What becomes of a digest that may have arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is there.
    Arrived,
    /// It is not, or says what is no longer so: what still matters of it is planned anew.
    GivenUp,
    /// A person decides.
    Held,
    /// It leaves again as it is, if its reader is still there.
    Again,
    /// It stays as it is.
    LeftAlone,
}

/// Decides about one.
pub(super) fn decide(opened: &Opened, today: &Today<'_>, doubtful: &Doubtful) -> Decision {
    let Doubtful { day, held, doubts, ref message_id, ref message, ref entries, .. } = *doubtful;
    if mailing::outbox(&opened.layout).has(day, message_id) {
        Decision::Arrived
    } else if opened.site.mail.transport == Transport::File && !held {
        // Files leave no doubt: it is not there. What is held left another way.
        Decision::GivenUp
    } else if held
        || opened.site.reminders.in_doubt == InDoubt::Hold
        || doubts >= MAX_DOUBTS
        // Only the very same message may leave again, and it is lost.
        || message.is_empty()
    {
        Decision::Held
    } else if day < today.day() || (day == today.day() && !today.still_says(entries)) {
        Decision::GivenUp
    } else if day == today.day() {
        Decision::Again
    } else {
        // The clock went back.
        Decision::LeftAlone
    }
}

/// What was decided about all of them.
pub(super) struct Settled {
    /// How many of them are sent again.
    pub(super) again: usize,
    /// Those that do not leave, and stay in doubt.
    pub(super) left_alone: HashSet<i64>,
}

impl Settled {
    /// How many of what is in doubt wait for nobody.
    pub(super) fn unwanted(&self) -> u32 {
        u32::try_from(self.left_alone.len()).unwrap_or(u32::MAX)
    }
}

/// Decides about all of them, or those of some recipients, and enters that.
pub(super) fn settle(
    shell: &Shell,
    opened: &Opened,
    ledger: &mut Ledger,
    today: &Today<'_>,
    (suppressed, only): (&Suppressions, &[String]),
    audience: &impl Fn() -> Result<Audience>,
) -> Result<Settled> {
    ledger.doubt_interrupted().map_err(ledger_failure)?;
    let mut doubtful = ledger.doubtful().map_err(ledger_failure)?;
    doubtful.retain(|digest| only.is_empty() || only.contains(&digest.recipient));
    let mut settled = Settled { again: 0, left_alone: HashSet::new() };
    if doubtful.is_empty() {
        return Ok(settled);
    }
    let listed = listed(ledger, &doubtful, suppressed, audience()?)?;
    let mut marks = Vec::new();
    for digest in &doubtful {
        let Doubtful { id, day, held, ref recipient, .. } = *digest;
        match decide(opened, today, digest) {
            Decision::Arrived => marks.push((id, Mark::Sent)),
            Decision::GivenUp => marks.push((id, Mark::Abandoned)),
            Decision::Held if held => {}
            Decision::Held => {
                marks.push((id, Mark::Held("it may have arrived".to_owned())));
                shell.complain(&format!(
                    "the digest of {day} to {} may have arrived, and is held: see `crieur status`",
                    masked(recipient)
                ));
            }
            Decision::Again if listed.contains(recipient) => settled.again += 1,
            Decision::Again | Decision::LeftAlone => drop(settled.left_alone.insert(id)),
        }
    }
    ledger.mark(&marks, opened.now).map_err(ledger_failure)?;
    Ok(settled)
}

/// The keys of those recipients of digests who are still written to.
fn listed(
    ledger: &Ledger,
    doubtful: &[Doubtful],
    suppressed: &Suppressions,
    mut audience: Audience,
) -> Result<HashSet<String>> {
    let keys: HashSet<&str> = doubtful.iter().map(|digest| digest.recipient.as_str()).collect();
    let mut listed = HashSet::new();
    loop {
        let recipients = audience.next(ledger, PAGE)?;
        if recipients.is_empty() {
            return Ok(listed);
        }
        let meant = recipients.iter().map(Recipient::key);
        listed.extend(meant.filter(|key| keys.contains(key.as_str()) && !suppressed.contains(key)));
    }
}
