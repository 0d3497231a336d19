//! A mail server, by SMTP (RFC 5321).
//!
//! The commands, replies and mechanisms are lettre's. Its own connection is not used: it writes a
//! message and the dot that ends it in one go, so that nobody can tell a failure before the dot from
//! one after it, and it waits for every answer where servers take several commands at once. Here a
//! message costs one round trip: its end and the next envelope travel together.

use std::borrow::Cow;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lettre::Address;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::commands::{Auth, Data, Ehlo, Mail, Quit, Rcpt, Rset, Starttls};
use lettre::transport::smtp::extension::{ClientId, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::{Response, Severity};
use memchr::memmem;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::connection::Wire;
use super::trust::complaint;
use super::{Connection, Delivery, Letter, Transport, Unavailable};
use crate::mail::refusal::Status;
use crate::site::{Authentication, Security};

/// How many times longer than other answers the one after a message may take (RFC 5321 section
/// 4.5.3.2.6 asks for ten minutes): giving up too early is what makes messages arrive twice.
const AFTER_THE_DOT: u32 = 10;

/// A mail server and how it is spoken to.
pub struct Smtp {
    /// Its name or number.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is kept private.
    pub security: Security,
    /// Whose certificates are trusted.
    pub tls: Arc<ClientConfig>,
    /// Who we are to it, if it wants to know.
    pub login: Option<Login>,
    /// How many connections there are at once.
    pub connections: usize,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// Who we are to a server.
#[derive(Clone)]
pub struct Login {
    /// By which mechanism; any that the server offers, by default.
    pub mechanism: Option<Authentication>,
    /// Name and secret. lettre keeps both out of debug output.
    pub credentials: Credentials,
}

/// What a server offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Offers {
    starttls: bool,
    pipelining: bool,
    eight_bit: bool,
    utf8: bool,
    /// The largest message that it takes, in bytes.
    size: Option<usize>,
    mechanisms: Vec<Authentication>,
}

impl Offers {
    fn read(response: &Response) -> Self {
        let mut offers = Self::default();
        for line in response.message().skip(1) {
            let line = line.to_ascii_uppercase().replace('=', " ");
            let mut words = line.split_whitespace();
            match words.next() {
                Some("STARTTLS") => offers.starttls = true,
                Some("PIPELINING") => offers.pipelining = true,
                Some("8BITMIME") => offers.eight_bit = true,
                Some("SMTPUTF8") => offers.utf8 = true,
                Some("SIZE") => {
                    let size = words.next().and_then(|size| size.parse().ok());
                    offers.size = size.filter(|size| *size > 0);
                }
                Some("AUTH") => offers.mechanisms.extend(words.filter_map(|name| match name {
                    "PLAIN" => Some(Authentication::Plain),
                    "LOGIN" => Some(Authentication::Login),
                    "XOAUTH2" => Some(Authentication::Xoauth2),
                    _ => None,
                })),
                _ => {}
            }
        }
        offers
    }
}

impl Transport for Smtp {
    fn connections(&self) -> usize {
        self.connections
    }

    fn connect(&self) -> Result<Box<dyn Connection + '_>, Unavailable> {
        Ok(Box::new(self.open()?))
    }
}

