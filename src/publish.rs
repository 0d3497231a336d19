//! The output folder: what is in it afterwards is what was to be published, beside other people's
//! files, and no reader ever saw half of a file.
//!
//! A manifest in the folder says which files are ours. It is written before the first file (with
//! what was ours and what will be) and again after the last, so that a build killed at any point
//! is completed by the next. A file that is not in it and has other contents than ours is somebody
//! else's: it is left alone and named.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The files to publish, by their path in the output folder, with forward slashes.
pub type Tree = BTreeMap<String, Vec<u8>>;

/// Whether a file can stand at a path beside all others: neither is it one of them, nor does it lie
/// below one, nor one below it.
pub fn has_room(tree: &Tree, path: &str) -> bool {
    let below = format!("{path}/");
    let is_folder = tree.range(below.clone()..).next().is_some_and(|(p, _)| p.starts_with(&below));
    let mut above = path.match_indices('/').map(|(at, _)| &path[..at]);
    !is_folder && !tree.contains_key(path) && !above.any(|folder| tree.contains_key(folder))
}

/// The list of our files, in the output folder: a path a line, after a line that says so.
const MANIFEST: &str = ".published";
/// How the list begins. A file of that name without it is somebody else's.
const SIGNATURE: &str = "# The files that crieur wrote here, and may change and remove.";
/// How temporary files begin. They stand beside the file that they will become, because a folder
/// may be another file system.
const TEMPORARY: &str = ".crieur-";

/// What publishing changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Files that were written: new ones and changed ones.
    pub written: Vec<String>,
    /// Files that are gone.
    pub removed: Vec<String>,
    /// How many files were as they should be.
    pub unchanged: usize,
    /// Files that should have been written, but belong to somebody else, and why.
    pub foreign: Vec<(String, String)>,
}

/// Why nothing, or not everything, was published.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another build is writing the same folder.
    #[error("another build is writing to `{}`", .0.display())]
    Locked(PathBuf),
    /// The place of the list of our files is taken.
    #[error("`{}` is not crieur's list of files: move it out of the way", .0.display())]
    NoManifest(PathBuf),
    /// The file system refused.
    #[error("cannot write `{}`: {error}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |error| Error::Io { path: path.to_owned(), error }
}

/// Makes the folder hold the tree.
///
/// # Errors
/// When another build is at work, or the file system refuses. What was written until then is
/// whole, and the next build completes it.
pub fn publish(out: &Path, tree: &Tree) -> Result<Changes, Error> {
    fs::create_dir_all(out).map_err(failed(out))?;
    // The folder itself is the lock: nothing in it is touched for it.
    let lock = File::open(out).map_err(failed(out))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(Error::Locked(out.to_owned())),
        Err(TryLockError::Error(error)) => return Err(failed(out)(error)),
    }
    let folder = Folder { out };
    let before = folder.manifest()?;
    folder.sweep(before.iter().chain(tree.keys()))?;

    let mut changes = Changes::default();
    let mut todo: Vec<(&String, &Vec<u8>)> = Vec::new();
    let mut ours = BTreeSet::new();
    for (path, bytes) in tree {
        match folder.compare(path, bytes, before.contains(path)) {
            Found::Same => changes.unchanged += 1,
            Found::Ours => todo.push((path, bytes)),
            Found::Foreign(why) => {
                changes.foreign.push((path.clone(), why.to_owned()));
                continue;
            }
        }
        ours.insert(path.clone());
    }
    // A path that is to be published and is somebody else's is not stale.
    let stale: Vec<&String> = before.iter().filter(|path| !tree.contains_key(*path)).collect();
    if !todo.is_empty() || !stale.is_empty() {
        let announced: BTreeSet<String> = before.union(&ours).cloned().collect();
        folder.write_manifest(&announced, &before)?;
    }
    for (path, bytes) in todo {
        match folder.write(path, bytes, before.contains(path)) {
            Ok(()) => changes.written.push(path.clone()),
            Err(Error::Io { error, .. }) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Somebody was faster than we between looking and writing.
                ours.remove(path);
                changes.foreign.push((path.clone(), "it appeared just now".to_owned()));
            }
            Err(error) => return Err(error),
        }
    }
    for path in stale {
        if folder.remove(path)? {
            changes.removed.push(path.clone());
        }
    }
    folder.write_manifest(&ours, &before)?;
    Ok(changes)
}

/// What stands where a file is to be written.
enum Found {
    /// The same bytes.
    Same,
    /// Nothing, or a file of ours.
    Ours,
    /// Something else, and what.
    Foreign(&'static str),
}

struct Folder<'a> {
    out: &'a Path,
}

