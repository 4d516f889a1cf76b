//! ICAP, RFC 3507: the content is sent as the answer of a web server that may be modified on its way. What comes through as
//! it is, is clean.

use std::{io, pin::pin};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use luxchat_store::ContentHash;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, split};

use super::{Connection, Verdict};

/// The longest head of an answer, with the head of the answer within, in bytes.
const MAX_HEAD: u64 = 16 * 1024;

/// Headers by which scanners say what they found. There is no standard.
const FINDINGS: &[&str] = &[
    "x-infection-found",
    "x-virus-id",
    "x-virus-name",
    "x-violations-found",
];

/// Asks whether the service is there.
pub(super) async fn ping(
    mut connection: impl Connection,
    address: &str,
    service: &str,
) -> io::Result<()> {
    let request = format!(
        "OPTIONS icap://{address}/{service} ICAP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    );
    connection.write_all(request.as_bytes()).await?;
    match read_head(&mut BufReader::new(connection)).await?.status {
        200 | 204 => Ok(()),
        status => Err(unexpected(status)),
    }
}

/// Sends a content of `size` bytes, whose hash is `sha256`, and reads what comes back at the same time: some servers send a
/// part of it before they have made up their minds.
pub(super) async fn scan(
    connection: impl Connection,
    (address, service): (&str, &str),
    (size, sha256): (u64, ContentHash),
    mut content: impl Stream<Item = io::Result<Bytes>> + Unpin,
) -> io::Result<Verdict> {
    let asked = "GET http://media.invalid/ HTTP/1.1\r\nHost: media.invalid\r\n\r\n";
    let answered = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n"
    );
    let head = format!(
        "RESPMOD icap://{address}/{service} ICAP/1.0\r\nHost: {address}\r\nAllow: 204\r\n\
         Connection: close\r\nEncapsulated: req-hdr=0, res-hdr={}, res-body={}\r\n\r\n{asked}{answered}",
        asked.len(),
        asked.len() + answered.len(),
    );
    let (reader, mut writer) = split(connection);
    let send = pin!(async {
        writer.write_all(head.as_bytes()).await?;
        while let Some(chunk) = content.next().await {
            let chunk = chunk?;
            let length = format!("{:x}\r\n", chunk.len());
            writer.write_all(length.as_bytes()).await?;
            writer.write_all(&chunk).await?;
            writer.write_all(b"\r\n").await?;
        }
        writer.write_all(b"0\r\n\r\n").await?;
        writer.flush().await
    });
    let mut judge = pin!(judge(BufReader::new(reader), sha256));
    tokio::select! {
        // It may have seen enough before the end.
        verdict = &mut judge => verdict,
        sent = send => match (sent, judge.await) {
            (_, Ok(verdict)) => Ok(verdict),
            (Err(error), Err(_)) | (Ok(()), Err(error)) => Err(error),
        },
    }
}

async fn judge(mut reader: impl AsyncBufRead + Unpin, sha256: ContentHash) -> io::Result<Verdict> {
    let answer = read_head(&mut reader).await?;
    match (answer.status, answer.finding, answer.inner_status) {
        (204, ..) => Ok(Verdict::Clean),
        (200 | 201, Some(finding), _) => Ok(Verdict::Infected(finding)),
        (200 | 201, None, Some(200)) => Ok(match read_content(&mut reader).await {
            Ok(came) if came == sha256 => Verdict::Clean,
            Ok(_) => Verdict::Infected("changed by the scanner".to_owned()),
            // So it takes back what it has begun to let through. Or it broke down.
            Err(_) => Verdict::Undecided,
        }),
        // It puts a page of its own in the content's place.
        (200 | 201, None, Some(status)) => Ok(Verdict::Infected(format!("blocked with {status}"))),
        (status, ..) => Err(unexpected(status)),
    }
}

/// What a server says before the content that it sends back.
#[derive(Debug, Default, PartialEq, Eq)]
struct Head {
    status: u16,
    finding: Option<String>,
    /// The status of the answer within.
    inner_status: Option<u16>,
}

