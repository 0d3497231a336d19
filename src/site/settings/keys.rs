//! Which keys there are in `site.yaml`: those that are none, those that stand twice, and what may be shown of
//! either.

use std::collections::HashSet;

use super::{line_of, problem};
use crate::diagnostics::{Code, Diagnostic, Source, nearest};
use crate::site::{SETTINGS, secrets};
use crate::yaml::{self, Node};

/// Every key, by the mapping that it stands in, to suggest one and to refuse the rest.
pub const KEYS: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "title",
            "description",
            "url",
            "language",
            "timezone",
            "author",
            "ids",
            "feeds",
            "reminders",
            "mail",
            "unsubscribe",
            "subscribe",
            "recipients",
            "stale_after_days",
            "hub",
            "country",
            "ledger",
        ],
    ),
    ("author", &["name", "email"]),
    ("ids", &["authority", "since"]),
    ("feeds", &["by"]),
    ("reminders", &["lead_days", "send_after", "owners", "in_doubt"]),
    ("mail", &["from", "reply_to", "list_id", "transport", "smtp", "sendmail", "dkim", "bounces"]),
    (
        "mail.smtp",
        &[
            "host",
            "port",
            "security",
            "connections",
            "rate_per_second",
            "timeout_seconds",
            "retry_after",
            "ca_file",
            "user",
            "auth",
            "password_env",
            "password_file",
        ],
    ),
    ("mail.dkim", &["domain", "selector", "key_file"]),
    ("unsubscribe", &["mailto", "url"]),
    ("subscribe", &["url"]),
    ("ledger", &["url", "password_env", "password_file", "ca_file"]),
];

/// What is no setting, and yet stands where settings stand.
struct Stranger<'a> {
    /// The path of its group.
    group: &'static str,
    /// What the group knows.
    keys: &'static [&'static str],
    key: &'a Node,
    value: &'a Node,
}

fn strangers(tree: &Node) -> impl Iterator<Item = Stranger<'_>> {
    KEYS.iter().flat_map(move |&(group, keys)| {
        let mut steps = group.split('.').filter(|step| !step.is_empty());
        let node = steps.try_fold(tree, |node, step| node.entry(step).map(|(_, value)| value));
        let entries = match node {
            Some(Node { value: yaml::Value::Mapping(entries), .. }) => &entries[..],
            _ => &[],
        };
        let is_known = |key: &Node| keys.contains(&key.as_text().unwrap_or_default());
        let unknown = entries.iter().filter(move |(key, _)| !is_known(key));
        unknown.map(move |(key, value)| Stranger { group, keys, key, value })
    })
}

/// The settings as they may be shown. What a key means that we do not know may be a password, where there
/// are passwords, and where a whole group stands behind it.
pub(super) fn shown(text: &str, tree: Option<&Node>) -> Source {
    let has_passwords = |group: &str| group.starts_with("mail") || group == "ledger";
    let hidden = secrets::hidden(text);
    let Some(tree) = tree else {
        // What cannot be read has no groups but by its looks.
        let is_known = |key: &str| KEYS[0].1.contains(&key) && !has_passwords(key);
        return Source::new(SETTINGS, secrets::without_groups(&hidden, is_known));
    };
    let is_secret = |stranger: &Stranger<'_>| {
        has_passwords(stranger.group) || !matches!(stranger.value.value, yaml::Value::Scalar { .. })
    };
    let strangers = strangers(tree).filter(is_secret);
    let shown =
        strangers.fold(hidden, |text, stranger| secrets::without(&text, &stranger.value.span));
    Source::new(SETTINGS, shown)
}

/// Keys that nobody knows, each with the nearest that somebody does.
pub(super) fn unknown_keys(source: &Source, tree: &Node, problems: &mut Vec<Diagnostic>) {
    for Stranger { group, keys, key, .. } in strangers(tree) {
        let name = key.as_text().unwrap_or_default();
        let place = if group.is_empty() { String::new() } else { format!(" of `{group}`") };
        let help = nearest(name, keys.iter().copied()).map_or_else(
            || format!("the keys{place} are: {}", keys.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        let unknown = problem(Code::UnknownKey, format!("`{name}` is not a setting{place}"));
        problems.push(if secrets::is_named(name) {
            // What stands there is not shown to whoever reads a log.
            let help = "secrets do not stand here: name where it is with `password_file` or `password_env`";
            let line = line_of(source, key.span.start);
            unknown.at_line(line, name, &(0..name.len())).help(help)
        } else {
            unknown.at(source, &key.span).help(help)
        });
    }
}

/// A key that stands twice in one group: nobody can tell which one is meant.
pub(super) fn repeated_keys(source: &Source, node: &Node, problems: &mut Vec<Diagnostic>) {
    match &node.value {
        yaml::Value::Scalar { .. } => {}
        yaml::Value::Sequence(items) => {
            for item in items {
                repeated_keys(source, item, problems);
            }
        }
        yaml::Value::Mapping(entries) => {
            let mut seen = HashSet::new();
            for (key, value) in entries {
                if let Some(name) = key.as_text()
                    && !seen.insert(name)
                {
                    let message = format!("`{name}` stands here a second time");
                    let repeated = problem(Code::DuplicateKey, message).help("keep one of them");
                    // The value may be a secret: only the key is shown.
                    let (line, column) = (line_of(source, key.span.start), 0..name.len());
                    problems.push(repeated.at_line(line, name, &column));
                }
                repeated_keys(source, value, problems);
            }
        }
    }
}
