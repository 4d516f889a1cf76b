CREATE TABLE account_data (
    user_nid   INTEGER NOT NULL REFERENCES accounts,
    event_type TEXT NOT NULL,
    content    TEXT NOT NULL,
    seq        INTEGER NOT NULL,
    PRIMARY KEY (user_nid, event_type)
) STRICT, WITHOUT ROWID;

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

CREATE TABLE aliases (
    alias       TEXT NOT NULL PRIMARY KEY,
    room_nid    INTEGER NOT NULL REFERENCES rooms,
    creator_nid INTEGER NOT NULL REFERENCES users
) STRICT;

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

CREATE TABLE audit_log (
    audit_nid INTEGER NOT NULL PRIMARY KEY,
    ts        INTEGER NOT NULL,
    -- A user id, or the operator at the console.
    actor     TEXT NOT NULL,
    action    TEXT NOT NULL,
    -- What it was done to: a user, a room, a file.
    target    TEXT NOT NULL
) STRICT;

CREATE TABLE blocked_rooms (
    room_id    TEXT NOT NULL PRIMARY KEY,
    -- Who blocked it.
    user_nid   INTEGER NOT NULL REFERENCES users,
    blocked_ts INTEGER NOT NULL
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

CREATE TABLE chains (
    chain_nid        INTEGER NOT NULL PRIMARY KEY,
    room_nid         INTEGER NOT NULL REFERENCES rooms,
    parent_chain_nid INTEGER REFERENCES chains,
    parent_ord       INTEGER,
    -- Parents up to a main chain, which has depth 0. Bounded, so that a look-up is.
    depth            INTEGER NOT NULL,
    head_ord         INTEGER NOT NULL
) STRICT;

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

CREATE TABLE counters (
    name  TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;

CREATE TABLE cross_signing_keys (
    user_nid INTEGER NOT NULL REFERENCES users,
    usage    TEXT NOT NULL CHECK (usage IN ('master', 'self_signing', 'user_signing')),
    -- The public key, which is also the key's name.
    key_id   TEXT NOT NULL,
    json     TEXT NOT NULL,
    PRIMARY KEY (user_nid, usage)
) STRICT, WITHOUT ROWID;

CREATE TABLE current_state (
    room_nid      INTEGER NOT NULL REFERENCES rooms,
    state_key_nid INTEGER NOT NULL REFERENCES state_keys,
    event_nid     INTEGER NOT NULL REFERENCES events,
    PRIMARY KEY (room_nid, state_key_nid)
) STRICT, WITHOUT ROWID;

CREATE TABLE delayed_events (
    -- Random, and all that it takes to restart, cancel or send the event.
    delay_id     TEXT NOT NULL PRIMARY KEY,
    user_nid     INTEGER NOT NULL REFERENCES users,
    room_nid     INTEGER NOT NULL REFERENCES rooms ON DELETE CASCADE,
    event_type   TEXT NOT NULL,
    -- NULL for a message event.
    state_key    TEXT,
    content      TEXT NOT NULL,
    delay_ms     INTEGER NOT NULL,
    due_ms       INTEGER NOT NULL,
    -- The global position when it was asked for: state that somebody else set since then takes its place.
    seq          INTEGER NOT NULL,
    -- The request that asked for it; txn_id is NULL for one that cannot be told from another.
    device_id    TEXT NOT NULL,
    txn_id       TEXT,
    -- Each NULL while it is still to be sent; afterwards, one of the others says how it ended, or it was cancelled.
    finalised_ms INTEGER,
    event_id     TEXT,
    error        TEXT
) STRICT;

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

CREATE TABLE device_changes (
    seq       INTEGER NOT NULL PRIMARY KEY,
    user_nid  INTEGER NOT NULL REFERENCES users,
    -- NULL: the cross-signing keys changed.
    device_id TEXT
) STRICT;

CREATE TABLE device_keys (
    user_nid  INTEGER NOT NULL REFERENCES users,
    device_id TEXT NOT NULL,
    -- As uploaded, without `unsigned`.
    json      TEXT NOT NULL,
    PRIMARY KEY (user_nid, device_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE device_lists (
    user_nid INTEGER NOT NULL PRIMARY KEY REFERENCES users,
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

CREATE TABLE email_addresses (
    -- In small letters.
    address      TEXT NOT NULL PRIMARY KEY,
    user_nid     INTEGER NOT NULL REFERENCES accounts,
    validated_ts INTEGER NOT NULL,
    added_ts     INTEGER NOT NULL
) STRICT;

CREATE TABLE erased_users (
    user_nid INTEGER NOT NULL PRIMARY KEY REFERENCES accounts,
    -- The global position of their wish.
    seq      INTEGER NOT NULL
) STRICT;

CREATE TABLE event_auth (
    event_nid INTEGER NOT NULL REFERENCES events,
    auth_nid  INTEGER NOT NULL REFERENCES events,
    PRIMARY KEY (event_nid, auth_nid)
) STRICT, WITHOUT ROWID;

CREATE TABLE event_json (
    event_nid INTEGER NOT NULL PRIMARY KEY REFERENCES events,
    json      TEXT NOT NULL
) STRICT;

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

CREATE TABLE fallback_keys (
    user_nid  INTEGER NOT NULL REFERENCES users,
    device_id TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    key_id    TEXT NOT NULL,
    json      TEXT NOT NULL,
    used      INTEGER NOT NULL CHECK (used IN (0, 1)),
    PRIMARY KEY (user_nid, device_id, algorithm)
) STRICT, WITHOUT ROWID;

CREATE TABLE filters (
    user_nid   INTEGER NOT NULL REFERENCES accounts,
    filter_id  INTEGER NOT NULL,
    -- JSON as the client wrote it, without whitespace.
    definition TEXT NOT NULL,
    PRIMARY KEY (user_nid, filter_id),
    UNIQUE (user_nid, definition)
) STRICT, WITHOUT ROWID;

CREATE TABLE guests (
    user_nid INTEGER NOT NULL PRIMARY KEY REFERENCES accounts
) STRICT;

CREATE TABLE highlights (
    user_nid INTEGER NOT NULL REFERENCES users,
    room_nid INTEGER NOT NULL REFERENCES rooms,
    pos      INTEGER NOT NULL,
    -- 1 for an event that is not part of rooms.notify_count: it counts as unread for this user alone.
    is_extra INTEGER NOT NULL CHECK (is_extra IN (0, 1)),
    PRIMARY KEY (user_nid, room_nid, pos)
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

CREATE TABLE local_media (
    media_id     TEXT NOT NULL PRIMARY KEY,
    sha256       BLOB NOT NULL REFERENCES media_contents,
    content_type TEXT,
    file_name    TEXT,
    uploader_nid INTEGER NOT NULL REFERENCES users,
    created_ts   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE media_contents (
    sha256     BLOB NOT NULL PRIMARY KEY CHECK (length(sha256) = 32),
    size       INTEGER NOT NULL,
    -- When a scanner found it clean. NULL: never.
    scanned_ts INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE media_erasures (
    user_nid INTEGER NOT NULL PRIMARY KEY REFERENCES users
) STRICT;

CREATE TABLE media_quarantine (
    sha256         BLOB NOT NULL PRIMARY KEY CHECK (length(sha256) = 32),
    reason         TEXT NOT NULL,
    quarantined_ts INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE media_removals (
    sha256 BLOB NOT NULL PRIMARY KEY CHECK (length(sha256) = 32)
) STRICT, WITHOUT ROWID;

CREATE TABLE media_thumbnails (
    original     BLOB NOT NULL REFERENCES media_contents,
    width        INTEGER NOT NULL,
    height       INTEGER NOT NULL,
    is_crop      INTEGER NOT NULL CHECK (is_crop IN (0, 1)),
    sha256       BLOB NOT NULL REFERENCES media_contents,
    content_type TEXT NOT NULL,
    access_ts    INTEGER NOT NULL,
    PRIMARY KEY (original, width, height, is_crop)
) STRICT, WITHOUT ROWID;

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

CREATE TABLE missing_prevs (
    room_nid  INTEGER NOT NULL REFERENCES rooms,
    event_id  TEXT NOT NULL,
    child_nid INTEGER NOT NULL REFERENCES events,
    PRIMARY KEY (room_nid, event_id, child_nid)
) STRICT, WITHOUT ROWID;

CREATE TABLE network_rooms (
    service_id TEXT NOT NULL,
    network_id TEXT NOT NULL,
    room_nid   INTEGER NOT NULL REFERENCES rooms,
    PRIMARY KEY (service_id, network_id, room_nid)
) STRICT, WITHOUT ROWID;

CREATE TABLE notice_rooms (
    user_nid INTEGER NOT NULL PRIMARY KEY REFERENCES accounts,
    room_nid INTEGER NOT NULL REFERENCES rooms
) STRICT;

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

CREATE TABLE pending_media (
    media_id     TEXT NOT NULL PRIMARY KEY,
    uploader_nid INTEGER NOT NULL REFERENCES users,
    expires_ts   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE pending_redactions (
    room_nid      INTEGER NOT NULL REFERENCES rooms,
    -- The event to redact.
    event_id      TEXT NOT NULL,
    redaction_nid INTEGER NOT NULL REFERENCES events,
    -- 1 where the redaction's sender had the power to redact anybody's events, 0: those of their own server only.
    any_sender    INTEGER NOT NULL CHECK (any_sender IN (0, 1)),
    PRIMARY KEY (room_nid, event_id, redaction_nid)
) STRICT, WITHOUT ROWID;

CREATE TABLE presence_status (
    user_nid   INTEGER NOT NULL PRIMARY KEY REFERENCES users,
    status_msg TEXT NOT NULL
) STRICT;

CREATE TABLE profile_fields (
    user_nid INTEGER NOT NULL REFERENCES users,
    field    TEXT NOT NULL,
    -- JSON.
    value    TEXT NOT NULL,
    PRIMARY KEY (user_nid, field)
) STRICT, WITHOUT ROWID;

CREATE TABLE published_rooms (
    room_nid INTEGER NOT NULL PRIMARY KEY REFERENCES rooms
) STRICT;

CREATE TABLE pushers (
    pusher_nid          INTEGER NOT NULL PRIMARY KEY,
    user_nid            INTEGER NOT NULL,
    -- The device that set it; it goes with it.
    device_id           TEXT NOT NULL,
    app_id              TEXT NOT NULL,
    pushkey             TEXT NOT NULL,
    app_display_name    TEXT NOT NULL,
    device_display_name TEXT NOT NULL,
    profile_tag         TEXT,
    lang                TEXT NOT NULL,
    -- Of the push gateway.
    url                 TEXT NOT NULL,
    -- A JSON object: what the client wants to be passed on to the gateway.
    data                TEXT NOT NULL,
    -- When the client last set it, in milliseconds since the Unix epoch.
    set_ts              INTEGER NOT NULL,
    -- The global position up to which every event is delivered, or was none to deliver.
    cursor              INTEGER NOT NULL,
    UNIQUE (user_nid, app_id, pushkey),
    FOREIGN KEY (user_nid, device_id) REFERENCES devices ON DELETE CASCADE
) STRICT;

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

CREATE TABLE received_to_device (
    server_nid  INTEGER NOT NULL REFERENCES servers,
    message_id  TEXT NOT NULL,
    received_ts INTEGER NOT NULL,
    PRIMARY KEY (server_nid, message_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE received_transactions (
    server_nid  INTEGER NOT NULL REFERENCES servers,
    txn_id      TEXT NOT NULL,
    response    TEXT NOT NULL,
    received_ts INTEGER NOT NULL,
    PRIMARY KEY (server_nid, txn_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE redacted_notifications (
    room_nid INTEGER NOT NULL REFERENCES rooms,
    pos      INTEGER NOT NULL,
    PRIMARY KEY (room_nid, pos)
) STRICT, WITHOUT ROWID;

CREATE TABLE registration_tokens (
    token        TEXT NOT NULL PRIMARY KEY,
    -- NULL: any number.
    uses_allowed INTEGER,
    uses         INTEGER NOT NULL DEFAULT 0,
    -- NULL: never.
    expires_ts   INTEGER,
    created_ts   INTEGER NOT NULL
) STRICT;

CREATE TABLE remote_device_lists (
    user_nid  INTEGER NOT NULL PRIMARY KEY REFERENCES users,
    -- The last m.device_list_update that the cache contains; NULL where the list came without one.
    stream_id INTEGER,
    -- The position at which the list was fetched.
    seq       INTEGER NOT NULL,
    -- 1 once an update was missed: fetch anew before use.
    stale     INTEGER NOT NULL CHECK (stale IN (0, 1))
) STRICT;

CREATE TABLE remote_media (
    server_nid   INTEGER NOT NULL REFERENCES servers,
    media_id     TEXT NOT NULL,
    sha256       BLOB NOT NULL REFERENCES media_contents,
    content_type TEXT,
    file_name    TEXT,
    fetched_ts   INTEGER NOT NULL,
    access_ts    INTEGER NOT NULL,
    PRIMARY KEY (server_nid, media_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE reports (
    report_nid   INTEGER NOT NULL PRIMARY KEY,
    ts           INTEGER NOT NULL,
    reporter_nid INTEGER NOT NULL REFERENCES users,
    room_id      TEXT,
    event_id     TEXT,
    user_id      TEXT,
    reason       TEXT NOT NULL
) STRICT;

CREATE TABLE room_account_data (
    user_nid   INTEGER NOT NULL REFERENCES accounts,
    room_nid   INTEGER NOT NULL REFERENCES rooms,
    event_type TEXT NOT NULL,
    content    TEXT NOT NULL,
    seq        INTEGER NOT NULL,
    PRIMARY KEY (user_nid, room_nid, event_type)
) STRICT, WITHOUT ROWID;

CREATE TABLE room_highlights (
    room_nid INTEGER NOT NULL REFERENCES rooms,
    pos      INTEGER NOT NULL,
    PRIMARY KEY (room_nid, pos)
) STRICT, WITHOUT ROWID;

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

CREATE TABLE search_words (
    room_nid  INTEGER NOT NULL,
    word      TEXT NOT NULL,
    event_nid INTEGER NOT NULL,
    PRIMARY KEY (room_nid, word, event_nid)
) STRICT, WITHOUT ROWID;

CREATE TABLE server_key_documents (
    server_nid     INTEGER NOT NULL PRIMARY KEY REFERENCES servers,
    json           TEXT NOT NULL,
    valid_until_ts INTEGER NOT NULL,
    fetched_ts     INTEGER NOT NULL
) STRICT;

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

CREATE TABLE servers (
    server_nid  INTEGER NOT NULL PRIMARY KEY,
    server_name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE signature_changes (
    signer_nid INTEGER NOT NULL REFERENCES users,
    target_nid INTEGER NOT NULL REFERENCES users,
    seq        INTEGER NOT NULL,
    PRIMARY KEY (signer_nid, target_nid)
) STRICT, WITHOUT ROWID;

CREATE TABLE state_keys (
    state_key_nid INTEGER NOT NULL PRIMARY KEY,
    event_type    TEXT NOT NULL,
    state_key     TEXT NOT NULL,
    UNIQUE (event_type, state_key)
) STRICT;

CREATE TABLE stripped_state (
    room_nid INTEGER NOT NULL REFERENCES rooms,
    user_nid INTEGER NOT NULL REFERENCES users,
    -- A JSON array of stripped state events.
    events   TEXT NOT NULL,
    PRIMARY KEY (room_nid, user_nid)
) STRICT, WITHOUT ROWID;

CREATE TABLE thread_reads (
    user_nid  INTEGER NOT NULL REFERENCES users,
    room_nid  INTEGER NOT NULL REFERENCES rooms,
    -- The event id of the thread's root.
    thread_id TEXT NOT NULL,
    pos       INTEGER NOT NULL,
    PRIMARY KEY (user_nid, room_nid, thread_id)
) STRICT, WITHOUT ROWID;

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

CREATE TABLE tips (
    room_nid  INTEGER NOT NULL REFERENCES rooms,
    event_nid INTEGER NOT NULL REFERENCES events,
    PRIMARY KEY (room_nid, event_nid)
) STRICT, WITHOUT ROWID;

CREATE TABLE to_device_inbox (
    user_nid  INTEGER NOT NULL REFERENCES users,
    device_id TEXT NOT NULL,
    seq       INTEGER NOT NULL,
    -- The event as the device gets it: type, sender, content.
    json      TEXT NOT NULL,
    PRIMARY KEY (user_nid, device_id, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE to_device_outbox (
    server_nid INTEGER NOT NULL REFERENCES servers,
    seq        INTEGER NOT NULL,
    -- The EDU's content.
    json       TEXT NOT NULL,
    PRIMARY KEY (server_nid, seq)
) STRICT, WITHOUT ROWID;

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

CREATE TABLE url_previews (
    url TEXT NOT NULL PRIMARY KEY,
    expires_ts INTEGER NOT NULL,
    -- A JSON object; NULL where the page could not be had.
    answer TEXT,
    -- The page's picture among the local media.
    media_id TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE users (
    user_nid   INTEGER NOT NULL PRIMARY KEY,
    user_id    TEXT NOT NULL UNIQUE,
    server_nid INTEGER NOT NULL REFERENCES servers
) STRICT;

CREATE TABLE voucher_uses (
    voucher     TEXT NOT NULL,
    server_name TEXT NOT NULL,
    -- The fingerprint of the box's TLS key.
    tls_key     TEXT NOT NULL,
    -- The answer, a JSON document.
    answer      TEXT NOT NULL,
    used_ts     INTEGER NOT NULL,
    -- When the voucher ends, after which the row serves no purpose.
    expires_ts  INTEGER NOT NULL,
    PRIMARY KEY (voucher, server_name, tls_key)
) STRICT, WITHOUT ROWID;

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

CREATE INDEX account_data_by_seq ON account_data (user_nid, seq);

CREATE INDEX aliases_by_room ON aliases (room_nid);

CREATE INDEX chain_changes_by_ord ON chain_changes (chain_nid, ord);

CREATE INDEX chain_changes_by_seq ON chain_changes (chain_nid, seq);

CREATE INDEX client_transactions_by_age ON client_transactions (created_ts);

CREATE INDEX client_transactions_by_event ON client_transactions (event_nid) WHERE event_nid IS NOT NULL;

CREATE INDEX delayed_events_by_room ON delayed_events (room_nid);

CREATE UNIQUE INDEX delayed_events_by_transaction ON delayed_events (user_nid, device_id, room_nid, txn_id)
    WHERE txn_id IS NOT NULL;

CREATE INDEX delayed_events_by_user ON delayed_events (user_nid, due_ms);

CREATE INDEX delayed_events_due ON delayed_events (due_ms) WHERE finalised_ms IS NULL;

CREATE INDEX delayed_events_finalised ON delayed_events (finalised_ms) WHERE finalised_ms IS NOT NULL;

CREATE INDEX device_changes_by_user ON device_changes (user_nid, seq);

CREATE INDEX device_lists_by_seq ON device_lists (seq);

CREATE INDEX email_addresses_by_user ON email_addresses (user_nid);

CREATE INDEX event_relations_in_threads ON event_relations (room_nid, pos, thread_id, notifies)
    WHERE thread_id IS NOT NULL;

CREATE INDEX event_relations_threads ON event_relations (room_nid, rel_type, pos, parent_id)
    WHERE rel_type = 'm.thread';

CREATE UNIQUE INDEX events_by_pos ON events (room_nid, pos) WHERE pos IS NOT NULL;

CREATE INDEX events_by_time ON events (room_nid, origin_server_ts, pos) WHERE pos IS NOT NULL;

CREATE INDEX events_outgoing ON events (seq) WHERE is_outgoing = 1;

CREATE INDEX events_placed_late ON events (seq) WHERE seq <> event_nid;

CREATE INDEX highlights_by_event ON highlights (room_nid, pos);

CREATE INDEX local_media_by_age ON local_media (created_ts);

CREATE INDEX local_media_by_content ON local_media (sha256);

CREATE INDEX local_media_by_uploader ON local_media (uploader_nid);

CREATE INDEX media_thumbnails_by_access ON media_thumbnails (access_ts);

CREATE INDEX media_thumbnails_by_content ON media_thumbnails (sha256);

CREATE INDEX members_by_membership ON members (room_nid, membership);

CREATE INDEX members_by_seq ON members (seq);

CREATE INDEX members_by_user ON members (user_nid, membership);

CREATE INDEX members_by_user_seq ON members (user_nid, seq);

CREATE INDEX one_time_keys_claimed ON one_time_keys (user_nid, device_id, algorithm, claimed_at)
    WHERE claimed_at IS NOT NULL;

CREATE INDEX one_time_keys_unclaimed ON one_time_keys (user_nid, device_id, algorithm, seq) WHERE claimed_at IS NULL;

CREATE INDEX partial_rooms_by_retry ON partial_rooms (retry_ts);

CREATE INDEX pending_media_by_expiry ON pending_media (expires_ts);

CREATE INDEX pending_media_by_uploader ON pending_media (uploader_nid, expires_ts);

CREATE INDEX pushers_by_device ON pushers (user_nid, device_id);

CREATE INDEX pushers_by_key ON pushers (app_id, pushkey);

CREATE INDEX read_positions_by_seq ON read_positions (user_nid, seq);

CREATE INDEX receipts_by_seq ON receipts (room_nid, seq);

CREATE INDEX receipts_local ON receipts (seq) WHERE is_local = 1 AND receipt_type = 'm.read';

CREATE INDEX received_to_device_by_age ON received_to_device (received_ts);

CREATE INDEX received_transactions_by_age ON received_transactions (received_ts);

CREATE INDEX remote_media_by_access ON remote_media (access_ts);

CREATE INDEX remote_media_by_content ON remote_media (sha256);

CREATE INDEX room_account_data_by_seq ON room_account_data (user_nid, seq);

CREATE INDEX room_servers_by_server ON room_servers (server_nid, room_nid);

CREATE INDEX thread_subscriptions_by_seq ON thread_subscriptions (user_nid, seq);

CREATE INDEX token_pairs_by_device ON token_pairs (user_nid, device_id);

CREATE INDEX token_pairs_by_replaced ON token_pairs (replaces_nid) WHERE replaces_nid IS NOT NULL;

CREATE INDEX url_previews_by_expiry ON url_previews (expires_ts);

CREATE INDEX users_by_server ON users (server_nid);

CREATE INDEX voucher_uses_by_expiry ON voucher_uses (expires_ts);

CREATE INDEX waiting_pdus_by_server ON waiting_pdus (server_nid);

CREATE INDEX waiting_pdus_by_time ON waiting_pdus (retry_ts);
