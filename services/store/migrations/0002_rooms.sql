-- Rooms, their events, and their state as coordinates.

CREATE TABLE rooms (
    room_nid       INTEGER NOT NULL PRIMARY KEY,
    room_id        TEXT NOT NULL UNIQUE,
    version        TEXT NOT NULL,
    -- The chain that logs the room's resolved state. NULL until this server holds the room's state.
    main_chain_nid INTEGER REFERENCES chains,
    -- How many timeline events so far count as unread for those who have not seen them.
    notify_count   INTEGER NOT NULL DEFAULT 0,
    -- While members are missing from the room's state: the position of the join since which they are.
    partial_from   INTEGER,
    -- The position at which they no longer were; NULL where they never were.
    complete_from  INTEGER
) STRICT;

CREATE TABLE events (
    event_nid        INTEGER NOT NULL PRIMARY KEY,
    room_nid         INTEGER NOT NULL REFERENCES rooms,
    event_id         TEXT NOT NULL,
    -- The global position at which this server stored the event.
    seq              INTEGER NOT NULL,
    -- The place in the room's timeline: seq for an event that came live; for a backfilled one a negative number (older
    -- is smaller), or one of those that were left out before an event whose parents were missing; NULL for one that
    -- clients never see (outlier, soft-failed, rejected).
    pos              INTEGER,
    depth            INTEGER NOT NULL,
    sender_nid       INTEGER NOT NULL REFERENCES users,
    event_type       TEXT NOT NULL,
    -- NULL for a message event.
    state_key_nid    INTEGER REFERENCES state_keys,
    origin_server_ts INTEGER NOT NULL,
    -- 0 accepted, 1 soft-failed, 2 rejected.
    status           INTEGER NOT NULL CHECK (status IN (0, 1, 2)),
    -- content.membership of an m.room.member state event.
    membership       TEXT,
    -- 1 for an event that this server distributes: its users' own, and joins that it brokered for another server.
    is_outgoing      INTEGER NOT NULL CHECK (is_outgoing IN (0, 1)),
    -- State coordinates before and after the event; all NULL for an outlier.
    before_chain_nid INTEGER REFERENCES chains,
    before_ord       INTEGER,
    after_chain_nid  INTEGER REFERENCES chains,
    after_ord        INTEGER,
    -- rooms.notify_count as it stood with this event; unread counts are differences of it.
    notify_ord       INTEGER NOT NULL DEFAULT 0,
    -- The redaction that took this event's content away.
    redacted_by      INTEGER REFERENCES events,
    UNIQUE (room_nid, event_id)
) STRICT;

CREATE UNIQUE INDEX events_by_pos ON events (room_nid, pos) WHERE pos IS NOT NULL;
CREATE INDEX events_by_time ON events (room_nid, origin_server_ts, pos) WHERE pos IS NOT NULL;
CREATE INDEX events_outgoing ON events (seq) WHERE is_outgoing = 1;

-- Canonical JSON as signed (or as redacted since), apart from the narrow row so that scans stay cheap.
CREATE TABLE event_json (
    event_nid INTEGER NOT NULL PRIMARY KEY REFERENCES events,
    json      TEXT NOT NULL
) STRICT;

-- auth_events of state events, for walking auth chains without parsing.
CREATE TABLE event_auth (
    event_nid INTEGER NOT NULL REFERENCES events,
    auth_nid  INTEGER NOT NULL REFERENCES events,
    PRIMARY KEY (event_nid, auth_nid)
) STRICT, WITHOUT ROWID;

-- Forward extremities.
CREATE TABLE tips (
    room_nid  INTEGER NOT NULL REFERENCES rooms,
    event_nid INTEGER NOT NULL REFERENCES events,
    PRIMARY KEY (room_nid, event_nid)
) STRICT, WITHOUT ROWID;

-- Backward extremities: events named as parents that this server does not have.
CREATE TABLE missing_prevs (
    room_nid  INTEGER NOT NULL REFERENCES rooms,
    event_id  TEXT NOT NULL,
    child_nid INTEGER NOT NULL REFERENCES events,
    PRIMARY KEY (room_nid, event_id, child_nid)
) STRICT, WITHOUT ROWID;

-- Redactions whose target this server does not have (yet).
CREATE TABLE pending_redactions (
    room_nid      INTEGER NOT NULL REFERENCES rooms,
    -- The event to redact.
    event_id      TEXT NOT NULL,
    redaction_nid INTEGER NOT NULL REFERENCES events,
    -- 1 where the redaction's sender had the power to redact anybody's events, 0: those of their own server only.
    any_sender    INTEGER NOT NULL CHECK (any_sender IN (0, 1)),
    PRIMARY KEY (room_nid, event_id, redaction_nid)
) STRICT, WITHOUT ROWID;

-- State as coordinates (chain, ord). A room's main chain logs its resolved state; a fork chain holds only what differs
-- from its parent coordinate.
CREATE TABLE chains (
    chain_nid        INTEGER NOT NULL PRIMARY KEY,
    room_nid         INTEGER NOT NULL REFERENCES rooms,
    parent_chain_nid INTEGER REFERENCES chains,
    parent_ord       INTEGER,
    -- Parents up to a main chain, which has depth 0. Bounded, so that a look-up is.
    depth            INTEGER NOT NULL,
    head_ord         INTEGER NOT NULL
) STRICT;

