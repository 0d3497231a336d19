//! `recipients.yaml`: a list of entries.

use std::collections::HashMap;

use super::{Entry, KEYS, Recipient, Remark, split, suggestion};
use crate::diagnostics::{Code, Diagnostic, Severity};
use crate::posting::decode::{Decoded, decode};
use crate::yaml::{self, Node, Value};

/// Reads the list. A problem with one entry is one for that entry alone.
pub fn read(path: &str, bytes: &[u8]) -> (Vec<Recipient>, Vec<Diagnostic>) {
    let mut problems = Vec::new();
    // A byte-order mark is what spreadsheets and editors write, and harms nobody.
    let bytes = bytes.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(bytes);
    let Some(Decoded { source, .. }) = decode(&path.into(), bytes, &mut problems) else {
        return (Vec::new(), problems);
    };
    let content = &*source.text;
    let mut recipients: Vec<Recipient> = Vec::new();
    let error = |message: String| {
        Diagnostic::new(Severity::Error, Code::InvalidRecipient, path, message)
            .help("write one entry a person: `- email: somebody@example.org`")
    };
    let items = match parse(content, 0) {
        Ok(None) => Vec::new(),
        Ok(Some(Node { value: Value::Sequence(items), .. })) => items,
        Ok(Some(node)) if node.is_null() => Vec::new(),
        Ok(Some(node)) => {
            let message = "the mailing list is not a list".to_owned();
            problems.push(error(message).at(&source, &node.span));
            Vec::new()
        }
        // What is wrong in one entry must not take the others with it.
        Err(_) => one_by_one(content, |syntax| {
            let span = syntax.span.start..syntax.span.end.max(syntax.span.start + 1);
            let message = format!("this entry cannot be read: {}", syntax.message);
            problems.push(error(message).at(&source, &span));
        }),
    };
    let mut seen: HashMap<String, usize> = HashMap::new();
    let (mut line, mut counted) = (1, 0);
    for item in items {
        let mut remark = |remark: Remark| {
            problems.push(
                Diagnostic::new(remark.severity, remark.code, path, remark.message)
                    .at(&source, &remark.span)
                    .help(remark.help),
            );
        };
        let entry = match entry(&item, &mut remark) {
            Ok(entry) => entry,
            Err(strange) => {
                remark(strange);
                continue;
            }
        };
        let recipient = entry.check(remark);
        for (key, _) in unknown(&item) {
            let name = key.as_text().unwrap_or_default();
            let message = format!("`{name}` is not known here");
            problems.push(
                Diagnostic::new(Severity::Warning, Code::UnknownKey, path, message)
                    .at(&source, &key.span)
                    .help(suggestion(name)),
            );
        }
        let Some(recipient) = recipient else { continue };
        let start = item.span.start.min(content.len());
        line += content[counted..start].matches('\n').count();
        counted = start;
        if let Some(first) = seen.get(&recipient.key()) {
            let message = format!("the address stands in line {first} already; that entry counts");
            problems.push(
                Diagnostic::new(Severity::Warning, Code::DuplicateRecipient, path, message)
                    .at(&source, &item.span)
                    .help("delete one of the two"),
            );
        } else {
            seen.insert(recipient.key(), line);
            recipients.push(recipient);
        }
    }
    (recipients, problems)
}

/// Reads YAML that begins at a byte of the file. A list may be in several documents.
fn parse(text: &str, from: usize) -> Result<Option<Node>, yaml::SyntaxError> {
    let mut joined = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match line.trim_end() {
            "---" | "..." => joined.push_str(&line.replace(['-', '.'], " ")),
            _ => joined.push_str(line),
        }
    }
    // Longer than any list that was typed, and short enough to be held. Every value takes a byte.
    match yaml::parse_with(&joined, text.len().max(yaml::MAX_NODES)) {
        Ok(node) => Ok(node.map(|node| moved(node, from))),
        Err(mut error) => {
            error.span = error.span.start + from..error.span.end + from;
            Err(error)
        }
    }
}

/// A node further back in the file.
fn moved(node: Node, by: usize) -> Node {
    let value = match node.value {
        Value::Sequence(items) => {
            Value::Sequence(items.into_iter().map(|item| moved(item, by)).collect())
        }
        Value::Mapping(entries) => Value::Mapping(
            entries.into_iter().map(|(key, value)| (moved(key, by), moved(value, by))).collect(),
        ),
        scalar @ Value::Scalar { .. } => scalar,
    };
    Node { span: node.span.start + by..node.span.end + by, value }
}

