//! Links that only the site can have made: what they name, for which purpose, and an HMAC of both.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use ring::hmac;
use subtle::ConstantTimeEq;

/// How many bytes of an HMAC a token has. An address of a page has to fit on a line, and 128 bits
/// are not guessed.
const PROOF: usize = 16;

/// What a link is for. One for one purpose is of no use for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To get off the list. It holds for ever.
    Unsubscribe,
    /// To change what one is told.
    Preferences,
    /// To confirm that one wants to be on the list.
    Confirm,
    /// To know what a message that comes back was about.
    Return,
    /// To tell a message from all others.
    Identity,
}

impl Purpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::Unsubscribe => "unsubscribe",
            Self::Preferences => "preferences",
            Self::Confirm => "confirm",
            Self::Return => "return",
            Self::Identity => "identity",
        }
    }
}

/// The site's keys.
#[derive(Clone)]
pub struct Keys {
    /// The newest last. There is always one: the first is the site's own secret, with the number 0.
    keys: Vec<(i64, hmac::Key)>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What they are is nobody's business.
        write!(out, "Keys({})", self.keys.len())
    }
}

impl Keys {
    /// The site's own secret, and the keys that were made since, by their numbers.
    pub fn new(secret: Vec<u8>, others: Vec<(i64, Vec<u8>)>) -> Self {
        let all = std::iter::once((0, secret)).chain(others);
        let key = |value: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, value);
        Self { keys: all.map(|(number, value)| (number, key(&value))).collect() }
    }

    /// A token that names something for a purpose.
    pub fn token(&self, purpose: Purpose, what: &str) -> String {
        let Some((number, key)) = self.keys.last() else { return String::new() };
        let proof = hmac::sign(key, said(purpose, what).as_bytes());
        let proof = URL_SAFE_NO_PAD.encode(proof.as_ref().get(..PROOF).unwrap_or_default());
        let named = URL_SAFE_NO_PAD.encode(what);
        // Those of the first key have no number.
        if *number == 0 { format!("{named}.{proof}") } else { format!("{named}.{proof}.{number}") }
    }

    /// What a token names, if the site made it for that purpose.
    pub fn named(&self, purpose: Purpose, token: &str) -> Option<String> {
        let mut parts = token.split('.');
        let (named, proof, number) = (parts.next()?, parts.next()?, parts.next());
        if parts.next().is_some() {
            return None;
        }
        let number = number.map_or(Some(0), |number| number.parse().ok())?;
        let what = String::from_utf8(URL_SAFE_NO_PAD.decode(named).ok()?).ok()?;
        let proof = URL_SAFE_NO_PAD.decode(proof).ok()?;
        let (_, key) = self.keys.iter().find(|(known, _)| *known == number)?;
        is_proof(key, &said(purpose, &what), &proof).then_some(what)
    }

    /// A token that names somebody who asked to subscribe at an instant.
    pub fn confirmation(&self, recipient: &str, asked_at: DateTime<Utc>) -> String {
        let instant = asked_at.timestamp_nanos_opt().unwrap_or_default();
        self.token(Purpose::Confirm, &format!("{recipient}\n{instant}"))
    }

    /// Whom such a token names, and when they asked.
    pub fn confirmed(&self, token: &str) -> Option<(String, DateTime<Utc>)> {
        let named = self.named(Purpose::Confirm, token)?;
        let (recipient, instant) = named.split_once('\n')?;
        Some((recipient.to_owned(), DateTime::from_timestamp_nanos(instant.parse().ok()?)))
    }

    /// What tells one thing from all others, the same whichever keys were made since, and nobody
    /// else can say beforehand: 32 hexadecimal digits.
    pub fn identity(&self, what: &str) -> String {
        let Some((_, key)) = self.keys.first() else { return String::new() };
        let proof = hmac::sign(key, said(Purpose::Identity, what).as_bytes());
        proof.as_ref().iter().take(PROOF).map(|byte| format!("{byte:02x}")).collect()
    }

    /// A short proof, in letters and digits that survive mail servers, of an address that messages
    /// come back to.
    pub fn short_proof(&self, what: &str) -> String {
        let Some((_, key)) = self.keys.last() else { return String::new() };
        short(key, what)
    }

    /// Whether the site made such a proof.
    pub fn is_short_proof(&self, what: &str, proof: &str) -> bool {
        self.keys.iter().any(|(_, key)| short(key, what).as_bytes().ct_eq(proof.as_bytes()).into())
    }
}

fn said(purpose: Purpose, what: &str) -> String {
    format!("{}\n{what}", purpose.as_str())
}

/// Compares in a time that does not tell where the difference is.
fn is_proof(key: &hmac::Key, said: &str, proof: &[u8]) -> bool {
    let right = hmac::sign(key, said.as_bytes());
    let right = right.as_ref().get(..PROOF).unwrap_or_default();
    right.ct_eq(proof).into()
}

fn short(key: &hmac::Key, what: &str) -> String {
    let proof = hmac::sign(key, said(Purpose::Return, what).as_bytes());
    proof.as_ref().iter().take(5).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys() -> Keys {
        Keys::new(b"s".to_vec(), vec![(1, b"t".to_vec())])
    }

    #[test]
    fn a_token_is_for_one_purpose_and_of_one_site() {
        let token = keys().token(Purpose::Unsubscribe, "a@b");
        assert_eq!(keys().named(Purpose::Unsubscribe, &token).as_deref(), Some("a@b"));
        for purpose in [Purpose::Preferences, Purpose::Confirm, Purpose::Return] {
            assert_eq!(keys().named(purpose, &token), None);
        }
        let other = Keys::new(b"s".to_vec(), vec![(1, b"u".to_vec())]);
        assert_eq!(other.named(Purpose::Unsubscribe, &token), None);
    }

    #[test]
    fn what_an_old_key_made_goes_on_to_hold() {
        let before = Keys::new(b"s".to_vec(), Vec::new());
        let token = before.token(Purpose::Unsubscribe, "a@b");
        assert_eq!(keys().named(Purpose::Unsubscribe, &token).as_deref(), Some("a@b"));
        assert_ne!(keys().token(Purpose::Unsubscribe, "a@b"), token);
        assert!(keys().is_short_proof("a@b", &before.short_proof("a@b")));
    }

    #[test]
    fn a_confirmation_names_the_instant_too() {
        let at = DateTime::from_timestamp_nanos(1_234_567_890_123_456_789);
        let token = keys().confirmation("a@b", at);
        assert_eq!(keys().confirmed(&token), Some(("a@b".to_owned(), at)));
    }

    proptest! {
        #[test]
        fn nothing_else_is_a_token(token in "[a-zA-Z0-9._=-]{0,80}|.{0,40}", at in 0_usize..60) {
            let _ = keys().confirmed(&token);
            prop_assert_eq!(keys().named(Purpose::Unsubscribe, &token), None);
            // One character changed.
            let mut real = keys().token(Purpose::Unsubscribe, "a@example.org");
            let at = at % real.len();
            let other = if real.as_bytes()[at] == b'A' { "B" } else { "A" };
            real.replace_range(at..=at, other);
            prop_assert!(keys().named(Purpose::Unsubscribe, &real).is_none_or(|w| w != "a@example.org"));
        }
    }
}
