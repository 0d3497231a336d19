//! The way out: how messages leave, and what is read for that.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use lettre::transport::smtp::authentication::Credentials;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::commands::{Failure, Opened, Result, configuration};
use crate::mail::dkim::Signer;
use crate::mail::transport::{self, Outbox, Sendmail, smtp, trust};
use crate::site::{Layout, Security, Smtp, Transport};

/// What signs messages, if anything does.
pub(in crate::commands) fn signer(opened: &Opened) -> Result<Option<Signer>> {
    let Some(dkim) = &opened.site.mail.dkim else { return Ok(None) };
    let path = opened.layout.secret(&dkim.key_file);
    let shown = opened.layout.relative(&path);
    let problem = |what: &str| format!("the DKIM key `{shown}` {what}");
    let key = fs::read(&path)
        .with_context(|| problem("cannot be read"))
        .map_err(Failure::Configuration)?;
    Signer::new(&dkim.domain, &dkim.selector, &key)
        .with_context(|| problem("cannot be used"))
        .map_err(Failure::Configuration)
        .map(Some)
}

/// The folder of messages that left as files.
pub(in crate::commands) fn outbox(layout: &Layout) -> Outbox {
    Outbox { folder: layout.private().join("outbox") }
}

/// The way by which messages leave.
pub(in crate::commands) fn transport(opened: &Opened) -> Result<Box<dyn transport::Transport>> {
    let mail = &opened.site.mail;
    Ok(match mail.transport {
        Transport::File => Box::new(outbox(&opened.layout)),
        Transport::Sendmail => {
            let timeout = Duration::from_secs(mail.smtp.timeout_seconds.into());
            Box::new(Sendmail::new(mail.sendmail.as_deref(), &opened.layout.root, timeout))
        }
        Transport::Smtp => {
            let file = mail.smtp.ca_file.as_deref();
            let trusted = match mail.smtp.security() {
                Security::None => Vec::new(),
                _ => authorities(&opened.layout, file)?,
            };
            Box::new(smtp::Smtp {
                host: mail.smtp.host.clone(),
                port: mail.smtp.port(),
                security: mail.smtp.security(),
                tls: trust::config(trusted).map_err(configuration)?,
                login: login(&opened.layout, &mail.smtp)?,
                connections: mail.smtp.connections.into(),
                timeout: Duration::from_secs(mail.smtp.timeout_seconds.into()),
            })
        }
    })
}

/// Whose certificates are trusted: the machine's authorities, and those in a file.
pub(super) fn authorities(
    layout: &Layout,
    file: Option<&Path>,
) -> Result<Vec<CertificateDer<'static>>> {
    let mut trusted = rustls_native_certs::load_native_certs().certs;
    if let Some(file) = file {
        let path = layout.root.join(file);
        let read = CertificateDer::pem_file_iter(&path)
            .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
            .with_context(|| {
                format!("cannot read the certificates in `{}`", layout.relative(&path))
            });
        let read = read.map_err(Failure::Configuration)?;
        if read.is_empty() {
            let path = layout.relative(&path);
            return Err(configuration(anyhow!("`{path}` has no certificates in PEM")));
        }
        trusted.extend(read);
    }
    Ok(trusted)
}

/// User and password for a mail server.
fn login(layout: &Layout, settings: &Smtp) -> Result<Option<smtp::Login>> {
    let Some(user) = &settings.user else { return Ok(None) };
    let (name, file) = (settings.password_env.as_deref(), settings.password_file.as_deref());
    let credentials = Credentials::new(user.clone(), password(layout, name, file)?);
    Ok(Some(smtp::Login { mechanism: settings.auth, credentials }))
}

/// A password from the environment, or from a file. It is never shown, not even when it cannot be
/// read.
pub(super) fn password(layout: &Layout, name: Option<&str>, file: Option<&Path>) -> Result<String> {
    let password = if let Some(name) = name {
        std::env::var(name).map_err(|_| anyhow!("the environment has no password in `{name}`"))
    } else {
        let path = layout.secret(file.unwrap_or(Path::new("")));
        let read = fs::read_to_string(&path);
        read.with_context(|| format!("cannot read the password in `{}`", layout.relative(&path)))
    };
    let password = password.map_err(Failure::Configuration)?;
    Ok(password.trim_end_matches(['\r', '\n']).to_owned())
}
