//! The ways by which a message leaves, and what became of it.

use lettre::Address;

mod connection;
pub mod file;
pub mod sendmail;
pub mod smtp;
pub mod trust;

pub use file::Outbox;
pub use sendmail::Sendmail;
pub use smtp::Smtp;

/// A message in its envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter<'a> {
    /// Where complaints about it go.
    pub from: &'a Address,
    /// To whom.
    pub to: &'a Address,
    /// The day that it is for.
    pub day: chrono::NaiveDate,
    /// Its id.
    pub message_id: &'a str,
    /// The message, lines ended by CRLF.
    pub bytes: &'a [u8],
}

/// What became of a message. Which of these it is depends on when something failed: only after its
/// last byte is it unknown whether a message was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// It was taken.
    Accepted,
    /// It was not taken now, and may be later.
    Deferred(String),
    /// It was refused for good.
    Refused {
        /// What the server said.
        reason: String,
        /// Whether it was the address that was refused, whatever the message.
        address: bool,
    },
    /// It was not offered: the server has said that it takes nothing of its kind.
    Unfit(String),
    /// The server takes nothing from this sender.
    SenderRefused(String),
    /// The connection failed before the message was complete, or the server was not ready for any:
    /// it was not taken, and that is nothing about the recipient.
    Broken(String),
    /// The connection failed between the message's end and the answer.
    InDoubt(String),
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// It may work later.
    #[error("{0}")]
    Away(String),
    /// It will not, until somebody changes the settings or the server.
    #[error("{0}")]
    Misconfigured(String),
}

/// A way by which messages leave.
pub trait Transport: Sync {
    /// How many connections may be used at once.
    fn connections(&self) -> usize;

    /// Opens a connection.
    ///
    /// # Errors
    /// When nothing can be sent now.
    fn connect(&self) -> Result<Box<dyn Connection + '_>, Unavailable>;
}

/// A connection, over which messages leave one after another: each is begun, and ended.
pub trait Connection {
    /// Sends a message except its end. It cannot be taken before [`Connection::end`], and is
    /// dropped where that never comes.
    ///
    /// # Errors
    /// What became of it, where it does not go so far.
    fn begin(&mut self, _letter: &Letter<'_>) -> Result<(), Delivery> {
        Ok(())
    }

    /// Ends the message that was begun: from here on it may have been taken. What comes `next` may
    /// be announced in the same breath, where the other side takes that; it is begun as any other.
    fn end(&mut self, letter: &Letter<'_>, next: Option<&Letter<'_>>) -> Delivery;

    /// Whether another message can follow.
    fn is_usable(&self) -> bool {
        true
    }

    /// Whether a message was sent over it before: what fails then may only be its age.
    fn is_used(&self) -> bool {
        false
    }
}
