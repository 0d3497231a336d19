//! When files last changed, from the git history that a site lies in.

use std::collections::BTreeSet;
use std::io;
use std::ops::RangeBounds;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Datelike, Utc};
use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};
use gix::diff::tree::recorder::Change;
use gix::objs::TreeRefIter;
use serde::{Deserialize, Serialize};

use crate::posting::moment::YEARS;

/// When each file below a folder last changed, by its path from there, up to a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    head: Head,
    /// Of every file that ever was there. A commit that was made with a clock far off may be followed by
    /// one that seems to be older.
    times: HashMap<String, Times>,
    /// The last moves to places, by these.
    moved: HashMap<String, Moved>,
    /// When files were moved away from places, by these, in seconds since 1970.
    left: HashMap<String, BTreeSet<i64>>,
    /// The files that are there in the commit.
    present: HashSet<String>,
    /// Whether the clone is shallow and some files' last change lies before its beginning.
    pub truncated: bool,
}

/// When files came to a place, one after another, and when they changed there, in seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Times {
    came: BTreeSet<i64>,
    changed: BTreeSet<i64>,
}

/// A move of a file: when, and from where. Of several to one place the greatest counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Moved {
    /// In seconds since 1970, if that is known.
    at: Option<i64>,
    from: String,
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

/// How often a file is followed to where it was before.
const MAX_MOVES: usize = 100;

/// How much of the object database is kept in memory while walking, in bytes.
const OBJECT_CACHE: usize = 32 << 20;

impl History {
    /// When a file last changed within a span of time, or came to its present name. `None` for one that
    /// is not committed, or whose last change a shallow clone does not show.
    pub fn last_change(
        &self,
        path: &str,
        within: impl RangeBounds<DateTime<Utc>>,
    ) -> Option<DateTime<Utc>> {
        let here = self.present.get(path)?;
        let changed = self.times.get(here)?.changed.iter().rev();
        changed.filter_map(|at| DateTime::from_timestamp(*at, 0)).find(|at| within.contains(at))
    }

    /// When a file first came to where `HEAD` is: with a commit there, or with the merge of one that was
    /// made elsewhere. `None` for one that is not committed, and in a shallow clone, which does not tell.
    pub fn first_change(&self, path: &str) -> Option<DateTime<Utc>> {
        let came = self.along(path).min()?;
        self.head.boundary.is_empty().then(|| DateTime::from_timestamp(came, 0)).flatten()
    }

    /// The first change of a file that is there after an instant: a clock was ahead.
    pub fn next_change(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let times = self.present.iter().filter_map(|path| self.times.get(path));
        let now = now.timestamp();
        let next = times.flat_map(|Times { came, changed }| {
            [came.range(now + 1..).next(), changed.range(now + 1..).next()]
        });
        // What was moved came to where it was before, too.
        let moved = self.present.iter().filter(|path| self.moved.contains_key(*path));
        let before = moved.flat_map(|path| self.along(path)).filter(|came| *came > now);
        DateTime::from_timestamp(next.flatten().copied().chain(before).min()?, 0)
    }

    /// When a file that is there came, and when it came to where it was before it was moved. What stood at
    /// one of these places before it, and was moved away, or after it, is another file.
    fn along(&self, path: &str) -> impl Iterator<Item = i64> {
        let mut place = self.present.get(path).map(|path| (path, i64::MAX));
        let mut steps = 0;
        std::iter::from_fn(move || {
            let (here, until) = place.take()?;
            let left = self.left.get(here).and_then(|left| left.range(..until).next_back());
            let came = self.times.get(here).and_then(|times| {
                let mut came = times.came.range(..=until);
                came.find(|came| left.is_none_or(|left| left < *came)).copied()
            });
            // Files may be moved in a circle.
            if let Some(Moved { at: Some(at), from }) = self.moved.get(here)
                && *at <= until
                && left.is_none_or(|left| left < at)
                && steps < MAX_MOVES
            {
                place = Some((from, *at));
            }
            steps += 1;
            Some(came)
        })
        .flatten()
    }

    /// Up to where it is known.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Reads the history of the files that `HEAD` has below a folder, but for what is known of it. A
    /// folder outside of any repository, or in one without a commit, has an empty history.
    ///
    /// A merge changes what differs from all of its parents.
    ///
    /// # Errors
    /// When there is a repository that cannot be read. Then what was known stands.
    pub fn update(&mut self, folder: &Path) -> Result<(), Error> {
        let Some(mut place) = Place::of(folder)? else {
            *self = Self::default();
            return Ok(());
        };
        place.repository.object_cache_size(OBJECT_CACHE);
        let walk = Walk { repository: &place.repository, prefix: &place.prefix };
        let (head, commit) = (place.head, place.commit);
        if self.head == head {
            return Ok(());
        }
        if let Some(known) = self.known(&walk, &head, commit)
            && let Some(mainline) = walk.mainline(commit, Some(known), &head)?
        {
            let mut more = self.clone();
            walk.run(&mut more, commit, head, &mainline, Some(known))?;
            *self = more;
            return Ok(());
        }
        // It came by a merge, and what it had before came with it; or it is another history.
        let mut all = Self::default();
        let mainline = walk.mainline(commit, None, &head)?.unwrap_or_default();
        walk.run(&mut all, commit, head, &mainline, None)?;
        *self = all;
        Ok(())
    }