impl Smtp {
    fn open(&self) -> Result<Session<'_>, Unavailable> {
        let place = format!("{}:{}", self.host, self.port);
        let away = |error: io::Error| Unavailable::Away(format!("{place}: {error}"));
        let mut failed = io::Error::other("the name has no address");
        let mut wire = None;
        for address in self.addresses().map_err(away)? {
            match Wire::open(&address, self.timeout) {
                Ok(open) => {
                    wire = Some(open);
                    break;
                }
                Err(error) => failed = error,
            }
        }
        let Some(mut wire) = wire else { return Err(away(failed)) };
        if self.security == Security::Tls {
            self.encrypt(&mut wire)?;
        }
        let offers = Offers::default();
        let mut session = Session { smtp: self, wire, offers, sent: 0, usable: true, ahead: None };
        session.expect_greeting().map_err(away)?;
        session.greet().map_err(away)?;
        if self.security == Security::Starttls {
            if !session.offers.starttls {
                return Err(Unavailable::Misconfigured(format!(
                    "{place} offers no STARTTLS, and mail is not sent unencrypted: set `security: tls` for a port that begins with TLS, or mend the server"
                )));
            }
            let answer = session.command(&Starttls).map_err(away)?;
            if is_permanent(&answer) {
                return Err(Unavailable::Misconfigured(format!(
                    "{place} offers STARTTLS and refuses it: {}; mend the server, or set `security: tls` for a port that begins with TLS",
                    said(&answer)
                )));
            }
            if !answer.is_positive() {
                return Err(Unavailable::Away(format!("{place}: STARTTLS: {}", said(&answer))));
            }
            self.encrypt(&mut session.wire)?;
            // What was offered before may have been anybody's offer.
            session.greet().map_err(away)?;
        }
        if let Some(login) = &self.login {
            session.authenticate(login).map_err(away)??;
        }
        Ok(session)
    }

    /// The server's addresses. Without encryption, none but the machine's own.
    fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let found = (self.host.as_str(), self.port).to_socket_addrs()?;
        let mut addresses: Vec<_> = found
            .filter(|address| self.security != Security::None || address.ip().is_loopback())
            .collect();
        // What listens on one of two addresses of `localhost` mostly listens on the older.
        addresses.sort_by_key(SocketAddr::is_ipv6);
        Ok(addresses)
    }

    fn encrypt(&self, wire: &mut Wire) -> Result<(), Unavailable> {
        let place = format!("{}:{}", self.host, self.port);
        let name = ServerName::try_from(self.host.clone()).map_err(|error| {
            Unavailable::Misconfigured(format!("`{}` is no name of a server: {error}", self.host))
        })?;
        wire.encrypt(self.tls.clone(), name, self.timeout).map_err(|error| {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match inner {
                Some(rustls::Error::InvalidCertificate(why)) => Unavailable::Misconfigured(format!(
                    "the certificate of {place} cannot be trusted, {}: correct `host`, name its authority with `ca_file`, or mend the server",
                    complaint(why)
                )),
                _ => Unavailable::Away(format!("{place}: TLS: {error}")),
            }
        })
    }
}

/// One connection to a server that has greeted us.
struct Session<'a> {
    smtp: &'a Smtp,
    wire: Wire,
    offers: Offers,
    sent: usize,
    usable: bool,
    /// The id of a message whose envelope was sent behind the last message's end. The answers to it
    /// are still to be read.
    ahead: Option<String>,
}

/// What became of an envelope: nothing, where the message may come.
type Announced = io::Result<Option<Delivery>>;

