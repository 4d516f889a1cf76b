//! ICAP, RFC 3507: the content is sent as the answer of a web server that may be modified on its way. What comes through as
//! it is, is clean.

use std::io;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Connection, Verdict};

/// The longest head of an answer, with the head of the answer within, in bytes.
const MAX_HEAD: usize = 16 * 1024;

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
    match read_head(&mut connection).await?.status {
        200 | 204 => Ok(()),
        status => Err(unexpected(status)),
    }
}

/// Sends a content of `size` bytes.
pub(super) async fn scan(
    mut connection: impl Connection,
    address: &str,
    service: &str,
    size: u64,
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
    let send = async {
        connection.write_all(head.as_bytes()).await?;
        while let Some(chunk) = content.next().await {
            let chunk = chunk?;
            let length = format!("{:x}\r\n", chunk.len());
            connection.write_all(length.as_bytes()).await?;
            connection.write_all(&chunk).await?;
            connection.write_all(b"\r\n").await?;
        }
        connection.write_all(b"0\r\n\r\n").await?;
        connection.flush().await
    };
    let sent = send.await;
    // It may have seen enough before the end.
    let answer = read_head(&mut connection).await;
    let answer = match (sent, answer) {
        (_, Ok(answer)) => answer,
        (Err(error), Err(_)) | (Ok(()), Err(error)) => return Err(error),
    };
    match (answer.status, answer.finding, answer.inner_status) {
        (204, ..) | (200 | 201, None, Some(200)) => Ok(Verdict::Clean),
        (200 | 201, Some(finding), _) => Ok(Verdict::Infected(finding)),
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

async fn read_head(connection: &mut impl Connection) -> io::Result<Head> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 1_024];
    loop {
        if let Some(head) = parse(&bytes)? {
            return Ok(head);
        }
        let length = connection.read(&mut buffer).await?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&buffer[..length]);
        if bytes.len() > MAX_HEAD {
            return Err(io::Error::other("its answer is too long"));
        }
    }
}

/// The head of an answer; `None` until it is there.
fn parse(bytes: &[u8]) -> io::Result<Option<Head>> {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, rest)) = text.split_once("\r\n\r\n") else {
        return Ok(None);
    };
    let mut lines = head.split("\r\n");
    let status = status_of(lines.next().unwrap_or_default(), "ICAP/")?;
    let headers: Vec<(String, &str)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim()))
        .collect();
    let finding = headers
        .iter()
        .find(|(name, _)| FINDINGS.contains(&name.as_str()))
        .map(|(_, value)| (*value).to_owned());
    let has_inner = headers
        .iter()
        .any(|(name, value)| name == "encapsulated" && value.contains("res-hdr"));
    let inner_status = if has_inner {
        let Some((line, _)) = rest.split_once("\r\n") else {
            return Ok(None);
        };
        Some(status_of(line, "HTTP/")?)
    } else {
        None
    };
    Ok(Some(Head {
        status,
        finding,
        inner_status,
    }))
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
        let scan = scan(ours, "scanner.lu:1344", "av", 3, content);
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
    async fn what_comes_through_is_clean_and_what_does_not_is_not() {
        let clean = [
            "ICAP/1.0 204 No Content\r\n\r\n",
            "ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, res-body=9\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        ];
        for answer in clean {
            assert_eq!(verdict(answer).await.unwrap(), Verdict::Clean, "{answer}");
        }
        for (answer, name) in [
            (
                "ICAP/1.0 200 OK\r\nX-Infection-Found: Type=0; Threat=Eicar;\r\n\r\n",
                "Type=0; Threat=Eicar;",
            ),
            (
                "ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0\r\n\r\nHTTP/1.1 403 Forbidden\r\n",
                "blocked with 403",
            ),
        ] {
            let infected = Verdict::Infected(name.to_owned());
            assert_eq!(verdict(answer).await.unwrap(), infected, "{answer}");
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
