//! Understands a site's postings: what is wrong with one is said, and stops no other.

use std::cmp::Reverse;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use foldhash::{HashMap, HashMapExt, HashSet};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::decode;
use super::files::{self, Contents, Files, Found};
use super::lifecycle::{self, Rules, State};
use super::parse::{self, Parsed};
use super::vocabulary::Field;
use super::{Moment, Posting};
use crate::diagnostics::{Code, Diagnostic, Severity};
use crate::history::{Head, History};
use crate::key::Key;
use crate::site::{Layout, POSTINGS, Site};

/// A site's postings, in path order, with what is wrong with their files.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// Postings with one id and one address each.
    pub postings: Vec<Posting>,
    /// In path order.
    pub diagnostics: Vec<Diagnostic>,
    /// Those that are left out for others with the same id or address.
    pub left_out: Vec<Posting>,
    /// Up to where git's history is known.
    pub head: Head,
    /// When another build may find others for the first time, because something that has not happened
    /// yet will have.
    pub until: Option<DateTime<Utc>>,
    /// What is known of all files now, where that is more than before.
    pub learned: Option<Known>,
}

/// What was found out about files before, by their paths: a file with the same bytes is not
/// understood a second time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    settings: Key,
    files: HashMap<String, KnownFile>,
    history: History,
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
        Self { settings, files: HashMap::new(), history: History::default() }
    }

    /// Whether it was found out with these settings.
    pub fn is_for(&self, settings: Key) -> bool {
        self.settings == settings
    }

    /// Whether it is known what a file with such bytes means.
    pub fn has(&self, path: &str, key: Key) -> bool {
        self.files.get(path).is_some_and(|file| file.key == key)
    }

    fn parsed(&self, path: &str, key: Key) -> Option<Parsed> {
        let file = self.files.get(path).filter(|file| file.key == key)?;
        postcard::from_bytes(&file.parsed).ok()
    }
}

/// Understands all postings of a site, as they are at an instant.
pub fn load(
    layout: &Layout,
    site: &Site,
    files: Files,
    mut known: Known,
    now: DateTime<Utc>,
) -> Loaded {
    let (mut postings, mut read) = (Vec::new(), Vec::new());
    let files = files.found.into_par_iter();
    files
        .map(|found| understand(layout, site, found, &known))
        .unzip_into_vecs(&mut postings, &mut read);
    #[expect(clippy::filter_map_identity, reason = "other than `flatten`, it needs no second list")]
    let postings: Vec<Posting> = postings.into_iter().filter_map(|posting| posting).collect();
    let mut loaded = Loaded { postings, ..Loaded::default() };
    let paths: Vec<Arc<str>> = read.iter().map(|read| read.path.clone()).collect();
    let mut has_learned = false;
    for Read { path, diagnostics, learned } in read {
        loaded.diagnostics.extend(diagnostics);
        if let Some(file) = learned {
            has_learned = true;
            known.files.insert(path.to_string(), file);
        }
    }
    let was_at = known.history.head().clone();
    if let Err(error) = known.history.update(&layout.postings()) {
        let help = "check the repository with `git fsck`; until then, what it told the last time stands, or else opening dates stand in for the dates of changes";
        loaded.diagnostics.push(unknown(error.to_string(), help));
    }
    loaded.head = known.history.head().clone();
    date(&mut loaded, &known.history, site.timezone, now);
    refuse_doubles(&mut loaded, layout, site, now);
    if has_learned || *known.history.head() != was_at {
        let paths: HashSet<&str> = paths.iter().map(|path| &**path).collect();
        known.files.retain(|path, _| paths.contains(path.as_str()));
        loaded.learned = Some(known);
    }
    loaded
}

/// One file, understood: what there is beside its posting.
struct Read {
    path: Arc<str>,
    diagnostics: Vec<Diagnostic>,
    /// What was not known before.
    learned: Option<KnownFile>,
}

/// What a file means, and what is to be kept of that.
fn understand(
    layout: &Layout,
    site: &Site,
    Found { path, contents }: Found,
    known: &Known,
) -> (Option<Posting>, Read) {
    let Contents { bytes, key, misnamed } = match contents {
        Ok(contents) => contents,
        Err(problem) => {
            return (None, Read { path, diagnostics: vec![*problem], learned: None });
        }
    };
    let (Parsed { posting, mut diagnostics }, learned) =
        if let Some(parsed) = known.parsed(&path, key) {
            (parsed.again(&path, bytes.as_deref()), None)
        } else if let Some(bytes) = bytes.or_else(|| files::again(layout, &path, key)) {
            let parsed = parse::parse(site, &path, &bytes, key);
            let kept = postcard::to_stdvec(&parsed).ok().map(|parsed| KnownFile { key, parsed });
            (parsed, kept)
        } else {
            let message = "it changed while it was read";
            let problem = Diagnostic::new(Severity::Error, Code::Unreadable, path.clone(), message)
                .help("run the command again");
            (Parsed { posting: None, diagnostics: vec![problem] }, None)
        };
    diagnostics.splice(0..0, misnamed);
    (posting, Read { path, diagnostics, learned })
}

