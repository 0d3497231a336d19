//! A ledger on a server, for several machines: how it is reached, and how they share the work.
//!
//! One machine plans at a time: the others wait for it. Whoever sends takes digests a few at a time
//! (`FOR UPDATE SKIP LOCKED`), and holds them as long as it says that it lives: a heart beats on a
//! connection of its own, by the server's clock. What a machine held that has died is free again,
//! and what it was sending is in doubt. A machine that was asleep finds, before the next message
//! leaves, that nothing is its own any more.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use postgres::config::{Host, SslMode};
use postgres::{Client, Config, NoTls};
use rustls::ClientConfig;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::database::{Database, Server, values};
use super::{Ledger, Result, messages, schema};

/// How long a machine that says nothing is taken to be alive, in seconds.
const ALIVE: i64 = 30;
/// How often it says so.
const BEAT: Duration = Duration::from_secs(5);
/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a server is, and how to speak to it.
#[derive(Clone)]
pub struct Address {
    config: Config,
    tls: Option<Arc<ClientConfig>>,
}

impl fmt::Debug for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The password is nobody's business.
        out.debug_struct("Address").field("hosts", &self.config.get_hosts()).finish_non_exhaustive()
    }
}

impl Address {
    /// A server by its address (`postgres://user@host/database`), with the password, if one is
    /// needed, and how connections are encrypted. On the same machine they need not be.
    ///
    /// # Errors
    /// When the address cannot be read: why. Or as `tls` says.
    pub fn new<E>(
        url: &str,
        password: Option<&str>,
        tls: impl FnOnce() -> std::result::Result<Arc<ClientConfig>, E>,
        refused: impl FnOnce(String) -> E,
    ) -> std::result::Result<Self, E> {
        let mut config = match Config::from_str(url) {
            Ok(config) => config,
            Err(error) => return Err(refused(super::database::said(&error))),
        };
        if let Some(password) = password {
            config.password(password);
        }
        config.application_name("crieur").connect_timeout(PATIENCE).tcp_user_timeout(PATIENCE * 3);
        let is_here = |host: &Host| match host {
            Host::Tcp(name) => {
                name == "localhost"
                    || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
            }
            Host::Unix(_) => true,
        };
        // An address of the network wins over the name beside it; without any, libpq would ask here.
        let (names, addresses) = (config.get_hosts(), config.get_hostaddrs());
        let is_local = addresses.iter().all(std::net::IpAddr::is_loopback)
            && (names.iter().all(is_here) && !(names.is_empty() && addresses.is_empty()));
        let tls = if is_local {
            config.ssl_mode(SslMode::Disable);
            None
        } else {
            // What stands in the ledger is nobody else's business on the way.
            config.ssl_mode(SslMode::Require);
            Some(tls()?)
        };
        Ok(Self { config, tls })
    }

    fn connect(&self) -> Result<Client> {
        Ok(match &self.tls {
            Some(tls) => self.config.connect(MakeRustlsConnect::new((**tls).clone()))?,
            None => self.config.connect(NoTls)?,
        })
    }
}

/// Says that this machine lives, until it is dropped.
pub struct Heart {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Heart {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // One that panicked has nothing left to say.
            let _ = thread.join();
        }
    }
}

/// Says that a sender lives, from now on for a while.
const BEATS: &str = "INSERT INTO senders (id, alive_until)
     VALUES (?1, extract(epoch FROM clock_timestamp())::BIGINT + ?2)
     ON CONFLICT (id) DO UPDATE SET alive_until = excluded.alive_until";

impl Ledger {
    /// Opens the ledger on a server, and makes it where there is none.
    ///
    /// # Errors
    /// When the server is away or refuses.
    pub fn connect(address: &Address) -> Result<Self> {
        let mut client = address.connect()?;
        schema::migrate_server(&mut client)?;
        Self::of_client(client, address)
    }

    /// Opens the ledger on a server for what writes nothing: its tables stay as they are, whichever
    /// version of crieur the machines that send have. `None` where there is none yet.
    ///
    /// # Errors
    /// When the server is away or refuses, or its tables are of another version.
    pub fn connect_to_read(address: &Address) -> Result<Option<Self>> {
        let mut client = address.connect()?;
        client.batch_execute("SET default_transaction_read_only = on")?;
        match schema::readable_version(&mut client)? {
            Some(_) => Self::of_client(client, address).map(Some),
            None => Ok(None),
        }
    }

    fn of_client(client: Client, address: &Address) -> Result<Self> {
        let id = schema::secret()?;
        let sender = id.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let mut ledger = Self::in_database(Database::Postgres(Box::new(Server::new(client))));
        ledger.sender = sender;
        ledger.address = Some(address.clone());
        Ok(ledger)
    }

    /// Begins to hold digests: nobody else sends what this process has taken while it lives. Where
    /// the ledger is a file, nobody else sends at all, and there is nothing to say.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn hold(&self) -> Result<Heart> {
        let Some(address) = self.address.clone() else {
            return Ok(Heart { stop: None, thread: None });
        };
        messages::hold_texts(&self.database)?;
        self.database.execute(BEATS, values![&self.sender, ALIVE])?;
        self.database.execute(
            "DELETE FROM senders
             WHERE alive_until < extract(epoch FROM clock_timestamp())::BIGINT - 86400",
            &[],
        )?;
        let (stop, stopped) = mpsc::channel();
        let sender = self.sender.clone();
        let thread = thread::spawn(move || beat(&address, &sender, &stopped));
        Ok(Heart { stop: Some(stop), thread: Some(thread) })
    }
}

#[cfg(test)]
impl Ledger {
    /// Holds digests without a heart.
    pub(super) fn hold_for_ever(&self) {
        if self.address.is_some() {
            self.database.execute(BEATS, values![&self.sender, i64::from(i32::MAX)]).unwrap();
        }
    }
}

/// Beats until it is told to stop. A server that is away is asked again: whoever sends finds out by
/// itself.
fn beat(address: &Address, sender: &str, stopped: &mpsc::Receiver<()>) {
    let mut database: Option<Database> = None;
    loop {
        let is_over = stopped.recv_timeout(BEAT) != Err(RecvTimeoutError::Timeout);
        if database.is_none() {
            let client = address.connect();
            database = client.ok().map(|client| Database::Postgres(Box::new(Server::new(client))));
        }
        let Some(server) = &database else {
            if is_over {
                return;
            }
            continue;
        };
        if is_over {
            // What is left is free at once. Where that fails, it is free a little later.
            let _ = server.execute("DELETE FROM senders WHERE id = ?1", values![sender]);
            return;
        }
        if server.execute(BEATS, values![sender, ALIVE]).is_err() {
            database = None;
        }
    }
}
