use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Router, extract::Request as HttpRequest, routing::any};
use bytes::Bytes;
use http::{StatusCode, header::AUTHORIZATION};
use luxchat_federation::{Federation, MemoryNetwork};
use luxchat_store::{ManualClock, Store};
use ruma::{
    api::federation::authentication::{XMatrix, XMatrixSigningInput},
    serde::Base64,
    server_name,
};

use crate::server::{key, open_store};

/// Answers that wait to be given at most.
const MAX_ANSWERS: usize = 32;

/// The server `two`: whatever it is asked, it answers what it was told to, one answer a request. Its keys it tells
/// truthfully.
pub struct Peer {
    pub federation: Federation,
    answers: Arc<Mutex<VecDeque<String>>>,
    _store: Store,
}

impl Peer {
    pub(crate) fn new(folder: &Path, clock: &Arc<ManualClock>, network: &MemoryNetwork) -> Self {
        let store = open_store("two", folder, clock);
        let federation = Federation::in_memory(store.clone(), key("two"), network.clone())
            .expect("the key's version is well-formed");
        let answers = Arc::new(Mutex::new(VecDeque::new()));
        let router = Router::new().fallback(any({
            let (federation, answers) = (federation.clone(), Arc::clone(&answers));
            move |request: HttpRequest| async move { answer(&federation, &answers, &request) }
        }));
        network.attach(server_name!("two").to_owned(), router);
        Self {
            federation,
            answers,
            _store: store,
        }
    }

    /// What it says next.
    pub fn will_answer(&self, answers: impl IntoIterator<Item = String>) {
        let mut queue = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        queue.clear();
        queue.extend(answers.into_iter().take(MAX_ANSWERS));
    }

    /// A request to `one`, with the header that this peer signs it with.
    pub fn sign(&self, request: &mut http::Request<Bytes>) {
        let header = http::HeaderValue::from(&self.header(request));
        request.headers_mut().insert(AUTHORIZATION, header);
    }

    /// This peer's signature over a request to `one`.
    pub fn signature(&self, request: &http::Request<Bytes>) -> Base64 {
        self.header(request).sig
    }

    fn header(&self, request: &http::Request<Bytes>) -> XMatrix {
        let input = XMatrixSigningInput::new(
            self.federation.server_name().to_owned(),
            server_name!("one").to_owned(),
            self.federation.signing_key(),
        );
        XMatrix::sign_http_request(request, input).expect("the body can be signed")
    }
}

fn answer(
    federation: &Federation,
    answers: &Mutex<VecDeque<String>>,
    request: &HttpRequest,
) -> (StatusCode, String) {
    if request.uri().path().starts_with("/_matrix/key/") {
        let document = federation.keys().own_document();
        let document = document.expect("the own keys can be signed");
        return (StatusCode::OK, document.json().get().to_owned());
    }
    let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
    match answers.pop_front() {
        Some(answer) => (StatusCode::OK, answer),
        None => (
            StatusCode::NOT_FOUND,
            r#"{"errcode":"M_NOT_FOUND","error":"no"}"#.to_owned(),
        ),
    }
}