impl Session<'_> {
    fn command(&mut self, command: &impl std::fmt::Display) -> io::Result<Response> {
        self.wire.write(command.to_string().as_bytes())?;
        self.wire.reply(self.smtp.timeout)
    }

    fn expect_greeting(&mut self) -> io::Result<()> {
        let answer = self.wire.reply(self.smtp.timeout)?;
        if answer.is_positive() { Ok(()) } else { Err(io::Error::other(said(&answer))) }
    }

    fn greet(&mut self) -> io::Result<()> {
        let name = ClientId::default();
        let mut answer = self.command(&Ehlo::new(name.clone()))?;
        if is_permanent(&answer) {
            // A server from before 1995, or one that hides behind an old gateway.
            answer = self.command(&format!("HELO {name}\r\n"))?;
        }
        if !answer.is_positive() {
            return Err(io::Error::other(said(&answer)));
        }
        self.offers = Offers::read(&answer);
        Ok(())
    }

    fn authenticate(&mut self, login: &Login) -> io::Result<Result<(), Unavailable>> {
        let place = format!("{}:{}", self.smtp.host, self.smtp.port);
        let offered = |mechanism: &Authentication| self.offers.mechanisms.contains(mechanism);
        let wanted = match login.mechanism {
            Some(mechanism) => vec![mechanism],
            None => vec![Authentication::Plain, Authentication::Login],
        };
        let Some(chosen) = wanted.iter().copied().find(offered) else {
            return Ok(Err(Unavailable::Misconfigured(format!(
                "{place} offers none of the ways to log in that are configured: set `auth` to one of plain, login, xoauth2, or delete `user`"
            ))));
        };
        let mechanism = match chosen {
            Authentication::Plain => Mechanism::Plain,
            Authentication::Login => Mechanism::Login,
            Authentication::Xoauth2 => Mechanism::Xoauth2,
        };
        let credentials = login.credentials.clone();
        let begin = Auth::new(mechanism, credentials.clone(), None).map_err(io::Error::other)?;
        // Some servers repeat what they could not read.
        let mut secret = begin.to_string();
        let mut answer = self.command(&begin)?;
        // LOGIN asks twice. XOAUTH2 says why it refuses, and wants to be told that we heard it.
        for _ in 0..3 {
            if !answer.has_code(334) {
                break;
            }
            answer = if mechanism == Mechanism::Xoauth2 {
                self.command(&"\r\n")?
            } else {
                let next = Auth::new_from_response(mechanism, credentials.clone(), &answer);
                let next = next.map_err(io::Error::other)?;
                secret.push_str(&next.to_string());
                self.command(&next)?
            };
        }
        let said = cut(&without_secrets(&whole(&answer), &secret));
        Ok(match answer.is_positive() && !answer.has_code(334) {
            true => Ok(()),
            false if is_permanent(&answer) => Err(Unavailable::Misconfigured(format!(
                "{place} does not let `user` in: {said}; check `user` and the password"
            ))),
            false => Err(Unavailable::Away(format!("{place}: {said}"))),
        })
    }

    /// Why a message need not be offered to this server at all.
    fn impossible(&self, letter: &Letter<'_>) -> Option<Delivery> {
        if needs_utf8(letter) && !self.offers.utf8 {
            if !is_ascii(letter.from) {
                let reason = "the server takes no senders beyond ASCII (SMTPUTF8)".to_owned();
                return Some(Delivery::SenderRefused(reason));
            }
            let reason = "the server takes no addresses beyond ASCII (SMTPUTF8)".to_owned();
            return Some(Delivery::Unfit(reason));
        }
        let is_too_large = self.offers.size.is_some_and(|size| size < letter.bytes.len());
        let reason = || "the message is larger than the server takes (SIZE)".to_owned();
        is_too_large.then(|| Delivery::Unfit(reason()))
    }

    /// The envelope and the question whether the message may come.
    fn commands(&self, letter: &Letter<'_>) -> [String; 3] {
        let mut parameters = Vec::new();
        if self.offers.size.is_some() {
            parameters.push(MailParameter::Size(letter.bytes.len()));
        }
        if !letter.bytes.is_ascii() && self.offers.eight_bit {
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        if needs_utf8(letter) {
            parameters.push(MailParameter::SmtpUtfEight);
        }
        [
            Mail::new(Some(letter.from.clone()), parameters).to_string(),
            Rcpt::new(letter.to.clone(), Vec::new()).to_string(),
            Data.to_string(),
        ]
    }

    /// Announces a message, with all commands at once where the server takes that (RFC 2920).
    /// `Ok(None)` means that the message may come.
    fn announce(&mut self, letter: &Letter<'_>) -> Announced {
        let commands = self.commands(letter);
        if self.offers.pipelining {
            self.wire.write(commands.concat().as_bytes())?;
            self.answers(None)
        } else {
            self.answers(Some(&commands))
        }
    }

    /// Reads the answers to an envelope, whose commands are still to be sent, or were.
    fn answers(&mut self, commands: Option<&[String; 3]>) -> Announced {
        let mut outcome = None;
        for (number, step) in [Step::Mail, Step::Rcpt, Step::Data].into_iter().enumerate() {
            if let Some(commands) = commands {
                if outcome.is_some() {
                    break;
                }
                self.wire.write(commands[number].as_bytes())?;
            }
            let answer = self.wire.reply(self.smtp.timeout)?;
            if answer.has_code(421) {
                self.usable = false;
                return Ok(Some(outcome.unwrap_or_else(|| Delivery::Broken(said(&answer)))));
            }
            let go_on = match step {
                Step::Data => answer.has_code(354),
                _ => answer.is_positive() && !answer.has_code(354),
            };
            match (&outcome, go_on) {
                (None, false) => outcome = Some(refusal(step, &answer)),
                // It wants a message for nobody. The dot that RFC 2920 has a client send would make
                // an empty one; whoever hangs up instead has sent nothing.
                (Some(_), true) if step == Step::Data => {
                    self.usable = false;
                    return Ok(outcome);
                }
                _ => {}
            }
        }
        if outcome.is_some() {
            // Whatever becomes of the connection, the answer was given.
            self.usable = self.command(&Rset).is_ok_and(|answer| answer.is_positive());
        }
        Ok(outcome)
    }
}

