//! <https://spec.matrix.org/v1.19/client-server-api/#profiles>

use axum::Router;
use http::Method;
use luxchat_http::{ApiError, Endpoints, Matrix, Reply};
use ruma::{
    OwnedUserId, UserId,
    api::{
        IncomingRequest, Metadata,
        client::profile::{
            delete_profile_field::v3 as delete_field, get_profile::v3 as get_profile,
            get_profile_field::v3 as get_field, set_profile_field::v3 as set_field,
        },
        error::DeserializationError,
        federation::query::get_profile_information::v1 as remote_profile,
        path_builder::VersionHistory,
    },
    profile::ProfileFieldValue,
};
use serde::de::{Error as _, IntoDeserializer, value::SeqDeserializer};
use serde_json::{Map, Value};

use crate::{
    State,
    auth::Session,
    error::{Answer, Error},
};

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<get_profile::Request, _>(get)
        .endpoint::<get_field::Request, _>(get_one)
        .endpoint::<SetField, _>(set)
        .endpoint::<delete_field::Request, _>(delete)
}

async fn get(
    state: State,
    session: Option<Session>,
    Matrix(request): Matrix<get_profile::Request>,
) -> Answer<get_profile::Response> {
    let fields = if is_local(&state, &request.user_id) {
        state.accounts.profile(&request.user_id).await?
    } else {
        check_may_ask(&state, session.as_ref())?;
        let query = remote_profile::Request::new(request.user_id.clone());
        let server = request.user_id.server_name();
        let profile = state.federation.request(server, query).await?;
        profile.data.into_iter().collect()
    };
    Ok(Reply(fields.into_iter().collect()))
}

async fn get_one(
    state: State,
    session: Option<Session>,
    Matrix(request): Matrix<get_field::Request>,
) -> Answer<get_field::Response> {
    let (user_id, field) = (&request.user_id, &request.field);
    let value = if is_local(&state, user_id) {
        state
            .accounts
            .profile_field(user_id, field.as_str())
            .await?
    } else {
        check_may_ask(&state, session.as_ref())?;
        let mut query = remote_profile::Request::new(user_id.clone());
        query.field = Some(field.clone());
        let profile = state
            .federation
            .request(user_id.server_name(), query)
            .await?;
        profile.get(field.as_str()).cloned()
    };
    let value = value
        .and_then(|value| ProfileFieldValue::new(field.as_str(), value).ok())
        .ok_or_else(|| ApiError::not_found("The profile has no such field"))?;
    Ok(Reply(get_field::Response::new(value)))
}

async fn set(
    state: State,
    session: Session,
    Matrix(request): Matrix<SetField>,
) -> Answer<set_field::Response> {
    session.check_is(&request.user_id)?;
    session.check_not_suspended()?;
    state
        .accounts
        .set_profile_field(&session, &request.field, request.value)
        .await?;
    tell_rooms(&state, &session, &request.field).await?;
    Ok(Reply(set_field::Response::new()))
}

async fn delete(
    state: State,
    session: Session,
    Matrix(request): Matrix<delete_field::Request>,
) -> Answer<delete_field::Response> {
    session.check_is(&request.user_id)?;
    session.check_not_suspended()?;
    state
        .accounts
        .delete_profile_field(&session, request.field.as_str())
        .await?;
    tell_rooms(&state, &session, request.field.as_str()).await?;
    Ok(Reply(delete_field::Response::new()))
}

/// Whoever is nobody here cannot make this server ask others, unless the site allows it.
fn check_may_ask(state: &State, session: Option<&Session>) -> Result<(), ApiError> {
    if session.is_none() && !state.config().anonymous_profile_lookups {
        return Err(ApiError::missing_token());
    }
    Ok(())
}

fn is_local(state: &State, user_id: &UserId) -> bool {
    user_id.server_name() == state.store.server_name()
}

/// [`set_field::Request`], whose own parser does not take the `null` by which clients unset a name or a picture.
#[derive(Debug)]
struct SetField {
    user_id: OwnedUserId,
    field: String,
    value: Value,
}

impl Metadata for SetField {
    const METHOD: Method = set_field::Request::METHOD;
    const RATE_LIMITED: bool = set_field::Request::RATE_LIMITED;
    type Authentication = <set_field::Request as Metadata>::Authentication;
    type PathBuilder = VersionHistory;
    const PATH_BUILDER: VersionHistory = set_field::Request::PATH_BUILDER;
}

impl IncomingRequest for SetField {
    type EndpointError = <set_field::Request as IncomingRequest>::EndpointError;
    type OutgoingResponse = set_field::Response;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        let path = path_args.iter().map(|arg| (*arg).into_deserializer());
        let (user_id, field): (OwnedUserId, String) = serde::Deserialize::deserialize(
            SeqDeserializer::<_, serde::de::value::Error>::new(path),
        )?;
        let mut body: Map<String, Value> = serde_json::from_slice(request.body())?;
        let value = match (body.remove(&field), field.as_str()) {
            (Some(value), _) => value,
            (None, "displayname" | "avatar_url") => Value::Null,
            (None, _) => {
                let error = serde_json::Error::custom(format!("missing field `{field}`"));
                return Err(error.into());
            }
        };
        Ok(Self {
            user_id,
            field,
            value,
        })
    }
}

