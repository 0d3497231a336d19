//! What was published, as a good static server gives it out: with the media types of feeds, with
//! validators, so that readers are told when nothing is new, and nothing that is hidden.

use std::fmt;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use percent_encoding::percent_decode_str;
use tower::ServiceExt as _;
use tower_http::services::ServeDir;

use super::files::Files;
use super::{MIN_COMPRESSED, Server, Unsaid};

/// How long pages and feeds may be taken from a cache without asking: a build may change them at any
/// time.
const FRESH: &str = "public, max-age=300";

/// How much of a file is sent at once, in bytes: most pages.
const CHUNK: usize = 16 << 10;

/// The media types that other tables do not know, by the end of the name.
const KINDS: &[(&str, &str)] = &[
    (".atom", "application/atom+xml; charset=utf-8"),
    (".rss", "application/rss+xml; charset=utf-8"),
    (".json", "application/feed+json; charset=utf-8"),
    (".ics", "text/calendar; charset=utf-8"),
    (".opml", "text/x-opml; charset=utf-8"),
    (".html", "text/html; charset=utf-8"),
    (".css", "text/css; charset=utf-8"),
    (".xml", "application/xml; charset=utf-8"),
    (".svg", "image/svg+xml; charset=utf-8"),
];

/// Serves a file of the folder.
pub(super) async fn serve(server: Arc<Server>, files: Files, mut request: Request) -> Response {
    if request.method() == Method::POST {
        let allow = [(header::ALLOW, HeaderValue::from_static("GET, HEAD"))];
        return (StatusCode::METHOD_NOT_ALLOWED, allow).into_response();
    }
    if format!("{}/", request.uri().path()) == server.root {
        // Relative addresses lead elsewhere without the slash.
        return Redirect::temporary(&server.root).into_response();
    }
    let Some(path) = below(&server.root, request.uri().path()) else {
        return not_found(&server).await;
    };
    let kind = kind(&path);
    // The path alone: a query means nothing here.
    let Ok(uri) = path.parse::<Uri>() else { return not_found(&server).await };
    *request.uri_mut() = uri;
    let (mut parts, _) = request.into_parts();
    let asked = parts.headers.remove(header::RANGE);
    // Parts are of what `GET` gives, and of what has not changed meanwhile.
    let has_parts = parts.method == Method::GET && !parts.headers.contains_key(header::IF_RANGE);
    let range = asked.filter(|_| has_parts).and_then(|asked| Range::parse(&asked));
    if let Some(tags) = joined(&parts.headers, header::IF_NONE_MATCH) {
        parts.headers.insert(header::IF_NONE_MATCH, tags);
    }
    let is_head = parts.method == Method::HEAD;
    let may_be_compressed = may_be_compressed(&parts.headers);
    let mut response = found(&server, &files, &parts, range).await;
    if response.status() == StatusCode::RANGE_NOT_SATISFIABLE
        && let Some(Range::Last(_)) = range
    {
        // The last thousand bytes of what has a hundred are all of them (RFC 9110, section 14.1.2).
        response = found(&server, &files, &parts, None).await;
    }
    if response.status() == StatusCode::NOT_FOUND {
        return not_found(&server).await;
    }
    let length = response.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    // How long what is compressed would be is not known before.
    if is_head && may_be_compressed && length.is_some_and(|length| length >= MIN_COMPRESSED) {
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = Body::new(Unsaid);
    }
    let status = response.status();
    let headers = response.headers_mut();
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(FRESH));
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        // Readers on other pages may read what everybody can.
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    if let Some(tag) = headers.get(header::ETAG).and_then(weak) {
        headers.insert(header::ETAG, tag);
    }
    if let Some(kind) = kind.filter(|_| status.is_success()) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    response
}

/// What there is at a path, or a part of it.
async fn found(server: &Server, files: &Files, parts: &Parts, range: Option<Range>) -> Response {
    let mut request = Request::from_parts(parts.clone(), Body::empty());
    if let Some(range) = range.and_then(|range| HeaderValue::from_str(&range.to_string()).ok()) {
        request.headers_mut().insert(header::RANGE, range);
    }
    let folder = ServeDir::with_backend(&server.out, files.clone())
        .with_buf_chunk_size(CHUNK)
        .redirect_path_prefix(server.root.trim_end_matches('/').to_owned());
    match folder.oneshot(request).await {
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    }
}

/// One part of a file, in bytes (RFC 9110, section 14.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Range {
    /// From a place on, to another or to the end.
    From(u64, Option<u64>),
    /// The last so many.
    Last(u64),
}

