//! The local control socket: the operator API for our own user and root, over a unix socket in the state directory. Its file
//! says who may use it, and the kernel says who does; whoever can read our keys can do as much anyway.

use std::convert::Infallible;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::fs::{FlockOperation, flock};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::{Admin, Error, needs};
use crate::failure::Failure;
use crate::request::service::{Call, Caller};
use crate::routing::path::normalise;

/// The socket, while it is there.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    /// Held by the one process that may use the state directory; the kernel lets go of it when that one ends, however.
    _lock: File,
}

/// Why there is no socket.
#[derive(Debug)]
pub enum SocketError {
    /// Another process has the state directory.
    Taken(PathBuf),
    Unusable(PathBuf, io::Error),
}

/// Where the socket of a state directory is.
pub fn path(state: &Path) -> PathBuf {
    state.join("control.sock")
}

/// The socket by a path that the kernel takes: 107 bytes at most. A longer one leads through its directory, held open here.
#[derive(Debug)]
pub struct Reachable {
    path: PathBuf,
    _directory: Option<File>,
}

impl Reachable {
    /// Opens the directory where it has to.
    pub fn of(path: &Path) -> io::Result<Self> {
        let (Some(directory), Some(name)) = (path.parent().filter(|_| path.as_os_str().len() > MAX_PATH), path.file_name()) else {
            return Ok(Self { path: path.to_owned(), _directory: None });
        };
        let directory = File::open(directory)?;
        let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        Ok(Self { path, _directory: Some(directory) })
    }

    /// Returns the path, to be used while this lives.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl ControlSocket {
    /// Takes the state directory, and listens on a thread of its own.
    pub fn open(state: &Path, admin: Arc<Admin>) -> Result<Self, SocketError> {
        let path = path(state);
        let lock = lock(state)?;
        let listening = listen(&path).map_err(|error| SocketError::Unusable(path.clone(), error))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| SocketError::Unusable(path.clone(), error))?;
        let serving = move || {
            let ended = runtime.block_on(serve(listening, admin));
            tracing::error!(error = ?ended.err(), "the control socket stopped");
        };
        let thread = std::thread::Builder::new().name("control".to_owned()).spawn(serving);
        thread.map_err(|error| SocketError::Unusable(path.clone(), error))?;
        Ok(Self { path, _lock: lock })
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Whoever comes next removes it otherwise.
        let _ = fs::remove_file(&self.path);
    }
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken(state) => {
                let state = state.display();
                write!(f, "{state}: another process runs with this state directory; stop it, or set [store] path to another one")
            }
            Self::Unusable(path, error) => write!(f, "control socket {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for SocketError {}

/// Makes the directory if it is not there, and locks it against a second process.
fn lock(state: &Path) -> Result<File, SocketError> {
    let path = state.join("control.lock");
    let unusable = |error| SocketError::Unusable(path.clone(), error);
    if !state.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(state).map_err(unusable)?;
    }
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(unusable)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(SocketError::Taken(state.to_owned())),
        Err(error) => Err(unusable(error.into())),
    }
}

/// Listens under a name of its own until only its owner may connect. What a dead process left is nobody's: we have the lock.
fn listen(path: &Path) -> io::Result<StdListener> {
    let draft = path.with_extension("new");
    for left in [&draft, path] {
        match fs::remove_file(left) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    let listening = StdListener::bind(Reachable::of(&draft)?.path())?;
    fs::set_permissions(&draft, Permissions::from_mode(0o600))?;
    fs::rename(&draft, path)?;
    listening.set_nonblocking(true)?;
    Ok(listening)
}

async fn serve(listening: StdListener, admin: Arc<Admin>) -> io::Result<Infallible> {
    let listening = UnixListener::from_std(listening)?;
    let (places, calls) = (Arc::new(Semaphore::new(MAX_CONNECTIONS)), Arc::new(AtomicU64::new(0)));
    loop {
        let Ok((stream, _)) = listening.accept().await else {
            // Out of file descriptors, most often: the data plane frees some sooner or later.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        if !is_ours(&stream) {
            continue;
        }
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            let (admin, calls) = (Arc::clone(&admin), Arc::clone(&calls));
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let (admin, number) = (Arc::clone(&admin), calls.fetch_add(1, Ordering::Relaxed));
                    async move { Ok::<_, Infallible>(answer(&admin, request, number).await.map(Full::new)) }
                });
                let mut builder = hyper::server::conn::http1::Builder::new();
                builder.timer(TokioTimer::new()).header_read_timeout(IDLE);
                // How it ends is the caller's business.
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                drop(place);
            });
        }
    }
}

/// The file's mode says it already; a descriptor that was passed on does not.
fn is_ours(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == own || peer.uid() == 0 => true,
        Ok(peer) => {
            tracing::warn!(uid = peer.uid(), "another user called on the control socket, and was not answered");
            false
        }
        Err(error) => {
            tracing::warn!(%error, "nobody knows who called on the control socket");
            false
        }
    }
}

async fn answer(admin: &Arc<Admin>, request: Request<Incoming>, number: u64) -> Response<Bytes> {
    let id = format!("local-{number}");
    let (head, body) = request.into_parts();
    let uri = head.uri.clone();
    let path = normalise(uri.path()).map_err(Failure::from);
    let most = path.as_ref().map_or(0, |path| needs::body(&head.method, &path.text));
    let body = Limited::new(body, usize::try_from(most).unwrap_or(usize::MAX)).collect().await;
    let (path, body) = match (path, body) {
        (Ok(path), Ok(body)) => (path, body.to_bytes()),
        (Err(failure), _) => return Error::from(failure).render(&id),
        (_, Err(_)) => return Error::from(Failure::BodyTooLarge).render(&id),
    };
    let (method, told) = (head.method.clone(), path.text.to_string());
    let target = head.uri.path_and_query().map(|original| path.target(original));
    let target = target.map_or_else(|| Uri::from_static("/"), Uri::from);
    let mut request = Request::from_parts(head, body);
    *request.uri_mut() = target;
    let response = (**admin).clone().answer(Call { request, caller: Caller::local(&id) }).await;
    tracing::info!(%method, path = told, status = response.status().as_u16(), request_id = id, "called on the control socket");
    response
}

/// `sockaddr_un` has room for 108 bytes, and a NUL ends them.
const MAX_PATH: usize = 107;
const MAX_CONNECTIONS: usize = 64;
/// Between two calls.
const IDLE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream as StdStream;

    use super::*;

    #[test]
    fn a_socket_is_reached_however_long_its_path_is() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().as_os_str().len();
        for length in [60, 106, 107, 108, 109, 250] {
            let state = directory.path().join("x".repeat(length - base - "//control.sock".len()));
            fs::create_dir(&state).unwrap();
            let path = path(&state);
            assert_eq!(path.as_os_str().len(), length);
            let listening = listen(&path).unwrap_or_else(|error| panic!("{length}: {error}"));
            StdStream::connect(Reachable::of(&path).unwrap().path()).unwrap_or_else(|error| panic!("{length}: {error}"));
            listening.accept().unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}
