use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use luxchat_store::{Store, UrlPreview};
use ruma::UserId;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tracing::{debug, info};
use url::Url;

use crate::{
    Config, Error, Picture, Result,
    encoding::decode,
    fetch::{FetchError, Fetched, Fetcher, Sizes, is_page},
    page::properties,
    quota::Quota,
};

/// The longest URL that is previewed, in bytes.
const MAX_URL: usize = 2_048;

/// Outdated previews removed with each new one.
const REMOVED: u32 = 16;

/// Previews of web pages. Clones share them.
#[derive(Clone, Debug)]
pub struct Previews {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    config: Config,
    fetcher: Fetcher,
    quota: Quota,
    places: Semaphore,
    /// One fetch of each page at a time: who comes second finds what the first one got.
    turns: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

/// What a page says of itself.
#[derive(Clone, Debug, Default)]
pub struct Preview {
    /// Its Open Graph properties, those of its picture aside.
    pub properties: Map<String, Value>,
    /// Its picture.
    pub picture: Option<Picture>,
}

impl Previews {
    /// # Errors
    ///
    /// [`Error::Tls`].
    pub fn new(store: Store, config: Config) -> Result<Self> {
        let fetcher =
            Fetcher::new(config.clone()).map_err(|error| Error::Tls(error.to_string()))?;
        Ok(Self {
            shared: Arc::new(Shared {
                store,
                fetcher,
                quota: Quota::new(config.per_user_and_minute),
                places: Semaphore::new(config.parallel.clamp(1, Semaphore::MAX_PERMITS)),
                turns: Mutex::default(),
                config,
            }),
        })
    }

    /// The preview of a page, as a JSON object: fetched, unless it was not long ago. `keep` stores the page's picture and
    /// returns its media id, or nothing where that fails.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediapreview_url).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidUrl`], [`Error::TooMany`], [`Error::Unavailable`].
    pub async fn preview(
        &self,
        user: &UserId,
        url: &str,
        keep: impl AsyncFnOnce(Picture) -> Option<String>,
    ) -> Result<String> {
        let url = parse(url)?;
        if let Some(answer) = self.kept(&url).await? {
            return answer;
        }
        let quota = self.shared.quota.take(user, Instant::now());
        quota.map_err(Error::TooMany)?;
        let turn = self.turn(&url);
        let timeout = self.shared.config.timeout;
        let work = async {
            let _turn = turn.lock().await;
            if let Some(answer) = self.kept(&url).await? {
                return answer;
            }
            let place = self.shared.places.acquire().await;
            let _place = place.map_err(|_| Error::Unavailable)?;
            let fetched = tokio::time::timeout(timeout, self.fetch(&url)).await;
            self.finish(&url, fetched.ok().flatten(), keep).await
        };
        // Those before in the queue may take as long.
        let patience = timeout.saturating_mul(2);
        tokio::time::timeout(patience, work)
            .await
            .unwrap_or(Err(Error::TooMany(timeout)))
    }

    /// What is known of a page already.
    async fn kept(&self, url: &Url) -> Result<Option<Result<String>>> {
        let key = url.to_string();
        let kept = self.shared.store.read(move |tx| tx.url_preview(&key));
        let kept: luxchat_store::Result<Option<UrlPreview>> = kept.await;
        let now = self.shared.store.clock().now_ms();
        let fresh = kept?.filter(|kept| kept.expires_ts > now);
        Ok(fresh.map(|kept| kept.answer.ok_or(Error::Unavailable)))
    }

    fn turn(&self, url: &Url) -> Arc<tokio::sync::Mutex<()>> {
        let turns = &self.shared.turns;
        let mut turns = turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = turns.get(url.as_str()).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        turns.insert(url.to_string(), Arc::downgrade(&turn));
        turn
    }

    /// Fetches a page and its picture. `None` where the page cannot be had.
    async fn fetch(&self, url: &Url) -> Option<Preview> {
        let config = &self.shared.config;
        let sizes = Sizes {
            page: config.page_bytes,
            picture: config.picture_bytes,
        };
        let fetched = match self.shared.fetcher.get(url.clone(), sizes).await {
            Ok(fetched) => fetched,
            Err(error @ FetchError::Refused(_)) => {
                info!(%error, "a page is not previewed");
                return None;
            }
            Err(error) => {
                debug!(%error, "a page cannot be previewed");
                return None;
            }
        };
        let mut preview = read(&fetched);
        let picture = preview.properties.remove("og:image");
        // What the page says of its picture's size is not known to be so.
        preview
            .properties
            .retain(|name, _| !name.starts_with("og:image:"));
        if let Some(Value::String(picture)) = picture
            && let Ok(picture) = fetched.url.join(&picture)
        {
            let sizes = Sizes { page: 0, ..sizes };
            preview.picture = match self.shared.fetcher.get(picture, sizes).await {
                Ok(fetched) => Picture::recognise(fetched.body),
                Err(error) => {
                    debug!(%error, "the picture of a page cannot be had");
                    None
                }
            };
        }
        Some(preview)
    }

    /// Keeps what came of a fetch, and returns it.
    async fn finish(
        &self,
        url: &Url,
        preview: Option<Preview>,
        keep: impl AsyncFnOnce(Picture) -> Option<String>,
    ) -> Result<String> {
        let shared = &self.shared;
        let mut media_id = None;
        let answer = match preview {
            None => None,
            Some(mut preview) => {
                if let Some(picture) = preview.picture.take() {
                    let about = about(&picture);
                    media_id = keep(picture).await;
                    if let Some(media_id) = &media_id {
                        let server = shared.store.server_name();
                        let uri = format!("mxc://{server}/{media_id}");
                        preview.properties.insert("og:image".to_owned(), uri.into());
                        preview.properties.extend(about);
                    }
                }
                Some(Value::Object(preview.properties).to_string())
            }
        };
        let lifetime = match answer {
            Some(_) => shared.config.lifetime,
            None => shared.config.failure_lifetime,
        };
        let row = UrlPreview {
            expires_ts: shared
                .store
                .clock()
                .now_ms()
                .saturating_add(millis(lifetime)),
            answer: answer.clone(),
            media_id,
        };
        let (key, kept) = (url.to_string(), shared.config.kept);
        let stored = shared.store.write(move |tx| {
            tx.put_url_preview(&key, &row)?;
            tx.delete_old_url_previews(kept, REMOVED)
        });
        let stored: luxchat_store::Result<usize> = stored.await;
        stored?;
        answer.ok_or(Error::Unavailable)
    }
}

/// What a fetched page says, or is.
fn read(fetched: &Fetched) -> Preview {
    if is_page(&fetched.content_type) {
        let html = decode(&fetched.content_type, &fetched.body);
        return Preview {
            properties: properties(&html),
            picture: None,
        };
    }
    Preview {
        properties: Map::new(),
        picture: Picture::recognise(fetched.body.clone()),
    }
}

fn about(picture: &Picture) -> [(String, Value); 4] {
    [
        ("og:image:type", picture.media_type.into()),
        ("og:image:width", picture.width.into()),
        ("og:image:height", picture.height.into()),
        ("matrix:image:size", picture.bytes.len().into()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
}

/// A URL in the one form that it is kept under.
fn parse(url: &str) -> Result<Url> {
    if url.len() > MAX_URL {
        return Err(Error::InvalidUrl("it is too long"));
    }
    let mut url = Url::parse(url).map_err(|_| Error::InvalidUrl("it is no URL"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Error::InvalidUrl("it is neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::InvalidUrl("it has a user's name in it"));
    }
    url.set_fragment(None);
    Ok(url)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
