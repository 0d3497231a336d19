//! The pages of people, put into words: a form, or a notice with at most one thing to do. They are
//! for one person each, so nobody keeps them.

use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::Weekday;
use fluent_langneg::{NegotiationStrategy, accepted_languages, negotiate_languages};
use serde::Serialize;
use std::sync::Arc;
use unic_langid::LanguageIdentifier;

use crate::catalog::Catalog;
use crate::outline::Category;
use crate::pages::SiteView;
use crate::reminders::Recipient;
use crate::site::{Facet, Site};
use crate::templates::{Error, Templates};
use crate::text;

/// The days of a week.
const DAYS: [Weekday; 7] = [
    Weekday::Mon,
    Weekday::Tue,
    Weekday::Wed,
    Weekday::Thu,
    Weekday::Fri,
    Weekday::Sat,
    Weekday::Sun,
];

/// A language that pages and mails can be written in.
pub struct Tongue {
    /// Which.
    pub language: LanguageIdentifier,
    /// Its phrases.
    pub catalog: Arc<Catalog>,
    /// The templates with them.
    pub templates: Templates,
}

/// The languages, the site's own first.
pub struct Tongues(Vec<Tongue>);

impl Tongues {
    /// All of them.
    pub fn new(all: Vec<Tongue>) -> Self {
        Self(all)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Tongue> {
        self.0.iter()
    }

    /// The one that a visitor reads best (RFC 9110, section 12.5.4).
    pub(super) fn for_visitor(&self, headers: &HeaderMap) -> Option<&Tongue> {
        let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        let accepted = accepted_languages::parse(&by_weight(accepted.unwrap_or_default()));
        let available: Vec<&LanguageIdentifier> = self.0.iter().map(|t| &t.language).collect();
        let best = negotiate_languages(&accepted, &available, None, NegotiationStrategy::Filtering);
        let best = best.first().and_then(|best| self.0.iter().find(|t| t.language == ***best));
        best.or(self.0.first())
    }

    /// The language with a tag, if pages and mails can be written in it.
    pub(super) fn known(&self, tag: &str) -> Option<LanguageIdentifier> {
        self.0.iter().map(|tongue| &tongue.language).find(|known| known.to_string() == tag).cloned()
    }
}

/// The languages that somebody reads, best first, without their weights (RFC 9110, section 12.4.2).
fn by_weight(accepted: &str) -> String {
    let mut languages: Vec<(f32, &str)> = accepted
        .split(',')
        .map(|item| {
            let (language, weight) = item.split_once(';').unwrap_or((item, "q=1"));
            let weight = weight.trim().trim_start_matches(['q', 'Q']).trim_start_matches('=');
            let weight = weight.parse().unwrap_or(1.0);
            (weight, language.trim())
        })
        .filter(|(weight, _)| *weight > 0.0)
        .collect();
    // The sort is stable.
    languages.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    languages.into_iter().map(|(_, language)| language).collect::<Vec<_>>().join(",")
}

/// A page that is ready.
pub(super) struct Page {
    status: StatusCode,
    language: String,
    html: String,
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let language = HeaderValue::from_str(&self.language);
        let language = language.unwrap_or(HeaderValue::from_static("en"));
        let fixed = |value| HeaderValue::from_static(value);
        let headers = [
            (header::CONTENT_TYPE, fixed("text/html; charset=utf-8")),
            (header::CONTENT_LANGUAGE, language),
            (header::VARY, fixed("accept-language")),
            (header::CACHE_CONTROL, fixed("no-store")),
            // The addresses of these pages are secrets.
            (header::REFERRER_POLICY, fixed("no-referrer")),
            (HeaderName::from_static("x-robots-tag"), fixed("noindex")),
        ];
        (self.status, headers, self.html).into_response()
    }
}

/// What a notice says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    CheckMail,
    Confirmed,
    Saved,
    NotSubscribed,
    Unsubscribe,
    Unsubscribed,
    LinkInvalid,
    TooMany,
    NotHere,
    OutOfOrder,
}

