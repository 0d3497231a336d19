//! Where the ledger is, and what follows when it cannot be used.

use anyhow::anyhow;
use chrono::{DateTime, Utc};

use super::transport::{authorities, password};
use crate::commands::{Failure, Opened, Outcome, Result, Shell, configuration, locks, temporary};
use crate::ledger::{self, Ledger};
use crate::mail::transport::trust;
use crate::site::{LedgerPlace, LedgerServer, SETTINGS};

/// The server that has the ledger, if one has. Not where there is one in a file, too: whoever left, and
/// what was sent, would be forgotten.
fn only_server(opened: &Opened) -> Result<Option<ledger::Address>> {
    let (server, file) = (server(opened)?, ledger::file(&opened.layout.private()));
    if server.is_some() && file.exists() {
        let path = opened.layout.relative(&file);
        return Err(configuration(anyhow!(
            "`ledger` names a server, and there is a ledger in `{path}`: `crieur ledger move` brings it there; or move the file out of the way"
        )));
    }
    Ok(server)
}

/// The ledger, made where there is none.
pub(in crate::commands) fn ledger(opened: &Opened) -> Result<Ledger> {
    if let Some(address) = only_server(opened)? {
        return Ledger::connect(&address).map_err(ledger_failure);
    }
    // Nobody puts another one in its place meanwhile.
    let presence = locks::presence(&opened.layout.private())?;
    let ledger = Ledger::open(&opened.layout.private()).map_err(ledger_failure)?;
    Ok(ledger.holding(presence))
}

/// The same, after all of it was looked at: for what writes much, or for long.
pub(in crate::commands) fn sound_ledger(opened: &Opened) -> Result<Ledger> {
    let ledger = ledger(opened)?;
    ledger.refuse_damage().map_err(ledger_failure)?;
    Ok(ledger)
}

/// The ledger as it stands, or an empty one, for what writes nothing.
pub(in crate::commands) fn ledger_to_read(opened: &Opened) -> Result<Ledger> {
    let found = match only_server(opened)? {
        Some(address) => Ledger::connect_to_read(&address),
        None => Ledger::open_to_read(&opened.layout.private()),
    };
    found.and_then(|found| found.map_or_else(Ledger::in_memory, Ok)).map_err(ledger_failure)
}

/// The same, after all of it was looked at: for what says how things stand.
pub(in crate::commands) fn sound_ledger_to_read(opened: &Opened) -> Result<Ledger> {
    let ledger = ledger_to_read(opened)?;
    ledger.refuse_damage().map_err(ledger_failure)?;
    Ok(ledger)
}

/// Where the ledger is, where it is on a server.
pub(in crate::commands) fn server(opened: &Opened) -> Result<Option<ledger::Address>> {
    let LedgerPlace::Server(server) = &opened.site.ledger else { return Ok(None) };
    let LedgerServer { url, password_env, password_file, ca_file } = server;
    let layout = &opened.layout;
    let password = match (password_env, password_file) {
        (None, None) => None,
        _ => Some(password(layout, password_env.as_deref(), password_file.as_deref())?),
    };
    let tls = || trust::config(authorities(layout, ca_file.as_deref())?).map_err(configuration);
    let refused = |why| configuration(anyhow!("`ledger` in `{SETTINGS}`: {why}"));
    ledger::Address::new(url, password.as_deref(), tls, refused).map(Some)
}

/// Backs up the ledger after somebody came or left: whoever restores it must not bring them back, or
/// lose them. What they wished is entered, whether or not that succeeds; where it does not, a person has
/// to look.
pub(in crate::commands) fn keep(
    shell: &Shell,
    opened: &Opened,
    ledger: &Ledger,
    now: DateTime<Utc>,
) -> Outcome {
    match ledger.back_up(&opened.layout.private(), now) {
        Ok(()) => Outcome::Done,
        Err(error) => {
            shell.complain(&format!("there is no new backup of the ledger: {error}"));
            Outcome::Attention
        }
    }
}

/// What a ledger that cannot be used asks of the operator.
pub(in crate::commands) fn ledger_failure(error: ledger::Error) -> Failure {
    if error.is_temporary() { temporary(error) } else { configuration(error) }
}
