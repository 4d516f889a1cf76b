-- Integer ids for the long names that every other table refers to. They are allocated in the transaction that first
-- needs them, under UNIQUE, so a name can never have two.

CREATE TABLE counters (
    name  TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;

-- The global position: the newest one given to any row.
INSERT INTO counters (name, value) VALUES ('position', 0);

CREATE TABLE servers (
    server_nid  INTEGER NOT NULL PRIMARY KEY,
    server_name TEXT NOT NULL UNIQUE
) STRICT;

-- Every Matrix user this server has heard of, local or not. Server 1 is this server.
CREATE TABLE users (
    user_nid   INTEGER NOT NULL PRIMARY KEY,
    user_id    TEXT NOT NULL UNIQUE,
    server_nid INTEGER NOT NULL REFERENCES servers
) STRICT;

CREATE INDEX users_by_server ON users (server_nid);

CREATE TABLE state_keys (
    state_key_nid INTEGER NOT NULL PRIMARY KEY,
    event_type    TEXT NOT NULL,
    state_key     TEXT NOT NULL,
    UNIQUE (event_type, state_key)
) STRICT;
