//! A site that is ready to work with: its settings, templates and postings, read from its folder.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use rayon::prelude::*;

use super::{Failure, Result, Shell, configuration, temporary};
use crate::cache;
use crate::catalog::{self, Catalog};
use crate::clock::Deadline;
use crate::diagnostics::{Code, Diagnostic, Severity, Source};
use crate::history;
use crate::key::Key;
use crate::posting::Posting;
use crate::posting::files::{Files, Listing};
use crate::posting::lifecycle::{self, Rules};
use crate::posting::load::{self, Known, Loaded};
use crate::private::needs_a_person;
use crate::site::{self, Layout, POSTINGS, SETTINGS, Site};
use crate::templates::{self, Templates};

/// A site that is ready to work with.
pub(super) struct Opened {
    pub(super) layout: Layout,
    pub(super) site: Site,
    pub(super) catalog: Arc<Catalog>,
    pub(super) templates: Templates,
    /// The site's own templates, catalogs and other files that replace the built-in ones.
    pub(super) own: BTreeMap<String, String>,
    /// Changes with the program, the settings and the templates.
    pub(super) key: Key,
    pub(super) now: DateTime<Utc>,
    /// The same instant for measuring what has passed since.
    pub(super) since: Deadline,
}

/// Of which postings the text is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Texts {
    /// Of all.
    All,
    /// Of those of which it has to be read anyway: what the others mean is known.
    Few,
}

/// Why a site could not be opened.
pub(super) enum Unopened {
    /// There is none, or it cannot be read.
    Missing(anyhow::Error),
    /// Something in it is wrong.
    Problems(Vec<Diagnostic>),
}

fn open(
    layout: &Layout,
    now: impl FnOnce(Tz) -> DateTime<Utc>,
) -> std::result::Result<Opened, Unopened> {
    let path = layout.settings();
    let bytes = std::fs::read(&path).map_err(|error| {
        let context = match error.kind() {
            io::ErrorKind::NotFound => format!(
                "there is no site in `{}`: `{SETTINGS}` is missing; go to the site's folder, name it with `--site DIR`, or make one with `crieur init DIR`",
                layout.root.display()
            ),
            _ => format!("cannot read `{}`", path.display()),
        };
        Unopened::Missing(if error.kind() == io::ErrorKind::NotFound {
            anyhow::anyhow!(context)
        } else {
            anyhow::Error::new(error).context(context)
        })
    })?;
    let text = utf8(SETTINGS, bytes)?;
    let site = Site::parse(&text).map_err(Unopened::Problems)?;
    let own = own_templates(layout)?;
    let language = format!("{}.ftl", site.language.language.as_str());
    let catalog = Catalog::new(&site.language, own.get(&language).map(String::as_str));
    let catalog = catalog.map_err(|error| match error {
        catalog::Error::Missing(_) => {
            let help = format!("write `templates/{language}`, or use `fr` or `en`");
            let problem = site::problem_with(&text, "language", error.to_string());
            Unopened::Problems(vec![problem.help(help)])
        }
        catalog::Error::Syntax { line, message, .. } => {
            Unopened::Problems(vec![unusable(&own, &language, Some(line), message)])
        }
    })?;
    let catalog = Arc::new(catalog);
    let templates = Templates::in_part(&own, catalog.clone());
    let parts = own.iter().flat_map(|(name, text)| [name.as_bytes(), text.as_bytes()]);
    let key = Key::join([cache::program().bytes(), text.as_bytes()].into_iter().chain(parts));
    let now = now(site.timezone);
    let since = Deadline::after(Duration::ZERO);
    Ok(Opened { key, layout: layout.clone(), site, catalog, templates, own, now, since })
}

/// The text of a file that people write beside the postings.
fn utf8(path: &str, bytes: Vec<u8>) -> std::result::Result<String, Unopened> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let source = Source::new(path, text);
        let problem =
            Diagnostic::new(Severity::Error, Code::Encoding, path, "the file is not in UTF-8")
                .at(&source, &(at..at + char::REPLACEMENT_CHARACTER.len_utf8()))
                .help("save the file as UTF-8");
        Unopened::Problems(vec![problem])
    })
}

