//! What servers mean by a refusal, in a session or in a mail that tells of it: codes of RFC 3463, and
//! words where there is none, or one that says nothing closer.

/// An enhanced status code (RFC 3463), or the three digits that a server began with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status {
    class: u16,
    subject: u16,
    detail: u16,
}

impl Status {
    /// The status in a field, or a more telling one in what the server said.
    pub(crate) fn of(field: &str, said: &str) -> Option<Self> {
        let field = Self::first_in(field).map(|(status, _)| status);
        match field {
            Some(status) if status.subject != 0 => Some(status),
            _ => Self::first_in(said).map(|(status, _)| status).or(field),
        }
    }

    /// The first status in a text, and what was said with it: to the end of the paragraph. Where there
    /// is none, the first code of SMTP.
    pub(crate) fn first_in(text: &str) -> Option<(Self, &str)> {
        let numbers = || numbers(text);
        let found = numbers().find_map(|(at, word)| Some((at, Self::enhanced(word)?)));
        let found = found.or_else(|| {
            numbers()
                .filter(|(at, word)| is_reply(&text[..*at], word, &text[at + word.len()..]))
                .find_map(|(at, word)| {
                    let class = word.bytes().next()? - b'0';
                    let class = matches!(class, 4 | 5).then_some(class)?;
                    Some((at, Self { class: class.into(), subject: 0, detail: 0 }))
                })
        });
        found.map(|(at, status)| {
            let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
            let rest = &text[line..];
            let end = rest.find("\n\n").or_else(|| rest.find("\r\n\r\n")).unwrap_or(rest.len());
            (status, &rest[..end])
        })
    }

    /// A code of RFC 3463: three numbers, of which the last two have three digits at most. Dates and
    /// the versions of programs have three numbers, too.
    fn enhanced(word: &str) -> Option<Self> {
        let mut numbers = word
            .split('.')
            .map(|number| (number.len() <= 3).then(|| number.parse::<u16>().ok()).flatten());
        let (class, subject, detail) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let is_one = numbers.next().is_none() && matches!(class, 4 | 5) && subject <= 7;
        is_one.then_some(Self { class, subject, detail })
    }

    /// Subject and detail, where they say anything.
    pub(crate) fn closer(self) -> Option<(u16, u16)> {
        (self.subject != 0).then_some((self.subject, self.detail))
    }

    /// Whether the address takes nothing from anybody: what is full, busy, lost its way or dislikes
    /// a message may take the next. `said` tells where the code does not.
    pub(crate) fn is_permanent(self, said: &str) -> bool {
        let Self { class, subject, detail } = self;
        let is_lasting = match (subject, detail) {
            // Nothing closer: only words tell.
            (0, _) | (1 | 2 | 5, 0) => speaks_of_the_address(said),
            // Addressing, but not of who sent it; and there is no such host, or no such person there.
            (1, 1..=4 | 6 | 10) | (4, 1 | 4 | 310) => true,
            // A mailbox that is full is emptied; a message may have been too long for it.
            (2, 1) => !speaks_of_others(said),
            _ => false,
        };
        class == 5 && is_lasting
    }
}

/// The numbers in a text, with the points in them, and where they stand: not those in words.
fn numbers(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_of_number = |c: char| c.is_ascii_digit() || c == '.';
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(start) = text[at..].find(is_of_number).map(|start| at + start) {
            let length = text[start..].find(|c: char| !is_of_number(c));
            let end = length.map_or(text.len(), |length| start + length);
            at = end;
            let word = text[start..end].trim_matches('.');
            let follows_a_word = text[..start].ends_with(|c: char| c.is_alphanumeric());
            let begins_one = text[end..].starts_with(|c: char| c.is_alphabetic());
            if !word.is_empty() && !follows_a_word && !begins_one {
                let start = start + text[start..end].find(word).unwrap_or_default();
                return Some((start, word));
            }
        }
        None
    })
}

