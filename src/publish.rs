//! The output folder: what is in it afterwards is what was to be published, beside other people's
//! files, and no reader ever saw half of a file.
//!
//! A manifest in the folder says which files are ours. It is written before the first file (with
//! what was ours and what will be) and again after the last, where it is another then, so that a build
//! killed at any point is completed by the next, which knows of it: the manifest is not the one that
//! was recorded. A file that is not in it and has other contents than ours is somebody
//! else's: it is left alone and named.
//!
//! What every file was made from is recorded outside of the folder, with how the file looked
//! afterwards: one that would be made from the same and looks the same is not made again.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;
use rayon::prelude::*;

use crate::frame::Frame;
use crate::key::Key;

mod assembly;
mod folder;
mod record;

pub use assembly::{Assembly, Parts};
pub use record::{NewRecord, Record};

use assembly::{Assembled, Buffer, Place};
use folder::{Folder, Found, MANIFEST, Stamp, lock};
use record::Made;

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

/// Whether the folder holds all that the last build left there, and as it left it.
///
/// # Errors
/// When another build is at work, or the file system refuses.
pub fn is_as_left(out: &Path, last: &Record) -> Result<bool, Error> {
    let _lock = match lock(out) {
        Err(Error::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(false);
        }
        locked => locked?,
    };
    let folder = Folder { out };
    Ok(last.files.contains_key(MANIFEST)
        && last.files.par_iter().all(|(path, made)| folder.looks(path, made)))
}

/// A build at work in the output folder.
pub struct Publication<'a, 'l> {
    folder: Folder<'a>,
    planned: &'a BTreeSet<String>,
    last: &'l Record,
    /// Whether the folder is as the last build left it, as far as its list of files tells.
    is_last: bool,
    /// Whether there was nothing in the folder.
    is_new: bool,
    /// The files of the last build, where the record does not tell.
    before: BTreeSet<String>,
    progress: Mutex<Progress<'l>>,
    /// The buffers of files that were assembled.
    spare: Mutex<Vec<Buffer>>,
    lock: Lock,
}

