//! One file a command: each reads, calls the core, writes and reports.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use serde_json::json;

use crate::cache;
use crate::catalog::{self, Catalog};
use crate::cli::{Cli, Color, Command, Global, LogFormat};
use crate::clock::{Deadline, Now};
use crate::diagnostics::{Code, Diagnostic, Report, Severity, Source, Tally};
use crate::key::Key;
use crate::posting::Posting;
use crate::posting::files::{Files, Listing};
use crate::posting::lifecycle::{self, Rules};
use crate::posting::load::{self, Known, Loaded};
use crate::posting::moment::rfc3339;
use crate::site::{self, Layout, POSTINGS, SETTINGS, Site};
use crate::templates::Templates;

mod build;
mod check;
mod completions;
mod confirmations;
mod explain;
mod init;
mod ledger;
mod list;
mod mailing;
mod new;
mod preview;
mod receive;
mod recipients;
mod remind;
mod run;
mod serve;
mod simulate;
mod status;
mod table;
mod unsubscribe;

/// How a command ended, when it did what it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// All is well.
    Done,
    /// Done, but something needs a person.
    Attention,
}

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line is wrong.
    #[error("{0:#}")]
    Usage(anyhow::Error),
    /// The site's settings, folders or templates are wrong.
    #[error("{0:#}")]
    Configuration(anyhow::Error),
    /// The same, already reported with source lines.
    #[error("the site's settings cannot be used")]
    Reported,
    /// Something may well work the next time.
    #[error("{0:#}")]
    Temporary(anyhow::Error),
}

impl Outcome {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Attention => 1,
        }
    }
}

impl Failure {
    /// The exit code, after `sysexits.h`.
    pub fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Configuration(_) | Self::Reported => 78,
            Self::Temporary(_) => 75,
        }
    }
}

/// The result of a command.
pub type Result<T = Outcome> = std::result::Result<T, Failure>;

fn configuration(error: impl Into<anyhow::Error>) -> Failure {
    Failure::Configuration(error.into())
}

fn temporary(error: impl Into<anyhow::Error>) -> Failure {
    Failure::Temporary(error.into())
}

/// What cannot be written: for good, where somebody has to change permissions, or for now.
fn unwritable(path: &Path, error: io::Error) -> Failure {
    let is_lasting = crate::private::needs_a_person(&error);
    let error = anyhow::Error::new(error).context(format!("cannot write `{}`", path.display()));
    if is_lasting { configuration(error) } else { temporary(error) }
}

/// Runs a command, says why it failed if it did, and returns the exit code.
pub fn run(cli: Cli) -> u8 {
    set_color(cli.global.color);
    let now = Now::parse(cli.global.now.as_deref().filter(|now| !now.is_empty()));
    let shell = Shell {
        global: cli.global,
        now: *now.as_ref().unwrap_or(&Now::Clock),
        zone: OnceLock::new(),
    };
    let outcome = match now {
        Ok(_) => shell.dispatch(cli.command),
        Err(message) => Err(Failure::Usage(anyhow::anyhow!("--now: {message}"))),
    };
    match outcome {
        Ok(outcome) => outcome.code(),
        Err(failure) => {
            shell.fail(&failure);
            failure.code()
        }
    }
}

/// Where commands meet the terminal.
#[derive(Clone)]
struct Shell {
    global: Global,
    now: Now,
    /// Where the site is, once that is known: a day begins somewhere.
    zone: OnceLock<Tz>,
}

/// How much a line on standard error matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Info,
    Warning,
    Error,
}

impl Shell {
    fn dispatch(&self, command: Command) -> Result {
        match command {
            Command::Init(arguments) => init::run(self, &arguments),
            Command::New(arguments) => new::run(self, &arguments),
            Command::Check(arguments) => check::run(self, &arguments),
            Command::List(arguments) => list::run(self, &arguments),
            Command::Build(arguments) => build::run(self, &arguments),
            Command::Remind(arguments) => remind::run(self, &arguments),
            Command::Run(arguments) => run::run(self, &arguments),
            Command::Simulate(arguments) => simulate::run(self, &arguments),
            Command::Explain(arguments) => explain::run(self, &arguments),
            Command::Status(arguments) => status::run(self, &arguments),
            Command::Preview(arguments) => preview::run(self, &arguments),
            Command::Unsubscribe(arguments) => unsubscribe::run(self, &arguments),
            Command::Forget(arguments) => unsubscribe::forget(self, &arguments),
            Command::Recipients(arguments) => recipients::run(self, &arguments),
            Command::Serve(arguments) => serve::run(self, &arguments),
            Command::Receive(arguments) => receive::run(self, &arguments),
            Command::Ledger(arguments) => ledger::run(self, &arguments),
            Command::Completions(arguments) => completions::shell(&arguments),
            Command::Man => completions::man(),
        }
    }

