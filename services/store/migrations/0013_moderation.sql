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
