//! What people do with the list by themselves: ask to be on it, confirm it, choose what they are
//! told, and leave. Each link in a mail carries a token that only the site can have made; whoever
//! has none is told nothing about anybody.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::Semaphore;

use super::pages::Tongues;
use crate::ledger::Ledger;
use crate::outline::Category;
use crate::reminders::Recipient;
use crate::site::Site;

mod addresses;
mod answer;
mod visit;

pub use addresses::{Clash, check_addresses};
pub(super) use answer::routes;

use addresses::{Addresses, MATTERS};

/// How many people are served at once; each has a connection to the ledger.
const AT_ONCE: usize = 4;
/// How long somebody waits for whoever writes into the ledger: less than for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the pages need of the world outside.
pub trait World: Send + Sync {
    /// What time it is.
    fn now(&self) -> DateTime<Utc>;

    /// Opens the ledger once more.
    ///
    /// # Errors
    /// When it cannot be used.
    fn ledger(&self) -> anyhow::Result<Ledger>;

    /// What the open postings can be chosen by.
    fn choices(&self) -> Arc<Vec<Category>>;

    /// Who stands on the list in the site's files, by the key of their address.
    ///
    /// # Errors
    /// When the list cannot be read.
    fn listed(&self, recipient: &str) -> anyhow::Result<Option<Recipient>>;

    /// Somebody asked to subscribe: a confirmation waits to be sent.
    fn asked(&self);

    /// Somebody came, changed something, or left: the ledger is worth a backup.
    fn changed(&self);

    /// Tells the operator what does not work.
    fn complain(&self, line: &str);
}

/// The pages of people.
pub struct People {
    site: Site,
    tongues: Tongues,
    world: Box<dyn World>,
    /// Connections to the ledger that nobody uses at the moment.
    idle: Mutex<Vec<Ledger>>,
    places: Arc<Semaphore>,
    addresses: Addresses,
}

impl People {
    /// Tells the operator what does not work.
    pub(super) fn complain(&self, line: &str) {
        self.world.complain(line);
    }

    /// The pages of a site, in these languages.
    ///
    /// # Errors
    /// When two of them would have the same address.
    pub fn new(site: Site, tongues: Tongues, world: Box<dyn World>) -> Result<Self, Clash> {
        let addresses = Addresses::new(&site)?;
        let (idle, places) = (Mutex::default(), Arc::new(Semaphore::new(AT_ONCE)));
        Ok(Self { site, tongues, world, idle, places, addresses })
    }

    /// Whether the ledger answers, if anybody needs it.
    pub(super) async fn is_well(self: &Arc<Self>) -> bool {
        if MATTERS.iter().all(|matter| self.addresses.of(*matter).is_none()) {
            return true;
        }
        let asked = self.in_turn(|people| people.with_ledger(|ledger| Ok(ledger.keys()?)).is_ok());
        asked.await.unwrap_or(false)
    }

    /// Does something that may wait for the ledger, where waiting holds nobody up.
    async fn in_turn<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Option<T> {
        let place = self.places.clone().acquire_owned().await.ok()?;
        let people = self.clone();
        let working = tokio::task::spawn_blocking(move || {
            let done = work(&people);
            // Also when nobody waits for it any more.
            drop(place);
            done
        });
        working.await.ok()
    }

    /// Does something that only takes a moment of a processor.
    async fn at_once<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Option<T> {
        let people = self.clone();
        tokio::task::spawn_blocking(move || work(&people)).await.ok()
    }

    /// Does something with the ledger.
    fn with_ledger<T>(
        &self,
        work: impl FnOnce(&mut Ledger) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let idle = idle.filter(Ledger::is_alive);
        let mut ledger = idle.map_or_else(|| self.world.ledger(), Ok)?;
        ledger.be_patient(PATIENCE)?;
        let done = work(&mut ledger);
        // One that failed may be broken.
        if done.is_ok() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(ledger);
        }
        done
    }
}