/// A file in the site's `templates/` that cannot be used, with the line where that shows.
fn unusable(
    own: &BTreeMap<String, String>,
    name: &str,
    line: Option<usize>,
    message: String,
) -> Diagnostic {
    let problem =
        Diagnostic::new(Severity::Error, Code::Template, format!("templates/{name}"), message)
            .help("correct it, or delete it to use the one that comes with crieur");
    let lines = own.get(name).map_or("", String::as_str).lines();
    // What is missing at the end is found behind the last line.
    let found = lines.enumerate().take(line.unwrap_or(0)).last();
    match found {
        Some((at, line)) => {
            let start = line.len() - line.trim_start().len();
            problem.at_line(at + 1, line, &(start..line.trim_end().len().max(start)))
        }
        None => problem,
    }
}

/// The files in the site's `templates/`, by name.
fn own_templates(layout: &Layout) -> std::result::Result<BTreeMap<String, String>, Unopened> {
    let folder = layout.templates();
    let unreadable = |path: &Path, error: io::Error| {
        let context = format!("cannot read `{}`", path.display());
        Unopened::Missing(anyhow::Error::new(error).context(context))
    };
    let mut own = BTreeMap::new();
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(own),
        Err(error) => return Err(unreadable(&folder, error)),
    };
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(&folder, error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if [".html", ".txt", ".ftl", ".css", ".svg"].iter().any(|end| name.ends_with(end)) {
            let path = entry.path();
            let bytes = std::fs::read(&path).map_err(|error| unreadable(&path, error))?;
            let text = utf8(&format!("templates/{name}"), bytes)?;
            // Some editors begin every file with a mark that nobody sees.
            own.insert(name, text.trim_start_matches('\u{FEFF}').to_owned());
        }
    }
    Ok(own)
}

impl Opened {
    /// What is wrong with those of the templates that are meant.
    fn broken(&self, is_meant: impl Fn(&str) -> bool) -> Vec<Diagnostic> {
        let broken = self.templates.broken().iter().filter(|error| is_meant(&error.name));
        broken.map(|error| self.unusable(error.clone())).collect()
    }

    /// The site, unless something is wrong with those.
    fn without(self, is_broken: impl Fn(&str) -> bool) -> std::result::Result<Self, Unopened> {
        match self.broken(is_broken) {
            broken if broken.is_empty() => Ok(self),
            broken => Err(Unopened::Problems(broken)),
        }
    }

    /// What is wrong with a template.
    pub(super) fn unusable(&self, error: templates::Error) -> Diagnostic {
        unusable(&self.own, &error.name, error.line, error.message)
    }

    /// The day that it is, in the site's zone.
    pub(super) fn today(&self) -> NaiveDate {
        self.now.with_timezone(&self.site.timezone).date_naive()
    }

    /// Reads the postings, with what time has made untrue in them.
    pub(super) fn postings(&self, texts: Texts) -> Result<Loaded> {
        Ok(self.as_of_now(self.understand(self.files(texts)?, self.now)))
    }

    /// The same for who looks at many days, or lasts longer than one: as they are at an instant.
    pub(super) fn postings_at_any_time(&self, now: DateTime<Utc>) -> Result<Loaded> {
        Ok(self.understand(self.files(Texts::Few)?, now))
    }

    /// Reads the files of the postings, and what is known of them.
    pub(super) fn files(&self, texts: Texts) -> Result<(Files, Known)> {
        let (listing, known) = rayon::join(|| Listing::of(&self.layout), || self.known());
        let is_emptied = |error: &io::Error| {
            error.kind() == io::ErrorKind::NotFound
                && history::is_emptied(&self.layout.postings(), "site.yaml").unwrap_or(false)
        };
        let listing = match listing {
            Err(error) if is_emptied(&error) => Ok(Listing::nothing(&self.layout)),
            listing => listing,
        };
        let read = listing.and_then(|listing| {
            listing.read(|path, key| texts == Texts::Few && known.has(path, key))
        });
        let folder = || self.layout.root.join(POSTINGS);
        let files = read.map_err(|error| {
            let is_lasting = error.kind() == io::ErrorKind::NotFound || needs_a_person(&error);
            let mut context =
                format!("cannot read the folder of postings, `{}`", folder().display());
            if error.kind() == io::ErrorKind::NotFound {
                context.push_str("; where there are none, make it; where it is a disk, mount it");
            }
            let error = anyhow::Error::new(error).context(context);
            if is_lasting { configuration(error) } else { temporary(error) }
        })?;
        Ok((files, known))
    }

