//! A peer that does not play by the rules: it speaks mutual TLS and HTTP by itself, with whatever certificate it got.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result, ensure};
use luxchat_appliance::{data_dir::DataDir, enrolment};
use luxchat_bundle::{AuthorityCertificate, BoxKeys, Enrolment, LeafCertificate};
use luxchat_testkit::Kit;
use ruma::{
    ServerName,
    api::federation::authentication::{XMatrix, XMatrixSigningInput},
    signatures::Ed25519KeyPair,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring, version::TLS13};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// Whom it talks to.
pub(crate) const TARGET: &str = "interieur";

/// One that connects to [`TARGET`].
pub(crate) struct Impostor {
    server_name: String,
    signing_key: Ed25519KeyPair,
    tls: ClientConfig,
    target: SocketAddr,
}

impl Impostor {
    /// With the keys and the certificate of a box of the nation: stolen, or the box itself gone bad.
    pub(crate) fn with_identity_of(kit: &Kit, name: &str) -> Result<Self> {
        let data = DataDir::open(&kit.nation().site(name)?.config.data_dir)?;
        let enrolment = enrolled(&data)?;
        Self::with(kit, &enrolment::keys(&data)?, Some(&enrolment.certificate))
    }

    /// With any keys, and a certificate for them or none.
    pub(crate) fn with(
        kit: &Kit,
        keys: &BoxKeys,
        certificate: Option<&LeafCertificate>,
    ) -> Result<Self> {
        let target = &kit.nation().site(TARGET)?.config;
        let enrolment = enrolled(&DataDir::open(&target.data_dir)?)?;
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots(&enrolment.authority)?);
        let tls = match certificate {
            Some(certificate) => {
                let chain = vec![certificate.der().clone()];
                builder.with_client_auth_cert(chain, keys.tls_key())?
            }
            None => builder.with_no_client_auth(),
        };
        let version = keys.signing_key_id().version().to_owned();
        Ok(Self {
            server_name: certificate.map_or_else(
                || "nobody.demo.lu".to_owned(),
                |certificate| certificate.leaf().server_name.to_string(),
            ),
            signing_key: Ed25519KeyPair::from_der(&keys.signing_key_pkcs8(), version)?,
            tls,
            target: target.federation.listen,
        })
    }

    /// The alert that the connection ends with.
    pub(crate) async fn refusal(&self) -> Result<String> {
        let exchange = self.exchange(b"GET /_matrix/federation/v1/version HTTP/1.1\r\n\r\n");
        let error = exchange
            .await
            .err()
            .context("the connection was accepted")?;
        Ok(error.to_string())
    }

    /// A request in its own name.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value)> {
        self.call_as(&self.server_name, method, path, body).await
    }

    /// A request that claims to come from `origin`, signed with its own key.
    pub(crate) async fn call_as(
        &self,
        origin: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value)> {
        let bytes = body.map_or_else(|| Ok(Vec::new()), serde_json::to_vec)?;
        let request = http::Request::builder().method(method).uri(path);
        let input = XMatrixSigningInput::new(
            ServerName::parse(origin)?,
            ServerName::parse(format!("{TARGET}.demo.lu"))?,
            &self.signing_key,
        );
        let signature = XMatrix::sign_http_request(&request.body(bytes.as_slice())?, input)?;
        let signature = http::HeaderValue::from(&signature);
        self.send(method, path, signature.to_str()?, &bytes).await
    }

    /// A request with any Authorization header and any body.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        authorization: &str,
        body: &[u8],
    ) -> Result<(u16, Value)> {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {TARGET}.demo.lu\r\nConnection: close\r\nAuthorization: {authorization}\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        let answer = String::from_utf8(self.exchange(&request).await?)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
        let status = head.split(' ').nth(1).context("no status")?;
        ensure!(!head.contains("chunked"), "{head}");
        let body = serde_json::from_str(body).with_context(|| answer.clone())?;
        Ok((status.parse()?, body))
    }

    /// Sends bytes over a connection of its own, and reads until the other side closes it.
    async fn exchange(&self, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        let connector = TlsConnector::from(Arc::new(self.tls.clone()));
        let name = format!("{TARGET}.demo.lu");
        let name = name.try_into().map_err(std::io::Error::other)?;
        let socket = TcpStream::connect(self.target).await?;
        let mut stream = connector.connect(name, socket).await?;
        stream.write_all(bytes).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(answer)
    }
}

fn enrolled(data: &DataDir) -> Result<Enrolment> {
    enrolment::installed(data)?.context("the box is enrolled")
}

fn roots(authority: &AuthorityCertificate) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone())?;
    Ok(roots)
}
