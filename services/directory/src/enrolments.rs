//! `POST /_luxchat/directory/v1/enrolment`: a box without a certificate, with a voucher, becomes a member.
//!
//! Whoever reaches this has shown nothing yet. So everything is bounded: the body, how many are answered at a time, and what
//! can come of a voucher, which is counted in the store in the same transaction in which the answer is kept.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    response::{IntoResponse, Response},
    routing::post,
};
use http::{StatusCode, header};
use jiff::Timestamp;
use luxchat_bundle::{
    BoxKeys, Enrolment, Role, TrustStore, Voucher, VoucherRefusal, VoucherRequest,
};
use luxchat_store::{Store, VoucherUse};
use serde_json::json;
use tokio::sync::Semaphore;
use tracing::{error, info, warn};

/// Where a box takes its voucher.
pub const ENROLMENT_PATH: &str = "/_luxchat/directory/v1/enrolment";

/// How many boxes are answered at a time: each takes a few signatures.
const AT_A_TIME: usize = 4;

/// What it takes to answer vouchers.
#[derive(Debug)]
pub struct Vouchers {
    /// Where uses are counted, and where time comes from.
    pub store: Store,
    /// The directory's own keys: vouchers are sealed for them.
    pub keys: BoxKeys,
    /// The directory's own enrolment.
    pub enrolment: Enrolment,
    /// Who is a member, and which vouchers are revoked.
    pub trust: Arc<TrustStore>,
}

/// Why a box is not enrolled.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Malformed(String),
    #[error(transparent)]
    Voucher(#[from] VoucherRefusal),
    /// The authority has not let the server in, or not any more.
    #[error("{0}; does the directory have the newest publication?")]
    Member(#[from] luxchat_bundle::Refusal),
    #[error("the voucher was made for {listed}, and the box's site file says {asked}")]
    Endpoints { listed: String, asked: String },
    #[error("too many boxes ask at the same time: try again in a minute")]
    Busy,
    #[error("the directory cannot answer now: {0}")]
    Failed(String),
}

/// The route for boxes that have no certificate yet.
pub fn enrolments(vouchers: Vouchers) -> Router {
    let state = Arc::new(Office {
        vouchers,
        places: Semaphore::new(AT_A_TIME),
    });
    Router::new()
        .route(ENROLMENT_PATH, post(enrol))
        .layer(DefaultBodyLimit::max(VoucherRequest::MAX_BYTES))
        .with_state(state)
}

#[derive(Debug)]
struct Office {
    vouchers: Vouchers,
    places: Semaphore,
}

async fn enrol(State(office): State<Arc<Office>>, body: Bytes) -> Response {
    let Ok(_place) = office.places.try_acquire() else {
        return Refusal::Busy.into_response();
    };
    match office.vouchers.answer(&body).await {
        Ok(answer) => {
            let json = [(header::CONTENT_TYPE, "application/json")];
            (json, answer).into_response()
        }
        Err(refusal) => {
            warn!(reason = %refusal, "a box with a voucher is not enrolled");
            refusal.into_response()
        }
    }
}

impl Vouchers {
    async fn answer(&self, body: &[u8]) -> Result<String, Refusal> {
        let asked = VoucherRequest::from_json(body)
            .map_err(|error| Refusal::Malformed(error.to_string()))?;
        let now_ms = i64::try_from(self.store.clock().now_ms()).unwrap_or(i64::MAX);
        let now = Timestamp::from_millisecond(now_ms).unwrap_or(Timestamp::MAX);
        let (voucher, request) = (&asked.voucher, &asked.request);
        let server_name = &request.details().server_name;
        self.check_voucher(voucher)?;
        voucher.check_for(server_name, now)?;
        self.check_member(&asked, now).await?;

        let details = voucher.details();
        let answer = voucher
            .answer(request, &self.keys, now)
            .map_err(|error| Refusal::Failed(error.to_string()))??;
        let answer = String::from_utf8(answer.to_json())
            .map_err(|error| Refusal::Failed(error.to_string()))?;
        let used = VoucherUse {
            voucher: details.id.to_string(),
            server_name: server_name.to_string(),
            tls_key: request.certificate_request().key_fingerprint().to_string(),
            answer,
            expires_ts: u64::try_from(details.expires.as_millisecond()).unwrap_or(0),
        };
        let uses = details.uses;
        let answer = self
            .store
            .write(move |tx| tx.use_voucher(&used, uses))
            .await
            .map_err(|error: luxchat_store::Error| {
                error!(%error, "a voucher could not be counted");
                Refusal::Failed("the store failed".to_owned())
            })?;
        let answer = answer.ok_or(VoucherRefusal::UsedUp(uses))?;
        info!(server = %server_name, voucher = %details.id, "a box is enrolled by a voucher");
        Ok(answer)
    }

    /// Whether the voucher is one for this directory, by its own authority.
    fn check_voucher(&self, voucher: &Voucher) -> Result<(), VoucherRefusal> {
        let details = voucher.details();
        if details.authority != self.enrolment.authority {
            return Err(VoucherRefusal::OtherAuthority);
        }
        if details.directory.server_name != self.enrolment.server_name {
            return Err(VoucherRefusal::OtherDirectory {
                expected: details.directory.server_name.clone(),
                found: self.enrolment.server_name.clone(),
            });
        }
        Ok(())
    }

    /// Whether the authority still stands by the voucher and has let the server in, as a ministry and where it listens.
    async fn check_member(&self, asked: &VoucherRequest, now: Timestamp) -> Result<(), Refusal> {
        let current = self.trust.current(now).await;
        let current = current.map_err(|error| Refusal::Failed(error.to_string()))?;
        let list = current.ok_or_else(|| Refusal::Failed("it has no members list".to_owned()))?;
        let revoked = list.members.revoked_vouchers();
        if revoked.contains(&asked.voucher.details().id) {
            return Err(VoucherRefusal::Revoked.into());
        }
        let details = asked.request.details();
        let member = list.members.active(&details.server_name)?;
        if details.role != Role::Ministry || member.role != Role::Ministry {
            return Err(VoucherRefusal::Directory.into());
        }
        if member.endpoints != details.endpoints {
            let words = |endpoints: &[luxchat_bundle::Endpoint]| {
                let words: Vec<_> = endpoints.iter().map(ToString::to_string).collect();
                words.join(", ")
            };
            return Err(Refusal::Endpoints {
                listed: words(&member.endpoints),
                asked: words(&details.endpoints),
            });
        }
        Ok(())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code) = match &self {
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "M_BAD_JSON"),
            Self::Voucher(_) | Self::Member(_) | Self::Endpoints { .. } => {
                (StatusCode::FORBIDDEN, "M_FORBIDDEN")
            }
            Self::Busy => (StatusCode::TOO_MANY_REQUESTS, "M_LIMIT_EXCEEDED"),
            Self::Failed(_) => (StatusCode::SERVICE_UNAVAILABLE, "M_UNKNOWN"),
        };
        let body = json!({ "errcode": code, "error": self.to_string() });
        (status, Json(body)).into_response()
    }
}