/// Nobody else writes to the folder while this is there.
pub struct Lock(#[expect(dead_code, reason = "it is held, and never read")] File);

#[derive(Default)]
struct Progress<'l> {
    announced: bool,
    /// How the list of our files looks since then.
    list: Option<Stamp>,
    changes: Changes,
    /// The files of the last build that are as they should be.
    current: Vec<(&'l str, Made)>,
    /// All others.
    files: HashMap<String, Made>,
    parts: HashMap<String, Vec<(Key, Place)>>,
}

impl<'a, 'l> Publication<'a, 'l> {
    /// Begins to make the folder hold the files of these paths, and no others of ours. `last` is
    /// what the last build left.
    ///
    /// # Errors
    /// When another build is at work, or the file system refuses.
    pub fn begin(
        out: &'a Path,
        planned: &'a BTreeSet<String>,
        last: &'l Record,
    ) -> Result<Self, Error> {
        fs::create_dir_all(out).map_err(failed(out))?;
        let lock = lock(out)?;
        let folder = Folder { out };
        let is_new = fs::read_dir(out).map_err(failed(out))?.next().is_none();
        // The record is that of the last build when the list of files is the one that it left.
        let is_last = last.files.get(MANIFEST).is_some_and(|made| folder.looks(MANIFEST, made));
        let before = if is_last { BTreeSet::new() } else { folder.manifest()? };
        let publication = Self {
            folder,
            planned,
            last,
            is_last,
            is_new,
            before,
            progress: Mutex::default(),
            spare: Mutex::default(),
            lock: Lock(lock),
        };
        if !is_last {
            publication.sweep()?;
        }
        Ok(publication)
    }

    fn progress(&self) -> MutexGuard<'_, Progress<'l>> {
        // Nothing in it is ever half changed.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Buffer>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_ours(&self, path: &str) -> bool {
        // Whoever took the list of our files away may have put files of their own there.
        if self.is_last { self.last.files.contains_key(path) } else { self.before.contains(path) }
    }

    fn sweep(&self) -> Result<(), Error> {
        self.folder.sweep(self.planned.iter().chain(&self.before))
    }

    /// Whether a file is there already and was made from the same.
    pub fn is_current(&self, path: &str, key: Key) -> bool {
        let made = self.last.files.get_key_value(path).filter(|(_, made)| made.key == key);
        let Some((path, made)) = made.filter(|(path, made)| self.folder.looks(path, made)) else {
            return false;
        };
        let mut progress = self.progress();
        progress.changes.unchanged += 1;
        progress.current.push((path, *made));
        true
    }

    /// The parts of an assembled file of the last build, if it is still as that left it.
    pub fn parts(&self, path: &str) -> Option<Parts> {
        let made = self.last.files.get(path)?;
        let places = self.last.parts.get(path)?.iter().copied();
        let file = File::open(self.folder.out.join(path)).ok()?;
        let same = Stamp::of(&file.metadata().ok()?) == made.stamp;
        same.then(|| Parts::new(file, places))
    }

    /// Makes a file hold these bytes.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn write(&self, path: &str, key: Key, bytes: &[u8]) -> Result<(), Error> {
        let same = |target: &Path| fs::read(target).is_ok_and(|existing| existing == bytes);
        let found = self.find(path, bytes.len() as u64, same);
        self.settle(path, key, found, |folder, replace| {
            let mut file = folder.temporary(path)?;
            file.write_all(bytes).map_err(failed(&folder.out.join(path)))?;
            folder.put(path, file, replace)
        })
    }

    /// Leaves a file as it is, because what it should be cannot be made.
    pub fn keep(&self, path: &str) {
        if self.is_ours(path)
            && let Ok(metadata) = fs::symlink_metadata(self.folder.out.join(path))
        {
            // Made from nothing that is known: it is made as soon as it can be.
            let made = Made { key: Key::of(b"kept"), stamp: Stamp::of(&metadata) };
            self.progress().files.insert(path.to_owned(), made);
        }
    }

    /// What stands where a file is to be written.
    fn find(&self, path: &str, length: u64, same: impl Fn(&Path) -> bool) -> Found {
        if self.is_new {
            // Nothing: what appears there meanwhile is not replaced.
            return Found::Ours;
        }
        self.folder.compare(path, length, self.is_ours(path), same)
    }

    /// Does what is to be done about what was found at a path.
    fn settle(
        &self,
        path: &str,
        key: Key,
        found: Found,
        write: impl FnOnce(&Folder<'_>, bool) -> Result<Option<Metadata>, Error>,
    ) -> Result<(), Error> {
        let is_new = !self.is_ours(path);
        let foreign = |why: &str| {
            self.progress().changes.foreign.push((path.to_owned(), why.to_owned()));
        };
        let file = match found {
            Found::Foreign(why) => {
                foreign(why);
                return Ok(());
            }
            Found::Same(metadata) => {
                self.progress().changes.unchanged += 1;
                metadata
            }
            Found::Ours => {
                self.announce()?;
                let Some(metadata) = write(&self.folder, !is_new)? else {
                    // Somebody was faster than we between looking and writing.
                    foreign("it appeared just now");
                    return Ok(());
                };
                self.progress().changes.written.push(path.to_owned());
                metadata
            }
        };
        let made = Made { key, stamp: Stamp::of(&file) };
        self.progress().files.insert(path.to_owned(), made);
        Ok(())
    }

    /// Says, before the first change, which files will be ours. The list is another file from then on,
    /// also where it says the same: when this build does not come to its end, the next will know.
    fn announce(&self) -> Result<(), Error> {
        if self.progress().announced {
            return Ok(());
        }
        // What was ours is on the list already. Nothing is locked while others may be at work.
        let new: Vec<&String> =
            self.planned.par_iter().filter(|path| !self.is_ours(path)).collect();
        let theirs = |path: &&&String| {
            !self.is_new && fs::symlink_metadata(self.folder.out.join(path)).is_ok()
        };
        let new: Vec<&String> = new.iter().filter(|path| !theirs(path)).copied().collect();
        let mut progress = self.progress();
        if !progress.announced {
            // Killed before this is done, a build leaves nothing but half of a list.
            self.folder.sweep(std::iter::empty())?;
            let list = if self.is_last && new.is_empty() {
                self.folder.renew_manifest()?
            } else {
                let paths = new.into_iter().chain(self.ours()).map(String::as_str);
                self.folder.put_manifest(&folder::list(paths))?
            };
            progress.list = Some(Stamp::of(&list));
            progress.announced = true;
        }
        Ok(())
    }

    /// The files of the last build.
    fn ours(&self) -> impl Iterator<Item = &String> {
        let recorded = self.last.files.keys().filter(|path| self.is_last && *path != MANIFEST);
        recorded.chain(&self.before)
    }

    /// Begins a file that is put together from parts.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn assemble(&self, path: &str, key: Key, frame: Frame) -> Result<Assembly, Error> {
        self.announce()?;
        let file = self.folder.temporary(path)?;
        let spare = self.spare().pop();
        Assembly::begin(path, key, frame, file, spare).map_err(failed(&self.folder.out.join(path)))
    }

    /// Puts an assembled file in its place. `lasting` when others are made from its parts, now or
    /// in the next build.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn finish_assembly(&self, assembly: Assembly, lasting: bool) -> Result<Parts, Error> {
        let target = self.folder.out.join(assembly.path());
        let Assembled { path, key, file, places, spare } =
            assembly.end().map_err(failed(&target))?;
        self.spare().push(spare);
        let reader = file.reopen().map_err(failed(&target))?;
        let length = reader.metadata().map_err(failed(&target))?.len();
        let same = |target: &Path| folder::is_same(target, &reader).unwrap_or(false);
        let found = self.find(&path, length, same);
        self.settle(&path, key, found, |folder, replace| folder.put(&path, file, replace))?;
        if lasting {
            self.progress().parts.insert(path, places.clone());
        }
        Ok(Parts::new(reader, places))
    }

    /// Gives up. What was written until then stays: the next build takes it for ours, and completes it.
    pub fn abandon(self) -> Vec<String> {
        self.progress.into_inner().unwrap_or_else(PoisonError::into_inner).changes.written
    }

    /// Removes what is ours and not to be published any more. Returns what is to be remembered of
    /// this build, where that is not what was remembered of the last; the lock is kept until it is.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn finish(self) -> Result<(Changes, Option<NewRecord<'l>>, Lock), Error> {
        {
            let mut progress = self.progress();
            // Everything of the last build, its list of files among it, and nothing else.
            if !progress.announced
                && self.is_last
                && progress.current.len() + 1 == self.last.files.len()
                && progress.files.is_empty()
            {
                progress.changes.foreign.sort();
                let changes = std::mem::take(&mut progress.changes);
                drop(progress);
                return Ok((changes, None, self.lock));
            }
        }
        let mut stale: Vec<&String> = Vec::new();
        // Whether there are others cannot be told by their number alone.
        let kept = self.planned.par_iter().filter(|path| self.is_ours(path)).count();
        if kept < self.ours().count() {
            stale.extend(self.ours().filter(|path| !self.planned.contains(*path)));
            stale.sort();
        }
        for path in stale {
            self.announce()?;
            if self.folder.remove(path)? {
                self.progress().changes.removed.push(path.clone());
            }
        }
        let progress = self.progress.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Progress { mut changes, current, mut files, parts, list, .. } = progress;
        changes.written.sort();
        changes.foreign.sort();
        // The list is as it was when nothing was added to it and nothing is missing.
        let unlisted = |path: &String| !self.last.files.contains_key(path);
        let is_as_before = self.is_last
            && current.len() + files.len() + 1 == self.last.files.len()
            && !files.par_iter().any(|(path, _)| unlisted(path));
        let made = |stamp| Made { key: Key::of(b"manifest"), stamp };
        let list = list.or_else(|| Some(self.last.files.get(MANIFEST)?.stamp));
        let made = match list.map(made).filter(|_| is_as_before) {
            Some(made) if self.folder.looks(MANIFEST, &made) => made,
            _ => {
                let paths = files.keys().map(String::as_str);
                let paths = paths.chain(current.iter().map(|(path, _)| *path));
                made(Stamp::of(&self.folder.write_manifest(paths)?))
            }
        };
        files.insert(MANIFEST.to_owned(), made);
        let kept = current.iter().filter_map(|(path, _)| self.last.parts.get_key_value(*path));
        let kept = kept.map(|(path, parts)| (path.into(), parts.into()));
        let parts = parts.into_iter().map(|(path, parts)| (path.into(), parts.into()));
        let parts = parts.chain(kept).collect();
        let files = files.into_iter().map(|(path, made)| (path.into(), made));
        let files = files.chain(current.into_iter().map(|(path, made)| (path.into(), made)));
        let record = NewRecord { files: files.collect(), parts, left_out: BTreeSet::new() };
        Ok((changes, Some(record), self.lock))
    }
}

