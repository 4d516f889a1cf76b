-- What this server owes others, and what it knows of them.

CREATE TABLE destinations (
    server_nid      INTEGER NOT NULL PRIMARY KEY REFERENCES servers,
    -- Cursors: everything up to these positions is acknowledged.
    pdu_seq         INTEGER NOT NULL,
    device_list_seq INTEGER NOT NULL,
    receipt_seq     INTEGER NOT NULL,
    -- Failed attempts in a row, and when to try again (milliseconds since the Unix epoch).
    failures        INTEGER NOT NULL DEFAULT 0,
    retry_ts        INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Keys of other servers, one row each.
CREATE TABLE server_keys (
    server_nid     INTEGER NOT NULL REFERENCES servers,
    key_id         TEXT NOT NULL,
    public_key     BLOB NOT NULL,
    -- The key signs nothing with a later timestamp.
    valid_until_ts INTEGER NOT NULL,
    -- 1 for a key that its server has retired: its validity never grows again.
    is_old         INTEGER NOT NULL CHECK (is_old IN (0, 1)),
    PRIMARY KEY (server_nid, key_id)
) STRICT, WITHOUT ROWID;

-- The newest key document of each other server, as its server signed it: what a notary passes on.
CREATE TABLE server_key_documents (
    server_nid     INTEGER NOT NULL PRIMARY KEY REFERENCES servers,
    json           TEXT NOT NULL,
    valid_until_ts INTEGER NOT NULL,
    fetched_ts     INTEGER NOT NULL
) STRICT;

-- Transactions of other servers that were processed, with what they were answered.
CREATE TABLE received_transactions (
    server_nid  INTEGER NOT NULL REFERENCES servers,
    txn_id      TEXT NOT NULL,
    response    TEXT NOT NULL,
    received_ts INTEGER NOT NULL,
    PRIMARY KEY (server_nid, txn_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX received_transactions_by_age ON received_transactions (received_ts);

-- Events that arrived without what they build upon, and are tried again.
CREATE TABLE waiting_pdus (
    room_nid   INTEGER NOT NULL REFERENCES rooms,
    event_id   TEXT NOT NULL,
    server_nid INTEGER NOT NULL REFERENCES servers,
    json       TEXT NOT NULL,
    -- How often it was tried, and when it is next (milliseconds since the Unix epoch).
    attempts   INTEGER NOT NULL,
    retry_ts   INTEGER NOT NULL,
    PRIMARY KEY (room_nid, event_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX waiting_pdus_by_time ON waiting_pdus (retry_ts);
CREATE INDEX waiting_pdus_by_server ON waiting_pdus (server_nid);
