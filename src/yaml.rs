//! YAML with the place of every value.
//!
//! `serde_yaml` turns YAML into types but does not say where a value stood, and people who must
//! mend a file need to see that. This module keeps the text of each scalar as it was written,
//! with its place, inside limits that no honest file reaches.

use std::collections::HashMap;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// How deep lists and mappings may stand in each other.
pub const MAX_DEPTH: usize = 32;
/// How many values a posting's front matter or a site's settings may have, aliases expanded.
pub const MAX_NODES: usize = 20_000;

/// A value and where it stands, in bytes of the parsed text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// From the first byte to past the last.
    pub span: Range<usize>,
    /// What stands there.
    pub value: Value,
}

/// What a node holds. Scalars keep their text: what it means is for the reader of the key to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text, number, date, yes or no. `quoted` tells `"null"` from `null`.
    Scalar {
        /// The text without quotes.
        text: String,
        /// Whether it stood in quotes or in a block.
        quoted: bool,
    },
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values, in the order of the file; a key may stand twice.
    Mapping(Vec<(Node, Node)>),
}

impl Node {
    /// Whether the value is empty or one of YAML's words for nothing.
    pub fn is_null(&self) -> bool {
        match &self.value {
            Value::Scalar { text, quoted: false } => {
                matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            Value::Scalar { text, quoted: true } => text.trim().is_empty(),
            Value::Sequence(items) => items.is_empty(),
            Value::Mapping(entries) => entries.is_empty(),
        }
    }

    /// The text of a scalar.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The entry of a mapping: its key and its value.
    pub fn entry(&self, key: &str) -> Option<(&Node, &Node)> {
        match &self.value {
            Value::Mapping(entries) => {
                entries.iter().find(|(k, _)| k.as_text() == Some(key)).map(|(k, v)| (k, v))
            }
            _ => None,
        }
    }

    /// The item of a list.
    pub fn item(&self, index: usize) -> Option<&Node> {
        match &self.value {
            Value::Sequence(items) => items.get(index),
            _ => None,
        }
    }
}

/// Why a text is not YAML that we read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// Where, in bytes.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// Whether one of this module's limits was passed, rather than YAML's rules broken.
    pub limit: bool,
}

/// Reads the first document of a text; `None` when there is nothing in it.
///
/// # Errors
/// When the text is not YAML, or passes [`MAX_DEPTH`] or [`MAX_NODES`].
pub fn parse(text: &str) -> Result<Option<Node>, SyntaxError> {
    parse_with(text, MAX_NODES)
}

/// The same for a list that may be long: with at most so many values, aliases expanded.
///
/// # Errors
/// When the text is not YAML, or passes [`MAX_DEPTH`] or the limit.
pub fn parse_with(text: &str, max_nodes: usize) -> Result<Option<Node>, SyntaxError> {
    // The scanner counts characters; everything else here counts bytes.
    let offsets = Offsets::new(text);
    if let Some(error) = nested_too_deep(text) {
        return Err(error);
    }
    let mut builder = Builder { max_nodes, ..Builder::default() };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let at = offsets.byte(error.marker().index());
            SyntaxError { span: at..at, message: error.info().to_owned(), limit: false }
        })?;
        if matches!(event, Event::DocumentEnd) {
            break;
        }
        let span = offsets.span(text, span);
        builder.event(event, &span).map_err(|message| SyntaxError {
            span,
            message,
            limit: true,
        })?;
    }
    Ok(builder.root)
}

/// Brackets are counted before the text is parsed: the scanner itself has no limit.
fn nested_too_deep(text: &str) -> Option<SyntaxError> {
    let mut depth = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'\n' => depth = depth.min(MAX_DEPTH),
            _ => {}
        }
        if depth > 8 * MAX_DEPTH {
            return Some(SyntaxError { span: at..at + 1, message: too_deep(), limit: true });
        }
    }
    None
}

fn too_deep() -> String {
    format!("values are nested more than {MAX_DEPTH} deep")
}

/// From character indices to byte indices.
struct Offsets(Option<Vec<usize>>);

impl Offsets {
    fn new(text: &str) -> Self {
        Self((!text.is_ascii()).then(|| {
            text.char_indices().map(|(at, _)| at).chain(std::iter::once(text.len())).collect()
        }))
    }

    fn byte(&self, index: usize) -> usize {
        match &self.0 {
            Some(offsets) => offsets.get(index).or(offsets.last()).copied().unwrap_or(0),
            None => index,
        }
    }

    /// The span without the white space that the scanner counts to a plain scalar.
    fn span(&self, text: &str, span: Span) -> Range<usize> {
        let start = self.byte(span.start.index()).min(text.len());
        let end = self.byte(span.end.index()).clamp(start, text.len());
        start..start + text[start..end].trim_end().len()
    }
}

/// Builds the tree from the parser's events.
#[derive(Default)]
struct Builder {
    root: Option<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    max_nodes: usize,
}

