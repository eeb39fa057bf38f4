//! Portcullis: may the holder of this certificate do this, now? One pure function answers; every other
//! room brings it the question or carries out the answer. The rooms stand in the order of who may name whom: one
//! names what stands in the groups above its own, never a neighbour or what is below (`tests/architecture.rs` holds
//! us to that). `docs/life-of-a-request.md` walks them in the order of a request and of a rule.

// Vocabulary: names nothing of ours.

/// Times as people read them.
pub mod date;
/// Work on much, shared out among the cores.
pub mod threads;

/// The only place that asks the time.
pub mod clock;
/// One signal to stop taking on, finish, close.
pub mod drain;
/// Heads of messages, with their fields as they came.
pub mod message;
/// Every metric: name, help and labels side by side.
pub mod metrics;
/// DER and PEM read once, into types: leaf, chain, trust anchor, fingerprint, pin; and new keys with their certificates.
pub mod pki;
/// Coarse deadlines: one timer per worker.
pub mod ticker;

// What is told: names the vocabulary only.

/// The access log and the lines about denials: what they say, and their writer off the hot path.
pub mod log;

// The decision: pure; no I/O, clock, lock, log, metric or async. Names `date` and `pki` only.

/// (Snapshot, Candidate, Scope, now) -> Decision.
pub mod admission;

// The gate: the one handle that everybody asks.

/// Asks the snapshot in force; counts and logs each decision, once.
pub mod gate;

// The way of a request: its parts first, whoever puts them together below.

/// HTTP/1.1, both sides, read strictly: an engine of our own.
pub mod http1;

/// The effective client address: peer, PROXY, trusted headers.
pub mod address;
/// A key proven without a TLS handshake: challenges, the answers to them, and tokens.
pub mod challenge;
/// Removes what the client claimed, writes what the grant proves.
pub mod identity;
/// Rates and concurrency by listener, source and principal.
pub mod limits;
/// (host, path) -> Route; pure. Names `admission` and `message` only.
pub mod routing;
/// The handshake: full or resumed, possession, our own certificates.
pub mod tls;
/// Endpoints, pool, forwarding.
pub mod upstream;

/// Every way a request can fail, its status and its public words.
pub mod failure;

/// The rules in force: one value, one swap.
pub mod rules;

/// One request, as a list of steps.
pub mod request;

/// One connection, handshake to close; leaves when its standing lapses.
pub mod connection;

/// Bind, accept, hand each socket to a worker.
pub mod listener;

// The way of a rule: may name all of the above; nothing above names it.

/// Where principals are kept, files and the ledger: read whole, or the last good content and why.
pub mod store;

/// What operators write, and what it compiles to.
pub mod config;

/// A decision told to a person or a program.
pub mod explain;
/// /metrics /livez /readyz /status /jwks.json.
pub mod monitor;
/// Watch, read whole, compile, install; or keep what we have and say why. Changes to managed principals, too.
pub mod reload;

/// The operator API, on listeners that serve `admin` and on the local socket.
pub mod admin;

/// One file per subcommand.
pub mod cli;
