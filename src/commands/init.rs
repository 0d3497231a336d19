//! `crieur init`: a new site that builds and reminds at once.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::anyhow;
use chrono::{Datelike, Days};

use super::{Outcome, Result, Shell, configuration, unwritable};
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
    ];
    if root.join(files[0].0).exists() {
        return Err(configuration(anyhow!("there is a site in `{}` already", root.display())));
    }
    for (name, content) in &files {
        write_new(&root.join(name), content)?;
    }
    ignore(&root.join(".gitignore"))?;
    let place =
        if root == Path::new(".") { String::new() } else { format!(" --site {}", root.display()) };
    shell.say(&format!(
        "made a site in `{}`; edit `content/site.yaml`, then: crieur{place} run",
        root.display()
    ));
    Ok(Outcome::Done)
}

/// What git must not keep: everybody who can read a repository can read it, for ever.
const IGNORED: &str = "/.crieur/
/out/
/content/recipients.*
# Keys and passwords do not belong into a repository.
*.pem
/smtp-password
";

/// Adds what git must not keep to the list of it, where it does not stand there.
fn ignore(path: &Path) -> Result<()> {
    let failed = |error: io::Error| unwritable(path, error);
    let before = match fs::read(path) {
        Ok(before) => String::from_utf8_lossy(&before).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(failed(error)),
    };
    let is_there = |line: &&str| before.lines().any(|known| known.trim() == *line);
    let missing: Vec<&str> = IGNORED.lines().filter(|line| !is_there(line)).collect();
    if missing.iter().all(|line| line.starts_with('#')) {
        return Ok(());
    }
    let end = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    let file = OpenOptions::new().create(true).append(true).open(path);
    let more = format!("{end}{}\n", missing.join("\n"));
    file.and_then(|mut file| file.write_all(more.as_bytes())).map_err(failed)
}

/// Writes a file that is not there yet; one that is there is its owner's.
fn write_new(path: &Path, content: &str) -> Result<()> {
    let failed = |error: io::Error| unwritable(path, error);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    // Addresses are nobody else's business.
    let is_list = path.file_name().is_some_and(|name| name == "recipients.yaml");
    let mode = if is_list { 0o600 } else { 0o666 };
    match OpenOptions::new().write(true).create_new(true).mode(mode).open(path) {
        // Half of a file would be in the way of the next try.
        Ok(mut file) => file
            .write_all(content.as_bytes())
            .inspect_err(|_| drop(fs::remove_file(path)))
            .map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error)),
    }
}
