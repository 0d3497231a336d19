//! What comes back by mail, understood: that a message could not be delivered (RFC 3464, and the
//! words of servers that are older), that somebody complained (RFC 5965), or that somebody wants to
//! leave (RFC 2369). A pure function of the message, the site and its keys.
//!
//! Anybody can write such a message. What is in it counts at once only where it has something that
//! the site made for one recipient and sent to nobody else: the address that it came back to
//! (variable envelope return paths), a link to unsubscribe, or the id of the message. The exception is
//! a mail whose subject begins with `unsubscribe`: whoever writes it in somebody else's name gets them off
//! the list.

use std::borrow::Cow;
use std::collections::BTreeSet;

use mail_parser::{Message, MessageParser, MessagePart, MimeHeaders, PartType};

use crate::mail::refusal::Status;
use crate::mail::unsubscribe::returned_to;
use crate::reminders::recipients::key;
use crate::site::Site;
use crate::text;
use crate::tokens::{Keys, Purpose};

/// How deeply messages are looked into that have messages in them.
const MAX_DEPTH: usize = 8;
/// How many words of a message are looked at for something of ours.
const MAX_WORDS: usize = 200_000;
/// How many failures one message may tell of, and how many addresses one of them may name.
const MAX_FAILURES: usize = 100;
const MAX_NAMED: usize = 16;
/// How much of what a server said is kept, in characters.
const MAX_REASON: usize = 200;

/// What a message is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbound {
    /// Addresses that took nothing.
    Failures(Vec<Failure>),
    /// Somebody told their provider that the mail is unwanted.
    Complaint(Whom),
    /// Somebody wants no more mail.
    Unsubscribe(Whom),
    /// Nothing that is done by itself; why.
    Nothing(&'static str),
}

/// Whom a message is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whom {
    /// The key of their address, where the message proves that it is about a message to them.
    pub proven: Option<String>,
    /// The keys of addresses that the message names.
    pub named: Vec<String>,
    /// The ids of the messages that it is about, with the angle brackets.
    pub message_ids: Vec<String>,
}

/// An address that took nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Whose.
    pub whom: Whom,
    /// Whether it takes nothing at all, or may later.
    pub is_permanent: bool,
    /// What its server said.
    pub reason: String,
}

/// Understands a message. `recipient` is the address that it was delivered to, where that is known.
pub fn read(bytes: &[u8], recipient: Option<&str>, site: &Site, keys: &Keys) -> Inbound {
    let Some(message) = MessageParser::default().parse(bytes) else {
        return Inbound::Nothing("it is no message");
    };
    let parts = Parts::of(&message);
    let evidence = Evidence::of(&parts, recipient, site, keys);
    if let Some(report) = parts.first("message/feedback-report") {
        return complaint(report, &evidence);
    }
    // That it was read (RFC 8098), whoever says so.
    if parts.first("message/disposition-notification").is_some() {
        return Inbound::Nothing("it was written by a program");
    }
    let statuses: Vec<&str> = ["message/delivery-status", "message/global-delivery-status"]
        .iter()
        .flat_map(|kind| parts.all(kind))
        .collect();
    if !statuses.is_empty() {
        let in_words = parts.first("text/plain").unwrap_or_default();
        let failures = delivery_failures(&statuses, in_words, &evidence);
        return if failures.is_empty() {
            Inbound::Nothing("it tells of no failure")
        } else {
            Inbound::Failures(failures)
        };
    }
    // Outlook.com sends what somebody complained of, and names them in a header of its own.
    if let Some(named) = parts.headers.iter().find(|(name, _)| *name == "x-hmxmroriginalrecipient")
    {
        return Inbound::Complaint(evidence.whom(addresses(&named.1)));
    }
    if is_failure_in_words(&message, &parts) {
        return failure_in_words(&message, &parts, &evidence);
    }
    unsubscription(&message, keys)
}