/// Whether three digits are a server's reply: at the beginning of a line or of what is told of it, with
/// words behind them.
fn is_reply(before: &str, word: &str, after: &str) -> bool {
    if word.len() != 3 || !word.bytes().all(|b| b.is_ascii_digit()) {
        return false;
    }
    let before = before.trim_end_matches([' ', '\t']);
    let names = |name: &&str| {
        let end = before.len().checked_sub(name.len());
        let end = end.and_then(|at| before.as_bytes().get(at..));
        end.is_some_and(|end| end.eq_ignore_ascii_case(name.as_bytes()))
    };
    let begins = before.is_empty()
        || before.ends_with(['\n', ':', '(', '"', '\'', '<', '>', '#', '[', '=', ';', '-'])
        || ["said", "error", "code", "reply", "response", "with", "smtp"].iter().any(names);
    let goes_on = [' ', '-', '#', '\t', ')', ']', '"', '\'', ';', ',', '\r', '\n'];
    begins && (after.is_empty() || after.starts_with(goes_on))
}

/// How words begin that are not about the address: of its server's limits, of who sends, of what is
/// sent, of how.
const OF_OTHERS: &[&str] = &[
    "relay",
    "exceed",
    "limit",
    "quota",
    "rate",
    "many",
    "much",
    "full",
    "big",
    "over",
    "capacity",
    "überf",
    "uberf",
    "vol",
    "lleno",
    "llena",
    "pien",
    "plein",
    "satur",
    "busy",
    "storage",
    "space",
    "size",
    "large",
    "block",
    "black",
    "list",
    "spam",
    "spf",
    "dkim",
    "dmarc",
    "virus",
    "policy",
    "policies",
    "reputation",
    "denied",
    "sender",
    "authent",
    "dns",
    "ptr",
    "helo",
    "rbl",
    "later",
    "again",
    "temporar",
    "grey",
    "moment",
    "ip",
    "connection",
    "client",
    "prohibit",
    "content",
    "header",
    "attachment",
    "message-id",
    "syntax",
    "command",
    "data",
    "signature",
    "charset",
];

/// How words begin that are about the address.
const OF_THE_ADDRESS: &[&str] = &[
    "user",
    "mailbox",
    "recipient",
    "account",
    "unknown",
    "exist",
    "nobody",
    "inactive",
    "disabled",
    "inconnu",
    "boite",
    "boîte",
    "compte",
    "destinataire",
    "utilisateur",
    "empfänger",
    "postfach",
    "benutzer",
    "gebruiker",
    "usuario",
    "utente",
    "casella",
    "buzón",
];

/// Whether a refusal is for the address. A server that does not pass on mail, takes no more today, or
/// dislikes the sender says so of every address: in doubt it is not for this one.
fn speaks_of_the_address(reason: &str) -> bool {
    says(reason, OF_THE_ADDRESS) && !speaks_of_others(reason)
}

/// Whether a refusal is for something else than the address.
fn speaks_of_others(reason: &str) -> bool {
    says(reason, OF_OTHERS)
}