/// The steps of a message before its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Mail,
    Rcpt,
    Data,
}

/// What an answer means that is none of the wanted ones.
fn refusal(step: Step, answer: &Response) -> Delivery {
    let reason = said(answer);
    if !is_permanent(answer) {
        // Before there is a recipient it is nothing about one.
        return match step {
            Step::Mail => Delivery::Broken(reason),
            Step::Rcpt | Step::Data => Delivery::Deferred(reason),
        };
    }
    let whole = whole(answer);
    let found = Status::first_in(&whole);
    let code = found.and_then(|(status, _)| status.closer());
    // Two details speak of the sender's address; servers say so when they have heard both.
    if matches!(code, Some((1, 7 | 8))) {
        return Delivery::SenderRefused(reason);
    }
    let address = found.is_some_and(|(status, words)| status.is_permanent(words));
    match step {
        // Too large, or not in these letters: the message's fault.
        Step::Mail if answer.has_code(552) || matches!(code, Some((3, 4) | (6, _))) => {
            Delivery::Refused { reason, address: false }
        }
        Step::Mail => Delivery::SenderRefused(reason),
        Step::Rcpt => Delivery::Refused { reason, address },
        // Where only words tell, they are about the text.
        Step::Data => {
            let address = address && code.is_some();
            Delivery::Refused { reason, address }
        }
    }
}

impl Connection for Session<'_> {
    fn begin(&mut self, letter: &Letter<'_>) -> Result<(), Delivery> {
        let announced = match self.ahead.take() {
            Some(id) if id == letter.message_id => self.answers(None),
            // The server waits for a message that does not come.
            Some(_) => Err(io::Error::other("another message was announced")),
            None => match self.impossible(letter) {
                Some(delivery) => return Err(delivery),
                None => self.announce(letter),
            },
        };
        let text = announced.and_then(|outcome| match outcome {
            None => self.wire.write(&stuffed(letter.bytes)).map(|()| None),
            outcome => Ok(outcome),
        });
        match text {
            Ok(None) => Ok(()),
            Ok(Some(outcome)) => Err(outcome),
            Err(error) => {
                self.usable = false;
                Err(Delivery::Broken(error.to_string()))
            }
        }
    }

    /// Behind the dot the next envelope may stand (RFC 2920 section 3.1): the dot is a command, and
    /// its answer comes first.
    fn end(&mut self, _letter: &Letter<'_>, next: Option<&Letter<'_>>) -> Delivery {
        let next = next.filter(|next| self.offers.pipelining && self.impossible(next).is_none());
        let mut last = ".\r\n".to_owned();
        last.extend(next.map(|next| self.commands(next).concat()));
        // The last moment at which it is certain that nothing was taken.
        let quiet = self.wire.is_quiet().and_then(|quiet| {
            if quiet {
                return Ok(());
            }
            Err(io::Error::other(said(&self.wire.reply(self.smtp.timeout)?)))
        });
        if let Err(error) = quiet {
            self.usable = false;
            return Delivery::Broken(error.to_string());
        }
        let answer = self
            .wire
            .write(last.as_bytes())
            .and_then(|()| self.wire.reply(self.smtp.timeout * AFTER_THE_DOT));
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.usable = false;
                return Delivery::InDoubt(error.to_string());
            }
        };
        self.usable = !answer.has_code(421);
        self.ahead = next.map(|next| next.message_id.to_owned());
        match answer.code().severity {
            Severity::PositiveCompletion => {
                self.sent += 1;
                Delivery::Accepted
            }
            Severity::TransientNegativeCompletion => Delivery::Deferred(said(&answer)),
            Severity::PermanentNegativeCompletion => refusal(Step::Data, &answer),
            Severity::PositiveIntermediate => {
                self.usable = false;
                Delivery::InDoubt(said(&answer))
            }
        }
    }

    fn is_usable(&self) -> bool {
        self.usable
    }

    fn is_used(&self) -> bool {
        self.sent > 0
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // To a server that waits for a message, a farewell would be the beginning of it.
        if self.usable && self.ahead.is_none() {
            // The server knows that we are done; its farewell changes nothing.
            let _ = self.wire.write(Quit.to_string().as_bytes());
        }
    }
}