async fn read_head(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Head> {
    let mut reader = reader.take(MAX_HEAD);
    let mut head = Head {
        status: status_of(&read_line(&mut reader).await?, "ICAP/")?,
        ..Head::default()
    };
    let mut encapsulated = String::new();
    loop {
        let line = read_line(&mut reader).await?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        let name = name.trim().to_ascii_lowercase();
        if FINDINGS.contains(&name.as_str()) {
            head.finding.get_or_insert_with(|| value.trim().to_owned());
        } else if name == "encapsulated" {
            value.trim().clone_into(&mut encapsulated);
        }
    }
    if encapsulated.contains("res-hdr") {
        head.inner_status = Some(status_of(&read_line(&mut reader).await?, "HTTP/")?);
        while !read_line(&mut reader).await?.is_empty() {}
    }
    Ok(head)
}

/// Reads a content in chunks to its end.
async fn read_content(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<ContentHash> {
    let mut hash = Sha256::new();
    loop {
        let line = read_line(&mut reader.take(MAX_HEAD)).await?;
        let length = line.split(';').next().unwrap_or_default().trim();
        let length = u64::from_str_radix(length, 16).map_err(io::Error::other)?;
        if length == 0 {
            return Ok(hash.finalize().into());
        }
        let mut chunk = (&mut *reader).take(length);
        loop {
            let bytes = chunk.fill_buf().await?;
            if bytes.is_empty() {
                break;
            }
            hash.update(bytes);
            let read = bytes.len();
            chunk.consume(read);
        }
        if chunk.limit() > 0 || !read_line(&mut reader.take(2)).await?.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// A line, without its end.
async fn read_line(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<String> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line).await?;
    let line = line.strip_suffix(b"\n");
    let line = line.ok_or_else(|| io::Error::other("its answer breaks off"))?;
    Ok(String::from_utf8_lossy(line)
        .trim_end_matches('\r')
        .to_owned())
}

fn status_of(line: &str, protocol: &str) -> io::Result<u16> {
    let status = line.strip_prefix(protocol).and_then(|line| {
        let status = line.split(' ').nth(1)?;
        status.parse().ok()
    });
    status.ok_or_else(|| io::Error::other("its answer is malformed"))
}

fn unexpected(status: u16) -> io::Error {
    io::Error::other(format!("it answers {status}"))
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    /// Reads one request to its end and answers it.
    async fn server(mut connection: DuplexStream, answer: &str) -> String {
        let mut request = String::new();
        let mut buffer = [0; 64];
        loop {
            let length = connection.read(&mut buffer).await.unwrap();
            request.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
            let end = if request.starts_with("OPTIONS") {
                "\r\n\r\n"
            } else {
                "\r\n0\r\n\r\n"
            };
            if length == 0 || request.ends_with(end) {
                break;
            }
        }
        connection.write_all(answer.as_bytes()).await.unwrap();
        request
    }

    async fn verdict(answer: &str) -> io::Result<Verdict> {
        let (ours, theirs) = duplex(100);
        let content = stream::iter(["ab", "c"].map(|chunk| Ok(Bytes::from(chunk))));
        let sha256 = Sha256::digest("abc").into();
        let scan = scan(ours, ("scanner.lu:1344", "av"), (3, sha256), content);
        let (verdict, request) = tokio::join!(scan, server(theirs, answer));
        assert!(
            request.starts_with("RESPMOD icap://scanner.lu:1344/av ICAP/1.0\r\n"),
            "{request}"
        );
        let (head, rest) = request.split_once("\r\n\r\n").unwrap();
        let offsets = head.split_once("res-hdr=").unwrap().1;
        let (inner, body) = offsets.split_once(", res-body=").unwrap();
        assert!(rest[inner.parse().unwrap()..].starts_with("HTTP/1.1 200 OK\r\n"));
        assert_eq!(
            &rest[body.parse().unwrap()..],
            "2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
        );
        verdict
    }

    #[tokio::test]
    async fn what_comes_through_as_it_is_is_clean_and_what_does_not_is_not() {
        let through = "ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, res-body=19\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
        let whole = format!("{through}1\r\na\r\n2;x\r\nbc\r\n0\r\n\r\n");
        for answer in ["ICAP/1.0 204 No Content\r\n\r\n", &whole] {
            assert_eq!(verdict(answer).await.unwrap(), Verdict::Clean, "{answer}");
        }
        let changed = format!("{through}3\r\nabd\r\n0\r\n\r\n");
        let found = "ICAP/1.0 200 OK\r\nX-Infection-Found: Threat=Eicar;\r\n\
                     X-Violations-Found: 1\r\n\r\n";
        let page = "ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, null-body=26\r\n\r\n\
                    HTTP/1.1 403 Forbidden\r\n\r\n";
        for (answer, name) in [
            (found, "Threat=Eicar;"),
            (page, "blocked with 403"),
            (&changed, "changed by the scanner"),
        ] {
            let infected = Verdict::Infected(name.to_owned());
            assert_eq!(verdict(answer).await.unwrap(), infected, "{answer}");
        }
        // Begun, and not let through to the end.
        for cut in ["", "3\r\nab", "3\r\nabc", "3\r\nabc\r\n", "x\r\n"] {
            let answer = format!("{through}{cut}");
            assert_eq!(verdict(&answer).await.unwrap(), Verdict::Undecided, "{cut}");
        }
        for answer in [
            "",
            "ICAP/1.0 404 Not Found\r\n\r\n",
            "HTTP/1.1 204 No\r\n\r\n",
            "ICAP/1.0 200 OK\r\n\r\n",
        ] {
            assert!(verdict(answer).await.is_err(), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_service_says_that_it_is_there() {
        for (answer, is_there) in [
            ("ICAP/1.0 200 OK\r\nMethods: RESPMOD\r\n\r\n", true),
            ("ICAP/1.0 404 Not Found\r\n\r\n", false),
        ] {
            let (ours, theirs) = duplex(100);
            let ping = ping(ours, "scanner.lu:1344", "av");
            let (pinged, request) = tokio::join!(ping, server(theirs, answer));
            assert_eq!(pinged.is_ok(), is_there);
            assert!(request.starts_with("OPTIONS icap://scanner.lu:1344/av ICAP/1.0\r\n"));
        }
    }
}
