//! From bytes to text: whatever the encoding, and only characters that a document may contain.

use std::sync::Arc;

use super::front_matter;
use crate::diagnostics::{Code, Diagnostic, Severity, Source, plural};
use crate::text;

/// A file's text.
pub struct Decoded {
    /// The text.
    pub source: Source,
    /// Whether it is the file's bytes, with nothing decoded or replaced.
    pub is_verbatim: bool,
}

/// The file's text. Whatever encoding it is in, the text that comes out has only characters that
/// a document may contain; those that it may not are replaced, byte for byte, by spaces. Its lines end with
/// LF or CRLF.
pub fn decode(path: &Arc<str>, bytes: &[u8], diagnostics: &mut Vec<Diagnostic>) -> Option<Decoded> {
    let decoded = decoded(path, bytes, diagnostics)?;
    let text = &decoded.source.text;
    // CR alone ends a line, too (YAML 1.2, section 5.4; CommonMark, section 2.1).
    let is_alone = |at: usize| text.as_bytes().get(at + 1) != Some(&b'\n');
    if !memchr::memchr_iter(b'\r', text.as_bytes()).any(is_alone) {
        return Some(decoded);
    }
    let ended = |(at, c)| if c == '\r' && is_alone(at) { '\n' } else { c };
    let text: String = text.char_indices().map(ended).collect();
    Some(Decoded { source: Source::new(path.clone(), text), is_verbatim: false })
}

fn decoded(path: &Arc<str>, bytes: &[u8], diagnostics: &mut Vec<Diagnostic>) -> Option<Decoded> {
    if let Some((encoding, _)) = encoding_rs::Encoding::for_bom(bytes) {
        let (text, _, _) = encoding.decode(bytes);
        let source = Source::new(path.clone(), text.into_owned());
        let message = if encoding == encoding_rs::UTF_8 {
            "the file begins with a byte-order mark".to_owned()
        } else {
            format!("the file is in {}", encoding.name())
        };
        let code =
            if encoding == encoding_rs::UTF_8 { Code::ByteOrderMark } else { Code::Encoding };
        diagnostics.push(
            Diagnostic::new(Severity::Warning, code, path.clone(), message)
                .at(&source, &(0..0))
                .help("save the file as UTF-8, without a byte-order mark"),
        );
        let source = printable(&source, diagnostics).unwrap_or(source);
        return Some(Decoded { source, is_verbatim: false });
    }
    if bytes.contains(&0) {
        let help = "only text files are read here; move this one somewhere else";
        let message = "the file is not a text";
        let source = Source::new(path.clone(), "");
        diagnostics.push(
            Diagnostic::new(Severity::Error, Code::NotText, path.clone(), message)
                .at(&source, &(0..0))
                .help(help),
        );
        return None;
    }
    // Nearly every file is what it should be.
    if let Ok(text) = simdutf8::basic::from_utf8(bytes) {
        let source = Source::new(path.clone(), text);
        return Some(match printable(&source, diagnostics) {
            None => Decoded { source, is_verbatim: true },
            Some(source) => Decoded { source, is_verbatim: false },
        });
    }
    let mut text = String::with_capacity(bytes.len());
    let mut first_bad = None;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            first_bad.get_or_insert(text.len());
            // What is no UTF-8 is what old editors write; the rest of the file may well be UTF-8.
            text.push_str(
                &encoding_rs::WINDOWS_1252.decode_without_bom_handling(chunk.invalid()).0,
            );
        }
    }
    let source = Source::new(path.clone(), text);
    if let Some(at) = first_bad {
        let end = source.text[at..].chars().next().map_or(at, |c| at + c.len_utf8());
        let message = "the file is not in UTF-8 and was read as Latin-1";
        diagnostics.push(
            Diagnostic::new(Severity::Warning, Code::Encoding, path.clone(), message)
                .at(&source, &(at..end))
                .help("save the file as UTF-8"),
        );
    }
    let source = printable(&source, diagnostics).unwrap_or(source);
    Some(Decoded { source, is_verbatim: false })
}

