//! What a build did, for the next one: what every file was made from, and how it looked afterwards.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;

use foldhash::HashMap;
use serde::{Deserialize, Serialize, Serializer};

use super::assembly::Place;
use super::folder::Stamp;
use crate::cache;
use crate::key::Key;

/// A file that was published: what it was made from, and how it looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    pub(super) key: Key,
    pub(super) stamp: Stamp,
}

/// What the last build did.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Record {
    pub(super) files: HashMap<String, Made>,
    /// The parts of the files that others are assembled from, in their order.
    pub(super) parts: HashMap<String, Vec<(Key, Place)>>,
    /// The files of postings that were left out because a template could not show them.
    pub left_out: BTreeSet<String>,
}

/// The parts of an assembled file, in their order.
pub(super) type Places<'l> = Cow<'l, [(Key, Place)]>;

/// What a build did, as it is written down to be a [`Record`]: the same fields, in the same order. What is
/// as it was lies in that of the last. No path is in it twice.
#[derive(Debug, Serialize)]
pub struct NewRecord<'l> {
    #[serde(serialize_with = "as_map")]
    pub(super) files: Vec<(Cow<'l, str>, Made)>,
    #[serde(serialize_with = "as_map")]
    pub(super) parts: Vec<(Cow<'l, str>, Places<'l>)>,
    /// The files of postings that were left out because a template could not show them.
    pub left_out: BTreeSet<String>,
}

fn as_map<K: Serialize, V: Serialize, S: Serializer>(
    pairs: &[(K, V)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
}

impl Record {
    /// Reads what the last build left, if it did.
    pub fn load(path: &Path) -> Self {
        cache::load(path).unwrap_or_default()
    }
}
