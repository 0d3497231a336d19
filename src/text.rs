//! Text that comes from people, made fit for XML, HTML, mail headers and file names.

use std::borrow::Cow;

use icu_normalizer::ComposingNormalizerBorrowed;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use url::Url;

/// An address with the signs encoded that browsers take and the URL standard does not allow.
pub fn strict(mut url: Url) -> Url {
    let is_odd = |c: char| matches!(c, '[' | ']' | '|' | '^' | '`' | '{' | '}' | '\\');
    let encoded = |part: &str| -> String {
        let mut bytes = [0; 4];
        part.chars()
            .map(|c| {
                if is_odd(c) {
                    percent_encode(c.encode_utf8(&mut bytes).as_bytes(), NON_ALPHANUMERIC)
                        .to_string()
                } else {
                    c.into()
                }
            })
            .collect()
    };
    if url.path().contains(is_odd) && !url.cannot_be_a_base() {
        let path = encoded(url.path());
        url.set_path(&path);
    }
    if let Some(query) = url.query().filter(|query| query.contains(is_odd)).map(encoded) {
        url.set_query(Some(&query));
    }
    if let Some(fragment) = url.fragment().filter(|part| part.contains(is_odd)).map(encoded) {
        url.set_fragment(Some(&fragment));
    }
    url
}

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
#[allow(clippy::needless_bitwise_bool, reason = "a lazy operator is a way out of the loop")]
pub fn is_all_allowed(text: &str) -> bool {
    let bytes = text.as_bytes();
    // Nearly every text is told by its bytes: controls are below 0x20, 0x7F, and between
    // 0xC2 0x80 and 0xC2 0x9F; noncharacters begin with 0xEF or more. Without a way out of the
    // loop, many bytes are looked at together.
    let suspicious = |byte: u8| {
        (byte < b' ' && byte != b'\t' && byte != b'\n' && byte != b'\r')
            | (byte == 0x7F)
            | (byte >= 0xEF)
    };
    let any = bytes.iter().fold(false, |any, byte| any | suspicious(*byte));
    let pairs = bytes.iter().zip(bytes.iter().skip(1));
    let told = !pairs.fold(any, |any, (a, b)| any | ((*a == 0xC2) & (*b < 0xA0)));
    told || text.chars().all(is_allowed)
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
#[allow(clippy::needless_bitwise_bool, reason = "a lazy operator is a way out of the loop")]
pub fn composed(text: String) -> String {
    // Nearly every text is told by its bytes: what is below U+0300 is composed already, and so are
    // dashes, quotation marks and the like (U+2010 to U+203F) and the euro sign (U+20AC). Without a
    // way out of the loop, many bytes are looked at together.
    let bytes = text.as_bytes();
    let any = bytes.iter().fold(false, |any, byte| any | ((*byte >= 0xCC) & (*byte != 0xE2)));
    let next = bytes.iter().zip(bytes.iter().skip(1)).zip(bytes.iter().skip(2));
    let is_plain = |second: u8, third: u8| {
        ((second == 0x80) & (third >= 0x90)) | ((second == 0x82) & (third == 0xAC))
    };
    let any = next.fold(any, |any, ((first, second), third)| {
        any | ((*first == 0xE2) & !is_plain(*second, *third))
    });
    if !any {
        return text;
    }
    match ComposingNormalizerBorrowed::new_nfc().normalize(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(composed) => composed,
    }
}

/// What is written instead of ASCII characters that cannot stand for themselves.
pub struct References {
    /// Which bytes are replaced: small enough to be looked up for every byte of a text.
    is_replaced: [bool; 256],
    by: [&'static str; 256],
}

impl References {
    /// The table of some characters.
    ///
    /// # Panics
    /// Where one is not ASCII: when the program is compiled.
    #[must_use]
    pub const fn new<const N: usize>(of: [(u8, &'static str); N]) -> Self {
        Self { is_replaced: [false; 256], by: [""; 256] }.and(of)
    }

    /// The table with some characters more.
    ///
    /// # Panics
    /// Where one is not ASCII: when the program is compiled.
    #[must_use]
    pub const fn and<const N: usize>(mut self, of: [(u8, &'static str); N]) -> Self {
        let mut at = 0;
        while at < N {
            let (byte, reference) = of[at];
            assert!(byte.is_ascii(), "a part of a character cannot be replaced");
            self.is_replaced[byte as usize] = true;
            self.by[byte as usize] = reference;
            at += 1;
        }
        self
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
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|b| references.is_replaced[usize::from(b)]) {
        escaped.push_str(&rest[..at]);
        escaped.push_str(references.by[usize::from(rest.as_bytes()[at])]);
        rest = &rest[at + 1..];
    }
    escaped.push_str(rest);
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

/// The elements that people write into lines of text.
const ELEMENTS: &[&str] = &[
    "a",
    "abbr",
    "b",
    "big",
    "blockquote",
    "br",
    "center",
    "cite",
    "code",
    "del",
    "div",
    "em",
    "font",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "i",
    "img",
    "ins",
    "kbd",
    "li",
    "mark",
    "ol",
    "p",
    "pre",
    "q",
    "s",
    "script",
    "small",
    "span",
    "strike",
    "strong",
    "style",
    "sub",
    "sup",
    "svg",
    "table",
    "td",
    "th",
    "tr",
    "tt",
    "u",
    "ul",
    "var",
    "iframe",
    "form",
    "input",
    "button",
    "body",
    "html",
    "head",
    "title",
    "meta",
    "link",
    "object",
    "embed",
    "video",
    "audio",
    "dl",
    "dt",
    "dd",
    "section",
    "article",
    "header",
    "footer",
    "nav",
    "main",
    "details",
    "summary",
    "samp",
    "label",
    "select",
    "option",
    "textarea",
    "noscript",
    "template",
    "math",
    "time",
];

/// Plain text of what may have been written as HTML: no tags, no character references. Readers of
/// RSS would otherwise show a title's `<b>` as bold, and those of Atom as it stands. What only
/// looks like a tag (`C<T>`) keeps its text in brackets that mean nothing to anybody.
pub fn without_markup(text: &str) -> Cow<'_, str> {
    let mut plain = Cow::Borrowed(text);
    // What was escaped twice is markup again after one round.
    for _ in 0..3 {
        if !plain.contains(['<', '&']) {
            break;
        }
        let has_tags =
            plain.match_indices('<').any(|(at, _)| bracket(&plain[at..]) != Bracket::Sign);
        let stripped = if has_tags { strip(&plain) } else { plain.to_string() };
        let decoded = html_escape::decode_html_entities(&stripped).into_owned();
        if decoded == *plain {
            break;
        }
        plain = Cow::Owned(decoded);
    }
    plain
}

/// What an opening bracket begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bracket {
    /// An element of HTML, or a comment.
    Tag,
    /// Something that every reader that knows HTML would take for a tag.
    Lookalike,
    /// Nothing: less than, or a mail address.
    Sign,
}

fn bracket(text: &str) -> Bracket {
    let inner = text.strip_prefix('<').unwrap_or(text);
    if inner.starts_with("!--") {
        return Bracket::Tag;
    }
    let Some((inside, _)) = inner.split_once('>') else { return Bracket::Sign };
    let name = inside.strip_prefix('/').unwrap_or(inside);
    let end = name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len());
    let ends = name[end..].is_empty() || name[end..].starts_with(['/', ' ', '\t', '\n', '\r']);
    if ends && ELEMENTS.iter().any(|element| name[..end].eq_ignore_ascii_case(element)) {
        Bracket::Tag
    } else if end > 0
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && !inside.contains('@')
    {
        Bracket::Lookalike
    } else {
        Bracket::Sign
    }
}

/// The text without its tags, as HTML.
fn strip(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    let mut lookalike = false;
    for (at, c) in text.char_indices() {
        match (c, if c == '<' { bracket(&text[at..]) } else { Bracket::Sign }) {
            ('<', Bracket::Lookalike) => {
                lookalike = true;
                html.push('‹');
            }
            ('<', Bracket::Sign) => html.push_str("&lt;"),
            ('>', _) if lookalike => {
                lookalike = false;
                html.push('›');
            }
            _ => html.push(c),
        }
    }
    ammonia::Builder::empty().clean(&html).to_string()
}

/// Whether a text is a mail address and nothing else (RFC 5321): no name beside it, no host in
/// brackets, none of the characters that would end it in a `mailto:` address.
pub fn is_address(text: &str) -> bool {
    let options = email_address::Options::default().without_display_text().without_domain_literal();
    email_address::EmailAddress::parse_with_options(text, options).is_ok()
        && !text.contains(['?', '&', '#', '%', '"', ' '])
}

/// Whether a language is written from right to left, by its tag.
pub fn is_right_to_left(language: &str) -> bool {
    let name = language.split('-').next().unwrap_or_default();
    matches!(
        name,
        "ar" | "arc" | "ckb" | "dv" | "fa" | "he" | "ks" | "ps" | "sd" | "ug" | "ur" | "yi"
    )
}

/// HTML that was sanitised, with headings that fit below a page's own and skip no level, whichever
/// levels their author took for their size.
pub fn headings_below_title(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    // The levels, as they were written, that the present place is below.
    let mut above: Vec<u8> = Vec::new();
    let mut rest = html;
    while let Some(at) = memchr::memchr(b'<', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (closes, name) = match rest.strip_prefix("</") {
            Some(name) => (true, name),
            None => (false, &rest[1..]),
        };
        let level = if let [b'h', level @ b'1'..=b'6', b'>' | b' ', ..] = name.as_bytes() {
            level - b'0'
        } else {
            out.push('<');
            rest = &rest[1..];
            continue;
        };
        if !closes {
            while above.last().is_some_and(|last| *last >= level) {
                above.pop();
            }
            above.push(level);
        }
        out.push_str(if closes { "</h" } else { "<h" });
        out.push_str(&(above.len() + 1).clamp(2, 6).to_string());
        rest = &name[2..];
    }
    out.push_str(rest);
    out
}

/// Whether a mail can be addressed to it.
pub fn is_deliverable(text: &str) -> bool {
    let has_host = |address: &lettre::Address| {
        // A number at the end makes a host an address of the network (WHATWG URL, section 3.5).
        let host = url::Host::parse(address.domain());
        host.is_ok_and(|host| matches!(host, url::Host::Domain(_)))
    };
    is_address(text) && text.parse().is_ok_and(|address| has_host(&address))
}

/// Letters without accents, case or kind of separator, to compare what people write in many ways.
pub fn folded(text: &str) -> String {
    any_ascii::any_ascii(text.trim()).to_lowercase().replace([' ', '-'], "_")
}

/// The longest part of an address, so that a file of that name can exist anywhere with an
/// extension and a suffix for its temporary copy.
pub const MAX_SLUG: usize = 150;

/// Transliterates to ASCII, lower case, and to characters that stand for themselves in addresses
/// and file names (RFC 3986 section 2.3). Empty when nothing is left.
pub fn slug(text: &str) -> String {
    let mut slug = String::with_capacity(text.len());
    // Dots between letters, as in inclusive French, are separators, not asterisks.
    let text = text.replace(['·', '‧', '•', '’', '\''], "-");
    for c in any_ascii::any_ascii(&text).chars() {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_alphanumeric() || matches!(c, '_' | '.') {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(MAX_SLUG);
    // Neither hidden, nor a way upwards, nor a dangling separator.
    slug.trim_matches(['-', '.']).to_owned()
}

/// The same for a value that is told from others by its signs: C, C++ and C# are three.
pub fn term(text: &str) -> String {
    slug(&text.replace('+', "-plus").replace('#', "-sharp"))
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

    #[test]
    fn an_address_has_only_signs_that_an_address_may_have() {
        let strict = |text: &str| strict(Url::parse(text).unwrap()).to_string();
        assert_eq!(
            strict("https://a.example/x[1]/?f[0]=a|b%20c&d=é#g|h"),
            "https://a.example/x%5B1%5D/?f%5B0%5D=a%7Cb%20c&d=%C3%A9#g%7Ch"
        );
        for text in ["https://[2001:db8::1]/?a=b", "mailto:a@example.org", "https://a.example/%5B"]
        {
            assert_eq!(strict(text), Url::parse(text).unwrap().to_string());
        }
    }

    #[test]
    fn slugs_are_the_name_in_ascii() {
        for (name, expected) in [
            ("2021-06-08-bizdev", "2021-06-08-bizdev"),
            ("2020-09-10_coach_UX_innovation", "2020-09-10_coach_ux_innovation"),
            (
                "2021-06-15-charge.ou.chargee.de.deploiement",
                "2021-06-15-charge.ou.chargee.de.deploiement",
            ),
            ("Chef·fe de produit – e-inspé", "chef-fe-de-produit-e-inspe"),
            ("l’Œuvre d'été", "l-oeuvre-d-ete"),
            ("../../etc/passwd", "etc-passwd"),
            ("...", ""),
            ("", ""),
            ("Ελλάδα", "ellada"),
        ] {
            assert_eq!(slug(name), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn bytes_tell_what_is_allowed(text in "([a\u{1}\u{7F}é\u{80}\u{9F}\u{A0}\u{FDD0}\u{FFFD}\u{FFFE}\u{1FFFF}\n😀]|.){0,9}") {
            proptest::prop_assert_eq!(is_all_allowed(&text), text.chars().all(is_allowed));
        }
    }

    #[test]
    fn terms_keep_apart_what_differs_by_a_sign() {
        assert_eq!(["C", "C++", "C#"].map(term), ["c", "c-plus-plus", "c-sharp"]);
    }

    #[test]
    fn addresses_are_addresses_and_nothing_else() {
        assert!(is_address("a.b+c@example.org") && is_address("é@example.org"));
        for text in [
            "A <a@example.org>",
            "a@[127.0.0.1]",
            "\"a b\"@example.org",
            "a?bcc=x@example.org",
            "a",
            "",
        ] {
            assert!(!is_address(text), "{text}");
        }
    }

    #[test]
    fn headings_begin_below_the_title_and_skip_no_level() {
        for (html, expected) in [
            ("<h1 id=\"a\">A</h1><h2>B</h2><hr>", "<h2 id=\"a\">A</h2><h3>B</h3><hr>"),
            ("<h3>A</h3><h5>B</h5><h3>C</h3>", "<h2>A</h2><h3>B</h3><h2>C</h2>"),
            ("<h4>A</h4><h2>B</h2><h6>C</h6>", "<h2>A</h2><h2>B</h2><h3>C</h3>"),
            ("1 < 2 <hr> <header>", "1 < 2 <hr> <header>"),
        ] {
            assert_eq!(headings_below_title(html), expected);
        }
    }

    #[test]
    fn one_line_is_one_line() {
        assert_eq!(one_line("  a\r\n b\u{0}\tc\u{202E}d "), "a b cd");
        assert_eq!(one_line("Ouvert\u{A0}: oui"), "Ouvert\u{A0}: oui");
    }

    #[test]
    fn markup_in_a_line_is_taken_off() {
        for (text, expected) in [
            ("R&D", "R&D"),
            ("R&amp;D", "R&D"),
            ("<b>Dév</b> &eacute;", "Dév é"),
            ("a < b, c > d & e", "a < b, c > d & e"),
            ("I <3 you", "I <3 you"),
            ("&lt;b&gt;x&lt;/b&gt;", "x"),
            ("x<script>alert(1)</script>y", "xy"),
            ("Alix <alix@example.org>", "Alix <alix@example.org>"),
            ("C<T> and a <b, c> d", "C‹T› and a ‹b, c› d"),
            ("a <3 b > c", "a <3 b > c"),
        ] {
            assert_eq!(without_markup(text), expected);
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
        fn a_slug_is_a_safe_file_name(name in any::<String>()) {
            let slug = slug(&name);
            prop_assert!(slug.len() <= MAX_SLUG);
            prop_assert!(slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b)));
            prop_assert!(!slug.starts_with('.') && !slug.ends_with('.'));
            prop_assert_eq!(super::slug(&slug), slug.clone());
        }

        #[test]
        fn a_composed_text_is_what_unicode_says(text in "[a-zé\u{300}\u{1100}\u{1161} ’«»€\u{2000}-\u{2130}]*", any in any::<String>()) {
            for text in [text, any] {
                let composed_by_unicode = ComposingNormalizerBorrowed::new_nfc().normalize(&text).into_owned();
                prop_assert_eq!(composed(text), composed_by_unicode);
            }
        }

        #[test]
        fn json_is_what_serde_writes(text in any::<String>().prop_map(|text| allowed(&text).into_owned())) {
            prop_assert_eq!(format!("\"{}\"", escaped(&text, &JSON)), serde_json::to_string(&text).unwrap());
            let inner = escaped(&text, &JSON_IN_SCRIPT);
            prop_assert!(!inner.contains(['<', '>']));
            prop_assert_eq!(serde_json::from_str::<String>(&format!("\"{inner}\"")).unwrap(), text);
        }

        #[test]
        fn a_shortened_text_is_short(text in any::<String>(), max in 1_usize..50) {
            prop_assert!(shortened(&text, max).chars().count() <= max);
        }
    }
}
