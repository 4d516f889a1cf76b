//! Media between servers: `multipart/mixed` of two parts, JSON metadata and the content.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1mediadownloadmediaid>

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use ruma::http_headers::ContentDisposition;

use crate::Found;

/// What may stand before the content's bytes: metadata and the heads of parts.
const MAX_HEAD: usize = 64 * 1024;

/// A medium as it is sent to another server.
#[derive(Debug)]
pub struct Envelope<S> {
    /// The response's Content-Type.
    pub content_type: String,
    /// The response's length, in bytes.
    pub length: u64,
    /// The response's body.
    pub body: S,
}

/// Wraps a medium for another server.
pub fn envelope(found: &Found) -> Envelope<impl Stream<Item = io::Result<Bytes>> + Send + use<>> {
    let boundary = format!("{:032x}", rand::random::<u128>());
    let head = format!(
        "--{boundary}\r\nContent-Type: application/json\r\n\r\n{{}}\r\n\
         --{boundary}\r\nContent-Type: {}\r\nContent-Disposition: {}\r\n\r\n",
        found.content_type(),
        found.disposition(None),
    );
    let tail = format!("\r\n--{boundary}--\r\n");
    let size = found.size();
    let length = size + (head.len() + tail.len()) as u64;
    let content = found.read(0, size);
    let once = |text: String| stream::iter([Ok(Bytes::from(text))]);
    Envelope {
        content_type: format!("multipart/mixed; boundary={boundary}"),
        length,
        body: once(head).chain(content).chain(once(tail)),
    }
}

/// What a peer says of the content it sends.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) content_type: Option<String>,
    pub(crate) file_name: Option<String>,
    /// How many bytes it is said to have.
    pub(crate) length: Option<u64>,
    /// Somewhere else, where the content would be.
    pub(crate) location: Option<String>,
}

/// A piece of a peer's answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// What the content is.
    Head(Head),
    /// Bytes of the content.
    Data(Bytes),
    /// The content is complete.
    End,
}

/// Takes a peer's answer apart as it arrives.
#[derive(Debug)]
pub(crate) struct Parser {
    delimiter: Vec<u8>,
    buffer: BytesMut,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first part, or in the metadata.
    Skipping {
        parts: u8,
    },
    /// In a part's head.
    Heading {
        parts: u8,
    },
    /// In the content.
    Content,
    Done,
}

impl Parser {
    /// For an answer of this Content-Type.
    pub(crate) fn new(content_type: &str) -> Result<Self, &'static str> {
        let boundary = boundary(content_type).ok_or("not multipart/mixed with a boundary")?;
        Ok(Self {
            delimiter: format!("\r\n--{boundary}").into_bytes(),
            // A delimiter begins with a line break; the first one may stand at the very beginning.
            buffer: BytesMut::from(&b"\r\n"[..]),
            state: State::Skipping { parts: 0 },
        })
    }

    /// Takes bytes of the answer.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next piece, or `None` until more bytes are there. After [`Piece::End`], nothing comes.
    pub(crate) fn next(&mut self) -> Result<Option<Piece>, &'static str> {
        loop {
            match self.state {
                State::Skipping { parts } => {
                    let Some(at) = find(&self.buffer, &self.delimiter) else {
                        return self.wait_for_more();
                    };
                    self.buffer.advance(at + self.delimiter.len());
                    self.state = State::Heading { parts };
                }
                State::Heading { parts } => {
                    if self.buffer.starts_with(b"--") {
                        return Err("it has no content");
                    }
                    let Some(end) = find(&self.buffer, b"\r\n\r\n") else {
                        return self.wait_for_more();
                    };
                    let head = self.buffer.split_to(end + 2);
                    self.buffer.advance(2);
                    if parts == 0 {
                        self.state = State::Skipping { parts: 1 };
                    } else {
                        self.state = State::Content;
                        return Ok(Some(Piece::Head(parse_head(&head)?)));
                    }
                }
                State::Content => return Ok(self.content()),
                State::Done => return Ok(None),
            }
        }
    }

    fn content(&mut self) -> Option<Piece> {
        let end = find(&self.buffer, &self.delimiter);
        if end == Some(0) {
            self.state = State::Done;
            return Some(Piece::End);
        }
        // What may yet turn out to be a delimiter's beginning is kept back.
        let kept = self.delimiter.len() - 1;
        let ready = end.unwrap_or(self.buffer.len().saturating_sub(kept));
        (ready > 0).then(|| Piece::Data(self.buffer.split_to(ready).freeze()))
    }

    fn wait_for_more(&self) -> Result<Option<Piece>, &'static str> {
        if self.buffer.len() > MAX_HEAD {
            return Err("its metadata is too long");
        }
        Ok(None)
    }
}

