//! Over real sockets, with limits so short that a client can outlast them.

use std::future::pending;

use axum::routing::get;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

use super::*;

/// How long a test waits for what must happen, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(20);

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: box\r\n\r\n";

/// Nothing takes long here, unless a test says so.
const PATIENT: Listening = Listening {
    max_connections: 10,
    max_per_address: 10,
    handshake_time: PATIENCE,
    header_time: PATIENCE,
    grace: PATIENCE,
};

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(handshake: impl Handshake, router: Router, listening: Listening) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(listen(listener, handshake, router, listening, stop.clone()));
        Self {
            address,
            stop,
            task,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A connection on which all of the request is there before it is accepted, however slow the machine.
    fn connect_with_request(&self) -> TcpStream {
        use std::io::Write;
        let mut stream = std::net::TcpStream::connect(self.address).unwrap();
        stream.write_all(REQUEST).unwrap();
        stream.set_nonblocking(true).unwrap();
        TcpStream::from_std(stream).unwrap()
    }

    async fn ended(self) {
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

/// A router whose requests are in work until they are let go. Says when one has arrived.
fn slow() -> (Router, mpsc::Receiver<()>, CancellationToken) {
    let (arrived, arrivals) = mpsc::channel(10);
    let go = CancellationToken::new();
    let handler = {
        let go = go.clone();
        async move || {
            arrived.send(()).await.unwrap();
            go.cancelled().await;
            "done"
        }
    };
    (Router::new().route("/", get(handler)), arrivals, go)
}

/// What still arrives until the other side closes the connection, which it must do.
async fn rest(stream: &mut TcpStream) -> String {
    let mut rest = Vec::new();
    // A reset is an end as well.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .unwrap();
    String::from_utf8_lossy(&rest).into_owned()
}

/// Reads an answer that ends with `end`, on a connection that may stay open.
async fn answer(stream: &mut TcpStream, end: &str) -> String {
    let mut answer = String::new();
    let mut buffer = [0; 1024];
    while !answer.ends_with(end) {
        let length = timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap();
        let length = length.unwrap();
        assert!(length > 0, "closed after {answer:?}");
        answer.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
    }
    answer
}

#[tokio::test]
async fn a_head_that_does_not_come_in_time_ends_the_connection() {
    let listening = Listening {
        header_time: Duration::from_millis(100),
        ..PATIENT
    };
    let running = Running::start(Plain, hello(), listening).await;
    let http_2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for begun in [
        &b""[..],
        b"G",
        b"GET / HTTP/1.1\r\nHost: bo",
        // It could become either version.
        b"PRI * HT",
        // Well begun, and no more.
        http_2,
    ] {
        let mut stream = running.connect().await;
        stream.write_all(begun).await.unwrap();
        let rest = rest(&mut stream).await;
        assert!(!rest.contains("200"), "{rest}");
    }
}

#[tokio::test]
async fn a_head_that_trickles_in_ends_the_connection() {
    let listening = Listening {
        header_time: Duration::from_millis(200),
        ..PATIENT
    };
    let running = Running::start(Plain, hello(), listening).await;
    let stream = running.connect().await;
    let (mut reading, mut writing) = stream.into_split();
    let trickle = async {
        writing.write_all(b"GET / HTTP/1.1\r\n").await?;
        for number in 0_u64.. {
            let line = format!("x-{number}: y\r\n");
            writing.write_all(line.as_bytes()).await?;
            sleep(Duration::from_millis(10)).await;
        }
        io::Result::Ok(())
    };
    let mut rest = Vec::new();
    let closed = async {
        let _ = reading.read_to_end(&mut rest).await;
    };
    timeout(PATIENCE, async {
        tokio::select! {
            _ = trickle => {}
            () = closed => {}
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_idle_connection_ends_and_a_busy_one_does_not() {
    let listening = Listening {
        header_time: Duration::from_millis(100),
        ..PATIENT
    };
    let (router, mut arrivals, go) = slow();
    let running = Running::start(Plain, router, listening).await;
    let mut stream = running.connect_with_request();
    arrivals.recv().await.unwrap();
    // The handler takes longer than a head may.
    assert!(
        timeout(3 * listening.header_time, stream.read_u8())
            .await
            .is_err()
    );
    go.cancel();
    assert!(answer(&mut stream, "done").await.contains("200 OK"));
    assert_eq!(rest(&mut stream).await, "");
}

/// A handshake that never ends.
#[derive(Clone)]
struct Stuck;

impl Handshake for Stuck {
    type Stream = TcpStream;

    async fn handshake(
        &self,
        _connection: TcpStream,
        _: SocketAddr,
        _: Router,
    ) -> io::Result<Accepted<TcpStream>> {
        pending().await
    }
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_ends_the_connection() {
    let listening = Listening {
        handshake_time: Duration::from_millis(50),
        ..PATIENT
    };
    let running = Running::start(Stuck, hello(), listening).await;
    let mut stream = running.connect().await;
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn more_connections_than_allowed_wait_for_a_place() {
    let listening = Listening {
        max_connections: 1,
        ..PATIENT
    };
    let running = Running::start(Plain, hello(), listening).await;
    let mut first = running.connect().await;
    first.write_all(REQUEST).await.unwrap();
    answer(&mut first, "hello").await;

    let mut second = running.connect().await;
    second.write_all(REQUEST).await.unwrap();
    let early = timeout(Duration::from_millis(100), second.read_u8()).await;
    assert!(early.is_err(), "{early:?}");
    drop(first);
    answer(&mut second, "hello").await;
}

#[tokio::test]
async fn a_stop_lets_requests_end_and_takes_no_more() {
    let (router, mut arrivals, go) = slow();
    let running = Running::start(Plain, router, PATIENT).await;
    let mut idle = running.connect().await;
    let mut busy = running.connect().await;
    busy.write_all(REQUEST).await.unwrap();
    arrivals.recv().await.unwrap();

    running.stop.cancel();
    // The socket closes, and with it the connections that have nothing in work.
    assert_eq!(rest(&mut idle).await, "");
    while TcpStream::connect(running.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!running.task.is_finished());
    go.cancel();
    let answer = rest(&mut busy).await;
    assert!(
        answer.contains("200 OK") && answer.ends_with("done"),
        "{answer}"
    );
    running.ended().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let (router, mut arrivals, _go) = slow();
    let listening = Listening {
        grace: Duration::from_millis(50),
        ..PATIENT
    };
    let running = Running::start(Plain, router, listening).await;
    let mut stuck = running.connect().await;
    stuck.write_all(REQUEST).await.unwrap();
    arrivals.recv().await.unwrap();
    running.stop.cancel();
    running.ended().await;
    assert_eq!(rest(&mut stuck).await, "");
}

#[tokio::test]
async fn requests_tell_where_they_come_from() {
    let handler = async |axum::Extension(from): axum::Extension<RemoteAddress>| from.0.to_string();
    let router = Router::new().route("/", get(handler));
    let running = Running::start(Plain, router, PATIENT).await;
    let mut stream = running.connect().await;
    let own = stream.local_addr().unwrap().to_string();
    stream.write_all(REQUEST).await.unwrap();
    answer(&mut stream, &own).await;
}
