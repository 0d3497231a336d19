//! Passwords that stand where they should not, made unreadable: what is wrong with the settings is shown
//! in cron's mails and in journals.

use std::ops::Range;

/// How keys are called that hold a secret, in small letters.
const NAMES: [&str; 9] =
    ["pass", "pasw", "pw", "mdp", "secret", "token", "credential", "apikey", "api_key"];

/// Whether a key's name says that a secret is behind it, and not where one is.
pub(super) fn is_named(key: &str) -> bool {
    let key = key.to_lowercase();
    NAMES.iter().any(|name| key.contains(name))
        && !["_file", "_env"].iter().any(|place| key.ends_with(place))
}

/// The text with stars for secrets, byte for byte: what stands behind keeps its place.
pub(super) fn hidden(text: &str) -> String {
    let mut hidden = String::with_capacity(text.len());
    // How deep the key stands whose value goes on.
    let mut inside: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        let depth = line.len() - line.trim_start().len();
        let begins_value = line.trim_start().starts_with(": ");
        if inside.is_some_and(|key| depth > key || begins_value) || line.trim().is_empty() {
            hidden.push_str(&stars(line));
            continue;
        }
        inside = goes_on(line).then_some(depth);
        hidden.push_str(&without_logins(&without_values(line)));
    }
    hidden
}

/// The text with stars for one part of it.
pub(super) fn without(text: &str, span: &Range<usize>) -> String {
    let Some(part) = text.get(span.clone()) else { return text.to_owned() };
    [&text[..span.start], &stars(part), &text[span.end..]].concat()
}

/// The text with stars for the values of all groups but those of known keys: of lines that are indented, and
/// in braces.
pub(super) fn without_groups(text: &str, is_known: impl Fn(&str) -> bool) -> String {
    let mut group = "";
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let is_inside = line.starts_with(char::is_whitespace);
        let (key, value) = line.split_at(line.find(':').map_or(line.len(), |colon| colon + 1));
        if !is_inside {
            group = key.trim_end_matches(':').trim();
        }
        if !is_known(group) && (is_inside || value.contains('{')) {
            out.push_str(key);
            out.push_str(&stars(value));
        } else {
            out.push_str(line);
        }
    }
    out
}

/// Whether a line ends with the key of a secret, whose value follows.
fn goes_on(line: &str) -> bool {
    let line =
        line.trim_end().trim_end_matches(['|', '>', '-', '+', '{', '[', '&', '!']).trim_end();
    let key = line.strip_suffix(':').or_else(|| line.trim_start().strip_prefix('?'));
    let key = key.map(|key| key.rsplit(|c: char| "{,".contains(c)).next().unwrap_or_default());
    key.is_some_and(|key| is_named(key.trim().trim_matches(['"', '\''])))
}

/// A line with stars for the values of keys that are called like a secret.
fn without_values(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(colon) = rest.find(':') {
        let (before, after) = rest.split_at(colon + 1);
        out.push_str(before);
        rest = after;
        let name = before.trim_end_matches(':').trim_end();
        let name = name.rsplit(|c: char| "{,".contains(c)).next().unwrap_or_default();
        // In braces a comma ends a value; in quotes and on a line of its own nothing does.
        let is_quoted = after.trim_start().starts_with(['"', '\'']);
        let ends: &[char] = if line.contains('{') && !is_quoted { &[',', '}'] } else { &[] };
        if is_named(name.trim().trim_matches(['"', '\''])) {
            let value = after.find(ends).map_or(after, |end| &after[..end]);
            out.push_str(&stars(value));
            rest = &after[value.len()..];
        }
    }
    out.push_str(rest);
    without_queries(&out)
}

/// A line with stars for `password=…` in an address.
fn without_queries(line: &str) -> String {
    let is_end = |c: char| c.is_whitespace() || "&\"'`,}".contains(c);
    let mut out = String::with_capacity(line.len());
    for part in line.split_inclusive(['?', '&', ' ', '"', '\'']) {
        match part.split_once('=') {
            Some((name, value)) if is_named(name) => {
                let end = value.find(is_end).unwrap_or(value.len());
                out.push_str(name);
                out.push('=');
                out.push_str(&stars(&value[..end]));
                out.push_str(&value[end..]);
            }
            _ => out.push_str(part),
        }
    }
    out
}

/// A line with stars for what stands between a colon and an `@` in one word: `user:password@host`.
fn without_logins(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for word in line.split_inclusive(|c: char| c.is_whitespace() || "\"'`<>,".contains(c)) {
        let login = word.rfind('@').and_then(|at| {
            let host = word.find("://").map_or(0, |scheme| scheme + 3);
            let colon = word.get(host..at)?.find(':')? + host;
            (!word[..colon].ends_with("mailto")).then_some((colon + 1, at))
        });
        match login {
            Some((from, at)) => {
                out.push_str(&word[..from]);
                out.push_str(&stars(&word[from..at]));
                out.push_str(&word[at..]);
            }
            None => out.push_str(word),
        }
    }
    out
}

fn stars(text: &str) -> String {
    let star = |c: char| if c.is_whitespace() { c.to_string() } else { "*".repeat(c.len_utf8()) };
    text.chars().map(star).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        for line in [
            "  smtp: { host: mail.example.org, user: jobs, password: hunter2 }",
            "  smtp: { user: jobs, password: hunter2, prot: 5 }",
            "  Password: hunter2",
            "  pass: hunter2, and more hunter2",
            "  pwd: 'hunter2, }'",
            "  \"passphrase\": hunter2",
            "  mot_de_passe: hunter2",
            "  password: \"hunter2",
            "  password: hunter2: x",
            "smtp: jobs:hunter2@host",
            "hub: ttps://u:hunter2@example.org/hub",
            "`ttps://u:hunter2@example.org` is no address",
            "ledger:\n  password:\n    @hunter2",
            "ledger: { password:\n  hunter2 ]",
            "ledger:\n  password: |\n    hunter2\n\n    hunter2",
            "? password\n: hunter2",
            "apikey: hunter2",
            "  pasword: hunter2",
            "  mdp: hunter2",
            "  pw: hunter2",
            "hub: \"postgres://h/d?user=u&password=hunter2\"",
        ] {
            let hidden = hidden(line);
            assert!(!hidden.contains("hunter2"), "{hidden}");
            assert_eq!(hidden.len(), line.len());
        }
        for line in [
            "password_file: smtp-password",
            "  password_env: SMTP_PASSWORD",
            "from: \"Jobs <jobs@example.org>\"",
            "url: https://jobs.example.org:8080/a",
            "title: Côté mer",
            "smtp:\n  password_file: x\n  user: jobs\ntitle: A",
            "smtp:\n  password:\n  user: jobs",
            "unsubscribe: { mailto: 'mailto:off@example.org' }",
        ] {
            assert_eq!(hidden(line), line);
        }
    }

    #[test]
    fn what_stands_around_a_password_is_shown() {
        for (line, shown) in [
            ("{ user: jobs, password: hunter2, prot: 5 }", "{ user: jobs, password:*, prot: 5 }"),
            ("hub: https://u:hunter2@h.org/a", "hub: https://u:*@h.org/a"),
            ("`https://u:hunter2@h.org` is none", "`https://u:*@h.org` is none"),
            ("'postgres://h/d?password=hunter2&user=u'", "'postgres://h/d?password=*&user=u'"),
            ("password=hunter2\thub=a", "password=*\thub=a"),
        ] {
            let whole = hidden(line).replace(" *******", "*").replace("*******", "*");
            assert_eq!(whole, shown, "{line}");
        }
    }
}
