//! Signed requests to other servers.

use bytes::{Bytes, BytesMut};
use ruma::{
    ServerName,
    api::{
        IncomingResponseExt, OutgoingRequest, OutgoingRequestExt,
        auth_scheme::{AuthScheme, NoAuthentication},
        error::FromHttpResponseError,
        federation::authentication::{ServerSignatures, XMatrixSigningInput},
        path_builder::{PathBuilder, SinglePath},
    },
};

use crate::{Error, Federation, Result};

/// How an endpoint authenticates, where servers speak to servers.
pub trait FederationAuth: AuthScheme {
    /// What the scheme signs with.
    fn input(signing: XMatrixSigningInput<'_>) -> Self::Input<'_>;
}

impl FederationAuth for ServerSignatures {
    fn input(signing: XMatrixSigningInput<'_>) -> Self::Input<'_> {
        signing
    }
}

impl FederationAuth for NoAuthentication {
    fn input(_: XMatrixSigningInput<'_>) -> Self::Input<'_> {}
}

/// How an endpoint's path is chosen: federation paths bear their version.
pub trait FederationPath: PathBuilder {
    /// What the builder chooses by.
    fn input() -> Self::Input<'static>;
}

impl FederationPath for SinglePath {
    fn input() -> Self::Input<'static> {}
}

impl Federation {
    /// Asks `destination`, signing the request as this server.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] before anything is sent where the destination is no active member; [`Error::Refused`] with the
    /// remote's own error; otherwise what went wrong on the way.
    pub async fn request<T>(
        &self,
        destination: &ServerName,
        request: T,
    ) -> Result<T::IncomingResponse>
    where
        T: OutgoingRequest<EndpointError = ruma::api::error::Error>,
        T::Authentication: FederationAuth,
        T::PathBuilder: FederationPath,
    {
        let request = self.sign(destination, request)?;
        let response = self.exchange(destination, request).await?;
        parse::<T>(destination, &response)
    }

    fn sign<T>(&self, destination: &ServerName, request: T) -> Result<http::Request<Bytes>>
    where
        T: OutgoingRequest,
        T::Authentication: FederationAuth,
        T::PathBuilder: FederationPath,
    {
        let identity = self.identity();
        let signing = XMatrixSigningInput::new(
            identity.server_name().to_owned(),
            destination.to_owned(),
            identity.signing_key(),
        );
        request
            .try_into_http_request::<BytesMut>(
                &format!("https://{destination}"),
                T::Authentication::input(signing),
                T::PathBuilder::input(),
            )
            .map(|request| request.map(BytesMut::freeze))
            .map_err(|error| Error::InvalidRequest(error.to_string()))
    }
}

fn parse<T>(
    destination: &ServerName,
    response: &http::Response<Bytes>,
) -> Result<T::IncomingResponse>
where
    T: OutgoingRequest<EndpointError = ruma::api::error::Error>,
{
    let mut view = http::Response::new(response.body().as_ref());
    *view.status_mut() = response.status();
    *view.headers_mut() = response.headers().clone();
    T::IncomingResponse::try_from_http_response(view).map_err(|error| match error {
        FromHttpResponseError::Server(error) => Error::Refused {
            server: destination.to_owned(),
            error: error.into(),
        },
        other => Error::InvalidResponse {
            server: destination.to_owned(),
            why: other.to_string(),
        },
    })
}
