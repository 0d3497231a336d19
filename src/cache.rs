//! What was found out before, kept so that it need not be found out again. Nothing depends on a
//! cache: deleting it changes nothing but the time that the next run takes, and one that cannot be
//! read or was written by another version is as good as none.

use std::fs;
use std::io::{self, BufWriter, Seek, Write};
use std::path::Path;
use std::sync::OnceLock;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;

use crate::key::Key;
use crate::private;

/// The key of the program itself: another build of it may make other things of the same input.
pub fn program() -> Key {
    static PROGRAM: OnceLock<Key> = OnceLock::new();
    *PROGRAM.get_or_init(|| {
        let file = std::env::current_exe().and_then(fs::metadata);
        let time = file.as_ref().ok().and_then(|file| file.modified().ok());
        let said = format!(
            "{} {:?} {time:?}",
            env!("CARGO_PKG_VERSION"),
            file.map(|file| file.len()).unwrap_or_default()
        );
        Key::of(said.as_bytes())
    })
}

/// How the names of files begin that are being written.
const NEW: &str = ".new-";

/// How much of a cache is written at once, in bytes.
const PIECE: usize = 1 << 16;

/// Changes with the program and everything in a cache: what was damaged is not read.
struct Sum(blake3::Hasher);

impl Sum {
    fn new() -> Self {
        let mut sum = Self(blake3::Hasher::new());
        sum.add(program().bytes());
        sum
    }

    fn add(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn bytes(&self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// A cache that is being written: a large one is never in memory as a whole.
struct Summed {
    file: NamedTempFile,
    sum: Sum,
}

impl Write for Summed {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.file.write(data)?;
        self.sum.add(data.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Reads a cache. `None` where there is none that is whole and of this program.
pub fn load<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let bytes = fs::read(path).ok()?;
    let (sum, data) = bytes.split_first_chunk()?;
    let mut checked = Sum::new();
    checked.add(data);
    (checked.bytes() == *sum).then(|| postcard::from_bytes(data).ok())?
}

/// Writes a cache, at once or not at all. It holds nothing that is not elsewhere, so a failure is
/// nobody's concern.
pub fn save<T: Serialize>(path: &Path, value: &T) {
    let Some(folder) = path.parent() else { return };
    let write = || -> std::io::Result<()> {
        if let Some(private) = folder.parent() {
            private::folder(private)?;
        }
        private::folder(folder)?;
        // What a killed run left half-written; where another run is writing, its cache is lost.
        for entry in fs::read_dir(folder)?.flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(NEW.as_bytes()) {
                let _ = fs::remove_file(entry.path());
            }
        }
        let file = tempfile::Builder::new().prefix(NEW).tempfile_in(folder)?;
        let mut writer = BufWriter::with_capacity(PIECE, Summed { file, sum: Sum::new() });
        // The sum of what follows stands first, and is known last.
        writer.get_mut().file.write_all(&Sum::new().bytes())?;
        postcard::to_io(value, &mut writer).map_err(io::Error::other)?;
        let Summed { mut file, sum } = writer.into_inner()?;
        file.rewind()?;
        file.write_all(&sum.bytes())?;
        file.persist(path)?;
        Ok(())
    };
    let _ = write();
}

/// Removes a cache, because what it says is about to be otherwise.
pub fn forget(path: &Path) {
    // Where there is none there is nothing to remove, and where nothing can be removed, nothing can
    // be written either.
    let _ = fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_loaded_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".crieur/cache/a");
        assert_eq!(load::<Vec<String>>(&path), None);
        let value = vec!["a".to_owned(), "b".to_owned()];
        save(&path, &value);
        fs::write(path.with_file_name(".new-left"), "half").unwrap();
        save(&path, &value);
        assert_eq!(load(&path), Some(value));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(load::<Vec<String>>(&path), None);
        fs::write(&path, "x").unwrap();
        assert_eq!(load::<Vec<String>>(&path), None);
    }
}
