//! The signed repository of the nation, fetched from the directory.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;
use luxchat_bundle::{
    AuthorityCertificate, Bundle, DirectoryPointer, Member, Members, Role, Source, SourceError,
    SourceFuture, Status,
};
use luxchat_store::Clock;
use ruma::{OwnedServerName, ServerName};
use tracing::debug;

use crate::{
    Config, Error, Membership, Result,
    network::{Network, read},
    tls::{Connections, Tls},
};

/// Where the directory serves the repository; `metadata/...` and `targets/...` follow.
const BASE: &str = "/_luxchat/directory/v1/repository";

/// How long one file may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The directory as a box was told of it at enrolment, before it has a members list.
#[derive(Clone, Debug)]
pub struct EnrolledDirectory {
    /// Its name and addresses.
    pub pointer: DirectoryPointer,
    /// The authority that its certificate must chain to.
    pub authority: AuthorityCertificate,
}

/// Fetches files of the repository from the active directories of the members list, in turn, over mutual TLS; from the
/// enrolled one where the list names none. That the list at hand has expired does not keep it from fetching a newer one.
#[derive(Debug)]
pub struct RepositorySource {
    network: Network,
    /// The list in force for everything else.
    membership: Membership,
    /// The same list, never expiring, or one of the enrolled directory alone.
    directories: Membership,
    enrolled: Option<Bundle>,
}

impl RepositorySource {
    pub(crate) fn new(
        tls: &Tls,
        membership: Membership,
        enrolled: Option<EnrolledDirectory>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let now = i64::try_from(clock.now_ms()).unwrap_or(i64::MAX);
        let now = Timestamp::from_millisecond(now).unwrap_or(Timestamp::MAX);
        let enrolled = enrolled
            .map(|enrolled| list_of(enrolled, now))
            .transpose()?;
        let directories = Membership::listed(None);
        let network = Network::new(
            tls.for_membership(directories.clone())?,
            Connections::default(),
            directories.clone(),
            &Config::default(),
        )?;
        Ok(Self {
            network,
            membership,
            directories,
            enrolled,
        })
    }

    /// The directories to ask now.
    fn directories(&self) -> Vec<OwnedServerName> {
        let current = self.membership.current().map(|list| Bundle {
            expires: Timestamp::MAX,
            ..(*list).clone()
        });
        let names_one = |list: &Bundle| list.members.directories().next().is_some();
        let list = current.filter(names_one).or_else(|| self.enrolled.clone());
        if let Some(list) = list
            && self.directories.current().as_deref() != Some(&list)
        {
            self.directories.update(list);
        }
        self.directories.directories()
    }

    async fn fetch_from(
        &self,
        directory: &ServerName,
        path: &str,
        part: Option<(u64, u64)>,
        limit: u64,
    ) -> Result<http::Response<Bytes>> {
        let mut request = http::Request::get(format!("https://{directory}{BASE}/{path}"));
        if let Some((from, length)) = part {
            let to = from.saturating_add(length).saturating_sub(1);
            request = request.header(http::header::RANGE, format!("bytes={from}-{to}"));
        }
        let request = request
            .body(Bytes::new())
            .map_err(|error| Error::InvalidRequest(error.to_string()))?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let answer = async {
            let answer = self.network.send(directory, request).await?;
            read(directory, answer, limit).await
        };
        tokio::time::timeout(TIMEOUT, answer)
            .await
            .unwrap_or_else(|_| Err(Error::Timeout(directory.to_owned())))
    }

    async fn fetch_from_any(
        &self,
        path: &str,
        part: Option<(u64, u64)>,
        limit: u64,
    ) -> Result<Vec<u8>, SourceError> {
        let wanted = match part {
            Some(_) => StatusCode::PARTIAL_CONTENT,
            None => StatusCode::OK,
        };
        let mut last = SourceError::Failed("no directory is known".to_owned());
        for directory in self.directories() {
            last = match self.fetch_from(&directory, path, part, limit).await {
                Ok(answer) if answer.status() == wanted => return Ok(answer.into_body().into()),
                Ok(answer) if answer.status() == StatusCode::NOT_FOUND => SourceError::NotFound,
                Ok(answer) => SourceError::Failed(format!("{directory}: {}", answer.status())),
                Err(error) => SourceError::Failed(error.to_string()),
            };
            debug!(%directory, path, error = %last, "a file of the repository is not to be had");
        }
        Err(last)
    }
}

impl Source for RepositorySource {
    fn fetch<'a>(&'a self, path: &'a str, limit: u64) -> SourceFuture<'a> {
        Box::pin(self.fetch_from_any(path, None, limit))
    }

    fn fetch_part<'a>(&'a self, path: &'a str, from: u64, length: u64) -> SourceFuture<'a> {
        Box::pin(self.fetch_from_any(path, Some((from, length)), length))
    }
}

/// A list with the enrolled directory alone.
pub(crate) fn list_of(enrolled: EnrolledDirectory, now: Timestamp) -> Result<Bundle> {
    let directory = Member {
        server_name: enrolled.pointer.server_name,
        display_name: String::new(),
        role: Role::Directory,
        endpoints: enrolled.pointer.endpoints,
        tls: luxchat_bundle::TlsIdentity::default(),
        signing_keys: std::collections::BTreeMap::new(),
        old_signing_keys: std::collections::BTreeMap::new(),
        status: Status::Active {},
    };
    let members = Members::new(now, vec![enrolled.authority], vec![directory])
        .map_err(|error| Error::Config(format!("the enrolled directory: {error}")))?;
    Ok(Bundle {
        members,
        version: 0,
        root_version: 0,
        expires: Timestamp::MAX,
    })
}

#[cfg(test)]
mod tests;
