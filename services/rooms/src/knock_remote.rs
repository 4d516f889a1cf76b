//! Knocking on a room through a server that is in it.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#knocking-rooms>

use ruma::{
    CanonicalJsonObject, OwnedServerName, RoomId, ServerName, UserId,
    api::federation::membership::{create_knock_event, prepare_knock_event},
    events::room::member::MembershipState,
};

use crate::{Result, Rooms, VERSIONS, handshake::Wish, stripped_state::strip};

impl Rooms {
    /// Knocks on a room through one of `servers`.
    pub(crate) async fn knock_remote(
        &self,
        user: &UserId,
        room_id: &RoomId,
        servers: &[OwnedServerName],
        content: CanonicalJsonObject,
    ) -> Result<()> {
        let wish = Wish {
            user,
            room_id,
            membership: MembershipState::Knock,
            content,
        };
        self.ask_in_turn(room_id, servers, |server| {
            let wish = &wish;
            async move { self.knock_via(&server, wish).await }
        })
        .await
    }

    async fn knock_via(&self, server: &ServerName, wish: &Wish<'_>) -> Result<()> {
        let (room_id, user) = (wish.room_id.to_owned(), wish.user.to_owned());
        let mut request = prepare_knock_event::v1::Request::new(room_id.clone(), user);
        request.ver = VERSIONS.to_vec();
        let template = self.federation.request(server, request).await?;
        let knock = self.complete(wish, Some(template.room_version), &template.event)?;
        self.note_room(wish.room_id, &knock.version).await?;
        let request = create_knock_event::v1::Request::new(room_id, knock.event_id(), knock.raw()?);
        let answer = self.federation.request(server, request).await?;
        let state = strip(&answer.knock_room_state);
        self.set_outside_membership(wish.user, wish.room_id, knock.pdu, Some(state))
            .await
    }
}
