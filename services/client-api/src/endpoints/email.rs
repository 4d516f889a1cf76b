//! E-mail addresses of accounts, and the page that the links in e-mails lead to.
//! <https://spec.matrix.org/v1.19/client-server-api/#adding-account-administrative-contact-information>

use axum::{Router, extract::Query, response::Response, routing::get};
use http::StatusCode;
use luxchat_accounts::{EmailPurpose, EmailRequest};
use luxchat_http::{ApiError, Endpoints, Matrix, Reply};
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedSessionId, UInt,
    api::{
        client::account::{
            ThirdPartyIdRemovalStatus, add_3pid::v3 as add, delete_3pid::v3 as delete,
            get_3pids::v3 as list, request_3pid_management_token_via_email::v3 as for_adding,
            request_3pid_management_token_via_msisdn::v3 as for_adding_phone,
            request_password_change_token_via_email::v3 as for_password,
            request_password_change_token_via_msisdn::v3 as for_password_by_phone,
            request_registration_token_via_email::v3 as for_registration,
            request_registration_token_via_msisdn::v3 as for_registration_by_phone,
        },
        error::ErrorKind,
    },
    thirdparty::{Medium, ThirdPartyIdentifier, ThirdPartyIdentifierInit},
};
use serde::Deserialize;

use crate::{
    State,
    address::ClientAddress,
    auth::Session,
    error::{Answer, Error},
    page,
};

/// Where the links in e-mails lead, with `sid` and `token` as a query.
pub const EMAIL_LINK: &str = "/_luxchat/client/email";

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .endpoint::<list::Request, _>(addresses)
        .endpoint::<add::Request, _>(add_address)
        .endpoint::<delete::Request, _>(delete_address)
        .endpoint::<for_adding::Request, _>(send_for_adding)
        .endpoint::<for_password::Request, _>(send_for_password)
        .endpoint::<for_registration::Request, _>(send_for_registration)
        .endpoint::<for_adding_phone::Request, _>(no_phone_to_add)
        .endpoint::<for_password_by_phone::Request, _>(no_phone_for_password)
        .endpoint::<for_registration_by_phone::Request, _>(no_phone_for_registration)
        .route(EMAIL_LINK, get(ask).post(confirm))
}

async fn addresses(
    state: State,
    session: Session,
    _: Matrix<list::Request>,
) -> Answer<list::Response> {
    let timestamp = |ms| MilliSecondsSinceUnixEpoch(UInt::new_saturating(ms));
    let emails = state.accounts.emails(&session).await?.into_iter();
    let emails = emails.map(|email| {
        ThirdPartyIdentifier::from(ThirdPartyIdentifierInit {
            address: email.address,
            medium: Medium::Email,
            validated_at: timestamp(email.validated_ts),
            added_at: timestamp(email.added_ts),
        })
    });
    Ok(Reply(list::Response::new(emails.collect())))
}

async fn add_address(
    state: State,
    session: Session,
    Matrix(request): Matrix<add::Request>,
) -> Answer<add::Response> {
    let accounts = &state.accounts;
    if !accounts.sends_email() {
        return Err(luxchat_accounts::Error::EmailDisabled.into());
    }
    accounts
        .confirm_owner(&session, "add_3pid", request.auth.as_ref())
        .await?;
    let (sid, secret) = (request.sid.as_str(), request.client_secret.as_str());
    accounts.add_email(&session, sid, secret).await?;
    Ok(Reply(add::Response::new()))
}

async fn delete_address(
    state: State,
    session: Session,
    Matrix(request): Matrix<delete::Request>,
) -> Answer<delete::Response> {
    if request.medium == Medium::Email {
        state
            .accounts
            .remove_email(&session, &request.address)
            .await?;
    }
    // No identity server knows of it.
    let unbound = ThirdPartyIdRemovalStatus::Success;
    Ok(Reply(delete::Response::new(unbound)))
}

async fn send_for_adding(
    state: State,
    address: ClientAddress,
    Matrix(request): Matrix<for_adding::Request>,
) -> Answer<for_adding::Response> {
    let request = EmailRequest {
        purpose: EmailPurpose::Add,
        client_secret: request.client_secret.into(),
        address: request.email,
        send_attempt: request.send_attempt.into(),
    };
    let sid = send(&state, address, request).await?;
    Ok(Reply(for_adding::Response::new(sid)))
}

async fn send_for_password(
    state: State,
    address: ClientAddress,
    Matrix(request): Matrix<for_password::Request>,
) -> Answer<for_password::Response> {
    let request = EmailRequest {
        purpose: EmailPurpose::ResetPassword,
        client_secret: request.client_secret.into(),
        address: request.email,
        send_attempt: request.send_attempt.into(),
    };
    let sid = send(&state, address, request).await?;
    Ok(Reply(for_password::Response::new(sid)))
}

async fn send_for_registration(
    state: State,
    address: ClientAddress,
    Matrix(request): Matrix<for_registration::Request>,
) -> Answer<for_registration::Response> {
    let request = EmailRequest {
        purpose: EmailPurpose::Register,
        client_secret: request.client_secret.into(),
        address: request.email,
        send_attempt: request.send_attempt.into(),
    };
    let sid = send(&state, address, request).await?;
    Ok(Reply(for_registration::Response::new(sid)))
}

async fn send(
    state: &State,
    ClientAddress(address): ClientAddress,
    request: EmailRequest,
) -> Result<OwnedSessionId, Error> {
    if let Some(limiter) = state.limiter() {
        limiter.check_login(address)?;
    }
    let sid = state.accounts.request_email(request).await?;
    OwnedSessionId::try_from(sid).map_err(|error| ApiError::internal(error).into())
}

