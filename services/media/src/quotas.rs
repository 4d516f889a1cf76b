//! How much may be taken in: what a user and the box may keep, and what the disk must have left.

use luxchat_store::ReadTx;
use ruma::UserId;

use crate::{Error, Result, media::Shared};

/// What users may upload in all, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quotas {
    user: Option<u64>,
    site: Option<u64>,
}

impl Quotas {
    /// Makes sure that a user may upload `size` more bytes.
    ///
    /// # Errors
    ///
    /// [`Error::QuotaExceeded`], [`Error::SiteQuotaExceeded`].
    pub(crate) fn check(&self, tx: &ReadTx<'_>, user: &UserId, size: u64) -> Result<()> {
        if let Some(quota) = self.user
            && tx.uploaded_bytes(user)?.saturating_add(size) > quota
        {
            return Err(Error::QuotaExceeded(quota));
        }
        if let Some(quota) = self.site
            && tx.local_media_bytes()?.saturating_add(size) > quota
        {
            return Err(Error::SiteQuotaExceeded);
        }
        Ok(())
    }
}

impl Shared {
    pub(crate) fn quotas(&self) -> Quotas {
        Quotas {
            user: self.config.user_quota_bytes,
            site: self.config.quota_bytes,
        }
    }

    /// Makes sure that `size` more bytes leave the disk as free as the site wants it. The cache gives way first.
    ///
    /// # Errors
    ///
    /// [`Error::DiskFull`].
    pub(crate) async fn make_room(&self, size: u64) -> Result<()> {
        let wanted = self.config.free_bytes.saturating_add(size);
        let missing = wanted.saturating_sub(self.folder.free_bytes()?);
        if missing == 0 {
            return Ok(());
        }
        let cached: luxchat_store::Result<u64> =
            self.store.read(|tx| tx.remote_media_bytes()).await;
        let cached = cached?;
        if cached > 0 {
            self.shrink_cache(cached.saturating_sub(missing)).await?;
        }
        if self.folder.free_bytes()? < wanted {
            return Err(Error::DiskFull);
        }
        Ok(())
    }
}
