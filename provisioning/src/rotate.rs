//! A new root of trust: another key in place of one, or only a later date.

use jiff::Timestamp;
use luxchat_bundle::{PublicKey, SigningKey};
use tough::schema::Root;

use crate::{
    Authority, Error, KeyName, KeyRole, Passphrases,
    ceremony::{keys_by_id, tuf_roles},
    key_file,
    metadata::{expiry, role_keys, sign, version},
};

impl Authority {
    /// Puts a new key in place of `name` and returns the new one's name. Boxes accept it with the
    /// next publication, and from then on nothing more that the old one signs.
    pub fn rotate_key(
        &mut self,
        name: KeyName,
        passphrases: &dyn Passphrases,
        now: Timestamp,
    ) -> Result<KeyName, Error> {
        let role = name.role().ok_or(Error::NotRotatable(name))?;
        let (in_use, threshold) = self.quorum(role);
        if !in_use.contains(&name) {
            return Err(Error::UnusedKey(name));
        }
        let successor = self.next_name(role);
        let key = SigningKey::generate()?;
        let mut keys: Vec<PublicKey> = in_use
            .iter()
            .filter(|it| **it != name)
            .map(|it| self.keys[it])
            .collect();
        keys.push(key.public_key());

        let mut root = self.next_root(now)?;
        for tuf_role in tuf_roles(role) {
            root.roles.insert(*tuf_role, role_keys(&keys, threshold)?);
        }
        let every = self.keys.values().copied().chain([key.public_key()]);
        root.keys = keys_by_id(every)?;
        root.keys
            .retain(|id, _| root.roles.values().any(|role| role.keyids.contains(id)));

        let signers = self.signers(KeyRole::Root, passphrases, Some(name))?;
        let mut all: Vec<&SigningKey> = signers.iter().collect();
        if role == KeyRole::Root {
            all.push(&key);
        }
        let signed = sign(root, &all)?;
        let passphrase = passphrases.choose(successor)?;
        self.journal(now, &format!("rotate-key {name} {successor}"))?;
        key_file::write(
            &self.key_path(successor),
            successor,
            &key.to_pkcs8(),
            &passphrase,
            self.cost,
        )?;
        self.add_key(successor, key.public_key())?;
        self.add_root(&signed)?;
        Ok(successor)
    }

    /// Signs the root of trust anew with a later date of expiry.
    pub fn renew_root(
        &mut self,
        passphrases: &dyn Passphrases,
        now: Timestamp,
    ) -> Result<(), Error> {
        let root = self.next_root(now)?;
        let signers = self.signers(KeyRole::Root, passphrases, None)?;
        let signed = sign(root, &signers.iter().collect::<Vec<_>>())?;
        self.journal(now, "renew-root")?;
        self.add_root(&signed)
    }

    fn next_root(&self, now: Timestamp) -> Result<Root, Error> {
        let mut root = self.root.clone();
        root.version = version(self.root_version() + 1)?;
        root.expires = expiry(now, self.settings.repository_days.root)?;
        Ok(root)
    }

    /// A name that no key ever had.
    fn next_name(&self, role: KeyRole) -> KeyName {
        let taken = |name: &KeyName| self.keys.contains_key(name) || self.key_path(*name).exists();
        (1..=u16::MAX)
            .map(|number| role.key(number))
            .find(|name| !taken(name))
            .unwrap_or(role.key(u16::MAX))
    }
}
