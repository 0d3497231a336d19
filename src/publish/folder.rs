//! The folder itself: looking at what is there, new files beside the place of old ones, and the list of
//! our files.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::assembly::{PIECE, read_at};
use super::record::Made;
use super::{Error, failed};

/// The list of our files, in the output folder: a path a line, after a line that says so.
pub(super) const MANIFEST: &str = ".published";
/// How the list begins. A file of that name without it is somebody else's.
pub(super) const SIGNATURE: &str = "# The files that crieur wrote here, and may change and remove.";
/// How temporary files begin. They stand beside the file that they will become, because a folder
/// may be another file system.
const TEMPORARY: &str = ".crieur-";

/// How a file looked when it was written. Whoever changes it changes this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp([i64; 6]);

impl Stamp {
    pub(super) fn of(file: &Metadata) -> Self {
        let (size, inode) = (file.size().cast_signed(), file.ino().cast_signed());
        Self([size, inode, file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()])
    }
}

/// The folder itself is the lock: nothing in it is touched for it.
pub(super) fn lock(out: &Path) -> Result<File, Error> {
    let lock = File::open(out).map_err(failed(out))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::Locked(out.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(out)(error)),
    }
}

/// Whether two files hold the same, from beginning to end.
pub(super) fn is_same(path: &Path, other: &File) -> io::Result<bool> {
    let mut one = BufReader::with_capacity(PIECE, File::open(path)?);
    let mut from = 0;
    let mut theirs = Vec::new();
    loop {
        let piece = io::BufRead::fill_buf(&mut one)?;
        let length = piece.len();
        if length == 0 {
            return Ok(true);
        }
        theirs.resize(length, 0);
        read_at(other, &mut theirs, from)?;
        if piece != theirs {
            return Ok(false);
        }
        from += length as u64;
        io::BufRead::consume(&mut one, length);
    }
}

/// What stands where a file is to be written.
pub(super) enum Found {
    /// The same bytes.
    Same(Metadata),
    /// Nothing, or a file of ours.
    Ours,
    /// Something else, and what.
    Foreign(&'static str),
}

/// The output folder.
pub(super) struct Folder<'a> {
    pub(super) out: &'a Path,
}

