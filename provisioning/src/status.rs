//! Who may federate, and which certificates no longer count.

use jiff::Timestamp;
use luxchat_bundle::{Member, Serial, Status};

use crate::{Authority, Error};

impl Authority {
    /// Keeps a member out for now.
    pub fn suspend(&mut self, name: &str, reason: &str, now: Timestamp) -> Result<(), Error> {
        let member = self.member(name)?.clone();
        match member.status {
            Status::Active {} => {}
            Status::Suspended { .. } => {
                return Err(Error::Already(member.server_name, "suspended"));
            }
            Status::Revoked { .. } => return Err(Error::Revoked(member.server_name)),
        }
        let status = Status::Suspended {
            reason: reason.to_owned(),
            since: now,
        };
        self.set_status("suspend", reason, member, status, now)
    }

    /// Keeps a member out for good.
    pub fn revoke(&mut self, name: &str, reason: &str, now: Timestamp) -> Result<(), Error> {
        let member = self.member(name)?.clone();
        if let Status::Revoked { .. } = member.status {
            return Err(Error::Already(member.server_name, "revoked"));
        }
        let status = Status::Revoked {
            reason: reason.to_owned(),
            since: now,
        };
        self.set_status("revoke", reason, member, status, now)
    }

    /// Lets a suspended or revoked member in again.
    pub fn reinstate(&mut self, name: &str, reason: &str, now: Timestamp) -> Result<(), Error> {
        let member = self.member(name)?.clone();
        if member.status.is_active() {
            return Err(Error::Already(member.server_name, "active"));
        }
        self.set_status("reinstate", reason, member, Status::Active {}, now)
    }

    /// Makes one certificate of a member count no longer, while the member stays one.
    pub fn revoke_certificate(
        &mut self,
        name: &str,
        serial: &Serial,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut member = self.member(name)?.clone();
        if member.tls.revoked_serials.contains(serial) {
            return Err(Error::Already(member.server_name, "without it"));
        }
        let entry = format!("revoke-certificate {} {serial}", member.server_name);
        member.tls.revoked_serials.push(serial.clone());
        self.change_member(&entry, member, now)
    }

    fn set_status(
        &mut self,
        action: &str,
        reason: &str,
        member: Member,
        status: Status,
        now: Timestamp,
    ) -> Result<(), Error> {
        let entry = format!("{action} {} {}", member.server_name, one_line(reason));
        self.change_member(&entry, Member { status, ..member }, now)
    }
}

/// Keeps a journal entry on its line.
pub(crate) fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(300)
        .collect()
}
