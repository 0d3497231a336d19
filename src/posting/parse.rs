//! From the bytes of a file to a posting: pure, one file at a time, never failing for the others.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use percent_encoding::{CONTROLS, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use unic_langid::LanguageIdentifier;
use url::Url;

use super::decode::{self, Decoded};
use super::fields::{MAX_LINE, Reader};
use super::front_matter::{self, Problem};
use super::moment;
use super::values::{self, contact, is_identity, is_language, redirect, yes_or_no};
use super::vocabulary::Field;
use super::{Contact, Posting, Status, markdown};
use crate::diagnostics::{Code, Diagnostic, Severity, Source, nearest};
use crate::key::Key;
use crate::site::{POSTINGS, Site};
use crate::text;

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parsed {
    /// The posting, unless something in the file could not be understood.
    pub posting: Option<Posting>,
    /// What is wrong with the file.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parsed {
    /// What was found out before about a file with the same bytes, if these are here.
    #[must_use]
    pub fn again(mut self, path: &Arc<str>, bytes: Option<&[u8]>) -> Self {
        if let Some(posting) = &mut self.posting {
            let source = bytes.and_then(|bytes| decode::again(path, bytes, posting.is_verbatim));
            posting.source = source.unwrap_or_else(|| Source::new(path.clone(), ""));
        }
        self
    }
}

/// Reads one file. `path` is the file's path from the site's folder, with forward slashes, and `key`
/// that of its bytes.
pub fn parse(site: &Site, path: &str, bytes: &[u8], key: Key) -> Parsed {
    let path: Arc<str> = path.into();
    let mut diagnostics = Vec::new();
    let Some(Decoded { source, is_verbatim }) = decode::decode(&path, bytes, &mut diagnostics)
    else {
        return Parsed { posting: None, diagnostics };
    };
    let matter = match front_matter::read(&source.text) {
        Ok(matter) => matter,
        Err(problem) => {
            diagnostics.push(report(&source, Severity::Error, problem));
            return Parsed { posting: None, diagnostics };
        }
    };
    for problem in matter.warnings {
        diagnostics.push(report(&source, Severity::Warning, problem));
    }
    let mut reader = Reader {
        site,
        source: &source,
        file: key,
        is_verbatim,
        diagnostics,
        values: BTreeMap::new(),
        extra: BTreeMap::new(),
    };
    reader.sort(matter.entries);
    let posting = reader.posting(matter.body);
    let mut diagnostics = reader.diagnostics;
    // One error is enough to leave a posting out: half of it would say something else.
    let sound = diagnostics.iter().all(|d| d.severity != Severity::Error);
    diagnostics.sort_by_key(|d| (d.line(), d.column()));
    Parsed { posting: posting.filter(|_| sound), diagnostics }
}

fn report(source: &Source, severity: Severity, problem: Problem) -> Diagnostic {
    Diagnostic::new(severity, problem.code, source.path.clone(), problem.message)
        .at(source, &problem.span)
        .help(problem.help)
}

