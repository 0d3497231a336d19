//! What was published, as a good static server gives it out: with the media types of feeds, with
//! validators, so that readers are told when nothing is new, and nothing that is hidden.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{self, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use percent_encoding::percent_decode_str;
use tower::ServiceExt as _;
use tower_http::services::ServeDir;

use super::Server;
use super::files::Files;

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
    if request.uri().path() != server.root && format!("{}/", request.uri().path()) == server.root {
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
    // A part of something else may be asked for, in units that nobody knows, or several at once: the
    // whole is always right (RFC 9110, section 14.2).
    if request.headers().contains_key(header::IF_RANGE)
        || !request.headers().get(header::RANGE).is_some_and(is_one_range)
    {
        request.headers_mut().remove(header::RANGE);
    }
    let root = server.root.trim_end_matches('/').to_owned();
    let folder = ServeDir::with_backend(&server.out, files)
        .with_buf_chunk_size(CHUNK)
        .redirect_path_prefix(root);
    let found = folder.oneshot(request).await;
    let mut response = match found {
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    };
    if response.status() == StatusCode::NOT_FOUND {
        return not_found(&server).await;
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

/// Whether one part is asked for, in bytes: from a place to another, or to the end, or the last so many.
fn is_one_range(range: &HeaderValue) -> bool {
    let range = range.to_str().unwrap_or_default();
    let Some((unit, range)) = range.split_once('=') else { return false };
    let Some((first, last)) = range.split_once('-') else { return false };
    let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let is_in_order = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) => first <= last,
        (first, last) => first.is_ok() || last.is_ok(),
    };
    unit.eq_ignore_ascii_case("bytes") && is_number(first) && is_number(last) && is_in_order
}

/// The page for what is not there.
pub(super) async fn not_found(server: &Server) -> Response {
    let page = tokio::fs::read(server.out.join("404.html")).await.unwrap_or_default();
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    (StatusCode::NOT_FOUND, kind, page).into_response()
}

/// The path below the site's own. What is hidden, and a way upwards, lead nowhere.
fn below(root: &str, path: &str) -> Option<String> {
    // Escapes may be written in small letters (RFC 3986, section 6.2.2.1).
    let path = with_large_escapes(path);
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

/// A path with the letters of its escapes as we write them: `%d8` is `%D8`.
fn with_large_escapes(path: &str) -> String {
    let mut parts = path.split('%');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |mut all, part| {
        let (escape, rest) = part.split_at(part.floor_char_boundary(2));
        all.push('%');
        all.push_str(&escape.to_ascii_uppercase());
        all.push_str(rest);
        all
    })
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
