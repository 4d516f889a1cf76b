//! Speaking to push gateways.
//!
//! <https://spec.matrix.org/v1.19/push-gateway-api/>

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use serde::Deserialize;
use tokio::time::timeout;

use crate::{Config, Result, connector::Connector};

/// How long a gateway may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// The longest answer, in bytes.
const ANSWER: usize = 64 * 1024;

/// How long an unused connection is kept, and how many per gateway.
const IDLE: Duration = Duration::from_mins(1);
const IDLE_PER_GATEWAY: usize = 4;

/// Sends notifications.
#[derive(Clone)]
pub(crate) struct GatewayClient {
    pool: Client<Connector, Full<Bytes>>,
}

impl fmt::Debug for GatewayClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayClient").finish_non_exhaustive()
    }
}

/// Why a gateway did not accept a notification.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("no answer in time")]
    Timeout,
    #[error("unreachable: {0}")]
    Unreachable(String),
    #[error("status {0}")]
    Status(StatusCode),
    #[error("the answer is none that a gateway gives: {0}")]
    Nonsense(String),
}

impl GatewayClient {
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let connector = Connector::new(config)?;
        let pool = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_PER_GATEWAY)
            .build(connector);
        Ok(Self { pool })
    }

    /// Hands a notification to a gateway; returns the keys that it says are none.
    pub(crate) async fn notify(&self, url: &str, body: Bytes) -> Result<Vec<String>, Refused> {
        let exchange = async {
            let request = Request::post(url)
                .header(CONTENT_TYPE, "application/json")
                .body(Full::new(body))
                .map_err(|error| Refused::Unreachable(error.to_string()))?;
            let response = self.pool.request(request).await;
            let response = response.map_err(|error| Refused::Unreachable(innermost(&error)))?;
            let (parts, body) = response.into_parts();
            if parts.status != StatusCode::OK {
                return Err(Refused::Status(parts.status));
            }
            let body = Limited::new(body, ANSWER).collect().await;
            let body = body.map_err(|error| Refused::Nonsense(error.to_string()))?;
            let answer: Answer = serde_json::from_slice(&body.to_bytes())
                .map_err(|error| Refused::Nonsense(error.to_string()))?;
            Ok(answer.rejected)
        };
        timeout(ANSWER_TIME, exchange)
            .await
            .unwrap_or(Err(Refused::Timeout))
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    rejected: Vec<String>,
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
