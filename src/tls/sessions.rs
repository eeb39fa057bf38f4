//! The sessions that clients may resume: TLS 1.2 by session id, TLS 1.3 by stateful ticket. One store per
//! (listener, client policy), shared by the workers. It remembers whose each session is and when its first full
//! handshake was, which it learns from the connection being served (`Current`); it judges nothing.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use memchr::memmem;
use rustls::server::StoresServerSessions;
use rustls_pki_types::UnixTime;

use super::current::Current;
use crate::admission::Candidate;
use crate::pki::Fingerprint;

/// How long a session may be resumed, from its first full handshake on: resuming does not extend it.
pub(super) const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// Sessions, bounded; the oldest make room.
pub(super) struct Sessions {
    shards: Vec<Mutex<Shard>>,
    lifetime: Duration,
}

/// Keeps new sessions and resumes none: for the full handshake that a denied resumption is taken through.
#[derive(Debug)]
pub(super) struct NewOnly(pub(super) Arc<Sessions>);

/// When a session's key was proven: by the wall clock, which counts suspends, and by the monotonic one, which nobody sets back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proven {
    pub(super) wall: UnixTime,
    pub(super) monotonic: Instant,
}

#[derive(Default)]
struct Shard {
    /// Boxed: a table has more places than entries.
    entries: HashMap<Key, Box<Entry>>,
    /// Oldest first; holds keys of entries that are gone until it is swept.
    order: VecDeque<Key>,
    /// The chains that sessions of one leaf share, each as it came last.
    chains: HashMap<Fingerprint, Weak<[u8]>>,
}

struct Entry {
    /// What rustls needs to resume: secret.
    value: Value,
    /// `None`: no certificate was presented.
    leaf: Option<Fingerprint>,
    proven: Proven,
}

/// A value, cut where its client's chain stands: the most of it, and the same in every session of that client.
struct Value {
    /// All but the chain.
    own: Box<[u8]>,
    /// Where in `own` the chain belongs.
    at: usize,
    chain: Arc<[u8]>,
}

/// rustls draws 32 random bytes for session ids and tickets alike.
type Key = [u8; 32];

