//! `crieur completions` and `crieur man`: what packagers install beside the program.

use clap::CommandFactory;

use super::{Outcome, Result, print, temporary};
use crate::cli::{self, Cli};

pub(super) fn shell(arguments: &cli::Completions) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "crieur", &mut script);
    print(&script)?;
    Ok(Outcome::Done)
}

/// What options do not say.
const REST: &str = r".SH ENVIRONMENT
.TP
CRIEUR_SITE, CRIEUR_NOW, CRIEUR_LOG_FORMAT
do the same as the options.
.TP
SSL_CERT_FILE
names the authorities that are trusted, in place of the machine's.
.TP
CREDENTIALS_DIRECTORY
is where password files and keys are looked for first; systemd sets it.
.SH FILES
All of them in the site's folder.
.TP
content/site.yaml
the settings.
.TP
content/recipients.yaml, content/recipients.csv
the mailing list.
.TP
content/postings/
a file for each posting.
.TP
templates/
what replaces the templates, phrases and styles that are built in.
.TP
out/
what is published.
.TP
\&.crieur/
the ledger of what was sent, its backups, and the outbox. Private.
.SH EXIT STATUS
0 done; 1 done, but something needs a look; 2 the command line is wrong; 70 a bug; 75 the next run may
succeed by itself; 78 something has to be mended first.
";

/// The manual: one page, with the options of every command.
pub(super) fn man() -> Result {
    let mut program = Cli::command();
    program.build();
    let mut page = Vec::new();
    let whole = clap_mangen::Man::new(program.clone());
    let mut render = || -> std::io::Result<()> {
        whole.render_title(&mut page)?;
        whole.render_name_section(&mut page)?;
        whole.render_synopsis_section(&mut page)?;
        whole.render_description_section(&mut page)?;
        whole.render_options_section(&mut page)?;
        page.extend(b".SH COMMANDS\n");
        for command in program.get_subcommands() {
            describe(command, &mut page)?;
        }
        page.extend(REST.bytes());
        Ok(())
    };
    render().map_err(temporary)?;
    print(&page)?;
    Ok(Outcome::Done)
}

/// Adds a command, and those below it, to the manual.
fn describe(command: &clap::Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    if command.get_name() == "help" {
        return Ok(());
    }
    if command.has_subcommands() {
        return command.get_subcommands().try_for_each(|below| describe(below, page));
    }
    // What every command takes stands above.
    let own = command.clone().mut_args(|arg| {
        let is_everybodys = arg.is_global_set() || arg.get_id() == "help";
        arg.hide(is_everybodys)
    });
    let manual = clap_mangen::Man::new(own);
    let mut text = Vec::new();
    manual.render_synopsis_section(&mut text)?;
    manual.render_description_section(&mut text)?;
    manual.render_options_section(&mut text)?;
    let name = command.get_bin_name().unwrap_or_default();
    page.extend(format!(".SS \"{name}\"\n").bytes());
    for line in String::from_utf8_lossy(&text).lines() {
        // Sections of a page of its own are paragraphs here.
        let line = match line {
            ".SH SYNOPSIS" => continue,
            ".SH DESCRIPTION" | ".SH OPTIONS" => ".PP",
            line => line,
        };
        page.extend(format!("{line}\n").bytes());
    }
    Ok(())
}
