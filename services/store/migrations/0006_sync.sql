-- What users have seen of rooms, and how events refer to each other.

CREATE TABLE receipts (
    room_nid     INTEGER NOT NULL REFERENCES rooms,
    user_nid     INTEGER NOT NULL REFERENCES users,
    -- 'm.read' or 'm.read.private'.
    receipt_type TEXT NOT NULL,
    -- 'main', a thread root, or '' for an unthreaded receipt.
    thread_id    TEXT NOT NULL,
    -- By name: a peer's receipt may arrive before its event.
    event_id     TEXT NOT NULL,
    ts           INTEGER NOT NULL,
    seq          INTEGER NOT NULL,
    -- 1 for a receipt of this server's users: what the federation sender reads.
    is_local     INTEGER NOT NULL CHECK (is_local IN (0, 1)),
    PRIMARY KEY (room_nid, user_nid, receipt_type, thread_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX receipts_by_seq ON receipts (room_nid, seq);
CREATE INDEX receipts_local ON receipts (seq) WHERE is_local = 1 AND receipt_type = 'm.read';

-- Up to where a local user has read a room.
CREATE TABLE read_positions (
    user_nid   INTEGER NOT NULL REFERENCES users,
    room_nid   INTEGER NOT NULL REFERENCES rooms,
    -- events.pos and events.notify_ord of the event read.
    pos        INTEGER NOT NULL,
    notify_ord INTEGER NOT NULL,
    -- The global position at which the user read.
    seq        INTEGER NOT NULL,
    PRIMARY KEY (user_nid, room_nid)
) STRICT, WITHOUT ROWID;

-- Unread events that mention a local user; gone once read.
CREATE TABLE highlights (
    user_nid INTEGER NOT NULL REFERENCES users,
    room_nid INTEGER NOT NULL REFERENCES rooms,
    pos      INTEGER NOT NULL,
    PRIMARY KEY (user_nid, room_nid, pos)
) STRICT, WITHOUT ROWID;

-- Events that mention everyone in the room: one row, whatever the room's size.
CREATE TABLE room_highlights (
    room_nid INTEGER NOT NULL REFERENCES rooms,
    pos      INTEGER NOT NULL,
    PRIMARY KEY (room_nid, pos)
) STRICT, WITHOUT ROWID;

-- m.relates_to of timeline events, in timeline order.
CREATE TABLE event_relations (
    room_nid  INTEGER NOT NULL REFERENCES rooms,
    -- By name: a parent may arrive after its children.
    parent_id TEXT NOT NULL,
    pos       INTEGER NOT NULL,
    child_nid INTEGER NOT NULL REFERENCES events,
    rel_type  TEXT NOT NULL,
    -- Whether the child counts as unread for those who have not seen it.
    notifies  INTEGER NOT NULL CHECK (notifies IN (0, 1)),
    PRIMARY KEY (room_nid, parent_id, pos)
) STRICT, WITHOUT ROWID;

CREATE INDEX event_relations_threads ON event_relations (room_nid, rel_type, pos, parent_id)
    WHERE rel_type = 'm.thread';
