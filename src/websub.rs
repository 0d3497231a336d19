//! WebSub: telling a hub that feeds changed, so that subscribers hear of it at once.

use std::time::Duration;

use url::Url;

/// How long a hub may take to answer a request.
const PATIENCE: Duration = Duration::from_secs(10);

/// A hub that could not be told.
#[derive(Debug, thiserror::Error)]
#[error("the hub `{hub}` was not told of `{topic}`: {source}")]
pub struct Error {
    hub: String,
    topic: String,
    source: Box<ureq::Error>,
}

/// Tells the hub that the feeds at these addresses changed, one request a feed: hubs agree on
/// nothing else (WebSub section 6 leaves it to them). Stops at the first that fails.
///
/// # Errors
/// When the hub is away, or refuses.
pub fn publish(hub: &Url, topics: &[Url]) -> Result<(), Error> {
    let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE));
    let agent = ureq::Agent::new_with_config(config.build());
    for topic in topics {
        let form = [("hub.mode", "publish"), ("hub.url", topic.as_str())];
        agent.post(hub.as_str()).send_form(form).map_err(|error| Error {
            hub: hub.to_string(),
            topic: topic.to_string(),
            source: Box::new(error),
        })?;
    }
    Ok(())
}
