//! Whether a certificate lets a peer in.

use jiff::Timestamp;

use crate::{Leaf, Member, Members, Serial, ServerName, Status};

/// Why a peer is not let in. The text is meant for the log and for the peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The name is not on the member list.
    #[error("{0} is not on the member list")]
    Unlisted(ServerName),
    /// The member is suspended.
    #[error("{server_name} is suspended: {reason}")]
    Suspended {
        server_name: ServerName,
        reason: String,
    },
    /// The member is revoked.
    #[error("{server_name} is revoked: {reason}")]
    Revoked {
        server_name: ServerName,
        reason: String,
    },
    /// This one certificate of the member is revoked.
    #[error("certificate {serial} of {server_name} is revoked")]
    CertificateRevoked {
        server_name: ServerName,
        serial: Serial,
    },
    /// The voucher that the certificate came of is revoked.
    #[error("the voucher {voucher} is revoked by which {server_name} has its certificate")]
    VoucherRevoked {
        server_name: ServerName,
        voucher: Serial,
    },
    /// The certificate is not valid yet.
    #[error("the certificate of {server_name} is valid only from {from}")]
    NotYetValid {
        server_name: ServerName,
        from: Timestamp,
    },
    /// The certificate has expired.
    #[error("the certificate of {server_name} expired at {at}")]
    Expired {
        server_name: ServerName,
        at: Timestamp,
    },
    /// The member's keys are pinned, and the certificate is for another.
    #[error("the certificate of {0} is for a key that is not among the pinned ones")]
    OtherKey(ServerName),
}

impl Members {
    /// The member that `leaf` belongs to, if it may federate at `now`. That the certificate chains
    /// to one of [`Members::authorities`] is for the TLS stack to check.
    pub fn admit(&self, leaf: &Leaf, now: Timestamp) -> Result<&Member, Refusal> {
        let member = self.active(&leaf.server_name)?;
        let server_name = || member.server_name.clone();
        if now < leaf.not_before {
            return Err(Refusal::NotYetValid {
                server_name: server_name(),
                from: leaf.not_before,
            });
        }
        if now > leaf.not_after {
            return Err(Refusal::Expired {
                server_name: server_name(),
                at: leaf.not_after,
            });
        }
        if member.tls.revoked_serials.contains(&leaf.serial) {
            return Err(Refusal::CertificateRevoked {
                server_name: server_name(),
                serial: leaf.serial.clone(),
            });
        }
        if let Some(voucher) = &leaf.voucher
            && self.revoked_vouchers().contains(voucher)
        {
            return Err(Refusal::VoucherRevoked {
                server_name: server_name(),
                voucher: voucher.clone(),
            });
        }
        let pins = &member.tls.pinned_keys;
        if !pins.is_empty() && !pins.contains(&leaf.key_fingerprint) {
            return Err(Refusal::OtherKey(server_name()));
        }
        Ok(member)
    }

    /// The member of that name, if it may federate.
    pub fn active(&self, server_name: &ServerName) -> Result<&Member, Refusal> {
        let member = self
            .get(server_name)
            .ok_or_else(|| Refusal::Unlisted(server_name.clone()))?;
        match &member.status {
            Status::Active {} => Ok(member),
            Status::Suspended { reason, .. } => Err(Refusal::Suspended {
                server_name: member.server_name.clone(),
                reason: reason.clone(),
            }),
            Status::Revoked { reason, .. } => Err(Refusal::Revoked {
                server_name: member.server_name.clone(),
                reason: reason.clone(),
            }),
        }
    }
}
