//! The beginning: keys, certificate authority and first root of trust.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use jiff::Timestamp;
use luxchat_bundle::{CertificateAuthority, Members, PublicKey, SigningKey, Validity, files};
use tough::schema::{
    RoleType, Root,
    decoded::{Decoded, Hex},
    key::Key,
};

use crate::{
    Authority, Error, KeyCost, KeyName, KeyRole, Passphrase, Passphrases, Settings,
    authority::{Beginning, key_path},
    key_file,
    metadata::{SPEC_VERSION, expiry, key_id, role_keys, sign, tuf_key, version},
};

/// How many keys a role has and how many of them must sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// The number of keys, each with its holder.
    pub keys: u8,
    /// How many of them must sign.
    pub threshold: u8,
}

/// What a new authority is to be like.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How long what it signs is good for.
    pub settings: Settings,
    /// Who may change who holds which key.
    pub root: Quorum,
    /// Who may say who is a member.
    pub targets: Quorum,
    /// How much work it is to try one passphrase.
    pub cost: KeyCost,
}

impl Authority {
    /// Makes an authority in `folder`, which must be empty or not there.
    pub fn init(
        folder: &Path,
        plan: &Plan,
        passphrases: &dyn Passphrases,
        now: Timestamp,
    ) -> Result<Self, Error> {
        check(plan)?;
        if std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Error::NotEmpty(folder.to_owned()));
        }
        let chosen = choose_passphrases(plan, passphrases)?;
        files::create_folder(&folder.join("keys"))?;
        let keep = |name: KeyName, pkcs8: &[u8]| {
            key_file::write(
                &key_path(folder, name),
                name,
                pkcs8,
                &chosen[&name],
                plan.cost,
            )
        };
        let settings = &plan.settings;
        let validity = Validity::days_from(now, settings.authority_days)?;
        let authority = CertificateAuthority::generate(&settings.name, validity)?;
        keep(KeyName::CertificateAuthority, &authority.key_pkcs8())?;

        let mut keys: BTreeMap<KeyName, SigningKey> = BTreeMap::new();
        for name in chosen.keys().filter(|name| name.role().is_some()) {
            let key = SigningKey::generate()?;
            keep(*name, &key.to_pkcs8())?;
            keys.insert(*name, key);
        }
        let public: BTreeMap<_, _> = keys
            .iter()
            .map(|(name, key)| (*name, key.public_key()))
            .collect();
        let root = first_root(plan, &public, now)?;
        let signers: Vec<_> = keys
            .iter()
            .filter(|(name, _)| name.role() == Some(KeyRole::Root))
            .map(|(_, key)| key)
            .collect();
        Self::begin(
            folder,
            &Beginning {
                settings,
                certificate: authority.certificate(),
                keys: &public,
                root: &sign(root, &signers)?,
                members: &Members::new(now, vec![authority.certificate().clone()], Vec::new())?,
            },
        )?;
        let authority = Self::open(folder)?.with_key_cost(plan.cost);
        authority.journal(now, "init")?;
        Ok(authority)
    }
}

/// Asks all holders before anything is made, so that a mistake leaves nothing behind.
fn choose_passphrases(
    plan: &Plan,
    passphrases: &dyn Passphrases,
) -> Result<BTreeMap<KeyName, Passphrase>, Error> {
    let signing = quorums(plan)
        .into_iter()
        .flat_map(|(role, quorum)| (1..=u16::from(quorum.keys)).map(move |n| role.key(n)));
    std::iter::once(KeyName::CertificateAuthority)
        .chain(signing)
        .map(|name| {
            let passphrase = passphrases.choose(name)?;
            key_file::check(name, &passphrase)?;
            Ok((name, passphrase))
        })
        .collect()
}

fn quorums(plan: &Plan) -> [(KeyRole, Quorum); 3] {
    let publishing = Quorum {
        keys: 1,
        threshold: 1,
    };
    [
        (KeyRole::Root, plan.root),
        (KeyRole::Targets, plan.targets),
        (KeyRole::Publishing, publishing),
    ]
}

fn check(plan: &Plan) -> Result<(), Error> {
    plan.settings.check()?;
    for (role, quorum) in quorums(plan) {
        if quorum.threshold == 0 || quorum.threshold > quorum.keys {
            return Err(Error::Threshold {
                role: role.as_str(),
                threshold: quorum.threshold,
                keys: quorum.keys,
            });
        }
    }
    Ok(())
}

fn first_root(
    plan: &Plan,
    keys: &BTreeMap<KeyName, PublicKey>,
    now: Timestamp,
) -> Result<Root, Error> {
    let mut roles = HashMap::new();
    for (role, quorum) in quorums(plan) {
        let of_role: Vec<_> = keys
            .iter()
            .filter(|(name, _)| name.role() == Some(role))
            .map(|(_, key)| *key)
            .collect();
        let role_keys = role_keys(&of_role, quorum.threshold.into())?;
        for tuf_role in tuf_roles(role) {
            roles.insert(*tuf_role, role_keys.clone());
        }
    }
    Ok(Root {
        spec_version: SPEC_VERSION.to_owned(),
        consistent_snapshot: true,
        version: version(1)?,
        expires: expiry(now, plan.settings.repository_days.root)?,
        keys: keys_by_id(keys.values().copied())?,
        roles,
        _extra: HashMap::new(),
    })
}

/// The roles of TUF that the keys of `role` hold.
pub(crate) fn tuf_roles(role: KeyRole) -> &'static [RoleType] {
    match role {
        KeyRole::Root => &[RoleType::Root],
        KeyRole::Targets => &[RoleType::Targets],
        KeyRole::Publishing => &[RoleType::Snapshot, RoleType::Timestamp],
    }
}

/// The keys as a root lists them.
pub(crate) fn keys_by_id(
    keys: impl IntoIterator<Item = PublicKey>,
) -> Result<HashMap<Decoded<Hex>, Key>, Error> {
    keys.into_iter()
        .map(|key| Ok((key_id(key)?, tuf_key(key))))
        .collect()
}
