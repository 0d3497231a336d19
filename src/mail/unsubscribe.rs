//! How people get off the list from a message, and change what they are told: by mail, and, where
//! there are pages for it, by links that name them and that nobody else can make (RFC 2369, RFC 8058).

use url::Url;

use super::message::deliverable;
use crate::site::Site;
use crate::text;
use crate::tokens::{Keys, Purpose};

/// The ways of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ways {
    /// Off the list by mail, as a `mailto:` address.
    pub mail: String,
    /// The same for programs: it names the recipient, where the answers are read by one.
    pub mail_for_programs: String,
    /// Off the list by a page, where there is one.
    pub page: Option<Url>,
    /// The page where they change what they are told, if there is one.
    pub preferences: Option<Url>,
}

impl Ways {
    /// The ways of a recipient, by keys that only the site knows.
    pub fn new(site: &Site, sender: &str, keys: &Keys, recipient: &str) -> Self {
        let reply_to = site.mail.reply_to.as_ref();
        let reply_to = reply_to.and_then(|mailbox| deliverable(&mailbox.email).ok());
        let address =
            site.unsubscribe.mailto.clone().or(reply_to.map(|address| address.to_string()));
        let address = text::mailto(address.as_deref().unwrap_or(sender));
        let token = |purpose| keys.token(purpose, recipient);
        let with = |mut page: Url, purpose| {
            page.query_pairs_mut().append_pair("token", &token(purpose));
            page
        };
        let mail = format!("mailto:{address}?subject=unsubscribe");
        let mail_for_programs = match &site.mail.bounces {
            Some(_) => format!("{mail}%20{}", token(Purpose::Unsubscribe)),
            None => mail.clone(),
        };
        let subscribe = site.subscribe.url.as_ref();
        Self {
            mail,
            mail_for_programs,
            page: site.unsubscribe.url.clone().map(|page| with(page, Purpose::Unsubscribe)),
            preferences: subscribe
                .and_then(|page| below(page, "preferences"))
                .map(|page| with(page, Purpose::Preferences)),
        }
    }

    /// The way off the list to show.
    pub fn best(&self) -> &str {
        self.page.as_ref().map_or(&self.mail, Url::as_str)
    }
}

/// The address of a page below another one.
pub fn below(page: &Url, name: &str) -> Option<Url> {
    let mut below = page.clone();
    below.path_segments_mut().ok()?.pop_if_empty().push(name);
    Some(below)
}

/// The address that a message to a recipient comes back to, if it cannot be delivered: it names the
/// recipient, and proves that the site did (variable envelope return paths). Where the recipient's
/// address has other signs, or would be too long (RFC 5321, section 4.5.3.1.1), it names nobody.
pub fn return_path(bounces: &str, keys: &Keys, recipient: &str) -> String {
    const MAX_LOCAL: usize = 64;
    let plain = || bounces.to_owned();
    let Some((local, domain)) = bounces.rsplit_once('@') else { return plain() };
    let is_usual = |c: char| c.is_ascii_alphanumeric() || "._-+@".contains(c);
    if !recipient.chars().all(is_usual) {
        return plain();
    }
    let proof = keys.short_proof(recipient);
    let named = format!("{local}+{proof}-{}", recipient.replace('@', "="));
    if named.len() > MAX_LOCAL { plain() } else { format!("{named}@{domain}") }
}

/// Whom such an address names.
pub fn returned_to(bounces: &str, keys: &Keys, address: &str) -> Option<String> {
    let (local, domain) = bounces.rsplit_once('@')?;
    let (named, at) = address.rsplit_once('@')?;
    let named = named.get(local.len()..).filter(|_| named.len() > local.len())?;
    let is_ours = address.get(..local.len()).is_some_and(|l| l.eq_ignore_ascii_case(local))
        && at.eq_ignore_ascii_case(domain);
    let named = named.strip_prefix('+').filter(|_| is_ours)?.to_ascii_lowercase();
    let (proof, recipient) = named.split_once('-')?;
    let (user, host) = recipient.rsplit_once('=')?;
    let recipient = format!("{user}@{host}");
    keys.is_short_proof(&recipient, proof).then_some(recipient)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys() -> Keys {
        Keys::new(b"secret".to_vec(), Vec::new())
    }

    #[test]
    fn the_way_by_mail_is_an_address_that_programs_read() {
        let mail = |reply_to: &str| ways(&format!("mail: {{ reply_to: '{reply_to}' }}")).mail;
        assert_eq!(
            mail("contact@münchen.example"),
            "mailto:contact@xn--mnchen-3ya.example?subject=unsubscribe"
        );
        assert_eq!(mail("a%b+c@example.org"), "mailto:a%25b+c@example.org?subject=unsubscribe");
    }

    fn ways(settings: &str) -> Ways {
        let site =
            Site::parse(&format!("title: T\nurl: https://jobs.example.org/\n{settings}")).unwrap();
        Ways::new(&site, "jobs@example.org", &keys(), "a@b")
    }

    #[test]
    fn there_is_always_a_way_and_a_page_is_the_best() {
        assert_eq!(ways("").best(), "mailto:jobs@example.org?subject=unsubscribe");
        assert_eq!(ways("").mail_for_programs, ways("").mail);
        let ways = ways(
            "unsubscribe: { mailto: off@example.org, url: 'https://jobs.example.org/off?list=a' }\nsubscribe: { url: 'https://jobs.example.org/on/' }\nmail: { bounces: back@example.org }",
        );
        assert_eq!(ways.mail, "mailto:off@example.org?subject=unsubscribe");
        assert!(
            ways.mail_for_programs.starts_with("mailto:off@example.org?subject=unsubscribe%20")
        );
        assert!(ways.best().starts_with("https://jobs.example.org/off?list=a&token="));
        let preferences = ways.preferences.unwrap();
        assert!(preferences.as_str().starts_with("https://jobs.example.org/on/preferences?token="));
    }

    proptest! {
        #[test]
        fn what_comes_back_names_the_recipient(
            user in "[a-z0-9._+=-]{1,30}",
            host in "[a-z0-9-]{1,20}\\.org",
        ) {
            let recipient = format!("{user}@{host}");
            let path = return_path("back@example.org", &keys(), &recipient);
            prop_assert!(crate::text::is_deliverable(&path) || path.contains(".."), "{}", path);
            if path != "back@example.org" {
                prop_assert!(path.len() <= 64 + "@example.org".len());
                let named = returned_to("back@example.org", &keys(), &path.to_uppercase());
                prop_assert_eq!(named, Some(recipient));
            }
            let other = Keys::new(b"other".to_vec(), Vec::new());
            prop_assert_eq!(returned_to("back@example.org", &other, &path), None);
        }
    }
}
