-- Media. The bytes lie in the media folder, each content once, in a file named by its SHA-256; a content without a row
-- here is an orphan.
CREATE TABLE media_contents (
    sha256 BLOB NOT NULL PRIMARY KEY CHECK (length(sha256) = 32),
    size   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What users of this server uploaded. It is never evicted.
CREATE TABLE local_media (
    media_id     TEXT NOT NULL PRIMARY KEY,
    sha256       BLOB NOT NULL REFERENCES media_contents,
    content_type TEXT,
    file_name    TEXT,
    uploader_nid INTEGER NOT NULL REFERENCES users,
    created_ts   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX local_media_by_content ON local_media (sha256);
CREATE INDEX local_media_by_uploader ON local_media (uploader_nid);

-- The cache of what users looked at on other servers.
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

CREATE INDEX remote_media_by_content ON remote_media (sha256);
CREATE INDEX remote_media_by_access ON remote_media (access_ts);

-- The sizes of all rows of remote_media together.
INSERT INTO counters (name, value) VALUES ('remote_media_bytes', 0);