    fn layout(&self) -> Layout {
        Layout { root: self.global.site.clone() }
    }

    /// What goes before the paths of a site, so that they can be opened from here.
    fn prefix(&self) -> String {
        let mut prefix = String::new();
        for part in self.global.site.components() {
            match part {
                std::path::Component::CurDir => {}
                std::path::Component::RootDir => prefix.push('/'),
                part => prefix.push_str(&format!("{}/", part.as_os_str().to_string_lossy())),
            }
        }
        prefix
    }

    /// One line on standard error that says what was done.
    fn say(&self, line: &str) {
        if !self.global.quiet {
            self.log(Level::Info, line, json!({}));
        }
    }

    /// A line that is shown even when nothing else is.
    fn complain(&self, line: &str) {
        self.log(Level::Warning, line, json!({}));
    }

    /// Says why a command did not do what it was asked to.
    fn fail(&self, failure: &Failure) {
        let prefix = if self.global.log_format == LogFormat::Text { "crieur: " } else { "" };
        self.log(
            Level::Error,
            &format!("{prefix}{failure}"),
            json!({ "exit_code": failure.code() }),
        );
    }

    /// A line on standard error, with what a machine may want to know of it.
    fn log(&self, level: Level, line: &str, fields: serde_json::Value) {
        let line = match self.global.log_format {
            LogFormat::Text => line.to_owned(),
            LogFormat::Json => {
                let level = match level {
                    Level::Info => "info",
                    Level::Warning => "warning",
                    Level::Error => "error",
                };
                let time = rfc3339(&self.now.instant(*self.zone.get().unwrap_or(&Tz::UTC)));
                let mut object = json!({ "time": time, "level": level, "message": line.trim() });
                if let (Some(object), serde_json::Value::Object(fields)) =
                    (object.as_object_mut(), fields)
                {
                    object.extend(fields);
                }
                object.to_string()
            }
        };
        // When standard error is closed there is nobody left to tell.
        let _ = writeln!(anstream::stderr(), "{line}");
    }

    /// Shows problems on standard error: errors whole, the others counted, unless more is wanted.
    /// A cron job that mails its output should not repeat every hour what can wait.
    fn report(&self, diagnostics: &[Diagnostic]) {
        for diagnostic in diagnostics {
            if diagnostic.severity == Severity::Error || self.global.verbose > 0 {
                // What stands in a list is nobody's business; the rest is public.
                let is_public = diagnostic.path.starts_with(POSTINGS)
                    || *diagnostic.path == *SETTINGS
                    || diagnostic.path.starts_with("templates");
                if is_public {
                    self.show(diagnostic);
                } else {
                    self.show(&diagnostic.clone().without_addresses());
                }
            }
        }
    }

    /// Shows a problem: with its excerpt, or with its fields.
    fn show(&self, diagnostic: &Diagnostic) {
        let level = match diagnostic.severity {
            Severity::Error => Level::Error,
            Severity::Warning => Level::Warning,
            Severity::Note => Level::Info,
        };
        match self.global.log_format {
            LogFormat::Text => {
                self.log(level, &format!("{}\n", diagnostic.human(&self.prefix())), json!({}));
            }
            LogFormat::Json => {
                let fields = serde_json::to_value(Report::from(diagnostic)).unwrap_or_default();
                self.log(level, &diagnostic.message, fields);
            }
        }
    }

    /// Reads the settings and what belongs to them, as they are now.
    fn open(&self) -> std::result::Result<Opened, Unopened> {
        let opened = open(&self.layout(), |zone| self.now.instant(zone))?;
        self.zone.get_or_init(|| opened.site.timezone);
        Ok(opened)
    }

    /// The same, and says what is wrong with them.
    fn site(&self) -> Result<Opened> {
        match self.open() {
            Ok(opened) => Ok(opened),
            Err(Unopened::Problems(problems)) => {
                self.report(&problems);
                Err(Failure::Reported)
            }
            Err(Unopened::Missing(error)) => Err(Failure::Configuration(error)),
        }
    }
}