/// Name and picture stand in member events, too.
async fn tell_rooms(state: &State, session: &Session, field: &str) -> Result<(), Error> {
    if matches!(field, "displayname" | "avatar_url") {
        state.rooms.update_profile(&session.user_id).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::{Value, json};

    use crate::testing::Server;

    const PROFILE: &str = "/_matrix/client/v3/profile/@alice:example.org";

    #[tokio::test]
    async fn a_profile_is_everyones_to_read_and_its_owners_to_write() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let bob = server.user("bob").await;
        let name = format!("{PROFILE}/displayname");
        let zone = format!("{PROFILE}/m.tz");
        let read = async |path: &str| server.send(Method::GET, path, None, Value::Null).await;
        assert_eq!(read(PROFILE).await.ok(), json!({}));
        for unset in [&name, &zone] {
            assert_eq!(read(unset).await.error(), (404, "M_NOT_FOUND"));
        }

        server
            .put(&name, &alice, json!({ "displayname": "Alice" }))
            .await
            .ok();
        server
            .put(&zone, &alice, json!({ "m.tz": "Europe/Luxembourg" }))
            .await
            .ok();
        let pet = format!("{PROFILE}/org.example.pet");
        server
            .put(&pet, &alice, json!({ "org.example.pet": { "cat": 1 } }))
            .await
            .ok();
        let stolen = server
            .put(&name, &bob, json!({ "displayname": "Bob" }))
            .await;
        assert_eq!(stolen.error(), (403, "M_FORBIDDEN"));
        assert_eq!(
            read(PROFILE).await.ok(),
            json!({
                "displayname": "Alice",
                "m.tz": "Europe/Luxembourg",
                "org.example.pet": { "cat": 1 },
            })
        );
        assert_eq!(
            read(&pet).await.ok(),
            json!({ "org.example.pet": { "cat": 1 } })
        );

        server
            .send(Method::DELETE, &zone, Some(&alice), Value::Null)
            .await
            .ok();
        server
            .put(&name, &alice, json!({ "displayname": null }))
            .await
            .ok();
        assert_eq!(
            read(PROFILE).await.ok(),
            json!({ "org.example.pet": { "cat": 1 } })
        );
    }

    #[tokio::test]
    async fn a_profile_has_bounds_and_an_owner() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let put = async |field: &str, body: Value| {
            let path = format!("{PROFILE}/{field}");
            let answer = server.put(&path, &alice, body).await;
            answer.body["errcode"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let long = "k".repeat(256);
        assert_eq!(put(&long, json!({ &long: 1 })).await, "M_KEY_TOO_LARGE");
        let big = json!({ "a": "x".repeat(65_536) });
        assert_eq!(put("a", big).await, "M_PROFILE_TOO_LARGE");
        assert_eq!(put("a", json!({ "b": 1 })).await, "M_BAD_JSON");
        assert_eq!(
            put("displayname", json!({ "displayname": 1 })).await,
            "M_INVALID_PARAM"
        );
        for nobody in ["@bob:example.org", "@bob:example.org/displayname"] {
            let path = format!("/_matrix/client/v3/profile/{nobody}");
            assert_eq!(
                server.get(&path, &alice).await.error(),
                (404, "M_NOT_FOUND")
            );
        }
        let path = "/_matrix/client/v3/profile/@bob:elsewhere.org";
        let unreachable = server.get(path, &alice).await;
        assert_eq!(unreachable.status, 502, "{}", unreachable.body);
    }

    #[tokio::test]
    async fn rooms_show_the_new_name() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let room = server
            .post("/_matrix/client/v3/createRoom", &alice, json!({}))
            .await
            .ok();
        let room = room["room_id"].as_str().unwrap();
        let member =
            format!("/_matrix/client/v3/rooms/{room}/state/m.room.member/@alice:example.org");
        let avatar = json!("mxc://example.org/cat");
        let name = format!("{PROFILE}/displayname");
        let picture = format!("{PROFILE}/avatar_url");
        server
            .put(&name, &alice, json!({ "displayname": "Alice" }))
            .await
            .ok();
        server
            .put(&picture, &alice, json!({ "avatar_url": avatar }))
            .await
            .ok();
        let shown = server.get(&member, &alice).await.ok();
        let expected =
            json!({ "membership": "join", "displayname": "Alice", "avatar_url": avatar });
        assert_eq!(shown, expected);
        server
            .send(Method::DELETE, &name, Some(&alice), Value::Null)
            .await
            .ok();
        let shown = server.get(&member, &alice).await.ok();
        assert_eq!(shown.get("displayname"), None);
    }
}
