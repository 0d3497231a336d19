//! The files that are served, small ones from memory: a look at a file tells whether it is still the
//! one that was read before.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::future::{Ready, ready};
use std::io::{self, Cursor, Read, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tower_http::services::fs::{Backend, File};

/// How large a file may be to be kept, in bytes.
const SMALL: u64 = 1 << 20;
/// How much is kept at most, in bytes.
const MAX_KEPT: usize = 64 << 20;

/// The folder's files, and what is known of them.
#[derive(Clone, Default)]
pub(super) struct Files(Arc<RwLock<Kept>>);

#[derive(Default)]
struct Kept {
    files: HashMap<PathBuf, (Version, Arc<[u8]>)>,
    bytes: usize,
}

/// What changes when a file is written or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

impl Version {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            length: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Files {
    fn open_now(&self, path: PathBuf) -> io::Result<Opened> {
        // A look takes less than handing it to somebody else would.
        let metadata = metadata(&path)?;
        if !metadata.is_file() || metadata.len() > SMALL {
            let file = tokio::fs::File::from_std(fs::File::open(&path)?);
            return Ok(Opened { content: Content::File(file), metadata });
        }
        let kept = {
            let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
            let known = kept.files.get(&path);
            known.filter(|(known, _)| *known == Version::of(&metadata)).map(|(_, b)| b.clone())
        };
        let (bytes, metadata) = match kept {
            Some(bytes) => (bytes, metadata),
            None => self.read(path)?,
        };
        Ok(Opened { content: Content::Memory(Cursor::new(bytes)), metadata })
    }

    fn read(&self, path: PathBuf) -> io::Result<(Arc<[u8]>, Metadata)> {
        let mut file = fs::File::open(&path)?;
        let metadata = file.metadata()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        if bytes.len() as u64 != metadata.len() {
            // Builds replace files; whoever writes into one is not done yet.
            return Err(io::ErrorKind::Interrupted.into());
        }
        let bytes: Arc<[u8]> = bytes.into();
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if kept.bytes + bytes.len() > MAX_KEPT {
            *kept = Kept::default();
        }
        kept.bytes += bytes.len();
        let new = (Version::of(&metadata), bytes.clone());
        if let Some((_, old)) = kept.files.insert(path, new) {
            kept.bytes -= old.len();
        }
        Ok((bytes, metadata))
    }
}

impl Backend for Files {
    type File = Opened;
    type Metadata = Metadata;
    type OpenFuture = Ready<io::Result<Opened>>;
    type MetadataFuture = Ready<io::Result<Metadata>>;

    fn open(&self, path: PathBuf) -> Self::OpenFuture {
        ready(self.open_now(path))
    }

    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        ready(metadata(&path))
    }
}

/// What there is to know of a file or folder. Nothing else is served.
fn metadata(path: &Path) -> io::Result<Metadata> {
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        // There is no file of a name that no file can have.
        io::ErrorKind::InvalidFilename => io::ErrorKind::NotFound.into(),
        _ => error,
    })?;
    // Whoever opens a pipe waits for its other end.
    let is_served = metadata.is_file() || metadata.is_dir();
    is_served.then_some(metadata).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// A file that is being served.
pub(super) struct Opened {
    content: Content,
    metadata: Metadata,
}

enum Content {
    Memory(Cursor<Arc<[u8]>>),
    File(tokio::fs::File),
}

impl File for Opened {
    type Metadata = Metadata;
    type MetadataFuture<'a> = Ready<io::Result<Metadata>>;

    fn metadata(&self) -> Self::MetadataFuture<'_> {
        ready(Ok(self.metadata.clone()))
    }
}

impl AsyncRead for Opened {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.content {
            Content::Memory(memory) => Pin::new(memory).poll_read(context, buffer),
            Content::File(file) => Pin::new(file).poll_read(context, buffer),
        }
    }
}

impl AsyncSeek for Opened {
    fn start_seek(mut self: Pin<&mut Self>, position: SeekFrom) -> io::Result<()> {
        match &mut self.content {
            Content::Memory(memory) => Pin::new(memory).start_seek(position),
            Content::File(file) => Pin::new(file).start_seek(position),
        }
    }

    fn poll_complete(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<u64>> {
        match &mut self.content {
            Content::Memory(memory) => Pin::new(memory).poll_complete(context),
            Content::File(file) => Pin::new(file).poll_complete(context),
        }
    }
}
