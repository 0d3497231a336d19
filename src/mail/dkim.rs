//! DKIM signatures (RFC 6376; Ed25519: RFC 8463), over headers and body in their relaxed form.
//!
//! The instant of the signature is given, like every other: the signers of the mail crates read the
//! clock, and a message would never be the same twice.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

/// The headers that are signed, where a message has them (RFC 6376 section 5.4.1; the last two of
/// the list are needed for one-click unsubscription, RFC 8058 section 4).
const SIGNED: &[&str] = &[
    "from",
    "reply-to",
    "to",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "content-type",
    "content-language",
    "auto-submitted",
    "feedback-id",
    "list-id",
    "list-unsubscribe",
    "list-unsubscribe-post",
];

/// Signs messages for one domain.
pub struct Signer {
    domain: String,
    selector: String,
    key: Key,
}

enum Key {
    Rsa(Box<RsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

/// Why there is no signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file is no key in PEM.
    #[error("it is no private key in PEM (`openssl genrsa 2048` makes one)")]
    NotPem,
    /// The key is none that DKIM knows.
    #[error("it is neither an RSA key of 2048 bits or more nor an Ed25519 key ({0})")]
    Unsuitable(String),
    /// The key did not sign.
    #[error("the key does not sign")]
    Refused,
}

impl Signer {
    /// A signer from the text of a private key in PEM, RSA (PKCS 1 or 8) or Ed25519 (PKCS 8).
    ///
    /// # Errors
    /// When it is no such key.
    pub fn new(domain: &str, selector: &str, pem: &[u8]) -> Result<Self, Error> {
        let unsuitable = |error: ring::error::KeyRejected| Error::Unsuitable(error.to_string());
        let key = match PrivateKeyDer::from_pem_slice(pem).map_err(|_| Error::NotPem)? {
            PrivateKeyDer::Pkcs1(key) => {
                RsaKeyPair::from_der(key.secret_pkcs1_der()).map(Box::new).map(Key::Rsa)
            }
            PrivateKeyDer::Pkcs8(key) => {
                let der = key.secret_pkcs8_der();
                // Keys as OpenSSL makes them: without the public half.
                Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
                    .map(|key| Key::Ed25519(Box::new(key)))
                    .or_else(|_| RsaKeyPair::from_pkcs8(der).map(Box::new).map(Key::Rsa))
            }
            _ => return Err(Error::Unsuitable("another kind of key".to_owned())),
        };
        let key = key.map_err(unsuitable)?;
        Ok(Self { domain: domain.to_owned(), selector: selector.to_owned(), key })
    }

    /// The header that signs a message, with the line end after it. Lines of the message end by
    /// CRLF.
    ///
    /// # Errors
    /// When the key does not sign.
    pub fn sign(&self, message: &[u8], at: DateTime<Utc>) -> Result<String, Error> {
        let text = String::from_utf8_lossy(message);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let fields = fields(head);
        let present = |name: &&str| fields.iter().any(|(field, _)| field == name);
        let mut names: Vec<&str> = SIGNED.iter().copied().filter(present).collect();
        // Named once more than it is there: nobody can add a second one.
        names.push("from");
        let mut signed = String::new();
        for name in &names[..names.len() - 1] {
            let field = fields.iter().rfind(|(field, _)| field == name);
            let _ = write!(signed, "{name}:{}\r\n", field.map_or("", |(_, value)| value));
        }
        let algorithm = match &self.key {
            Key::Rsa(_) => "rsa-sha256",
            Key::Ed25519(_) => "ed25519-sha256",
        };
        let hash = STANDARD.encode(digest(&SHA256, relaxed_body(body).as_bytes()));
        let mut header = format!(
            "DKIM-Signature: v=1; a={algorithm}; c=relaxed/relaxed;\r\n d={}; s={}; t={};\r\n h=",
            self.domain,
            self.selector,
            at.timestamp()
        );
        for (n, chunk) in names.chunks(4).enumerate() {
            let separator = if n == 0 { "" } else { ":\r\n  " };
            let _ = write!(header, "{separator}{}", chunk.join(":"));
        }
        let _ = write!(header, ";\r\n bh={hash};\r\n b=");
        // The signature signs its own header, too, but for itself.
        let own = value_of(&header);
        let _ = write!(signed, "dkim-signature:{own}");
        for (n, chunk) in self.signature(signed.as_bytes())?.as_bytes().chunks(70).enumerate() {
            let separator = if n == 0 { "" } else { "\r\n  " };
            let _ = write!(header, "{separator}{}", String::from_utf8_lossy(chunk));
        }
        header.push_str("\r\n");
        Ok(header)
    }