/// The entries of a list that cannot be read as a whole: each from one dash to the next.
fn one_by_one(content: &str, mut report: impl FnMut(yaml::SyntaxError)) -> Vec<Node> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let dashes = content.lines().filter(|line| is_entry(line));
    let least = dashes.map(indent).min().unwrap_or(0);
    let mut starts = Vec::new();
    let mut at = 0;
    for line in content.split_inclusive('\n') {
        // Whoever forgot the space after a dash began an entry all the same.
        let begins = line.trim_start().starts_with('-') && !line.trim_start().starts_with("--");
        if begins && indent(line) == least {
            starts.push(at);
        }
        at += line.len();
    }
    starts.push(content.len());
    let mut items = Vec::new();
    if let Err(error) = parse(&content[..starts[0]], 0) {
        report(error);
    }
    for pair in starts.windows(2) {
        match parse(&content[pair[0]..pair[1]], pair[0]) {
            Ok(Some(Node { value: Value::Sequence(found), .. })) => items.extend(found),
            Ok(None) => {}
            Ok(Some(node)) if node.is_null() => {}
            Ok(Some(Node { span, .. })) => {
                let message = "there is no space after its dash".to_owned();
                report(yaml::SyntaxError { span, message, limit: false });
            }
            Err(error) => report(error),
        }
    }
    items
}

fn is_entry(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("- ") || line.trim_end() == "-"
}

fn unknown(item: &Node) -> impl Iterator<Item = &(Node, Node)> {
    let entries = match &item.value {
        Value::Mapping(entries) => entries.as_slice(),
        _ => &[],
    };
    entries.iter().filter(|(key, _)| !key.as_text().is_some_and(|name| KEYS.contains(&name)))
}