/// A message and those in it, flat.
struct Parts<'x> {
    /// The media type of each part, and its content.
    texts: Vec<(String, Cow<'x, str>)>,
    /// The headers of all messages in it but the outermost, names in small letters.
    headers: Vec<(String, String)>,
    /// The outermost headers that name who it was delivered to.
    delivered_to: Vec<String>,
}

impl<'x> Parts<'x> {
    fn of(message: &'x Message<'x>) -> Self {
        let mut all = Self { texts: Vec::new(), headers: Vec::new(), delivered_to: Vec::new() };
        for (name, value) in message.headers_raw() {
            if ["delivered-to", "x-original-to", "x-delivered-to", "envelope-to", "to"]
                .contains(&name.to_ascii_lowercase().as_str())
            {
                all.delivered_to.push(value.to_owned());
            }
        }
        all.add(message, 0);
        all
    }

    fn add(&mut self, message: &'x Message<'x>, depth: usize) {
        if depth > 0 {
            let headers = message.headers_raw();
            self.headers
                .extend(headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())));
        }
        for part in &message.parts {
            let kind = kind(part);
            match &part.body {
                PartType::Text(text) | PartType::Html(text) => {
                    self.texts.push((kind, Cow::Borrowed(text)));
                }
                PartType::Binary(bytes) | PartType::InlineBinary(bytes) => {
                    self.texts.push((kind, String::from_utf8_lossy(bytes)));
                }
                PartType::Message(inner) if depth < MAX_DEPTH => self.add(inner, depth + 1),
                PartType::Message(_) | PartType::Multipart(_) => {}
            }
        }
    }

    fn all(&self, kind: &str) -> impl Iterator<Item = &str> {
        self.texts.iter().filter(move |(known, _)| known == kind).map(|(_, text)| text.as_ref())
    }

    fn first(&self, kind: &str) -> Option<&str> {
        self.all(kind).next()
    }
}

fn kind(part: &MessagePart<'_>) -> String {
    let Some(kind) = part.content_type() else { return "text/plain".to_owned() };
    format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default()).to_ascii_lowercase()
}

/// How many ids of messages are looked for: a report is about one.
const MAX_IDS: usize = 16;

/// What in a message is ours.
struct Evidence {
    proven: BTreeSet<String>,
    message_ids: BTreeSet<String>,
}

impl Evidence {
    fn of(parts: &Parts<'_>, recipient: Option<&str>, site: &Site, keys: &Keys) -> Self {
        let mut evidence = Self { proven: BTreeSet::new(), message_ids: BTreeSet::new() };
        let outer = recipient.into_iter().chain(parts.delivered_to.iter().map(String::as_str));
        let inner = parts.headers.iter().map(|(_, value)| value.as_str());
        let texts = parts.texts.iter().map(|(_, text)| text.as_ref());
        let domain = format!("@{}", site.list_id());
        // PostgreSQL keeps no NUL in a text.
        let is_between =
            |c: char| c.is_whitespace() || c.is_control() || "<>()[]\"',;:?&%/|".contains(c);
        let words = outer.chain(inner).chain(texts).flat_map(|text| text.split(is_between));
        for word in words.filter(|word| word.len() > 20).take(MAX_WORDS) {
            if word.ends_with(&domain) {
                evidence.message_ids.insert(format!("<{word}>"));
            }
            if let Some(bounces) = site.mail.bounces.as_deref()
                && word.contains('=')
                && let Some(recipient) = returned_to(bounces, keys, word)
            {
                evidence.proven.insert(recipient);
            }
            // As in `token=…`, and in the subject that a mail to unsubscribe would have: `20…`.
            let word = word.rsplit('=').next().unwrap_or(word);
            for token in [Some(word), word.strip_prefix("20")].into_iter().flatten() {
                if token.contains('.') {
                    evidence.proven.extend(keys.named(Purpose::Unsubscribe, token));
                    evidence.proven.extend(keys.confirmed(token).map(|(recipient, _)| recipient));
                }
            }
        }
        evidence
    }

