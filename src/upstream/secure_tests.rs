//! Upstreams over HTTP/2 and TLS: real ones, with certificates made on the spot.

use std::cell::Cell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

use super::*;
use crate::ticker::Ticker;

/// A body of frames.
struct Frames(VecDeque<Frame<Bytes>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

#[derive(Clone)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

fn local<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::task::spawn_local(crate::http1::Later::default());
        tokio::task::yield_now().await;
        test.await
    })
}

/// Tells what was asked as the body, with trailers behind it.
async fn tell(request: Request<Incoming>) -> Result<Response<Frames>, Infallible> {
    let told = format!("{} {} {:?}", request.version() == http::Version::HTTP_2, request.uri(), request.headers());
    let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
    Ok(Response::new(Frames([Frame::data(told.into()), Frame::trailers(trailers)].into())))
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, http2: bool) {
    let (io, service) = (TokioIo::new(stream), hyper::service::service_fn(tell));
    let _ = match http2 {
        true => hyper::server::conn::http2::Builder::new(Local).serve_connection(io, service).await,
        false => hyper::server::conn::http1::Builder::new().serve_connection(io, service).await,
    };
}

/// A CA, and what it issued for `localhost`.
struct World {
    ca: CertifiedIssuer<'static, KeyPair>,
    server: Arc<CertifiedKey>,
}

impl World {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let server = issued(&ca, "localhost");
        Self { ca, server }
    }

    /// Listens with TLS; `client` must be presented where it is asked for.
    async fn listen(&self, http2: bool, asks_for_client: bool) -> (u16, Rc<Cell<usize>>) {
        let provider = Arc::new(default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
        let builder = if asks_for_client {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(self.ca.der().clone()).unwrap();
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let server = rustls::sign::SingleCertAndKey::from(CertifiedKey::clone(&self.server));
        let mut config = builder.with_cert_resolver(Arc::new(server));
        config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, served) = (listener.local_addr().unwrap().port(), Rc::<Cell<usize>>::default());
        let counted = Rc::clone(&served);
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, counted) = (acceptor.clone(), Rc::clone(&counted));
                tokio::task::spawn_local(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        counted.set(counted.get() + 1);
                        serve(stream, http2).await;
                    }
                });
            }
        });
        (port, served)
    }
}

fn issued(ca: &CertifiedIssuer<'static, KeyPair>, name: &str) -> Arc<CertifiedKey> {
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, ca).unwrap();
    let der: CertificateDer<'static> = leaf.der().clone();
    let signing = any_supported_type(&PrivateKeyDer::try_from(key.serialize_der()).unwrap()).unwrap();
    Arc::new(CertifiedKey::new(vec![der], signing))
}

fn settings(scheme: &str, port: u16, tls: Tls) -> Settings {
    let endpoint = format!("{scheme}://127.0.0.1:{port}").parse().unwrap();
    Settings { name: "secure".into(), endpoints: vec![endpoint], tls, ..Settings::default() }
}

async fn ask(settings: Settings) -> Result<(String, HeaderMap), Error> {
    let pool = Pools::new(Ticker::new()).of(&Arc::new(Upstream::compile(settings).unwrap()));
    let request = Request::builder().uri("/x?y").header("host", "a.example").header("te", "trailers").header("connection", "te");
    let answer = pool.send(&mut request.body(Upload::empty()).unwrap().into(), None, |_| {}).await?;
    let Answer::Response(response) = answer else { panic!("a switch") };
    let body = response.body.collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    Ok((String::from_utf8(body.to_bytes().to_vec()).unwrap(), trailers))
}

#[test]
fn an_upstream_is_verified_and_sees_our_certificate() {
    local(async {
        let (world, other) = (World::new(), World::new());
        let trusted =
            Tls { ca: vec![world.ca.der().clone()], client: Some(issued(&world.ca, "us")), server_name: Some("localhost".into()) };
        for (scheme, http2) in [("https", false), ("h2", true)] {
            let (port, served) = world.listen(http2, true).await;
            let (told, _) = ask(settings(scheme, port, trusted.clone())).await.unwrap();
            assert!(told.starts_with(if http2 { "true https://a.example/x?y" } else { "false /x?y" }), "{told}");
            let refused = [
                Tls { ca: vec![other.ca.der().clone()], ..trusted.clone() },
                Tls { server_name: Some("elsewhere.example".into()), ..trusted.clone() },
                Tls { server_name: None, ..trusted.clone() },
            ];
            for tls in refused {
                assert_eq!(ask(settings(scheme, port, tls)).await, Err(Error::Unavailable));
            }
            assert_eq!(served.get(), 1);
            // TLS 1.3: a client learns late that its certificate was missing.
            assert!(ask(settings(scheme, port, Tls { client: None, ..trusted.clone() })).await.is_err());
        }
    });
}

#[test]
fn http2_is_spoken_only_to_whom_it_is_meant_for() {
    local(async {
        let world = World::new();
        let trusted = Tls { ca: vec![world.ca.der().clone()], client: None, server_name: Some("localhost".into()) };
        let (port, _) = world.listen(false, false).await;
        assert_eq!(ask(settings("h2", port, trusted)).await, Err(Error::Unavailable));
    });
}

#[test]
fn one_connection_of_http2_carries_many_requests_and_trailers() {
    local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, connections) = (listener.local_addr().unwrap().port(), Rc::<Cell<usize>>::default());
        let counted = Rc::clone(&connections);
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.set(counted.get() + 1);
                tokio::task::spawn_local(serve(stream, true));
            }
        });
        let pool = Pools::new(Ticker::new()).of(&Arc::new(Upstream::compile(settings("h2c", port, Tls::default())).unwrap()));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let pool = Rc::clone(&pool);
            tasks.spawn_local(async move {
                let request = Request::builder().uri("/x").header("host", "a.example").header("te", "trailers").header("connection", "te");
                let answer = pool.send(&mut request.body(Upload::empty()).unwrap().into(), None, |_| {}).await.unwrap();
                let Answer::Response(response) = answer else { panic!("a switch") };
                let body = response.body.collect().await.unwrap();
                assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
                let told = String::from_utf8(body.to_bytes().to_vec()).unwrap();
                assert!(told.starts_with("true http://a.example/x") && !told.contains("connection") && !told.contains("host"), "{told}");
            });
        }
        tasks.join_all().await;
        assert_eq!(connections.get(), 1);
    });
}

#[test]
fn a_trust_that_holds_nothing_is_refused() {
    let rubbish = Tls { ca: vec![CertificateDer::from(vec![0x30, 0x00])], ..Tls::default() };
    assert!(matches!(Upstream::compile(settings("https", 1, rubbish)), Err(UpstreamError::NoTrust(_))));
}
