//! `crieur new`: a new posting, dated today.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};

use anyhow::anyhow;
use serde::Serialize;

use super::{Failure, Outcome, Result, Shell, print, temporary, unwritable};
use crate::cli;
use crate::site::POSTINGS;
use crate::text;

/// The front matter of a new posting. Serialised, so that a title with any character in it is right.
#[derive(Serialize)]
struct FrontMatter<'a> {
    title: &'a str,
    role: &'a str,
    opens: String,
}

pub(super) fn run(shell: &Shell, arguments: &cli::New) -> Result {
    let opened = shell.site()?;
    let title = text::one_line(&arguments.title.join(" "));
    let slug = text::slug(&title);
    if slug.is_empty() {
        return Err(Failure::Usage(anyhow!(
            "the title `{title}` makes no file name: use letters or digits"
        )));
    }
    let today = opened.today();
    let matter = FrontMatter { title: &title, role: &title, opens: today.to_string() };
    let yaml = serde_yaml::to_string(&matter).map_err(temporary)?;
    let (hint, body) = if opened.site.language.language.as_str() == "fr" {
        (
            "# closes: AAAA-MM-JJ, team:, contract:, organisation:, apply_url:, contact:, domains:",
            "Décrivez le poste ici.",
        )
    } else {
        (
            "# closes: YYYY-MM-DD, team:, contract:, organisation:, apply_url:, contact:, domains:",
            "Describe the work here.",
        )
    };
    let content = format!("---\n{yaml}{hint}\n---\n\n{body}\n");
    let folder = opened.layout.postings();
    let name = format!("{today}-{slug}.md");
    let path = folder.join(&name);
    fs::create_dir_all(&folder).map_err(|error| unwritable(&folder, error))?;
    let file = OpenOptions::new().write(true).create_new(true).open(&path);
    let written = file.and_then(|mut file| {
        // Half of a file would be in the way of the next try.
        file.write_all(content.as_bytes()).inspect_err(|_| drop(fs::remove_file(&path)))
    });
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::Usage(anyhow!("`{}` exists already: choose another title", path.display()))
        }
        _ => unwritable(&path, error),
    })?;
    // The path alone, so that `$EDITOR $(crieur new …)` works.
    print(format!("{}{POSTINGS}/{name}\n", shell.prefix()).as_bytes())?;
    Ok(Outcome::Done)
}
