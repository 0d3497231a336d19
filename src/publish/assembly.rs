//! Files that are assembled from parts: feeds, and the calendar. Parts are written once and copied from
//! then on.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::{Mutex, PoisonError};

use foldhash::HashMap;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::frame::Frame;
use crate::key::Key;

/// Where a part stands in an assembled file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    from: u64,
    length: u64,
}

/// An assembled file whose parts can be read again.
pub struct Parts {
    file: File,
    /// Held by whoever reads from the place that the file itself remembers.
    cursor: Mutex<()>,
    places: HashMap<Key, Place>,
}

impl Parts {
    pub(super) fn new(file: File, places: impl IntoIterator<Item = (Key, Place)>) -> Self {
        Self { file, cursor: Mutex::new(()), places: places.into_iter().collect() }
    }

    /// Whether a part of this key stands in it.
    pub fn has(&self, key: Key) -> bool {
        self.places.contains_key(&key)
    }

    fn place(&self, key: Key) -> io::Result<Place> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "a part that was written is gone");
        self.places.get(&key).copied().ok_or_else(missing)
    }

    /// Writes a long piece of it to another file. Linux copies it by itself, or has both files share it.
    fn hand_over(&self, place: Place, to: &mut File) -> io::Result<()> {
        let _cursor = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = &self.file;
        file.seek(SeekFrom::Start(place.from))?;
        match io::copy(&mut file.take(place.length), to)? {
            copied if copied == place.length => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

pub(super) fn read_at(file: &File, buffer: &mut [u8], from: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, from)
}

/// A file that is put together from parts, beside its place.
pub struct Assembly {
    path: String,
    key: Key,
    frame: Frame,
    file: NamedTempFile,
    /// What is not in the file yet: the beginning of this, so much.
    rest: Buffer,
    filled: usize,
    /// How long all of it is.
    at: u64,
    places: Vec<(Key, Place)>,
}

/// How much of an assembled file is read and written at once, in bytes.
pub(super) const PIECE: usize = 1 << 16;

/// From how many bytes on the kernel copies better than we do.
const LONG: u64 = 1 << 18;

/// What is about to be written to an assembled file.
pub(super) type Buffer = Box<[u8]>;

/// What an assembled file is, when all of it is written.
pub(super) struct Assembled {
    pub(super) path: String,
    pub(super) key: Key,
    pub(super) file: NamedTempFile,
    pub(super) places: Vec<(Key, Place)>,
    /// To be used again.
    pub(super) spare: Buffer,
}

impl Assembly {
    pub(super) fn begin(
        path: &str,
        key: Key,
        frame: Frame,
        file: NamedTempFile,
        spare: Option<Buffer>,
    ) -> io::Result<Self> {
        let mut assembly = Self {
            path: path.to_owned(),
            key,
            at: frame.head.len() as u64,
            frame,
            file,
            rest: spare.unwrap_or_else(|| vec![0; PIECE].into_boxed_slice()),
            filled: 0,
            places: Vec::new(),
        };
        let head = std::mem::take(&mut assembly.frame.head);
        assembly.write(head.as_bytes())?;
        Ok(assembly)
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Writes what stands after the last part.
    pub(super) fn end(mut self) -> io::Result<Assembled> {
        let close = if self.places.is_empty() { "" } else { self.frame.close };
        let tail = std::mem::take(&mut self.frame.tail);
        self.write(close.as_bytes())?;
        self.write(tail.as_bytes())?;
        self.flush()?;
        let Self { path, key, file, places, rest: spare, .. } = self;
        Ok(Assembled { path, key, file, places, spare })
    }

    /// Adds a part.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn add(&mut self, key: Key, part: &[u8]) -> io::Result<()> {
        let before = self.before();
        self.note(key, before, part.len() as u64);
        self.write(before.as_bytes())?;
        self.write(part)
    }

    /// Adds parts of another assembled file, in the same format.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn copy(&mut self, keys: &[Key], from: &Parts) -> io::Result<()> {
        let mut keys = keys.iter().map(|key| Ok((*key, from.place(*key)?))).peekable();
        while let Some(next) = keys.next() {
            let (key, mut run) = next?;
            let before = self.before();
            self.note(key, before, run.length);
            self.write(before.as_bytes())?;
            // Parts that follow each other there, too, are copied with what is between them.
            let between = self.frame.separator;
            loop {
                let end = run.from + run.length + between.len() as u64;
                let follows = |next: &io::Result<(Key, Place)>| {
                    next.as_ref().is_ok_and(|(_, next)| next.from == end)
                };
                let Some(Ok((key, next))) = keys.next_if(follows) else { break };
                self.note(key, between, next.length);
                run.length = next.from + next.length - run.from;
            }
            if run.length < LONG {
                self.read(&from.file, run)?;
            } else {
                self.flush()?;
                from.hand_over(run, self.file.as_file_mut())?;
            }
        }
        Ok(())
    }

    /// What stands before the next part.
    fn before(&self) -> &'static str {
        if self.places.is_empty() { self.frame.open } else { self.frame.separator }
    }

    /// Notes where a part will stand.
    fn note(&mut self, key: Key, before: &str, length: u64) {
        let place = Place { from: self.at + before.len() as u64, length };
        self.at = place.from + place.length;
        self.places.push((key, place));
    }

    fn read(&mut self, file: &File, place: Place) -> io::Result<()> {
        let (mut from, end) = (place.from, place.from + place.length);
        while from < end {
            if self.filled == self.rest.len() {
                self.flush()?;
            }
            let free = self.rest.get_mut(self.filled..).unwrap_or_default();
            let length = usize::try_from(end - from).unwrap_or(PIECE).min(free.len());
            read_at(file, free.get_mut(..length).unwrap_or_default(), from)?;
            from += length as u64;
            self.filled += length;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.filled + bytes.len() > self.rest.len() {
            self.flush()?;
        }
        match self.rest.get_mut(self.filled..self.filled + bytes.len()) {
            Some(free) => {
                free.copy_from_slice(bytes);
                self.filled += bytes.len();
                Ok(())
            }
            None => self.file.write_all(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let filled = std::mem::take(&mut self.filled);
        self.file.write_all(self.rest.get(..filled).unwrap_or_default())
    }
}
