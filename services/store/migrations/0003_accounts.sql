-- Local accounts, their devices and tokens, and what clients keep on the server for themselves.

CREATE TABLE accounts (
    user_nid       INTEGER NOT NULL PRIMARY KEY REFERENCES users,
    -- Argon2id in PHC form; NULL for an account that cannot log in by password.
    password_hash  TEXT,
    is_admin       INTEGER NOT NULL DEFAULT 0 CHECK (is_admin IN (0, 1)),
    created_ts     INTEGER NOT NULL,
    -- Each NULL unless it is so. A deactivated account never comes back, and its name is never given again.
    locked_ts      INTEGER,
    suspended_ts   INTEGER,
    deactivated_ts INTEGER
) STRICT;

-- Accounts of people who did not register.
CREATE TABLE guests (
    user_nid INTEGER NOT NULL PRIMARY KEY REFERENCES accounts
) STRICT;

-- Deactivated users who wanted their words erased: who comes into a room after that does not get to see them.
CREATE TABLE erased_users (
    user_nid INTEGER NOT NULL PRIMARY KEY REFERENCES accounts,
    -- The global position of their wish.
    seq      INTEGER NOT NULL
) STRICT;

CREATE TABLE devices (
    user_nid     INTEGER NOT NULL REFERENCES accounts,
    device_id    TEXT NOT NULL,
    display_name TEXT,
    created_ts   INTEGER NOT NULL,
    -- Written in batches: some minutes may be missing after a crash.
    last_seen_ts INTEGER,
    last_seen_ip TEXT,
    PRIMARY KEY (user_nid, device_id)
) STRICT, WITHOUT ROWID;

-- An access token and the refresh token given with it, as SHA-256.
CREATE TABLE token_pairs (
    pair_nid          INTEGER NOT NULL PRIMARY KEY,
    user_nid          INTEGER NOT NULL,
    device_id         TEXT NOT NULL,
    access_hash       BLOB NOT NULL UNIQUE,
    -- NULL: never.
    access_expires_ts INTEGER,
    -- NULL: the client did not ask for one.
    refresh_hash      BLOB UNIQUE,
    -- The pair that this one was refreshed from. It stays valid until this one is first used.
    replaces_nid      INTEGER REFERENCES token_pairs ON DELETE SET NULL,
    FOREIGN KEY (user_nid, device_id) REFERENCES devices ON DELETE CASCADE
) STRICT;

CREATE INDEX token_pairs_by_device ON token_pairs (user_nid, device_id);
CREATE INDEX token_pairs_by_replaced ON token_pairs (replaces_nid) WHERE replaces_nid IS NOT NULL;

CREATE TABLE registration_tokens (
    token        TEXT NOT NULL PRIMARY KEY,
    -- NULL: any number.
    uses_allowed INTEGER,
    uses         INTEGER NOT NULL DEFAULT 0,
    -- NULL: never.
    expires_ts   INTEGER,
    created_ts   INTEGER NOT NULL
) STRICT;

-- Profiles of local users, a row per field.
CREATE TABLE profile_fields (
    user_nid INTEGER NOT NULL REFERENCES users,
    field    TEXT NOT NULL,
    -- JSON.
    value    TEXT NOT NULL,
    PRIMARY KEY (user_nid, field)
) STRICT, WITHOUT ROWID;

CREATE TABLE account_data (
    user_nid   INTEGER NOT NULL REFERENCES accounts,
    event_type TEXT NOT NULL,
    content    TEXT NOT NULL,
    seq        INTEGER NOT NULL,
    PRIMARY KEY (user_nid, event_type)
) STRICT, WITHOUT ROWID;

CREATE INDEX account_data_by_seq ON account_data (user_nid, seq);

-- Tags included, as m.tag.
CREATE TABLE room_account_data (
    user_nid   INTEGER NOT NULL REFERENCES accounts,
    room_nid   INTEGER NOT NULL REFERENCES rooms,
    event_type TEXT NOT NULL,
    content    TEXT NOT NULL,
    seq        INTEGER NOT NULL,
    PRIMARY KEY (user_nid, room_nid, event_type)
) STRICT, WITHOUT ROWID;

CREATE INDEX room_account_data_by_seq ON room_account_data (user_nid, seq);

CREATE TABLE filters (
    user_nid   INTEGER NOT NULL REFERENCES accounts,
    filter_id  INTEGER NOT NULL,
    -- JSON as the client wrote it, without whitespace.
    definition TEXT NOT NULL,
    PRIMARY KEY (user_nid, filter_id),
    UNIQUE (user_nid, definition)
) STRICT, WITHOUT ROWID;

-- E-mail addresses by which users are known to this server alone.
CREATE TABLE email_addresses (
    -- In small letters.
    address      TEXT NOT NULL PRIMARY KEY,
    user_nid     INTEGER NOT NULL REFERENCES accounts,
    validated_ts INTEGER NOT NULL,
    added_ts     INTEGER NOT NULL
) STRICT;

CREATE INDEX email_addresses_by_user ON email_addresses (user_nid);