impl Folder<'_> {
    /// The paths of our files. Without a list, files that are as they should be are recognised as
    /// ours, and others are left alone.
    fn manifest(&self) -> Result<BTreeSet<String>, Error> {
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

    fn write_manifest(
        &self,
        files: &BTreeSet<String>,
        before: &BTreeSet<String>,
    ) -> Result<(), Error> {
        let path = self.out.join(MANIFEST);
        let list: String = files.iter().map(|path| format!("{path}\n")).collect();
        let text = format!("{SIGNATURE}\n{list}");
        if files == before && fs::read(&path).is_ok_and(|old| old == text.as_bytes()) {
            return Ok(());
        }
        self.write(MANIFEST, text.as_bytes(), true)
    }

    fn compare(&self, path: &str, bytes: &[u8], ours: bool) -> Found {
        let target = self.out.join(path);
        match fs::symlink_metadata(&target) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                Found::Foreign("a file stands where its folder would be")
            }
            Err(_) => Found::Ours,
            Ok(metadata) if metadata.is_dir() => Found::Foreign("there is a folder of that name"),
            Ok(metadata) if metadata.is_file() => {
                let same = metadata.len() == bytes.len() as u64
                    && fs::read(&target).is_ok_and(|existing| existing == bytes);
                match (same, ours) {
                    (true, _) => Found::Same,
                    (false, true) => Found::Ours,
                    (false, false) => Found::Foreign("crieur did not write it"),
                }
            }
            Ok(_) if ours => Found::Ours,
            Ok(_) => Found::Foreign("crieur did not write it"),
        }
    }

    /// Writes a file beside its place and moves it there at once.
    fn write(&self, path: &str, bytes: &[u8], replace: bool) -> Result<(), Error> {
        let target = self.out.join(path);
        let parent = target.parent().unwrap_or(self.out);
        fs::create_dir_all(parent).map_err(failed(parent))?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(TEMPORARY).suffix(".tmp");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // As any program would create it: the umask decides, and web servers can read it.
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let mut file = builder.tempfile_in(parent).map_err(failed(&target))?;
        file.write_all(bytes).map_err(failed(&target))?;
        let moved = if replace { file.persist(&target) } else { file.persist_noclobber(&target) };
        moved.map(|_| ()).map_err(|error| failed(&target)(error.error))
    }

    /// Removes a file of ours and the folders that it leaves empty. `false` when it was gone.
    fn remove(&self, path: &str) -> Result<bool, Error> {
        let target = self.out.join(path);
        match fs::symlink_metadata(&target) {
            Ok(metadata) if !metadata.is_dir() => {
                fs::remove_file(&target).map_err(failed(&target))?;
            }
            _ => return Ok(false),
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
    fn sweep<'p>(&self, paths: impl Iterator<Item = &'p String>) -> Result<(), Error> {
        let folders: BTreeSet<PathBuf> = paths
            .filter_map(|path| self.out.join(path).parent().map(Path::to_owned))
            .chain([self.out.to_owned()])
            .collect();
        for folder in folders {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
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

/// Whether a path stays inside of the folder that it is relative to.
fn is_inside(path: &str) -> bool {
    let sound = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', ':']);
    path.split('/').all(sound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tree(files: &[(&str, &str)]) -> Tree {
        files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
    }

    fn names(out: &Path) -> Vec<String> {
        let mut names: Vec<String> = walkdir::WalkDir::new(out)
            .into_iter()
            .filter_map(Result::ok)
            .filter(|entry| entry.file_type().is_file())
            .map(|entry| entry.path().strip_prefix(out).unwrap().to_string_lossy().into_owned())
            .filter(|name| name != MANIFEST)
            .collect();
        names.sort();
        names
    }

    #[test]
    fn only_what_changed_is_touched() {
        let out = tempfile::tempdir().unwrap();
        let first = publish(out.path(), &tree(&[("a", "1"), ("b/c", "2"), ("d", "3")])).unwrap();
        assert_eq!(first.written, ["a", "b/c", "d"]);
        let time = |name: &str| fs::metadata(out.path().join(name)).unwrap().modified().unwrap();
        let before = (time("a"), time(MANIFEST));
        let same = publish(out.path(), &tree(&[("a", "1"), ("b/c", "2"), ("d", "3")])).unwrap();
        assert_eq!(same, Changes { unchanged: 3, ..Changes::default() });
        assert_eq!((time("a"), time(MANIFEST)), before);
        let next = publish(out.path(), &tree(&[("a", "1"), ("d", "4")])).unwrap();
        assert_eq!((next.written, next.removed), (vec!["d".to_owned()], vec!["b/c".to_owned()]));
        assert_eq!(names(out.path()), ["a", "d"]);
        assert!(!out.path().join("b").exists());
        assert_eq!(time("a"), before.0);
    }

    #[test]
    fn other_peoples_files_are_left_alone() {
        let out = tempfile::tempdir().unwrap();
        fs::create_dir_all(out.path().join("b")).unwrap();
        fs::create_dir_all(out.path().join("folder")).unwrap();
        fs::write(out.path().join("a"), "theirs").unwrap();
        fs::write(out.path().join("b/CNAME"), "theirs").unwrap();
        fs::write(out.path().join("same"), "same").unwrap();
        let files = tree(&[("a", "ours"), ("b/c", "ours"), ("same", "same"), ("folder", "ours")]);
        let changes = publish(out.path(), &files).unwrap();
        assert_eq!(changes.written, ["b/c"]);
        assert_eq!(
            changes.foreign.iter().map(|(path, _)| path).collect::<Vec<_>>(),
            ["a", "folder"]
        );
        publish(out.path(), &tree(&[])).unwrap();
        assert_eq!(names(out.path()), ["a", "b/CNAME"]);
        assert_eq!(fs::read_to_string(out.path().join("a")).unwrap(), "theirs");
    }

    #[test]
    fn what_a_killed_build_left_is_swept_up_and_completed() {
        let out = tempfile::tempdir().unwrap();
        let files = tree(&[("a", "1"), ("b/c", "2")]);
        publish(out.path(), &files).unwrap();
        // Killed while writing: announced, half of a temporary file, one file old.
        fs::write(out.path().join("b/.crieur-x.tmp"), "ha").unwrap();
        fs::write(out.path().join("a"), "0").unwrap();
        fs::remove_file(out.path().join("b/c")).unwrap();
        publish(out.path(), &files).unwrap();
        assert_eq!(names(out.path()), ["a", "b/c"]);
        assert_eq!(fs::read_to_string(out.path().join("a")).unwrap(), "1");
    }

    #[test]
    fn without_a_manifest_equal_files_are_adopted() {
        let out = tempfile::tempdir().unwrap();
        let files = tree(&[("a", "1"), ("b", "2")]);
        publish(out.path(), &files).unwrap();
        fs::remove_file(out.path().join(MANIFEST)).unwrap();
        let changes = publish(out.path(), &files).unwrap();
        assert_eq!((changes.unchanged, changes.foreign.len()), (2, 0));
        publish(out.path(), &tree(&[])).unwrap();
        assert!(names(out.path()).is_empty());
    }

    #[test]
    fn a_manifest_cannot_reach_outside() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        fs::write(folder.path().join("victim"), "x").unwrap();
        fs::create_dir_all(&out).unwrap();
        let list = format!("{SIGNATURE}\n../victim\n/victim\na/../../victim\n");
        fs::write(out.join(MANIFEST), list).unwrap();
        publish(&out, &tree(&[("a", "1")])).unwrap();
        assert!(folder.path().join("victim").exists());
    }

    #[test]
    fn what_is_in_the_way_is_somebody_elses() {
        let out = tempfile::tempdir().unwrap();
        fs::write(out.path().join("folder"), "theirs").unwrap();
        let changes = publish(out.path(), &tree(&[("a", "1"), ("folder/b", "2")])).unwrap();
        assert_eq!((changes.written.len(), changes.foreign.len()), (1, 1));
        let out = tempfile::tempdir().unwrap();
        fs::write(out.path().join("keep"), "theirs").unwrap();
        fs::write(out.path().join(MANIFEST), "keep\n").unwrap();
        assert!(matches!(publish(out.path(), &tree(&[("a", "1")])), Err(Error::NoManifest(_))));
        assert_eq!(names(out.path()), ["keep"]);
    }

    #[test]
    fn two_builds_do_not_write_at_once() {
        let out = tempfile::tempdir().unwrap();
        publish(out.path(), &tree(&[])).unwrap();
        let other = File::open(out.path()).unwrap();
        other.lock().unwrap();
        assert!(matches!(publish(out.path(), &tree(&[])), Err(Error::Locked(_))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// Whatever was published before, afterwards the folder holds the tree and nothing else.
        #[test]
        fn the_folder_becomes_the_tree(
            trees in prop::collection::vec(
                prop::collection::btree_map("[ab](/[cd]){0,1}[.]x", "[01]{0,2}", 0..6), 1..5,
            ),
        ) {
            let out = tempfile::tempdir().unwrap();
            for files in trees {
                let files: Tree = files.into_iter().map(|(path, text)| (path, text.into_bytes())).collect();
                publish(out.path(), &files).unwrap();
                prop_assert_eq!(names(out.path()), files.keys().cloned().collect::<Vec<_>>());
                for (path, bytes) in &files {
                    prop_assert_eq!(&fs::read(out.path().join(path)).unwrap(), bytes);
                }
            }
        }
    }
}
