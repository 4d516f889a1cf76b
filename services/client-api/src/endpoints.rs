//! One file per family of endpoints.

mod account;
mod account_data;
mod application_services;
mod capabilities;
mod context;
mod delayed_events;
mod devices;
mod discovery;
mod email;
mod event_near;
mod fallback_pages;
mod filter;
mod key_backup;
mod keys;
mod login;
mod login_token;
mod media;
mod media_config;
mod media_response;
mod messages;
mod moderation;
mod mutual_rooms;
mod notifications;
mod openid;
mod peeking;
mod presence;
mod profile;
mod push;
mod pushers;
mod receipts;
mod register;
mod reporting;
mod room_create;
mod room_directory;
mod room_membership;
mod room_send;
mod room_state;
mod room_upgrade;
mod search;
mod shared_secret;
mod sliding_sync;
mod spaces;
mod synapse_admin;
mod sync;
mod sync_response;
mod tags;
mod third_party;
mod thread_subscriptions;
mod to_device;
mod typing;
mod url_previews;
mod user_directory;
mod voip;

use axum::Router;

use crate::State;

pub use self::email::EMAIL_LINK;

/// The endpoints of every family.
pub(crate) fn routes() -> Router<State> {
    Router::new()
        .merge(account::routes())
        .merge(account_data::routes())
        .merge(application_services::routes())
        .merge(capabilities::routes())
        .merge(context::routes())
        .merge(delayed_events::routes())
        .merge(devices::routes())
        .merge(user_directory::routes())
        .merge(discovery::routes())
        .merge(email::routes())
        .merge(event_near::routes())
        .merge(fallback_pages::routes())
        .merge(filter::routes())
        .merge(key_backup::routes())
        .merge(keys::routes())
        .merge(login::routes())
        .merge(login_token::routes())
        .merge(media::routes())
        .merge(media_config::routes())
        .merge(messages::routes())
        .merge(moderation::routes())
        .merge(mutual_rooms::routes())
        .merge(openid::routes())
        .merge(presence::routes())
        .merge(notifications::routes())
        .merge(peeking::routes())
        .merge(profile::routes())
        .merge(push::routes())
        .merge(pushers::routes())
        .merge(receipts::routes())
        .merge(register::routes())
        .merge(reporting::routes())
        .merge(room_create::routes())
        .merge(room_directory::routes())
        .merge(room_membership::routes())
        .merge(room_send::routes())
        .merge(room_state::routes())
        .merge(room_upgrade::routes())
        .merge(search::routes())
        .merge(shared_secret::routes())
        .merge(spaces::routes())
        .merge(sliding_sync::routes())
        .merge(sync::routes())
        .merge(synapse_admin::routes())
        .merge(tags::routes())
        .merge(third_party::routes())
        .merge(thread_subscriptions::routes())
        .merge(to_device::routes())
        .merge(typing::routes())
        .merge(url_previews::routes())
        .merge(voip::routes())
}
