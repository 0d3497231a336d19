//! Reads a site's postings: every file is read or named in a diagnostic, and none stops the others.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use walkdir::{DirEntry, WalkDir};

use super::parse::{self, Parsed};
use super::vocabulary::Field;
use super::{Posting, front_matter};
use crate::cache::Key;
use crate::diagnostics::{Code, Diagnostic, Severity};
use crate::history::History;
use crate::site::{Layout, POSTINGS, Site};

/// The largest file that is read as a posting, in bytes. A long posting has 20,000.
pub const MAX_SIZE: u64 = 1 << 20;
/// How deep folders may stand in each other.
const MAX_FOLDERS: usize = 32;

/// A site's postings, in path order, with what is wrong with their files.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// Postings with one id and one address each.
    pub postings: Vec<Posting>,
    /// In path order.
    pub diagnostics: Vec<Diagnostic>,
    /// What is known of all files now, where that is more than before.
    pub learned: Option<Known>,
}

/// What was found out about files before, by their paths: a file with the same bytes is not
/// understood a second time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    settings: Key,
    files: HashMap<String, KnownFile>,
    history: Option<History>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KnownFile {
    /// The key of its bytes.
    key: Key,
    /// What they mean: a [`Parsed`] to be decoded when it is needed.
    #[serde(with = "serde_bytes")]
    parsed: Vec<u8>,
}

impl Known {
    /// Nothing yet. What a file means depends on the settings.
    pub fn new(settings: Key) -> Self {
        Self { settings, files: HashMap::new(), history: None }
    }

    /// Whether it was found out with these settings.
    pub fn is_for(&self, settings: Key) -> bool {
        self.settings == settings
    }

    fn parsed(&self, path: &Arc<str>, key: Key, bytes: &[u8]) -> Option<Parsed> {
        let file = self.files.get(&**path).filter(|file| file.key == key)?;
        let parsed: Parsed = postcard::from_bytes(&file.parsed).ok()?;
        Some(parsed.again(path, bytes))
    }
}

