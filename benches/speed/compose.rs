//! Reads a list, plans every digest of a day and composes its message, and throws it away: what
//! mail costs without a ledger and without a wire.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crieur::catalog::Catalog;
use crieur::key::Key;
use crieur::mail::Composer;
use crieur::posting::files::Listing;
use crieur::posting::load::{self, Known};
use crieur::reminders::recipients::Rows;
use crieur::reminders::{Past, Recipient, Today};
use crieur::site::{Layout, Site};
use crieur::templates::Templates;
use crieur::tokens::Keys;
use rayon::prelude::*;

use crate::Result;
use crate::site::NOW;

/// How many recipients are held at a time.
const BATCH: usize = 4_096;

/// Composes the message of everybody on a site's list.
pub fn compose(folder: &Path) -> Result<usize> {
    let layout = Layout { root: folder.to_owned() };
    let site = Site::parse(&fs::read_to_string(layout.settings())?)
        .map_err(|problems| format!("{problems:?}"))?;
    let known = Known::new(Key::of(b"benchmark"));
    let now = NOW.parse()?;
    let postings =
        load::load(&layout, &site, Listing::of(&layout)?.read(|_, _| false)?, known, now).postings;
    let keys = Keys::new(b"secret".to_vec(), Vec::new());
    let today = Today::new(&site, &postings, now);
    let composer = Composer::new(&site, None, &keys, now);
    let mut languages = HashMap::new();
    for language in ["fr", "en"] {
        let catalog = Arc::new(Catalog::new(&language.parse()?, None)?);
        let templates = Templates::new(&BTreeMap::new(), catalog.clone())?;
        languages.insert(catalog.language().clone(), (catalog, templates));
    }
    let count = AtomicUsize::new(0);
    let one = |recipient: &Recipient| -> std::result::Result<(), String> {
        let Some(digest) = today.due(recipient, &Past::default()) else { return Ok(()) };
        let language = recipient.language.as_ref().unwrap_or(&site.language);
        let Some((catalog, templates)) = languages.get(language) else { return Ok(()) };
        let message = composer.compose(&digest, 0, (catalog, templates));
        let message = message.map_err(|error| error.to_string())?;
        count.fetch_add(usize::from(!message.bytes.is_empty()), Ordering::Relaxed);
        Ok(())
    };
    let mut rows = Rows::new("list", fs::File::open(folder.join("content/recipients.csv"))?)?;
    loop {
        let batch = rows.by_ref().take(BATCH).collect::<std::io::Result<Vec<_>>>()?;
        if batch.is_empty() {
            return Ok(count.into_inner());
        }
        batch.par_iter().try_for_each(one)?;
    }
}