    fn signature(&self, signed: &[u8]) -> Result<String, Error> {
        let signature = match &self.key {
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed, &mut signature)
                    .map_err(|_| Error::Refused)?;
                signature
            }
            // RFC 8463 section 3: the hash is what is signed.
            Key::Ed25519(key) => key.sign(digest(&SHA256, signed).as_ref()).as_ref().to_vec(),
        };
        Ok(STANDARD.encode(signature))
    }
}

/// The header fields in their relaxed form (RFC 6376 section 3.4.2): names in lower case, values on
/// one line.
fn fields(head: &str) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in head.split("\r\n") {
        if let (true, Some((_, value))) = (line.starts_with([' ', '\t']), fields.last_mut()) {
            value.push_str(line);
        } else {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            fields.push((name.trim_end().to_ascii_lowercase(), value.to_owned()));
        }
    }
    for (_, value) in &mut fields {
        relaxed(value).trim_matches(' ').clone_into(value);
    }
    fields
}

/// The value of a field that stands alone.
fn value_of(header: &str) -> String {
    fields(header).pop().map(|(_, value)| value).unwrap_or_default()
}

/// Spaces and tabs in a row are one space.
fn relaxed(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for c in line.chars() {
        match c {
            ' ' | '\t' if out.ends_with(' ') => {}
            ' ' | '\t' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// The body in its relaxed form (RFC 6376 section 3.4.4).
fn relaxed_body(body: &str) -> String {
    let mut out: String = body
        .split_terminator("\r\n")
        .map(|line| format!("{}\r\n", relaxed(line).trim_end_matches(' ')))
        .collect();
    while out.ends_with("\r\n\r\n") {
        out.truncate(out.len() - 2);
    }
    if out == "\r\n" { String::new() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::KeyPair;

    #[test]
    fn relaxed_forms_are_those_of_the_rfc() {
        // RFC 6376 section 3.4.5.
        let fields = fields("A: X\r\nB : Y\t\r\n\tZ  ");
        assert_eq!(fields, [("a".into(), "X".into()), ("b".into(), "Y Z".to_owned())]);
        assert_eq!(relaxed_body(" C \r\nD \t E\r\n\r\n\r\n"), " C\r\nD E\r\n");
        assert_eq!(relaxed_body(""), "");
        assert_eq!(relaxed_body("\r\n\r\n"), "");
    }

    #[test]
    fn a_signature_verifies_and_covers_what_it_says() {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(&pkcs8)
        );
        let signer = Signer::new("example.org", "s", pem.as_bytes()).unwrap();
        let message =
            b"From: a@example.org\r\nSubject: A\r\n\tB\r\nX-Other: 1\r\n\r\nText \r\n\r\n";
        let header = signer.sign(message, DateTime::UNIX_EPOCH).unwrap();
        assert!(header.contains("h=from:subject:from;") && header.contains("t=0;"), "{header}");
        assert!(header.lines().all(|line| line.len() < 79), "{header}");
        assert_eq!(header, signer.sign(message, DateTime::UNIX_EPOCH).unwrap());

        let (unsigned, signature) = header.split_at(header.find(" b=").unwrap() + 3);
        let signature: String = signature.split_whitespace().collect();
        let expected =
            format!("from:a@example.org\r\nsubject:A B\r\ndkim-signature:{}", value_of(unsigned));
        let Key::Ed25519(key) = &signer.key else { panic!("another key") };
        let public = ring::signature::UnparsedPublicKey::new(
            &ring::signature::ED25519,
            key.public_key().as_ref(),
        );
        let hash = digest(&SHA256, expected.as_bytes());
        public.verify(hash.as_ref(), &STANDARD.decode(signature).unwrap()).unwrap();
    }

    #[test]
    fn what_is_no_key_says_what_to_do() {
        let error = Signer::new("d", "s", b"secret").map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("openssl"), "{error}");
    }
}