/// A list or mapping that has begun.
struct Open {
    start: usize,
    anchor: usize,
    mapping: bool,
    items: Vec<Node>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: &Range<usize>) -> Result<(), String> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let quoted = style != ScalarStyle::Plain;
                let value = Value::Scalar { text: text.into_owned(), quoted };
                self.add(Node { span: span.clone(), value }, anchor)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err("an alias stands inside of what it names".to_owned());
                };
                let node = Node { span: span.clone(), value: node.value.clone() };
                self.nodes += size(&node);
                self.add(node, 0)
            }
            Event::SequenceStart(anchor, _) => self.begin(span.start, anchor, false),
            Event::MappingStart(anchor, _) => self.begin(span.start, anchor, true),
            Event::SequenceEnd | Event::MappingEnd => self.end(span.end),
            _ => Ok(()),
        }
    }

    fn begin(&mut self, start: usize, anchor: usize, mapping: bool) -> Result<(), String> {
        if self.open.len() >= MAX_DEPTH {
            return Err(too_deep());
        }
        self.open.push(Open { start, anchor, mapping, items: Vec::new() });
        Ok(())
    }

    fn end(&mut self, end: usize) -> Result<(), String> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let value = if open.mapping {
            let mut entries = Vec::with_capacity(open.items.len() / 2);
            let mut items = open.items.into_iter();
            while let (Some(key), Some(value)) = (items.next(), items.next()) {
                entries.push((key, value));
            }
            merge(&mut entries);
            Value::Mapping(entries)
        } else {
            Value::Sequence(open.items)
        };
        self.add(Node { span: open.start..end.max(open.start), value }, open.anchor)
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), String> {
        self.nodes += 1;
        if self.nodes > self.max_nodes {
            return Err(format!("there are more than {} values, aliases expanded", self.max_nodes));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            Some(open) => open.items.push(node),
            None => self.root = Some(node),
        }
        Ok(())
    }
}

/// Takes over the entries of the mappings that `<<` names (YAML's merge key), for keys that are not
/// there: of several mappings, those of the first.
fn merge(entries: &mut Vec<(Node, Node)>) {
    let is_merge =
        |key: &Node| matches!(&key.value, Value::Scalar { text, quoted: false } if text == "<<");
    let is_mapping = |node: &Node| matches!(node.value, Value::Mapping(_));
    while let Some(at) = entries.iter().position(|(key, value)| {
        is_merge(key)
            && match &value.value {
                Value::Mapping(_) => true,
                Value::Sequence(items) => items.iter().all(is_mapping),
                Value::Scalar { .. } => false,
            }
    }) {
        let (_, merged) = entries.remove(at);
        let mappings = match merged.value {
            Value::Sequence(items) => items,
            value => vec![Node { span: merged.span, value }],
        };
        let taken = mappings.into_iter().flat_map(|mapping| match mapping.value {
            Value::Mapping(entries) => entries,
            _ => Vec::new(),
        });
        for (key, value) in taken {
            let is_there = entries.iter().any(|(k, _)| k.value == key.value);
            if !is_there && !is_merge(&key) {
                entries.push((key, value));
            }
        }
    }
}

/// How many values a node is made of, a long text counting for many: what an alias costs. Depth is
/// bounded, so recursion is safe.
fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::Scalar { text, .. } => text.len() / 64,
        Value::Sequence(items) => items.iter().map(size).sum(),
        Value::Mapping(entries) => entries.iter().map(|(k, v)| size(k) + size(v)).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_keep_their_text_and_place() {
        let text = "é: 'ü'\nb: 1.10   # note\n";
        let node = parse(text).unwrap().unwrap();
        let (key, value) = node.entry("é").unwrap();
        assert_eq!((&text[key.span.clone()], &text[value.span.clone()]), ("é", "'ü'"));
        let (_, value) = node.entry("b").unwrap();
        assert_eq!(value.as_text(), Some("1.10"));
        assert_eq!(&text[value.span.clone()], "1.10");
    }

    #[test]
    fn a_merge_key_takes_over_what_is_not_there() {
        let text = "d: &d {a: 1, b: 2}\ne: &e {b: 3, c: 4}\nf: {<<: [*d, *e], a: 0}\ng: {<<: *d}\n<<: *e\nh: {\"<<\": *d}\n";
        let node = parse(text).unwrap().unwrap();
        let of = |key: &str, inner: &str| {
            let (_, value) = node.entry(key).unwrap();
            value.entry(inner).and_then(|(_, value)| value.as_text()).map(str::to_owned)
        };
        let all = |key| ["a", "b", "c"].map(|inner| of(key, inner).unwrap_or_default());
        assert_eq!(all("f"), ["0", "2", "4"]);
        assert_eq!(all("g"), ["1", "2", ""]);
        assert_eq!(all("h"), ["", "", ""]);
        assert_eq!(node.entry("c").unwrap().1.as_text(), Some("4"));
    }

    #[test]
    fn an_alias_is_what_it_names() {
        let node = parse("a: &x [1, 2]\nb: *x\n").unwrap().unwrap();
        assert_eq!(node.entry("b").unwrap().1.item(1).unwrap().as_text(), Some("2"));
    }

    #[test]
    fn bombs_are_refused() {
        let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..10 {
            let aliases = vec![format!("*a{}", n - 1); 10].join(", ");
            laughs.push_str(&format!("a{n}: &a{n} [{aliases}]\n"));
        }
        assert!(parse(&laughs).unwrap_err().limit);
        assert!(parse(&"[".repeat(1_000_000)).unwrap_err().limit);
        assert!(parse(&"- ".repeat(100_000)).unwrap_err().limit);
        let long = format!("a: &a {}\nb: [{}]", "x".repeat(500_000), "*a, ".repeat(5_000));
        assert!(parse(&long).unwrap_err().limit);
        assert!(parse("a: &a [*a]").is_err());
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(parse("").unwrap(), None);
        assert_eq!(parse("# only a comment\n").unwrap(), None);
    }
}
