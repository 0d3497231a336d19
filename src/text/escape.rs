//! Characters that a format cannot write as they are, and contents that are put in after a library wrote
//! what is around them.

use std::sync::OnceLock;

use memchr_n::MemchrN;

/// What is written instead of ASCII characters that cannot stand for themselves.
pub struct References {
    /// By byte; nothing for one that stands for itself.
    by: [&'static str; 256],
    /// Finds the others.
    finder: OnceLock<MemchrN>,
}

impl References {
    /// The table of some characters.
    ///
    /// # Panics
    /// Where one is not ASCII, or replaced by nothing: when the program is compiled.
    #[must_use]
    pub const fn new<const N: usize>(of: [(u8, &'static str); N]) -> Self {
        Self { by: [""; 256], finder: OnceLock::new() }.and(of)
    }

    /// The table with some characters more.
    ///
    /// # Panics
    /// Where one is not ASCII, or replaced by nothing: when the program is compiled.
    #[must_use]
    pub const fn and<const N: usize>(mut self, of: [(u8, &'static str); N]) -> Self {
        let mut at = 0;
        while at < N {
            let (byte, reference) = of[at];
            assert!(byte.is_ascii(), "a part of a character cannot be replaced");
            assert!(!reference.is_empty(), "what is replaced by nothing is not found");
            self.by[byte as usize] = reference;
            at += 1;
        }
        self
    }

    fn finder(&self) -> &MemchrN {
        let is_replaced = |byte: &u8| !self.by[usize::from(*byte)].is_empty();
        self.finder.get_or_init(|| (0..=u8::MAX).filter(is_replaced).collect())
    }
}

/// How JSON writes the characters that it cannot write as they are.
const IN_JSON: [(u8, &str); 5] =
    [(b'"', "\\\""), (b'\\', "\\\\"), (b'\n', "\\n"), (b'\r', "\\r"), (b'\t', "\\t")];

/// How JSON writes the characters of a text that a document may contain (RFC 8259 section 7), as
/// `serde_json` does.
pub static JSON: References = References::new(IN_JSON);

/// The same in a `script` element, which nothing in it may end.
pub static JSON_IN_SCRIPT: References =
    References::new(IN_JSON).and([(b'<', "\\u003c"), (b'>', "\\u003e")]);

/// The text with some ASCII characters replaced.
pub fn escaped(text: &str, references: &References) -> String {
    let mut escaped = String::with_capacity(text.len() + text.len() / 4);
    let mut from = 0;
    for at in references.finder().iter(text.as_bytes()) {
        escaped.push_str(&text[from..at]);
        escaped.push_str(references.by[usize::from(text.as_bytes()[at])]);
        from = at + 1;
    }
    escaped.push_str(&text[from..]);
    escaped
}

/// What stands for a posting's content while a library writes what is around it: a character that
/// no document may contain. The content is most of what there is to write, and libraries copy it
/// again and again.
pub const STAND_IN: &str = "\u{1}";
/// The same in JSON.
pub const STAND_IN_JSON: &str = "\\u0001";

/// Puts the content in its place, after and before what stands around it there. What has no such
/// place is left as it is.
pub fn filled(text: &str, (begin, stand_in, end): (&str, &str, &str), content: &str) -> String {
    match text.split_once(&[begin, stand_in, end].concat()) {
        Some((before, after)) => [before, begin, content, end, after].concat(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::allowed;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn json_is_what_serde_writes(text in any::<String>().prop_map(|text| allowed(&text).into_owned())) {
            prop_assert_eq!(format!("\"{}\"", escaped(&text, &JSON)), serde_json::to_string(&text).unwrap());
            let inner = escaped(&text, &JSON_IN_SCRIPT);
            prop_assert!(!inner.contains(['<', '>']));
            prop_assert_eq!(serde_json::from_str::<String>(&format!("\"{inner}\"")).unwrap(), text);
        }
    }
}
