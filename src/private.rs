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

/// Opens a private file, and makes it where there is none.
///
/// # Errors
/// When the file system refuses.
pub fn file(path: &Path) -> io::Result<fs::File> {
    let file = fs::OpenOptions::new().create(true).append(true).open(path)?;
    restrict(path, 0o600)?;
    Ok(file)
}

/// Gives the files in a private folder, and in those in it, to whom the folder belongs, where they belong
/// to somebody else.
///
/// # Errors
/// When the file system refuses.
pub fn give_to_owner(folder: &Path) -> io::Result<()> {
    let owner = fs::metadata(folder)?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let found = fs::symlink_metadata(&path)?;
        if found.uid() != owner.uid() {
            std::os::unix::fs::lchown(&path, Some(owner.uid()), Some(owner.gid()))?;
        }
        if found.is_dir() {
            give_to_owner(&path)?;
        }
    }
    Ok(())
}

fn restrict(path: &Path, mode: u32) -> io::Result<()> {
    if fs::metadata(path)?.permissions().mode() & 0o777 == mode {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}
