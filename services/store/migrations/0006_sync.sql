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

-- Up to where a local user has read a room that they are joined to.
CREATE TABLE read_positions (
    user_nid   INTEGER NOT NULL REFERENCES users,
    room_nid   INTEGER NOT NULL REFERENCES rooms,
    -- events.pos of the user's join: older events are none of their notifications.
    joined_pos INTEGER NOT NULL,
    -- events.pos and events.notify_ord of the event up to which the user has read what is outside of threads.
    pos        INTEGER NOT NULL,
    notify_ord INTEGER NOT NULL,
    -- Up to here everything is read, in threads too. Never beyond pos.
    all_pos    INTEGER NOT NULL,
    -- The global position at which the user read.
    seq        INTEGER NOT NULL,
    PRIMARY KEY (user_nid, room_nid)
) STRICT, WITHOUT ROWID;

CREATE INDEX read_positions_by_seq ON read_positions (user_nid, seq);

-- Up to where a local user has read single threads, where that is beyond read_positions.all_pos.
CREATE TABLE thread_reads (
    user_nid  INTEGER NOT NULL REFERENCES users,
    room_nid  INTEGER NOT NULL REFERENCES rooms,
    -- The event id of the thread's root.
    thread_id TEXT NOT NULL,
    pos       INTEGER NOT NULL,
    PRIMARY KEY (user_nid, room_nid, thread_id)
) STRICT, WITHOUT ROWID;

-- Unread events that mention a local user; gone once read.
CREATE TABLE highlights (
    user_nid INTEGER NOT NULL REFERENCES users,
    room_nid INTEGER NOT NULL REFERENCES rooms,
    pos      INTEGER NOT NULL,
    -- 1 for an event that is not part of rooms.notify_count: it counts as unread for this user alone.
    is_extra INTEGER NOT NULL CHECK (is_extra IN (0, 1)),
    PRIMARY KEY (user_nid, room_nid, pos)
) STRICT, WITHOUT ROWID;

CREATE INDEX highlights_by_event ON highlights (room_nid, pos);

-- Events that are highlights for everyone in the room: one row, whatever the room's size.
CREATE TABLE room_highlights (
    room_nid INTEGER NOT NULL REFERENCES rooms,
    pos      INTEGER NOT NULL,
    PRIMARY KEY (room_nid, pos)
) STRICT, WITHOUT ROWID;

-- Events that are part of rooms.notify_count, and redacted since: they no longer count.
CREATE TABLE redacted_notifications (
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
    -- The root of the thread that the child is in, by its own relation or by that of what it relates to.
    thread_id TEXT,
    -- Whether the child counts as unread for those who have not seen it.
    notifies  INTEGER NOT NULL CHECK (notifies IN (0, 1)),
    PRIMARY KEY (room_nid, parent_id, pos)
) STRICT, WITHOUT ROWID;

CREATE INDEX event_relations_threads ON event_relations (room_nid, rel_type, pos, parent_id)
    WHERE rel_type = 'm.thread';
CREATE INDEX event_relations_in_threads ON event_relations (room_nid, pos, thread_id, notifies)
    WHERE thread_id IS NOT NULL;

-- Threads that users want to hear of, or no longer want to.
CREATE TABLE thread_subscriptions (
    user_nid      INTEGER NOT NULL REFERENCES users,
    room_nid      INTEGER NOT NULL REFERENCES rooms,
    root_id       TEXT NOT NULL,
    is_subscribed INTEGER NOT NULL CHECK (is_subscribed IN (0, 1)),
    -- 1 where a client subscribed on its own account.
    is_automatic  INTEGER NOT NULL CHECK (is_automatic IN (0, 1)),
    seq           INTEGER NOT NULL,
    PRIMARY KEY (user_nid, room_nid, root_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX thread_subscriptions_by_seq ON thread_subscriptions (user_nid, seq);
