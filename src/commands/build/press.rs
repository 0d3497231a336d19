//! From an edition to the output folder: what is not as it should be is rendered, a batch of postings
//! at a time, and written.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::anyhow;
use foldhash::{HashMap, HashMapExt, HashSet};
use rayon::prelude::*;

use super::refused;
use crate::calendar;
use crate::commands::{Opened, Result, temporary};
use crate::edition::{self, Edition, FileOf, NOT_FOUND, Rendered, list_path};
use crate::feeds::{Feed, Format};
use crate::frame::Frame;
use crate::key::Key;
use crate::outline::Outline;
use crate::posting::load;
use crate::publish::{Assembly, Changes, Lock, NewRecord, Parts, Publication, Record};
use crate::templates;

/// How a run through all files ended.
pub(super) enum Run<'l> {
    /// Everything is published.
    Done(Box<Done<'l>>),
    /// Some postings could not be rendered.
    Failed {
        failed: BTreeMap<Arc<str>, edition::Error>,
        /// The files that were written nevertheless.
        written: Vec<String>,
    },
    /// The file of a posting is not any more what it was when the build began.
    Changed {
        /// The files that were written before that was seen.
        written: Vec<String>,
    },
}

/// What was published.
pub(super) struct Done<'l> {
    pub(super) changes: Changes,
    /// What is to be remembered of it, if it is not what was.
    pub(super) record: Option<NewRecord<'l>>,
    /// Held until that is written down: nobody else publishes meanwhile.
    pub(super) lock: Lock,
    /// Why a page is as it was, and not as it should be: a template cannot make it.
    pub(super) unmade: Option<templates::Error>,
}

/// How many postings are rendered before what became of them is written: so many are held in memory.
const BATCH: usize = 128;

/// What there is to do about a posting: which of its files are not as they should be. `None` where nothing is;
/// none of them where only a feed or the calendar wants it.
type Due = Option<Vec<(String, Key, FileOf)>>;

/// The files that others are assembled from: the feeds of everything, and the calendar.
struct Assembled {
    path: String,
    /// What was to be assembled and is at work; nothing where the file is current.
    assembly: Option<Assembly>,
    /// The last version.
    last: Option<Parts>,
}

impl Assembled {
    fn begin(
        publication: &Publication<'_, '_>,
        path: String,
        key: Key,
        frame: impl FnOnce() -> Result<Frame>,
    ) -> Result<Self> {
        let last = publication.parts(&path);
        let assembly = if last.is_some() && publication.is_current(&path, key) {
            None
        } else {
            Some(publication.assemble(&path, key, frame()?).map_err(refused)?)
        };
        Ok(Self { path, assembly, last })
    }

    /// Whether a part has to be rendered.
    fn needs(&self, key: Key) -> bool {
        self.assembly.is_some() && !self.last.as_ref().is_some_and(|last| last.has(key))
    }

    /// Adds parts that were rendered, or else those of the last version.
    fn add<'p>(
        &mut self,
        parts: impl IntoIterator<Item = (Key, Option<&'p str>)>,
    ) -> std::io::Result<()> {
        let Some(assembly) = &mut self.assembly else { return Ok(()) };
        let mut kept = Vec::new();
        for (key, part) in parts {
            match (part, &self.last) {
                (Some(part), last) => {
                    if let Some(last) = last {
                        assembly.copy(&std::mem::take(&mut kept), last)?;
                    }
                    assembly.add(key, part.as_bytes())?;
                }
                (None, Some(_)) => kept.push(key),
                (None, None) => {}
            }
        }
        self.last.as_ref().map_or(Ok(()), |last| assembly.copy(&kept, last))
    }

    /// Puts the file in its place. Its parts can be read afterwards.
    fn finish(self, publication: &Publication<'_, '_>) -> Result<Parts> {
        match (self.assembly, self.last) {
            (Some(assembly), _) => publication.finish_assembly(assembly, true).map_err(refused),
            (None, Some(last)) => Ok(last),
            (None, None) => Err(temporary(anyhow!("`{}` is gone", self.path))),
        }
    }
}

/// Writes an edition.
pub(super) struct Press<'a, 'l> {
    pub(super) opened: &'a Opened,
    pub(super) edition: &'a Edition<'a>,
    pub(super) out: &'a Path,
    pub(super) last: &'l Record,
    /// Why a page could not be made, the first time that one could not.
    pub(super) unmade: OnceLock<templates::Error>,
}

