//! The operator's socket of a running box, from the caller's side.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use reqwest::{Client, Method};
use serde::{Serialize, de::DeserializeOwned};

/// Calls the operator's API of one box.
#[derive(Debug)]
pub struct Operator {
    client: Client,
    socket: PathBuf,
}

impl Operator {
    /// The box whose socket is at `socket`.
    ///
    /// # Errors
    ///
    /// When no HTTP client can be made.
    pub fn new(socket: PathBuf) -> Result<Self> {
        let client = Client::builder().unix_socket(socket.clone()).build()?;
        Ok(Self { client, socket })
    }

    /// Sends one request.
    ///
    /// # Errors
    ///
    /// What the box says, or that it does not answer.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T> {
        let mut request = self.client.request(method, format!("http://box{path}"));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.with_context(|| {
            format!(
                "no box answers at {}: is it running, and is its data_dir there?",
                self.socket.display()
            )
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer.json().await?);
        }
        let body: serde_json::Value = answer.json().await.unwrap_or_default();
        match body["error"].as_str() {
            Some(reason) => bail!("{reason}"),
            None => bail!("the box answered {status}"),
        }
    }
}
