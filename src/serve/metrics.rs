//! What is counted, in the text form that Prometheus reads (`OpenMetrics` 1.0).

use std::time::Duration;

use axum::http::Method;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Step {
    step: &'static str,
}

/// What is counted.
pub struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    seconds: Histogram,
    subscriptions: Family<Step, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("crieur");
        let requests = Family::<Answered, Counter>::default();
        let seconds = Histogram::new([0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]);
        let subscriptions = Family::<Step, Counter>::default();
        registry.register("requests", "Requests that were answered", requests.clone());
        registry.register("answer_seconds", "How long answers took", seconds.clone());
        registry.register(
            "subscriptions",
            "What people did: asked, confirmed, changed, unsubscribed, limited",
            subscriptions.clone(),
        );
        Self { registry, requests, seconds, subscriptions }
    }
}

impl Metrics {
    /// A request was answered.
    pub(super) fn answered(&self, method: &Method, status: u16, took: Duration) {
        // A method that somebody made up is no label.
        let known = [Method::GET, Method::HEAD, Method::POST].contains(method);
        let method = if known { method.to_string() } else { "other".to_owned() };
        self.requests.get_or_create(&Answered { method, status }).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// Somebody did something.
    pub(super) fn step(&self, step: &'static str) {
        self.subscriptions.get_or_create(&Step { step }).inc();
    }

    /// Everything.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