/// What the fields of a file make together.
impl Reader<'_> {
    fn posting(&mut self, body: Range<usize>) -> Option<Posting> {
        if markdown::is_too_deep(&self.source.text[body.clone()]) {
            let message =
                format!("the text nests more than {} elements in each other", markdown::MAX_DEPTH);
            let start = body.end - self.source.text[body.clone()].trim_start().len();
            self.error(Code::TooDeep, &(start..start + 1), message, "quote or list less deeply");
            return None;
        }
        let role = self.text(Field::Role);
        let title = self.text(Field::Title);
        let stem = stem(&self.source.path);
        let slug = self.slug(stem)?;
        let title = title
            .or_else(|| role.clone())
            .unwrap_or_else(|| self.title_of_file(stem, &slug, &body));
        let id = self.id(&slug);
        let organisation = self.text(Field::Organisation);
        let partner = self.partner();
        let posting = Posting {
            source: self.source.clone(),
            key: self.file,
            is_verbatim: self.is_verbatim,
            places: self
                .values
                .iter()
                .map(|(field, keyed)| (*field, keyed.value.span.clone()))
                .collect(),
            slug,
            id,
            title,
            role,
            contract: self.text(Field::Contract),
            team: self.text(Field::Team),
            organisation,
            partner,
            apply_url: self.apply_url(),
            opens: self.moment(Field::Opens, Severity::Error),
            closes: self
                .moment(Field::Closes, Severity::Error)
                .or_else(|| self.moment(Field::TakenDown, Severity::Error)),
            contacts: self.contacts(),
            filled: self.flag(Field::Filled, Severity::Error).unwrap_or(false),
            open: self.flag(Field::Open, Severity::Error),
            status: self.status(),
            domains: self.list(Field::Domains),
            technologies: self.list(Field::Technologies),
            junior: self.flag(Field::Junior, Severity::Warning),
            location: self.text(Field::Location),
            remote: self.text(Field::Remote),
            salary: self.text(Field::Salary),
            language: self.language(),
            redirect_from: self.redirects(),
            updated: self.moment(Field::Updated, Severity::Warning),
            committed: None,
            touched: None,
            added: None,
            named_day: moment::leading_day(stem),
            extra: std::mem::take(&mut self.extra),
            body,
        };
        self.contradictions(&posting);
        self.links(&posting);
        Some(posting)
    }

    /// What the author says of its being open. What is a draft anywhere is shown nowhere.
    fn status(&mut self) -> Option<Status> {
        let status = self.named_status();
        let is_draft = self.flag(Field::Draft, Severity::Error) == Some(true);
        let published = self.word(Field::Published, Severity::Warning);
        // A day may stand there, too.
        let is_unpublished = published.is_some_and(|(_, text, _)| yes_or_no(&text) == Some(false));
        if is_draft || is_unpublished { Some(Status::Draft) } else { status }
    }

    fn named_status(&mut self) -> Option<Status> {
        let (keyed, text, span) = self.word(Field::Status, Severity::Error)?;
        let status = match text::folded(&text).as_str() {
            "open" | "opened" | "ouvert" | "ouverte" | "published" | "publie" | "publiee" => {
                Status::Open
            }
            "closed" | "close" | "ferme" | "fermee" | "withdrawn" | "archived" | "archive"
            | "archivee" => Status::Closed,
            "filled" | "pourvu" | "pourvue" => Status::Filled,
            "draft" | "brouillon" => Status::Draft,
            _ => {
                let near = nearest(&text, ["open", "closed", "filled", "draft"]);
                let help = match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "write `open`, `closed`, `filled` or `draft`".to_owned(),
                };
                let message =
                    format!("`{}`: `{}` is no status", keyed.name(), text::shortened(&text, 40));
                self.error(Code::InvalidStatus, &span, message, help);
                return None;
            }
        };
        Some(status)
    }

    fn partner(&mut self) -> bool {
        let Some((keyed, text, span)) = self.word(Field::Type, Severity::Warning) else {
            return false;
        };
        let partner = text.eq_ignore_ascii_case("friend");
        if !partner {
            let message = format!("`{}`: only `friend` means something", keyed.name());
            let help = "write `type: friend` for a partner's posting, or delete the line";
            self.report(Severity::Note, Code::InvalidValue, &span, message, help);
        }
        partner
    }

    fn apply_url(&mut self) -> Option<Url> {
        let (keyed, text, span) = self.word(Field::ApplyUrl, Severity::Warning)?;
        if text::is_address(&text)
            && let Ok(url) = Url::parse(&format!("mailto:{text}"))
        {
            return Some(url);
        }
        // An address without a scheme was copied from a browser's address bar.
        let guessed = || {
            let host = text.split(['/', '?', '#']).next().unwrap_or_default();
            (host.contains('.') && !host.contains([' ', ':', '@']))
                .then(|| Url::parse(&format!("https://{text}")).ok())
                .flatten()
        };
        match Url::parse(&text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
                Some(text::strict(url))
            }
            Ok(url) if url.scheme() == "mailto" && leads_to_a_mailbox(&url) => Some(url),
            Ok(_) => {
                let message = format!(
                    "`{}` is not an address of the web or of mail; it was left out",
                    keyed.name()
                );
                self.warn(
                    Code::InvalidAddress,
                    &span,
                    message,
                    "write an address that begins with `https://`",
                );
                None
            }
            Err(_) => {
                if let Some(url) = guessed() {
                    let message = format!("`{}` was read as {url}", keyed.name());
                    self.warn(
                        Code::InvalidAddress,
                        &span,
                        message,
                        format!("write `{}: {url}`", keyed.name()),
                    );
                    Some(url)
                } else {
                    let message =
                        format!("`{}` is not a web address; it was left out", keyed.name());
                    self.warn(
                        Code::InvalidAddress,
                        &span,
                        message,
                        "write the whole address, beginning with `https://`",
                    );
                    None
                }
            }
        }
    }

    fn contacts(&mut self) -> Vec<Contact> {
        let mut contacts = Vec::new();
        for text in self.list(Field::Contact) {
            let parts: Vec<&str> =
                text.split([',', ';', ' ']).map(str::trim).filter(|p| !p.is_empty()).collect();
            let all_addresses = parts.iter().all(|part| text::is_address(part));
            if all_addresses {
                contacts.extend(parts.into_iter().map(contact));
            } else {
                contacts.extend(values::contacts(&text));
            }
        }
        contacts
    }

    fn language(&mut self) -> Option<String> {
        let (keyed, text, span) = self.word(Field::Language, Severity::Warning)?;
        match text.parse::<LanguageIdentifier>() {
            Ok(language) if is_language(language.language.as_str()) => Some(language.to_string()),
            _ => {
                let message = format!(
                    "`{}`: `{}` is no language tag; the site's language is used",
                    keyed.name(),
                    text::shortened(&text, 40)
                );
                self.warn(Code::InvalidValue, &span, message, "write a tag like `fr` or `en-GB`");
                None
            }
        }
    }

    fn redirects(&mut self) -> Vec<String> {
        let mut redirects = Vec::new();
        for (path, span) in self.items(Field::RedirectFrom) {
            if let Some(path) = redirect(&path, &self.site.url) {
                redirects.push(path);
            } else {
                let message = format!(
                    "`{}` is not a path of this site; it was ignored",
                    text::shortened(&path, 60)
                );
                self.warn(
                    Code::InvalidAddress,
                    &span,
                    message,
                    "write a path from the site's root, like `/jobs/old-name.html`",
                );
            }
        }
        redirects
    }

    fn slug(&mut self, stem: &str) -> Option<String> {
        if let Some((_, text, span)) = self.word(Field::Slug, Severity::Warning) {
            let slug = text::slug(&text);
            if slug == text && !slug.is_empty() {
                return Some(slug);
            }
            let (read_as, help) = if slug.is_empty() {
                ("it was ignored".to_owned(), "use letters a to z, digits and hyphens".to_owned())
            } else {
                (format!("it was read as `{slug}`"), format!("write `slug: {slug}`"))
            };
            let message =
                format!("`{}` cannot stand in an address; {read_as}", text::shortened(&text, 60));
            self.warn(Code::InvalidIdentity, &span, message, help);
            if !slug.is_empty() {
                return Some(slug);
            }
        }
        let slug = text::slug(stem);
        if slug.is_empty() {
            let message = "the file's name makes no address";
            self.error(
                Code::FileName,
                &(0..0),
                message,
                "rename it with letters and digits, or give the posting a `slug:`",
            );
            return None;
        }
        Some(slug)
    }

    fn id(&mut self, slug: &str) -> String {
        let default = self.site.tag(slug);
        let Some((_, text, span)) = self.word(Field::Id, Severity::Warning) else { return default };
        match Url::parse(&text) {
            Ok(url) if is_identity(&url, &text) && text.is_ascii() => text,
            Ok(url) if is_identity(&url, &text) => {
                let id = utf8_percent_encode(&text, CONTROLS).to_string();
                let message = format!(
                    "`{}` has letters that a URI does not have; the id is `{id}`",
                    text::shortened(&text, 60)
                );
                self.warn(Code::InvalidIdentity, &span, message, format!("write `id: {id}`"));
                id
            }
            _ => {
                let id = match text::slug(&text) {
                    slug if slug.is_empty() => default,
                    slug => self.site.tag(&slug),
                };
                let message =
                    format!("`{}` is not a URI; the id is `{id}`", text::shortened(&text, 60));
                self.warn(
                    Code::InvalidIdentity,
                    &span,
                    message,
                    format!("write `id: {id}`, or delete the line"),
                );
                id
            }
        }
    }

    /// Makes a title of what there is: a first heading, or the file's name.
    fn title_of_file(&mut self, stem: &str, slug: &str, body: &Range<usize>) -> String {
        let heading = markdown::first_heading(&self.source.text[body.clone()]);
        let rest = if moment::leading_day(stem).is_some() { &stem[10..] } else { stem };
        let words = rest.replace(['-', '_'], " ");
        let title = [heading.as_deref(), Some(&words), Some(stem)]
            .into_iter()
            .flatten()
            .map(|text| text::shortened(&text::one_line(&text::without_markup(text)), MAX_LINE))
            .find(|title| title.chars().any(char::is_alphanumeric))
            .unwrap_or_else(|| slug.to_owned());
        let message = format!("nothing says what the posting is called; “{title}” was taken");
        self.warn(
            Code::NoTitle,
            &(0..3.min(self.source.text.len())),
            message,
            "add a line `title: …` or `role: …`",
        );
        title
    }

    /// Statements that contradict each other whatever the day.
    fn contradictions(&mut self, posting: &Posting) {
        let zone = self.site.timezone;
        if let (Some(opens), Some(closes)) = (posting.opens, posting.closes)
            && closes.end(zone) <= opens.start(zone)
        {
            let span = self.place(&[Field::Closes, Field::TakenDown]);
            let message = format!("the posting closes ({closes}) before it opens ({opens})");
            self.warn(Code::Contradiction, &span, message, "correct one of the two dates");
        }
        let open_says = posting.open;
        let help = "keep one of the two";
        match (posting.status, open_says) {
            (Some(Status::Open), Some(false)) => {
                let span = self.place(&[Field::Status]);
                self.warn(
                    Code::Contradiction,
                    &span,
                    "`status` says open, `open` says no; the posting is not published as open",
                    help,
                );
            }
            (Some(Status::Closed | Status::Draft), Some(true)) => {
                let span = self.place(&[Field::Open]);
                self.warn(
                    Code::Contradiction,
                    &span,
                    "`open` says yes, `status` says no; the posting is not published as open",
                    help,
                );
            }
            _ => {}
        }
        if posting.status == Some(Status::Open) && posting.filled {
            let span = self.place(&[Field::Status]);
            self.warn(
                Code::Contradiction,
                &span,
                "`status` says open, but the posting is filled",
                help,
            );
        } else if open_says == Some(true)
            && (posting.filled || posting.status == Some(Status::Filled))
        {
            let span = self.place(&[Field::Open]);
            self.warn(
                Code::Contradiction,
                &span,
                "`open` says yes, but the posting is filled",
                help,
            );
        }
    }

    fn place(&self, fields: &[Field]) -> Range<usize> {
        fields
            .iter()
            .find_map(|field| self.values.get(field))
            .map_or(0..0, |keyed| keyed.value.span.clone())
    }

    /// Links that lead nowhere, and what hides the rest of the text.
    fn links(&mut self, posting: &Posting) {
        if let Some(markdown::Hiding { span, end }) = markdown::hiding_html(posting.markdown()) {
            let span = span.start + posting.body.start..span.end + posting.body.start;
            let message = "this has no end, so what stands behind it is not shown";
            self.warn(Code::UnclosedHtml, &span, message, format!("write its end, `{end}`"));
        }
        for span in markdown::empty_links(posting.markdown()) {
            let span = span.start + posting.body.start..span.end + posting.body.start;
            self.warn(
                Code::EmptyLink,
                &span,
                "the link has no address; only its text is shown",
                "write the address between the parentheses",
            );
        }
    }
}

