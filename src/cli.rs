//! The command line, as types. The comments are the help that people read.

use std::net::SocketAddr;
use std::path::PathBuf;

use chrono::{NaiveDate, Weekday};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use unic_langid::LanguageIdentifier;

use crate::reminders::recipients::weekday;

/// Publish open postings as feeds and pages, and remind people before they close.
#[derive(Debug, Parser)]
#[command(name = "crieur", version, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done; 1 done, but something needs a person; 2 usage; \
    70 a bug; 75 temporary failure, the next run continues; 78 configuration.")]
pub struct Cli {
    /// What is the same for all commands.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What is the same for all commands.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The site's folder
    #[arg(long, global = true, value_name = "DIR", env = "CRIEUR_SITE", default_value = ".")]
    pub site: PathBuf,
    /// Act as if it were then: an instant (2021-09-03T08:00:00+02:00) or a day (08:00 in the
    /// site's time zone)
    #[arg(long, global = true, value_name = "WHEN", env = "CRIEUR_NOW")]
    pub now: Option<String>,
    /// Show warnings and notes, too
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Use colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// How to write what goes to standard error
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        env = "CRIEUR_LOG_FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,
}

/// How to write what goes to standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One object a line, for machines
    Json,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What crieur can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a new site that builds and reminds at once
    Init(Init),
    /// Make a new posting, dated today
    New(New),
    /// Show every problem in the site, with source lines
    Check(Check),
    /// List postings and their state
    List(List),
    /// Publish into out/
    Build(Build),
    /// Send the digests that are due
    Remind(Remind),
    /// Build, then remind: the cron line
    Run(Run),
    /// Show every digest between two days; send nothing
    Simulate(Simulate),
    /// Say why a posting is, or is not, published or in a digest
    Explain(Explain),
    /// Show the last runs, what waits and what failed
    Status(Status),
    /// Write the digests of today as HTML files, to open in a browser
    Preview(Preview),
    /// Take an address off the list, whatever the list says
    Unsubscribe(Unsubscribe),
    /// Erase a person, and never write to them again
    Forget(Forget),
    /// Serve out/, and the pages where people subscribe and leave
    Serve(Serve),
    /// Read a message that came back, or from somebody who wants to leave, on standard input
    Receive(Receive),
    /// Look after the people who subscribe
    #[command(subcommand)]
    Recipients(Recipients),
    /// Look after the ledger of what was sent
    #[command(subcommand)]
    Ledger(Ledger),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Print the manual page
    Man,
}

#[derive(Debug, Args)]
#[allow(missing_docs, reason = "the comments are the help")]
pub struct Init {
    /// Where the site will be, instead of --site
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[allow(missing_docs, reason = "the comments are the help")]
pub struct New {
    /// What the posting is called
    #[arg(required = true)]
    pub title: Vec<String>,
}

#[derive(Debug, Args)]
#[allow(missing_docs, reason = "the comments are the help")]
pub struct Check {
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub format: CheckFormat,
    /// Fail on warnings, too
    #[arg(long)]
    pub strict: bool,
}

/// How `check` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// Excerpts with the text underlined
    Human,
    /// One object a problem
    Json,
    /// Annotations for GitHub Actions
    Github,
}

#[derive(Debug, Args)]
#[allow(missing_docs, reason = "the comments are the help")]
pub struct List {
    /// Those that are not open, too
    #[arg(long)]
    pub all: bool,
    /// Only those that close within so many days
    #[arg(long, value_name = "DAYS")]
    pub closing_within: Option<u32>,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: ListFormat,
}

/// How `list` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// Columns
    Table,
    /// One object a posting
    Json,
    /// Comma-separated values, with a header
    Csv,
}

#[derive(Debug, Args)]
#[allow(missing_docs, reason = "the comments are the help")]
pub struct Build {
    /// Where to, instead of out/ in the site's folder
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Publish nothing unless everything is valid
    #[arg(long)]
    pub strict: bool,
}

#[derive(Debug, Args)]
#[allow(missing_docs, reason = "the comments are the help")]
pub struct Remind {
    /// Show what would be sent; write and send nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Only to these recipients
    #[arg(long, value_name = "EMAIL", num_args = 1..)]
    pub recipient: Vec<String>,
}

#[derive(Debug, Args)]
#[allow(missing_docs, reason = "the comments are the help")]
pub struct Run {
    /// Where to, instead of out/ in the site's folder
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[allow(missing_docs, reason = "the comments are the help")]
pub struct Explain {
    /// The posting: its file, slug or id
    pub posting: String,
    /// Why it is, or is not, in a digest to this recipient
    #[arg(long, value_name = "EMAIL")]
    pub recipient: Option<String>,
}

#[derive(Debug, Args)]
#[allow(missing_docs, reason = "the comments are the help")]
pub struct Simulate {
    /// The first day
    #[arg(long, value_name = "DATE")]
    pub from: NaiveDate,
    /// The last day
    #[arg(long, value_name = "DATE")]
    pub to: NaiveDate,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: DataFormat,
}

/// How `simulate` and `status` print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DataFormat {
    /// For people
    Table,
    /// For programs
    Json,
}

