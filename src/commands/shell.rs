//! Where commands meet the terminal: what they print, and what they say beside it.

use std::io::{self, Write};
use std::sync::OnceLock;

use chrono_tz::Tz;
use serde_json::json;

use super::{Failure, Result, temporary};
use crate::cli::{Color, Global, LogFormat};
use crate::clock::Now;
use crate::diagnostics::{Diagnostic, Report, Severity};
use crate::posting::moment::rfc3339;
use crate::site::{Layout, POSTINGS, SETTINGS};

/// Where commands meet the terminal.
#[derive(Clone)]
pub(super) struct Shell {
    pub(super) global: Global,
    pub(super) now: Now,
    /// Where the site is, once that is known: a day begins somewhere.
    pub(super) zone: OnceLock<Tz>,
}

/// How much a line on standard error matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Info,
    Warning,
    Error,
}

impl Shell {
    pub(super) fn layout(&self) -> Layout {
        Layout { root: self.global.site.clone() }
    }

    /// What goes before the paths of a site, so that they can be opened from here.
    pub(super) fn prefix(&self) -> String {
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
    pub(super) fn say(&self, line: &str) {
        if !self.global.quiet {
            self.log(Level::Info, line, json!({}));
        }
    }

    /// A line that is shown even when nothing else is.
    pub(super) fn complain(&self, line: &str) {
        self.log(Level::Warning, line, json!({}));
    }

    /// Says why a command did not do what it was asked to.
    pub(super) fn fail(&self, failure: &Failure) {
        let prefix = if self.global.log_format == LogFormat::Text { "crieur: " } else { "" };
        self.log(
            Level::Error,
            &format!("{prefix}{failure}"),
            json!({ "exit_code": failure.code() }),
        );
    }

    /// A line on standard error, with what a machine may want to know of it.
    pub(super) fn log(&self, level: Level, line: &str, fields: serde_json::Value) {
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
    pub(super) fn report(&self, diagnostics: &[Diagnostic]) {
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
    pub(super) fn show(&self, diagnostic: &Diagnostic) {
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
}

/// Writes data to standard output. A reader that went away (`| head`) is no error.
pub(super) fn print(bytes: &[u8]) -> Result<()> {
    let mut out = anstream::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(temporary(anyhow::Error::new(error).context("cannot write to standard output")))
        }
        _ => Ok(()),
    }
}

/// Applies `--color` to everything that is printed.
pub(super) fn set_color(color: Color) {
    match color {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
}
