//! The index of words: which events of a room have one. It is filled behind a cursor, and a redaction takes out what it
//! put in.

use std::collections::BTreeSet;

use ruma::events::StateEventType;
use rusqlite::params;
use serde::Deserialize;

use crate::{EventNid, ReadTx, Result, RoomNid, WriteTx, search_words::search_words};

/// The most words of one event that are found.
const WORDS_OF_EVENT: usize = 256;

/// An event, and the words by which it is found.
#[derive(Clone, Debug)]
pub struct SearchEntry {
    room: RoomNid,
    event: EventNid,
    words: BTreeSet<String>,
}

/// Events that the index has not looked at yet.
#[derive(Clone, Debug, Default)]
pub struct SearchBacklog {
    /// Those with words to find them by, oldest first.
    pub entries: Vec<SearchEntry>,
    /// The newest event looked at; `None` where there was none.
    pub until: Option<EventNid>,
}

/// An event that has a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchHit {
    /// The event.
    pub event: EventNid,
    /// Its type.
    pub event_type: String,
}

impl ReadTx<'_> {
    /// The oldest events, at most `limit`, that the index has not looked at. Those of encrypted rooms have no words.
    pub fn search_backlog(&self, limit: u32) -> Result<SearchBacklog> {
        let sql = "SELECT e.event_nid, e.room_nid, e.event_type, e.state_key_nid IS NOT NULL, \
                   e.status = 0 AND e.redacted_by IS NULL FROM events e \
                   WHERE e.event_nid > (SELECT value FROM counters WHERE name = 'search') \
                   ORDER BY e.event_nid LIMIT ?1";
        let events = self.all(sql, [limit], |row| {
            let (event, room): (EventNid, RoomNid) = (row.get(0)?, row.get(1)?);
            let event_type: String = row.get(2)?;
            let (is_state, counts): (bool, bool) = (row.get(3)?, row.get(4)?);
            Ok((
                event,
                room,
                counts && text_field(&event_type, is_state).is_some(),
            ))
        })?;
        let until = events.last().map(|(event, ..)| *event);
        let mut entries = Vec::new();
        for (event, room, counts) in events {
            if counts && !self.is_encrypted(room)? {
                let words = self.words_of(event)?;
                entries.push(SearchEntry { room, event, words });
            }
        }
        Ok(SearchBacklog { entries, until })
    }

    /// The newest events of a room up to one, at most `limit`, that have a word, redacted ones left out.
    pub fn search_hits(
        &self,
        room: RoomNid,
        word: &str,
        until: EventNid,
        limit: u32,
    ) -> Result<Vec<SearchHit>> {
        let sql = "SELECT w.event_nid, e.event_type FROM search_words w \
                   JOIN events e ON e.event_nid = w.event_nid \
                   WHERE w.room_nid = ?1 AND w.word = ?2 AND w.event_nid <= ?3 \
                     AND e.pos IS NOT NULL AND e.redacted_by IS NULL \
                   ORDER BY w.event_nid DESC LIMIT ?4";
        self.all(sql, params![room, word, until, limit], |row| {
            Ok(SearchHit {
                event: row.get(0)?,
                event_type: row.get(1)?,
            })
        })
    }

    /// Whether an event of a room has a word.
    pub fn has_search_word(&self, room: RoomNid, word: &str, event: EventNid) -> Result<bool> {
        let sql = "SELECT 1 FROM search_words WHERE room_nid = ?1 AND word = ?2 AND event_nid = ?3";
        let found = self.optional(sql, params![room, word, event], |_| Ok(()))?;
        Ok(found.is_some())
    }

    fn is_encrypted(&self, room: RoomNid) -> Result<bool> {
        let entry = self.current_state_entry(room, &StateEventType::RoomEncryption, "")?;
        Ok(entry.is_some())
    }

    fn words_of(&self, event: EventNid) -> Result<BTreeSet<String>> {
        let sql = "SELECT e.event_type, e.state_key_nid IS NOT NULL, j.json FROM events e \
                   JOIN event_json j ON j.event_nid = e.event_nid WHERE e.event_nid = ?1";
        self.one(sql, [event], |row| {
            let event_type: String = row.get(0)?;
            let text = text(&event_type, row.get(1)?, row.get_ref(2)?.as_str()?);
            Ok(text.map_or_else(BTreeSet::new, |text| search_words(&text, WORDS_OF_EVENT)))
        })
    }
}

