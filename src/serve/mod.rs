//! The web server: what was published, and the pages where people subscribe, change what they are
//! told, and leave.
//!
//! Whatever comes from outside is bounded: connections, headers, bodies, and the time that each of
//! them takes. Nothing that is only looked at changes anything: programs that open every link in a
//! mail do not subscribe anybody, and do not take anybody off the list.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::uri::Authority;
use axum::http::{Method, StatusCode, Uri, Version};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::body::Frame;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt as _;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;

mod files;
mod limits;
mod metrics;
mod pages;
mod people;
mod statics;

use files::Files;

pub use limits::Limits;
pub use metrics::Metrics;
pub use pages::{Tongue, Tongues, rehearse};
pub use people::{Clash, People, World, check_addresses};

/// How long the head of a request may take, and a connection may be idle.
const HEAD: Duration = Duration::from_secs(10);
/// How long a connection may take to take the next bytes.
const STALLED: Duration = Duration::from_secs(30);
/// How long a request may take until it is answered.
const ANSWER: Duration = Duration::from_secs(30);
/// How long what is under way may take when the server ends.
const GRACE: Duration = Duration::from_secs(10);
/// How often it is forgotten who asked a while ago.
const FORGET: Duration = Duration::from_mins(1);
/// How much a form may hold, in bytes.
const MAX_BODY: usize = 16 << 10;
/// How many headers a request may have, and how long all of them may be, in bytes.
const MAX_HEADERS: usize = 64;
const MAX_HEAD: usize = 16 << 10;
/// How many connections there may be at once, where the machine allows so many files.
const MAX_CONNECTIONS: u64 = 16_384;
/// What is not worth being compressed, in bytes.
const MIN_COMPRESSED: u64 = 512;

/// What pages may do: show themselves, with the site's own style and images from anywhere.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self' https: data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Who asks: the address at the other end of the connection.
#[derive(Debug, Clone, Copy)]
struct Peer(IpAddr);

/// Tells of a request: its method, its path, and the status of the answer.
pub type Log = Box<dyn Fn(&str, &str, u16) + Send + Sync>;

/// What the server needs.
pub struct Server {
    /// The folder that was published.
    pub out: std::path::PathBuf,
    /// The path at which it is served, beginning and ending with a slash.
    pub root: String,
    /// The pages of people, and what they do.
    pub people: Arc<People>,
    /// How often anybody may ask.
    pub limits: Arc<Limits>,
    /// What is counted.
    pub metrics: Metrics,
    /// Whether the site is served encrypted, so that nobody needs it otherwise.
    pub is_https: bool,
    /// Tells of each request.
    pub log: Log,
}

/// Serves until `stop` is there, and then until what is under way has ended.
pub async fn serve(listener: TcpListener, server: Arc<Server>, stop: impl Future<Output = ()>) {
    // Each connection is a file, and so is what is read for it.
    let files = rlimit::increase_nofile_limit(2 * MAX_CONNECTIONS).unwrap_or(1_024);
    let connections = usize::try_from((files / 2).min(MAX_CONNECTIONS)).unwrap_or(512);
    let places = Arc::new(Semaphore::new(connections));
    let (limits, people) = (server.limits.clone(), server.people.clone());
    let app = router(server);
    tokio::spawn(async move {
        let mut turns = tokio::time::interval(FORGET);
        loop {
            turns.tick().await;
            limits.forget();
        }
    });
    let graceful = GracefulShutdown::new();
    tokio::pin!(stop);
    let mut is_refused = false;
    loop {
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place,
            () = &mut stop => break,
        };
        // Nobody closes it.
        let Ok(place) = place else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => {
                is_refused = false;
                accepted
            }
            Err(error) if is_their_fault(&error) => continue,
            Err(error) => {
                if !std::mem::replace(&mut is_refused, true) {
                    people.complain(&format!("no connection can be accepted: {error}"));
                }
                // Too many files are open: some will be closed.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(STALLED));
        let app = app.clone();
        let service = tower::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            answer(app.clone(), request, peer)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD)
            .half_close(false)
            .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(service));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // Whoever broke it knows.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    // What takes longer is cut off.
    let _ = tokio::time::timeout(GRACE, graceful.shutdown()).await;
}