impl Notice {
    const ALL: [Self; 10] = [
        Self::CheckMail,
        Self::Confirmed,
        Self::Saved,
        Self::NotSubscribed,
        Self::Unsubscribe,
        Self::Unsubscribed,
        Self::LinkInvalid,
        Self::TooMany,
        Self::NotHere,
        Self::OutOfOrder,
    ];

    /// The phrases of heading and text.
    fn phrases(self) -> (&'static str, &'static str) {
        match self {
            Self::CheckMail => ("check-mail", "check-mail-why"),
            Self::Confirmed => ("confirmed", "confirmed-why"),
            Self::Saved => ("saved", "saved-why"),
            Self::NotSubscribed => ("not-subscribed", "not-subscribed-why"),
            Self::Unsubscribe => ("unsubscribe-title", "unsubscribe-why"),
            Self::Unsubscribed => ("unsubscribed", "unsubscribed-why"),
            Self::LinkInvalid => ("link-invalid", "link-invalid-why"),
            Self::TooMany => ("too-many", "too-many-why"),
            Self::NotHere => ("not-here", "not-here-why"),
            Self::OutOfOrder => ("out-of-order", "out-of-order-why"),
        }
    }

    /// The phrase of the one thing to do.
    fn button(self) -> Option<&'static str> {
        match self {
            Self::Unsubscribe => Some("unsubscribe-button"),
            _ => None,
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::LinkInvalid => StatusCode::BAD_REQUEST,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::NotHere => StatusCode::FORBIDDEN,
            Self::OutOfOrder => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::OK,
        }
    }
}

/// A link below a notice: the phrase that names it, and where it leads.
pub(super) type Link = (&'static str, String);

#[derive(Serialize)]
struct NoticeContext<'a> {
    site: SiteView<'a>,
    root: &'a str,
    heading: String,
    text: String,
    button: Option<String>,
    action: &'a str,
    token: &'a str,
    link: Option<LinkContext>,
}

#[derive(Serialize)]
struct LinkContext {
    label: String,
    url: String,
}

/// Puts a notice into words. `action` and `token` are for its button, if it has one.
pub(super) fn notice(
    site: &Site,
    tongue: &Tongue,
    notice: Notice,
    (action, token): (&str, &str),
    link: Option<Link>,
) -> Result<Page, Error> {
    let Tongue { language, catalog, templates } = tongue;
    let (heading, why) = notice.phrases();
    let context = NoticeContext {
        site: SiteView::in_language(site, language),
        root: site.url.path(),
        heading: catalog.word(heading),
        text: catalog.with(why, [("site", site.title.as_str().into())]),
        button: notice.button().map(|button| catalog.word(button)),
        action,
        token,
        link: link.map(|(label, url)| LinkContext { label: catalog.word(label), url }),
    };
    let html = text::composed_page(templates.render("notice.html", &context)?);
    Ok(Page { status: notice.status(), language: language.to_string(), html })
}

/// Puts every page into words once: whatever is wrong with its template is said before somebody asks for it.
///
/// # Errors
/// When a template cannot be rendered.
pub fn rehearse(site: &Site, tongues: &Tongues) -> Result<(), Error> {
    let choices =
        Facet::ALL.map(|facet| Category { facet, term: "a".to_owned(), label: "A".to_owned() });
    let somebody = Recipient {
        domains: vec!["a".to_owned()],
        weekly: Some(Weekday::Mon),
        ..Recipient::new("reader@example.org")
    };
    for tongue in tongues.iter() {
        for said in Notice::ALL {
            notice(site, tongue, said, ("", ""), Some(("subscribe-again", String::new())))?;
        }
        for (token, confirms) in [(None, false), (Some(""), true), (Some(""), false)] {
            let form = Form {
                action: "",
                token,
                confirms,
                recipient: &somebody,
                choices: &choices,
                is_invalid: token.is_none(),
                unsubscribe: token.map(str::to_owned),
            };
            self::form(site, tongues, tongue, form)?;
        }
    }
    Ok(())
}

/// A form, and what was entered into it before.
pub(super) struct Form<'a> {
    /// Where it is sent to.
    pub action: &'a str,
    /// For whom it is, where that is known.
    pub token: Option<&'a str>,
    /// Whether it confirms that somebody subscribes.
    pub confirms: bool,
    /// What stands in it.
    pub recipient: &'a Recipient,
    /// What can be chosen.
    pub choices: &'a [Category],
    /// Whether the address is none.
    pub is_invalid: bool,
    /// The way off the list.
    pub unsubscribe: Option<String>,
}

