//! What the operator of a box asks it: health, metrics and status on a loopback listener, and actions on accounts on a
//! socket that only the box's own user can open. Neither names what anybody said.

mod actions;
mod audit;
mod error;
mod health;
mod media;
mod metrics;
mod reports;
mod status;

use std::sync::Arc;

use axum::{
    Router,
    routing::{delete, get, post, put},
};
use luxchat_accounts::Accounts;
use luxchat_media::Media;
use luxchat_rooms::Rooms;
use luxchat_store::Store;

pub use self::{
    actions::{
        CreateRegistrationToken, CreateUser, CreatedRegistrationToken, LockUser, SetPassword,
        UserSummary,
    },
    audit::AuditLine,
    media::{MediaSummary, Quarantine, QuarantinedFile},
    metrics::Metrics,
    reports::ReportLine,
    status::{
        Certificate, IncompleteRooms, ListState, MediaUsage, Membership, Offender, Peers, Status,
        StatusSource,
    },
};

/// Who the audit log says it was.
const ACTOR: &str = "console";

/// What the operator's API answers from.
#[derive(Clone, Debug)]
pub struct Services {
    /// The box's store.
    pub store: Store,
    /// The box's accounts.
    pub accounts: Accounts,
    /// The box's media.
    pub media: Media,
    /// The box's rooms.
    pub rooms: Rooms,
    /// The process's metrics.
    pub metrics: Metrics,
    /// Puts together what `status` says.
    pub status: Arc<dyn StatusSource>,
}

/// Health, metrics and status: for the loopback listener.
pub fn observe(services: Services) -> Router {
    Router::new()
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(metrics::render))
        .route("/status", get(status::show))
        .with_state(services)
}

/// All of [`observe`], and actions: for the socket.
pub fn operate(services: Services) -> Router {
    let actions = Router::new()
        .route("/users", get(actions::list).post(actions::create))
        .route("/users/{user_id}/password", put(actions::set_password))
        .route("/users/{user_id}/lock", put(actions::lock))
        .route(
            "/registration-tokens",
            post(actions::create_registration_token),
        )
        .route("/audit-log", get(audit::list))
        .route("/reports", get(reports::list))
        .route("/users/{user_id}/media", get(media::list))
        .route("/media/{server}/{media_id}", delete(media::delete))
        .route(
            "/quarantine",
            get(media::quarantined)
                .post(media::quarantine)
                .delete(media::release),
        )
        .with_state(services.clone());
    observe(services).merge(actions)
}