    pub(super) fn understand(&self, (files, known): (Files, Known), now: DateTime<Utc>) -> Loaded {
        let mut loaded = load::load(&self.layout, &self.site, files, known, now);
        let rules = Rules::of(&self.site);
        let contradictions = |p: &Posting| lifecycle::contradictions(p, now, &rules);
        let told = |posting: &mut Posting| {
            if contradictions(posting).is_empty() {
                return None;
            }
            let is_read = load::read_for_excerpts(&self.layout, posting);
            Some((contradictions(posting), is_read))
        };
        let told: Vec<_> = loaded.postings.par_iter_mut().filter_map(told).collect();
        for (diagnostics, is_read) in told {
            loaded.diagnostics.extend(diagnostics);
            if !is_read {
                loaded.until = Some(now);
            }
        }
        loaded.diagnostics.sort_by(|a, b| a.path.cmp(&b.path));
        loaded
    }

    /// Leaves out what has not happened yet.
    pub(super) fn as_of_now(&self, mut loaded: Loaded) -> Loaded {
        let (now, zone) = (self.now, self.site.timezone);
        let forgotten =
            loaded.postings.iter_mut().filter_map(|p| p.forget_what_is_to_come(now, zone));
        loaded.until = forgotten.chain(loaded.until).min();
        loaded
    }

    /// Where it is kept what files mean.
    fn known_at(&self) -> PathBuf {
        self.layout.cache("postings")
    }

    /// What files meant the last time.
    fn known(&self) -> Known {
        let known = cache::load(&self.known_at()).filter(|known: &Known| known.is_for(self.key));
        known.unwrap_or(Known::new(self.key))
    }

    /// Keeps what was learned. Whoever only looks at a site leaves nothing behind.
    pub(super) fn remember(&self, learned: Option<Known>) {
        if let Some(known) = learned {
            cache::save(&self.known_at(), &known);
        }
    }
}

impl Shell {
    /// Reads the settings and what belongs to them, as they are now.
    pub(super) fn open(&self) -> std::result::Result<Opened, Unopened> {
        let opened = self.open_in_part()?;
        opened.without(|_| true)
    }

    /// The same, whatever is wrong with templates.
    fn open_in_part(&self) -> std::result::Result<Opened, Unopened> {
        let opened = open(&self.layout(), |zone| self.now.instant(zone))?;
        self.zone.get_or_init(|| opened.site.timezone);
        Ok(opened)
    }

    /// The same, and says what is wrong with them.
    pub(super) fn site(&self) -> Result<Opened> {
        self.reported(self.open())
    }

    /// The same, for reminding: what is wrong with templates of pages keeps no digest from being sent.
    pub(super) fn site_to_remind(&self) -> Result<Opened> {
        self.reported(self.open_in_part().and_then(|opened| {
            let texts = ["digest.html", "digest.txt"].map(|name| opened.own.get(name).cloned());
            // What the site's own digests name, and parts of which nobody knows where they are used.
            let is_theirs = |name: &str| {
                let is_named = |text: &String| text.contains(name);
                name.starts_with("digest.")
                    || !templates::BUILT_IN.iter().any(|(built_in, _)| *built_in == name)
                    || texts.iter().flatten().any(is_named)
            };
            opened.without(is_theirs)
        }))
    }

    /// Says what is wrong with templates, and refuses them.
    pub(super) fn refuse_broken(&self, opened: &Opened) -> Result<()> {
        let broken = opened.broken(|_| true);
        if broken.is_empty() {
            return Ok(());
        }
        self.report(&broken);
        Err(Failure::Reported)
    }

    /// The site, once what is wrong with it is said.
    fn reported(&self, opened: std::result::Result<Opened, Unopened>) -> Result<Opened> {
        match opened {
            Ok(opened) => Ok(opened),
            Err(Unopened::Problems(problems)) => {
                self.report(&problems);
                Err(Failure::Reported)
            }
            Err(Unopened::Missing(error)) => Err(Failure::Configuration(error)),
        }
    }
}