    /// The commit up to which it is known, if that leads to another one. A history that was rewritten, or
    /// of another folder, tells nothing.
    fn known(&self, walk: &Walk<'_>, head: &Head, commit: gix::ObjectId) -> Option<gix::ObjectId> {
        let ((hex, folder), (_, folder_now)) = self.head.at.as_ref().zip(head.at.as_ref())?;
        let known = gix::ObjectId::from_hex(hex.as_bytes()).ok()?;
        let is_same = self.head.boundary == head.boundary && folder == folder_now;
        (is_same && walk.leads_to(commit, known)).then_some(known)
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
        let folder = match folder.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            folder => folder.map_err(Error::new)?,
        };
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

/// Whether a folder is not there because the last file in it was deleted: git had it, and has no empty
/// folders, while it keeps what stands beside it. One that is away for now, as a disk can be, is still in the
/// last commit, or never was in any.
///
/// # Errors
/// When there is a repository that cannot be read.
pub fn is_emptied(folder: &Path, beside: &str) -> Result<bool, Error> {
    let (Some(above), Some(name)) = (folder.parent(), folder.file_name()) else { return Ok(false) };
    let Some(Place { repository, prefix, commit, .. }) = Place::of(above)? else {
        return Ok(false);
    };
    let has = |commit: gix::ObjectId, name: &Path| {
        let tree =
            repository.find_commit(commit).map_err(Error::new)?.tree().map_err(Error::new)?;
        let found = tree.lookup_entry_by_path(prefix.join(name)).map_err(Error::new)?;
        Ok::<_, Error>(found.is_some())
    };
    if !has(commit, Path::new(beside))? || has(commit, Path::new(name))? {
        return Ok(false);
    }
    for earlier in repository.rev_walk([commit]).all().map_err(Error::new)? {
        if has(earlier.map_err(Error::new)?.id, Path::new(name))? {
            return Ok(true);
        }
    }
    Ok(false)
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

/// The repository that a folder lies in. That there is none is no error; that there is one that cannot be
/// used, is: what it told the last time must not seem to be untrue.
fn repository(folder: &Path) -> Result<Option<gix::Repository>, Error> {
    let found = gix::discover::upwards(folder).ok();
    let place = found.map(|(found, _)| found.into_repository_and_work_tree_directories());
    let root = place.as_ref().map(|(git, work)| work.as_ref().unwrap_or(git).canonicalize());
    let root = root.and_then(Result::ok);
    let inside = folder.ancestors().take_while(|above| Some(*above) != root.as_deref());
    let device = folder.metadata().map_err(Error::new)?.dev();
    // Nor is looked beyond a border of the file system.
    let inside = inside.take_while(|above| above.metadata().is_ok_and(|file| file.dev() == device));
    for above in inside {
        match above.join(".git").symlink_metadata() {
            Ok(_) => {
                return Err(Error(format!("`{}` is no repository", above.join(".git").display())));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::new(error)),
        }
    }
    let Some((git, work)) = place else { return Ok(None) };
    // Neither the environment nor the machine's settings may change what a site is built to. Nothing
    // that a repository names is run, so it may be somebody else's.
    let options = gix::open::Options::isolated().with(gix::sec::Trust::Full);
    gix::open_opts(work.unwrap_or(git), options).map(Some).map_err(Error::new)
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

    /// The commits that were made where `head` is, or merged there: it, its first parent, the first
    /// parent of that, and so on, down to `known`. `None` where that is not among them.
    fn mainline(
        &self,
        commit: gix::ObjectId,
        known: Option<gix::ObjectId>,
        head: &Head,
    ) -> Result<Option<HashSet<gix::ObjectId>>, Error> {
        let mut mainline = HashSet::new();
        let mut next = Some(commit);
        while let Some(at) = next {
            if Some(at) == known {
                return Ok(Some(mainline));
            }
            mainline.insert(at);
            if head.boundary.contains(&at.to_string()) {
                break;
            }
            let commit = self.repository.find_commit(at).map_err(Error::new)?;
            next = commit.parent_ids().next().map(gix::Id::detach);
        }
        Ok(known.is_none().then_some(mainline))
    }

    /// Adds what the commits up to `head` changed, but for those up to `known`, to what is known of
    /// these.
    fn run(
        &self,
        history: &mut History,
        commit: gix::ObjectId,
        head: Head,
        mainline: &HashSet<gix::ObjectId>,
        known: Option<gix::ObjectId>,
    ) -> Result<(), Error> {
        let History { times, moved, left, .. } = history;
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
            let time = Some(time).filter(|_| year.is_some_and(|year| YEARS.contains(&year)));
            let Changed { own, arrived, moves } = self.changed_by(commit.id, &commit.parent_ids)?;
            for Move { to, from } in moves {
                if let Some(time) = time {
                    left.entry(from.clone()).or_default().insert(time);
                }
                let this = Moved { at: time, from };
                let last = moved.entry(to).or_insert_with(|| this.clone());
                if this > *last {
                    *last = this;
                }
            }
            let Some(time) = time else { continue };
            for path in own {
                times.entry(path).or_default().changed.insert(time);
            }
            if mainline.contains(&commit.id) {
                for path in arrived {
                    times.entry(path).or_default().came.insert(time);
                }
            }
        }
        let present = self.changes(None, self.folder(commit)?)?;
        history.present = present.into_iter().map(|file| file.path).collect();
        history.head = head;
        let is_unknown = |path: &String| history.last_change(path, ..).is_none();
        history.truncated =
            !history.head.boundary.is_empty() && history.present.iter().any(is_unknown);
        Ok(())
    }

    /// What a commit changed.
    fn changed_by(
        &self,
        commit: gix::ObjectId,
        parents: &[gix::ObjectId],
    ) -> Result<Changed, Error> {
        let tree = self.folder(commit)?;
        let (first, rest) = match parents.split_first() {
            Some((first, rest)) => (self.folder(*first)?, rest),
            None => (None, &[][..]),
        };
        let files = self.changes(first, tree)?;
        let moves = moves(&files);
        let written = |files: &[File]| -> BTreeSet<String> {
            let written = files.iter().filter(|file| file.now.is_some());
            written.map(|file| file.path.clone()).collect()
        };
        let mut own = written(&files);
        let new = files.into_iter().filter(|file| file.before.is_none());
        let arrived = new.map(|file| file.path).collect();
        for parent in rest {
            if own.is_empty() {
                break;
            }
            let others = written(&self.changes(self.folder(*parent)?, tree)?);
            own.retain(|path| others.contains(path));
        }
        Ok(Changed { own, arrived, moves })
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
    ) -> Result<Vec<File>, Error> {
        if old == new {
            return Ok(Vec::new());
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
        let file = |change| {
            let (path, mode, before, now) = match change {
                Change::Addition { path, entry_mode, oid, .. } => {
                    (path, entry_mode, None, Some(oid))
                }
                Change::Deletion { path, entry_mode, oid, .. } => {
                    (path, entry_mode, Some(oid), None)
                }
                Change::Modification { path, entry_mode, previous_oid, oid, .. } => {
                    (path, entry_mode, Some(previous_oid), Some(oid))
                }
            };
            (!mode.is_tree()).then(|| File { path: path.to_string(), before, now })
        };
        Ok(recorder.records.into_iter().filter_map(file).collect())
    }
}

/// A file that differs between two trees.
struct File {
    path: String,
    /// What it held in the first one, where it is there.
    before: Option<gix::ObjectId>,
    /// What it holds in the second one.
    now: Option<gix::ObjectId>,
}

/// What a commit changed.
struct Changed {
    /// The files that differ from those of all of its parents.
    own: BTreeSet<String>,
    /// The files that its first parent does not have.
    arrived: Vec<String>,
    /// The files that stand elsewhere than in its first parent.
    moves: Vec<Move>,
}

/// A file that stands elsewhere after a commit.
struct Move {
    to: String,
    from: String,
}

/// The files that were moved from one folder to another, or got another name. A file is another one's
/// successor that holds the same, or has the same name.
fn moves(files: &[File]) -> Vec<Move> {
    let name = |file: &File| file.path.rsplit('/').next().unwrap_or_default().to_owned();
    let mut moves = Vec::new();
    let (mut placed, mut taken) = (HashSet::new(), HashSet::new());
    // Of several that hold the same, the one of that name.
    for (by_content, by_name) in [(true, true), (true, false), (false, true)] {
        let key = |file: &File, content: Option<gix::ObjectId>| {
            (content.filter(|_| by_content), by_name.then(|| name(file)))
        };
        let mut gone: HashMap<_, Vec<&File>> = HashMap::new();
        for file in files.iter().filter(|file| file.now.is_none() && !taken.contains(&file.path)) {
            gone.entry(key(file, file.before)).or_default().push(file);
        }
        if gone.is_empty() {
            break;
        }
        for file in files.iter().filter(|file| file.before.is_none()) {
            if placed.contains(&file.path) {
                continue;
            }
            if let Some(old) = gone.get_mut(&key(file, file.now)).and_then(Vec::pop) {
                placed.insert(file.path.clone());
                taken.insert(old.path.clone());
                let (to, from) = (file.path.clone(), old.path.clone());
                moves.push(Move { to, from });
            }
        }
    }
    moves
}
