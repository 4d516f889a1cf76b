//! The rooms that this server's directory lists.

use std::cmp::Reverse;

use luxchat_store::{ReadTx, RoomNid, Store};
use ruma::{
    UInt,
    directory::{Filter, PublicRoomsChunk, RoomNetwork, RoomTypeFilter},
};

use crate::{Error, Result, room_summary::summarise};

/// Rooms in one page, unless the asker says how many, and at most.
const PAGE: usize = 50;
const LONGEST_PAGE: usize = 200;

/// Rooms looked at for one page of a search.
const SEARCHED: usize = 10_000;

/// Which of the listed rooms somebody wants.
#[derive(Clone, Debug, Default)]
pub struct PublicRoomsRequest {
    /// How many at most.
    pub limit: Option<UInt>,
    /// Where an earlier page ended or began.
    pub since: Option<String>,
    /// What to look for.
    pub filter: Filter,
    /// Of which network; by default those of Matrix alone.
    pub network: RoomNetwork,
}

/// A page of the listed rooms.
#[derive(Clone, Debug)]
pub struct PublicRooms {
    /// Those with most joined users first.
    pub chunk: Vec<PublicRoomsChunk>,
    /// Where the next page starts, if there is more.
    pub next_batch: Option<String>,
    /// Where the page before this one starts, if there is one.
    pub prev_batch: Option<String>,
    /// How many rooms are listed.
    pub total: UInt,
}

/// A page of the rooms that this server's directory lists, for clients and other servers alike.
/// [Spec](https://spec.matrix.org/v1.19/client-server-api/#published-room-directory).
///
/// # Errors
///
/// [`Error::UnknownToken`].
pub async fn public_rooms(store: &Store, request: PublicRoomsRequest) -> Result<PublicRooms> {
    store.read(move |tx| page(tx, &request)).await
}

fn page(tx: &ReadTx<'_>, request: &PublicRoomsRequest) -> Result<PublicRooms> {
    let limit = request.limit.map_or(PAGE, |limit| {
        usize::try_from(u64::from(limit)).map_or(LONGEST_PAGE, |limit| limit.min(LONGEST_PAGE))
    });
    let start = match &request.since {
        Some(since) => since
            .parse()
            .map_err(|_| Error::UnknownToken(since.chars().take(64).collect()))?,
        None => 0,
    };
    let rooms = listed(tx, &request.network)?;
    let total = rooms.len();
    let mut chunk = Vec::new();
    let mut end = start;
    for (room, _) in rooms.into_iter().skip(start).take(SEARCHED) {
        if chunk.len() == limit {
            break;
        }
        end += 1;
        let room: PublicRoomsChunk = summarise(tx, &tx.room(room)?)?.into();
        if matches(&request.filter, &room) {
            chunk.push(room);
        }
    }
    Ok(PublicRooms {
        chunk,
        next_batch: (end < total).then(|| end.to_string()),
        prev_batch: (start > 0).then(|| start.saturating_sub(limit).to_string()),
        total: UInt::new_saturating(u64::try_from(total).unwrap_or(u64::MAX)),
    })
}

/// The rooms of a network, those with most joined users first.
fn listed(tx: &ReadTx<'_>, network: &RoomNetwork) -> Result<Vec<(RoomNid, u64)>> {
    Ok(match network {
        RoomNetwork::Matrix => tx.published_rooms()?,
        RoomNetwork::All => {
            let mut rooms = tx.published_rooms()?;
            rooms.extend(tx.network_rooms(None)?);
            rooms.sort_by_key(|(room, joined)| (Reverse(*joined), *room));
            rooms.dedup();
            rooms
        }
        // As the look-up of networks calls the instances of an application service.
        RoomNetwork::ThirdParty(instance) => match instance.split_once('|') {
            Some((service, network)) => tx.network_rooms(Some((service, network)))?,
            None => Vec::new(),
        },
        _ => Vec::new(),
    })
}

fn matches(filter: &Filter, room: &PublicRoomsChunk) -> bool {
    let of_type = filter.room_types.is_empty()
        || filter
            .room_types
            .contains(&RoomTypeFilter::from(room.room_type.clone()));
    let Some(term) = &filter.generic_search_term else {
        return of_type;
    };
    let term = term.to_lowercase();
    let alias = room.canonical_alias.as_ref().map(|alias| alias.as_str());
    let texts = [room.name.as_deref(), room.topic.as_deref(), alias];
    let mut texts = texts.into_iter().flatten();
    of_type && texts.any(|text| text.to_lowercase().contains(&term))
}