/// The page of a list, or why there is none; `None` where it is current.
type ListPage = Option<(Key, std::result::Result<Vec<u8>, templates::Error>)>;

/// What became of a posting that was due.
enum Became {
    Rendered(Box<Rendered>),
    Failed(edition::Error),
    /// Its file is not what it was.
    Changed,
}

/// What became of all postings.
enum Batches {
    /// All are as they should be. The events that were rendered, by the places of their postings.
    Done(HashMap<usize, String>),
    Failed(BTreeMap<Arc<str>, edition::Error>),
    Changed,
}

/// Splits off what is done at once: no more than a batch of what is due, and all that is not between.
fn split_batch(order: &[usize], is_due: impl Fn(&usize) -> bool) -> (&[usize], &[usize]) {
    let mut due = 0;
    let is_too_much = |at| {
        due += usize::from(is_due(at));
        due > BATCH
    };
    order.split_at(order.iter().position(is_too_much).unwrap_or(order.len()))
}

/// Renders a posting, whose text is read if it was not. `None` when its file is not what it was any more.
pub(super) fn render(
    opened: &Opened,
    edition: &Edition<'_>,
    at: usize,
    outline: &Outline<'_>,
) -> Option<std::result::Result<Rendered, edition::Error>> {
    if outline.posting.is_read() {
        return Some(edition.render(at, outline));
    }
    let posting = &load::with_text(&opened.layout, outline.posting)?;
    Some(edition.render(at, &Outline { posting, ..outline.clone() }))
}

