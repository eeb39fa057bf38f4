//! What is open and moves: endless downloads and uploads, and WebSockets that echo.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::client::{request, streaming};
use super::{Client, TestUpstream, eventually, within};

/// A stream that is under way.
pub struct Flow {
    /// Ends, with the time, when the stream does.
    pub end: JoinHandle<Instant>,
    moved: Arc<AtomicUsize>,
}

impl Flow {
    /// Starts an endless download and returns when it is under way.
    pub async fn download(client: Client, path: &str) -> Self {
        let mut connection = client.connect().await.expect("admitted");
        let response = connection.send(request("GET", path)).await.expect("answered");
        assert_eq!(response.status(), 200, "{path}");
        let mut body = response.into_body();
        within("the first bytes", body.frame()).await.expect("a frame").expect("bytes");
        Self::of(|moved| async move {
            while let Some(Ok(_)) = body.frame().await {
                moved.fetch_add(1, Ordering::Relaxed);
            }
            drop(connection);
        })
    }

    /// Starts an endless upload and returns when the upstream has its head.
    pub async fn upload(client: Client, path: &str, upstream: &TestUpstream) -> Self {
        let mut connection = client.connect().await.expect("admitted");
        let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
        let upload = request("POST", path).map(|_| streaming(receiver));
        let flow = Self::of(|moved| async move {
            let sending = async {
                while sender.send(Bytes::from_static(&[0; 1024])).await.is_ok() {
                    moved.fetch_add(1, Ordering::Relaxed);
                }
                std::future::pending().await
            };
            tokio::select! {
                _ = connection.send(upload) => {}
                () = sending => {}
            }
        });
        eventually("the upload arrives", || upstream.received().iter().any(|request| request.target() == path));
        flow
    }

    /// Opens a WebSocket.
    pub async fn open(client: Client, path: &str) -> TokioIo<Upgraded> {
        let mut connection = client.connect().await.expect("admitted");
        let mut upgrade = request("GET", path);
        for (name, value) in [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            upgrade.headers_mut().insert(name, value.parse().expect("a header"));
        }
        let response = connection.send(upgrade).await.expect("answered");
        assert_eq!(response.status(), 101);
        TokioIo::new(hyper::upgrade::on(response).await.expect("upgraded"))
    }

    /// Opens a WebSocket and sees it echo.
    pub async fn web_socket(client: Client, path: &str) -> Self {
        let mut tunnel = Self::open(client, path).await;
        let flow = Self::of(|moved| async move {
            let mut echo = [0; 4];
            while tunnel.write_all(b"ping").await.is_ok() && tunnel.read_exact(&mut echo).await.is_ok() {
                assert_eq!(&echo, b"ping");
                moved.fetch_add(1, Ordering::Relaxed);
            }
        });
        flow.goes_on("a WebSocket");
        flow
    }

    /// Checks that something moves from now on.
    #[track_caller]
    pub fn goes_on(&self, what: &str) {
        let before = self.moved.load(Ordering::Relaxed);
        eventually(&format!("{what} goes on"), || {
            assert!(!self.end.is_finished(), "{what} was cut");
            self.moved.load(Ordering::Relaxed) > before + 1
        });
    }

    fn of<F: Future<Output = ()> + Send + 'static>(flow: impl FnOnce(Arc<AtomicUsize>) -> F) -> Self {
        let moved = Arc::<AtomicUsize>::default();
        let flowing = flow(Arc::clone(&moved));
        let end = tokio::spawn(async move {
            flowing.await;
            Instant::now()
        });
        Self { end, moved }
    }
}
