//! What something is made from, in short: while that is the same, it need not be made again.

use serde::{Deserialize, Serialize};

/// The hash (BLAKE3) of everything that something is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key(#[serde(with = "serde_bytes")] [u8; 32]);

/// How much is gathered before it is hashed, in bytes.
const GATHERED: usize = 1 << 10;

impl Key {
    /// The key of a text.
    pub fn of(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes).into())
    }

    /// The key of several parts: where one ends and the next begins matters.
    pub fn join<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = blake3::Hasher::new();
        // What is small is handed over together.
        let mut gathered = Vec::with_capacity(2 * GATHERED);
        for part in parts {
            gathered.extend_from_slice(&(part.len() as u64).to_le_bytes());
            gathered.extend_from_slice(part);
            if gathered.len() >= GATHERED {
                hasher.update(&gathered);
                gathered.clear();
            }
        }
        Self(hasher.update(&gathered).finalize().into())
    }

    /// The bytes of the key, to make another one from.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// A short name for a file.
    pub fn name(&self) -> String {
        self.0.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(Key::join([&b"ab"[..], b"c"]), Key::join([&b"a"[..], b"bc"]));
    }
}