    /// Whom a report is about that names these addresses.
    fn whom(&self, named: Vec<String>) -> Whom {
        let proven = named.iter().find(|name| self.proven.contains(*name)).cloned();
        // Whoever forwards their mail is named as somebody else.
        let only = (self.proven.len() == 1).then(|| self.proven.first().cloned()).flatten();
        let message_ids = self.message_ids.iter().take(MAX_IDS).cloned().collect();
        Whom { proven: proven.or(only), named, message_ids }
    }
}

/// The fields of a report, group by group: names in small letters, and values on one line.
fn groups(text: &str) -> Vec<Vec<(String, String)>> {
    let text = text.replace("\r\n", "\n");
    let blocks = text.split("\n\n").filter(|block| !block.trim().is_empty());
    let fields = blocks.map(|block| {
        let block = format!("{}\n\n", block.trim_matches('\n'));
        let parsed = MessageParser::default().parse_headers(block.as_bytes()).map(|message| {
            let fields = message.headers_raw();
            fields.map(|(name, value)| (name.to_ascii_lowercase(), text::one_line(value))).collect()
        });
        parsed.unwrap_or_default()
    });
    fields.collect()
}

fn field<'a>(group: &'a [(String, String)], name: &str) -> Option<&'a str> {
    group.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// The keys of the addresses in a field (`rfc822; a@example.org`, RFC 3464, section 2.1.2). One may be
