//! Finds and reads the files of a site's postings: every file is read or named in a diagnostic, and
//! none stops the others. Nothing is understood here.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use walkdir::{DirEntry, WalkDir};

use super::front_matter;
use crate::diagnostics::{Code, Diagnostic, Severity};
use crate::key::Key;
use crate::site::{Layout, POSTINGS};

/// The largest file that is read as a posting, in bytes. A long posting has 20,000.
pub const MAX_SIZE: u64 = 1 << 20;
/// How deep folders may stand in each other.
const MAX_FOLDERS: usize = 32;

/// The files of a site's postings, in path order.
#[derive(Debug)]
pub struct Files {
    pub(super) found: Vec<Found>,
}

/// One file. `Err` with what keeps it from being read, or why it is none of a posting.
#[derive(Debug)]
pub(super) struct Found {
    /// From the site's folder, with forward slashes.
    pub(super) path: Arc<str>,
    pub(super) contents: Result<Contents, Box<Diagnostic>>,
}

/// What is in a file.
#[derive(Debug)]
pub(super) struct Contents {
    /// Nothing where it is known already what they mean.
    pub(super) bytes: Option<Vec<u8>>,
    /// The key of the bytes.
    pub(super) key: Key,
    /// What is wrong with the file's name.
    pub(super) misnamed: Option<Diagnostic>,
}

/// Whether a file's extension is that of Markdown.
pub fn is_markdown(extension: &str) -> bool {
    ["md", "markdown", "mdown", "mkd"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// What stands in the folder of postings.
pub struct Listing<'a> {
    folder: Folder<'a>,
    entries: Vec<walkdir::Result<DirEntry>>,
}

impl<'a> Listing<'a> {
    /// Lists the folder of postings.
    ///
    /// # Errors
    /// When the folder, or one in it, is not there or cannot be listed: then it is not known what is
    /// published, and a folder that vanished must not look like one without postings.
    pub fn of(layout: &'a Layout) -> io::Result<Self> {
        let folder = layout.postings();
        let inside = folder.canonicalize()?;
        std::fs::read_dir(&folder)?;
        let root = layout.root.canonicalize()?;
        let entries: Vec<_> = WalkDir::new(&inside)
            .max_depth(MAX_FOLDERS)
            .sort_by_file_name()
            .into_iter()
            // Hidden files and folders are those of other programs: trash, version control; and file
            // systems have a folder of their own.
            .filter_entry(|entry| {
                let name = entry.file_name().to_string_lossy();
                entry.depth() == 0 || !(name.starts_with('.') || name == "lost+found")
            })
            .collect();
        for error in entries.iter().filter_map(|entry| entry.as_ref().err()) {
            if let (Some(path), Some(io)) = (error.path(), error.io_error())
                && path.is_dir()
            {
                let below = path.strip_prefix(&inside).unwrap_or(path);
                let path = layout.relative(&folder.join(below));
                return Err(io::Error::new(io.kind(), format!("`{path}`: {io}")));
            }
        }
        Ok(Self { folder: Folder { layout, inside, root }, entries })
    }

    /// What stands in a folder that is not there because nothing does.
    pub fn nothing(layout: &'a Layout) -> Self {
        let (inside, root) = (layout.postings(), layout.root.clone());
        Self { folder: Folder { layout, inside, root }, entries: Vec::new() }
    }

    /// Reads all files. Of those that are known, by their path and the key of their bytes, nothing but
    /// the key is kept.
    ///
    /// # Errors
    /// When the machine fails, and not a file: nobody closed what cannot be read for now.
    pub fn read(self, is_known: impl Fn(&str, Key) -> bool + Sync) -> io::Result<Files> {
        let Self { folder, entries } = self;
        let read = entries
            .into_par_iter()
            .map_init(Vec::new, |bytes, entry| folder.read(entry, bytes, &is_known).transpose());
        let mut found: Vec<Found> = read.flatten_iter().collect::<io::Result<_>>()?;
        // Folders are walked by name, which is nearly the order of paths already.
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Files { found })
    }
}

