//! Templates: the built-in ones, and those of a site that replace them.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::Arc;

use fluent_bundle::{FluentArgs, FluentValue};
use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{AutoEscape, Environment, Output, State, UndefinedBehavior};
use serde::Serialize;

use crate::catalog::Catalog;
use crate::text;

/// The templates that are compiled into the program, by name.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("entry.html", include_str!("../templates/entry.html")),
    ("base.html", include_str!("../templates/base.html")),
    ("404.html", include_str!("../templates/404.html")),
    ("moved.html", include_str!("../templates/moved.html")),
    ("index.html", include_str!("../templates/index.html")),
    ("posting.html", include_str!("../templates/posting.html")),
    ("digest.html", include_str!("../templates/digest.html")),
    ("digest.txt", include_str!("../templates/digest.txt")),
    ("confirm.html", include_str!("../templates/confirm.html")),
    ("confirm.txt", include_str!("../templates/confirm.txt")),
    ("form.html", include_str!("../templates/form.html")),
    ("notice.html", include_str!("../templates/notice.html")),
];

/// The files that are published as they are, by name. A site's own of the same name replace them.
pub const STATIC: &[(&str, &str)] = &[
    ("style.css", include_str!("../templates/style.css")),
    ("icon.svg", include_str!("../templates/icon.svg")),
];

/// How much of a template a message quotes, in characters.
const MAX_QUOTED: usize = 60;
/// How much work one rendering may be, in instructions of the template engine. A page of a
/// thousand postings takes a few hundred thousand; a template that loops for ever is stopped.
const FUEL: u64 = 50_000_000;

/// Templates, ready to render in one language.
pub struct Templates {
    environment: Environment<'static>,
    /// Those that are not in the template language, and why.
    broken: Vec<Error>,
}

/// A template that cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`templates/{name}`{}: {message}", line.map(|line| format!(", line {line}")).unwrap_or_default())]
pub struct Error {
    /// The template at fault.
    pub name: String,
    /// Counted from 1.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
}

impl Error {
    fn new(name: &str, error: &minijinja::Error) -> Self {
        let message = match error.detail() {
            Some(detail) => format!("{}: {detail}", error.kind()),
            None => error.kind().to_string(),
        };
        Self { name: error.name().unwrap_or(name).to_owned(), line: error.line(), message }
    }

    /// The same, with what stands at the place.
    fn quoting(mut self, source: &str, place: Option<std::ops::Range<usize>>) -> Self {
        // The engine names what follows a variable without it.
        let whole = |place: std::ops::Range<usize>| {
            let before = source.get(..place.start)?;
            let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
            source.get(before.trim_end_matches(is_name).len()..place.end)
        };
        let quoted = place.and_then(whole).unwrap_or_default();
        let quoted = text::shortened(&text::one_line(quoted), MAX_QUOTED);
        if !quoted.is_empty() {
            self.message.push_str(&format!(" at `{quoted}`"));
        }
        self
    }
}

impl Templates {
    /// The built-in templates, with the site's own in place of those of the same name.
    ///
    /// # Errors
    /// When a template is not in the template language.
    pub fn new(own: &BTreeMap<String, String>, catalog: Arc<Catalog>) -> Result<Self, Error> {
        let templates = Self::in_part(own, catalog);
        templates.broken.first().map_or(Ok(()), |error| Err(error.clone()))?;
        Ok(templates)
    }