/// Whether a connection failed before it was accepted, which is nobody's concern.
fn is_their_fault(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn answer(
    app: Router,
    request: hyper::Request<hyper::body::Incoming>,
    peer: SocketAddr,
) -> Result<Response, Infallible> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(Peer(peer.ip().to_canonical()));
    if let Some(uri) = with_large_escapes(request.uri()) {
        *request.uri_mut() = uri;
    }
    let is_head = request.method() == Method::HEAD;
    let mut response = app.oneshot(request).await?;
    if is_head && !response.headers().contains_key(header::CONTENT_LENGTH) {
        *response.body_mut() = Body::new(Unsaid);
    }
    Ok(response)
}

/// The body of an answer to `HEAD`, where it is not known how long that of `GET` would be. Of an empty one
/// hyper says that it would be, too.
struct Unsaid;

impl hyper::body::Body for Unsaid {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }
}

/// An address whose path has its escapes as we write them: `%d8` is `%D8` (RFC 3986, section 6.2.2.1).
/// `None` where it has already.
fn with_large_escapes(uri: &Uri) -> Option<Uri> {
    let mut parts = uri.path().split('%');
    let mut path = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (escape, rest) = part.split_at(part.floor_char_boundary(2));
        path.extend(["%", &escape.to_ascii_uppercase(), rest]);
    }
    if path == uri.path() {
        return None;
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut whole = uri.clone().into_parts();
    whole.path_and_query = Some(format!("{path}{query}").parse().ok()?);
    Uri::from_parts(whole).ok()
}

/// Whether a request names one host, as all but those of old must (RFC 9112, section 3.2).
fn names_a_host(request: &Request) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => request.version() < Version::HTTP_11,
        (Some(host), None) => host.is_empty() || Authority::try_from(host.as_bytes()).is_ok(),
        (Some(_), Some(_)) => false,
    }
}

/// Everything that is answered.
pub fn router(server: Arc<Server>) -> Router {
    // A colon or an asterisk in an address of the site's is only that.
    let mut router = Router::new()
        .without_v07_checks()
        .route("/healthz", get(health))
        .route("/metrics", get(measured));
    router = people::routes(router, &server.people);
    let compressed = SizeAbove::new(MIN_COMPRESSED)
        .and(NotForContentType::IMAGES)
        .and(NotForContentType::const_new("text/event-stream"));
    let files = Files::default();
    router
        .fallback(move |State(server): State<Arc<Server>>, request: Request| {
            statics::serve(server, files.clone(), request)
        })
        .layer(RequestBodyLimitLayer::new(MAX_BODY))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, ANSWER))
        .layer(CompressionLayer::new().compress_when(compressed))
        .layer(CatchPanicLayer::new())
        .layer(middleware::from_fn_with_state(server.clone(), around))
        .with_state(server)
}

/// What stands around every answer: it is counted, told of, and has the headers that keep pages to
/// themselves.
async fn around(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let begun = tokio::time::Instant::now();
    let mut response = if !names_a_host(&request) {
        StatusCode::BAD_REQUEST.into_response()
    } else if method == Method::GET || method == Method::HEAD || method == Method::POST {
        next.run(request).await
    } else {
        let allow = [(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST"))];
        (StatusCode::METHOD_NOT_ALLOWED, allow).into_response()
    };
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        ),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::REFERRER_POLICY)
        .or_insert(HeaderValue::from_static("strict-origin-when-cross-origin"));
    if server.is_https {
        headers.insert(
            header::STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=31536000"),
        );
    }
    let status = response.status().as_u16();
    server.metrics.answered(&method, status, begun.elapsed());
    (server.log)(method.as_str(), &path, status);
    response
}

/// Whether people can be served: the ledger answers.
async fn health(State(server): State<Arc<Server>>) -> Response {
    let (status, text) = if server.people.is_well().await {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the ledger cannot be used\n")
    };
    (status, text).into_response()
}

/// What was counted, for this machine only: whoever comes through a proxy is somebody else.
async fn measured(State(server): State<Arc<Server>>, request: Request) -> Response {
    if !is_here(&request) {
        return statics::not_found(&server).await;
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], server.metrics.text()).into_response()
}

