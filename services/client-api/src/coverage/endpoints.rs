//! The endpoints of the client-server API, as ruma knows them: one line a module of `ruma-client-api`.

use http::Method;
use ruma::api::{Metadata, auth_scheme, path_builder::PathBuilder};

/// What the metadata of an endpoint says.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    /// The path of its module below `ruma::api::client`.
    pub(super) module: String,
    pub(super) method: Method,
    /// Every path that it ever had, the stable ones last. `{names}` stand for variables.
    pub(super) paths: Vec<&'static str>,
    pub(super) authentication: Authentication,
}

/// Whose token an endpoint asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Authentication {
    None,
    User,
    UserOptional,
    ApplicationService,
    ApplicationServiceOptional,
}

trait Scheme {
    const IS: Authentication;
}

macro_rules! schemes {
    ($($scheme:ident: $is:ident,)*) => {
        $(impl Scheme for auth_scheme::$scheme {
            const IS: Authentication = Authentication::$is;
        })*
    };
}

schemes! {
    NoAuthentication: None,
    NoAccessToken: None,
    AccessToken: User,
    AccessTokenOptional: UserOptional,
    AppserviceToken: ApplicationService,
    AppserviceTokenOptional: ApplicationServiceOptional,
}

impl Endpoint {
    fn of<T: Metadata>(module: &str) -> Self
    where
        T::Authentication: Scheme,
    {
        Self {
            module: module.replace(' ', ""),
            method: T::METHOD,
            paths: T::PATH_BUILDER.all_paths().collect(),
            authentication: T::Authentication::IS,
        }
    }
}

macro_rules! endpoints {
    ($($($part:ident)::+,)*) => {
        /// All of them.
        #[expect(deprecated, reason = "what is deprecated is served, too")]
        pub(super) fn endpoints() -> Vec<Endpoint> {
            vec![$(Endpoint::of::<ruma::api::client::$($part)::+::Request>(stringify!($($part)::+)),)*]
        }
    };
}

endpoints! {
    account::add_3pid::v3,
    account::bind_3pid::v3,
    account::change_password::v3,
    account::check_registration_token_validity::v1,
    account::deactivate::v3,
    account::delete_3pid::v3,
    account::get_3pids::v3,
    account::get_username_availability::v3,
    account::register::v3,
    account::request_3pid_management_token_via_email::v3,
    account::request_3pid_management_token_via_msisdn::v3,
    account::request_openid_token::v3,
    account::request_password_change_token_via_email::v3,
    account::request_password_change_token_via_msisdn::v3,
    account::request_registration_token_via_email::v3,
    account::request_registration_token_via_msisdn::v3,
    account::unbind_3pid::v3,
    account::whoami::v3,
    admin::get_user_info::v3,
    admin::is_user_locked::v1,
    admin::is_user_suspended::v1,
    admin::lock_user::v1,
    admin::suspend_user::v1,
    alias::create_alias::v3,
    alias::delete_alias::v3,
    alias::get_alias::v3,
    appservice::request_ping::v1,
    appservice::set_room_visibility::v3,
    authenticated_media::get_content::v1,
    authenticated_media::get_content_as_filename::v1,
    authenticated_media::get_content_thumbnail::v1,
    authenticated_media::get_media_config::v1,
    authenticated_media::get_media_preview::v1,
    backup::add_backup_keys::v3,
    backup::add_backup_keys_for_room::v3,
    backup::add_backup_keys_for_session::v3,
    backup::create_backup_version::v3,
    backup::delete_backup_keys::v3,
    backup::delete_backup_keys_for_room::v3,
    backup::delete_backup_keys_for_session::v3,
    backup::delete_backup_version::v3,
    backup::get_backup_info::v3,
    backup::get_backup_keys::v3,
    backup::get_backup_keys_for_room::v3,
    backup::get_backup_keys_for_session::v3,
    backup::get_latest_backup_info::v3,
    backup::update_backup_version::v3,
    config::get_global_account_data::v3,
    config::get_room_account_data::v3,
    config::set_global_account_data::v3,
    config::set_room_account_data::v3,
    context::get_context::v3,
    delayed_events::delayed_message_event::unstable,
    delayed_events::delayed_state_event::unstable,
    delayed_events::get_all_delayed_events::unstable,
    delayed_events::get_delayed_event::unstable,
    delayed_events::send_delayed_event::unstable,
    delayed_events::update_delayed_event::unstable_v1,
    delayed_events::update_delayed_event::unstable_v2,
    device::delete_device::v3,
    device::delete_devices::v3,
    device::get_device::v3,
    device::get_devices::v3,
    device::update_device::v3,
    directory::get_public_rooms::v3,
    directory::get_public_rooms_filtered::v3,
    directory::get_room_visibility::v3,
    directory::set_room_visibility::v3,
    discovery::discover_homeserver,
    discovery::discover_policy_server,
    discovery::discover_support,
    discovery::get_authorization_server_metadata::v1,
    discovery::get_capabilities::v3,
    discovery::get_supported_versions,
    filter::create_filter::v3,
    filter::get_filter::v3,
    keys::claim_keys::v3,
    keys::get_key_changes::v3,
    keys::get_keys::v3,
    keys::upload_keys::v3,
    keys::upload_signatures::v3,
    keys::upload_signing_keys::v3,
    knock::knock_room::v3,
    media::create_content::v3,
    media::create_content_async::v3,
    media::create_mxc_uri::v1,
    media::get_content::v3,
    media::get_content_as_filename::v3,
    media::get_content_thumbnail::v3,
    media::get_media_config::v3,
    media::get_media_preview::v3,
    membership::ban_user::v3,
    membership::forget_room::v3,
    membership::get_member_events::v3,
    membership::get_mutual_rooms::unstable,
    membership::get_mutual_rooms::v1,
    membership::invite_user::v3,
    membership::join_room_by_id::v3,
    membership::join_room_by_id_or_alias::v3,
    membership::joined_members::v3,
    membership::joined_rooms::v3,
    membership::kick_user::v3,
    membership::leave_room::v3,
    membership::unban_user::v3,
    message::get_message_events::v3,
    message::send_message_event::v3,
    peeking::get_current_state::v3,
    peeking::listen_to_new_events::v3,
    presence::get_presence::v3,
    presence::set_presence::v3,
    profile::delete_profile_field::v3,
    profile::get_avatar_url::v3,
    profile::get_display_name::v3,
    profile::get_profile::v3,
    profile::get_profile_field::v3,
    profile::set_avatar_url::v3,
    profile::set_display_name::v3,
    profile::set_profile_field::v3,
    push::delete_pushrule::v3,
    push::get_notifications::v3,
    push::get_pushers::v3,
    push::get_pushrule::v3,
    push::get_pushrule_actions::v3,
    push::get_pushrule_enabled::v3,
    push::get_pushrules_all::v3,
    push::get_pushrules_global_scope::v3,
    push::set_pusher::v3,
    push::set_pushrule::v3,
    push::set_pushrule_actions::v3,
    push::set_pushrule_enabled::v3,
    read_marker::set_read_marker::v3,
    receipt::create_receipt::v3,
    redact::redact_event::v3,
    relations::get_relating_events::v1,
    relations::get_relating_events_with_rel_type::v1,
    relations::get_relating_events_with_rel_type_and_event_type::v1,
    reporting::report_user::v3,
    room::aliases::v3,
    room::create_room::v3,
    room::get_event_by_timestamp::v1,
    room::get_room_event::v3,
    room::get_summary::v1,
    room::report_content::v3,
    room::report_room::v3,
    room::upgrade_room::v3,
    search::search_events::v3,
    session::get_login_token::v1,
    session::get_login_types::v3,
    session::login::v3,
    session::login_fallback,
    session::logout::v3,
    session::logout_all::v3,
    session::refresh_token::v3,
    session::sso_login::v3,
    session::sso_login_with_provider::v3,
    space::get_hierarchy::v1,
    state::get_state_event_for_key::v3,
    state::get_state_events::v3,
    state::send_state_event::v3,
    sync::sync_events::v3,
    sync::sync_events::v5,
    tag::create_tag::v3,
    tag::delete_tag::v3,
    tag::get_tags::v3,
    thirdparty::get_location_for_protocol::v3,
    thirdparty::get_location_for_room_alias::v3,
    thirdparty::get_protocol::v3,
    thirdparty::get_protocols::v3,
    thirdparty::get_user_for_protocol::v3,
    thirdparty::get_user_for_user_id::v3,
    threads::get_threads::v1,
    to_device::send_event_to_device::v3,
    typing::create_typing_event::v3,
    uiaa::get_uiaa_fallback_page::v3,
    user_directory::search_users::v3,
    voip::get_turn_server_info::v3,
}

