use std::collections::BTreeMap;

use luxchat_store::{
    CrossSigningKeys, CrossSigningUsage, ReadTx, RemoteDeviceList, UserNid, WriteTx,
};
use ruma::{DeviceId, OwnedUserId, UserId, api::client::keys::upload_signatures::v3::SignedKeys};
use serde_json::value::RawValue;

use crate::{
    Encryption, Error, Result,
    encryption::local_user,
    remote::Wanted,
    signed_json::{SignedJson, device_signing_key},
};

/// Signed objects that one upload may bring.
const MAX_OBJECTS: usize = 1_000;

/// Why a signature was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFailure {
    /// There is no such key, or it is not for this user to sign.
    #[error("there is no such key to sign")]
    UnknownKey,
    /// The signed object is not the key as it was published.
    #[error("the signed object differs from the published key")]
    DifferentKey,
    /// No signature by a key that may sign this one, or a wrong one.
    #[error("the signature is missing or wrong")]
    InvalidSignature,
}

/// What is wrong with an upload, by user and key.
pub type SignatureFailures = BTreeMap<OwnedUserId, BTreeMap<String, SignatureFailure>>;

impl Encryption {
    /// Publishes a user's signatures: by the self-signing key over own devices, by own devices over the own master key,
    /// by the user-signing key over others' master keys.
    /// [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keyssignaturesupload).
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`]. What is wrong with single signatures is answered, and the others are taken.
    pub async fn upload_signatures(
        &self,
        signer: &UserId,
        signed_keys: BTreeMap<OwnedUserId, SignedKeys>,
    ) -> Result<SignatureFailures> {
        let objects: Vec<Object> = signed_keys
            .iter()
            .flat_map(|(user, keys)| {
                keys.iter().map(move |(key, json)| Object {
                    target: user.clone(),
                    key: key.to_owned(),
                    json: json.to_owned(),
                })
            })
            .collect();
        if objects.len() > MAX_OBJECTS {
            return Err(Error::TooLarge(format!(
                "an upload may bring {MAX_OBJECTS} signed keys"
            )));
        }
        self.learn_remote_keys(signed_keys.keys()).await?;
        let signer_id = signer.to_owned();
        let (checked, mut failures) = self
            .store()
            .read(move |tx| check_all(tx, &signer_id, objects))
            .await?;
        let signer = signer.to_owned();
        let changed_meanwhile = self
            .store()
            .write(move |tx| add_all(tx, &signer, checked))
            .await?;
        for (user, key) in changed_meanwhile {
            let of_user = failures.entry(user).or_default();
            of_user.insert(key, SignatureFailure::DifferentKey);
        }
        Ok(failures)
    }

    /// Fetches keys of other servers' users that are not in the store as they are now. Where that fails, they stay so.
    async fn learn_remote_keys(&self, users: impl Iterator<Item = &OwnedUserId>) -> Result<()> {
        let remote: Vec<_> = users.filter(|user| !self.is_local(user)).cloned().collect();
        if remote.is_empty() {
            return Ok(());
        }
        let unknown = self
            .store()
            .read::<_, Error, _>(move |tx| {
                let mut unknown: BTreeMap<_, Wanted> = BTreeMap::new();
                for user in remote {
                    if let Some(nid) = tx.user_nid(&user)?
                        && tx.shares_room_with_us(nid)?
                        && tx.remote_device_list(nid)? != RemoteDeviceList::Fresh
                    {
                        let server = unknown.entry(user.server_name().to_owned());
                        server.or_default().followed.push(user);
                    }
                }
                Ok(unknown)
            })
            .await?;
        let timeout = self.remote_timeout(None);
        for (server, wanted) in unknown {
            if let Err(error) = self.fetch_remote_devices(&server, wanted, timeout).await {
                tracing::info!(%server, %error, "keys to be signed could not be fetched");
            }
        }
        Ok(())
    }
}

struct Object {
    target: OwnedUserId,
    key: String,
    json: Box<RawValue>,
}

/// Signatures that hold.
struct Checked {
    target: OwnedUserId,
    key: String,
    /// The published key that they are over.
    published: String,
    signatures: Vec<(String, String)>,
}

fn check_all(
    tx: &ReadTx<'_>,
    signer: &UserId,
    objects: Vec<Object>,
) -> Result<(Vec<Checked>, SignatureFailures)> {
    let nid = local_user(tx, signer)?;
    let own_keys = tx.cross_signing_keys(nid)?;
    let mut checked = Vec::new();
    let mut failures = SignatureFailures::new();
    for object in objects {
        match check(tx, (signer, nid), &own_keys, &object)? {
            Ok((published, signatures)) => checked.push(Checked {
                target: object.target,
                key: object.key,
                published,
                signatures,
            }),
            Err(failure) => {
                let of_user = failures.entry(object.target).or_default();
                of_user.insert(object.key, failure);
            }
        }
    }
    Ok((checked, failures))
}

type Holding = Result<(String, Vec<(String, String)>), SignatureFailure>;

fn check(
    tx: &ReadTx<'_>,
    (signer, signer_nid): (&UserId, UserNid),
    own_keys: &CrossSigningKeys,
    object: &Object,
) -> Result<Holding> {
    let Some(target) = tx.user_nid(&object.target)? else {
        return Ok(Err(SignatureFailure::UnknownKey));
    };
    let Some((published, is_device)) = published_key(tx, target, &object.key)? else {
        return Ok(Err(SignatureFailure::UnknownKey));
    };
    let Ok(signed) = SignedJson::parse(&object.json) else {
        return Ok(Err(SignatureFailure::DifferentKey));
    };
    let as_published: Box<RawValue> = RawValue::from_string(published.clone())
        .map_err(|error| luxchat_store::Error::invalid("published key", error))?;
    if !signed.says_the_same_as(&SignedJson::parse(&as_published)?) {
        return Ok(Err(SignatureFailure::DifferentKey));
    }
    let public_key = |key_id: &str| -> Result<Option<String>> {
        let name = key_id.strip_prefix("ed25519:").unwrap_or_default();
        let own = |usage| {
            own_keys
                .get(&usage)
                .filter(|key| key.key_id == name)
                .map(|key| key.key_id.clone())
        };
        match (target == signer_nid, is_device) {
            (true, true) => Ok(own(CrossSigningUsage::SelfSigning)),
            (true, false) => {
                let device: &DeviceId = name.into();
                let keys = tx.device_keys(signer_nid, device)?;
                Ok(keys.and_then(|keys| device_signing_key(device, &keys)))
            }
            (false, false) => Ok(own(CrossSigningUsage::UserSigning)),
            (false, true) => Ok(None),
        }
    };
    let mut signatures = Vec::new();
    for (key_id, signature) in signed.signatures_of(signer) {
        // Others may be in the object already: those that it was published with.
        let Some(public_key) = public_key(key_id)? else {
            continue;
        };
        if !signed.verifies(&public_key, signature) {
            return Ok(Err(SignatureFailure::InvalidSignature));
        }
        signatures.push((key_id.to_owned(), signature.to_owned()));
    }
    if signatures.is_empty() {
        return Ok(Err(SignatureFailure::InvalidSignature));
    }
    Ok(Ok((published, signatures)))
}

/// The published key of this name, and whether it is a device's. Of the cross-signing keys only the master key is there
/// to be signed.
fn published_key(tx: &ReadTx<'_>, user: UserNid, key: &str) -> Result<Option<(String, bool)>> {
    let keys = tx.cross_signing_keys(user)?;
    if let Some(master) = keys
        .get(&CrossSigningUsage::Master)
        .filter(|master| master.key_id == key)
    {
        return Ok(Some((master.key.json().get().to_owned(), false)));
    }
    let device = tx.device_keys(user, key.into())?;
    Ok(device.map(|keys| (keys.json().get().to_owned(), true)))
}

/// Adds signatures that hold, and says which keys changed since they were checked.
fn add_all(
    tx: &mut WriteTx<'_>,
    signer: &UserId,
    checked: Vec<Checked>,
) -> Result<Vec<(OwnedUserId, String)>> {
    let signer = local_user(tx, signer)?;
    let mut changed_meanwhile = Vec::new();
    for Checked {
        target: target_id,
        key,
        published,
        signatures,
    } in checked
    {
        let target = local_user(tx, &target_id)?;
        let is_device = match published_key(tx, target, &key)? {
            Some((now, is_device)) if now == published => is_device,
            _ => {
                changed_meanwhile.push((target_id, key));
                continue;
            }
        };
        if !tx.add_key_signatures(target, &key, signer, &signatures)? {
            continue;
        }
        match (target == signer, is_device) {
            (true, true) => tx.device_changed(target, key.as_str().into())?,
            (true, false) => tx.signing_keys_changed(target)?,
            (false, _) => tx.signatures_changed(signer, target)?,
        }
    }
    Ok(changed_meanwhile)
}
