//! The protocol of `clamd`: commands that begin with `z` and end, as answers do, with a zero byte.

use std::io;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Connection, Verdict};

/// The longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 4 * 1024;

/// Asks whether anybody is there.
pub(super) async fn ping(mut connection: impl Connection) -> io::Result<()> {
    connection.write_all(b"zPING\0").await?;
    match answer(&mut connection).await?.as_str() {
        "PONG" => Ok(()),
        other => Err(io::Error::other(format!("it says {other:?}"))),
    }
}

/// Sends a content in chunks, each behind its length, to an empty one.
pub(super) async fn scan(
    mut connection: impl Connection,
    mut content: impl Stream<Item = io::Result<Bytes>> + Unpin,
) -> io::Result<Verdict> {
    let send = async {
        connection.write_all(b"zINSTREAM\0").await?;
        while let Some(chunk) = content.next().await {
            let chunk = chunk?;
            let length = u32::try_from(chunk.len()).map_err(io::Error::other)?;
            connection.write_all(&length.to_be_bytes()).await?;
            connection.write_all(&chunk).await?;
        }
        connection.write_all(&0_u32.to_be_bytes()).await?;
        connection.flush().await
    };
    let sent = send.await;
    // It says why it does not read on.
    let answer = answer(&mut connection).await;
    let answer = match (sent, answer) {
        (_, Ok(answer)) if !answer.is_empty() => answer,
        (Err(error), _) | (_, Err(error)) => return Err(error),
        (Ok(()), Ok(_)) => return Err(io::ErrorKind::UnexpectedEof.into()),
    };
    let verdict = answer.strip_prefix("stream: ").unwrap_or(&answer);
    match verdict.strip_suffix(" FOUND") {
        Some(name) => Ok(Verdict::Infected(name.to_owned())),
        None if verdict == "OK" => Ok(Verdict::Clean),
        None => Err(io::Error::other(format!("it says {verdict:?}"))),
    }
}

async fn answer(connection: &mut impl Connection) -> io::Result<String> {
    let mut answer = Vec::new();
    connection.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    Ok(answer.trim_end_matches(['\0', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// A clamd for one connection, which finds what contains "EICAR".
    async fn clamd(mut connection: DuplexStream) -> io::Result<()> {
        let mut command = [0; 10];
        connection.read_exact(&mut command[..6]).await?;
        if &command[..6] == b"zPING\0" {
            return connection.write_all(b"PONG\0").await;
        }
        connection.read_exact(&mut command[6..]).await?;
        assert_eq!(&command, b"zINSTREAM\0");
        let mut content = Vec::new();
        loop {
            let length = connection.read_u32().await?;
            if length == 0 {
                break;
            }
            let mut chunk = vec![0; usize::try_from(length).unwrap()];
            connection.read_exact(&mut chunk).await?;
            content.extend(chunk);
            if content.len() > 50 {
                let answer = b"INSTREAM size limit exceeded. ERROR\0";
                return connection.write_all(answer).await;
            }
        }
        let is_found = content.windows(5).any(|part| part == b"EICAR");
        let answer: &[u8] = if is_found {
            b"stream: Eicar-Signature FOUND\0"
        } else {
            b"stream: OK\0"
        };
        connection.write_all(answer).await
    }

    async fn verdict(chunks: Vec<&'static str>) -> io::Result<Verdict> {
        let (ours, theirs) = duplex(1_024);
        let content = stream::iter(chunks.into_iter().map(|chunk| Ok(Bytes::from(chunk))));
        let (verdict, _) = tokio::join!(scan(ours, content), clamd(theirs));
        verdict
    }

    #[tokio::test]
    async fn a_content_is_judged_across_its_chunks() {
        let clean = verdict(vec!["nothing ", "bad"]).await;
        assert_eq!(clean.unwrap(), Verdict::Clean);
        assert_eq!(verdict(vec![]).await.unwrap(), Verdict::Clean);
        let infected = Verdict::Infected("Eicar-Signature".to_owned());
        assert_eq!(verdict(vec!["x EIC", "AR x"]).await.unwrap(), infected);
        let large = verdict(vec!["0123456789012345678901234567890"; 40]).await;
        assert!(large.unwrap_err().to_string().contains("size limit"));
    }

    #[tokio::test]
    async fn whoever_hangs_up_is_not_there() {
        let (ours, theirs) = duplex(1_024);
        let (pinged, _) = tokio::join!(ping(ours), clamd(theirs));
        pinged.unwrap();
        let (ours, theirs) = duplex(1_024);
        drop(theirs);
        let content = stream::iter([Ok(Bytes::from("x"))]);
        assert!(scan(ours, content).await.is_err());
    }
}
