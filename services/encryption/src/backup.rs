//! Server-side key backups.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#server-side-key-backups).

use luxchat_store::{
    BackedUpSession, KeyBackup, ReadTx, SessionChange, SessionFilter, SessionQuality, UserNid,
};
use ruma::{
    UInt, UserId,
    api::client::backup::{BackupAlgorithm, KeyBackupData},
    serde::Raw,
};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::{Encryption, Error, Result, encryption::local_user};

/// The largest `auth_data`, in bytes.
const MAX_AUTH_DATA: usize = 65_536;

/// A version of a user's backup.
#[derive(Clone, Debug)]
pub struct BackupInfo {
    /// Its name.
    pub version: String,
    /// How the keys are sealed.
    pub algorithm: Raw<BackupAlgorithm>,
    /// What its keys are now.
    pub state: BackupState,
}

/// What the keys in a backup are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupState {
    /// Another one than before says that keys changed.
    pub etag: String,
    /// How many there are.
    pub count: UInt,
}

impl Encryption {
    /// Starts a new version, and answers its name.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`], [`Error::TooLarge`].
    pub async fn create_backup(
        &self,
        user: &UserId,
        algorithm: &Raw<BackupAlgorithm>,
    ) -> Result<String> {
        let (user, sealing) = (user.to_owned(), Sealing::parse(algorithm)?);
        self.store()
            .write(move |tx| {
                let user = local_user(tx, &user)?;
                let auth_data = sealing.auth_data.get();
                let version = tx.create_key_backup(user, &sealing.algorithm, auth_data)?;
                Ok(version.to_string())
            })
            .await
    }

    /// A version, or the newest one.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub async fn backup(&self, user: &UserId, version: Option<String>) -> Result<BackupInfo> {
        let user = user.to_owned();
        self.store()
            .read(move |tx| {
                let user = local_user(tx, &user)?;
                let backup = match version {
                    Some(version) => existing(tx, user, &version)?,
                    None => tx.latest_key_backup(user)?.ok_or(NO_BACKUP)?,
                };
                info(backup)
            })
            .await
    }

    /// Sets a version's `auth_data`.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Malformed`], [`Error::Invalid`] where algorithm or version are others,
    /// [`Error::TooLarge`].
    pub async fn update_backup(
        &self,
        user: &UserId,
        version: String,
        algorithm: &Raw<BackupAlgorithm>,
    ) -> Result<()> {
        let (user, sealing) = (user.to_owned(), Sealing::parse(algorithm)?);
        if sealing
            .version
            .as_ref()
            .is_some_and(|named| *named != version)
        {
            return Err(Error::Invalid(
                "the version differs from that of the path".to_owned(),
            ));
        }
        self.store()
            .write(move |tx| {
                let user = local_user(tx, &user)?;
                let backup = existing(tx, user, &version)?;
                if backup.algorithm != sealing.algorithm {
                    return Err(Error::Invalid("the algorithm does not match".to_owned()));
                }
                tx.set_key_backup_auth_data(user, backup.version, sealing.auth_data.get())?;
                Ok(())
            })
            .await
    }

    /// Deletes a version with all its keys. Deleting it again is no error.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where there never was such a version.
    pub async fn delete_backup(&self, user: &UserId, version: &str) -> Result<()> {
        let (user, version) = (user.to_owned(), parse_version(version)?);
        self.store()
            .write(move |tx| {
                let user = local_user(tx, &user)?;
                if tx.delete_key_backup(user, version)? {
                    Ok(())
                } else {
                    Err(NO_BACKUP)
                }
            })
            .await
    }

    /// Puts keys into the newest version, each unless a better one for its session is there.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::WrongBackupVersion`], [`Error::Malformed`], [`Error::TooLarge`].
    pub async fn put_backup_keys(
        &self,
        user: &UserId,
        version: String,
        sessions: Vec<BackedUpSession>,
    ) -> Result<BackupState> {
        let user = user.to_owned();
        let sessions: Vec<_> = sessions
            .into_iter()
            .map(|session| Ok((quality(&session.data)?, session)))
            .collect::<Result<_>>()?;
        let limit = self.config().sessions_per_backup;
        self.store()
            .write(move |tx| {
                let user = local_user(tx, &user)?;
                let backup = tx.latest_key_backup(user)?.ok_or(NO_BACKUP)?;
                if backup.version.to_string() != version {
                    return Err(Error::WrongBackupVersion {
                        current: backup.version.to_string(),
                    });
                }
                let (mut count, mut changed) = (backup.count, false);
                for (quality, session) in &sessions {
                    match tx.put_backed_up_session(user, backup.version, session, *quality)? {
                        SessionChange::Added => count += 1,
                        SessionChange::Replaced => {}
                        SessionChange::Kept => continue,
                    }
                    changed = true;
                }
                if count > limit {
                    return Err(Error::TooLarge(format!("a backup may have {limit} keys")));
                }
                let etag = if changed {
                    tx.touch_key_backup(user, backup.version, count)?
                } else {
                    backup.etag
                };
                Ok(state(etag, count))
            })
            .await
    }

    /// Keys of a version.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where the version is not there, or the one session that was asked for.
    pub async fn backup_keys(
        &self,
        user: &UserId,
        version: String,
        filter: SessionFilter,
    ) -> Result<Vec<BackedUpSession>> {
        let user = user.to_owned();
        let limit = self.config().sessions_per_backup;
        self.store()
            .read(move |tx| {
                let user = local_user(tx, &user)?;
                let backup = existing(tx, user, &version)?;
                let sessions = tx.backed_up_sessions(user, backup.version, &filter, limit)?;
                match filter {
                    SessionFilter::Session(..) if sessions.is_empty() => {
                        Err(Error::NotFound("key"))
                    }
                    _ => Ok(sessions),
                }
            })
            .await
    }

    /// Deletes keys of a version.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where the version is not there.
    pub async fn delete_backup_keys(
        &self,
        user: &UserId,
        version: String,
        filter: SessionFilter,
    ) -> Result<BackupState> {
        let user = user.to_owned();
        self.store()
            .write(move |tx| {
                let user = local_user(tx, &user)?;
                let backup = existing(tx, user, &version)?;
                let deleted = tx.delete_backed_up_sessions(user, backup.version, &filter)?;
                if deleted == 0 {
                    return Ok(state(backup.etag, backup.count));
                }
                let count = backup.count.saturating_sub(deleted);
                let etag = tx.touch_key_backup(user, backup.version, count)?;
                Ok(state(etag, count))
            })
            .await
    }
}