impl Folder<'_> {
    /// The paths of our files. Without a list, files that are as they should be are recognised as
    /// ours, and others are left alone.
    pub(super) fn manifest(&self) -> Result<BTreeSet<String>, Error> {
        let path = self.out.join(MANIFEST);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Err(Error::NoManifest(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(error) => return Err(failed(&path)(error)),
        }
        let bytes = fs::read(&path).map_err(failed(&path))?;
        let text = String::from_utf8_lossy(&bytes);
        let Some(list) = text.strip_prefix(SIGNATURE) else { return Err(Error::NoManifest(path)) };
        // Whoever writes the list must not be able to make us remove files elsewhere.
        Ok(list.lines().filter(|path| is_inside(path)).map(str::to_owned).collect())
    }

    /// Writes the list of our files, unless it is there.
    pub(super) fn write_manifest<'p>(
        &self,
        files: impl Iterator<Item = &'p str>,
    ) -> Result<Metadata, Error> {
        let (path, list) = (self.out.join(MANIFEST), list(files));
        if fs::read(&path).is_ok_and(|old| old == list.as_bytes()) {
            return fs::symlink_metadata(&path).map_err(failed(&path));
        }
        self.put_manifest(&list)
    }

    /// Puts the list that is there anew: it is another file, says the same, and since the same time.
    pub(super) fn renew_manifest(&self) -> Result<Metadata, Error> {
        let path = self.out.join(MANIFEST);
        let old = || Ok((fs::read(&path)?, fs::symlink_metadata(&path)?.modified()?));
        let (list, since) = old().map_err(failed(&path))?;
        let file = self.beside_manifest(&list)?;
        file.as_file().set_modified(since).map_err(failed(&path))?;
        self.replace_manifest(file)
    }

    /// Puts a list of our files into its place.
    pub(super) fn put_manifest(&self, list: &str) -> Result<Metadata, Error> {
        self.replace_manifest(self.beside_manifest(list.as_bytes())?)
    }

    fn beside_manifest(&self, list: &[u8]) -> Result<NamedTempFile, Error> {
        let mut file = self.temporary(MANIFEST)?;
        file.write_all(list).map_err(failed(&self.out.join(MANIFEST)))?;
        Ok(file)
    }

    fn replace_manifest(&self, file: NamedTempFile) -> Result<Metadata, Error> {
        self.put(MANIFEST, file, true)?;
        let path = self.out.join(MANIFEST);
        fs::symlink_metadata(&path).map_err(failed(&path))
    }

    /// Whether a file looks as it did when it was made.
    pub(super) fn looks(&self, path: &str, made: &Made) -> bool {
        fs::symlink_metadata(self.out.join(path))
            .is_ok_and(|file| file.is_file() && Stamp::of(&file) == made.stamp)
    }

    pub(super) fn compare(
        &self,
        path: &str,
        length: u64,
        ours: bool,
        same: impl Fn(&Path) -> bool,
    ) -> Found {
        let target = self.out.join(path);
        match fs::symlink_metadata(&target) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                Found::Foreign("a file stands where its folder would be")
            }
            Err(_) => Found::Ours,
            Ok(metadata) if metadata.is_dir() => Found::Foreign("there is a folder of that name"),
            Ok(metadata) if metadata.is_file() => {
                match (metadata.len() == length && same(&target), ours) {
                    (true, _) => Found::Same(metadata),
                    (false, true) => Found::Ours,
                    (false, false) => Found::Foreign("crieur did not write it"),
                }
            }
            Ok(_) if ours => Found::Ours,
            Ok(_) => Found::Foreign("crieur did not write it"),
        }
    }

    /// A new file beside the place of another.
    pub(super) fn temporary(&self, path: &str) -> Result<NamedTempFile, Error> {
        let target = self.out.join(path);
        let parent = target.parent().unwrap_or(self.out);
        let mut builder = tempfile::Builder::new();
        builder.prefix(TEMPORARY).suffix(".tmp");
        // As any program would create it: the umask decides, and web servers can read it.
        builder.permissions(fs::Permissions::from_mode(0o666));
        let file = match builder.tempfile_in(parent) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(parent).map_err(failed(parent))?;
                builder.tempfile_in(parent)
            }
            made => made,
        };
        file.map_err(failed(&target))
    }

    /// Moves a new file to its place at once. `None` when something is there that may not be
    /// replaced.
    pub(super) fn put(
        &self,
        path: &str,
        file: NamedTempFile,
        replace: bool,
    ) -> Result<Option<Metadata>, Error> {
        let target = self.out.join(path);
        let moved = if replace { file.persist(&target) } else { file.persist_noclobber(&target) };
        match moved {
            Ok(file) => file.metadata().map(Some).map_err(failed(&target)),
            Err(error) if !replace && error.error.kind() == io::ErrorKind::AlreadyExists => {
                Ok(None)
            }
            Err(error) => Err(failed(&target)(error.error)),
        }
    }

    /// Removes a file of ours and the folders that it leaves empty. `false` when it was gone.
    pub(super) fn remove(&self, path: &str) -> Result<bool, Error> {
        let target = self.out.join(path);
        match fs::symlink_metadata(&target) {
            Ok(metadata) if metadata.is_dir() => return Ok(false),
            Ok(_) => fs::remove_file(&target).map_err(failed(&target))?,
            Err(error) if is_gone(&error) => return Ok(false),
            Err(error) => return Err(failed(&target)(error)),
        }
        let mut folder = target.parent();
        while let Some(empty) = folder.filter(|folder| *folder != self.out) {
            if fs::remove_dir(empty).is_err() {
                break;
            }
            folder = empty.parent();
        }
        Ok(true)
    }

    /// Removes what a killed build left half-written, from the folders that we write to.
    pub(super) fn sweep<'p>(&self, paths: impl Iterator<Item = &'p String>) -> Result<(), Error> {
        let folders = paths.map(|path| path.rsplit_once('/').map_or("", |(folder, _)| folder));
        let mut folders: Vec<&str> = folders.chain([""]).collect();
        folders.sort_unstable();
        folders.dedup();
        for folder in folders {
            let Ok(entries) = fs::read_dir(self.out.join(folder)) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                if name.starts_with(TEMPORARY) && name.ends_with(".tmp") {
                    fs::remove_file(entry.path()).map_err(failed(&entry.path()))?;
                }
            }
        }
        Ok(())
    }
}

/// The text of a list of our files.
pub(super) fn list<'p>(files: impl Iterator<Item = &'p str>) -> String {
    let mut list = format!("{SIGNATURE}\n");
    for file in files.collect::<BTreeSet<_>>() {
        list.push_str(file);
        list.push('\n');
    }
    list
}

/// Whether nothing stands at a path.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether a path stays inside of the folder that it is relative to.
fn is_inside(path: &str) -> bool {
    let sound = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', ':']);
    path.split('/').all(sound)
}
