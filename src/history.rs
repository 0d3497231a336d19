//! When files last changed, from the git history that a site lies in.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Datelike, Utc};
use gix::diff::tree::recorder::Change;
use gix::objs::TreeRefIter;
use serde::{Deserialize, Serialize};

use crate::posting::moment::YEARS;

/// When each file below a folder last changed, by its path from there, up to a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    head: Head,
    /// The first and the last change of every file that ever was there, in seconds since 1970. A
    /// commit that was made with a clock far off may be followed by one that seems to be older.
    times: HashMap<String, (i64, i64)>,
    /// The files that are there in the commit.
    present: HashSet<String>,
    /// Whether the clone is shallow and some files' last change lies before its beginning.
    pub truncated: bool,
}

/// Up to where a history is known: while this is the same, it tells the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The commit, in hexadecimal digits, and the folder's path in the work tree.
    at: Option<(String, String)>,
    /// Where a shallow clone ends.
    boundary: Vec<String>,
}

/// Git objects that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the git history cannot be read: {0}")]
pub struct Error(String);

impl Error {
    fn new(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// How much of the object database is kept in memory while walking, in bytes.
const OBJECT_CACHE: usize = 32 << 20;

impl History {
    /// When a file last changed. `None` for one that is not committed, or whose last change a
    /// shallow clone does not show.
    pub fn last_change(&self, path: &str) -> Option<DateTime<Utc>> {
        let (_, last) = self.present.get(path).and_then(|path| self.times.get(path))?;
        DateTime::from_timestamp(*last, 0)
    }

    /// When a file first came. `None` for one that is not committed, and in a shallow clone, which
    /// does not tell.
    pub fn first_change(&self, path: &str) -> Option<DateTime<Utc>> {
        let (first, _) = self.present.get(path).and_then(|path| self.times.get(path))?;
        self.head.boundary.is_empty().then(|| DateTime::from_timestamp(*first, 0)).flatten()
    }

    /// Up to where it is known.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Reads the history of the files that `HEAD` has below a folder. A folder outside of any
    /// repository, or in one without a commit, has an empty history. `before` is the history up to
    /// an earlier commit: what it tells is not read again.
    ///
    /// A merge changes what differs from all of its parents.
    ///
    /// # Errors
    /// When there is a repository that cannot be read.
    pub fn read(folder: &Path, before: Option<Self>) -> Result<Self, Error> {
        let Some(mut place) = Place::of(folder)? else { return Ok(Self::default()) };
        place.repository.object_cache_size(OBJECT_CACHE);
        let walk = Walk { repository: &place.repository, prefix: &place.prefix };
        let (head, commit) = (place.head, place.commit);
        // A history that was rewritten, or of another folder, tells nothing.
        let before =
            before.filter(|before| before.head.boundary == head.boundary).and_then(|before| {
                let (hex, folder) = before.head.at.clone()?;
                let known = gix::ObjectId::from_hex(hex.as_bytes()).ok()?;
                (Some(&folder) == head.at.as_ref().map(|(_, folder)| folder)
                    && walk.leads_to(commit, known))
                .then_some((before, known))
            });
        match before {
            Some((before, _)) if before.head == head => Ok(before),
            Some((before, known)) => walk.run(commit, head, before.times, Some(known)),
            None => walk.run(commit, head, HashMap::new(), None),
        }
    }
}

/// Up to where the history of a folder is to be read now.
///
/// # Errors
/// When there is a repository that cannot be read.
pub fn head(folder: &Path) -> Result<Head, Error> {
    Ok(Place::of(folder)?.map(|place| place.head).unwrap_or_default())
}

/// A folder in a repository with a commit.
struct Place {
    repository: gix::Repository,
    /// The folder's path in the work tree.
    prefix: PathBuf,
    commit: gix::ObjectId,
    head: Head,
}

impl Place {
    fn of(folder: &Path) -> Result<Option<Self>, Error> {
        let folder = folder.canonicalize().map_err(Error::new)?;
        let Some(repository) = repository(&folder)? else { return Ok(None) };
        let prefix = path_in(&repository, &folder);
        let commit = repository.head().map_err(Error::new)?.id().map(gix::Id::detach);
        let (Some(prefix), Some(commit)) = (prefix, commit) else { return Ok(None) };
        let shallow = repository.shallow_commits().map_err(Error::new)?;
        let boundary = shallow.iter().flat_map(|ids| ids.iter().map(ToString::to_string)).collect();
        let at = Some((commit.to_string(), prefix.to_string_lossy().into_owned()));
        Ok(Some(Self { repository, prefix, commit, head: Head { at, boundary } }))
    }
}

/// Whether git keeps a file, or will with the next commit: then everybody who can read the repository
/// can read it, for ever.
///
/// # Errors
/// When there is a repository that cannot be read.
pub fn is_tracked(file: &Path) -> Result<bool, Error> {
    // A file that is not there is nobody's.
    let Ok(file) = file.canonicalize() else { return Ok(false) };
    let Some(folder) = file.parent() else { return Ok(false) };
    let Some(repository) = repository(folder)? else { return Ok(false) };
    let Some(path) = path_in(&repository, &file) else { return Ok(false) };
    let index = repository.index_or_load_from_head_or_empty().map_err(Error::new)?;
    let path = gix::path::into_bstr(path).map_err(Error::new)?;
    let path = gix::path::to_unix_separators_on_windows(path);
    Ok(index.entry_by_path(path.as_ref()).is_some())
}

/// The repository that a folder lies in. That there is none is no error.
fn repository(folder: &Path) -> Result<Option<gix::Repository>, Error> {
    let Ok((found, _)) = gix::discover::upwards(folder) else { return Ok(None) };
    let (git, _) = found.into_repository_and_work_tree_directories();
    // Neither the environment nor the machine's settings may change what a site is built to.
    gix::open_opts(git, gix::open::Options::isolated()).map(Some).map_err(Error::new)
}

/// The path of a file in a repository's work tree.
fn path_in(repository: &gix::Repository, path: &Path) -> Option<PathBuf> {
    let workdir = repository.workdir()?.canonicalize().ok()?;
    path.strip_prefix(workdir).map(Path::to_owned).ok()
}

struct Walk<'a> {
    repository: &'a gix::Repository,
    prefix: &'a Path,
}

impl Walk<'_> {
    /// Whether a commit is another one or comes after it.
    fn leads_to(&self, head: gix::ObjectId, earlier: gix::ObjectId) -> bool {
        head == earlier
            || (self.repository.find_commit(earlier).is_ok()
                && self
                    .repository
                    .merge_base(head, earlier)
                    .is_ok_and(|base| base.is_some_and(|base| base == earlier)))
    }

