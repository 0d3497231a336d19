//! From a request to an answer: what somebody sent, whether it is let in, and who works on it.

use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chrono::Weekday;
use url::{Url, form_urlencoded};

use super::People;
use super::addresses::{MATTERS, Matter};
use super::visit::is_address;
use crate::reminders::Recipient;
use crate::serve::pages::{self, Notice, Tongues};
use crate::serve::{MAX_BODY, Server, client};
use crate::site::Facet;
use crate::text;

/// How many values of a facet somebody can choose.
const MAX_CHOSEN: usize = 200;
/// Adds the pages to the addresses that are answered.
pub(in crate::serve) fn routes(
    mut router: Router<Arc<Server>>,
    people: &People,
) -> Router<Arc<Server>> {
    for matter in MATTERS {
        if let Some(url) = people.addresses.of(matter) {
            let handler = move |State(server): State<Arc<Server>>, request: Request| async move {
                answer(matter, &server, request).await
            };
            router = router.route(url.path(), get(handler).post(handler));
        }
    }
    router
}

/// Whether a form was sent from a page of somebody else's (Fetch Metadata; Origin, RFC 6454).
fn is_from_elsewhere(headers: &HeaderMap, own: Option<&Url>) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return site == "cross-site";
    }
    let origin = text("origin").filter(|origin| *origin != "null");
    let is_own = |origin: &str| {
        own.is_some_and(|own| own.origin().ascii_serialization() == origin)
            || origin.split_once("://").map(|(_, host)| host) == text("host")
    };
    origin.is_some_and(|origin| !is_own(origin))
}

/// What somebody sent.
pub(super) struct Sent {
    pub(super) matter: Matter,
    /// Whether they want it done; who only looks changes nothing.
    pub(super) is_done: bool,
    pub(super) token: String,
    fields: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
}

impl Sent {
    pub(super) fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.trim())
    }

    /// The values that were chosen of a facet.
    fn chosen(&self, facet: Facet) -> Vec<String> {
        let mut terms = Vec::new();
        for (_, value) in self.fields.iter().filter(|(key, _)| key == facet.as_str()) {
            let term = text::term(value);
            if !term.is_empty() && !terms.contains(&term) && terms.len() < MAX_CHOSEN {
                terms.push(term);
            }
        }
        terms
    }

    /// Whether wishes were entered: a form was sent, and not a button alone.
    pub(super) fn has_wishes(&self) -> bool {
        !self.field("cadence").is_empty()
    }

    /// Somebody with the wishes that were entered.
    pub(super) fn wishes(&self, of: Recipient, tongues: &Tongues) -> Recipient {
        let weekday: Option<Weekday> = self.field("weekday").parse().ok();
        let is_weekly = self.field("cadence") == "weekly";
        Recipient {
            language: tongues.known(self.field("language")).or(of.language),
            domains: self.chosen(Facet::Domain),
            teams: self.chosen(Facet::Team),
            contracts: self.chosen(Facet::Contract),
            junior: self.field("junior") == "true",
            new: self.field("new") == "true",
            weekly: is_weekly.then(|| weekday.unwrap_or(Weekday::Mon)),
            ..of
        }
    }
}

async fn answer(matter: Matter, server: &Arc<Server>, request: Request) -> Response {
    let people = &server.people;
    let who = client(&request);
    let is_done = request.method() == Method::POST;
    let headers = request.headers().clone();
    let query = request.uri().query().unwrap_or_default().to_owned();
    if is_done
        && matter == Matter::Subscribe
        && is_from_elsewhere(&headers, people.addresses.subscribe.as_ref())
    {
        server.metrics.step("limited");
        return notice_only(people, headers, Notice::NotHere).await;
    }
    let body =
        if is_done { to_bytes(request.into_body(), MAX_BODY).await } else { Ok(Vec::new().into()) };
    let Ok(body) = body else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
    let pairs = |bytes| form_urlencoded::parse(bytes).into_owned().collect();
    let (in_query, in_body): (Vec<_>, Vec<_>) = (pairs(query.as_bytes()), pairs(&body));
    let token = in_query.iter().chain(&in_body).find(|(key, _)| key == "token");
    let token = token.map(|(_, token)| token.clone()).unwrap_or_default();
    // A link may lead to a form with something chosen in it.
    let fields = if is_done { in_body } else { in_query };
    let sent = Sent { matter, is_done, token, fields, headers: headers.clone() };
    // What sends no mail costs nobody their turn.
    if is_done
        && matter == Matter::Subscribe
        && is_address(sent.field("email"))
        && !server.limits.may_ask(who)
    {
        server.metrics.step("limited");
        return notice_only(people, headers, Notice::TooMany).await;
    }
    let handled = if matter == Matter::Subscribe && !is_done {
        people.at_once(move |people| people.handle(&sent)).await
    } else {
        people.in_turn(move |people| people.handle(&sent)).await
    };
    match handled {
        Some(Ok(done)) => {
            if let Some(step) = done.step {
                server.metrics.step(step);
            }
            if done.is_wrong_link && !server.limits.may_guess(who) {
                server.metrics.step("limited");
                return notice_only(people, headers, Notice::TooMany).await;
            }
            done.page.into_response()
        }
        Some(Err(error)) => {
            people.world.complain(&format!("somebody could not be served: {error:#}"));
            notice_only(people, headers, Notice::OutOfOrder).await
        }
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// A page that needs nothing but words.
async fn notice_only(people: &Arc<People>, headers: HeaderMap, notice: Notice) -> Response {
    let page = people.at_once(move |people| {
        let tongue = people.tongues.for_visitor(&headers)?;
        pages::notice(&people.site, tongue, notice, ("", ""), None).ok()
    });
    let mut response = match page.await.flatten() {
        Some(page) => page.into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    };
    if [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&response.status())
    {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("60"));
    }
    response
}