#[derive(Debug, Args)]
#[allow(missing_docs, reason = "the comments are the help")]
pub struct Status {
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: DataFormat,
}

#[derive(Debug, Args)]
#[allow(missing_docs, reason = "the comments are the help")]
pub struct Preview {
    /// Only those to these recipients
    #[arg(long, value_name = "EMAIL", num_args = 1..)]
    pub recipient: Vec<String>,
}

#[derive(Debug, Args)]
#[allow(missing_docs, reason = "the comments are the help")]
pub struct Unsubscribe {
    /// The address
    pub email: String,
    /// Take it back: write to the address again
    #[arg(long)]
    pub undo: bool,
}

#[derive(Debug, Args)]
#[allow(missing_docs, reason = "the comments are the help")]
pub struct Forget {
    /// The address
    pub email: String,
}

#[derive(Debug, Args)]
#[allow(missing_docs, reason = "the comments are the help")]
pub struct Serve {
    /// Where to listen; a proxy in front of it adds encryption
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    pub addr: SocketAddr,
    /// What to serve, instead of out/ in the site's folder
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[allow(missing_docs, reason = "the comments are the help")]
pub struct Receive {
    /// The address that it was delivered to, where neither `ORIGINAL_RECIPIENT` nor its headers say
    #[arg(long, value_name = "EMAIL", allow_hyphen_values = true)]
    pub recipient: Option<std::ffi::OsString>,
}

/// Reads a day of the week as the list does.
fn day_of_the_week(text: &str) -> Result<Weekday, String> {
    weekday(text).ok_or_else(|| "write a day of the week, like `Tue`".to_owned())
}

/// What can be done with the people who subscribe.
#[derive(Debug, Clone, Subcommand)]
pub enum Recipients {
    /// Everybody on the list, and everybody who subscribes
    List(RecipientsList),
    /// Enter somebody who asked you to
    Add(RecipientsAdd),
    /// Take somebody off again
    Remove(RecipientsRemove),
    /// Enter everybody in a file
    Import(RecipientsImport),
    /// Print everybody who is written to, with when and how they consented
    Export(RecipientsExport),
}

#[derive(Debug, Clone, Args)]
#[allow(missing_docs, reason = "the comments are the help")]
pub struct RecipientsList {
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: ListFormat,
}

#[derive(Debug, Clone, Args)]
#[allow(missing_docs, reason = "the comments are the help")]
pub struct RecipientsAdd {
    /// The address
    pub email: String,
    /// The person's name
    #[arg(long)]
    pub name: Option<String>,
    /// The language of the mails
    #[arg(long, value_name = "TAG")]
    pub language: Option<LanguageIdentifier>,
    /// Only postings in these domains
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub domain: Vec<String>,
    /// Only postings of these teams
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub team: Vec<String>,
    /// Only postings with these contracts
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub contract: Vec<String>,
    /// Only postings for people without experience
    #[arg(long)]
    pub junior: bool,
    /// How many days before the closing
    #[arg(long, value_name = "DAYS", num_args = 1.., value_parser = clap::value_parser!(u16).range(0..=365))]
    pub lead_days: Vec<u16>,
    /// One digest a week, on this day
    #[arg(long, value_name = "DAY", value_parser = day_of_the_week)]
    pub weekly: Option<Weekday>,
    /// What has opened, too
    #[arg(long)]
    pub new: bool,
}

#[derive(Debug, Clone, Args)]
#[allow(missing_docs, reason = "the comments are the help")]
pub struct RecipientsRemove {
    /// The address
    pub email: String,
}

#[derive(Debug, Clone, Args)]
#[allow(missing_docs, reason = "the comments are the help")]
pub struct RecipientsImport {
    /// The list: CSV if its name ends so, else YAML
    pub file: PathBuf,
}

#[derive(Debug, Clone, Args)]
#[allow(missing_docs, reason = "the comments are the help")]
pub struct RecipientsExport {
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "yaml")]
    pub format: ExportFormat,
}

/// How `recipients export` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// As `recipients.yaml`
    Yaml,
    /// As `recipients.csv`
    Csv,
}

/// What can be done with the ledger.
#[derive(Debug, Clone, Subcommand)]
pub enum Ledger {
    /// Look for damage
    Check,
    /// Put a damaged ledger together from what can be read of it and its last backup
    Restore,
    /// Bring the ledger from the file to the server that `ledger` names in site.yaml
    Move,
    /// Say of digests that are in doubt or held whether they arrived
    Settle(Settle),
}

#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("decision").required(true).args(["arrived", "lost"]))]
#[allow(missing_docs, reason = "the comments are the help")]
pub struct Settle {
    /// Whose digests; by default all of them
    #[arg(value_name = "EMAIL")]
    pub recipient: Vec<String>,
    /// They arrived
    #[arg(long)]
    pub arrived: bool,
    /// They did not: what they said is announced anew
    #[arg(long)]
    pub lost: bool,
}

#[derive(Debug, Args)]
#[allow(missing_docs, reason = "the comments are the help")]
pub struct Completions {
    /// The shell
    pub shell: Shell,
}