/// A posting with its text, where that was not read because it was known what it means. `None` when the
/// file is not what it was any more.
pub fn with_text(layout: &Layout, posting: &Posting) -> Option<Posting> {
    let path = &posting.source.path;
    let bytes = files::again(layout, path, posting.key)?;
    let source = decode::again(path, &bytes, posting.is_verbatim)?;
    Some(Posting { source, ..posting.clone() })
}

/// Reads a posting's text, if it was not, because a message will quote it. `false` when its file is not
/// what it was any more.
pub fn read_for_excerpts(layout: &Layout, posting: &mut Posting) -> bool {
    if !posting.is_read() {
        let Some(read) = with_text(layout, posting) else { return false };
        *posting = read;
    }
    true
}

/// Of postings that share an id or an address, keeps the first in path order of those that are open, or
/// else the last that was: what nobody sees is in nobody's way.
fn refuse_doubles(loaded: &mut Loaded, layout: &Layout, site: &Site, now: DateTime<Utc>) {
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
    let rules = Rules::of(site);
    let mut postings = std::mem::take(&mut loaded.postings);
    // The sort is stable, and asks once for each: whoever has one double may have many postings.
    postings.sort_by_cached_key(|posting| {
        let mut posting = posting.clone();
        posting.forget_what_is_to_come(now, rules.zone);
        let is_open = lifecycle::state(&posting, now, &rules) == State::Open;
        let end = posting.closes.or(posting.opens).filter(|_| !is_open);
        let end = Reverse(end.map(|end| end.end(rules.zone)));
        (!is_open, !lifecycle::was_shown(&posting, now, rules.zone), end)
    });
    for mut posting in postings {
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
            if !read_for_excerpts(layout, &mut posting) {
                loaded.until = Some(now);
            }
            let path = &posting.source.path;
            let place = |field: &Field| posting.places.get(field);
            let first = || posting.places.values().min_by_key(|span| span.start);
            let span = place(&field).or_else(|| place(&Field::Slug)).or_else(first);
            let span = span.cloned().unwrap_or(0..0);
            loaded.diagnostics.push(
                Diagnostic::new(Severity::Error, Code::DuplicateId, path.clone(), message)
                    .at(&posting.source, &span)
                    .help("rename the file, or give one of the two a `slug:` of its own"),
            );
            loaded.left_out.push(posting);
        } else {
            ids.insert(posting.id.clone(), path.clone());
            slugs.insert(posting.slug.clone(), path.clone());
            kept.push(posting);
        }
    }
    kept.sort_by(|a, b| a.source.path.cmp(&b.source.path));
    loaded.postings = kept;
    // What stood in order within a file stays so.
    loaded.diagnostics.sort_by(|a, b| a.path.cmp(&b.path));
}

/// Adds the dates that git knows.
fn date(loaded: &mut Loaded, history: &History, zone: Tz, now: DateTime<Utc>) {
    if history.truncated {
        let help = "fetch the whole history (`git fetch --unshallow`; in GitHub Actions, `fetch-depth: 0`)";
        let message = "the git clone is shallow: opening dates stand in for the dates of changes that it does not show";
        loaded.diagnostics.push(unknown(message.to_owned(), help));
    }
    loaded.postings.par_iter_mut().for_each(|posting| {
        let below = posting.source.path.strip_prefix(POSTINGS).unwrap_or(&posting.source.path);
        let below = below.trim_start_matches('/');
        // A commit that was made with a clock that is ahead says nothing yet.
        posting.committed = history.last_change(below, ..=now);
        posting.added = history.first_change(below).filter(|added| *added <= now);
        if let Some(day @ Moment::Day(_)) = posting.updated {
            let end = day.end(zone).min(now + TimeDelta::nanoseconds(1));
            posting.touched = history.last_change(below, day.start(zone)..end);
        }
    });
    loaded.until = history.next_change(now);
}

/// Says that git does not tell all.
fn unknown(message: String, help: &str) -> Diagnostic {
    Diagnostic::new(Severity::Warning, Code::History, POSTINGS, message).help(help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::posting::files::Listing;

    #[test]
    fn a_text_that_was_not_kept_is_read_again_if_it_is_still_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout { root: folder.path().to_owned() };
        let site = Site::parse("title: T\nurl: https://jobs.example.org/\n").unwrap();
        std::fs::create_dir_all(layout.postings()).unwrap();
        let file = layout.postings().join("a.md");
        std::fs::write(&file, "---\ntitle: A\n---\nText.\n").unwrap();
        let now = DateTime::UNIX_EPOCH;
        let load = |known: Known| {
            let files =
                Listing::of(&layout).unwrap().read(|path, key| known.has(path, key)).unwrap();
            super::load(&layout, &site, files, known, now)
        };
        let first = load(Known::new(Key::of(b"")));
        assert!(first.postings[0].is_read());
        let known = first.learned.unwrap();
        assert!(known.is_for(Key::of(b"")) && !known.is_for(Key::of(b"other settings")));
        let second = load(known);
        let posting = &second.postings[0];
        assert!(!posting.is_read() && posting.source.path == first.postings[0].source.path);
        assert_eq!(with_text(&layout, posting).as_ref(), Some(&first.postings[0]));
        std::fs::write(&file, "---\ntitle: B\n---\nText.\n").unwrap();
        assert_eq!(with_text(&layout, posting), None);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(with_text(&layout, posting), None);
    }
}
