-- The words of message bodies, room names and topics, filled behind a cursor. No foreign keys: a row whose event is gone
-- finds nothing, and checking every word of every message would cost the writer more than the insert.

CREATE TABLE search_words (
    room_nid  INTEGER NOT NULL,
    word      TEXT NOT NULL,
    event_nid INTEGER NOT NULL,
    PRIMARY KEY (room_nid, word, event_nid)
) STRICT, WITHOUT ROWID;

-- The newest event that the index has looked at.
INSERT INTO counters (name, value) VALUES ('search', 0);