    /// Adds what the commits up to `head` changed, but for those up to `known`.
    fn run(
        &self,
        commit: gix::ObjectId,
        head: Head,
        mut times: HashMap<String, (i64, i64)>,
        known: Option<gix::ObjectId>,
    ) -> Result<History, Error> {
        let commits =
            self.repository.rev_walk([commit]).with_hidden(known).all().map_err(Error::new)?;
        for commit in commits {
            let commit = commit.map_err(Error::new)?;
            if head.boundary.contains(&commit.id.to_string()) {
                // Its parents are not here, so what it changed is not known.
                continue;
            }
            // A clock that was far off when somebody committed says nothing.
            let time = commit.object().map_err(Error::new)?.time().map_err(Error::new)?.seconds;
            let year = DateTime::from_timestamp(time, 0).map(|time| time.year());
            if !year.is_some_and(|year| YEARS.contains(&year)) {
                continue;
            }
            for path in self.changed_by(commit.id, &commit.parent_ids)? {
                let widen = |(first, last): &mut (i64, i64)| {
                    (*first, *last) = (time.min(*first), time.max(*last));
                };
                times.entry(path).and_modify(widen).or_insert((time, time));
            }
        }
        let present: HashSet<String> =
            self.changes(None, self.folder(commit)?)?.into_iter().collect();
        let truncated =
            !head.boundary.is_empty() && present.iter().any(|path| !times.contains_key(path));
        Ok(History { head, times, present, truncated })
    }

    /// The paths in which a commit differs from all of its parents.
    fn changed_by(
        &self,
        commit: gix::ObjectId,
        parents: &[gix::ObjectId],
    ) -> Result<BTreeSet<String>, Error> {
        let tree = self.folder(commit)?;
        let Some((first, rest)) = parents.split_first() else { return self.changes(None, tree) };
        let mut changed = self.changes(self.folder(*first)?, tree)?;
        for parent in rest {
            if changed.is_empty() {
                break;
            }
            let others = self.changes(self.folder(*parent)?, tree)?;
            changed.retain(|path| others.contains(path));
        }
        Ok(changed)
    }

    /// The tree of the folder in a commit.
    fn folder(&self, commit: gix::ObjectId) -> Result<Option<gix::ObjectId>, Error> {
        let commit = self.repository.find_commit(commit).map_err(Error::new)?;
        let tree = commit.tree_id().map_err(Error::new)?;
        if self.prefix.as_os_str().is_empty() {
            return Ok(Some(tree.detach()));
        }
        let root = self.repository.find_tree(tree).map_err(Error::new)?;
        let entry = root.lookup_entry_by_path(self.prefix).map_err(Error::new)?;
        Ok(entry.filter(|entry| entry.mode().is_tree()).map(|entry| entry.object_id()))
    }

    /// The files that differ between two trees.
    fn changes(
        &self,
        old: Option<gix::ObjectId>,
        new: Option<gix::ObjectId>,
    ) -> Result<BTreeSet<String>, Error> {
        if old == new {
            return Ok(BTreeSet::new());
        }
        let data = |tree: Option<gix::ObjectId>| -> Result<Vec<u8>, Error> {
            match tree {
                Some(id) => Ok(self.repository.find_tree(id).map_err(Error::new)?.detach().data),
                None => Ok(Vec::new()),
            }
        };
        let (old, new) = (data(old)?, data(new)?);
        let kind = self.repository.object_hash();
        let mut recorder = gix::diff::tree::Recorder::default();
        gix::diff::tree(
            TreeRefIter::from_bytes(&old, kind),
            TreeRefIter::from_bytes(&new, kind),
            gix::diff::tree::State::default(),
            &self.repository.objects,
            &mut recorder,
        )
        .map_err(Error::new)?;
        let changed = recorder.records.into_iter().filter_map(|change| match change {
            Change::Addition { path, entry_mode, .. }
            | Change::Modification { path, entry_mode, .. } => {
                (!entry_mode.is_tree()).then(|| path.to_string())
            }
            Change::Deletion { .. } => None,
        });
        Ok(changed.collect())
    }
}