impl Range {
    /// What is asked for. `None` where it is something else, in units that nobody knows, or several parts at
    /// once: the whole is always right (section 14.2).
    fn parse(asked: &HeaderValue) -> Option<Self> {
        let (unit, range) = asked.to_str().ok()?.split_once('=')?;
        let (first, last) = range.split_once('-').filter(|_| unit.eq_ignore_ascii_case("bytes"))?;
        let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        // No file has so many bytes.
        let number = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap_or(u64::MAX));
        match (number(first), number(last)) {
            _ if !is_number(first) || !is_number(last) => None,
            (Some(first), last) => {
                (last.is_none_or(|last| first <= last)).then_some(Self::From(first, last))
            }
            (None, last) => last.map(Self::Last),
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::From(first, Some(last)) => write!(f, "bytes={first}-{last}"),
            Self::From(first, None) => write!(f, "bytes={first}-"),
            Self::Last(count) => write!(f, "bytes=-{count}"),
        }
    }
}

/// The lines of a header that is a list, as one (RFC 9110, section 5.3).
fn joined(headers: &HeaderMap, name: HeaderName) -> Option<HeaderValue> {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    HeaderValue::from_bytes(&lines.join(&b", "[..])).ok().filter(|_| lines.len() > 1)
}

/// Whether whoever asks takes compressed answers.
fn may_be_compressed(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter();
    lines.filter_map(|line| line.to_str().ok()).any(|line| !line.eq_ignore_ascii_case("identity"))
}

/// The page for what is not there.
pub(super) async fn not_found(server: &Server) -> Response {
    let page = tokio::fs::read(server.out.join("404.html")).await.unwrap_or_default();
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    (StatusCode::NOT_FOUND, kind, page).into_response()
}

/// The path below the site's own. What is hidden, and a way upwards, lead nowhere.
fn below(root: &str, path: &str) -> Option<String> {
    let below = path.strip_prefix(root.strip_suffix('/').unwrap_or(root))?;
    let below = if below.is_empty() { "/" } else { below };
    let decoded = percent_decode_str(below).decode_utf8().ok()?;
    let is_hidden = |part: &str| part.starts_with('.') && part != ".well-known";
    // Two slashes begin the name of a host, where somebody is sent on to a folder.
    let is_sound = below.starts_with('/')
        && !decoded.contains("//")
        && !decoded.split(['/', '\\']).any(is_hidden)
        && !decoded.contains(char::is_control);
    is_sound.then(|| below.to_owned())
}

fn kind(path: &str) -> Option<&'static str> {
    let path = if path.ends_with('/') { "index.html" } else { path };
    KINDS.iter().find(|(end, _)| path.ends_with(end)).map(|(_, kind)| *kind)
}

/// A tag that does not tell apart what is compressed on the way (RFC 9110, section 8.8.1).
fn weak(tag: &HeaderValue) -> Option<HeaderValue> {
    let tag = tag.to_str().ok().filter(|tag| !tag.starts_with("W/"))?;
    HeaderValue::from_str(&format!("W/{tag}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_one_part_in_bytes_and_all_else_is_the_whole() {
        for (asked, expected) in [
            ("bytes=2-5", Some(Range::From(2, Some(5)))),
            ("Bytes=02-", Some(Range::From(2, None))),
            ("bytes=-7", Some(Range::Last(7))),
            ("bytes=0-18446744073709551616", Some(Range::From(0, Some(u64::MAX)))),
            ("items=2-5", None),
            ("bytes=5-2", None),
            ("bytes=-", None),
            ("bytes=0-1,4-5", None),
            ("bytes= 0-1", None),
            ("bytes=+0-1", None),
            ("bytes", None),
        ] {
            assert_eq!(Range::parse(&HeaderValue::from_static(asked)), expected, "{asked}");
        }
        assert_eq!(Range::From(2, None).to_string(), "bytes=2-");
        assert_eq!(Range::Last(7).to_string(), "bytes=-7");
    }

    #[test]
    fn nothing_hidden_and_nothing_above_is_served() {
        for path in [
            "/.published",
            "/postings/../../content/site.yaml",
            "/%2e%2e/.crieur/ledger.sqlite3",
            "/postings/%2e./x",
            "/..%5c..%5cx",
            "/a%00b",
            "/%ff",
            "//example.com/",
            "/%2fexample.com/",
        ] {
            assert_eq!(below("/", path), None, "{path}");
        }
        assert_eq!(below("/", "/postings/a.html").as_deref(), Some("/postings/a.html"));
        assert_eq!(below("/jobs/", "/jobs/feed.atom").as_deref(), Some("/feed.atom"));
        assert_eq!(below("/jobs/", "/jobs").as_deref(), Some("/"));
        assert_eq!(below("/jobs/", "/feed.atom"), None);
        assert_eq!(below("/jobs/", "/jobsfeed.atom"), None);
    }
}
