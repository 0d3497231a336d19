//! How people get off the list from a message: by mail, and, where there is a page for it, by a
//! link that names them and that nobody else can make (RFC 2369, RFC 8058).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use url::Url;

use crate::site::Site;

/// The ways off the list for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ways {
    /// By mail, as a `mailto:` address.
    pub mail: String,
    /// By a page, where there is one.
    pub page: Option<Url>,
}

impl Ways {
    /// The ways of a recipient, from a key that only the site knows.
    pub fn new(site: &Site, sender: &str, secret: &[u8], recipient: &str) -> Self {
        let reply_to = site.mail.reply_to.as_ref().map(|mailbox| mailbox.email.to_string());
        let address = site.unsubscribe.mailto.clone().or(reply_to);
        let address = address.as_deref().unwrap_or(sender);
        let page = site.unsubscribe.url.clone().map(|mut page| {
            page.query_pairs_mut().append_pair("token", &token(secret, recipient));
            page
        });
        Self { mail: format!("mailto:{address}?subject=unsubscribe"), page }
    }

    /// The one to show.
    pub fn best(&self) -> &str {
        self.page.as_ref().map_or(&self.mail, Url::as_str)
    }
}

/// Names a recipient, and proves that the site did: the address and an HMAC of it, each in base64.
/// It holds for unsubscribing only, and for ever.
pub fn token(secret: &[u8], recipient: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let proof = hmac::sign(&key, format!("unsubscribe\n{recipient}").as_bytes());
    // Half of it: an address of a page has to fit on a line, and 128 bits are not guessed.
    let proof = &proof.as_ref()[..16];
    format!("{}.{}", URL_SAFE_NO_PAD.encode(recipient), URL_SAFE_NO_PAD.encode(proof))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ways(settings: &str, recipient: &str) -> Ways {
        let site =
            Site::parse(&format!("title: T\nurl: https://jobs.example.org/\n{settings}")).unwrap();
        Ways::new(&site, "jobs@example.org", b"secret", recipient)
    }

    #[test]
    fn there_is_always_a_way_and_a_page_is_the_best() {
        assert_eq!(ways("", "a@b").best(), "mailto:jobs@example.org?subject=unsubscribe");
        let ways = ways(
            "unsubscribe: { mailto: off@example.org, url: 'https://jobs.example.org/off?list=a' }",
            "a@b",
        );
        assert_eq!(ways.mail, "mailto:off@example.org?subject=unsubscribe");
        assert!(ways.best().starts_with("https://jobs.example.org/off?list=a&token="));
    }

    #[test]
    fn a_token_is_of_one_recipient_and_one_site() {
        assert_eq!(token(b"s", "a@b"), token(b"s", "a@b"));
        assert_ne!(token(b"s", "a@b"), token(b"s", "b@b"));
        assert_ne!(token(b"s", "a@b"), token(b"t", "a@b"));
    }
}