/// Whether somebody on this machine asks, for nobody else.
fn is_here(request: &Request) -> bool {
    let is_passed_on = request.headers().contains_key("x-forwarded-for")
        || request.headers().contains_key(header::FORWARDED);
    let peer = request.extensions().get::<Peer>();
    !is_passed_on && peer.is_some_and(|peer| peer.0.is_loopback())
}

/// Who asks. A proxy on this machine says for whom it does; nobody else is believed.
fn client(request: &Request) -> IpAddr {
    let peer = request.extensions().get::<Peer>().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0);
    if !peer.is_loopback() {
        return peer;
    }
    let forwarded = request.headers().get_all("x-forwarded-for").iter().next_back();
    let last = forwarded.and_then(|value| value.to_str().ok()?.rsplit(',').next());
    let address = last.and_then(|text| text.trim().parse::<IpAddr>().ok());
    address.map_or(peer, |address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(peer: &str, headers: &[(&str, &str)]) -> Request {
        let mut request = Request::builder().extension(Peer(peer.parse().unwrap()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    }

    #[test]
    fn a_proxy_is_believed_on_this_machine_only_and_only_its_last_word() {
        const NAME: &str = "x-forwarded-for";
        for (peer, headers, expected) in [
            ("127.0.0.1", &[][..], "127.0.0.1"),
            ("127.0.0.1", &[(NAME, "192.0.2.1")], "192.0.2.1"),
            ("::1", &[(NAME, "192.0.2.1")], "192.0.2.1"),
            ("127.0.0.1", &[(NAME, "192.0.2.1, 203.0.113.9")], "203.0.113.9"),
            ("127.0.0.1", &[(NAME, "192.0.2.1,203.0.113.9 ")], "203.0.113.9"),
            ("127.0.0.1", &[(NAME, "203.0.113.9"), (NAME, "192.0.2.1")], "192.0.2.1"),
            ("127.0.0.1", &[(NAME, "::ffff:192.0.2.1")], "192.0.2.1"),
            ("127.0.0.1", &[(NAME, "192.0.2.1, unknown")], "127.0.0.1"),
            // Who comes from elsewhere says of themselves what they like.
            ("198.51.100.7", &[(NAME, "192.0.2.1")], "198.51.100.7"),
            ("2001:db8::7", &[(NAME, "127.0.0.1")], "2001:db8::7"),
        ] {
            let who = client(&asked(peer, headers));
            assert_eq!(who, expected.parse::<IpAddr>().unwrap(), "{peer} {headers:?}");
        }
    }

    #[test]
    fn escapes_are_written_in_capitals_and_nothing_else_changes() {
        for (uri, expected) in [
            ("/%c3%a9t%c3%a9/?a=%c3", Some("/%C3%A9t%C3%A9/?a=%c3")),
            ("http://h/a%2fb%", Some("http://h/a%2Fb%")),
            ("/%C3%A9?%c3", None),
            ("/a", None),
        ] {
            let changed = with_large_escapes(&uri.parse().unwrap());
            assert_eq!(changed.map(|uri| uri.to_string()).as_deref(), expected, "{uri}");
        }
    }

    #[test]
    fn a_request_names_one_host() {
        for (hosts, version, expected) in [
            (&["jobs.example.org"][..], Version::HTTP_11, true),
            (&["[::1]:8080"], Version::HTTP_11, true),
            (&[""], Version::HTTP_11, true),
            (&[], Version::HTTP_10, true),
            (&[], Version::HTTP_11, false),
            (&["a", "b"], Version::HTTP_11, false),
            (&["a b/c"], Version::HTTP_11, false),
        ] {
            let hosts: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            let mut request = asked("127.0.0.1", &hosts);
            *request.version_mut() = version;
            assert_eq!(names_a_host(&request), expected, "{hosts:?} {version:?}");
        }
    }

    #[test]
    fn who_is_elsewhere_or_comes_by_a_proxy_is_not_here() {
        assert!(is_here(&asked("127.0.0.1", &[])) && is_here(&asked("::1", &[])));
        for (peer, headers) in [
            ("198.51.100.7", &[][..]),
            ("127.0.0.1", &[("x-forwarded-for", "127.0.0.1")]),
            ("127.0.0.1", &[("forwarded", "for=127.0.0.1")]),
        ] {
            assert!(!is_here(&asked(peer, headers)), "{peer} {headers:?}");
        }
        assert!(!is_here(&Request::new(Body::empty())));
    }
}
