-- What web pages said of themselves, for as long as that is not asked again.
CREATE TABLE url_previews (
    url TEXT NOT NULL PRIMARY KEY,
    expires_ts INTEGER NOT NULL,
    -- A JSON object; NULL where the page could not be had.
    answer TEXT,
    -- The page's picture among the local media.
    media_id TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX url_previews_by_expiry ON url_previews (expires_ts);
