-- Where notifications are sent.

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

CREATE INDEX pushers_by_device ON pushers (user_nid, device_id);
CREATE INDEX pushers_by_key ON pushers (app_id, pushkey);