/// Proposals that are no part of the specification: their modules, each behind a feature of ruma that is off. Where one is
/// turned on, its modules belong into the list above.
pub(super) const EXPERIMENTS: &[(&str, &str)] = &[
    (
        "dehydrated_device::delete_dehydrated_device::unstable",
        "unstable-msc3814",
    ),
    (
        "dehydrated_device::get_dehydrated_device::unstable",
        "unstable-msc3814",
    ),
    (
        "dehydrated_device::get_events::unstable",
        "unstable-msc3814",
    ),
    (
        "dehydrated_device::put_dehydrated_device::unstable",
        "unstable-msc3814",
    ),
    ("keys::claim_keys::v4", "unstable-msc3983"),
    ("profile::query_profile::unstable", "unstable-msc4536"),
    (
        "rendezvous::create_rendezvous_session::unstable_msc4108",
        "unstable-msc4108",
    ),
    (
        "rendezvous::create_rendezvous_session::unstable_msc4388",
        "unstable-msc4388",
    ),
    (
        "rendezvous::delete_rendezvous_session::unstable",
        "unstable-msc4388",
    ),
    (
        "rendezvous::discover_rendezvous::unstable",
        "unstable-msc4388",
    ),
    (
        "rendezvous::get_rendezvous_session::unstable",
        "unstable-msc4388",
    ),
    (
        "rendezvous::update_rendezvous_session::unstable",
        "unstable-msc4388",
    ),
    (
        "retention::get_retention_configuration::unstable",
        "unstable-msc1763",
    ),
    (
        "rtc::livekit::delegate_delayed_leave::v1",
        "unstable-msc4195",
    ),
    ("rtc::livekit::get_token::v1", "unstable-msc4195"),
    ("rtc::transports::v1", "unstable-msc4143"),
    ("state::get_stripped_state::unstable", "unstable-msc4560"),
    (
        "threads::get_thread_subscription::unstable",
        "unstable-msc4306",
    ),
    (
        "threads::get_thread_subscriptions_changes::unstable",
        "unstable-msc4308",
    ),
    ("threads::subscribe_thread::unstable", "unstable-msc4306"),
    ("threads::unsubscribe_thread::unstable", "unstable-msc4306"),
];
