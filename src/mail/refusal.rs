//! What servers mean by a refusal that has no code of RFC 3463, or one that says nothing closer: their
//! words.

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
pub(crate) fn speaks_of_the_address(reason: &str) -> bool {
    says(reason, OF_THE_ADDRESS) && !speaks_of_others(reason)
}

/// Whether a refusal is for something else than the address.
pub(crate) fn speaks_of_others(reason: &str) -> bool {
    says(reason, OF_OTHERS)
}

/// Whether a word of a text begins so. The words of addresses, of mail and of the web, are names.
fn says(text: &str, beginnings: &[&str]) -> bool {
    let text = text.to_lowercase();
    let words = text.split_whitespace().filter(|word| !word.contains('@') && !word.contains("://"));
    let mut words = words.flat_map(|word| word.split(|c: char| !c.is_alphanumeric()));
    words.any(|word| beginnings.iter().any(|beginning| word.starts_with(beginning)))
}
