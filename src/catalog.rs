//! What crieur says to readers, in their language: catalogs in Fluent's format.
//!
//! French and English are compiled in. A file `templates/{language}.ftl` of the site replaces one of
//! them or adds a language; what it leaves out is said in English.

use std::borrow::{Borrow, Cow};
use std::hash::Hash;
use std::sync::RwLock;

use chrono::{DateTime, Datelike, NaiveDate, Timelike, Utc};
use chrono_tz::Tz;
use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue};
use foldhash::HashMap;
use unic_langid::{LanguageIdentifier, langid};

use crate::posting::Moment;

const FRENCH: &str = include_str!("../templates/fr.ftl");
const ENGLISH: &str = include_str!("../templates/en.ftl");

/// The phrases of one language.
pub struct Catalog {
    language: LanguageIdentifier,
    /// Asked in turn.
    bundles: Vec<FluentBundle<FluentResource>>,
    /// What was said before: most of what is said is labels and dates.
    said: RwLock<HashMap<String, String>>,
    /// Days in words.
    days: RwLock<HashMap<NaiveDate, String>>,
}

/// How many phrases are kept, and how long the values in them may be.
const MAX_KEPT: usize = 10_000;
const MAX_VALUE: usize = 40;

/// A catalog that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody wrote one for the language.
    #[error("there is no catalog for the language `{0}`")]
    Missing(String),
    /// It is not in Fluent's format.
    #[error("`templates/{language}.ftl`, line {line}: {message}")]
    Syntax {
        /// The catalog's language.
        language: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
}

impl Catalog {
    /// The catalog of a language. `own` is the text of the site's own catalog for it, if any.
    ///
    /// # Errors
    /// When there is none, or the site's own cannot be read.
    pub fn new(language: &LanguageIdentifier, own: Option<&str>) -> Result<Self, Error> {
        let name = language.language.as_str().to_owned();
        let built_in = match name.as_str() {
            "fr" => Some(FRENCH),
            "en" => Some(ENGLISH),
            _ => None,
        };
        if own.is_none() && built_in.is_none() {
            return Err(Error::Missing(name));
        }
        let sources = own.into_iter().map(|text| (language.clone(), text)).chain(
            built_in
                .into_iter()
                .map(|text| (language.clone(), text))
                .chain([(langid!("en"), ENGLISH)]),
        );
        let bundles =
            sources.map(|(language, text)| bundle(language, text)).collect::<Result<_, _>>()?;
        Ok(Self {
            language: language.clone(),
            bundles,
            said: RwLock::default(),
            days: RwLock::default(),
        })
    }

    /// The language.
    pub fn language(&self) -> &LanguageIdentifier {
        &self.language
    }

    /// A phrase. An unknown one is its own name, which shows but breaks nothing.
    pub fn phrase(&self, name: &str, arguments: &FluentArgs<'_>) -> String {
        let Some(key) = key(name, arguments) else { return self.say(name, arguments) };
        once(&self.said, &*key, || (key.clone().into_owned(), self.say(name, arguments)))
    }

    fn say(&self, name: &str, arguments: &FluentArgs<'_>) -> String {
        for bundle in &self.bundles {
            let Some(pattern) = bundle.get_message(name).and_then(|message| message.value()) else {
                continue;
            };
            let mut errors = Vec::new();
            let phrase = bundle.format_pattern(pattern, Some(arguments), &mut errors);
            if errors.is_empty() {
                return phrase.into_owned();
            }
        }
        name.to_owned()
    }

    /// A phrase without arguments.
    pub fn word(&self, name: &str) -> String {
        self.phrase(name, &FluentArgs::new())
    }

    /// A phrase with arguments.
    pub fn with<'a>(
        &self,
        name: &str,
        arguments: impl IntoIterator<Item = (&'a str, FluentValue<'a>)>,
    ) -> String {
        self.phrase(name, &arguments.into_iter().collect())
    }

    /// A day in words: « vendredi 3 septembre 2021 ».
    pub fn date(&self, day: NaiveDate) -> String {
        once(&self.days, &day, || (day, self.say("date", &date_arguments(day))))
    }

    /// The moment at which something ends, in words: its last day, or the day and time.
    pub fn deadline(&self, moment: Moment, zone: Tz) -> String {
        match moment {
            Moment::Day(day) => self.date(day),
            Moment::Instant(instant) => {
                let local = instant.with_timezone(&zone);
                if local.time() == chrono::NaiveTime::MIN {
                    return self.date(moment.last_day(zone));
                }
                self.instant(instant.to_utc(), zone)
            }
        }
    }

    /// An instant in words, in the zone.
    pub fn instant(&self, instant: DateTime<Utc>, zone: Tz) -> String {
        let local = instant.with_timezone(&zone);
        let mut arguments = date_arguments(local.date_naive());
        arguments.set("hour", local.hour());
        arguments.set("minute", format!("{:02}", local.minute()));
        self.phrase("date-time", &arguments)
    }
}

/// What was said before, or else is said and kept now.
fn once<K: Eq + Hash + Borrow<Q>, Q: Eq + Hash + ?Sized>(
    kept: &RwLock<HashMap<K, String>>,
    key: &Q,
    say: impl FnOnce() -> (K, String),
) -> String {
    if let Ok(kept) = kept.read()
        && let Some(phrase) = kept.get(key)
    {
        return phrase.clone();
    }
    let (key, phrase) = say();
    if let Ok(mut kept) = kept.write()
        && kept.len() < MAX_KEPT
    {
        kept.insert(key, phrase.clone());
    }
    phrase
}