impl Files {
    /// Changes with everything that was found.
    pub fn key(&self) -> Key {
        let said: Vec<String> = self
            .found
            .iter()
            .filter_map(|found| found.contents.as_ref().err())
            .map(|problem| format!("{problem:?}"))
            .collect();
        let contents = self.found.iter().filter_map(|found| {
            let contents = found.contents.as_ref().ok()?;
            Some([found.path.as_bytes(), contents.key.bytes()])
        });
        Key::join(contents.flatten().chain(said.iter().map(String::as_bytes)))
    }
}

struct Folder<'a> {
    layout: &'a Layout,
    /// Where the folder really is.
    inside: PathBuf,
    /// Where the site really is.
    root: PathBuf,
}

impl Folder<'_> {
    /// Reads one entry of the folder, with room for its bytes; `None` for folders and for what is nobody's
    /// business.
    fn read(
        &self,
        entry: walkdir::Result<DirEntry>,
        bytes: &mut Vec<u8>,
        is_known: impl Fn(&str, Key) -> bool,
    ) -> io::Result<Option<Found>> {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let path = self.name(error.path().unwrap_or(&self.inside));
                let error = error.into_io_error().unwrap_or_else(|| io::Error::other("a loop"));
                return unreadable(path, &error);
            }
        };
        let path = self.name(entry.path());
        let name = entry.file_name().to_string_lossy();
        if entry.file_type().is_dir() {
            let message = format!("folders stand in each other more than {MAX_FOLDERS} deep");
            let help = "move the folder up";
            return Ok((entry.depth() == MAX_FOLDERS)
                .then(|| problem(path, Severity::Error, Code::Unreadable, message, help)));
        }
        if entry.path_is_symlink()
            && let Some(problem) = self.follow(&path, entry.path())?
        {
            return Ok(Some(problem));
        }
        let opened = match open(&entry) {
            Ok(Some(opened)) => Ok(opened),
            Ok(None) => {
                let message = "is not a file and was ignored";
                return Ok(Some(problem(
                    path,
                    Severity::Note,
                    Code::IgnoredFile,
                    message,
                    "only files are postings",
                )));
            }
            Err(error) => Err(error),
        };
        let (stem, extension) = name.rsplit_once('.').unwrap_or((&name, ""));
        let markdown = is_markdown(extension);
        if is_left_over(&name) || (markdown && is_about_the_folder(stem)) {
            let message = "was ignored: its name is not that of a posting";
            return Ok(Some(problem(
                path,
                Severity::Note,
                Code::IgnoredFile,
                message,
                "nothing, unless it should be a posting",
            )));
        }
        // A large picture is not read to see that it is no posting.
        let is_other = !markdown && !extension.is_empty();
        let read = opened.and_then(|file| {
            let size = if is_other { file.metadata()?.len() } else { 0 };
            if size > MAX_SIZE { Ok(Some(size)) } else { read_at_most(&file, MAX_SIZE, bytes) }
        });
        let size = match read {
            Ok(size) => size,
            Err(error) => return unreadable(path, &error),
        };
        if let Some(size) = size {
            if is_other {
                return Ok(Some(ignored(path)));
            }
            let message = format!("the file has {size} bytes; a posting has at most {MAX_SIZE}");
            return Ok(Some(problem(
                path,
                Severity::Error,
                Code::TooLarge,
                message,
                "shorten it, and link to what is long",
            )));
        }
        if is_other && !front_matter::begins_with_fence(&String::from_utf8_lossy(bytes)) {
            return Ok(Some(ignored(path)));
        }
        let misnamed = (!markdown).then(|| {
            let message = "the file's name does not end in `.md`";
            Diagnostic::new(Severity::Warning, Code::FileName, path.clone(), message)
                .help(format!("rename it to `{name}.md`"))
        });
        let key = Key::of(bytes);
        // What has a name that cannot be said is not found a second time.
        let is_known = entry.path().to_str().is_some() && is_known(&path, key);
        let contents = Contents { key, bytes: (!is_known).then(|| bytes.clone()), misnamed };
        Ok(Some(Found { path, contents: Ok(contents) }))
    }

    fn name(&self, path: &Path) -> Arc<str> {
        // What was found by walking through it begins with it, letter for letter.
        let (path_bytes, inside) = (path.as_os_str(), self.inside.as_os_str());
        match path_bytes.as_encoded_bytes().strip_prefix(inside.as_encoded_bytes()) {
            Some(below) => [POSTINGS, &String::from_utf8_lossy(below)].concat().into(),
            None => self.layout.relative(path),
        }
    }

    /// A symbolic link may lead to a file inside of the site, nowhere else.
    fn follow(&self, path: &Arc<str>, link: &Path) -> io::Result<Option<Found>> {
        Ok(match link.canonicalize() {
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
            Err(error) => return unreadable(path.clone(), &error),
        })
    }
}