async fn no_phone_to_add(
    _: Matrix<for_adding_phone::Request>,
) -> Answer<for_adding_phone::Response> {
    Err(no_phone())
}

async fn no_phone_for_password(
    _: Matrix<for_password_by_phone::Request>,
) -> Answer<for_password_by_phone::Response> {
    Err(no_phone())
}

async fn no_phone_for_registration(
    _: Matrix<for_registration_by_phone::Request>,
) -> Answer<for_registration_by_phone::Response> {
    Err(no_phone())
}

fn no_phone() -> Error {
    let message = "This server sends no text messages";
    ApiError::new(
        StatusCode::BAD_REQUEST,
        ErrorKind::ThreepidMediumNotSupported,
        message,
    )
    .into()
}

#[derive(Deserialize)]
struct Link {
    #[serde(default)]
    sid: String,
    #[serde(default)]
    token: String,
}

/// Programs open links in e-mails to look for harm: that must not confirm anything.
async fn ask() -> Response {
    let form = "<p>Confirm that this e-mail address is yours?</p>\
                <form method=\"post\"><button>Confirm</button></form>";
    page::body(StatusCode::OK, form)
}

async fn confirm(state: State, Query(link): Query<Link>) -> Response {
    match state.accounts.confirm_email(&link.sid, &link.token) {
        Ok(()) => page::body(
            StatusCode::OK,
            "<p>Your e-mail address is confirmed. Go on where you began.</p>",
        ),
        Err(_) => page::body(
            StatusCode::NOT_FOUND,
            "<p>This link is not valid any more. Ask for another one where you began.</p>",
        ),
    }
}

#[cfg(test)]
mod tests {
    use http::{Method, header::CONTENT_SECURITY_POLICY};
    use luxchat_accounts::{Config as AccountsConfig, EmailConfig};
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        Config,
        testing::{PASSWORD, Server},
    };

    const BASE: &str = "/_matrix/client/v3/account";

    fn request() -> Value {
        json!({ "client_secret": "s", "email": "alice@example.org", "send_attempt": 1 })
    }

    #[tokio::test]
    async fn without_a_relay_there_are_no_addresses() {
        let server = Server::new();
        let alice = server.user("alice").await;
        let send = |path: &'static str, body| server.send(Method::POST, path, None, body);
        for path in [
            "/_matrix/client/v3/account/3pid/email/requestToken",
            "/_matrix/client/v3/account/password/email/requestToken",
            "/_matrix/client/v3/register/email/requestToken",
        ] {
            let refused = send(path, request()).await;
            assert_eq!(refused.error(), (403, "M_THREEPID_DENIED"), "{path}");
        }
        let phone = json!({ "client_secret": "s", "country": "LU", "phone_number": "1", "send_attempt": 1 });
        let refused = send("/_matrix/client/v3/account/3pid/msisdn/requestToken", phone).await;
        assert_eq!(refused.error(), (400, "M_THREEPID_MEDIUM_NOT_SUPPORTED"));
        let refused = send(
            "/_matrix/client/v3/account/password",
            json!({ "new_password": "new password" }),
        )
        .await;
        assert_eq!(refused.error(), (401, "M_MISSING_TOKEN"));
        let path = format!("{BASE}/3pid");
        assert_eq!(
            server.get(&path, &alice).await.ok(),
            json!({ "threepids": [] })
        );
        let path = format!("{BASE}/3pid/add");
        let body = json!({ "client_secret": "s", "sid": "x" });
        let refused = server.post(&path, &alice, body).await;
        assert_eq!(refused.error(), (403, "M_THREEPID_DENIED"));
    }

    #[tokio::test]
    async fn what_nobody_confirmed_is_not_added_and_sets_no_password() {
        let accounts = AccountsConfig {
            email: Some(EmailConfig {
                // Nobody listens there.
                relay: "smtp://127.0.0.1:9".to_owned(),
                credentials: None,
                from: "luxchat@example.org".to_owned(),
                link: "https://example.org/".to_owned(),
            }),
            ..AccountsConfig::default()
        };
        let server = Server::with(accounts, Config::default());
        let alice = server.user("alice").await;
        let path = format!("{BASE}/3pid/email/requestToken");
        let sent = server.send(Method::POST, &path, None, request()).await.ok();

        let path = format!("{BASE}/3pid/add");
        let mut body = json!({ "client_secret": "s", "sid": sent["sid"] });
        let challenge = server.post(&path, &alice, body.clone()).await;
        body["auth"] = json!({
            "type": "m.login.password", "session": challenge.body["session"], "password": PASSWORD,
            "identifier": { "type": "m.id.user", "user": "alice" },
        });
        let refused = server.post(&path, &alice, body).await;
        assert_eq!(refused.error(), (400, "M_THREEPID_AUTH_FAILED"));

        let path = format!("{BASE}/password");
        let mut body = json!({ "new_password": "new password" });
        let challenge = server.send(Method::POST, &path, None, body.clone()).await;
        let stages = &challenge.body["flows"][0]["stages"];
        assert_eq!(*stages, json!(["m.login.email.identity"]));
        body["auth"] = json!({
            "type": "m.login.email.identity", "session": challenge.body["session"],
            "threepid_creds": { "sid": sent["sid"], "client_secret": "s" },
        });
        let refused = server.send(Method::POST, &path, None, body).await;
        assert_eq!(refused.error(), (401, "M_THREEPID_AUTH_FAILED"));

        let page = server
            .send(Method::GET, EMAIL_LINK, None, Value::Null)
            .await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(page.headers.contains_key(CONTENT_SECURITY_POLICY));
        let wrong = format!("{EMAIL_LINK}?sid=x&token=y");
        let wrong = server.send(Method::POST, &wrong, None, Value::Null).await;
        assert_eq!(wrong.status, StatusCode::NOT_FOUND);
    }
}
