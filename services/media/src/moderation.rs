//! What the operator does to media. Each action leaves a row in the audit log, in the transaction that does it.

use luxchat_store::{ContentHash, QuarantinedContent, UploadedMedia};
use ruma::{MxcUri, OwnedServerName, UserId};

use crate::{
    Error, Media, Result,
    folder::{hex, parse_hex},
};

/// What an action is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A content, by its SHA-256, whether or not it lies here.
    Content(ContentHash),
    /// The content of a medium that lies here.
    Medium {
        /// The server of its `mxc:` URI.
        server: OwnedServerName,
        /// The id of its `mxc:` URI.
        media_id: String,
    },
}

impl std::str::FromStr for Target {
    type Err = Error;

    /// From an `mxc:` URI, or 64 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self> {
        if let Some(sha256) = parse_hex(text) {
            return Ok(Self::Content(sha256));
        }
        let (server, media_id) = <&MxcUri>::from(text)
            .parts()
            .map_err(|_| Error::InvalidTarget(text.to_owned()))?;
        Ok(Self::Medium {
            server: server.to_owned(),
            media_id: media_id.to_owned(),
        })
    }
}

impl Media {
    /// What a local user uploaded, in the order of the ids behind `after`, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where there is no such user.
    pub async fn uploads_of(
        &self,
        user_id: &UserId,
        after: String,
        limit: u32,
    ) -> Result<Vec<UploadedMedia>> {
        let user_id = user_id.to_owned();
        self.shared
            .store
            .read(move |tx| {
                let user = tx.user_nid(&user_id)?.ok_or(Error::NotFound)?;
                Ok(tx.media_of(user, &after, limit)?)
            })
            .await
    }

    /// The contents in quarantine, in the order of the hashes behind `after`, at most `limit`.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn quarantined(
        &self,
        after: Option<ContentHash>,
        limit: u32,
    ) -> Result<Vec<QuarantinedContent>> {
        self.shared
            .store
            .read(move |tx| Ok(tx.quarantined_contents(after.as_ref(), limit)?))
            .await
    }

    /// Withholds a content under every id that it has or gets, and refuses its upload. `actor` is a user id or `console`.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] for a medium that does not lie here.
    pub async fn quarantine(
        &self,
        target: Target,
        reason: String,
        actor: String,
    ) -> Result<ContentHash> {
        let sha256 = self.content_of(target).await?;
        self.shared
            .store
            .write(move |tx| {
                tx.quarantine_content(&sha256, &reason)?;
                let what = format!("{} {reason}", hex(&sha256));
                Ok(tx.audit(&actor, "media.quarantine", &what)?)
            })
            .await
            .map(|()| sha256)
    }

    /// Hands a content out again, whatever a scanner says of it. `actor` is a user id or `console`.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] for a content that is not in quarantine.
    pub async fn end_quarantine(&self, target: Target, actor: String) -> Result<ContentHash> {
        let sha256 = self.content_of(target).await?;
        self.shared
            .store
            .write(move |tx| {
                if !tx.release_from_quarantine(&sha256)? {
                    return Err(Error::NotFound);
                }
                Ok(tx.audit(&actor, "media.release", &hex(&sha256))?)
            })
            .await
            .map(|()| sha256)
    }

    /// Deletes a medium from this box: an upload for good, another server's until somebody looks at it again. `actor` is a
    /// user id or `console`.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub async fn delete(
        &self,
        server: OwnedServerName,
        media_id: String,
        actor: String,
    ) -> Result<()> {
        let is_local = server == self.shared.store.server_name();
        self.shared
            .store
            .write(move |tx| {
                let deleted = if is_local {
                    tx.delete_local_media(&media_id)?
                } else {
                    tx.delete_remote_media(&server, &media_id)?
                };
                if !deleted {
                    return Err(Error::NotFound);
                }
                let what = format!("mxc://{server}/{media_id}");
                Ok(tx.audit(&actor, "media.delete", &what)?)
            })
            .await?;
        self.shared.remove_files().await
    }

    async fn content_of(&self, target: Target) -> Result<ContentHash> {
        let (server, media_id) = match target {
            Target::Content(sha256) => return Ok(sha256),
            Target::Medium { server, media_id } => (server, media_id),
        };
        let is_local = server == self.shared.store.server_name();
        self.shared
            .store
            .read(move |tx| {
                let kept = if is_local {
                    tx.local_media(&media_id)?
                } else {
                    tx.remote_media(&server, &media_id)?.map(|(kept, _)| kept)
                };
                Ok(kept.ok_or(Error::NotFound)?.media.sha256)
            })
            .await
    }
}
