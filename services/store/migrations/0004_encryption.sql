-- What end-to-end encryption asks a server to keep and relay: public keys, signatures, sealed backups, to-device
-- messages. Nothing in here opens a message.

-- Identity keys of devices: of local users as uploaded, of remote users as cached (see remote_device_lists).
CREATE TABLE device_keys (
    user_nid  INTEGER NOT NULL REFERENCES users,
    device_id TEXT NOT NULL,
    -- As uploaded, without `unsigned`.
    json      TEXT NOT NULL,
    PRIMARY KEY (user_nid, device_id)
) STRICT, WITHOUT ROWID;

-- One-time keys of local devices. A claimed key leaves with the transaction that marked it; it stays for a while as a
-- tombstone, so that a client that repeats an upload whose answer it lost cannot bring it back.
CREATE TABLE one_time_keys (
    user_nid   INTEGER NOT NULL REFERENCES users,
    device_id  TEXT NOT NULL,
    algorithm  TEXT NOT NULL,
    key_id     TEXT NOT NULL,
    -- The position of the upload: keys are given out in this order.
    seq        INTEGER NOT NULL,
    -- The position of the claim; NULL while the key can be claimed.
    claimed_at INTEGER,
    json       TEXT NOT NULL,
    PRIMARY KEY (user_nid, device_id, algorithm, key_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX one_time_keys_unclaimed ON one_time_keys (user_nid, device_id, algorithm, seq) WHERE claimed_at IS NULL;
CREATE INDEX one_time_keys_claimed ON one_time_keys (user_nid, device_id, algorithm, claimed_at)
    WHERE claimed_at IS NOT NULL;

-- What is handed out, again and again, when a device has run out of one-time keys.
CREATE TABLE fallback_keys (
    user_nid  INTEGER NOT NULL REFERENCES users,
    device_id TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    key_id    TEXT NOT NULL,
    json      TEXT NOT NULL,
    used      INTEGER NOT NULL CHECK (used IN (0, 1)),
    PRIMARY KEY (user_nid, device_id, algorithm)
) STRICT, WITHOUT ROWID;

-- Cross-signing keys of local users, and of remote users as cached.
CREATE TABLE cross_signing_keys (
    user_nid INTEGER NOT NULL REFERENCES users,
    usage    TEXT NOT NULL CHECK (usage IN ('master', 'self_signing', 'user_signing')),
    -- The public key, which is also the key's name.
    key_id   TEXT NOT NULL,
    json     TEXT NOT NULL,
    PRIMARY KEY (user_nid, usage)
) STRICT, WITHOUT ROWID;

-- Signatures that local users added to keys after their upload.
CREATE TABLE key_signatures (
    target_nid    INTEGER NOT NULL REFERENCES users,
    -- A device id, or the public part of a cross-signing key.
    target_key    TEXT NOT NULL,
    signer_nid    INTEGER NOT NULL REFERENCES users,
    -- With its algorithm, as in `signatures`.
    signer_key_id TEXT NOT NULL,
    signature     TEXT NOT NULL,
    PRIMARY KEY (target_nid, target_key, signer_nid, signer_key_id)
) STRICT, WITHOUT ROWID;

-- When a user last signed another's key: the signer alone can see such signatures, so the signer alone is told.
CREATE TABLE signature_changes (
    signer_nid INTEGER NOT NULL REFERENCES users,
    target_nid INTEGER NOT NULL REFERENCES users,
    seq        INTEGER NOT NULL,
    PRIMARY KEY (signer_nid, target_nid)
) STRICT, WITHOUT ROWID;

CREATE TABLE key_backups (
    user_nid  INTEGER NOT NULL REFERENCES users,
    version   INTEGER NOT NULL,
    algorithm TEXT NOT NULL,
    auth_data TEXT NOT NULL,
    -- Grows with every change of the backup's sessions.
    etag      INTEGER NOT NULL,
    -- Sessions in the backup.
    count     INTEGER NOT NULL,
    -- A deleted version keeps its row, so that its number is never given out again.
    deleted   INTEGER NOT NULL CHECK (deleted IN (0, 1)),
    PRIMARY KEY (user_nid, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE key_backup_sessions (
    user_nid            INTEGER NOT NULL REFERENCES users,
    version             INTEGER NOT NULL,
    room_id             TEXT NOT NULL,
    session_id          TEXT NOT NULL,
    first_message_index INTEGER NOT NULL,
    forwarded_count     INTEGER NOT NULL,
    is_verified         INTEGER NOT NULL CHECK (is_verified IN (0, 1)),
    json                TEXT NOT NULL,
    PRIMARY KEY (user_nid, version, room_id, session_id),
    FOREIGN KEY (user_nid, version) REFERENCES key_backups
) STRICT, WITHOUT ROWID;

-- Messages that wait for a local device, until its next sync shows that it has them.
CREATE TABLE to_device_inbox (
    user_nid  INTEGER NOT NULL REFERENCES users,
    device_id TEXT NOT NULL,
    seq       INTEGER NOT NULL,
    -- The event as the device gets it: type, sender, content.
    json      TEXT NOT NULL,
    PRIMARY KEY (user_nid, device_id, seq)
) STRICT, WITHOUT ROWID;

-- m.direct_to_device EDUs on their way to another server, until it has acknowledged them.
CREATE TABLE to_device_outbox (
    server_nid INTEGER NOT NULL REFERENCES servers,
    seq        INTEGER NOT NULL,
    -- The EDU's content.
    json       TEXT NOT NULL,
    PRIMARY KEY (server_nid, seq)
) STRICT, WITHOUT ROWID;

-- m.direct_to_device EDUs that came in before, so that a repeated one is delivered once.
CREATE TABLE received_to_device (
    server_nid  INTEGER NOT NULL REFERENCES servers,
    message_id  TEXT NOT NULL,
    received_ts INTEGER NOT NULL,
    PRIMARY KEY (server_nid, message_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX received_to_device_by_age ON received_to_device (received_ts);

-- When the devices or cross-signing keys of a user, local or remote, last changed. One row a user: who must know of it
-- is decided by whoever asks.
CREATE TABLE device_lists (
    user_nid INTEGER NOT NULL PRIMARY KEY REFERENCES users,
    seq      INTEGER NOT NULL
) STRICT;

CREATE INDEX device_lists_by_seq ON device_lists (seq);

-- The latest changes of each local user's devices and cross-signing keys, in order: what other servers are told.
CREATE TABLE device_changes (
    seq       INTEGER NOT NULL PRIMARY KEY,
    user_nid  INTEGER NOT NULL REFERENCES users,
    -- NULL: the cross-signing keys changed.
    device_id TEXT
) STRICT;

CREATE INDEX device_changes_by_user ON device_changes (user_nid, seq);

-- Which remote users' device lists are cached, and how fresh.
CREATE TABLE remote_device_lists (
    user_nid  INTEGER NOT NULL PRIMARY KEY REFERENCES users,
    -- The last m.device_list_update that the cache contains; NULL where the list came without one.
    stream_id INTEGER,
    -- The position at which the list was fetched.
    seq       INTEGER NOT NULL,
    -- 1 once an update was missed: fetch anew before use.
    stale     INTEGER NOT NULL CHECK (stale IN (0, 1))
) STRICT;

-- Who came and who went since a position: whose device lists a client starts or stops to follow.
CREATE INDEX members_by_seq ON members (seq);
