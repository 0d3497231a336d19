//! Text that comes from people, made fit for XML, HTML, mail headers and file names.

use std::borrow::Cow;
use std::sync::LazyLock;

use icu_normalizer::ComposingNormalizerBorrowed;
use memchr_n::{ByteSet, MemchrN};

mod address;
mod escape;
mod markup;

pub use address::{
    MAX_SLUG, hidden, is_address, is_deliverable, mailto, slug, starred, strict, term,
    without_addresses,
};
pub use escape::{JSON, JSON_IN_SCRIPT, References, STAND_IN, STAND_IN_JSON, escaped, filled};
pub use markup::{part_of_page, without_markup};

/// Whether XML 1.0 and HTML both allow a character in a document: no controls but tab and line
/// ends, no noncharacters (XML 1.0 section 2.2; HTML, "parse errors"). The replacement character is
/// none either: it stands for a letter that was lost on the way here.
pub fn is_allowed(c: char) -> bool {
    if c.is_ascii() {
        return matches!(c, ' '..='~' | '\t' | '\n' | '\r');
    }
    let code = u32::from(c);
    !c.is_control()
        && !(0xFDD0..=0xFDEF).contains(&code)
        && code & 0xFFFE != 0xFFFE
        && c != char::REPLACEMENT_CHARACTER
}

/// Whether a document may contain every character of a text.
pub fn is_all_allowed(text: &str) -> bool {
    // Nearly every text is told by its bytes: controls are below 0x20, 0x7F, and between
    // 0xC2 0x80 and 0xC2 0x9F; noncharacters begin with 0xEF or more.
    static SUSPICIOUS: LazyLock<MemchrN> = LazyLock::new(|| {
        let mut set = ByteSet::from_bytes(&[0x7F, 0xC2]);
        set.add_range(0..=0x1F);
        set.add_range(0xEF..=0xFF);
        MemchrN::from_byte_set(set - ByteSet::from_bytes(b"\t\n\r"))
    });
    let bytes = text.as_bytes();
    let is_told = |at: usize| matches!(bytes.get(at..at + 2), Some([0xC2, 0xA0..=0xFF]));
    SUSPICIOUS.iter(bytes).all(is_told) || text.chars().all(is_allowed)
}

/// Whether a character turns the direction of what follows it. In one line of text that others
/// are put next to (a title in a list, a subject) such a character would turn their text, too.
pub fn turns_direction(c: char) -> bool {
    matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// The text without characters that no document may contain.
pub fn allowed(text: &str) -> Cow<'_, str> {
    if is_all_allowed(text) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.chars().filter(|c| is_allowed(*c)).collect())
    }
}

/// The text in Unicode's composed form (NFC).
pub fn composed(text: String) -> String {
    if is_told_composed(text.as_bytes()) {
        return text;
    }
    match ComposingNormalizerBorrowed::new_nfc().normalize(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(composed) => composed,
    }
}

/// A page in that form. Its markup stays as it is, whatever mark the text behind it begins with: `>`
/// and U+0338 would become one character, which ends no tag. Nor is a script touched, where a letter
/// may be part of what stands for another character.
pub fn composed_page(html: String) -> String {
    if is_told_composed(html.as_bytes()) {
        return html;
    }
    let normalizer = ComposingNormalizerBorrowed::new_nfc();
    let mut composed = String::with_capacity(html.len());
    let mut rest = html.as_str();
    while let Some(at) = rest.find(['<', '>', '=']) {
        normalizer.normalize_to(&rest[..at], &mut composed).unwrap_or_default();
        let markup = &rest[at..];
        let script = if markup.starts_with("<script") { markup.find("</script") } else { None };
        let end = script.unwrap_or(1);
        composed.push_str(&markup[..end]);
        rest = &markup[end..];
    }
    normalizer.normalize_to(rest, &mut composed).unwrap_or_default();
    composed
}

/// Whether the bytes of a text tell that it is composed: those of nearly every text do.
fn is_told_composed(bytes: &[u8]) -> bool {
    // What is below U+0300 is composed already.
    static SUSPICIOUS: LazyLock<MemchrN> = LazyLock::new(|| MemchrN::from_range(0xCC..));
    // And so are dashes, quotation marks and the like (U+2010 to U+203F), and the euro sign (U+20AC).
    let is_told = |at: usize| {
        matches!(bytes.get(at..at + 3), Some([0xE2, 0x80, 0x90..=0xFF] | [0xE2, 0x82, 0xAC]))
    };
    SUSPICIOUS.iter(bytes).all(is_told)
}