/// The boundary of a Content-Type `multipart/mixed`.
fn boundary(content_type: &str) -> Option<&str> {
    let mut parts = content_type.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case("multipart/mixed") {
        return None;
    }
    let boundary = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("boundary")
            .then_some(value.trim())
    })?;
    let boundary = boundary
        .strip_prefix('"')
        .and_then(|quoted| quoted.strip_suffix('"'))
        .unwrap_or(boundary);
    // RFC 2046 allows no more than 70.
    (1..=70).contains(&boundary.len()).then_some(boundary)
}

fn parse_head(bytes: &[u8]) -> Result<Head, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "a part's head is not UTF-8")?;
    let mut head = Head::default();
    for line in text.split("\r\n").filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or("a part's head is malformed")?;
        let value = value.trim();
        match name.trim().to_ascii_lowercase().as_str() {
            "content-type" => head.content_type = Some(value.to_owned()),
            "content-length" => {
                let length = value.parse();
                head.length = Some(length.map_err(|_| "a part's length is no number")?);
            }
            "location" => head.location = Some(value.to_owned()),
            "content-disposition" => {
                let disposition: Option<ContentDisposition> = value.parse().ok();
                head.file_name = disposition.and_then(|disposition| disposition.filename);
            }
            _ => {}
        }
    }
    Ok(head)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let (first, rest) = needle.split_first()?;
    let mut from = 0;
    while let Some(at) = haystack[from..].iter().position(|byte| byte == first) {
        let at = from + at;
        if haystack[at + 1..].starts_with(rest) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/mixed; boundary=\"b\"";

    /// What a parser makes of an answer that arrives in pieces of `step` bytes; `None` where it is not complete.
    fn parse(answer: &[u8], step: usize) -> Result<Option<(Head, Vec<u8>)>, &'static str> {
        let mut parser = Parser::new(TYPE)?;
        let (mut head, mut content) = (Head::default(), Vec::new());
        for bytes in answer.chunks(step) {
            parser.push(bytes);
            while let Some(piece) = parser.next()? {
                match piece {
                    Piece::Head(found) => head = found,
                    Piece::Data(bytes) => content.extend_from_slice(&bytes),
                    Piece::End => return Ok(Some((head, content))),
                }
            }
        }
        Ok(None)
    }

    #[test]
    fn a_content_is_found_however_it_is_cut() {
        let answer = b"preamble\r\n--b\r\nContent-Type: application/json\r\n\r\n{}\r\n--b\r\n\
            content-type: text/plain\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\n\
            one\r\n--\r\n-b\r\ntwo\r\n\r\n--b--\r\nafter";
        for step in 1..answer.len() {
            let (head, content) = parse(answer, step).unwrap().unwrap();
            assert_eq!(content, b"one\r\n--\r\n-b\r\ntwo\r\n", "{step}");
            assert_eq!(head.content_type.as_deref(), Some("text/plain"));
            assert_eq!(head.file_name.as_deref(), Some("a.txt"));
            assert_eq!(head.location, None);
        }
    }

    #[test]
    fn empty_parts_and_heads_are_fine() {
        let answer = b"--b\r\n\r\n\r\n--b\r\n\r\n\r\n--b--";
        for step in 1..answer.len() {
            let found = parse(answer, step).unwrap();
            assert_eq!(found, Some((Head::default(), Vec::new())), "{step}");
        }
    }

    #[test]
    fn what_is_cut_short_is_never_complete() {
        let answer = b"--b\r\n\r\n{}\r\n--b\r\n\r\ncontent\r\n--b--";
        for length in 0..answer.len() - 2 {
            assert_eq!(parse(&answer[..length], 5), Ok(None), "{length}");
        }
    }

    #[test]
    fn what_is_no_such_answer_is_refused() {
        for bad in [
            "",
            "multipart/mixed",
            "text/plain; boundary=b",
            "multipart/mixed; boundary=",
        ] {
            assert!(Parser::new(bad).is_err(), "{bad}");
        }
        let alone = b"--b\r\n\r\n{}\r\n--b--";
        assert_eq!(parse(alone, 100), Err("it has no content"));
        let endless = [b"--b\r\n\r\n".to_vec(), vec![b'x'; MAX_HEAD + 1]].concat();
        assert_eq!(parse(&endless, 1_000), Err("its metadata is too long"));
    }
}
