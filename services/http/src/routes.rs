//! Routes from an endpoint's metadata.

use axum::{
    Router,
    handler::Handler,
    routing::{MethodFilter, on},
};
use ruma::api::{IncomingRequest, path_builder::PathBuilder};

/// Adds endpoints to a router.
pub trait Endpoints<S> {
    /// Routes every path that `T` ever had (stable, r0, unstable), with its method, to `handler`.
    ///
    /// # Panics
    ///
    /// Where two endpoints claim the same method and path.
    #[must_use]
    fn endpoint<T: IncomingRequest, X: 'static>(self, handler: impl Handler<X, S>) -> Self;

    /// Routes one more path to `handler`, for those that `T`'s metadata does not name.
    ///
    /// # Panics
    ///
    /// Where two endpoints claim the same method and path.
    #[must_use]
    fn endpoint_at<T: IncomingRequest, X: 'static>(
        self,
        path: &str,
        handler: impl Handler<X, S>,
    ) -> Self;
}

impl<S: Clone + Send + Sync + 'static> Endpoints<S> for Router<S> {
    fn endpoint<T: IncomingRequest, X: 'static>(self, handler: impl Handler<X, S>) -> Self {
        let mut paths: Vec<&str> = T::PATH_BUILDER.all_paths().collect();
        // The same path may stand there once as unstable and once as stable.
        paths.sort_unstable();
        paths.dedup();
        paths.into_iter().fold(self, |router, path| {
            router.endpoint_at::<T, X>(path, handler.clone())
        })
    }

    fn endpoint_at<T: IncomingRequest, X: 'static>(
        self,
        path: &str,
        handler: impl Handler<X, S>,
    ) -> Self {
        let method = MethodFilter::try_from(T::METHOD)
            .expect("endpoints use the standard methods, which axum all knows");
        self.route(path, on(method, handler))
    }
}