/// Whether a file's extension is that of Markdown.
pub fn is_markdown(extension: &str) -> bool {
    ["md", "markdown", "mdown", "mkd"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// Reads all postings of a site.
///
/// # Errors
/// When the folder of postings is not there or cannot be listed. A folder that vanished must not
/// look like a site without postings.
pub fn load(layout: &Layout, site: &Site, mut known: Known) -> io::Result<Loaded> {
    let folder = layout.postings();
    let inside = folder.canonicalize()?;
    std::fs::read_dir(&folder)?;
    let root = layout.root.canonicalize()?;
    let found: Vec<_> = WalkDir::new(&inside)
        .max_depth(MAX_FOLDERS)
        .sort_by_file_name()
        .into_iter()
        // Hidden files and folders are those of other programs: trash, version control.
        .filter_entry(|entry| {
            entry.depth() == 0 || !entry.file_name().to_string_lossy().starts_with('.')
        })
        .collect();
    let files = Files { layout, site, folder: inside, root, known: &known };
    let mut read: Vec<Read> = found.into_par_iter().filter_map(|entry| files.read(entry)).collect();
    // Folders are walked by name, which is nearly the order of paths already.
    read.sort_by(|a, b| a.path.cmp(&b.path));

    let mut loaded = Loaded::default();
    let paths: Vec<Arc<str>> = read.iter().map(|read| read.path.clone()).collect();
    let mut has_learned = false;
    for Read { path, parsed, learned } in read {
        loaded.postings.extend(parsed.posting);
        loaded.diagnostics.extend(parsed.diagnostics);
        if let Some(file) = learned {
            has_learned = true;
            known.files.insert(path.to_string(), file);
        }
    }
    refuse_doubles(&mut loaded);
    let before = known.history.take();
    let was_at = before.as_ref().and_then(History::at).cloned();
    known.history = date(&mut loaded, &folder, before);
    if has_learned || known.history.as_ref().and_then(History::at) != was_at.as_ref() {
        let paths: HashSet<&str> = paths.iter().map(|path| &**path).collect();
        known.files.retain(|path, _| paths.contains(path.as_str()));
        loaded.learned = Some(known);
    }
    Ok(loaded)
}

struct Files<'a> {
    layout: &'a Layout,
    site: &'a Site,
    folder: PathBuf,
    root: PathBuf,
    known: &'a Known,
}

/// One file, read.
struct Read {
    path: Arc<str>,
    parsed: Parsed,
    /// What was not known before.
    learned: Option<KnownFile>,
}

impl Files<'_> {
    /// Reads one entry of the folder; `None` for folders and for what is nobody's business.
    fn read(&self, entry: walkdir::Result<DirEntry>) -> Option<Read> {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let path = self.name(error.path().unwrap_or(&self.folder));
                let message = match error.io_error() {
                    Some(io) => format!("cannot be read: {io}"),
                    None => format!("cannot be read: {error}"),
                };
                return Some(problem(
                    path,
                    Severity::Error,
                    Code::Unreadable,
                    message,
                    "check the file's permissions",
                ));
            }
        };
        let path = self.name(entry.path());
        let name = entry.file_name().to_string_lossy();
        if entry.file_type().is_dir() {
            let message = format!("folders stand in each other more than {MAX_FOLDERS} deep");
            let help = "move the folder up";
            return (entry.depth() == MAX_FOLDERS)
                .then(|| problem(path, Severity::Error, Code::Unreadable, message, help));
        }
        if entry.path_is_symlink()
            && let Some(problem) = self.follow(&path, entry.path())
        {
            return Some(problem);
        }
        let opened = match open(&entry) {
            Ok(Some(opened)) => Ok(opened),
            Ok(None) => {
                let message = "is not a file and was ignored";
                return Some(problem(
                    path,
                    Severity::Note,
                    Code::IgnoredFile,
                    message,
                    "only files are postings",
                ));
            }
            Err(error) => Err(error),
        };
        let (stem, extension) = name.rsplit_once('.').unwrap_or((&name, ""));
        let markdown = is_markdown(extension);
        if is_left_over(&name) || (markdown && is_about_the_folder(stem)) {
            let message = "was ignored: its name is not that of a posting";
            return Some(problem(
                path,
                Severity::Note,
                Code::IgnoredFile,
                message,
                "nothing, unless it should be a posting",
            ));
        }
        let (file, size) = match opened {
            Ok(opened) => opened,
            Err(error) => return Some(unreadable(path, &error)),
        };
        if size > MAX_SIZE {
            if !markdown && !extension.is_empty() {
                return Some(ignored(path));
            }
            let message = format!("the file has {size} bytes; a posting has at most {MAX_SIZE}");
            return Some(problem(
                path,
                Severity::Error,
                Code::TooLarge,
                message,
                "shorten it, and link to what is long",
            ));
        }
        let bytes = match read_at_most(file, size, MAX_SIZE) {
            Ok(bytes) => bytes,
            Err(error) => return Some(unreadable(path, &error)),
        };
        if !markdown
            && !extension.is_empty()
            && !front_matter::begins_with_fence(&String::from_utf8_lossy(&bytes))
        {
            return Some(ignored(path));
        }
        let (mut parsed, learned) = self.understand(&path, &bytes);
        if !markdown {
            parsed.diagnostics.insert(
                0,
                Diagnostic::new(
                    Severity::Warning,
                    Code::FileName,
                    path.clone(),
                    "the file's name does not end in `.md`",
                )
                .help(format!("rename it to `{name}.md`")),
            );
        }
        Some(Read { path, parsed, learned })
    }

    /// What a file means, and what is to be kept of that.
    fn understand(&self, path: &Arc<str>, bytes: &[u8]) -> (Parsed, Option<KnownFile>) {
        let key = Key::of(bytes);
        if let Some(parsed) = self.known.parsed(path, key, bytes) {
            return (parsed, None);
        }
        let parsed = parse::parse(self.site, path, bytes, key);
        let kept = postcard::to_stdvec(&parsed).ok().map(|parsed| KnownFile { key, parsed });
        (parsed, kept)
    }

    fn name(&self, path: &Path) -> Arc<str> {
        let below = path.strip_prefix(&self.folder).unwrap_or(path);
        self.layout.relative(&self.layout.root.join(POSTINGS).join(below))
    }

    /// A symbolic link may lead to a file inside of the site, nowhere else.
    fn follow(&self, path: &Arc<str>, link: &Path) -> Option<Read> {
        match link.canonicalize() {
            Ok(target) if !target.starts_with(&self.root) => {
                let message = "the symbolic link leads out of the site and was not followed";
                Some(problem(
                    path.clone(),
                    Severity::Error,
                    Code::OutsideSite,
                    message,
                    "put the file itself here",
                ))
            }
            Ok(target) if target.is_dir() => {
                let message = "the symbolic link leads to a folder and was not followed";
                Some(problem(
                    path.clone(),
                    Severity::Note,
                    Code::IgnoredFile,
                    message,
                    "put the folder itself here",
                ))
            }
            Ok(_) => None,
            Err(error) => Some(unreadable(path.clone(), &error)),
        }
    }
}

/// Opens a file, and says how large it is; nothing else is opened: whoever opens a pipe waits for
/// its other end.
fn open(entry: &DirEntry) -> io::Result<Option<(File, u64)>> {
    if !entry.file_type().is_file() && !std::fs::metadata(entry.path())?.is_file() {
        return Ok(None);
    }
    let file = File::open(entry.path())?;
    let size = file.metadata()?.len();
    Ok(Some((file, size)))
}

