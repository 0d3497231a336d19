//! `crieur init`: a new site that builds and reminds at once.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use anyhow::anyhow;
use chrono::{Datelike, Days};

use super::{Outcome, Result, Shell, configuration, temporary};
use crate::cli;

pub(super) fn run(shell: &Shell, arguments: &cli::Init) -> Result {
    let root = arguments.dir.as_ref().unwrap_or(&shell.global.site);
    let zone = chrono_tz::Europe::Paris;
    let today = shell.now.instant(zone).with_timezone(&zone).date_naive();
    // Far enough for the first run to have something to announce, and the second another.
    let closes = today.checked_add_days(Days::new(7)).unwrap_or(today);
    let settings = include_str!("init/site.yaml").replace("{year}", &today.year().to_string());
    let posting = include_str!("init/posting.md")
        .replace("{opens}", &today.to_string())
        .replace("{closes}", &closes.to_string());
    let files = [
        ("content/site.yaml", settings),
        ("content/recipients.yaml", include_str!("init/recipients.yaml").to_owned()),
        ("content/postings/exemple.md", posting),
        (".gitignore", "/.crieur/\n/out/\n/content/recipients.yaml\n# Keys and passwords do not belong into a repository.\n*.pem\n/smtp-password\n".to_owned()),
    ];
    if root.join(files[0].0).exists() {
        return Err(configuration(anyhow!("there is a site in `{}` already", root.display())));
    }
    for (name, content) in &files {
        write_new(&root.join(name), content)?;
    }
    let place =
        if root == Path::new(".") { String::new() } else { format!(" --site {}", root.display()) };
    shell.say(&format!(
        "made a site in `{}`; edit `content/site.yaml`, then: crieur{place} run",
        root.display()
    ));
    Ok(Outcome::Done)
}

/// Writes a file that is not there yet; one that is there is its owner's.
fn write_new(path: &Path, content: &str) -> Result<()> {
    let failed = |error: io::Error| {
        temporary(anyhow!(error).context(format!("cannot write `{}`", path.display())))
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    match OpenOptions::new().write(true).create_new(true).open(path) {
        // Half of a file would be in the way of the next try.
        Ok(mut file) => file
            .write_all(content.as_bytes())
            .inspect_err(|_| drop(fs::remove_file(path)))
            .map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error)),
    }
}