/// The text of a file that was decoded before, `verbatim` when nothing in it had to be changed.
pub fn again(path: &Arc<str>, bytes: &[u8], verbatim: bool) -> Option<Source> {
    if verbatim && let Ok(text) = simdutf8::basic::from_utf8(bytes) {
        return Some(Source::new(path.clone(), text));
    }
    decode(path, bytes, &mut Vec::new()).map(|decoded| decoded.source)
}

/// Whether a character was meant to end a line, and ends none for YAML.
fn ends_a_line(c: char) -> bool {
    matches!(c, '\u{B}' | '\u{C}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// A character in the front matter behind which a line of its own was meant to begin: read as a space,
/// its key would be lost in the value before.
fn swallows_a_key(text: &str) -> Option<(usize, char)> {
    let matter = text.match_indices("\n---").nth(usize::from(!text.starts_with("---")));
    let matter = &text[..matter.map_or(text.len(), |(end, _)| end)];
    let mut ends = matter.char_indices().filter(|(_, c)| ends_a_line(*c));
    ends.find(|(at, c)| {
        let rest = &matter[at + c.len_utf8()..];
        let line = rest.split(|c: char| c == '\n' || ends_a_line(c)).next().unwrap_or_default();
        front_matter::begins_with_known_key(line)
    })
}

/// The text with what does not belong in one replaced; nothing where there is no such thing.
fn printable(source: &Source, diagnostics: &mut Vec<Diagnostic>) -> Option<Source> {
    let bytes = source.text.as_bytes();
    let has_ends = [&b"\xE2\x80\xA8"[..], b"\xE2\x80\xA9"]
        .iter()
        .any(|end| memchr::memmem::find(bytes, end).is_some());
    let is_all_allowed = text::is_all_allowed(&source.text);
    if is_all_allowed && !has_ends {
        return None;
    }
    if let Some((at, c)) = swallows_a_key(&source.text) {
        let message =
            format!("the character U+{:04X} ends no line of the front matter", u32::from(c));
        diagnostics.push(
            Diagnostic::new(Severity::Error, Code::ControlCharacter, source.path.clone(), message)
                .at(source, &(at..at + c.len_utf8()))
                .help("delete it, and press Enter there"),
        );
    }
    if is_all_allowed {
        return None;
    }
    let mut bad = source.text.char_indices().filter(|(_, c)| !text::is_allowed(*c)).peekable();
    let &(at, first) = bad.peek()?;
    let count = bad.count();
    let message = format!(
        "{} {} not belong in a text; the first is U+{:04X}",
        plural(count, "character"),
        if count == 1 { "does" } else { "do" },
        u32::from(first)
    );
    diagnostics.push(
        Diagnostic::new(Severity::Warning, Code::ControlCharacter, source.path.clone(), message)
            .at(source, &(at..at + first.len_utf8()))
            .help("delete it; it was read as a space"),
    );
    let text: String = source
        .text
        .chars()
        .flat_map(|c| {
            // As many bytes: places in the text stay what they are.
            let (c, times) = if text::is_allowed(c) { (c, 1) } else { (' ', c.len_utf8()) };
            std::iter::repeat_n(c, times)
        })
        .collect();
    Some(Source::new(source.path.clone(), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_yaml_does_not_end_loses_no_key() {
        let severities = |text: &str| {
            let mut diagnostics = Vec::new();
            let decoded = decode(&"a.md".into(), text.as_bytes(), &mut diagnostics).unwrap();
            assert_eq!(decoded.source.text.len(), text.len());
            diagnostics.iter().map(|problem| problem.severity).collect::<Vec<_>>()
        };
        for end in ['\u{B}', '\u{C}', '\u{85}', '\u{2028}', '\u{2029}'] {
            let lost = severities(&format!("---\ntitle: A{end}closes: 2021-08-01\n---\n"));
            assert!(lost.contains(&Severity::Error), "{end:?}");
            for harmless in [
                format!("---\ntitle: Developer{end}web\n---\n"),
                format!("---\ntitle: A\n---\n{end}closes: never\n"),
            ] {
                assert!(!severities(&harmless).contains(&Severity::Error), "{harmless:?}");
            }
        }
    }
}
