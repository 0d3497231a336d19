//! From an edition to the output folder: what is not as it should be is rendered, a batch of postings
//! at a time, and written.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::anyhow;
use foldhash::{HashMap, HashMapExt};
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
use crate::publish::{Assembly, Changes, Lock, Parts, Publication, Record};
use crate::templates;

/// How a run through all files ended.
pub(super) enum Run {
    /// Everything is published.
    Done(Box<Done>),
    /// Some postings could not be rendered.
    Failed(BTreeMap<Arc<str>, edition::Error>),
    /// The file of a posting is not any more what it was when the build began.
    Changed,
}

/// What was published.
pub(super) struct Done {
    pub(super) changes: Changes,
    /// What is to be remembered of it, if it is not what was.
    pub(super) record: Option<Record>,
    /// Held until that is written down: nobody else publishes meanwhile.
    pub(super) lock: Lock,
    /// Why a page is as it was, and not as it should be: a template cannot make it.
    pub(super) unmade: Option<templates::Error>,
}

/// How many postings are rendered before what became of them is written: so much is held in memory.
const BATCH: usize = 128;

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
        publication: &Publication<'_>,
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
    fn finish(self, publication: &Publication<'_>) -> Result<Parts> {
        match (self.assembly, self.last) {
            (Some(assembly), _) => publication.finish_assembly(assembly, true).map_err(refused),
            (None, Some(last)) => Ok(last),
            (None, None) => Err(temporary(anyhow!("`{}` is gone", self.path))),
        }
    }
}

/// Writes an edition.
pub(super) struct Press<'a> {
    pub(super) opened: &'a Opened,
    pub(super) edition: &'a Edition<'a>,
    pub(super) out: &'a Path,
    pub(super) last: &'a Record,
    /// Why a page could not be made, the first time that one could not.
    pub(super) unmade: OnceLock<templates::Error>,
}

/// What became of one posting of a batch.
struct Fresh {
    at: usize,
    became: Became,
}

