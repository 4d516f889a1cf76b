//! <https://spec.matrix.org/v1.19/client-server-api/#server-discovery>

use std::collections::BTreeMap;

use axum::Router;
use luxchat_http::{ApiError, Endpoints, Matrix, Reply};
use ruma::api::{
    MatrixVersion,
    client::discovery::{
        discover_homeserver::{self as well_known, HomeserverInfo},
        discover_support::{self as support, Contact, ContactRole},
        get_supported_versions as versions,
    },
};

use crate::{State, error::Answer};

/// What is served of the specification. Where a version asks for an endpoint that this server has no use for, the endpoint
/// answers as an unknown one does, which clients take for what it is.
const VERSIONS: &[MatrixVersion] = &[
    MatrixVersion::V1_1,
    MatrixVersion::V1_2,
    MatrixVersion::V1_3,
    MatrixVersion::V1_4,
    MatrixVersion::V1_5,
    MatrixVersion::V1_6,
    MatrixVersion::V1_7,
    MatrixVersion::V1_8,
    MatrixVersion::V1_9,
    MatrixVersion::V1_10,
    MatrixVersion::V1_11,
    MatrixVersion::V1_12,
    MatrixVersion::V1_13,
    MatrixVersion::V1_14,
    MatrixVersion::V1_15,
    MatrixVersion::V1_16,
    MatrixVersion::V1_17,
    MatrixVersion::V1_18,
    MatrixVersion::V1_19,
];

/// Before versions had one number for all APIs.
const LEGACY_VERSION: &str = "r0.6.1";

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<versions::Request, _>(supported_versions)
        .endpoint::<well_known::Request, _>(homeserver)
        .endpoint::<support::Request, _>(support)
}

async fn supported_versions(_: Matrix<versions::Request>) -> Answer<versions::Response> {
    let numbered = VERSIONS.iter().filter_map(|version| version.as_str());
    let versions = std::iter::once(LEGACY_VERSION).chain(numbered);
    let mut response = versions::Response::new(versions.map(ToOwned::to_owned).collect());
    response.unstable_features = BTreeMap::from([
        // What clients look for here, whether or not it has made its way into the specification since.
        ("org.matrix.msc3030".to_owned(), true),
        ("org.matrix.msc3391".to_owned(), true),
        ("org.matrix.msc3874".to_owned(), true),
        ("org.matrix.msc3882".to_owned(), true),
        ("org.matrix.msc4140".to_owned(), true),
        ("org.matrix.msc4151".to_owned(), true),
        ("org.matrix.msc4155".to_owned(), true),
        ("org.matrix.msc4222".to_owned(), true),
        ("org.matrix.msc4306".to_owned(), true),
        ("org.matrix.msc4308".to_owned(), true),
        // Sliding sync, which clients look for here alone.
        ("org.matrix.simplified_msc3575".to_owned(), true),
        ("uk.half-shot.msc2666.query_mutual_rooms".to_owned(), true),
        (
            "uk.half-shot.msc2666.query_mutual_rooms.stable".to_owned(),
            true,
        ),
        // Profile fields, for clients that do not yet look at the version.
        ("uk.tcpip.msc4133".to_owned(), true),
        ("uk.tcpip.msc4133.stable".to_owned(), true),
    ]);
    Ok(Reply(response))
}

async fn support(state: State, _: Matrix<support::Request>) -> Answer<support::Response> {
    let support = state.config().support.clone();
    let support = support.ok_or_else(|| ApiError::not_found("This server does not tell"))?;
    let contacts = [
        support
            .email
            .map(|email| Contact::with_email_address(ContactRole::Admin, email)),
        support
            .matrix_id
            .map(|id| Contact::with_matrix_id(ContactRole::Admin, id)),
        support
            .security_email
            .map(|email| Contact::with_email_address(ContactRole::Security, email)),
    ];
    let mut response = support::Response::with_contacts(contacts.into_iter().flatten().collect());
    response.support_page = support.page;
    Ok(Reply(response))
}

async fn homeserver(state: State, _: Matrix<well_known::Request>) -> Answer<well_known::Response> {
    let base_url = state.config().base_url.clone();
    let base_url = base_url.ok_or_else(|| ApiError::not_found("This server does not tell"))?;
    Ok(Reply(well_known::Response::new(HomeserverInfo::new(
        base_url,
    ))))
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::{Value, json};

    use crate::{Config, Support, testing::Server};

    #[tokio::test]
    async fn whom_to_ask_is_told_where_the_site_says() {
        let path = "/.well-known/matrix/support";
        let silent = Server::new();
        let answer = silent.send(Method::GET, path, None, Value::Null).await;
        assert_eq!(answer.error(), (404, "M_NOT_FOUND"));
        let config = Config {
            support: Some(Support {
                security_email: Some("security@example.org".to_owned()),
                page: Some("https://example.org/help".to_owned()),
                ..Support::default()
            }),
            ..Config::default()
        };
        let server = Server::with(luxchat_accounts::Config::default(), config);
        let answer = server.send(Method::GET, path, None, Value::Null).await.ok();
        let contact = json!({ "role": "m.role.security", "email_address": "security@example.org" });
        assert_eq!(
            answer,
            json!({ "contacts": [contact], "support_page": "https://example.org/help" })
        );
    }

    #[tokio::test]
    async fn versions_are_told_to_anyone() {
        let server = Server::new();
        let path = "/_matrix/client/versions";
        let answer = server.send(Method::GET, path, None, Value::Null).await.ok();
        let versions = answer["versions"].as_array().unwrap();
        assert_eq!(versions.first().unwrap(), "r0.6.1");
        assert_eq!(versions.last().unwrap(), "v1.19");
        assert_eq!(
            answer["unstable_features"]["org.matrix.simplified_msc3575"],
            true
        );
    }

    #[tokio::test]
    async fn the_base_url_is_told_where_there_is_one() {
        let path = "/.well-known/matrix/client";
        let silent = Server::new();
        let answer = silent.send(Method::GET, path, None, Value::Null).await;
        assert_eq!(answer.error(), (404, "M_NOT_FOUND"));
        let config = Config {
            base_url: Some("https://chat.example.org".to_owned()),
            ..Config::default()
        };
        let server = Server::with(luxchat_accounts::Config::default(), config);
        let answer = server.send(Method::GET, path, None, Value::Null).await.ok();
        let expected = json!({ "m.homeserver": { "base_url": "https://chat.example.org" } });
        assert_eq!(answer, expected);
    }
}
