//! Who is at work in a site's private folder: files that are locked as long as somebody is.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::anyhow;

use super::{Failure, Result, configuration, mailing, temporary};
use crate::private;

/// The file that tells, by its lock, that somebody has the ledger open, in the private folder.
pub(super) const PRESENCE: &str = "serve.lock";
/// Whether a run is sending on this machine.
pub(super) fn is_at_work(folder: &Path) -> bool {
    let lock = File::open(folder.join(RUN));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// How long somebody may look whether a run is at work.
const A_MOMENT: Duration = Duration::from_millis(20);
/// The file that tells, by its lock, of a run.
pub(super) const RUN: &str = "remind.lock";

/// One run at a time: whoever holds this file's lock sends.
pub(super) fn only_run(folder: &Path) -> Result<File> {
    let path = folder.join(RUN);
    let failed = |error: io::Error| {
        let is_lasting = private::needs_a_person(&error);
        let error = anyhow!(error).context(format!("cannot use `{}`", folder.display()));
        if is_lasting { configuration(error) } else { temporary(error) }
    };
    private::folder(folder).map_err(failed)?;
    let file = private::file(&path).map_err(failed)?;
    // `status` looks for a moment whether somebody holds it.
    let locked = file.try_lock().or_else(|_| {
        thread::sleep(A_MOMENT);
        file.try_lock()
    });
    match locked {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(temporary(anyhow!("another run is sending digests"))),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Says, as long as it is held, that somebody has the ledger open.
pub(super) fn presence(private: &Path) -> Result<File> {
    let refused = |error: std::io::Error| mailing::ledger_failure(error.into());
    private::folder(private).map_err(refused)?;
    let file = private::file(&private.join(PRESENCE)).map_err(refused)?;
    file.try_lock_shared().map_err(locked("the ledger is being restored"))?;
    Ok(file)
}

/// Whoever puts another ledger in place of one that somebody has open would lose what is entered there
/// from then on.
pub(super) fn absence(private: &Path) -> Result<File> {
    let file = private::file(&private.join(PRESENCE)).map_err(temporary)?;
    let refused =
        "somebody has the ledger open: end `crieur serve` first, and start it again afterwards";
    file.try_lock().map_err(locked(refused))?;
    Ok(file)
}

/// Why a file could not be locked: what it means that somebody else did, or what else was wrong.
fn locked(by_another: &'static str) -> impl FnOnce(TryLockError) -> Failure {
    move |error| match error {
        TryLockError::WouldBlock => temporary(anyhow!(by_another)),
        TryLockError::Error(error) => temporary(error),
    }
}
