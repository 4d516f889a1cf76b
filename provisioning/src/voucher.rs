//! Vouchers: members that are let in beforehand, to make their keys on the spot.

use std::collections::BTreeMap;

use jiff::Timestamp;
use luxchat_bundle::{
    CertificateRequest, DirectoryPointer, Endpoint, LeafCertificate, MAX_VOUCHER_NAMES,
    MAX_VOUCHER_USES, Member, Role, Serial, ServerName, SigningRequest, Status, TlsIdentity,
    Validity, Voucher, VoucherDetails,
    files::{self, Access},
};

use crate::{Authority, Error, Passphrases, metadata::expiry, status::one_line};

const VOUCHERS: &str = "vouchers";
const MAX_DAYS: u32 = 366;
const MAX_BYTES: usize = 1024 * 1024;

/// What a voucher is to be good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoucherPlan {
    /// The members to come.
    pub members: Vec<NewMember>,
    /// How many certificates may come of it.
    pub uses: u32,
    /// For how many days it is good.
    pub days: u32,
}

/// A member to come, as far as it is known before its box is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMember {
    /// Its server name.
    pub server_name: ServerName,
    /// The administration in words.
    pub display_name: String,
    /// Where it will listen for its peers, best first.
    pub endpoints: Vec<Endpoint>,
}

impl Authority {
    /// Makes a voucher, and members of those whom it is for. Their Matrix signing keys are not known yet: peers take those
    /// that a box shows under its certificate, until `renew` puts them on the list. The directory takes the voucher once it
    /// has the next publication.
    pub fn voucher(
        &mut self,
        plan: &VoucherPlan,
        passphrases: &dyn Passphrases,
        now: Timestamp,
    ) -> Result<Voucher, Error> {
        check(plan)?;
        let (directory, recipient) = self.directory_key()?;
        let mut members = self.members().clone();
        for new in &plan.members {
            members = members.with(now, self.member_to_come(new)?)?;
        }
        let names: Vec<_> = plan
            .members
            .iter()
            .map(|it| it.server_name.clone())
            .collect();
        let authority = self.certificate_authority(passphrases)?;
        let certificate_days = self.settings().certificate_days;
        // What is issued on the last day is good for as long as any other.
        let validity = Validity::days_from(now, plan.days + certificate_days)?;
        let (id, issuer) = authority.delegate(&names, validity)?;
        let details = VoucherDetails {
            id: id.clone(),
            server_names: names.clone(),
            uses: plan.uses,
            certificate_days,
            issued_at: now,
            expires: expiry(now, plan.days)?,
            directory,
            authority: self.certificate().clone(),
            trusted_root: String::from_utf8(self.trusted_root()?)
                .map_err(crate::metadata::fault)?,
            issuer: issuer.certificate().clone(),
        };
        let voucher = Voucher::new(details, &issuer, &recipient, &authority)?;
        let names: Vec<_> = names.iter().map(ServerName::as_str).collect();
        self.journal(now, &format!("voucher {id} for {}", names.join(" ")))?;
        let folder = self.folder.join(VOUCHERS);
        files::create_folder(&folder)?;
        files::create(
            &folder.join(format!("{id}.json")),
            &voucher.to_json(),
            Access::Public,
        )?;
        self.set_members(members)?;
        Ok(voucher)
    }

    /// Withdraws a voucher, and every certificate that came of it.
    pub fn revoke_voucher(
        &mut self,
        id: &Serial,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        if !self
            .folder
            .join(VOUCHERS)
            .join(format!("{id}.json"))
            .is_file()
        {
            return Err(Error::NoVoucher(id.clone()));
        }
        let mut revoked = self.members().revoked_vouchers().to_vec();
        if revoked.contains(id) {
            return Err(Error::VoucherRevoked(id.clone()));
        }
        revoked.push(id.clone());
        let members = self.members().clone().with_revoked_vouchers(revoked)?;
        self.journal(now, &format!("revoke-voucher {id} {}", one_line(reason)))?;
        self.set_members(members)
    }

    /// A member for which a voucher was made before may get another; one that has its keys on the list is replaced by `renew`.
    fn member_to_come(&self, new: &NewMember) -> Result<Member, Error> {
        let name = &new.server_name;
        if new.endpoints.is_empty() {
            return Err(Error::NoEndpoint(name.clone()));
        }
        if let Some(known) = self.members().get(name)
            && (!known.signing_keys.is_empty() || !known.status.is_active())
        {
            return Err(Error::AlreadyMember(name.clone()));
        }
        Ok(Member {
            server_name: name.clone(),
            display_name: new.display_name.clone(),
            role: Role::Ministry,
            endpoints: new.endpoints.clone(),
            tls: TlsIdentity::default(),
            signing_keys: BTreeMap::new(),
            old_signing_keys: BTreeMap::new(),
            status: Status::Active {},
        })
    }

    /// The directory that takes vouchers, and what it asked when it got its newest certificate.
    fn directory_key(&self) -> Result<(DirectoryPointer, CertificateRequest), Error> {
        let directory = self.members().directories().next();
        let directory = directory.ok_or(Error::NoDirectory)?;
        let folder = self
            .folder
            .join("certificates")
            .join(directory.server_name.as_str());
        let mut newest: Option<(Timestamp, CertificateRequest)> = None;
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            if path.extension().is_none_or(|it| it != "pem") {
                continue;
            }
            let pem = files::read(&path, MAX_BYTES)?;
            let certificate: LeafCertificate = String::from_utf8_lossy(&pem).parse()?;
            let at = certificate.leaf().not_before;
            if newest.as_ref().is_none_or(|(newest, _)| at >= *newest) {
                let request = files::read(&path.with_extension("request.json"), MAX_BYTES)?;
                let request = SigningRequest::from_json(&request)?;
                newest = Some((at, request.certificate_request().clone()));
            }
        }
        let (_, request) = newest.ok_or(Error::NoDirectory)?;
        let pointer = DirectoryPointer {
            server_name: directory.server_name.clone(),
            endpoints: directory.endpoints.clone(),
        };
        Ok((pointer, request))
    }
}

fn check(plan: &VoucherPlan) -> Result<(), Error> {
    let fault = |why: String| Err(Error::VoucherPlan(why));
    if plan.members.is_empty() || plan.members.len() > MAX_VOUCHER_NAMES {
        return fault(format!("it must name 1 to {MAX_VOUCHER_NAMES} servers"));
    }
    if plan.uses == 0 || plan.uses > MAX_VOUCHER_USES {
        return fault(format!("it must have 1 to {MAX_VOUCHER_USES} uses"));
    }
    if plan.days == 0 || plan.days > MAX_DAYS {
        return fault(format!("it must be good for 1 to {MAX_DAYS} days"));
    }
    Ok(())
}
