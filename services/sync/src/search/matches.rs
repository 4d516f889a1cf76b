//! Which events match, in the order asked for.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

use luxchat_store::{
    ClientRow, EventNid, Position, ReadTx, RoomNid, UserNid, search_words, word_sequence,
};
use ruma::{
    OwnedRoomId,
    api::client::search::search_events::v3::{Criteria, OrderBy, SearchKeys},
};
use serde::Deserialize;

use crate::{
    Error, Result, Viewer,
    access::Readable,
    client_event::Fields,
    filter::wants_events_of,
    history::{History, HistoryKeys},
    response::ignored_users,
    timeline::Sight,
};

/// The most words of a search that count.
const WORDS: usize = 8;

/// The newest events of a room with one of the words, looked at for the others.
const SCANNED: u32 = 5_000;

/// The newest events with all words, looked at for whether the user may see them. Nobody turns more pages than that.
const CANDIDATES: usize = 1_000;

/// What a search finds.
#[derive(Debug)]
pub(super) struct Matches {
    /// The words looked for.
    pub(super) words: Vec<String>,
    /// The best or newest first.
    pub(super) events: Vec<Match>,
}

/// An event that matches, and that the user may see.
#[derive(Clone, Copy, Debug)]
pub(super) struct Match {
    pub(super) event: EventNid,
    pub(super) rank: f64,
    sent_ms: i64,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    room: RoomNid,
    event: EventNid,
}

impl Matches {
    /// What matches up to the event `newest`.
    pub(super) fn find(
        tx: &ReadTx<'_>,
        viewer: &Viewer,
        criteria: &Criteria,
        newest: EventNid,
    ) -> Result<Self> {
        let mut words: Vec<_> = search_words(&criteria.search_term, WORDS)
            .into_iter()
            .collect();
        // The longest word is likely to be the rarest, and what it finds is all that the others are looked up for.
        words.sort_by_key(|word| Reverse(word.len()));
        let candidates = candidates(tx, viewer, criteria, &words, newest)?;
        let mut events = visible(tx, viewer, criteria, &words, candidates)?;
        match criteria.order_by {
            Some(OrderBy::Recent) => {
                events.sort_by_key(|found| Reverse((found.sent_ms, found.event)));
            }
            _ => events.sort_by(|one, other| {
                other
                    .rank
                    .total_cmp(&one.rank)
                    .then(other.event.cmp(&one.event))
            }),
        }
        Ok(Self { words, events })
    }
}

fn candidates(
    tx: &ReadTx<'_>,
    viewer: &Viewer,
    criteria: &Criteria,
    words: &[String],
    newest: EventNid,
) -> Result<Vec<Candidate>> {
    let Some((first, others)) = words.split_first() else {
        return Ok(Vec::new());
    };
    let types = event_types(criteria);
    let mut candidates = Vec::new();
    for (room, _) in searched_rooms(tx, viewer, criteria)? {
        for hit in tx.search_hits(room, first, newest, SCANNED)? {
            let mut has_all = types.contains(&hit.event_type.as_str());
            for word in others {
                has_all = has_all && tx.has_search_word(room, word, hit.event)?;
            }
            if has_all {
                let event = hit.event;
                candidates.push(Candidate { room, event });
            }
        }
        keep_newest(&mut candidates);
    }
    Ok(candidates)
}

fn keep_newest(candidates: &mut Vec<Candidate>) {
    if candidates.len() > CANDIDATES {
        candidates.sort_unstable_by_key(|candidate| Reverse(candidate.event));
        candidates.truncate(CANDIDATES);
    }
}

fn searched_rooms(
    tx: &ReadTx<'_>,
    viewer: &Viewer,
    criteria: &Criteria,
) -> Result<Vec<(RoomNid, OwnedRoomId)>> {
    let mut rooms = Vec::new();
    for room in tx.user_rooms(viewer.user, Position(i64::MIN))? {
        let room_id = tx.room_id(room.room)?;
        if wants_events_of(&criteria.filter, &room_id) {
            rooms.push((room.room, room_id));
        }
    }
    Ok(rooms)
}