impl WriteTx<'_> {
    /// Puts events into the index.
    pub fn index_for_search(&mut self, entries: &[SearchEntry]) -> Result<()> {
        let sql = "INSERT INTO search_words (room_nid, word, event_nid) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        for entry in entries {
            // It may have been redacted since its words were read.
            if self.is_redacted(entry.event)? {
                continue;
            }
            for word in &entry.words {
                self.execute(sql, params![entry.room, word, entry.event])?;
            }
        }
        Ok(())
    }

    /// Notes that the index has looked at all events up to one.
    pub fn advance_search(&mut self, until: EventNid) -> Result<()> {
        let sql = "UPDATE counters SET value = ?1 WHERE name = 'search' AND value < ?1";
        self.execute(sql, [until])?;
        Ok(())
    }

    /// Takes an event that still has its content out of the index.
    pub(crate) fn remove_from_search(&mut self, room: RoomNid, event: EventNid) -> Result<()> {
        let sql = "DELETE FROM search_words WHERE room_nid = ?1 AND word = ?2 AND event_nid = ?3";
        for word in self.words_of(event)? {
            self.execute(sql, params![room, word, event])?;
        }
        Ok(())
    }

    fn is_redacted(&self, event: EventNid) -> Result<bool> {
        let sql = "SELECT redacted_by IS NOT NULL FROM events WHERE event_nid = ?1";
        Ok(self
            .optional(sql, [event], |row| row.get(0))?
            .unwrap_or(true))
    }
}

/// The field of the content that people search for, if an event of this type has one.
fn text_field(event_type: &str, is_state: bool) -> Option<fn(Content) -> Option<String>> {
    match (event_type, is_state) {
        ("m.room.message", false) => Some(|content| content.body),
        ("m.room.name", true) => Some(|content| content.name),
        ("m.room.topic", true) => Some(|content| content.topic),
        _ => None,
    }
}

fn text(event_type: &str, is_state: bool, json: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Event {
        content: Content,
    }
    let field = text_field(event_type, is_state)?;
    // Nobody says that a content has to be as it should be.
    let event: Event = serde_json::from_str(json).ok()?;
    field(event.content)
}

#[derive(Deserialize)]
struct Content {
    body: Option<String>,
    name: Option<String>,
    topic: Option<String>,
}

#[cfg(test)]
mod tests {
    use ruma::event_id;
    use serde_json::json;

    use super::*;
    use crate::{
        Redaction, Visibility,
        rooms::test_room::{Fields, TestRoom, with_room},
    };

    fn say(test: &mut TestRoom<'_>, id: &str, body: &str) -> EventNid {
        let fields = Fields {
            id,
            content: json!({ "msgtype": "m.text", "body": body }),
            ..Fields::default()
        };
        test.insert(&fields, Visibility::Newest).nid
    }

    fn catch_up(test: &mut TestRoom<'_>) {
        let backlog = test.tx.search_backlog(100).unwrap();
        test.tx.index_for_search(&backlog.entries).unwrap();
        test.tx.advance_search(backlog.until.unwrap()).unwrap();
    }

    fn found(test: &TestRoom<'_>, word: &str) -> Vec<EventNid> {
        let end = EventNid(i64::MAX);
        let hits = test.tx.search_hits(test.room.nid, word, end, 10).unwrap();
        hits.into_iter().map(|hit| hit.event).collect()
    }

    #[test]
    fn events_are_found_by_their_words_newest_first() {
        with_room(|mut test| {
            let first = say(&mut test, "$first", "Hello, world");
            let second = say(&mut test, "$second", "hello again");
            assert_eq!(found(&test, "hello"), []);
            catch_up(&mut test);
            assert_eq!(found(&test, "hello"), [second, first]);
            assert_eq!(found(&test, "again"), [second]);
            let room = test.room.nid;
            assert!(test.tx.has_search_word(room, "world", first).unwrap());
            assert!(!test.tx.has_search_word(room, "world", second).unwrap());
            assert_eq!(test.tx.search_backlog(100).unwrap().until, None);
        });
    }

    #[test]
    fn a_redacted_event_is_not_found_whenever_it_is_redacted() {
        with_room(|mut test| {
            let (room, version) = (test.room.nid, test.room.version.clone());
            say(&mut test, "$before", "secret one");
            say(&mut test, "$after", "secret two");
            let backlog = test.tx.search_backlog(100).unwrap();
            let redaction = Redaction {
                event: say(&mut test, "$redaction", ""),
                any_sender: true,
            };
            test.tx
                .redact(room, &version, event_id!("$before"), redaction)
                .unwrap();
            test.tx.index_for_search(&backlog.entries).unwrap();
            test.tx
                .redact(room, &version, event_id!("$after"), redaction)
                .unwrap();
            let left: i64 = test
                .tx
                .one("SELECT count(*) FROM search_words", [], |row| row.get(0))
                .unwrap();
            assert_eq!(left, 0);
        });
    }
}
