//! The languages that recipients read.

use std::collections::HashMap;
use std::sync::Arc;

use unic_langid::LanguageIdentifier;

use crate::catalog::{self, Catalog};
use crate::commands::Opened;
use crate::mail::{Composed, Composer, message};
use crate::reminders::{Digest, Recipient};
use crate::templates::Templates;

/// The catalog and templates of each language that recipients read.
pub(in crate::commands) struct Languages<'a> {
    opened: &'a Opened,
    /// `None` for a language that nobody wrote a catalog for, or whose catalog cannot be read:
    /// who reads it is written to in the site's.
    all: HashMap<LanguageIdentifier, Option<(Arc<Catalog>, Templates)>>,
    /// Catalogs that cannot be read.
    pub(in crate::commands) problems: Vec<String>,
}

impl<'a> Languages<'a> {
    /// The site's own language.
    pub(in crate::commands) fn new(opened: &'a Opened) -> Self {
        let mut languages = Self { opened, all: HashMap::new(), problems: Vec::new() };
        languages.learn(&opened.site.language);
        languages
    }

    /// The languages of these recipients.
    pub(in crate::commands) fn of_all(opened: &'a Opened, recipients: &[Recipient]) -> Self {
        let mut languages = Self::new(opened);
        for language in recipients.iter().filter_map(|recipient| recipient.language.as_ref()) {
            languages.learn(language);
        }
        languages
    }

    /// Makes sure that what is known of a language is at hand.
    pub(in crate::commands) fn learn(&mut self, language: &LanguageIdentifier) {
        if self.all.contains_key(language) {
            return;
        }
        let own = &self.opened.own;
        let text = own.get(&format!("{}.ftl", language.language)).map(String::as_str);
        let known = match Catalog::new(language, text) {
            Ok(catalog) => {
                let catalog = Arc::new(catalog);
                // What is wrong with one shows where it is needed.
                let templates = Templates::in_part(own, catalog.clone());
                Some((catalog, templates))
            }
            Err(catalog::Error::Missing(_)) => None,
            Err(error) => {
                self.problems.push(error.to_string());
                None
            }
        };
        self.all.insert(language.clone(), known);
    }

    /// Whether somebody can be written to in a language.
    pub(in crate::commands) fn speaks(&self, language: &LanguageIdentifier) -> bool {
        self.all.get(language).is_some_and(Option::is_some)
    }

    /// The catalog and templates of a recipient.
    pub(in crate::commands) fn of(
        &self,
        recipient: &Recipient,
    ) -> Option<&(Arc<Catalog>, Templates)> {
        let wanted =
            recipient.language.as_ref().and_then(|language| self.all.get(language)?.as_ref());
        wanted.or_else(|| self.all.get(&self.opened.site.language)?.as_ref())
    }

    pub(in crate::commands) fn compose(
        &self,
        composer: &Composer<'_>,
        digest: &Digest<'_>,
        edition: u32,
    ) -> std::result::Result<Composed, message::Error> {
        let missing = || message::Error::Message("no language to write in".to_owned());
        let (catalog, templates) = self.of(digest.recipient).ok_or_else(missing)?;
        composer.compose(digest, edition, (catalog, templates))
    }

    pub(in crate::commands) fn subject(&self, digest: &Digest<'_>) -> String {
        let found = self.of(digest.recipient);
        found.map(|(catalog, _)| message::subject(digest, catalog)).unwrap_or_default()
    }
}