CREATE TABLE chain_changes (
    chain_nid     INTEGER NOT NULL REFERENCES chains,
    state_key_nid INTEGER NOT NULL REFERENCES state_keys,
    ord           INTEGER NOT NULL,
    -- NULL: the entry was taken out of the state.
    event_nid     INTEGER REFERENCES events,
    -- The global position of the change; grows with ord.
    seq           INTEGER NOT NULL,
    PRIMARY KEY (chain_nid, state_key_nid, ord)
) STRICT, WITHOUT ROWID;

CREATE INDEX chain_changes_by_ord ON chain_changes (chain_nid, ord);
CREATE INDEX chain_changes_by_seq ON chain_changes (chain_nid, seq);

-- The head of the main chain, spread out.
CREATE TABLE current_state (
    room_nid      INTEGER NOT NULL REFERENCES rooms,
    state_key_nid INTEGER NOT NULL REFERENCES state_keys,
    event_nid     INTEGER NOT NULL REFERENCES events,
    PRIMARY KEY (room_nid, state_key_nid)
) STRICT, WITHOUT ROWID;

-- Current membership. Also of local users in rooms whose state this server does not hold (invited, knocking).
CREATE TABLE members (
    room_nid   INTEGER NOT NULL REFERENCES rooms,
    user_nid   INTEGER NOT NULL REFERENCES users,
    membership TEXT NOT NULL CHECK (membership IN ('join', 'invite', 'knock', 'leave', 'ban')),
    event_nid  INTEGER NOT NULL REFERENCES events,
    -- The global position of the last change of this row.
    seq        INTEGER NOT NULL,
    forgotten  INTEGER NOT NULL DEFAULT 0 CHECK (forgotten IN (0, 1)),
    PRIMARY KEY (room_nid, user_nid)
) STRICT, WITHOUT ROWID;

CREATE INDEX members_by_user ON members (user_nid, membership);
CREATE INDEX members_by_user_seq ON members (user_nid, seq);
CREATE INDEX members_by_membership ON members (room_nid, membership);

-- When which server was in a room: an event at seq s concerns a server with an interval from_seq <= s <= until_seq.
-- The event that takes a server's last user out lies within the interval.
CREATE TABLE room_servers (
    room_nid   INTEGER NOT NULL REFERENCES rooms,
    server_nid INTEGER NOT NULL REFERENCES servers,
    from_seq   INTEGER NOT NULL,
    until_seq  INTEGER,
    -- Joined users while the interval is open.
    joined     INTEGER NOT NULL,
    -- 1 while members are missing from the room's state, for a server that is in the room on another server's word.
    told       INTEGER NOT NULL DEFAULT 0 CHECK (told IN (0, 1)),
    PRIMARY KEY (room_nid, server_nid, from_seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX room_servers_by_server ON room_servers (server_nid, room_nid);

-- Rooms whose state lacks members, to be fetched in the background.
CREATE TABLE partial_rooms (
    room_nid INTEGER NOT NULL PRIMARY KEY REFERENCES rooms,
    -- The join of this server's user before which the state is to be fetched.
    join_nid INTEGER NOT NULL REFERENCES events,
    -- The server that let the user in.
    via      TEXT NOT NULL,
    -- Attempts to fetch it that failed, the time of the next one in milliseconds, and what went wrong last.
    attempts INTEGER NOT NULL DEFAULT 0,
    retry_ts INTEGER NOT NULL,
    error    TEXT
) STRICT;

CREATE INDEX partial_rooms_by_retry ON partial_rooms (retry_ts);

-- What an invited or knocking local user may see of a room that this server is not in.
CREATE TABLE stripped_state (
    room_nid INTEGER NOT NULL REFERENCES rooms,
    user_nid INTEGER NOT NULL REFERENCES users,
    -- A JSON array of stripped state events.
    events   TEXT NOT NULL,
    PRIMARY KEY (room_nid, user_nid)
) STRICT, WITHOUT ROWID;

CREATE TABLE aliases (
    alias       TEXT NOT NULL PRIMARY KEY,
    room_nid    INTEGER NOT NULL REFERENCES rooms,
    creator_nid INTEGER NOT NULL REFERENCES users
) STRICT;

CREATE INDEX aliases_by_room ON aliases (room_nid);

CREATE TABLE published_rooms (
    room_nid INTEGER NOT NULL PRIMARY KEY REFERENCES rooms
) STRICT;

-- Idempotency of client requests, written with their effect.
CREATE TABLE client_transactions (
    user_nid   INTEGER NOT NULL REFERENCES users,
    device_id  TEXT NOT NULL,
    -- The endpoint that the transaction id belongs to, its room included.
    scope      TEXT NOT NULL,
    txn_id     TEXT NOT NULL,
    -- The event it made; NULL where it made none.
    event_nid  INTEGER REFERENCES events,
    created_ts INTEGER NOT NULL,
    PRIMARY KEY (user_nid, device_id, scope, txn_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX client_transactions_by_event ON client_transactions (event_nid) WHERE event_nid IS NOT NULL;
CREATE INDEX client_transactions_by_age ON client_transactions (created_ts);