/// Opens a file; nothing else is opened: whoever opens a pipe waits for its other end.
fn open(entry: &DirEntry) -> io::Result<Option<File>> {
    if !entry.file_type().is_file() && !std::fs::metadata(entry.path())?.is_file() {
        return Ok(None);
    }
    File::open(entry.path()).map(Some)
}

/// Reads a file again whose contents are known by their key; `None` where that is not what is there now.
pub(super) fn again(layout: &Layout, path: &str, key: Key) -> Option<Vec<u8>> {
    let path = layout.root.join(path);
    // Whoever opens a pipe waits for its other end.
    let usual = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file)?.len();
    // One more than there should be: then one look is enough to see the end.
    let mut bytes = Vec::with_capacity(usize::try_from(usual.min(MAX_SIZE)).unwrap_or(0) + 1);
    read_at_most(&File::open(path).ok()?, MAX_SIZE, &mut bytes).ok()?;
    (Key::of(&bytes) == key).then_some(bytes)
}

/// Reads a file, in place of what was read before. How large it is, if that is more.
fn read_at_most(file: &File, max: u64, bytes: &mut Vec<u8>) -> io::Result<Option<u64>> {
    bytes.clear();
    // The file may grow while it is read.
    file.take(max + 1).read_to_end(bytes)?;
    let is_more = bytes.len() as u64 > max;
    is_more.then(|| file.metadata().map(|file| file.len())).transpose()
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
) -> Found {
    let diagnostic = Diagnostic::new(severity, code, path.clone(), message).help(help);
    Found { path, contents: Err(Box::new(diagnostic)) }
}

fn ignored(path: Arc<str>) -> Found {
    problem(
        path,
        Severity::Note,
        Code::IgnoredFile,
        "was ignored: it is not a Markdown file",
        "name it `….md` if it is a posting",
    )
}

/// A file that cannot be read. What is wrong with the machine is no posting's fault.
fn unreadable(path: Arc<str>, error: &io::Error) -> io::Result<Option<Found>> {
    if is_the_machines(error) {
        return Err(io::Error::new(error.kind(), format!("`{path}`: {error}")));
    }
    let message = format!("cannot be read: {error}");
    let help = "check that the file is there and its permissions";
    Ok(Some(problem(path, Severity::Error, Code::Unreadable, message, help)))
}

/// Whether a disk, its network or the machine fails, and not what is asked of it.
fn is_the_machines(error: &io::Error) -> bool {
    use io::ErrorKind::{OutOfMemory, StaleNetworkFileHandle, TimedOut};
    // EIO, ENFILE and EMFILE on every Unix.
    const CODES: [i32; 3] = [5, 23, 24];
    matches!(error.kind(), OutOfMemory | StaleNetworkFileHandle | TimedOut)
        || error.raw_os_error().is_some_and(|code| CODES.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_the_machine_is_no_postings_fault() {
        for (code, is_the_machines) in [(5, true), (23, true), (24, true), (2, false), (13, false)]
        {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(super::is_the_machines(&error), is_the_machines, "{error}");
            assert_eq!(unreadable("a.md".into(), &error).is_err(), is_the_machines, "{error}");
        }
    }

    #[test]
    fn what_is_larger_than_it_may_be_is_not_read_to_its_end() {
        use std::io::Write;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut read = |more: &str| {
            file.write_all(more.as_bytes()).unwrap();
            let mut bytes = b"what was read before".to_vec();
            let size = read_at_most(&file.reopen().unwrap(), 4, &mut bytes).unwrap();
            (size, bytes.len())
        };
        assert_eq!(read("abc"), (None, 3));
        assert_eq!(read("d"), (None, 4));
        assert_eq!(read("e"), (Some(5), 5));
        assert_eq!(read("fgh"), (Some(8), 5));
    }
}
