//! What all recipients of the same postings in the same language are told, put together once: a message
//! is its pieces, with what differs between them.

use std::ops::Range;

use lettre::message::Body;
use lettre::message::header::ContentTransferEncoding;
use memchr::memmem;

use super::Error;
use crate::text;

/// From how many bytes on a part of a message is worth being shared.
const MIN_SHARED: usize = 256;

/// A part of a message that others have in common with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// Which bytes of the message it is.
    pub range: Range<usize>,
    /// Their BLAKE3 hash.
    pub fingerprint: [u8; 32],
}

/// What all recipients of the same postings in the same language are told. Only the address under
/// which each unsubscribes differs.
pub(super) struct Letter {
    pub(super) subject: String,
    pub(super) plain: Text,
    pub(super) html: Text,
    pub(super) frame: Frame,
}

/// What stands around what differs in the messages of a letter, in the order of [`Slot`].
pub(super) struct Frame(Vec<Vec<u8>>);

/// What differs, as it stands in a message.
pub(super) struct Own<'a> {
    pub(super) to: &'a str,
    pub(super) message_id: &'a str,
    pub(super) unsubscribe: &'a str,
    pub(super) boundary: &'a str,
    /// The addresses for the gaps, encoded for the text and for HTML.
    pub(super) addresses: [Vec<Vec<u8>>; 2],
}

/// Places in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    To,
    MessageId,
    Unsubscribe,
    Boundary,
    Plain,
    Html,
}

/// What differs, in the order in which it stands in a message.
const SLOTS: [Slot; 9] = [
    Slot::To,
    Slot::MessageId,
    Slot::Unsubscribe,
    Slot::Boundary,
    Slot::Boundary,
    Slot::Plain,
    Slot::Boundary,
    Slot::Html,
    Slot::Boundary,
];

/// What stands in a slot while the library puts a message together: as long as the boundaries of
/// messages, and for everything else what no message contains.
pub(super) const BOUNDARY: &str = "=_00000000000000000000000000000000";

impl Slot {
    fn stand_in(self) -> &'static str {
        if self == Self::Boundary { BOUNDARY } else { text::STAND_IN }
    }
}

impl Frame {
    /// Takes apart a message that has a stand-in in every slot.
    pub(super) fn of(message: &[u8]) -> Result<Self, Error> {
        let mut rest = message;
        let mut pieces = Vec::with_capacity(SLOTS.len() + 1);
        for slot in SLOTS {
            let stand_in = slot.stand_in().as_bytes();
            let at = memmem::find(rest, stand_in)
                .ok_or_else(|| Error::Message(format!("there is no room for {slot:?}")))?;
            pieces.push(rest[..at].to_vec());
            rest = &rest[at + stand_in.len()..];
        }
        pieces.push(rest.to_vec());
        Ok(Self(pieces))
    }
}

impl Letter {
    /// The message for one recipient, and what is in those of all.
    pub(super) fn message(&self, own: &Own<'_>) -> (Vec<u8>, Vec<Shared>) {
        let length = |pieces: &[Vec<u8>]| pieces.iter().map(Vec::len).sum::<usize>();
        let all = [&self.frame.0[..], &self.plain.encoded, &self.html.encoded].map(length);
        let mut message = Vec::with_capacity(all.iter().sum::<usize>() + 1_000);
        let mut shared = Vec::new();
        let mut pieces = self.frame.0.iter();
        for slot in SLOTS {
            message.extend_from_slice(pieces.next().map_or(&[], Vec::as_slice));
            let [plain, html] = &own.addresses;
            match slot {
                Slot::To => message.extend_from_slice(own.to.as_bytes()),
                Slot::MessageId => message.extend_from_slice(own.message_id.as_bytes()),
                Slot::Unsubscribe => message.extend_from_slice(own.unsubscribe.as_bytes()),
                Slot::Boundary => message.extend_from_slice(own.boundary.as_bytes()),
                Slot::Plain => self.plain.write(plain, &mut message, &mut shared),
                Slot::Html => self.html.write(html, &mut message, &mut shared),
            }
        }
        message.extend_from_slice(pieces.next().map_or(&[], Vec::as_slice));
        (message, shared)
    }
}

/// A text with a gap wherever an address of the recipient's own belongs, and what stands between the
/// gaps, encoded.
pub(super) struct Text {
    written: Vec<String>,
    /// Which of the addresses belongs after each of these.
    pub(super) gaps: Vec<usize>,
    encoded: Vec<Vec<u8>>,
    fingerprints: Vec<[u8; 32]>,
}

/// What stands for the addresses to unsubscribe and to change what one is told while a text is
/// rendered: twice two of them, to see that a template writes whatever it is given.
pub(super) const GAPS: [[&str; 2]; 2] = [
    ["https://gap.invalid/?a=0&b=9f3c61d2", "https://gap.invalid/?c=0&d=5be10c37"],
    ["https://gap.invalid/?a=1&b=77e0b5a4", "https://gap.invalid/?c=1&d=c2498f6e"],
];

