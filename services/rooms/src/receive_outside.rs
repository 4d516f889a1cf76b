//! The one event that other servers send about a room that this server is not in: that an invited or knocking user of
//! this server is no longer welcome.

use luxchat_store::{Member, Pdu, ReadTx, RoomNid};
use ruma::{UserId, events::room::member::MembershipState};

use crate::{
    Authorised, Origin, PduError, Placement, Rooms, append,
    receive::Inbound,
    receive_checks::{ParsedPdu, verify_one},
};

impl Rooms {
    /// Takes in a PDU of a room that this server is not in.
    pub(crate) async fn receive_outside(
        &self,
        inbound: &Inbound,
        pdu: ParsedPdu,
    ) -> Result<(), PduError> {
        let verified = verify_one(&self.federation, pdu, &inbound.rules).await?;
        let pdu = verified.into_pdu()?;
        let room = inbound.room.nid;
        self.store
            .write(move |tx| {
                let Some((member, membership)) = takes_back(tx, room, &pdu)? else {
                    return Err(PduError::NotInRoom);
                };
                let mut room = tx.room(room)?;
                let event = Authorised::outside(pdu);
                let placement = Placement::Outlier;
                let inserted = append(tx, &mut room, &event, placement, Origin::Remote)?;
                if let Some(inserted) = inserted {
                    let (event, seq) = (inserted.nid, inserted.seq);
                    tx.set_member(room.nid, member.user, &membership, event, seq)?;
                    tx.delete_stripped_state(room.nid, member.user)?;
                }
                Ok(())
            })
            .await
    }
}

/// Whose invite or knock an event ends, and what they are then.
///
/// Without the room's state there are no rules to check it by. An invite may be taken back by whoever sent it; a knock
/// goes unanswered for good if nobody may answer it.
fn takes_back(
    tx: &ReadTx<'_>,
    room: RoomNid,
    pdu: &Pdu,
) -> Result<Option<(Member, MembershipState)>, PduError> {
    let Some(membership @ (MembershipState::Leave | MembershipState::Ban)) = pdu.membership()
    else {
        return Ok(None);
    };
    let Some(Ok(target)) = pdu.state_key().map(UserId::parse) else {
        return Ok(None);
    };
    let Some(user) = tx.user_nid(&target)? else {
        return Ok(None);
    };
    let Some(member) = tx.member(room, user)? else {
        return Ok(None);
    };
    let may = match member.membership {
        MembershipState::Invite => {
            let invite = tx.event_by_nid(member.event)?.into_pdu()?;
            invite.sender() == pdu.sender()
        }
        MembershipState::Knock => true,
        _ => false,
    };
    Ok(may.then(|| (member, membership.clone())))
}
