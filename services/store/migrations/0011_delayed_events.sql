-- Events that users asked to be sent later.

CREATE TABLE delayed_events (
    -- Random, and all that it takes to restart, cancel or send the event.
    delay_id     TEXT NOT NULL PRIMARY KEY,
    user_nid     INTEGER NOT NULL REFERENCES users,
    room_nid     INTEGER NOT NULL REFERENCES rooms ON DELETE CASCADE,
    event_type   TEXT NOT NULL,
    -- NULL for a message event.
    state_key    TEXT,
    content      TEXT NOT NULL,
    delay_ms     INTEGER NOT NULL,
    due_ms       INTEGER NOT NULL,
    -- The global position when it was asked for: state that somebody else set since then takes its place.
    seq          INTEGER NOT NULL,
    -- The request that asked for it; txn_id is NULL for one that cannot be told from another.
    device_id    TEXT NOT NULL,
    txn_id       TEXT,
    -- Each NULL while it is still to be sent; afterwards, one of the others says how it ended, or it was cancelled.
    finalised_ms INTEGER,
    event_id     TEXT,
    error        TEXT
) STRICT;

CREATE INDEX delayed_events_due ON delayed_events (due_ms) WHERE finalised_ms IS NULL;
CREATE INDEX delayed_events_by_user ON delayed_events (user_nid, due_ms);
CREATE INDEX delayed_events_by_room ON delayed_events (room_nid);
CREATE INDEX delayed_events_finalised ON delayed_events (finalised_ms) WHERE finalised_ms IS NOT NULL;
CREATE UNIQUE INDEX delayed_events_by_transaction ON delayed_events (user_nid, device_id, room_nid, txn_id)
    WHERE txn_id IS NOT NULL;
