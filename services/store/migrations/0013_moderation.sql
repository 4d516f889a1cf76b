-- What moderators and operators did.

-- One row for each thing that an administrator did, the oldest pruned by number.
CREATE TABLE audit_log (
    audit_nid INTEGER NOT NULL PRIMARY KEY,
    ts        INTEGER NOT NULL,
    -- A user id, or the operator at the console.
    actor     TEXT NOT NULL,
    action    TEXT NOT NULL,
    -- What it was done to: a user, a room, a file.
    target    TEXT NOT NULL
) STRICT;

-- What users reported to the operator: an event (with its room), a room, or a user. The oldest go first.
CREATE TABLE reports (
    report_nid   INTEGER NOT NULL PRIMARY KEY,
    ts           INTEGER NOT NULL,
    reporter_nid INTEGER NOT NULL REFERENCES users,
    room_id      TEXT,
    event_id     TEXT,
    user_id      TEXT,
    reason       TEXT NOT NULL
) STRICT;

-- The one room in which a user hears from the server.
CREATE TABLE notice_rooms (
    user_nid INTEGER NOT NULL PRIMARY KEY REFERENCES accounts,
    room_nid INTEGER NOT NULL REFERENCES rooms
) STRICT;

-- Rooms that nobody here may join, known here or not.
CREATE TABLE blocked_rooms (
    room_id    TEXT NOT NULL PRIMARY KEY,
    -- Who blocked it.
    user_nid   INTEGER NOT NULL REFERENCES users,
    blocked_ts INTEGER NOT NULL
) STRICT;