/// The name of the file without folders and `.md`. A file called `index` that has a folder of its own
/// goes by the folder's name, as in Hugo's page bundles.
fn stem(path: &str) -> &str {
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = match name.rsplit_once('.') {
        Some((stem, extension))
            if super::files::is_markdown(extension) || extension.eq_ignore_ascii_case("txt") =>
        {
            stem
        }
        _ => name,
    };
    let folder = folders.strip_prefix(POSTINGS).and_then(|below| below.rsplit('/').next());
    match folder {
        Some(folder) if stem == "index" && !folder.is_empty() => folder,
        _ => stem,
    }
}

/// Whether a `mailto:` address says to whom, and that is an address (RFC 6068).
fn leads_to_a_mailbox(url: &Url) -> bool {
    url.path().split(',').all(|to| {
        let to = percent_encoding::percent_decode_str(to).decode_utf8();
        to.is_ok_and(|to| text::is_address(&to))
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(site: &Site, path: &str, bytes: &[u8]) -> Parsed {
        parse(site, path, bytes, Key::of(bytes))
    }

    /// A posting for other modules' tests, from the lines of its front matter.
    pub(crate) fn posting(yaml: &str) -> Posting {
        let site = Site::parse("title: T\nurl: https://jobs.example.org/\n").unwrap();
        let text = format!("---\n{yaml}\n---\ntext\n");
        let parsed = read(&site, "content/postings/a.md", text.as_bytes());
        parsed.posting.unwrap_or_else(|| panic!("{:#?}", parsed.diagnostics))
    }

    fn site() -> Site {
        Site::parse("title: T\nurl: https://jobs.example.org/\nlanguage: en\n").unwrap()
    }

    #[test]
    fn a_posting_goes_by_the_name_of_its_file_or_of_the_folder_that_is_its_own() {
        for (path, slug) in [
            ("content/postings/Chargé de déploiement.md", "charge-de-deploiement"),
            ("content/postings/2021/a.b.markdown", "a.b"),
            ("content/postings/tide-tables/index.md", "tide-tables"),
            ("content/postings/2021/tide-tables/index.markdown", "tide-tables"),
            ("content/postings/index.md", "index"),
            ("content/postings/2021/index-of-tides.md", "index-of-tides"),
        ] {
            let posting = read(&site(), path, b"---\ntitle: T\n---\n").posting.unwrap();
            assert_eq!(posting.slug, slug, "{path}");
        }
    }

    fn codes(yaml: &str) -> Vec<&'static str> {
        let text = format!("---\n{yaml}\n---\nText.\n");
        let parsed = read(&site(), "content/postings/a.md", text.as_bytes());
        parsed.diagnostics.iter().map(|diagnostic| diagnostic.code.as_str()).collect()
    }

    #[test]
    fn a_sentence_among_the_keys_is_pointed_out() {
        let unclosed = "unclosed-front-matter";
        for yaml in [
            "title: A\n\nClosing : 2026-09-30 at noon.",
            "title: A\n\nMissions: build the thing, and keep it.",
            "title: A\n\nWhat we do: much",
        ] {
            assert!(codes(yaml).contains(&unclosed), "{yaml}");
        }
        for yaml in ["title: A\n\nbudget: 3", "title: A\nWhat we do: much.", "title: A\n\nteam: E"]
        {
            assert!(!codes(yaml).contains(&unclosed), "{yaml}");
        }
    }

    #[test]
    fn old_addresses_are_paths_or_whole_addresses_of_this_site() {
        let url = Url::parse("https://jobs.example.org/sub/").unwrap();
        let path = |text| values::redirect(text, &url);
        assert_eq!(path("/old.html").as_deref(), Some("/old.html"));
        assert_eq!(path("https://jobs.example.org/sub/old/").as_deref(), Some("/old/"));
        assert_eq!(path("https://jobs.example.org/old/").as_deref(), Some("/old/"));
        assert_eq!(path("https://elsewhere.example/a.html?b#c").as_deref(), Some("/a.html"));
        assert_eq!(path("/caf%C3%A9%20b/").as_deref(), Some("/café b/"));
        for text in ["../a", "/a/%2E%2E/b", "/a%2F..%2F..%2Fb", "/%FF", ""] {
            assert_eq!(path(text), None, "{text}");
        }
    }

    #[test]
    fn contacts_are_names_addresses_or_both() {
        let contacts = |yaml: &str| -> Vec<String> {
            let contacts = posting(&format!("role: x\n{yaml}")).contacts;
            contacts
                .into_iter()
                .map(|c| format!("{} {}", c.text, c.email.unwrap_or_default()))
                .collect()
        };
        assert_eq!(contacts("contact: a@x.org"), ["a@x.org a@x.org"]);
        assert_eq!(contacts("contacts: [a@x.org, Alix]"), ["a@x.org a@x.org", "Alix "]);
        assert_eq!(contacts("contact: a@x.org, b@x.org"), ["a@x.org a@x.org", "b@x.org b@x.org"]);
        assert_eq!(
            contacts("contact: |\n  a@x.org\n  b@x.org"),
            ["a@x.org a@x.org", "b@x.org b@x.org"]
        );
        assert_eq!(contacts("contact: Alix <a@x.org>"), ["Alix <a@x.org> a@x.org"]);
        assert_eq!(contacts("contact: a?bcc=b@x.org"), ["a?bcc=b@x.org "]);
        assert_eq!(
            contacts("contact: Alix Martin <a@x.org>; Bob <b@x.org>"),
            ["Alix Martin <a@x.org> a@x.org", "Bob <b@x.org> b@x.org"]
        );
        assert_eq!(
            contacts("contact: Martin, Alix <a@x.org>, or b@x.org (mornings, by phone)"),
            ["Martin, Alix <a@x.org> a@x.org", "or b@x.org (mornings, by phone) b@x.org"]
        );
        assert_eq!(contacts("contact: write to a@x.org."), ["write to a@x.org. a@x.org"]);
        assert_eq!(contacts("contact: Alix, Bob"), ["Alix, Bob "]);
    }

    #[test]
    fn a_slug_of_nothing_but_space_is_none() {
        let parsed = read(&site(), "content/postings/a.md", "---\nslug: \u{A0}\n---\n".as_bytes());
        assert_eq!(parsed.posting.unwrap().slug, "a");
    }

    proptest! {
        #[test]
        fn no_file_panics(bytes in any::<Vec<u8>>()) {
            read(&site(), "content/postings/a.md", &bytes);
            let fenced = [b"---\n", &bytes[..], b"\n---\n", &bytes[..]].concat();
            read(&site(), "content/postings/a.md", &fenced);
        }

        /// Whatever stands under a key, the posting is understood or an error says why not; and what
        /// was understood is fit for one line.
        #[test]
        fn every_value_is_understood_or_explained(
            key in prop::sample::select(crate::posting::vocabulary::keys().collect::<Vec<_>>()),
            value in "[ -~éß\u{A0}\u{202E}\u{85}🚀]{0,40}|[0-9T:/+.Z -]{1,30}|\\PC{0,20}",
            name in "[a-z]{1,5}",
        ) {
            let text = format!("---\nopens: 2021-08-01\n{key}: {value}\n---\n");
            let parsed = read(&site(), &format!("content/postings/{name}.md"), text.as_bytes());
            let errors = parsed.diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
            prop_assert_eq!(parsed.posting.is_none(), errors > 0);
            prop_assert!(parsed.diagnostics.iter().all(|d| d.help.is_some() && !d.human("").is_empty()));
            if let Some(posting) = parsed.posting {
                prop_assert_eq!(text::one_line(&posting.title), posting.title.clone());
                prop_assert!(!posting.slug.is_empty() && !posting.title.is_empty());
                prop_assert!(Url::parse(&posting.id).is_ok());
            }
        }
    }
}