#[cfg(test)]
mod tests {
    use super::folder::SIGNATURE;
    use super::*;
    use crate::cache;
    use proptest::prelude::*;

    type Tree = std::collections::BTreeMap<String, Vec<u8>>;

    /// Publishes a tree, with the record of the last time.
    fn publish(out: &Path, tree: &Tree) -> Result<Changes, Error> {
        let planned: BTreeSet<String> = tree.keys().cloned().collect();
        let record = out.with_extension("record");
        let last = Record::load(&record);
        let publication = Publication::begin(out, &planned, &last)?;
        for (path, bytes) in tree {
            if !publication.is_current(path, Key::of(bytes)) {
                publication.write(path, Key::of(bytes), bytes)?;
            }
        }
        let (changes, done, _lock) = publication.finish()?;
        if let Some(done) = done {
            cache::save(&record, &done);
        }
        Ok(changes)
    }

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
    fn without_the_list_of_our_files_what_is_different_is_somebody_elses() {
        let out = tempfile::tempdir().unwrap();
        let out = out.path().join("out");
        publish(&out, &tree(&[("a", "1"), ("b", "2")])).unwrap();
        fs::remove_file(out.join(MANIFEST)).unwrap();
        fs::write(out.join("a"), "theirs").unwrap();
        let changes = publish(&out, &tree(&[("a", "3"), ("b", "2")])).unwrap();
        assert_eq!((changes.written.len(), changes.foreign.len(), changes.unchanged), (0, 1, 1));
        assert_eq!(fs::read_to_string(out.join("a")).unwrap(), "theirs");
    }

