//! An upstream for tests, which says byte for byte what it is told to, and remembers what it read.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Endpoint, Settings};

/// A listening upstream. It lives as long as the test's `LocalSet`.
pub(crate) struct Scripted {
    pub(crate) settings: Settings,
    pub(crate) seen: Rc<RefCell<Vec<String>>>,
    pub(crate) connections: Rc<Cell<usize>>,
}

/// What to say to one request.
pub(crate) enum Say {
    /// And keep the connection.
    Bytes(String),
    /// And close it.
    Last(String),
    /// Nothing, ever.
    Nothing,
    /// Bytes, and whatever comes is sent back.
    Echo(String),
}

impl Scripted {
    /// Answers each request, told as it was read: head and body.
    pub(crate) async fn start(script: impl Fn(&str) -> Say + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint: Endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let (seen, connections) = (Rc::<RefCell<Vec<String>>>::default(), Rc::<Cell<usize>>::default());
        let (noted, counted, script) = (Rc::clone(&seen), Rc::clone(&connections), Rc::new(script));
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.set(counted.get() + 1);
                tokio::task::spawn_local(converse(stream, Rc::clone(&script), Rc::clone(&noted)));
            }
        });
        Self { settings: Settings { name: "scripted".into(), endpoints: vec![endpoint], ..Settings::default() }, seen, connections }
    }
}

async fn converse(mut stream: TcpStream, script: Rc<impl Fn(&str) -> Say>, seen: Rc<RefCell<Vec<String>>>) {
    let mut bytes = Vec::new();
    loop {
        let Some(request) = read_request(&mut stream, &mut bytes).await else { return };
        seen.borrow_mut().push(request.clone());
        match script(&request) {
            Say::Bytes(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
            Say::Last(answer) => {
                stream.write_all(answer.as_bytes()).await.unwrap();
                return;
            }
            Say::Nothing => std::future::pending().await,
            Say::Echo(answer) => {
                stream.write_all(answer.as_bytes()).await.unwrap();
                let mut piece = [0; 1024];
                while let Ok(length @ 1..) = stream.read(&mut piece).await {
                    stream.write_all(&piece[..length]).await.unwrap();
                }
                return;
            }
        }
    }
}

/// Reads a head and its body, by Content-Length or until the last chunk.
async fn read_request(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4) {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |length| length.parse().unwrap());
            let whole = if head.contains("transfer-encoding: chunked") {
                let last = bytes[end..].windows(5).position(|window| window == b"0\r\n\r\n" || window == b"\r\n0\r\n");
                last.and_then(|at| bytes[end + at..].windows(4).position(|window| window == b"\r\n\r\n").map(|tail| end + at + tail + 4))
            } else {
                Some(end + length)
            };
            if let Some(whole) = whole.filter(|whole| *whole <= bytes.len()) {
                return Some(String::from_utf8_lossy(&bytes.drain(..whole).collect::<Vec<_>>()).into_owned());
            }
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(length @ 1..) => bytes.extend_from_slice(&piece[..length]),
            _ => return None,
        }
    }
}
