-- What application services have been sent, and what they publish.

CREATE TABLE application_services (
    service_id TEXT NOT NULL PRIMARY KEY,
    -- Every event up to this position is in a transaction that was made.
    event_seq  INTEGER NOT NULL,
    -- The number of the transaction last made.
    txn        INTEGER NOT NULL,
    -- Its body, as it was first sent, until the service has taken it.
    pending    TEXT,
    -- Failed attempts in a row, and when to try again (milliseconds since the Unix epoch).
    failures   INTEGER NOT NULL DEFAULT 0,
    retry_ts   INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The rooms that services list for the networks that they bridge to.
CREATE TABLE network_rooms (
    service_id TEXT NOT NULL,
    network_id TEXT NOT NULL,
    room_nid   INTEGER NOT NULL REFERENCES rooms,
    PRIMARY KEY (service_id, network_id, room_nid)
) STRICT, WITHOUT ROWID;

-- Events that were stored before they took their place: what a walk along the ids would miss.
CREATE INDEX events_placed_late ON events (seq) WHERE seq <> event_nid;
