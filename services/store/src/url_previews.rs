//! What web pages said of themselves.

use rusqlite::params;

use crate::{ReadTx, Result, WriteTx};

/// A preview as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlPreview {
    /// From when on it is asked for anew, in milliseconds since the Unix epoch.
    pub expires_ts: u64,
    /// A JSON object; `None` where the page could not be had.
    pub answer: Option<String>,
    /// The page's picture among the local media.
    pub media_id: Option<String>,
}

impl ReadTx<'_> {
    /// The preview of a page, outdated or not.
    pub fn url_preview(&self, url: &str) -> Result<Option<UrlPreview>> {
        let sql = "SELECT expires_ts, answer, media_id FROM url_previews WHERE url = ?1";
        self.optional(sql, [url], |row| {
            Ok(UrlPreview {
                expires_ts: row.get(0)?,
                answer: row.get(1)?,
                media_id: row.get(2)?,
            })
        })
    }
}

impl WriteTx<'_> {
    /// Keeps a preview in place of an earlier one, whose picture goes with it.
    pub fn put_url_preview(&mut self, url: &str, preview: &UrlPreview) -> Result<()> {
        if let Some(old) = self.url_preview(url)? {
            self.delete_picture(&old)?;
        }
        self.execute(
            "INSERT INTO url_previews (url, expires_ts, answer, media_id) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (url) DO UPDATE SET expires_ts = excluded.expires_ts,
                 answer = excluded.answer, media_id = excluded.media_id",
            params![url, preview.expires_ts, preview.answer, preview.media_id],
        )?;
        Ok(())
    }

    /// Deletes previews that are outdated, and those nearest to it where there are more than `kept`: at most `limit`, with
    /// their pictures. Says how many.
    pub fn delete_old_url_previews(&mut self, kept: u32, limit: u32) -> Result<usize> {
        let now = self.now_ms();
        let count: i64 = self.one("SELECT COUNT(*) FROM url_previews", [], |row| row.get(0))?;
        let surplus = count.saturating_sub(kept.into()).max(0);
        let sql = "SELECT url FROM (SELECT url, expires_ts, ROW_NUMBER() OVER (ORDER BY expires_ts) AS place
                 FROM (SELECT url, expires_ts FROM url_previews ORDER BY expires_ts LIMIT ?3))
             WHERE expires_ts <= ?1 OR place <= ?2";
        let urls = self.all(sql, params![now, surplus, limit], |row| {
            row.get::<_, String>(0)
        })?;
        for url in &urls {
            if let Some(old) = self.url_preview(url)? {
                self.delete_picture(&old)?;
            }
            self.execute("DELETE FROM url_previews WHERE url = ?1", [url])?;
        }
        Ok(urls.len())
    }

    fn delete_picture(&mut self, preview: &UrlPreview) -> Result<()> {
        if let Some(media_id) = &preview.media_id {
            self.delete_local_media(media_id)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ruma::server_name;
    use rusqlite::Connection;

    use super::*;
    use crate::{Position, migrations::migrate, names};

    fn until(expires_ts: u64) -> UrlPreview {
        UrlPreview {
            expires_ts,
            answer: Some("{}".to_owned()),
            media_id: None,
        }
    }

    #[test]
    fn the_oldest_go_first_and_no_more_than_must() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        names::claim(&connection, server_name!("own.lu")).unwrap();
        let mut tx = WriteTx::new(&connection, Position::START, 1_000);
        for (url, expires_ts) in [
            ("a", 900),
            ("b", 950),
            ("c", 2_000),
            ("d", 3_000),
            ("e", 2_500),
        ] {
            tx.put_url_preview(url, &until(expires_ts)).unwrap();
        }
        tx.put_url_preview("a", &until(4_000)).unwrap();
        assert_eq!(tx.url_preview("a").unwrap(), Some(until(4_000)));
        assert_eq!(tx.delete_old_url_previews(10, 16).unwrap(), 1);
        assert_eq!(tx.url_preview("b").unwrap(), None);
        assert_eq!(tx.delete_old_url_previews(10, 16).unwrap(), 0);
        assert_eq!(tx.delete_old_url_previews(1, 2).unwrap(), 2);
        assert_eq!(tx.delete_old_url_previews(1, 2).unwrap(), 1);
        for (url, is_there) in [("a", true), ("c", false), ("d", false), ("e", false)] {
            assert_eq!(tx.url_preview(url).unwrap().is_some(), is_there, "{url}");
        }
    }
}