impl Sessions {
    pub(super) fn new(lifetime: Duration) -> Arc<Self> {
        Arc::new(Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), lifetime })
    }

    /// Drops the sessions of leaves that are gone; returns how many.
    pub(super) fn forget(&self, gone: impl Fn(&Fingerprint) -> bool) -> usize {
        let mut dropped = 0;
        for shard in &self.shards {
            let mut shard = locked(shard);
            let before = shard.entries.len();
            shard.entries.retain(|_, entry| !entry.leaf.as_ref().is_some_and(&gone));
            dropped += before - shard.entries.len();
        }
        dropped
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard> {
        locked(&self.shards[usize::from(key[0]) % SHARDS])
    }

    /// Looks a session up for the connection being served, and tells the connection whose handshake it continues.
    fn find(&self, key: &[u8], single_use: bool) -> Option<Vec<u8>> {
        let key = Key::try_from(key).ok()?;
        Current::with(|current| {
            let mut shard = self.shard(&key);
            let entry = shard.entries.get(&key)?;
            if self.has_lapsed(entry.proven, Proven { wall: current.now(), monotonic: Instant::now() }) {
                shard.entries.remove(&key);
                return None;
            }
            current.session_found(entry.proven);
            let value = entry.value.whole();
            if single_use {
                shard.entries.remove(&key);
            }
            Some(value)
        })?
    }

    fn has_lapsed(&self, proven: Proven, now: Proven) -> bool {
        let by_wall = now.wall.as_secs().saturating_sub(proven.wall.as_secs());
        by_wall >= self.lifetime.as_secs() || now.monotonic.saturating_duration_since(proven.monotonic) >= self.lifetime
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        let Ok(key) = Key::try_from(key) else { return false };
        // Outside a handshake of ours nobody knows whose session it is.
        let Some(Some((candidate, proven))) = Current::with(Current::session_to_keep) else { return false };
        if value.len() > MAX_VALUE {
            return false;
        }
        let Some(leaf) = candidate.as_ref().map(|candidate| candidate.leaf()).transpose().ok() else { return false };
        let mut shard = self.shard(&key);
        let value = match &candidate {
            Some(candidate) => shard.cut(value, candidate),
            None => Value::of_its_own(value),
        };
        shard.put(key, Entry { value, leaf: leaf.map(|leaf| leaf.fingerprint), proven });
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.find(key, false)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.find(key, true)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

impl StoresServerSessions for NewOnly {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.0.put(key, value)
    }

    fn get(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn take(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn can_cache(&self) -> bool {
        true
    }
}

impl Value {
    fn of_its_own(value: Vec<u8>) -> Self {
        Self { own: value.into(), at: 0, chain: Arc::default() }
    }

    fn whole(&self) -> Vec<u8> {
        [&self.own[..self.at], &self.chain, &self.own[self.at..]].concat()
    }
}

impl Shard {
    /// Cuts a client's chain out of a value, to share it with its other sessions. Whatever stands there is kept to the
    /// byte: nothing hangs on how rustls writes a chain.
    fn cut(&mut self, value: Vec<u8>, candidate: &Candidate) -> Value {
        let Ok(leaf) = candidate.leaf() else { return Value::of_its_own(value) };
        let Some(at) = memmem::find(&value, &leaf.der) else { return Value::of_its_own(value) };
        let behind = candidate.intermediates().iter().map(|der| BETWEEN + der.len()).sum::<usize>();
        let to = (at + leaf.der.len() + behind).min(value.len());
        let known = self.chains.get(&leaf.fingerprint).and_then(Weak::upgrade).filter(|chain| chain[..] == value[at..to]);
        let chain = known.unwrap_or_else(|| {
            let chain: Arc<[u8]> = value[at..to].into();
            if self.chains.len() >= SHARD_CAPACITY {
                self.chains.retain(|_, chain| chain.strong_count() > 0);
            }
            self.chains.insert(leaf.fingerprint, Arc::downgrade(&chain));
            chain
        });
        Value { own: [&value[..at], &value[to..]].concat().into(), at, chain }
    }

    fn put(&mut self, key: Key, entry: Entry) {
        while self.entries.len() >= SHARD_CAPACITY {
            let Some(oldest) = self.order.pop_front() else { break };
            self.entries.remove(&oldest);
        }
        // Single-use sessions leave their keys behind: swept once in a while, so that the queue stays bounded too.
        if self.order.len() >= 2 * SHARD_CAPACITY {
            self.order.retain(|key| self.entries.contains_key(key));
        }
        if self.entries.insert(key, Box::new(entry)).is_none() {
            self.order.push_back(key);
        }
    }
}

/// Counts only: keys and values are secrets.
impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len: usize = self.shards.iter().map(|shard| locked(shard).entries.len()).sum();
        f.debug_struct("Sessions").field("len", &len).field("lifetime", &self.lifetime).finish()
    }
}

/// A shard is consistent between statements, so a panic elsewhere does not poison what it holds.
fn locked(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Workers rarely meet on one lock.
const SHARDS: usize = 16;

/// 16,384 sessions in all, of about 1 KiB each where none has its chain in common with another.
const SHARD_CAPACITY: usize = 1024;

/// What rustls writes between two certificates of a chain.
const BETWEEN: usize = 3;

/// A session holds its client's chain; who presents more than this does without resumption, lest a few fill the memory.
const MAX_VALUE: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        key
    }

    fn entry() -> Entry {
        let wall = UnixTime::since_unix_epoch(Duration::from_secs(1));
        Entry { value: Value::of_its_own(vec![1]), leaf: None, proven: Proven { wall, monotonic: Instant::now() } }
    }

    #[test]
    fn the_oldest_make_room() {
        let mut shard = Shard::default();
        for number in 0..3 * SHARD_CAPACITY {
            shard.put(key(number), entry());
        }
        assert_eq!(shard.entries.len(), SHARD_CAPACITY);
        assert!(shard.entries.contains_key(&key(2 * SHARD_CAPACITY)) && !shard.entries.contains_key(&key(2 * SHARD_CAPACITY - 1)));
    }

    #[test]
    fn keys_that_were_taken_do_not_pile_up() {
        let mut shard = Shard::default();
        for number in 0..10 * SHARD_CAPACITY {
            shard.put(key(number), entry());
            shard.entries.remove(&key(number));
        }
        assert!(shard.order.len() <= 2 * SHARD_CAPACITY, "{}", shard.order.len());
    }

    #[test]
    fn sessions_of_one_client_share_its_chain_and_each_is_given_back_to_the_byte() {
        let ders = [b"leaf".as_slice(), b"intermediate"].map(|name| {
            let key = rcgen::KeyPair::generate().unwrap();
            let params = rcgen::CertificateParams::new(vec![String::from_utf8_lossy(name).into_owned()]).unwrap();
            params.self_signed(&key).unwrap().der().clone()
        });
        let candidate = Candidate::presented(&ders).unwrap();
        let encoded = |head: &[u8], between: &[u8]| [head, &ders[0], between, &ders[1], b"tail"].concat();
        let mut shard = Shard::default();
        let values = [encoded(b"one", b"..."), encoded(b"another", b"..."), encoded(b"one", b":::"), ders[0].to_vec(), b"none".to_vec()];
        let cut = values.clone().map(|value| shard.cut(value, &candidate));
        for (value, cut) in values.iter().zip(&cut) {
            assert_eq!(*value, cut.whole());
        }
        assert!(Arc::ptr_eq(&cut[0].chain, &cut[1].chain) && !Arc::ptr_eq(&cut[0].chain, &cut[2].chain));
        assert_eq!(&*cut[0].own, b"onetail");
        drop(cut);
        assert!(shard.chains.values().all(|chain| chain.strong_count() == 0), "a chain without a session is not kept");
    }

    #[test]
    fn outside_a_handshake_there_are_no_sessions() {
        let sessions = Sessions::new(LIFETIME);
        assert!(!sessions.put(key(1).to_vec(), vec![1]));
        sessions.shard(&key(1)).put(key(1), entry());
        assert_eq!((sessions.get(&key(1)), sessions.take(&key(1)), sessions.get(b"short")), (None, None, None));
    }

    #[test]
    fn a_session_lapses_by_whichever_clock_is_ahead() {
        let sessions = Sessions::new(Duration::from_secs(60));
        let (wall, monotonic) = (|seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds)), Instant::now());
        let proven = Proven { wall: wall(1000), monotonic };
        for (name, seconds, passed, expected) in [
            ("at once", 1000, 0, false),
            ("in time", 1059, 59, false),
            ("too late", 1060, 60, true),
            ("after a suspend", 5000, 1, true),
            ("the wall clock was set back", 10, 59, false),
            ("it was set back, and time passed", 10, 60, true),
        ] {
            let now = Proven { wall: wall(seconds), monotonic: monotonic + Duration::from_secs(passed) };
            assert_eq!(sessions.has_lapsed(proven, now), expected, "{name}");
        }
    }

    #[test]
    fn a_store_shows_no_secrets() {
        let sessions = Sessions::new(LIFETIME);
        sessions.shard(&key(1)).put(key(1), Entry { value: Value::of_its_own(b"secret".to_vec()), ..entry() });
        assert_eq!(format!("{sessions:?}"), "Sessions { len: 1, lifetime: 3600s }");
    }
}