/// A site that is ready to work with.
struct Opened {
    layout: Layout,
    site: Site,
    catalog: Arc<Catalog>,
    templates: Templates,
    /// The site's own templates, catalogs and other files that replace the built-in ones.
    own: BTreeMap<String, String>,
    /// Changes with the program, the settings and the templates.
    key: Key,
    now: DateTime<Utc>,
    /// The same instant for measuring what has passed since.
    since: Deadline,
}

/// Of which postings the text is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Texts {
    /// Of all.
    All,
    /// Of those of which it has to be read anyway: what the others mean is known.
    Few,
}

/// Why a site could not be opened.
enum Unopened {
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
            unusable(&own, &language, Some(line), message)
        }
    })?;
    let catalog = Arc::new(catalog);
    let templates = Templates::new(&own, catalog.clone())
        .map_err(|error| unusable(&own, &error.name, error.line, error.message))?;
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
) -> Unopened {
    let problem =
        Diagnostic::new(Severity::Error, Code::Template, format!("templates/{name}"), message)
            .help("correct it, or delete it to use the one that comes with crieur");
    let lines = own.get(name).map_or("", String::as_str).lines();
    // What is missing at the end is found behind the last line.
    let found = lines.enumerate().take(line.unwrap_or(0)).last();
    Unopened::Problems(vec![match found {
        Some((at, line)) => {
            let start = line.len() - line.trim_start().len();
            problem.at_line(at + 1, line, &(start..line.trim_end().len().max(start)))
        }
        None => problem,
    }])
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
    /// The day that it is, in the site's zone.
    fn today(&self) -> NaiveDate {
        self.now.with_timezone(&self.site.timezone).date_naive()
    }

    /// Reads the postings, with what time has made untrue in them.
    fn postings(&self, texts: Texts) -> Result<Loaded> {
        Ok(self.as_of_now(self.understand(self.files(texts)?, self.now)))
    }

    /// The same for who looks at many days, or lasts longer than one: as they are at an instant.
    fn postings_at_any_time(&self, now: DateTime<Utc>) -> Result<Loaded> {
        Ok(self.understand(self.files(Texts::Few)?, now))
    }

    /// Reads the files of the postings, and what is known of them.
    fn files(&self, texts: Texts) -> Result<(Files, Known)> {
        let (listing, known) = rayon::join(|| Listing::of(&self.layout), || self.known());
        let listing = listing
            .with_context(|| {
                format!(
                    "cannot read the folder of postings, `{}`",
                    self.layout.root.join(POSTINGS).display()
                )
            })
            .map_err(Failure::Configuration)?;
        let files = listing.read(|path, key| texts == Texts::Few && known.has(path, key));
        Ok((files, known))
    }

    fn understand(&self, (files, known): (Files, Known), now: DateTime<Utc>) -> Loaded {
        let mut loaded = load::load(&self.layout, &self.site, files, known, now);
        let rules = Rules::of(&self.site);
        let contradictions = |p: &Posting| lifecycle::contradictions(p, now, &rules);
        for posting in &mut loaded.postings {
            if !contradictions(posting).is_empty() {
                load::read_for_excerpts(&self.layout, posting);
                loaded.diagnostics.extend(contradictions(posting));
            }
        }
        loaded.diagnostics.sort_by(|a, b| a.path.cmp(&b.path));
        loaded
    }

    /// Leaves out what has not happened yet.
    fn as_of_now(&self, mut loaded: Loaded) -> Loaded {
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
    fn remember(&self, learned: Option<Known>) {
        if let Some(known) = learned {
            cache::save(&self.known_at(), &known);
        }
    }
}

/// What a tally asks of the exit code.
fn outcome(diagnostics: &[Diagnostic], strict: bool) -> Outcome {
    let tally = Tally::of(diagnostics);
    if tally.errors > 0 || (strict && tally.warnings > 0) {
        Outcome::Attention
    } else {
        Outcome::Done
    }
}

/// Writes data to standard output. A reader that went away (`| head`) is no error.
fn print(bytes: &[u8]) -> Result<()> {
    let mut out = anstream::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(temporary(anyhow::Error::new(error).context("cannot write to standard output")))
        }
        _ => Ok(()),
    }
}

/// Applies `--color` to everything that is printed.
fn set_color(color: Color) {
    match color {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
}
