//! `POST /v1/preview`: a configuration that somebody considers, against the clients seen of late. Nothing is put in force, written or fetched;
//! it is judged beside the workers, one preview at a time.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use super::invalid;
use crate::admin::operations::control;
use crate::admin::{Error, Input, Refusals, Shared};
use crate::clock::Clock;
use crate::config::{Considered, Policy, Problem, Severity};
use crate::explain::Compared;
use crate::failure::Failure;
use crate::gate::{Sighting, Spot};

/// What is considered.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Considering {
    /// A whole configuration, TOML, as if it stood in the file that the proxy runs with: paths in it are relative to that one.
    config: String,
}

/// What would come of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Preview {
    /// A reload would put it in force; with `problems`, what is wrong would keep its last good content.
    accepted: bool,
    /// The file whose place it would take: `problems` name it.
    file: String,
    /// What is in force.
    before: Numbers,
    /// What would be; `null` where it is not accepted.
    after: Option<Numbers>,
    problems: Vec<Mistake>,
    warnings: Vec<Mistake>,
    /// Clients seen of late that were asked about: connected, gone, or refused.
    seen: usize,
    /// Clients that were seen beyond the most that one preview asks about.
    not_asked: usize,
    #[serde(flatten)]
    compared: Compared,
}

/// One policy.
#[derive(Debug, Serialize, ToSchema)]
struct Numbers {
    generation: u64,
    policy_hash: String,
    /// Principals.
    entries: usize,
}

/// Something wrong, where, and the line itself.
#[derive(Debug, Serialize, ToSchema)]
struct Mistake {
    file: String,
    /// 1-based; 0 where the whole file is meant.
    line: u32,
    /// In characters, 1-based; 0 where the whole line is meant.
    column: u32,
    message: String,
    help: Option<String>,
    /// The line, of the configuration that was sent.
    text: Option<String>,
    /// Where in `text`, in characters from 0.
    caret: Option<usize>,
    /// How many characters are meant.
    width: Option<usize>,
}

/// Says what a configuration would mean for the clients seen of late.
#[utoipa::path(post, path = "/v1/preview", tag = "about", request_body = Considering, responses((status = 200, description = "who would be cut off, who would be let in, and what is wrong with it", body = Preview), Refusals))]
pub(crate) async fn preview(State(shared): State<Arc<Shared>>, Input(asked): Input<Considering>) -> Result<Json<Preview>, Error> {
    if asked.config.len() > MOST_TEXT {
        return Err(invalid("config", format!("is longer than {MOST_TEXT} bytes")));
    }
    // Each may take a core for seconds: two admins take turns.
    let Ok(_turn) = TURN.try_acquire() else { return Err(Failure::RateLimited.into()) };
    let candidate = control(&shared)?.candidate().await.ok_or(Failure::Internal)?;
    let seen = seen(&shared).await?;
    let considered = move || {
        let not_asked = seen.len().saturating_sub(MOST_ASKED);
        let considered = candidate.consider(asked.config.into_bytes())?;
        Some(Preview::of(considered, seen.into_iter().take(MOST_ASKED).collect(), not_asked))
    };
    // Files are read, paths built: not on a thread that serves others.
    let preview = tokio::task::spawn_blocking(considered).await.ok().flatten().ok_or(Failure::Internal)?;
    Ok(Json(preview))
}

/// Gathers who was seen, the latest first; of the same spot once.
async fn seen(shared: &Arc<Shared>) -> Result<Vec<Sighting>, Error> {
    let workers = &shared.running()?.workers;
    let mut found: HashMap<Spot, Sighting> = HashMap::new();
    let mut add = |sighting: Sighting| {
        let known = found.get(&sighting.spot());
        if known.is_none_or(|known| (known.live, known.last) < (sighting.live, sighting.last)) {
            found.insert(sighting.spot(), sighting);
        }
    };
    // Some at a time: a worker with a hundred thousand connections goes on serving them.
    for from in (0..).step_by(SLOTS) {
        let told = workers.ask(move |gate| gate.live_sightings(from, SLOTS)).await;
        if told.iter().all(Option::is_none) {
            break;
        }
        told.into_iter().flatten().flatten().for_each(&mut add);
    }
    let rest = |gate: &std::rc::Rc<crate::gate::Gate>| {
        let strangers = gate.strangers();
        gate.sightings().into_iter().chain(strangers.iter().map(crate::gate::Stranger::sighting)).collect::<Vec<_>>()
    };
    workers.ask(rest).await.into_iter().flatten().for_each(&mut add);
    let mut found: Vec<Sighting> = found.into_values().collect();
    found.sort_by_key(|sighting| std::cmp::Reverse((sighting.live, sighting.last)));
    Ok(found)
}

impl Preview {
    fn of(considered: Considered, seen: Vec<Sighting>, not_asked: usize) -> Self {
        let Considered { file, before, after, problems, warnings } = considered;
        let count = seen.len();
        let compared = after.as_ref().map(|after| Compared::of(seen, &before.rules, &after.rules, Clock::default().now()));
        let is_error = |problem: &&Problem| problem.severity == Severity::Error;
        Self {
            accepted: after.is_some(),
            file,
            before: Numbers::of(&before),
            after: after.as_ref().map(Numbers::of),
            problems: problems.iter().filter(is_error).map(Mistake::of).collect(),
            warnings: warnings.iter().map(Mistake::of).collect(),
            seen: count,
            not_asked,
            compared: compared.unwrap_or_default(),
        }
    }
}

impl Numbers {
    fn of(policy: &Policy) -> Self {
        let Policy { rules, hash } = policy;
        Self { generation: rules.generation, policy_hash: hash.clone(), entries: rules.snapshot.allowlist.len() }
    }
}

impl Mistake {
    fn of(problem: &Problem) -> Self {
        let excerpt = problem.excerpt.as_ref();
        Self {
            file: problem.file.to_string(),
            line: problem.line,
            column: problem.column,
            message: problem.message.clone(),
            help: problem.help.clone(),
            text: excerpt.map(|excerpt| excerpt.text.clone()),
            caret: excerpt.map(|excerpt| excerpt.caret),
            width: excerpt.map(|excerpt| excerpt.width),
        }
    }
}

static TURN: Semaphore = Semaphore::const_new(1);
/// Far more than any configuration; lists are files of their own.
const MOST_TEXT: usize = 4 << 20;
/// Two decisions each, with a path to build where an authority vouches: seconds.
const MOST_ASKED: usize = 20_000;
/// How many connections a worker tells of at once.
const SLOTS: usize = 512;