/// One line: white space collapsed, nothing that is not allowed, no turn of direction.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    let mut between = false;
    for c in text.chars() {
        // A no-break space is meant to stay.
        if !c.is_ascii_graphic() && c.is_whitespace() && !matches!(c, '\u{A0}' | '\u{202F}') {
            between = true;
        } else if c.is_ascii_graphic() || (is_allowed(c) && !turns_direction(c)) {
            if between && !line.is_empty() {
                line.push(' ');
            }
            between = false;
            line.push(c);
        }
    }
    if line.trim().len() == line.len() { line } else { line.trim().to_owned() }
}

/// Whether a language is written from right to left, by its tag: by its script, where that is named.
pub fn is_right_to_left(language: &str) -> bool {
    let mut parts = language.split('-');
    let name = parts.next().unwrap_or_default();
    match parts.find(|part| part.len() == 4 && part.bytes().all(|b| b.is_ascii_alphabetic())) {
        Some(script) => ["Adlm", "Arab", "Hebr", "Mand", "Nkoo", "Rohg", "Samr", "Syrc", "Thaa"]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(script)),
        None => matches!(
            name,
            "ar" | "arc"
                | "azb"
                | "ckb"
                | "dv"
                | "fa"
                | "glk"
                | "he"
                | "ks"
                | "lrc"
                | "mzn"
                | "nqo"
                | "pnb"
                | "ps"
                | "sd"
                | "syr"
                | "ug"
                | "ur"
                | "yi"
        ),
    }
}

/// Letters without accents, case or kind of separator, to compare what people write in many ways.
pub fn folded(text: &str) -> String {
    any_ascii::any_ascii(text.trim()).to_lowercase().replace([' ', '-'], "_")
}

/// The beginning of a text, cut between words, at most `max` characters with the ellipsis.
pub fn shortened(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let head: String = text.chars().take(max.saturating_sub(1)).collect();
    let next = text[head.len()..].chars().next();
    let cut = match head.rfind(char::is_whitespace) {
        _ if next.is_some_and(char::is_whitespace) => &head,
        Some(at) if at > head.len() / 2 => &head[..at],
        _ => &head,
    };
    format!("{}…", cut.trim_end_matches(|c: char| !c.is_alphanumeric() && c != ')'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest::proptest! {
        #[test]
        fn bytes_tell_what_is_allowed(
            // Wherever they stand in a piece, and in the last one.
            before in 0_usize..70,
            text in "([a\u{1}\u{7F}é\u{80}\u{9F}\u{A0}\u{FDD0}\u{FFFD}\u{FFFE}\u{1FFFF}\n😀]|.){0,9}",
            behind in 0_usize..40,
        ) {
            let text = ["a".repeat(before), text, "a".repeat(behind)].concat();
            proptest::prop_assert_eq!(is_all_allowed(&text), text.chars().all(is_allowed));
        }
    }

    #[test]
    fn one_line_is_one_line() {
        assert_eq!(one_line("  a\r\n b\u{0}\tc\u{202E}d "), "a b cd");
        assert_eq!(one_line("Ouvert\u{A0}: oui"), "Ouvert\u{A0}: oui");
    }

    #[test]
    fn a_script_says_more_than_a_language() {
        for (language, expected) in
            [("ar", true), ("ar-TN", true), ("ar-Latn", false), ("az-Arab", true), ("fr", false)]
        {
            assert_eq!(is_right_to_left(language), expected, "{language}");
        }
    }

    #[test]
    fn texts_are_cut_between_words() {
        assert_eq!(shortened("un deux trois", 13), "un deux trois");
        assert_eq!(shortened("un deux, trois", 10), "un deux…");
        assert_eq!(shortened("ééééééééééé", 5), "éééé…");
    }

    proptest! {

        #[test]
        fn a_composed_text_is_what_unicode_says(text in "[a-zé\u{300}\u{1100}\u{1161} ’«»€\u{2000}-\u{2130}]*", any in any::<String>()) {
            for text in [text, any] {
                let composed_by_unicode = ComposingNormalizerBorrowed::new_nfc().normalize(&text).into_owned();
                prop_assert_eq!(composed(text), composed_by_unicode);
            }
        }

        #[test]
        fn composing_leaves_markup_alone(
            texts in prop::collection::vec("[ae\u{338}\u{301}\u{327}\u{45}\u{C5}]{0,4}", 4),
        ) {
            let [a, b, c, d] = &texts[..] else { unreachable!() };
            let script = format!("<script type=\"x\">\"\\u003e{a}\\n{b}\"</script>");
            let page = composed_page(format!("<p title=\"{a}\">{b}</p>{script}{c}<br>{d}"));
            let [na, nb, nc, nd] = [a, b, c, d].map(|text| composed(text.clone()));
            prop_assert_eq!(page, format!("<p title=\"{na}\">{nb}</p>{script}{nc}<br>{nd}"));
        }

        #[test]
        fn a_shortened_text_is_short(text in any::<String>(), max in 1_usize..50) {
            prop_assert!(shortened(&text, max).chars().count() <= max);
        }
    }
}
