//! Every endpoint of the client-server API, from ruma's metadata, against the router: it is there, and it asks who is
//! asking, whether they may, and whose thing it is.

mod endpoints;
mod source;
mod world;

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use luxchat_accounts::Config as AccountsConfig;
use ruma::user_id;
use serde_json::Value;

use self::{
    endpoints::{Authentication, EXPERIMENTS, Endpoint, endpoints},
    source::Source,
    world::World,
};
use crate::{
    Config,
    testing::{Answered, Server},
};

/// What a homeserver without these parts does not owe its clients, and why.
const NOT_OWED: &[(&str, &str)] = &[
    ("account::bind_3pid::v3", IDENTITY_SERVER),
    ("account::unbind_3pid::v3", IDENTITY_SERVER),
    (
        "discovery::get_authorization_server_metadata::v1",
        "there is no OAuth 2.0: clients take its absence for an answer",
    ),
    ("session::sso_login::v3", SINGLE_SIGN_ON),
    ("session::sso_login_with_provider::v3", SINGLE_SIGN_ON),
    (
        "discovery::discover_policy_server",
        "the policy server itself answers it",
    ),
];
const IDENTITY_SERVER: &str = "there is no identity server to pass it on to";
const SINGLE_SIGN_ON: &str = "m.login.sso is not among the ways to log in";

/// Endpoints that answer whoever asks alike, and look at no token although they may be shown one.
const BLIND_TO_TOKENS: &[&str] = &["discovery::get_supported_versions"];

/// Endpoints that a locked user may use.
const OPEN_TO_THE_LOCKED: &[&str] = &["session::logout::v3", "session::logout_all::v3"];

/// What a suspended user may not do any more.
/// [Spec](https://spec.matrix.org/v1.19/client-server-api/#account-suspension).
const CLOSED_TO_THE_SUSPENDED: &[&str] = &[
    "alias::create_alias::v3",
    "delayed_events::delayed_message_event::unstable",
    "delayed_events::delayed_state_event::unstable",
    "delayed_events::send_delayed_event::unstable",
    "directory::set_room_visibility::v3",
    "knock::knock_room::v3",
    "media::create_content::v3",
    "media::create_mxc_uri::v1",
    "membership::ban_user::v3",
    "membership::invite_user::v3",
    "membership::join_room_by_id::v3",
    "membership::join_room_by_id_or_alias::v3",
    "membership::kick_user::v3",
    "membership::unban_user::v3",
    "message::send_message_event::v3",
    "profile::delete_profile_field::v3",
    "profile::set_avatar_url::v3",
    "profile::set_display_name::v3",
    "profile::set_profile_field::v3",
    "room::create_room::v3",
    "room::upgrade_room::v3",
    "state::send_state_event::v3",
];

/// Endpoints whose path names something of another user, and that everybody may use all the same.
const OPEN_TO_OTHERS: &[(&str, &str)] = &[
    (
        "device::delete_device::v3",
        "what is not among one's own devices is as good as deleted",
    ),
    ("reporting::report_user::v3", REPORTS),
    ("room::report_room::v3", REPORTS),
];
const REPORTS: &str = "others are what reports are about";

#[test]
fn the_list_is_ruma_s() {
    let source = Source::find();
    let listed: Vec<String> = endpoints().into_iter().map(|it| it.module).collect();
    let experiments = EXPERIMENTS.iter().map(|(module, _)| (*module).to_owned());
    let known: BTreeSet<String> = listed.into_iter().chain(experiments).collect();
    assert_eq!(known, source.modules());
    for (module, feature) in EXPERIMENTS {
        let is_on = source.features.contains(*feature);
        assert!(!is_on, "{module} is compiled with {feature}: list it");
    }
}

#[tokio::test]
async fn none_is_missing() {
    let server = server();
    let mut missing = Vec::new();
    let mut needless = Vec::new();
    for endpoint in endpoints() {
        let is_owed = is_owed(&endpoint);
        for path in &endpoint.paths {
            let answer = ask(&server, &endpoint, path, None).await;
            let is_known = answer.body["errcode"] != "M_UNRECOGNIZED";
            if is_owed && !is_known {
                missing.push(format!("{} {path} ({})", endpoint.method, endpoint.module));
            } else if !is_owed && is_known {
                needless.push(endpoint.module.clone());
            }
        }
    }
    assert!(missing.is_empty(), "missing:\n{}", missing.join("\n"));
    assert!(needless.is_empty(), "served after all: {needless:?}");
}