fn event_types(criteria: &Criteria) -> Vec<&'static str> {
    let Some(keys) = &criteria.keys else {
        return vec!["m.room.message", "m.room.name", "m.room.topic"];
    };
    let types = keys.iter().filter_map(|key| match key {
        SearchKeys::ContentBody => Some("m.room.message"),
        SearchKeys::ContentName => Some("m.room.name"),
        SearchKeys::ContentTopic => Some("m.room.topic"),
        _ => None,
    });
    types.collect()
}

/// Those that the user wants and may see. This comes before anything is counted: how many events there are says something
/// of those that are hidden.
fn visible(
    tx: &ReadTx<'_>,
    viewer: &Viewer,
    criteria: &Criteria,
    words: &[String],
    candidates: Vec<Candidate>,
) -> Result<Vec<Match>> {
    let keys = HistoryKeys::of(tx, &viewer.user_id)?;
    let ignored = ignored_users(tx, viewer.user)?;
    let mut by_room: HashMap<RoomNid, Vec<EventNid>> = HashMap::new();
    for candidate in candidates {
        by_room
            .entry(candidate.room)
            .or_default()
            .push(candidate.event);
    }
    let mut found = Vec::new();
    for (room, events) in by_room {
        let readable = match Readable::find(tx, viewer, &keys, &tx.room_id(room)?) {
            Ok(readable) => readable,
            Err(Error::Forbidden(_)) => continue,
            Err(error) => return Err(error),
        };
        let history = History::read(tx, &readable.room, &keys)?;
        let sight = sight(&history, criteria, &ignored);
        for event in events {
            let row = tx.client_event_by_nid(event)?;
            if row.pos.is_some_and(|pos| pos <= readable.until) && sight.shows(tx, &row)? {
                found.push(matched(&row, words)?);
            }
        }
    }
    Ok(found)
}

fn sight<'s>(
    history: &'s History<'s>,
    criteria: &'s Criteria,
    ignored: &'s HashSet<UserNid>,
) -> Sight<'s> {
    Sight {
        history,
        filter: &criteria.filter,
        relations: None,
        ignored,
    }
}

fn matched(row: &ClientRow, words: &[String]) -> Result<Match> {
    #[derive(Deserialize)]
    struct Content {
        body: Option<String>,
        name: Option<String>,
        topic: Option<String>,
    }
    let fields = Fields::parse(&row.json)?;
    let content: Option<Content> = serde_json::from_str(fields.content.get()).ok();
    let text = content.and_then(|content| content.body.or(content.name).or(content.topic));
    Ok(Match {
        event: row.nid,
        rank: rank(&text.unwrap_or_default(), words),
        sent_ms: fields.origin_server_ts,
    })
}

/// How well a text matches: the more often it has the words, and the less else, the better. How common a word is does not
/// count, as that would tell of rooms that the user cannot read.
fn rank(text: &str, words: &[String]) -> f64 {
    /// Words of a text that is neither short nor long.
    const USUAL_LENGTH: f64 = 20.0;
    let mut length = 0.0;
    let mut counts = vec![0.0; words.len()];
    for word in word_sequence(text) {
        length += 1.0;
        if let Some(at) = words.iter().position(|wanted| *wanted == word) {
            counts[at] += 1.0;
        }
    }
    let damping = 0.5 + length / USUAL_LENGTH;
    counts.iter().map(|count| count / (count + damping)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_of_the_words_and_less_else_ranks_higher() {
        let words = ["budget".to_owned(), "plan".to_owned()];
        let ranked = [
            "budget plan",
            "the plan for the budget",
            "a budget and nothing else",
            "nothing",
        ];
        let ranks: Vec<_> = ranked.iter().map(|text| rank(text, &words)).collect();
        assert!(ranks.is_sorted_by(|one, other| one > other), "{ranks:?}");
        assert!(rank("budget budget", &words) > rank("budget x", &words));
    }
}
