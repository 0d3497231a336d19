//! Addresses: of pages, of files, and of people.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode, utf8_percent_encode};
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

/// What cannot stand for itself in the address of a `mailto:` link (RFC 6068, section 2).
const MAILTO: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'@')
    .remove(b'.')
    .remove(b'-')
    .remove(b'_')
    .remove(b'~')
    .remove(b'+')
    .remove(b'!')
    .remove(b'$')
    .remove(b'\'')
    .remove(b'*');

/// A mail address as it stands in a `mailto:` link.
pub fn mailto(address: &str) -> String {
    utf8_percent_encode(address, MAILTO).to_string()
}

/// Whether a text is a mail address and nothing else (RFC 5321): no name beside it, no host in
/// brackets, none of the characters that would end it in a `mailto:` address.
pub fn is_address(text: &str) -> bool {
    let options = email_address::Options::default().without_display_text().without_domain_literal();
    email_address::EmailAddress::parse_with_options(text, options).is_ok()
        && !text.contains(['?', '#', '%', '"', ' '])
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

/// The longest part of an address, so that a file of that name can exist anywhere with an
/// extension and a suffix for its temporary copy.
pub const MAX_SLUG: usize = 150;

/// Transliterates to ASCII, lower case, and to characters that stand for themselves in addresses
/// and file names (RFC 3986 section 2.3). Empty when nothing is left.
pub fn slug(text: &str) -> String {
    let mut slug = String::with_capacity(text.len());
    let text = if text.is_ascii() {
        Cow::Borrowed(text)
    } else {
        // A letter and its accent are one letter, however a file system writes them.
        let text = super::composed(text.to_owned());
        // Dots between letters, as in inclusive French, are separators, not asterisks.
        let text = text.replace(['·', '‧', '•', '’'], "-");
        Cow::Owned(any_ascii::any_ascii(&text))
    };
    for c in text.chars() {
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

/// The text without the mailboxes of the addresses in it: of each its first letter is left, and its
/// host.
pub fn without_addresses(text: &str) -> String {
    with_mailboxes(text, |mailbox| format!("{}…", mailbox.chars().next().unwrap_or('?')))
}

/// The same with stars, byte for byte: what stands behind keeps its place.
pub fn starred(text: &str) -> String {
    with_mailboxes(text, hidden)
}

/// The same for a text that is a mailbox, or is meant for an address: its first letter, and as many stars as
/// there are bytes behind it.
pub fn hidden(mailbox: &str) -> String {
    // One letter is all there is of some.
    let is_longer = mailbox.chars().nth(1).is_some();
    let first = mailbox.chars().next().filter(|_| is_longer).map_or(0, char::len_utf8);
    let (first, rest) = mailbox.split_at(first);
    format!("{first}{}", "*".repeat(rest.len()))
}

/// What people write between a mailbox and its host.
const ATS: [&str; 6] = ["@", "＠", "%40", "(at)", "[at]", "&#64;"];

/// The text with something else in place of what stands before each `@`, or what is meant for one.
fn with_mailboxes(text: &str, instead: impl Fn(&str) -> String) -> String {
    // What else stands around an address may be a part of it, too.
    let is_between = |c: char| c.is_whitespace() || "<>()[]\",;:".contains(c);
    let is_around = |c: char| "{}'|`".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    let mut marks: Vec<(usize, &str)> = ATS.iter().flat_map(|at| text.match_indices(at)).collect();
    marks.sort_unstable();
    for (at, mark) in marks {
        let before = &text[from..at];
        let word = before.trim_end();
        // A mailbox in quotes may hold anything (RFC 5321 section 4.1.2).
        let quote = word.strip_suffix('"').and_then(|quoted| quoted.rfind('"'));
        let start = quote.unwrap_or_else(|| {
            let mailbox = word.rsplit(is_between).next().unwrap_or_default();
            word.len() - mailbox.trim_start_matches(is_around).len()
        });
        let (mailbox, space) = (&word[start..], &before[word.len()..]);
        out.push_str(if mailbox.is_empty() { before } else { &before[..start] });
        out.push_str(&instead(mailbox));
        out.push_str(if mailbox.is_empty() { "" } else { space });
        out.push_str(mark);
        from = at + mark.len();
    }
    out.push_str(&text[from..]);
    out
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
            // Composed or not, it is the same name.
            ("Інженер-й", "inzhener-y"),
            ("Інженер-и\u{306}", "inzhener-y"),
        ] {
            assert_eq!(slug(name), expected);
        }
    }

    #[test]
    fn terms_keep_apart_what_differs_by_a_sign() {
        assert_eq!(["C", "C++", "C#"].map(term), ["c", "c-plus-plus", "c-sharp"]);
    }

    #[test]
    fn addresses_are_addresses_and_nothing_else() {
        for text in ["a.b+c@example.org", "é@example.org", "r&d@example.org"] {
            assert!(is_address(text), "{text}");
        }
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
    fn an_address_in_a_link_is_one_address() {
        assert_eq!(mailto("r&d+x@example.org"), "r%26d+x@example.org");
        assert_eq!(mailto("a?bcc=b@example.org"), "a%3Fbcc%3Db@example.org");
    }

    #[test]
    fn no_address_stands_in_what_is_shown() {
        for (said, short, stars) in [
            (
                "550 5.1.1 <jo.smith@example.org>: no user jo.smith@example.org, sorry",
                "550 5.1.1 <j…@example.org>: no user j…@example.org, sorry",
                "550 5.1.1 <j*******@example.org>: no user j*******@example.org, sorry",
            ),
            ("é@b; @ @c", "é…@b; ?…@ ?…@c", "**@b; @ @c"),
            ("mailto:éà@b|ab@c@d", "mailto:é…@b…@c…@d", "mailto:é**@b***@*@d"),
            ("'jo.d'arc@b'", "'j…@b'", "'j*******@b'"),
            ("to \"jo smith\"@b", "to \"…@b", "to \"*********@b"),
            ("jo.smith @b, jo(at)b", "j… @b, j…(at)b", "j******* @b, j*(at)b"),
            ("jo＠b jo%40b jo&#64;b", "j…＠b j…%40b j…&#64;b", "j*＠b j*%40b j*&#64;b"),
            ("", "", ""),
        ] {
            assert_eq!(without_addresses(said), short);
            assert_eq!(starred(said), stars);
        }
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
    }
}