#[tokio::test]
async fn a_missing_and_a_wrong_token_are_refused() {
    let world = World::new(server()).await;
    let server = &world.server;
    let mut wrong = Vec::new();
    for (endpoint, path) in served() {
        use Authentication as A;
        let by = endpoint.authentication;
        let mut check = |answer: &Answered, expected: (u16, &str)| {
            if answer.error() != expected {
                wrong.push(format!("{by:?} {path}: {:?}", answer.error()));
            }
        };
        let bare = ask(server, &endpoint, path, None).await;
        if matches!(by, A::User | A::ApplicationService) {
            check(&bare, (401, "M_MISSING_TOKEN"));
        }
        let guess = ask(server, &endpoint, path, Some("guess")).await;
        let is_blind = BLIND_TO_TOKENS.contains(&endpoint.module.as_str());
        if matches!(by, A::User | A::UserOptional | A::ApplicationService) && !is_blind {
            check(&guess, (401, "M_UNKNOWN_TOKEN"));
        }
        if by == A::ApplicationService {
            let own = world.ask(&endpoint, path, &world.owner).await;
            check(&own, (403, "M_FORBIDDEN"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_locked_user_is_refused() {
    let server = server();
    let token = server.user("alice").await;
    let alice = user_id!("@alice:example.org");
    let accounts = &server.services.accounts;
    accounts.set_locked(alice, true).await.unwrap();
    let mut wrong = Vec::new();
    for (endpoint, path) in served() {
        let by = endpoint.authentication;
        let module = endpoint.module.as_str();
        let is_open = OPEN_TO_THE_LOCKED.contains(&module) || BLIND_TO_TOKENS.contains(&module);
        if is_open || !matches!(by, Authentication::User | Authentication::UserOptional) {
            continue;
        }
        let answer = ask(&server, &endpoint, path, Some(&token)).await;
        let is_soft = answer.body["soft_logout"] == true;
        if answer.error() != (401, "M_USER_LOCKED") || !is_soft {
            wrong.push(format!("{path}: {:?}", answer.error()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let logout = "/_matrix/client/v3/logout";
    server.post(logout, &token, Value::Null).await.ok();
}

#[tokio::test]
async fn a_suspended_user_is_refused_what_others_would_notice() {
    let world = World::new(server()).await;
    let bob = user_id!("@bob:example.org");
    let accounts = &world.server.services.accounts;
    accounts.set_suspended(bob, true).await.unwrap();
    let mut wrong = Vec::new();
    for (endpoint, path) in served() {
        // Those that end the session or the account are open to the suspended, and would end this test.
        let ends = ["session::logout", "account::deactivate", "session::refresh"];
        let ends = ends.iter().any(|end| endpoint.module.starts_with(end));
        if ends || endpoint.authentication != Authentication::User {
            continue;
        }
        let answer = world.ask(&endpoint, path, &world.owner).await;
        let is_refused = answer.error() == (403, "M_USER_SUSPENDED");
        let is_closed = CLOSED_TO_THE_SUSPENDED.contains(&endpoint.module.as_str());
        if is_refused != is_closed {
            wrong.push(format!("{} {path}: {}", endpoint.module, answer.body));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn what_belongs_to_somebody_else_is_refused() {
    let world = World::new(server()).await;
    let before = world.belongings().await;
    let mut wrong = Vec::new();
    for (endpoint, path) in served() {
        let module = endpoint.module.as_str();
        let is_owned = World::is_owned(&endpoint, path);
        if endpoint.authentication != Authentication::User || !is_owned {
            continue;
        }
        let answer = world.ask(&endpoint, path, &world.stranger).await;
        let is_open = OPEN_TO_OTHERS.iter().any(|(open, _)| *open == module);
        let refusals = [StatusCode::FORBIDDEN, StatusCode::NOT_FOUND];
        if is_open == refusals.contains(&answer.status) {
            wrong.push(format!(
                "{module} {path}: {} {}",
                answer.status, answer.body
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(world.belongings().await, before);
}

/// One that limits nothing.
fn server() -> Server {
    let config = Config {
        rate_limits: None,
        ..Config::default()
    };
    Server::with(AccountsConfig::default(), config)
}

fn is_owed(endpoint: &Endpoint) -> bool {
    let module = endpoint.module.as_str();
    !NOT_OWED.iter().any(|(not_owed, _)| *not_owed == module)
}

/// The endpoints that there are, with each of their paths.
fn served() -> impl Iterator<Item = (Endpoint, &'static str)> {
    endpoints()
        .into_iter()
        .filter(is_owed)
        .flat_map(|endpoint| {
            let paths = endpoint.paths.clone();
            paths.into_iter().map(move |path| (endpoint.clone(), path))
        })
}

/// Asks with nothing but a token: whatever the path and the body lack, it must be looked at first.
async fn ask(server: &Server, endpoint: &Endpoint, path: &str, token: Option<&str>) -> Answered {
    let path = path.replace(['{', '}'], "");
    let method: Method = endpoint.method.clone();
    server.send(method, &path, token, Value::Null).await
}