const NO_BACKUP: Error = Error::NotFound("backup version");

/// What a client says of how its backup is sealed.
#[derive(Deserialize)]
struct Sealing {
    algorithm: String,
    auth_data: Box<RawValue>,
    version: Option<String>,
}

impl Sealing {
    fn parse(algorithm: &Raw<BackupAlgorithm>) -> Result<Self> {
        let sealing: Self = algorithm
            .deserialize_as_unchecked()
            .map_err(|error| Error::Malformed(error.to_string()))?;
        let auth_data = sealing.auth_data.get();
        if !auth_data.starts_with('{') {
            return Err(Error::Malformed("auth_data must be an object".to_owned()));
        }
        if auth_data.len() > MAX_AUTH_DATA {
            return Err(Error::TooLarge(format!(
                "auth_data exceeds {MAX_AUTH_DATA} bytes"
            )));
        }
        Ok(sealing)
    }
}

/// What decides between two keys for a session. The rest is the client's secret.
fn quality(data: &Raw<KeyBackupData>) -> Result<SessionQuality> {
    #[derive(Deserialize)]
    struct Metadata {
        first_message_index: UInt,
        forwarded_count: UInt,
        is_verified: bool,
        #[serde(rename = "session_data")]
        _session_data: serde_json::Map<String, serde_json::Value>,
    }

    let metadata: Metadata = data
        .deserialize_as_unchecked()
        .map_err(|error| Error::Malformed(format!("a key in the backup: {error}")))?;
    Ok(SessionQuality {
        is_verified: metadata.is_verified,
        first_message_index: metadata.first_message_index.into(),
        forwarded_count: metadata.forwarded_count.into(),
    })
}

/// Versions are numbers; what is none names no version.
fn parse_version(version: &str) -> Result<i64> {
    version.parse().map_err(|_| NO_BACKUP)
}

fn existing(tx: &ReadTx<'_>, user: UserNid, version: &str) -> Result<KeyBackup> {
    tx.key_backup(user, parse_version(version)?)?
        .ok_or(NO_BACKUP)
}

fn info(backup: KeyBackup) -> Result<BackupInfo> {
    #[derive(Serialize)]
    struct Algorithm<'b> {
        algorithm: &'b str,
        auth_data: &'b RawValue,
    }

    let invalid = |error| luxchat_store::Error::invalid("auth_data", error);
    let auth_data = RawValue::from_string(backup.auth_data).map_err(invalid)?;
    let algorithm = to_raw_value(&Algorithm {
        algorithm: &backup.algorithm,
        auth_data: &auth_data,
    })
    .map_err(invalid)?;
    Ok(BackupInfo {
        version: backup.version.to_string(),
        algorithm: Raw::from_json(algorithm),
        state: state(backup.etag, backup.count),
    })
}

fn state(etag: i64, count: u32) -> BackupState {
    BackupState {
        etag: etag.to_string(),
        count: count.into(),
    }
}