impl Text {
    /// A text with a gap wherever one of these stands in it.
    pub(super) fn new(rendered: &str, stand_ins: &[&str]) -> Result<Self, Error> {
        let mut written = Vec::new();
        let mut gaps = Vec::new();
        let mut rest = rendered;
        let next = |rest: &str| {
            let found = stand_ins.iter().enumerate();
            found.filter_map(|(gap, stand_in)| Some((rest.find(stand_in)?, gap))).min()
        };
        while let Some((at, gap)) = next(rest) {
            written.push(rest[..at].to_owned());
            gaps.push(gap);
            rest = &rest[at + stand_ins[gap].len()..];
        }
        written.push(rest.to_owned());
        let encoded: Vec<_> = written.iter().map(|text| encoded(text)).collect::<Result<_, _>>()?;
        let fingerprints = encoded.iter().map(|part| blake3::hash(part).into()).collect();
        Ok(Self { written, gaps, encoded, fingerprints })
    }

    /// The text with these addresses.
    pub(super) fn filled(&self, addresses: &[&str]) -> String {
        let mut filled = String::new();
        let addresses =
            self.gaps.iter().map(|gap| addresses.get(*gap).copied().unwrap_or_default());
        for (part, address) in self.written.iter().zip(addresses.chain([""])) {
            filled.push_str(part);
            filled.push_str(address);
        }
        filled
    }

    /// Whether another text differs in its gaps only.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.written == other.written && self.gaps == other.gaps
    }

    /// The same, where nobody else is told it.
    pub(super) fn alone(self) -> Self {
        Self { fingerprints: Vec::new(), ..self }
    }

    /// Adds the text for the recipient with these addresses, encoded, and which parts of it are in
    /// the message of everybody who is told this, and worth being kept once.
    fn write(&self, addresses: &[Vec<u8>], message: &mut Vec<u8>, shared: &mut Vec<Shared>) {
        for (number, part) in self.encoded.iter().enumerate() {
            // Wherever an address begins, it has lines of its own: then it is encoded in the same way
            // for everybody, and what stands around it is encoded once.
            let gap = number.checked_sub(1).and_then(|before| self.gaps.get(before));
            let address = gap.and_then(|gap| addresses.get(*gap));
            if let Some(address) = address.filter(|address| !address.is_empty()) {
                soft_break(message);
                message.extend_from_slice(address);
            }
            if number > 0 && !part.is_empty() {
                soft_break(message);
            }
            let start = message.len();
            message.extend_from_slice(part);
            if let Some(fingerprint) = self.fingerprints.get(number)
                && part.len() >= MIN_SHARED
            {
                shared.push(Shared { range: start..message.len(), fingerprint: *fingerprint });
            }
        }
    }
}

/// Text in quoted-printable (RFC 2045, section 6.7): lines are short and bytes are ASCII, so that no
/// server has to change them.
pub(in crate::mail) fn encoded(text: &str) -> Result<Vec<u8>, Error> {
    Body::new_with_encoding(text.to_owned(), ContentTransferEncoding::QuotedPrintable)
        .map(Body::into_vec)
        .map_err(|_| Error::Message("the text cannot be encoded".to_owned()))
}

/// Ends a line of quoted-printable text that goes on in the next one. A line has at most 76
/// characters, and the sign that it goes on is one of them.
fn soft_break(text: &mut Vec<u8>) {
    const MAX_LINE: usize = 76;
    let start = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if text.len() == start {
        return;
    }
    if text.len() - start >= MAX_LINE {
        let is_escape = text.len() >= 3 && text.get(text.len() - 3) == Some(&b'=');
        let last = text.split_off(text.len() - if is_escape { 3 } else { 1 });
        text.extend_from_slice(b"=\r\n");
        text.extend_from_slice(&last);
    }
    text.extend_from_slice(b"=\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// Whatever stands around an address, it is read back, and no line is too long.
        #[test]
        fn a_text_with_gaps_is_read_back(
            parts in proptest::collection::vec("([ a-z=é€.]|\n|\t){0,200}", 1..4),
            address in "https://[a-zA-Z0-9é=&?._/-]{0,120}",
        ) {
            let [[gap, _], _] = GAPS;
            let text = Text::new(&parts.join(gap), &[gap]).unwrap();
            let mut written = Vec::new();
            text.write(&[encoded(&address).unwrap()], &mut written, &mut Vec::new());
            let encoded = String::from_utf8(written).unwrap();
            proptest::prop_assert!(encoded.split("\r\n").all(|line| line.len() <= 76), "{encoded}");
            let mode = quoted_printable::ParseMode::Strict;
            let read = quoted_printable::decode(&encoded, mode).unwrap();
            let meant = parts.join(&address).replace('\n', "\r\n");
            proptest::prop_assert_eq!(String::from_utf8(read).unwrap(), meant);
        }
    }
}