    #[test]
    fn what_a_killed_build_left_is_swept_up_and_completed() {
        let out = tempfile::tempdir().unwrap();
        // The last is somebody else's.
        fs::write(out.path().join("d"), "theirs").unwrap();
        let files = tree(&[("a", "1"), ("b/c", "2"), ("d", "3")]);
        publish(out.path(), &files).unwrap();
        let killed = |after: &dyn Fn(&Publication<'_, '_>)| {
            let last = Record::load(&out.path().with_extension("record"));
            let planned = files.keys().cloned().collect();
            let publication = Publication::begin(out.path(), &planned, &last).unwrap();
            after(&publication);
            fs::write(out.path().join("b/.crieur-x.tmp"), "ha").unwrap();
            fs::write(out.path().join(".crieur-y.tmp"), "ha").unwrap();
        };
        let is_whole = || {
            publish(out.path(), &files).unwrap();
            assert_eq!(names(out.path()), ["a", "b/c", "d"]);
            assert_eq!(fs::read_to_string(out.path().join("a")).unwrap(), "1");
        };
        // Killed after the first file, and what it was made from is taken back.
        killed(&|publication| publication.write("a", Key::of(b"0"), b"0").unwrap());
        is_whole();
        // Killed before the first file is in its place.
        killed(&|publication| publication.announce().unwrap());
        is_whole();
        // Killed with the list of our files gone.
        killed(&|_| fs::remove_file(out.path().join(MANIFEST)).unwrap());
        is_whole();
        // Killed before it had said anything.
        fs::write(out.path().join(".crieur-y.tmp"), "ha").unwrap();
        publish(out.path(), &tree(&[("a", "2"), ("b/c", "2"), ("d", "3")])).unwrap();
        assert_eq!(names(out.path()), ["a", "b/c", "d"]);
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