fn read_at_most(file: File, usual: u64, max: u64) -> io::Result<Vec<u8>> {
    // One more than there should be: then one look is enough to see the end.
    let mut bytes = Vec::with_capacity(usize::try_from(usual).unwrap_or(0) + 1);
    // The file may grow while it is read.
    file.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What editors and version control leave behind: copies that would announce a posting twice.
fn is_left_over(name: &str) -> bool {
    let lower = name.to_lowercase();
    (name.starts_with('#') && name.ends_with('#'))
        || [".bak", ".orig", ".rej", ".swp", ".swo", ".tmp", ".old", "~"]
            .iter()
            .any(|end| lower.ends_with(end))
}

/// Files that generators and forges read, not people.
fn is_about_the_folder(stem: &str) -> bool {
    stem.eq_ignore_ascii_case("readme") || stem.starts_with('_')
}

fn problem(
    path: Arc<str>,
    severity: Severity,
    code: Code,
    message: impl Into<String>,
    help: &str,
) -> Read {
    let diagnostic = Diagnostic::new(severity, code, path.clone(), message).help(help);
    let parsed = Parsed { posting: None, diagnostics: vec![diagnostic] };
    Read { path, parsed, learned: None }
}

fn ignored(path: Arc<str>) -> Read {
    problem(
        path,
        Severity::Note,
        Code::IgnoredFile,
        "was ignored: it is not a Markdown file",
        "name it `….md` if it is a posting",
    )
}

fn unreadable(path: Arc<str>, error: &io::Error) -> Read {
    problem(
        path,
        Severity::Error,
        Code::Unreadable,
        format!("cannot be read: {error}"),
        "check that the file is there and its permissions",
    )
}

/// Of postings that share an id or an address, keeps the first in path order.
fn refuse_doubles(loaded: &mut Loaded) {
    let number = loaded.postings.len();
    let ids: HashSet<&str> = loaded.postings.iter().map(|posting| posting.id.as_str()).collect();
    let slugs: HashSet<&str> =
        loaded.postings.iter().map(|posting| posting.slug.as_str()).collect();
    if ids.len() == number && slugs.len() == number {
        return;
    }
    let mut ids: HashMap<String, Arc<str>> = HashMap::new();
    let mut slugs: HashMap<String, Arc<str>> = HashMap::new();
    let mut kept = Vec::with_capacity(loaded.postings.len());
    for posting in std::mem::take(&mut loaded.postings) {
        let path = &posting.source.path;
        let double = if let Some(first) = ids.get(&posting.id) {
            Some((
                format!("`{first}` has the same id, `{}`; this posting is left out", posting.id),
                Field::Id,
            ))
        } else {
            slugs.get(&posting.slug).map(|first| {
                (
                    format!(
                        "`{first}` has the same address, `{}`; this posting is left out",
                        posting.slug
                    ),
                    Field::Slug,
                )
            })
        };
        if let Some((message, field)) = double {
            let first = || posting.places.values().min_by_key(|span| span.start);
            let span = posting.places.get(&field).or_else(first).cloned().unwrap_or(0..0);
            loaded.diagnostics.push(
                Diagnostic::new(Severity::Error, Code::DuplicateId, path.clone(), message)
                    .at(&posting.source, &span)
                    .help("rename the file, or give one of the two a `slug:` of its own"),
            );
        } else {
            ids.insert(posting.id.clone(), path.clone());
            slugs.insert(posting.slug.clone(), path.clone());
            kept.push(posting);
        }
    }
    loaded.postings = kept;
    // The sort is stable: what stood in order within a file stays so.
    loaded.diagnostics.sort_by(|a, b| a.path.cmp(&b.path));
}

/// Adds the dates that git knows. Returns what it told, for the next time.
fn date(loaded: &mut Loaded, folder: &Path, before: Option<History>) -> Option<History> {
    let problem = |message: String, help: &str| {
        Diagnostic::new(Severity::Warning, Code::History, POSTINGS, message).help(help)
    };
    let history = match History::read(folder, before) {
        Ok(history) => history,
        Err(error) => {
            let help = "check the repository with `git fsck`; until then, opening dates stand in for the dates of changes";
            loaded.diagnostics.push(problem(error.to_string(), help));
            return None;
        }
    };
    if history.truncated {
        let help = "fetch the whole history (`git fetch --unshallow`; in GitHub Actions, `fetch-depth: 0`)";
        let message = "the git clone is shallow: opening dates stand in for the dates of changes that it does not show";
        loaded.diagnostics.push(problem(message.to_owned(), help));
    }
    for posting in &mut loaded.postings {
        let below = posting.source.path.strip_prefix(POSTINGS).unwrap_or(&posting.source.path);
        posting.committed = history.last_change(below.trim_start_matches('/'));
    }
    Some(history)
}