/// The texts of an entry. An address alone is an entry, too.
fn entry(item: &Node, remark: &mut impl FnMut(Remark)) -> Result<Entry, Remark> {
    let strange = |node: &Node, message: String| Remark {
        severity: Severity::Error,
        code: Code::InvalidRecipient,
        span: node.span.clone(),
        message,
        help: "write at least `- email: somebody@example.org`",
    };
    let mut entry = Entry { span: item.span.clone(), ..Entry::default() };
    let entries = match &item.value {
        Value::Mapping(entries) => entries,
        Value::Scalar { text, .. } if !item.is_null() => {
            entry.values.insert("email", (vec![text.clone()], item.span.clone()));
            return Ok(entry);
        }
        _ => return Err(strange(item, "this is no entry of a mailing list".to_owned())),
    };
    for (key, value) in entries {
        let Some(name) = KEYS.iter().find(|name| key.as_text() == Some(name)) else { continue };
        let texts: Option<Vec<String>> = match &value.value {
            _ if value.is_null() => continue,
            Value::Scalar { text, .. } => Some(split(name, text)),
            Value::Sequence(items) => {
                items.iter().map(|item| item.as_text().map(str::to_owned)).collect()
            }
            Value::Mapping(_) => None,
        };
        let Some(texts) = texts else {
            let message = format!("`{name}` is neither a text nor a list of texts");
            if *name == "email" {
                return Err(strange(value, message));
            }
            // Nobody is left out for a wish that cannot be read.
            remark(Remark {
                severity: Severity::Warning,
                code: Code::InvalidValue,
                span: value.span.clone(),
                message: format!("{message}; it is ignored"),
                help: "correct it, or delete it",
            });
            continue;
        };
        if entry.values.insert(name, (texts, value.span.clone())).is_some() {
            return Err(strange(value, format!("`{name}` stands twice in this entry")));
        }
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::Weekday;

    fn emails(content: &str) -> (Vec<String>, Vec<String>) {
        let (recipients, problems) = read("content/recipients.yaml", content.as_bytes());
        (
            recipients.into_iter().map(|r| r.email).collect(),
            problems.iter().map(|p| format!("{}:{} {}", p.code, p.line(), p.message)).collect(),
        )
    }

    #[test]
    fn one_bad_entry_is_one_bad_entry() {
        let (good, problems) = emails(
            "- email: a@example.org\n  domains: dev\n- email: not an address\n- name: X\n- email: A@example.org\n- email: b@example.org\n  teams: { a: b }\n- email: c@example.org\n  domain: x\n- d@example.org\n",
        );
        assert_eq!(good, ["a@example.org", "b@example.org", "c@example.org", "d@example.org"]);
        assert_eq!(problems.len(), 5, "{problems:#?}");
        assert!(problems[0].starts_with("invalid-recipient:3 "));
        assert!(problems[2].contains("line 1 already"));
        assert!(problems[4].starts_with("unknown-key:9 "));
    }

    #[test]
    fn nobody_is_lost_for_a_wish_that_cannot_be_read() {
        let (recipients, problems) = read(
            "r.yaml",
            "- email: a@example.org\n  lead_days: soon\n  junior: perhaps\n  language: '?'\n  weekday: someday\n  cadence: hourly\n  domains: [Design, [Dev, Ops]]\n  teams: '-'\n  name: { first: B }\n".as_bytes(),
        );
        assert_eq!(recipients, [Recipient::new("a@example.org")]);
        assert_eq!(problems.len(), 8, "{problems:#?}");
        assert!(problems.iter().all(|problem| problem.severity == Severity::Warning));
    }

    #[test]
    fn wishes_are_read() {
        let (recipients, problems) = read(
            "r.yaml",
            "- { email: a@example.org, domains: [Développement, 2021], lead_days: [5, 1], cadence: weekly, weekday: mardi, new: yes }\n".as_bytes(),
        );
        assert!(problems.is_empty(), "{problems:#?}");
        assert_eq!(recipients[0].domains, ["developpement", "2021"]);
        assert_eq!(recipients[0].lead_days.as_deref(), Some(&[5, 1][..]));
        assert_eq!(recipients[0].weekly, Some(Weekday::Tue));
        assert!(recipients[0].new);
    }

    #[test]
    fn one_text_holds_several_values_as_a_cell_does() {
        let list = "- { email: a@example.org, domains: \"Design, Dév\", lead_days: \"5;1\", name: \"A, B\" }\n";
        let (recipients, problems) = read("r.yaml", list.as_bytes());
        assert!(problems.is_empty(), "{problems:#?}");
        assert_eq!(recipients[0].domains, ["design", "dev"]);
        assert_eq!(recipients[0].lead_days.as_deref(), Some(&[5, 1][..]));
        assert_eq!(recipients[0].name.as_deref(), Some("A, B"));
    }

    #[test]
    fn a_list_in_latin_1_loses_nobody_and_says_so() {
        let list = b"- email: a@example.org\n  name: Chlo\xe9\n  domains: [D\xe9veloppement]\n";
        let (recipients, problems) = read("r.yaml", list);
        assert_eq!(recipients[0].name.as_deref(), Some("Chloé"));
        assert_eq!(recipients[0].domains, ["developpement"]);
        assert_eq!(problems.len(), 1);
        assert_eq!((problems[0].code, problems[0].line()), (Code::Encoding, 2));
        let (recipients, problems) = read("r.yaml", "\u{FEFF}- a@example.org\n".as_bytes());
        assert_eq!((recipients.len(), problems.len()), (1, 0));
    }

    #[test]
    fn what_is_no_yaml_is_one_entry_that_is_none() {
        for bad in [
            "- email: @example.org",
            "- name: Foo: Bar\n  email: x@example.org",
            "- email: [x@example.org",
            "- { email: x@example.org",
            "- email: \"x@example.org",
            "-email: x@example.org",
        ] {
            let content = format!("- email: a@example.org\n{bad}\n- email: b@example.org\n");
            let (good, problems) = emails(&content);
            assert_eq!(good, ["a@example.org", "b@example.org"], "{bad}: {problems:?}");
            assert_eq!(problems.len(), 1, "{bad}: {problems:?}");
            let line: usize = problems[0].split([':', ' ']).nth(1).unwrap().parse().unwrap();
            assert!((2..=4).contains(&line), "{problems:?}");
        }
        let (good, problems) = emails("---\n- a@example.org\n---\n- b@example.org\n");
        assert_eq!((good.len(), problems.len()), (2, 0), "{problems:?}");
    }

    #[test]
    fn an_address_is_as_it_stands_or_it_is_none() {
        for bad in [
            "\"vic\\0tim@example.org\"",
            "\"a\\u202e@example.org\"",
            "[a@example.org, b@example.org]",
            "a@example.org\n  email: b@example.org",
        ] {
            let (good, problems) = emails(&format!("- email: {bad}\n"));
            assert!(good.is_empty() && problems.len() == 1, "{bad}: {good:?}");
        }
        assert_eq!(emails("- a@münchen.example\n- A@xn--mnchen-3ya.example\n").0.len(), 1);
        // As another system writes the same letter: with two characters.
        assert_eq!(emails("- a@mu\u{308}nchen.example\n").0, ["a@münchen.example"]);
    }

    #[test]
    fn an_empty_list_is_a_list() {
        assert_eq!(emails(""), (vec![], vec![]));
        assert_eq!(emails("[]"), (vec![], vec![]));
        assert_eq!(emails("a: b").1.len(), 1);
        assert_eq!(emails("- [").1.len(), 1);
    }
}