    /// The same, whatever is not in the template language: that shows where it is rendered. One that is for
    /// pages keeps no mail from being written.
    pub fn in_part(own: &BTreeMap<String, String>, catalog: Arc<Catalog>) -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        environment.set_fuel(Some(FUEL));
        environment.set_auto_escape_callback(|name| {
            if is_html(name) { AutoEscape::Html } else { AutoEscape::None }
        });
        environment.set_formatter(format);
        environment.add_filter("mailto", |address: &str| text::mailto(address));
        environment
            .add_function("t", move |name: &str, kwargs: Kwargs| phrase(&catalog, name, &kwargs));
        let built_in = BUILT_IN.iter().filter(|(name, _)| !own.contains_key(*name));
        let built_in = built_in.map(|(name, text)| (*name, *text));
        // Parts that the site's own templates include are among them.
        let own = own.iter().map(|(name, text)| (name.as_str(), text.as_str()));
        let own = own.filter(|(name, _)| STATIC.iter().all(|(file, _)| file != name));
        let mut broken = Vec::new();
        for (name, text) in built_in.chain(own) {
            if let Err(error) = environment.add_template_owned(name.to_owned(), text.to_owned()) {
                broken.push(Error::new(name, &error));
            }
        }
        Self { environment, broken }
    }

    /// What is wrong with those that are not in the template language.
    pub fn broken(&self) -> &[Error] {
        &self.broken
    }

    /// Renders a template.
    ///
    /// # Errors
    /// When the template uses what is not there.
    pub fn render(&self, name: &str, context: impl Serialize) -> Result<String, Error> {
        if let Some(error) = self.broken.iter().find(|error| error.name == name) {
            return Err(error.clone());
        }
        let template = self.environment.get_template(name);
        template.and_then(|template| template.render(Value::from(Serde(context)))).map_err(
            |error| {
                // What is wrong in a template that others include is told of by each of them.
                let mut error = &error;
                while let Some(inner) = error.source().and_then(|source| source.downcast_ref()) {
                    error = inner;
                }
                let found = Error::new(name, error);
                let template = self.environment.get_template(&found.name);
                let source = template.as_ref().map_or("", |template| template.source()).to_owned();
                found.quoting(&source, error.range())
            },
        )
    }
}

/// Writes a value. The engine's own way of escaping HTML also escapes slashes, and every address
/// in every mail would show it.
fn format(
    output: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), minijinja::Error> {
    match value.as_str() {
        Some(text) if *state.auto_escape() == AutoEscape::Html && !value.is_safe() => {
            Ok(output.write_str(&html_escape::encode_quoted_attribute(text))?)
        }
        _ => minijinja::escape_formatter(output, state, value),
    }
}

/// Whether a template's text is HTML.
fn is_html(name: &str) -> bool {
    std::path::Path::new(name).extension().is_some_and(|extension| extension == "html")
}

/// `t("closes-on", date=…)`: a phrase of the catalog.
fn phrase(catalog: &Catalog, name: &str, kwargs: &Kwargs) -> Result<String, minijinja::Error> {
    let mut arguments = FluentArgs::new();
    for key in kwargs.args() {
        let value: Value = kwargs.peek(key)?;
        let value = match value.as_str() {
            Some(text) => FluentValue::from(text.to_owned()),
            None => match value.as_i64() {
                Some(number) => FluentValue::from(number),
                None => FluentValue::from(value.to_string()),
            },
        };
        arguments.set(key.to_owned(), value);
    }
    Ok(catalog.phrase(name, &arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn templates(own: &[(&str, &str)]) -> Result<Templates, Error> {
        let own = own.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        Templates::new(&own, Arc::new(Catalog::new(&"fr".parse().unwrap(), None).unwrap()))
    }

    #[test]
    fn the_built_in_templates_are_sound() {
        templates(&[]).map(|_| ()).unwrap();
    }

    #[test]
    fn a_sites_template_replaces_ours_and_speaks_its_language() {
        let templates =
            templates(&[("entry.html", "{{ t(\"closes-in\", days=n) }} {{ x }}")]).unwrap();
        let rendered =
            templates.render("entry.html", serde_json::json!({ "n": 2, "x": "<" })).unwrap();
        assert_eq!(rendered, "ferme dans 2 jours &lt;");
    }

    #[test]
    fn an_error_names_template_and_line() {
        let error = templates(&[("index.html", "a\n{% if %}")]).map(|_| ()).unwrap_err();
        assert_eq!((error.name.as_str(), error.line), ("index.html", Some(2)));
        let templates = templates(&[("index.html", "a\n\n{{ posting.nothing.more }}")]).unwrap();
        let error =
            templates.render("index.html", serde_json::json!({ "posting": 1 })).unwrap_err();
        assert_eq!((error.name.as_str(), error.line), ("index.html", Some(3)));
        assert!(error.message.contains("`posting.nothing"), "{error}");
    }

    #[test]
    fn an_error_in_a_part_is_found_there() {
        let own =
            [("index.html", "a\n{% include \"part.html\" %}"), ("part.html", "b\n\n{{ x.y.z }}")];
        let error = templates(&own).unwrap().render("index.html", ()).unwrap_err();
        assert_eq!((error.name.as_str(), error.line), ("part.html", Some(3)));
        assert!(error.message.contains("`x.y"), "{error}");
    }

    #[test]
    fn a_template_that_never_ends_is_stopped() {
        let text =
            "{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}";
        assert!(templates(&[("index.html", text)]).unwrap().render("index.html", ()).is_err());
    }
}