/// written in two ways: what stands there comes first, because `+41` may be a part of it.
fn addresses(value: &str) -> Vec<String> {
    let value = value.split_once(';').map_or(value, |(_, address)| address);
    let words = value.split(|c: char| c.is_whitespace() || "<>,\"".contains(c));
    let mut keys: Vec<String> = Vec::new();
    for spelling in words.flat_map(|word| [word.to_owned(), xtext(word)]) {
        if keys.len() == MAX_NAMED {
            break;
        }
        let key = key(&spelling);
        if text::is_address(&spelling) && !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

/// An address with what was written as `+3D` (RFC 3461, section 4) or `\x{e9}` (RFC 6533, section 3).
fn xtext(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(at) = rest.find(['+', '\\']) {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let hex = |text: &str| u32::from_str_radix(text, 16).ok().and_then(char::from_u32);
        let plain = after.strip_prefix('+').and_then(|code| code.get(..2)).and_then(|code| {
            let is_upper = code.chars().all(|c| c.is_ascii_digit() || ('A'..='F').contains(&c));
            is_upper.then(|| hex(code)).flatten().map(|c| (c, 3))
        });
        let named = after.strip_prefix("\\x{").and_then(|code| {
            // The longest is `10FFFF`.
            let length = code.bytes().take(7).position(|byte| byte == b'}')?;
            Some((hex(code.get(..length)?)?, length + 4))
        });
        if let Some((c, length)) = plain.or(named) {
            out.push(c);
            rest = &after[length..];
        } else {
            out.push_str(&after[..1]);
            rest = &after[1..];
        }
    }
    out.push_str(rest);
    out
}

/// The word in a field, which may have a comment behind it (RFC 3464, section 2.1).
fn word(value: &str) -> String {
    value.split(|c: char| c.is_whitespace() || c == '(').next().unwrap_or_default().to_lowercase()
}

/// The failures in delivery statuses (RFC 3464, section 2). `in_words` is what people are told of them.
fn delivery_failures(statuses: &[&str], in_words: &str, evidence: &Evidence) -> Vec<Failure> {
    let groups = statuses.iter().flat_map(|status| groups(status));
    // One that is late, was delivered or passed on is no failure.
    let is_failed = |group: &Vec<(String, String)>| {
        field(group, "action").is_some_and(|action| word(action) == "failed")
    };
    let failed: Vec<_> = groups.filter(is_failed).take(MAX_FAILURES).collect();
    let reasons = failed.iter().map(|group| {
        let said = field(group, "diagnostic-code").unwrap_or_default();
        said.split_once(';').map_or(said, |(_, said)| said).trim().to_owned()
    });
    let mut reasons: Vec<String> = reasons.collect();
    // Some servers say why to people only. Of several it is not known whom they speak of.
    if let [said] = &mut reasons[..]
        && said.is_empty()
        && let Some((_, told)) = Status::first_in(in_words)
    {
        *said = text::one_line(told);
    }
    let failure = |(group, said): (&Vec<(String, String)>, String)| {
        let named = ["original-recipient", "final-recipient"];
        let named = named.iter().filter_map(|name| field(group, name)).flat_map(addresses);
        let code = field(group, "status").unwrap_or_default();
        let status = Status::of(code, &said);
        Failure {
            whom: evidence.whom(named.collect()),
            is_permanent: status.is_some_and(|status| status.is_permanent(&said)),
            reason: text::shortened(format!("{code} {said}").trim(), MAX_REASON),
        }
    };
    failed.iter().zip(reasons).map(failure).collect()
}

/// An abuse report (RFC 5965, section 3).
fn complaint(report: &str, evidence: &Evidence) -> Inbound {
    let fields: Vec<(String, String)> = groups(report).into_iter().flatten().collect();
    let kind = word(field(&fields, "feedback-type").unwrap_or_default());
    if !["abuse", "opt-out", "opt-out-list"].contains(&kind.as_str()) {
        return Inbound::Nothing("it reports something else than unwanted mail");
    }
    let all = fields
        .iter()
        .filter(|(name, _)| ["original-rcpt-to", "removal-recipient"].contains(&name.as_str()));
    Inbound::Complaint(evidence.whom(all.flat_map(|(_, value)| addresses(value)).collect()))
}

/// Whether a server tells of a failure in a form of its own.
fn is_failure_in_words(message: &Message<'_>, parts: &Parts<'_>) -> bool {
    let names_failed = message.header_raw("X-Failed-Recipients").is_some();
    // QSBMF, of qmail: people begin their mails like that, too, but name nobody on a line.
    let body = parts.first("text/plain").unwrap_or_default().trim_start();
    let names_one = |line: &str| line.starts_with('<') && line.trim_end().ends_with(">:");
    let is_qmail = body.starts_with("Hi. This is the") && body.lines().any(names_one);
    names_failed || is_qmail || (is_from_a_server(message) && has_no_sender(message))
}

/// Whether nobody would read an answer (RFC 5321, section 4.5.5).
fn has_no_sender(message: &Message<'_>) -> bool {
    message.header_raw("Return-Path").is_some_and(|path| {
        let path = path.trim().trim_start_matches('<').trim_end_matches('>');
        // So Postfix writes it for a command: `null_sender` of pipe(8).
        path.is_empty()
            || path.split('@').next().is_some_and(|l| l.eq_ignore_ascii_case("mailer-daemon"))
    })
}

fn is_from_a_server(message: &Message<'_>) -> bool {
    let from = message.from().and_then(|from| from.first()?.address());
    let local = from.and_then(|from| from.split('@').next()).unwrap_or_default();
    ["mailer-daemon", "postmaster"].iter().any(|name| local.eq_ignore_ascii_case(name))
}

fn failure_in_words(message: &Message<'_>, parts: &Parts<'_>, evidence: &Evidence) -> Inbound {
    let failed = message.header_raw("X-Failed-Recipients").unwrap_or_default();
    let body = parts.first("text/plain").unwrap_or_default();
    // What comes after it is what was returned.
    let body = ["\n--- Below this line", "\n------ This is a copy", "\n--- "]
        .iter()
        .find_map(|mark| body.split_once(mark))
        .map_or(body, |(said, _)| said);
    let mut named: Vec<String> = failed.split(',').flat_map(addresses).take(MAX_NAMED).collect();
    if named.is_empty() {
        let words = body.split(|c: char| c.is_whitespace() || "<>,:;\"".contains(c));
        named.extend(words.filter(|word| text::is_address(word)).map(key).take(MAX_NAMED));
        named.dedup();
    }
    let found = Status::first_in(body);
    let subject = message.subject().unwrap_or_default();
    if failed.is_empty() && !tells_of_failure(subject, body, found.is_some()) {
        return Inbound::Nothing("it tells of no failure");
    }
    let failure = Failure {
        whom: evidence.whom(named),
        is_permanent: found.is_some_and(|(status, said)| status.is_permanent(said)),
        reason: text::shortened(&text::one_line(found.map_or("", |(_, said)| said)), MAX_REASON),
    };
    Inbound::Failures(vec![failure])
}

/// Whether a server says in words that something was not delivered, and not that it is late, or was
/// delivered.
fn tells_of_failure(subject: &str, body: &str, names_a_status: bool) -> bool {
    const LATE: [&str; 7] =
        ["warning", "delayed", "delay", "retard", "verzoger", "successful", "relayed"];
    const NO_ACTION: [&str; 7] = [
        "no action is required",
        "will be retried",
        "will continue to try",
        "keep trying",
        "keep on trying",
        "warning message only",
        "do not need to resend",
    ];
    const FAILURE: [&str; 16] = [
        "fail",
        "undeliver",
        "not deliver",
        "not be deliver",
        "could not",
        "couldn't",
        "unable to",
        "not reach",
        "returned",
        "rejected",
        "unzustellbar",
        "nicht zugestellt",
        "echec",
        "non remis",
        "pas ete remis",
        "pas pu etre",
    ];
    let plain = |text: &str| any_ascii::any_ascii(text).to_lowercase();
    let (subject, body) = (plain(subject), plain(body));
    let says = |text: &str, words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&body, &NO_ACTION) || (says(&subject, &LATE) && !says(&subject, &FAILURE)) {
        return false;
    }
    names_a_status || says(&subject, &FAILURE) || says(&body, &FAILURE)
}

/// Whether a program wrote it (RFC 3834), to whom nobody answers.
fn is_automatic(message: &Message<'_>) -> bool {
    let text = |name: &str| message.header_raw(name).map(|value| value.trim().to_ascii_lowercase());
    let submitted = text("Auto-Submitted").is_some_and(|how| !how.starts_with("no"));
    let precedence = text("Precedence").unwrap_or_default();
    submitted
        || ["bulk", "junk", "list", "auto_reply"].contains(&precedence.as_str())
        || has_no_sender(message)
        || ["X-Auto-Response-Suppress", "X-Autoreply", "X-Autorespond", "List-Id"]
            .iter()
            .any(|name| message.header(*name).is_some())
}

/// A mail to leave: its subject is the one that our links have. One with a link's token may well be
/// written by a program: mail readers say so of what they send when somebody pushes their button.
fn unsubscription(message: &Message<'_>, keys: &Keys) -> Inbound {
    let subject = message.subject().unwrap_or_default();
    let mut words = subject.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default().to_lowercase();
    let wants_to = first == "unsubscribe" || text::folded(&first).starts_with("desabonne");
    // Some leave the space in our links as `%20`, or write it as `+`.
    let mut words = subject.split(|c: char| c.is_whitespace() || "+%".contains(c));
    let proven = words.find_map(|word| {
        let mut spellings = [Some(word), word.strip_prefix("20")].into_iter().flatten();
        spellings.find_map(|token| keys.named(Purpose::Unsubscribe, token))
    });
    if proven.is_none() && is_automatic(message) {
        return Inbound::Nothing("it was written by a program");
    }
    if proven.is_none() && !wants_to {
        return Inbound::Nothing("it is a message from somebody");
    }
    let from = message.from().and_then(|from| from.first()?.address());
    let named = from.filter(|from| text::is_address(from)).map(key).into_iter().collect();
    Inbound::Unsubscribe(Whom { proven, named, message_ids: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_late_or_arrived_is_no_failure() {
        for (subject, body, names_a_status, is_failure) in [
            ("Warning: message delayed 24 hours", "451 4.7.1 Greylisting", true, false),
            ("Delivery Status", "No action is required on your part. 451 later", true, false),
            ("Successful Mail Delivery Report", "delivered (250 2.0.0 Ok)", false, false),
            ("Absence", "Je suis absente. Poste 550.", false, false),
            (
                "Warning: could not send message for past 4 hours",
                "WARNING MESSAGE ONLY",
                true,
                false,
            ),
            ("failure notice", "no mailbox here (#5.1.1)", true, true),
            ("Échec de la remise", "", false, true),
            ("Message", "could not be delivered", false, true),
        ] {
            assert_eq!(tells_of_failure(subject, body, names_a_status), is_failure, "{subject}");
        }
    }

    #[test]
    fn a_plus_may_be_what_it_is_or_the_beginning_of_another_sign() {
        let read = |value| addresses(value);
        assert_eq!(read("rfc822; Bob+41@example.org"), ["bob+41@example.org", "boba@example.org"]);
        assert_eq!(read("rfc822; a+3Db@example.org"), ["a+3db@example.org", "a=b@example.org"]);
        assert_eq!(read("<a+tag@example.org>"), ["a+tag@example.org"]);
        assert_eq!(read("utf-8; \\x{e9}@example.org"), ["é@example.org"]);
    }

    fn read(message: &str) -> Inbound {
        let site = Site::parse("title: T\nurl: https://jobs.example.org/\n").unwrap();
        super::read(message.as_bytes(), None, &site, &Keys::new(vec![0; 32], Vec::new()))
    }

    #[test]
    fn outlook_names_who_complained_in_what_was_sent_to_them() {
        let inner = "From: jobs@example.org\nX-HmXmrOriginalRecipient: <bob@example.org>\nTo: ann@example.org\n\nText\n";
        let said =
            read(&format!("From: staff@example.net\nContent-Type: message/rfc822\n\n{inner}"));
        let Inbound::Complaint(whom) = &said else { panic!("{said:?}") };
        assert_eq!((&whom.proven, &whom.named[..]), (&None, &["bob@example.org".to_owned()][..]));
        // Anybody can write that at the top.
        assert!(matches!(read(inner), Inbound::Nothing(_)));
    }

    #[test]
    fn messages_are_looked_into_so_deeply_and_no_deeper() {
        let report = "Content-Type: message/delivery-status\n\nReporting-MTA: dns; a.example\n\nFinal-Recipient: rfc822; bob@example.org\nAction: failed\nStatus: 5.1.1\n";
        let within =
            |depth| read(&format!("{}{report}", "Content-Type: message/rfc822\n\n".repeat(depth)));
        for depth in 0..=MAX_DEPTH {
            let said = within(depth);
            assert!(
                matches!(&said, Inbound::Failures(failures) if failures.len() == 1),
                "{said:?}"
            );
        }
        assert!(matches!(within(MAX_DEPTH + 1), Inbound::Nothing(_)));
    }

    #[test]
    fn a_word_has_no_comment_behind_it() {
        assert_eq!(["Failed (full)", "failed(full)", "FAILED"].map(word), ["failed"; 3]);
    }

    #[test]
    fn what_a_server_says_in_a_form_of_its_own_is_a_failure_whoever_sent_it() {
        let qmail = "From: robot@example.net\n\nHi. This is the qmail-send program.\n\n<bob@example.org>:\nno mailbox here (#5.1.1)\n";
        let exim = "From: robot@example.net\nX-Failed-Recipients: bob@example.org\n\nText\n";
        for (message, is_permanent) in [(qmail, true), (exim, false)] {
            let said = read(message);
            let Inbound::Failures(failures) = &said else { panic!("{said:?}") };
            assert_eq!(failures.len(), 1);
            assert_eq!(failures[0].whom.named, ["bob@example.org"]);
            assert_eq!(failures[0].is_permanent, is_permanent);
        }
        let person = "From: bob@example.org\n\nHi. This is the Bob you write to.\n550 5.1.1 is what I get.\n";
        assert!(matches!(read(person), Inbound::Nothing(_)));
        // A person's program is no server, whatever it says.
        let absent = "From: ann@example.org\nReturn-Path: <>\n\nI could not read your mail.\n";
        assert_eq!(read(absent), Inbound::Nothing("it was written by a program"));
    }
}
