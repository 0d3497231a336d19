//! crieur publishes open postings as feeds and pages, and reminds people before they close.
//!
//! Data flows one way: files become postings ([`posting::load`]), postings and an instant become
//! states ([`posting::lifecycle`]), and those become feeds ([`feeds`]), calendars
//! ([`calendar`]) and pages, which [`publish`] writes.
//! Postings, recipients and what was sent become digests ([`reminders`]), and those messages
//! ([`mail`]), which [`dispatch`] sends through the [`ledger`]. People come and leave by the pages
//! that [`serve`] shows beside what was published, and what comes back by mail is understood by
//! [`inbound`].
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

#[cfg(not(unix))]
compile_error!("crieur keeps files private with the permissions of Unix, and ends at its signals");

pub mod cache;
pub mod calendar;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod diagnostics;
pub mod dispatch;
pub mod edition;
pub mod feeds;
pub mod frame;
pub mod history;
pub mod inbound;
pub mod job_posting;
pub mod key;
pub mod ledger;
pub mod mail;
pub mod outline;
pub mod pages;
pub mod posting;
pub mod private;
pub mod publish;
pub mod reminders;
pub mod serve;
pub mod site;
pub mod templates;
pub mod text;
pub mod tokens;
pub mod view;
pub mod websub;
pub mod yaml;
