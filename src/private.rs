//! Files and folders that nobody else may read: they hold addresses.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Whether somebody has to change permissions, or move something out of the way: the next run fails
/// in the same way.
pub fn needs_a_person(error: &io::Error) -> bool {
    use io::ErrorKind::{
        AlreadyExists, IsADirectory, NotADirectory, PermissionDenied, ReadOnlyFilesystem,
    };
    matches!(
        error.kind(),
        AlreadyExists | IsADirectory | NotADirectory | PermissionDenied | ReadOnlyFilesystem
    )
}

/// Makes a private folder, where there is none.
///
/// # Errors
/// When the file system refuses.
pub fn folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    restrict(path, 0o700)
}

/// Makes a private file, where there is none. One that is there is not opened: whoever closes a file
/// lets go of all locks that the same program holds on it elsewhere (POSIX, fcntl).
///
/// # Errors
/// When the file system refuses.
pub fn made(path: &Path) -> io::Result<()> {
    match fs::OpenOptions::new().create_new(true).append(true).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ if fs::metadata(path)?.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        _ => restrict(path, 0o600),
    }
}

/// Writes a private file, in place of what was there.
///
/// # Errors
/// When the file system refuses.
pub fn write(path: &Path, content: &str) -> io::Result<()> {
    made(path)?;
    fs::write(path, content)
}

/// Opens a private file, and makes it where there is none.
///
/// # Errors
/// When the file system refuses.
pub fn file(path: &Path) -> io::Result<fs::File> {
    let file = fs::OpenOptions::new().create(true).append(true).open(path)?;
    restrict(path, 0o600)?;
    Ok(file)
}

/// Gives a file that we made to whom its folder belongs, if that is somebody else. One that has another
/// name elsewhere stays whose it is.
///
/// # Errors
/// When the file system refuses.
pub fn give_to_owner(folder: &Path, path: &Path) -> io::Result<()> {
    let owner = fs::metadata(folder)?;
    match fs::symlink_metadata(path) {
        Ok(file) if file.is_file() && file.nlink() == 1 && file.uid() != owner.uid() => {
            std::os::unix::fs::lchown(path, Some(owner.uid()), Some(owner.gid()))
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn restrict(path: &Path, mode: u32) -> io::Result<()> {
    if fs::metadata(path)?.permissions().mode() & 0o777 == mode {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}