fn is_permanent(answer: &Response) -> bool {
    answer.code().severity == Severity::PermanentNegativeCompletion
}

fn needs_utf8(letter: &Letter<'_>) -> bool {
    !is_ascii(letter.from) || !is_ascii(letter.to)
}

fn is_ascii(address: &Address) -> bool {
    AsRef::<str>::as_ref(address).is_ascii()
}

/// What a server said to a log-in, without what it was sent, as it was written and as it was meant.
fn without_secrets(said: &str, sent: &str) -> String {
    let words = || sent.split_ascii_whitespace().flat_map(|word| [word, word.trim_matches('=')]);
    let meant = words().filter_map(|word| STANDARD.decode(word).ok());
    let meant: Vec<String> = meant.filter_map(|bytes| String::from_utf8(bytes).ok()).collect();
    let parts = meant.iter().flat_map(|text| text.split(['\0', '\u{1}', ' ', '=']));
    let mut secrets: Vec<&str> = words().chain(parts).filter(|part| part.len() > 3).collect();
    // The longest first: others may be parts of it. The names of mechanisms are no secret.
    secrets.sort_unstable_by_key(|part| std::cmp::Reverse(part.len()));
    secrets.retain(|part| !["AUTH", "PLAIN", "LOGIN", "XOAUTH2", "user", "auth"].contains(part));
    let said = secrets.iter().fold(said.to_owned(), |said, secret| said.replace(secret, "…"));
    // Or a part of it, where the server cuts what it repeats.
    let is_part = |word: &&str| word.len() > 7 && secrets.iter().any(|s| s.contains(*word));
    let parts: Vec<&str> = said.split_ascii_whitespace().filter(is_part).collect();
    parts.into_iter().fold(said.clone(), |said, part| said.replace(part, "…"))
}

/// What a server said, on one line that can be shown.
fn said(answer: &Response) -> String {
    cut(&whole(answer))
}

fn whole(answer: &Response) -> String {
    let text: Vec<&str> = answer.message().collect();
    format!("{} {}", answer.code(), text.join(" "))
}

fn cut(said: &str) -> String {
    let shown: String = said.chars().filter(|c| !c.is_control()).take(200).collect();
    shown.trim_end().to_owned()
}