enum Became {
    /// Everything of it is as it should be.
    Current,
    Rendered(Box<Rendered>),
    Failed(edition::Error),
    /// Its file is not what it was.
    Changed,
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

impl Press<'_> {
    /// Writes every file that is not as it should be: pages first, then what leads to them.
    pub(super) fn run(&self) -> Result<Run> {
        let edition = self.edition;
        let publication =
            Publication::begin(self.out, &edition.paths, self.last).map_err(refused)?;
        let Some((everything, by_facet)) = edition.feeds.split_first() else {
            return Err(temporary(anyhow!("a site without a feed")));
        };
        let key = edition.feed_key(everything);
        let mut feeds = Vec::with_capacity(Format::ALL.len());
        for format in Format::ALL {
            let frame = || everything.frame(format).map_err(temporary);
            feeds.push(Assembled::begin(&publication, everything.file(format), key, frame)?);
        }
        let events = edition.events();
        let key = Key::join(
            [self.opened.key.bytes()].into_iter().chain(events.iter().map(|(_, key)| key.bytes())),
        );
        let path = calendar::CLOSING_DATES.to_owned();
        let mut calendar =
            Assembled::begin(&publication, path, key, || Ok(edition.calendar_frame()))?;

        let parts_needed = |outline: &Outline<'_>| {
            outline.is_open() && feeds.iter().any(|feed| feed.needs(outline.key))
        };
        let mut needed: Vec<bool> = edition.outlines.par_iter().map(parts_needed).collect();
        for (at, key) in &events {
            if let Some(needed) = needed.get_mut(*at) {
                *needed |= calendar.needs(*key);
            }
        }
        // What is open in the order of the feeds, then the rest.
        let is_closed = |at: &usize| edition.outlines.get(*at).is_some_and(|o| !o.is_open());
        let closed = (0..edition.outlines.len()).filter(is_closed);
        let order: Vec<usize> = everything.members.iter().copied().chain(closed).collect();
        let mut texts: HashMap<usize, String> = HashMap::new();
        let mut failed: BTreeMap<Arc<str>, edition::Error> = BTreeMap::new();
        let mut batches = order.chunks(BATCH);
        let mut batch = self.postings(&publication, &needed, batches.next())?;
        while !batch.is_empty() {
            // While the next batch is rendered, this one is written into the feeds.
            let (next, added) = rayon::join(
                || self.postings(&publication, &needed, batches.next()),
                || self.add(&mut feeds, &batch),
            );
            added?;
            for Fresh { at, became } in std::mem::replace(&mut batch, next?) {
                match became {
                    Became::Current => {}
                    Became::Rendered(rendered) => {
                        texts.extend(rendered.event.map(|event| (at, event)));
                    }
                    Became::Failed(error) => {
                        let path = edition.outlines.get(at).map(|o| o.posting.source.path.clone());
                        failed.extend(path.map(|path| (path, error)));
                    }
                    Became::Changed => return Ok(Run::Changed),
                }
            }
        }
        if !failed.is_empty() {
            return Ok(Run::Failed(failed));
        }
        let parts = events.iter().map(|(at, key)| (*key, texts.get(at).map(String::as_str)));
        calendar.add(parts).map_err(temporary)?;
        calendar.finish(&publication)?;
        let feeds: Vec<Parts> =
            feeds.into_par_iter().map(|feed| feed.finish(&publication)).collect::<Result<_>>()?;
        self.lists(&publication, everything, by_facet, &feeds)?;
        let (changes, record, lock) = publication.finish().map_err(refused)?;
        let unmade = self.unmade.get().cloned();
        Ok(Run::Done(Box::new(Done { changes, record, lock, unmade })))
    }

    /// Renders what has to be rendered of a batch of postings, and writes their own files.
    fn postings(
        &self,
        publication: &Publication<'_>,
        needed: &[bool],
        batch: Option<&[usize]>,
    ) -> Result<Vec<Fresh>> {
        let posting = |at: usize| -> Result<Option<Became>> {
            let Some(outline) = self.edition.outlines.get(at) else { return Ok(None) };
            let mut files = self.edition.files(at);
            files.retain(|(path, key, _)| !publication.is_current(path, *key));
            if files.is_empty() && !needed.get(at).is_some_and(|needed| *needed) {
                return Ok(Some(Became::Current));
            }
            let rendered = match render(self.opened, self.edition, at, outline) {
                Some(Ok(rendered)) => rendered,
                Some(Err(error)) => return Ok(Some(Became::Failed(error))),
                None => return Ok(Some(Became::Changed)),
            };
            for (path, key, file) in files {
                let own;
                let bytes = match (file, &rendered) {
                    (FileOf::Page, Rendered { page, .. })
                    | (FileOf::Moved, Rendered { moved: Some(Ok(page)), .. }) => page,
                    (FileOf::Moved, Rendered { moved: Some(Err(error)), .. }) => {
                        self.leave(publication, &path, error.clone());
                        continue;
                    }
                    (FileOf::Calendar, Rendered { event: Some(event), .. }) => {
                        own = self.edition.calendar_of(&path, event);
                        &own
                    }
                    _ => continue,
                };
                publication.write(&path, key, bytes).map_err(refused)?;
            }
            let rendered = Rendered { page: Vec::new(), moved: None, ..rendered };
            Ok(Some(Became::Rendered(Box::new(rendered))))
        };
        let fresh = |at: &usize| {
            let became = posting(*at).transpose()?;
            Some(became.map(|became| Fresh { at: *at, became }))
        };
        batch.unwrap_or_default().par_iter().filter_map(fresh).collect()
    }

    /// Writes a batch of postings into the feeds of everything.
    fn add(&self, feeds: &mut [Assembled], batch: &[Fresh]) -> Result<()> {
        feeds.par_iter_mut().enumerate().try_for_each(|(format, feed)| {
            let parts = batch.iter().filter_map(|Fresh { at, became }| {
                let outline = self.edition.outlines.get(*at).filter(|outline| outline.is_open())?;
                let part = match became {
                    Became::Current => None,
                    Became::Rendered(rendered) => rendered.parts.get(format),
                    Became::Failed(_) | Became::Changed => return None,
                };
                Some((outline.key, part.map(String::as_str)))
            });
            feed.add(parts).map_err(temporary)
        })
    }

    /// Writes the feeds by facet, which are selections of that of everything, the pages of lists,
    /// and what belongs to the site as a whole.
    fn lists(
        &self,
        publication: &Publication<'_>,
        everything: &Feed<'_>,
        by_facet: &[Feed<'_>],
        parts: &[Parts],
    ) -> Result<()> {
        let (by_facet, whole) = rayon::join(
            || by_facet.par_iter().try_for_each(|feed| self.by_facet(publication, feed, parts)),
            || self.whole(publication, everything),
        );
        by_facet.and(whole)
    }

    /// Writes the feeds of one value of a facet, and its page.
    fn by_facet(
        &self,
        publication: &Publication<'_>,
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
        self.list(publication, feed)
    }

    /// Writes the front page, and what belongs to the site as a whole.
    fn whole(&self, publication: &Publication<'_>, everything: &Feed<'_>) -> Result<()> {
        self.list(publication, everything)?;
        let mut whole = self.edition.whole().map_err(temporary)?;
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
    fn leave(&self, publication: &Publication<'_>, path: &str, error: templates::Error) {
        publication.keep(path);
        // The first is enough to know.
        let _ = self.unmade.set(error);
    }

    /// Writes the page of a list.
    fn list(&self, publication: &Publication<'_>, feed: &Feed<'_>) -> Result<()> {
        let (path, key) = (list_path(feed), self.edition.list_key(feed));
        if publication.is_current(&path, key) {
            return Ok(());
        }
        match self.edition.list(feed) {
            Ok(page) => publication.write(&path, key, &page).map_err(refused),
            Err(error) => {
                self.leave(publication, &path, error);
                Ok(())
            }
        }
    }
}