impl<'l> Press<'_, 'l> {
    /// Writes every file that is not as it should be: pages first, then what leads to them.
    pub(super) fn run(&self) -> Result<Run<'l>> {
        let edition = self.edition;
        let publication =
            Publication::begin(self.out, &edition.paths, self.last).map_err(refused)?;
        let Some((everything, by_facet)) = edition.feeds.split_first() else {
            return Err(temporary(anyhow!("a site without a feed")));
        };
        let mut feeds = self.feeds_of_everything(&publication, everything)?;
        let events = edition.events();
        let mut calendar = self.calendar(&publication, &events)?;
        let due = self.due(&publication, &feeds, (&calendar, &events));
        let order = self.order(everything);
        // The front page is long, and nothing is made from it: it is made meanwhile, and written last.
        let (rendered, front) = rayon::join(
            || self.postings(&publication, &mut feeds, &order, &due),
            || self.page_of(&publication, everything),
        );
        let texts = match rendered? {
            Batches::Done(texts) => texts,
            Batches::Failed(failed) => {
                return Ok(Run::Failed { failed, written: publication.abandon() });
            }
            Batches::Changed => return Ok(Run::Changed { written: publication.abandon() }),
        };
        let parts = events.iter().map(|(at, key)| (*key, texts.get(at).map(String::as_str)));
        calendar.add(parts).map_err(temporary)?;
        calendar.finish(&publication)?;
        let feeds: Vec<Parts> =
            feeds.into_par_iter().map(|feed| feed.finish(&publication)).collect::<Result<_>>()?;
        let by_facet = by_facet.par_iter();
        let (written, whole) = rayon::join(
            || by_facet.try_for_each(|feed| self.by_facet(&publication, feed, &feeds)),
            || edition.whole(),
        );
        written?;
        self.whole(&publication, whole.map_err(temporary)?)?;
        self.list(&publication, everything, front)?;
        let (changes, record, lock) = publication.finish().map_err(refused)?;
        let unmade = self.unmade.get().cloned();
        Ok(Run::Done(Box::new(Done { changes, record, lock, unmade })))
    }

    /// The feeds of everything, in every format, before their first entry.
    fn feeds_of_everything(
        &self,
        publication: &Publication<'_, '_>,
        everything: &Feed<'_>,
    ) -> Result<Vec<Assembled>> {
        let key = self.edition.feed_key(everything);
        let feed = |format| {
            let frame = || everything.frame(format).map_err(temporary);
            Assembled::begin(publication, everything.file(format), key, frame)
        };
        Format::ALL.into_iter().map(feed).collect()
    }

    /// The calendar of everything, before its first event.
    fn calendar(
        &self,
        publication: &Publication<'_, '_>,
        events: &[(usize, Key)],
    ) -> Result<Assembled> {
        let keys = events.iter().map(|(_, key)| key.bytes());
        let key = Key::join([self.opened.key.bytes()].into_iter().chain(keys));
        let path = calendar::CLOSING_DATES.to_owned();
        Assembled::begin(publication, path, key, || Ok(self.edition.calendar_frame(events)))
    }

    /// What there is to do about each posting, by its place.
    fn due(
        &self,
        publication: &Publication<'_, '_>,
        feeds: &[Assembled],
        (calendar, events): (&Assembled, &[(usize, Key)]),
    ) -> Vec<Due> {
        let told = events.iter().filter(|(_, key)| calendar.needs(*key));
        let told: HashSet<usize> = told.map(|(at, _)| *at).collect();
        let due = |(at, outline): (usize, &Outline<'_>)| {
            let mut files = self.edition.files(at);
            files.retain(|(path, key, _)| !publication.is_current(path, *key));
            let is_needed = outline.is_open() && feeds.iter().any(|feed| feed.needs(outline.key));
            (is_needed || told.contains(&at) || !files.is_empty()).then_some(files)
        };
        self.edition.outlines.par_iter().enumerate().map(due).collect()
    }

    /// In which order postings are gone through: what is open in that of the feeds, then the rest.
    fn order(&self, everything: &Feed<'_>) -> Vec<usize> {
        let outlines = self.edition.outlines.iter().enumerate();
        let closed = outlines.filter(|(_, outline)| !outline.is_open()).map(|(at, _)| at);
        everything.members.iter().copied().chain(closed).collect()
    }

    /// Renders what is due of all postings in their order, and writes their own files and the feeds of
    /// everything.
    fn postings(
        &self,
        publication: &Publication<'_, '_>,
        feeds: &mut [Assembled],
        order: &[usize],
        due: &[Due],
    ) -> Result<Batches> {
        let mut texts: HashMap<usize, String> = HashMap::new();
        let mut failed: BTreeMap<Arc<str>, edition::Error> = BTreeMap::new();
        let is_due = |at: &usize| due.get(*at).is_some_and(Option::is_some);
        let (mut this, mut rest) = split_batch(order, is_due);
        let mut batch = self.batch(publication, this, due)?;
        while !this.is_empty() {
            let (next, others) = split_batch(rest, is_due);
            // While the next batch is rendered, this one is written into the feeds.
            let (rendered, added) = rayon::join(
                || self.batch(publication, next, due),
                || self.add(feeds, this, &batch),
            );
            added?;
            for (at, became) in std::mem::replace(&mut batch, rendered?) {
                match became {
                    Became::Rendered(rendered) => {
                        texts.extend(rendered.event.map(|event| (at, event)));
                    }
                    Became::Failed(error) => {
                        let path = self.edition.outlines.get(at).map(|o| &o.posting.source.path);
                        failed.extend(path.map(|path| (path.clone(), error)));
                    }
                    Became::Changed => return Ok(Batches::Changed),
                }
            }
            (this, rest) = (next, others);
        }
        Ok(if failed.is_empty() { Batches::Done(texts) } else { Batches::Failed(failed) })
    }

    /// Renders what is due of a batch of postings, and writes their own files.
    fn batch(
        &self,
        publication: &Publication<'_, '_>,
        batch: &[usize],
        due: &[Due],
    ) -> Result<HashMap<usize, Became>> {
        let posting = |at: &usize| -> Option<Result<(usize, Became)>> {
            let files = due.get(*at)?.as_deref()?;
            let outline = self.edition.outlines.get(*at)?;
            Some(self.posting(publication, (*at, outline), files).map(|became| (*at, became)))
        };
        batch.par_iter().filter_map(posting).collect()
    }

    /// Renders a posting, and writes these of its files.
    fn posting(
        &self,
        publication: &Publication<'_, '_>,
        (at, outline): (usize, &Outline<'_>),
        files: &[(String, Key, FileOf)],
    ) -> Result<Became> {
        let rendered = match render(self.opened, self.edition, at, outline) {
            Some(Ok(rendered)) => rendered,
            Some(Err(error)) => return Ok(Became::Failed(error)),
            None => return Ok(Became::Changed),
        };
        for (path, key, file) in files {
            let own;
            let bytes = match (file, &rendered) {
                (FileOf::Page, Rendered { page, .. })
                | (FileOf::Moved, Rendered { moved: Some(Ok(page)), .. }) => page,
                (FileOf::Moved, Rendered { moved: Some(Err(error)), .. }) => {
                    self.leave(publication, path, error.clone());
                    continue;
                }
                (FileOf::Calendar, Rendered { event: Some(event), .. }) => {
                    own = self.edition.calendar_of(path, event);
                    &own
                }
                _ => continue,
            };
            publication.write(path, *key, bytes).map_err(refused)?;
        }
        Ok(Became::Rendered(Box::new(Rendered { page: Vec::new(), moved: None, ..rendered })))
    }

    /// Writes a batch of postings into the feeds of everything.
    fn add(
        &self,
        feeds: &mut [Assembled],
        batch: &[usize],
        rendered: &HashMap<usize, Became>,
    ) -> Result<()> {
        feeds.par_iter_mut().enumerate().try_for_each(|(format, feed)| {
            let parts = batch.iter().filter_map(|at| {
                let outline = self.edition.outlines.get(*at).filter(|outline| outline.is_open())?;
                let part = match rendered.get(at) {
                    None => None,
                    Some(Became::Rendered(rendered)) => rendered.parts.get(format),
                    Some(Became::Failed(_) | Became::Changed) => return None,
                };
                Some((outline.key, part.map(String::as_str)))
            });
            feed.add(parts).map_err(temporary)
        })
    }

    /// Writes the feeds of one value of a facet, which are selections of those of everything, and its page.
    fn by_facet(
        &self,
        publication: &Publication<'_, '_>,
        feed: &Feed<'_>,
        parts: &[Parts],
    ) -> Result<()> {
        let edition = self.edition;
        let key = edition.feed_key(feed);
        for (format, parts) in Format::ALL.into_iter().zip(parts) {
            let path = feed.file(format);
            if publication.is_current(&path, key) {
                continue;
            }
            let frame = feed.frame(format).map_err(temporary)?;
            let mut assembly = publication.assemble(&path, key, frame).map_err(refused)?;
            let members = feed.members.iter().filter_map(|at| edition.outlines.get(*at));
            let keys: Vec<Key> = members.map(|outline| outline.key).collect();
            assembly.copy(&keys, parts).map_err(temporary)?;
            publication.finish_assembly(assembly, false).map_err(refused)?;
        }
        self.list(publication, feed, self.page_of(publication, feed))
    }

    /// Writes what belongs to the site as a whole.
    fn whole(
        &self,
        publication: &Publication<'_, '_>,
        mut whole: Vec<(&'static str, Vec<u8>)>,
    ) -> Result<()> {
        match self.edition.not_found() {
            Ok(page) => whole.push((NOT_FOUND, page)),
            Err(error) => self.leave(publication, NOT_FOUND, error),
        }
        for (path, bytes) in whole {
            let key = Key::of(&bytes);
            if !publication.is_current(path, key) {
                publication.write(path, key, &bytes).map_err(refused)?;
            }
        }
        Ok(())
    }

    /// Leaves a page as it was, which a template cannot make.
    fn leave(&self, publication: &Publication<'_, '_>, path: &str, error: templates::Error) {
        publication.keep(path);
        // The first is enough to know.
        let _ = self.unmade.set(error);
    }

    /// The page of a list.
    fn page_of(&self, publication: &Publication<'_, '_>, feed: &Feed<'_>) -> ListPage {
        let key = self.edition.list_key(feed);
        let is_current = publication.is_current(&list_path(feed), key);
        (!is_current).then(|| (key, self.edition.list(feed)))
    }

    /// Writes the page of a list.
    fn list(
        &self,
        publication: &Publication<'_, '_>,
        feed: &Feed<'_>,
        page: ListPage,
    ) -> Result<()> {
        let path = list_path(feed);
        match page {
            None => Ok(()),
            Some((key, Ok(page))) => publication.write(&path, key, &page).map_err(refused),
            Some((_, Err(error))) => {
                self.leave(publication, &path, error);
                Ok(())
            }
        }
    }
}