/// The message as it goes over the wire, without the dot that ends it (RFC 5321 section 4.5.2).
fn stuffed(message: &[u8]) -> Cow<'_, [u8]> {
    // Most messages go as they are.
    let is_plain = message.ends_with(b"\r\n")
        && !message.starts_with(b".")
        && memmem::find(message, b"\n.").is_none();
    if is_plain {
        return Cow::Borrowed(message);
    }
    let mut bytes = Vec::with_capacity(message.len() + 16);
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b".") {
            bytes.push(b'.');
        }
        bytes.extend_from_slice(line);
    }
    if !bytes.ends_with(b"\r\n") {
        bytes.extend_from_slice(b"\r\n");
    }
    Cow::Owned(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(text: &str) -> Response {
        text.parse().unwrap()
    }

    #[test]
    fn offers_are_read_however_they_are_written() {
        let offers = Offers::read(&response(
            "250-mx.example.org\r\n250-size 1000\r\n250-Pipelining\r\n250-AUTH=PLAIN LOGIN\r\n250-AUTH XOAUTH2 CRAM-MD5\r\n250 8BITMIME\r\n",
        ));
        assert_eq!(offers.size, Some(1000));
        assert!(offers.pipelining && offers.eight_bit && !offers.utf8 && !offers.starttls);
        assert_eq!(offers.mechanisms.len(), 3);
        assert_eq!(Offers::read(&response("250-x\r\n250 SIZE 0\r\n")).size, None);
    }

    #[test]
    fn a_server_that_repeats_a_log_in_tells_nobody() {
        // jobs, s3cret-Passw0rd
        let sent = "AUTH PLAIN AGpvYnMAczNjcmV0LVBhc3N3MHJk\r\n";
        for said in [
            "501 5.5.2 cannot decode: AUTH PLAIN AGpvYnMAczNjcmV0LVBhc3N3MHJk",
            "535 no s3cret-Passw0rd for jobs",
            "535 AGpvYnMAczNjcmV0LVBhc3N3MHJk",
        ] {
            let shown = without_secrets(said, sent);
            assert!(!shown.contains("s3cret") && !shown.contains("AGpv"), "{shown}");
            assert!(shown.starts_with(&said[..3]), "{shown}");
        }
        let token = "c2VjcmV0".repeat(100);
        let said = format!("501 cannot decode {}", &token[..150]);
        let shown = without_secrets(&said, &format!("AUTH XOAUTH2 {token}\r\n"));
        assert!(!shown.contains("c2Vj"), "{shown}");
        assert_eq!(
            without_secrets("535 5.7.8 AUTH PLAIN refused", sent),
            "535 5.7.8 AUTH PLAIN refused"
        );
    }

    #[test]
    fn lines_that_begin_with_a_dot_get_another() {
        for (message, sent) in [
            (".a\r\nb.\r\n..\r\n", "..a\r\nb.\r\n...\r\n"),
            ("a\r\n.\r\n", "a\r\n..\r\n"),
            ("a", "a\r\n"),
            ("a.\r\n b..\r\n", "a.\r\n b..\r\n"),
        ] {
            assert_eq!(stuffed(message.as_bytes()), sent.as_bytes());
        }
    }

    #[test]
    fn only_what_speaks_of_the_address_counts_against_it() {
        let at = |step, text: &str| refusal(step, &response(&format!("{text}\r\n")));
        let refused = |text: &str, address| Delivery::Refused { reason: text.to_owned(), address };
        for (text, address) in [
            ("550 5.1.1 no such user", true),
            ("550 no such user", true),
            ("552 5.2.2 mailbox full", false),
            ("552 5.2.3 message too long", false),
            ("550 5.2.1 mailbox disabled", true),
            ("550 5.1.90 you have reached your daily limit", false),
            ("550 5.1.0 <jobs@example.org>: Sender address rejected: User unknown", false),
            ("554 5.7.1 relay access denied", false),
            ("554 no", false),
            ("550 relay not permitted", false),
            ("550 Domain example.org has exceeded the max emails per hour", false),
            ("550 Access denied", false),
            ("550 Connections from your IP address are not accepted here", false),
            ("550 <journalist@dns.example.org>: user unknown", true),
            ("550 pirate@example.org... User unknown", true),
            (
                "550 <a@b.example.org>: Recipient address rejected: User unknown in local table",
                true,
            ),
            ("553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)", false),
            ("550 Requested action not taken: mailbox unavailable [5.1.1]", true),
        ] {
            assert_eq!(at(Step::Rcpt, text), refused(text, address));
        }
        assert!(matches!(at(Step::Rcpt, "451 4.7.1 greylisted"), Delivery::Deferred(_)));
        assert!(matches!(at(Step::Mail, "550 5.7.1 no"), Delivery::SenderRefused(_)));
        assert!(matches!(at(Step::Rcpt, "550 5.1.8 who?"), Delivery::SenderRefused(_)));
        assert!(matches!(at(Step::Mail, "452 4.3.1 full"), Delivery::Broken(_)));
        assert_eq!(at(Step::Mail, "552 5.3.4 too big"), refused("552 5.3.4 too big", false));
        assert_eq!(at(Step::Data, "554 5.6.0 spam"), refused("554 5.6.0 spam", false));
        assert_eq!(at(Step::Data, "550 unknown user"), refused("550 unknown user", false));
        assert_eq!(at(Step::Data, "550 5.1.1 who?"), refused("550 5.1.1 who?", true));
    }
}
