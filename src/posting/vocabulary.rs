//! The keys of the front matter, French and English, and what each means.

use serde::{Deserialize, Serialize};

/// What a key says of a posting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are those of the posting's own fields")]
pub enum Field {
    Role,
    Title,
    Contract,
    Team,
    Organisation,
    Type,
    ApplyUrl,
    Opens,
    Closes,
    /// When the posting is taken down: its closing, where nothing else says.
    TakenDown,
    Contact,
    Filled,
    Open,
    Status,
    /// Whether it is a draft, as other generators say it.
    Draft,
    /// The same the other way round.
    Published,
    Domains,
    Technologies,
    Junior,
    Location,
    Remote,
    Salary,
    Language,
    Id,
    Slug,
    RedirectFrom,
    Updated,
}

/// Every key. Where two keys of one field disagree, the one that stands first here decides.
pub const VOCABULARY: &[(&str, Field)] = &[
    ("roles", Field::Role),
    ("role", Field::Role),
    ("title", Field::Title),
    ("titles", Field::Title),
    ("contrat", Field::Contract),
    ("contract", Field::Contract),
    ("equipe", Field::Team),
    ("team", Field::Team),
    ("startup", Field::Team),
    ("friend", Field::Organisation),
    ("organisation", Field::Organisation),
    ("organization", Field::Organisation),
    ("type", Field::Type),
    ("externalURL", Field::ApplyUrl),
    ("externalUrl", Field::ApplyUrl),
    ("apply_url", Field::ApplyUrl),
    ("post_ouvert", Field::Opens),
    ("poste_ouvert", Field::Opens),
    ("opens", Field::Opens),
    ("publishDate", Field::Opens),
    ("date", Field::Opens),
    ("poste_ferme", Field::Closes),
    ("closes", Field::Closes),
    ("deadline", Field::Closes),
    ("depublication_date", Field::TakenDown),
    ("expiryDate", Field::TakenDown),
    ("contact", Field::Contact),
    ("contacts", Field::Contact),
    ("poste_pourvu", Field::Filled),
    ("filled", Field::Filled),
    ("open", Field::Open),
    ("status", Field::Status),
    ("draft", Field::Draft),
    ("published", Field::Published),
    ("domaines", Field::Domains),
    ("domaine", Field::Domains),
    ("domains", Field::Domains),
    ("techno", Field::Technologies),
    ("technos", Field::Technologies),
    ("technologies", Field::Technologies),
    ("junior", Field::Junior),
    ("lieu", Field::Location),
    ("location", Field::Location),
    ("teletravail", Field::Remote),
    ("remote", Field::Remote),
    ("remuneration", Field::Salary),
    ("salary", Field::Salary),
    ("lang", Field::Language),
    ("language", Field::Language),
    ("id", Field::Id),
    ("slug", Field::Slug),
    ("redirect_from", Field::RedirectFrom),
    ("updated", Field::Updated),
];

/// How a key was recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Written as it should be. The rank says which key of a field decides.
    Exactly(Field, usize),
    /// Another case, accents or separators: `Équipe`, `poste-ferme`. Carries the usual spelling.
    Spelled(Field, usize, &'static str),
}

/// What a key means, if anything.
pub fn lookup(key: &str) -> Option<Known> {
    let exact = VOCABULARY.iter().enumerate().find(|(_, (known, _))| *known == key);
    if let Some((rank, (_, field))) = exact {
        return Some(Known::Exactly(*field, rank));
    }
    let folded = crate::text::folded(key);
    let spelled =
        VOCABULARY.iter().enumerate().find(|(_, (known, _))| crate::text::folded(known) == folded);
    spelled.map(|(rank, (known, field))| Known::Spelled(*field, rank, known))
}

/// Every key, to suggest one.
pub fn keys() -> impl Iterator<Item = &'static str> {
    VOCABULARY.iter().map(|(key, _)| *key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_every_spelling() {
        assert_eq!(lookup("equipe"), Some(Known::Exactly(Field::Team, 6)));
        for spelling in ["Équipe", "EQUIPE", "équipe"] {
            assert_eq!(lookup(spelling), Some(Known::Spelled(Field::Team, 6, "equipe")));
        }
        assert!(matches!(
            lookup("poste-ferme"),
            Some(Known::Spelled(Field::Closes, _, "poste_ferme"))
        ));
        assert_eq!(lookup("layout"), None);
    }

    #[test]
    fn no_key_stands_twice() {
        for (at, (key, _)) in VOCABULARY.iter().enumerate() {
            assert!(VOCABULARY[at + 1..].iter().all(|(other, _)| other != key), "{key}");
        }
    }
}