/// What tells a phrase from all others; nothing for one that is hardly said twice.
fn key<'n>(name: &'n str, arguments: &FluentArgs<'_>) -> Option<Cow<'n, str>> {
    // How many stand between a name and its values: no value contains one.
    let mut marks = 0;
    let mut key = Cow::Borrowed(name);
    for (name, value) in arguments.iter() {
        let (kind, value) = match value {
            FluentValue::String(text) if text.len() <= MAX_VALUE => ("s", Cow::Borrowed(&**text)),
            FluentValue::Number(number) => ("n", number.as_string()),
            _ => return None,
        };
        let key = key.to_mut();
        key.reserve(name.len() + value.len() + 3);
        key.extend(["\0", name, "\0", kind, &value]);
        marks += 2;
    }
    (key.bytes().filter(|byte| *byte == 0).count() == marks).then_some(key)
}

fn bundle(language: LanguageIdentifier, text: &str) -> Result<FluentBundle<FluentResource>, Error> {
    let name = language.language.as_str().to_owned();
    let resource = FluentResource::try_new(text.to_owned()).map_err(|(_, errors)| {
        let first = errors.first();
        let at = first.map_or(0, |error| error.pos.start).min(text.len());
        Error::Syntax {
            language: name,
            line: text.get(..at).unwrap_or(text).matches('\n').count() + 1,
            message: first.map(ToString::to_string).unwrap_or_default(),
        }
    })?;
    let mut bundle = FluentBundle::new_concurrent(vec![language]);
    // The isolation marks are for mixed directions in one line; feeds and mails show them as boxes.
    bundle.set_use_isolating(false);
    bundle.add_resource_overriding(resource);
    Ok(bundle)
}

fn date_arguments(day: NaiveDate) -> FluentArgs<'static> {
    let mut arguments = FluentArgs::new();
    arguments.set("weekday", day.weekday().number_from_monday());
    arguments.set("day", day.day());
    arguments.set("month", day.month());
    arguments.set("year", day.year().to_string());
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(language: &str) -> Catalog {
        Catalog::new(&language.parse().unwrap(), None).unwrap()
    }

    #[test]
    fn days_are_said_as_people_say_them() {
        let day: NaiveDate = "2021-09-03".parse().unwrap();
        assert_eq!(catalog("fr").date(day), "vendredi 3 septembre 2021");
        assert_eq!(catalog("fr-CA").date("2022-05-01".parse().unwrap()), "dimanche 1er mai 2022");
        assert_eq!(catalog("en").date(day), "Friday 3 September 2021");
    }

    #[test]
    fn a_deadline_at_midnight_is_the_day_before() {
        let fr = catalog("fr");
        let zone = chrono_tz::Europe::Paris;
        let at = |text: &str| fr.deadline(Moment::Instant(text.parse().unwrap()), zone);
        assert_eq!(at("2021-09-04T00:00:00+02:00"), "vendredi 3 septembre 2021");
        assert_eq!(at("2021-09-03T10:05:00Z"), "vendredi 3 septembre 2021 à 12\u{A0}h\u{A0}05");
    }

    #[test]
    fn plurals_are_right_in_both_languages() {
        for (language, days, expected) in [
            ("fr", 0, "ferme aujourd’hui"),
            ("fr", 1, "ferme demain"),
            ("fr", 2, "ferme dans 2 jours"),
            ("en", 1, "closes tomorrow"),
            ("en", 7, "closes in 7 days"),
        ] {
            assert_eq!(catalog(language).with("closes-in", [("days", days.into())]), expected);
        }
        let open = |language: &str, n: usize| {
            catalog(language).with("open-postings", [("count", n.into())])
        };
        assert_eq!(open("fr", 0), "Aucune offre ouverte");
        assert_eq!(open("fr", 1), "1 offre ouverte");
        assert_eq!(open("en", 1000), "1000 open postings");
    }

    #[test]
    fn both_catalogs_say_the_same_things() {
        let names = |text: &str| {
            let lines = text.lines().filter(|l| l.starts_with(|c: char| c.is_ascii_lowercase()));
            lines.filter_map(|l| l.split(" =").next().map(str::to_owned)).collect::<Vec<_>>()
        };
        assert_eq!(names(FRENCH), names(ENGLISH));
    }

    #[test]
    fn french_has_its_no_break_spaces() {
        for line in FRENCH.lines().filter(|line| !line.starts_with('#')) {
            for mark in [" :", " ;", " ?", " !", "« ", " »"] {
                assert!(!line.contains(mark), "{line}");
            }
        }
    }

    #[test]
    fn a_site_may_have_a_language_of_its_own() {
        let own = "closes-on = Schließt am { $date }\n";
        let german = Catalog::new(&langid!("de"), Some(own)).unwrap();
        assert_eq!(german.with("closes-on", [("date", "Freitag".into())]), "Schließt am Freitag");
        assert_eq!(german.word("apply"), "Apply");
        assert!(matches!(Catalog::new(&langid!("de"), None), Err(Error::Missing(_))));
        let broken = Catalog::new(&langid!("de"), Some("a = b\n\nc = {\n"));
        assert!(matches!(broken, Err(Error::Syntax { line: 3 | 4, .. })));
    }
}