/// Whether a word of a text begins so. The words of addresses, of mail and of the web, are names.
fn says(text: &str, beginnings: &[&str]) -> bool {
    let text = text.to_lowercase();
    let words = text.split_whitespace().filter(|word| !word.contains('@') && !word.contains("://"));
    let mut words = words.flat_map(|word| word.split(|c: char| !c.is_alphanumeric()));
    words.any(|word| beginnings.iter().any(|beginning| word.starts_with(beginning)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_tell_where_codes_do_not() {
        for (field, said, is_permanent) in [
            ("5.1.1", "550 spam detected", true),
            ("5.0.0", "550 no such user", true),
            ("5.0.0", "550 5.1.1 go away", true),
            ("5.0.0", "550 Nobody of that name.", true),
            ("5.0.0", "554 delivery error: dd This user doesn't have a example.com account", true),
            ("5.5.0", "550 5.5.0 Requested action not taken: mailbox unavailable", true),
            ("5.0.0", "552 1 Requested mail action aborted, mailbox not found", true),
            ("5.0.0", "(Exim 4.94.2) said 550 no such user", true),
            ("5.0.0", "550 spam detected", false),
            ("5.0.0", "550 Mailbox full", false),
            ("5.0.0", "550 Sender verify failed", false),
            ("5.0.0", "550 This message was classified as SPAM and may not be delivered", false),
            ("5.0.0", "550 Administrative prohibition - envelope blocked", false),
            ("5.0.0", "550 Greylisted, please try again", false),
            ("5.1.0", "550 5.1.0 sender rejected", false),
            ("5.1.90", "550 5.1.90 you have reached your daily limit", false),
            ("5.1.350", "550 5.1.350 missing PTR of the sending domain", false),
            ("5.2.0", "550 5.2.0 Mail rejete. Mail rejected. ofr_506 [506]", false),
            ("5.2.1", "450 receiving mail at a rate that prevents more", false),
            ("5.2.1", "550 mailbox disabled", true),
            ("5.7.1", "550 user unknown", false),
            ("5.0.0", "552 Postfach überfüllt", false),
            ("5.0.0", "552 mailbox vol", false),
            ("5.0.0", "552 buzón lleno", false),
            ("5.0.0", "552 casella piena", false),
            ("5.0.0", "552 mailbox over capacity", false),
            ("5.0.0", "552 5.0.0 Message too big for this mailbox", false),
            ("5.0.0", "554 5.0.0 invalid message header", false),
            ("5.5.2", "554 5.5.2 Invalid data", false),
            ("5.5.0", "550 5.5.0 Unknown command", false),
            ("5.0.0", "554 No such luck: SPF fail", false),
            ("5.0.0", "550 Message rejected: invalid DKIM signature", false),
            ("5.0.0", "550 SPF check failed for user joe", false),
            ("5.0.0", "550 Message contains a URL, see https://x/users/help", false),
            ("5.0.0", "550 unknown here", true),
            ("4.1.1", "450 user unknown", false),
            ("", "", false),
        ] {
            let status = Status::of(field, said);
            let told = status.is_some_and(|status| status.is_permanent(said));
            assert_eq!(told, is_permanent, "{field} {said}");
        }
    }

    #[test]
    fn not_every_number_is_a_code() {
        let first = |text| {
            Status::first_in(text).map(|(s, _)| format!("{}.{}.{}", s.class, s.subject, s.detail))
        };
        for text in [
            "It was delivered. 550 kB were scanned.",
            "Ring me: poste 550.",
            "Ihre Nachricht vom 5.1.2026",
            "Exim 4.94.2 on mx",
            "5.1.2.3",
            "v5.1.1",
            "in 450 days",
        ] {
            assert_eq!(first(text), None, "{text}");
        }
        for (text, expected) in [
            ("said: 550 no", "5.0.0"),
            ("550 no", "5.0.0"),
            ("550-5.1.1 no", "5.1.1"),
            ("(#5.1.1)", "5.1.1"),
            ("vom 4.1.2026: 550 5.1.1 x", "5.1.1"),
            ("voll (552 Mailbox full)", "5.0.0"),
            ("error: 451.", "none"),
        ] {
            let expected = (expected != "none").then(|| expected.to_owned());
            assert_eq!(first(text), expected, "{text}");
        }
        let text = "x\n\nhost: 550 no\nsuch user\n\nrest";
        assert_eq!(Status::first_in(text).unwrap().1, "host: 550 no\nsuch user");
        assert_eq!(Status::first_in("x\n.5.1.1 no").unwrap().1, ".5.1.1 no");
    }

    #[test]
    fn a_text_full_of_numbers_is_read_once() {
        let text = "1 ".repeat(200_000);
        assert_eq!(Status::first_in(&text), None);
        assert_eq!(Status::first_in(&"551".repeat(100_000)), None);
    }
}