#[derive(Serialize)]
struct FormContext<'a> {
    site: SiteView<'a>,
    root: &'a str,
    heading: String,
    lead: Option<String>,
    problem: Option<String>,
    action: &'a str,
    token: Option<&'a str>,
    /// Whether it is sent to confirm it, by most without a change.
    confirms: bool,
    email: &'a str,
    groups: Vec<Group<'a>>,
    weekday: Option<String>,
    weekdays: Vec<Choice>,
    new: bool,
    junior: bool,
    languages: Vec<Choice>,
    button: String,
    unsubscribe: Option<String>,
}

#[derive(Serialize)]
struct Group<'a> {
    name: &'static str,
    values: Vec<Interest<'a>>,
}

#[derive(Serialize)]
struct Interest<'a> {
    term: &'a str,
    label: &'a str,
    chosen: bool,
}

#[derive(Serialize)]
struct Choice {
    value: String,
    label: String,
    chosen: bool,
}

/// Puts a form into words.
pub(super) fn form(
    site: &Site,
    tongues: &Tongues,
    tongue: &Tongue,
    form: Form<'_>,
) -> Result<Page, Error> {
    let Tongue { language, catalog, templates } = tongue;
    let Form { action, token, confirms, recipient, choices, is_invalid, unsubscribe } = form;
    let (heading, lead, button) = match token {
        Some(_) if confirms => ("confirm-title", Some("confirm-why"), "confirm-button"),
        Some(_) => ("preferences-title", None, "preferences-button"),
        None => ("subscribe-title", Some("subscribe-lead"), "subscribe-button"),
    };
    let about = || [("site", site.title.as_str().into())];
    let groups = [
        (Facet::Domain, &recipient.domains),
        (Facet::Team, &recipient.teams),
        (Facet::Contract, &recipient.contracts),
    ];
    let groups = groups.map(|(facet, chosen)| Group {
        name: facet.as_str(),
        values: interests(facet, chosen, choices),
    });
    let weekday = |day: &Weekday| Choice {
        value: day.to_string(),
        label: catalog.with("weekday", [("weekday", day.number_from_monday().into())]),
        chosen: recipient.weekly == Some(*day),
    };
    let wanted = recipient.language.as_ref().unwrap_or(language);
    let languages = tongues.0.iter().map(|tongue| Choice {
        value: tongue.language.to_string(),
        label: tongue.catalog.word("language-name"),
        chosen: tongue.language == *wanted,
    });
    let context = FormContext {
        site: SiteView::in_language(site, language),
        root: site.url.path(),
        heading: catalog.word(heading),
        lead: lead.map(|lead| catalog.with(lead, about())),
        problem: is_invalid.then(|| catalog.word("email-invalid")),
        action,
        token,
        confirms,
        email: &recipient.email,
        groups: groups.into_iter().filter(|group| !group.values.is_empty()).collect(),
        weekday: recipient.weekly.map(|day| day.to_string()),
        weekdays: DAYS.iter().map(weekday).collect(),
        new: recipient.new,
        junior: recipient.junior,
        languages: languages.collect(),
        button: catalog.word(button),
        unsubscribe,
    };
    let html = text::composed_page(templates.render("form.html", &context)?);
    let status = if is_invalid { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    Ok(Page { status, language: language.to_string(), html })
}

/// What can be chosen of a facet: what open postings have, and what somebody chose before.
fn interests<'a>(facet: Facet, chosen: &'a [String], choices: &'a [Category]) -> Vec<Interest<'a>> {
    let of = choices.iter().filter(|choice| choice.facet == facet);
    let mut all: Vec<Interest<'a>> = of
        .map(|Category { term, label, .. }| Interest { term, label, chosen: chosen.contains(term) })
        .collect();
    for term in chosen {
        if !all.iter().any(|interest| interest.term == term) {
            all.push(Interest { term, label: term, chosen: true });
        }
    }
    all
}
