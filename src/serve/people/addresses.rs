//! Where the pages are.

use std::collections::BTreeSet;

use url::Url;

use crate::mail::unsubscribe::below;
use crate::site::Site;
use crate::tokens::{Keys, Purpose};

/// Something that people do, each at an address of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Matter {
    Subscribe,
    Confirm,
    Preferences,
    Unsubscribe,
}

/// Where the pages are, as paths.
#[derive(Debug, Clone, Default)]
pub(super) struct Addresses {
    pub(super) subscribe: Option<Url>,
    confirm: Option<Url>,
    preferences: Option<Url>,
    unsubscribe: Option<Url>,
}

impl Addresses {
    pub(super) fn new(site: &Site) -> Result<Self, Clash> {
        let subscribe = site.subscribe.url.clone();
        let page = |name| subscribe.as_ref().and_then(|page| below(page, name));
        let addresses = Self {
            confirm: page("confirm"),
            preferences: page("preferences"),
            unsubscribe: site.unsubscribe.url.clone(),
            subscribe,
        };
        let mut taken = BTreeSet::from([site.url.path(), "/", "/healthz", "/metrics"]);
        for matter in MATTERS {
            if let Some(url) = addresses.of(matter)
                && !taken.insert(url.path())
            {
                return Err(Clash(url.path().to_owned()));
            }
        }
        Ok(addresses)
    }

    pub(super) fn of(&self, matter: Matter) -> Option<&Url> {
        match matter {
            Matter::Subscribe => self.subscribe.as_ref(),
            Matter::Confirm => self.confirm.as_ref(),
            Matter::Preferences => self.preferences.as_ref(),
            Matter::Unsubscribe => self.unsubscribe.as_ref(),
        }
    }

    /// The path of a page, for a form.
    pub(super) fn path(&self, matter: Matter) -> &str {
        self.of(matter).map_or("/", Url::path)
    }

    /// The page about the person that a token names.
    pub(super) fn with(
        &self,
        matter: Matter,
        keys: &Keys,
        purpose: Purpose,
        recipient: &str,
    ) -> Option<String> {
        let token = keys.token(purpose, recipient);
        Some(format!("{}?token={token}", self.of(matter)?.path()))
    }
}

pub(super) const MATTERS: [Matter; 4] =
    [Matter::Subscribe, Matter::Confirm, Matter::Preferences, Matter::Unsubscribe];

/// Two pages that would have one address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "two pages would be at `{0}`: give `subscribe.url` and `unsubscribe.url` paths of their own"
)]
pub struct Clash(String);

/// Looks whether each page of a site's people has an address of its own.
///
/// # Errors
/// When two of them would have the same.
pub fn check_addresses(site: &Site) -> Result<(), Clash> {
    Addresses::new(site).map(drop)
}
