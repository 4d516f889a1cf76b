-- Media. The bytes lie in the media folder, each content once, in a file named by its SHA-256; a content without a row
-- here is an orphan.
CREATE TABLE media_contents (
    sha256     BLOB NOT NULL PRIMARY KEY CHECK (length(sha256) = 32),
    size       INTEGER NOT NULL,
    -- When a scanner found it clean. NULL: never.
    scanned_ts INTEGER
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
CREATE INDEX local_media_by_age ON local_media (created_ts);

-- Ids that were given out before their content.
CREATE TABLE pending_media (
    media_id     TEXT NOT NULL PRIMARY KEY,
    uploader_nid INTEGER NOT NULL REFERENCES users,
    expires_ts   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX pending_media_by_uploader ON pending_media (uploader_nid, expires_ts);
CREATE INDEX pending_media_by_expiry ON pending_media (expires_ts);

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

-- What was made of images, for each size that was wanted. Where an image stands for its own thumbnail, both contents are one.
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

CREATE INDEX media_thumbnails_by_content ON media_thumbnails (sha256);
CREATE INDEX media_thumbnails_by_access ON media_thumbnails (access_ts);

-- The sizes of all rows of local_media, of remote_media, and of what media_thumbnails adds to the originals, together.
INSERT INTO counters (name, value) VALUES ('local_media_bytes', 0);
INSERT INTO counters (name, value) VALUES ('remote_media_bytes', 0);
INSERT INTO counters (name, value) VALUES ('media_thumbnail_bytes', 0);

-- Contents that are handed out to nobody, and that no user may upload, whether or not they lie here.
CREATE TABLE media_quarantine (
    sha256         BLOB NOT NULL PRIMARY KEY CHECK (length(sha256) = 32),
    reason         TEXT NOT NULL,
    quarantined_ts INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Users whose uploads are gone for everybody; the rows follow, some at a time.
CREATE TABLE media_erasures (
    user_nid INTEGER NOT NULL PRIMARY KEY REFERENCES users
) STRICT;

-- Contents that no medium has any more, whose files still lie in the media folder.
CREATE TABLE media_removals (
    sha256 BLOB NOT NULL PRIMARY KEY CHECK (length(sha256) = 32)
) STRICT, WITHOUT ROWID;
