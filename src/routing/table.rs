//! The routes of one host, sorted by prefix. A lookup is one binary search and a short walk, however many there are.

use std::borrow::Cow;
use std::sync::Arc;

use super::path::normalise;
use super::{Route, Tie};
use crate::admission::RouteAuth;

/// The routes that one host, wildcard or any host has.
#[derive(Debug, Default)]
pub(super) struct Table {
    sensitive: Prefixes,
    /// Of routes with `case_sensitive = false`: in lower case.
    folded: Prefixes,
    /// What a host whose first table this is can reach.
    policies: Vec<Policy>,
}

/// What 421 compares: who may ever use a route, and whether a certificate is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    auth: RouteAuth,
    principals: Box<str>,
}

impl Policy {
    pub(super) fn of(route: &Route) -> Self {
        Self { auth: route.scope.auth, principals: route.policy.clone() }
    }
}

impl Table {
    pub(super) fn add(&mut self, index: usize, route: &Route) {
        let path = normalise(&route.path).map_or(Cow::Borrowed(&*route.path), |normal| normal.text);
        // `/orders/` and `/orders` are one prefix: that of everything at or under `/orders`.
        let prefix = path.strip_suffix('/').unwrap_or(&path);
        if route.case_sensitive {
            self.sensitive.0.push(Entry { prefix: prefix.into(), route: index, parent: None });
        } else {
            self.folded.0.push(Entry { prefix: prefix.to_ascii_lowercase().into(), route: index, parent: None });
        }
    }

    /// Sorts, after the last `add`.
    pub(super) fn finish(&mut self) -> Result<(), Tie> {
        self.sensitive.finish()?;
        self.folded.finish()?;
        for entry in &self.sensitive.0 {
            // `/Orders/` and, in any case, `/orders/`: the first would match with both.
            let folded = entry.prefix.to_ascii_lowercase();
            if let Ok(at) = self.folded.0.binary_search_by(|other| (*other.prefix).cmp(&folded)) {
                return Err(Tie::between(entry.route, self.folded.0[at].route));
            }
        }
        Ok(())
    }

    /// Returns the policies of every route that a host whose first table this is can reach.
    pub(super) fn policies(&self) -> &[Policy] {
        &self.policies
    }

    pub(super) fn set_policies(&mut self, policies: Vec<Policy>) {
        self.policies = policies;
    }

    /// Collects the policies that a host can reach through its tables, best rank first. A route that a better table hides
    /// whole is none of them: nobody can have come for it.
    pub(super) fn reachable(tables: &[&Self], routes: &[Arc<Route>]) -> Vec<Policy> {
        let mut policies = Vec::new();
        for (rank, table) in tables.iter().enumerate() {
            if tables[..rank].iter().any(|better| better.longest("/").is_some()) {
                // Most hosts have a route for `/`: behind it nothing else is seen.
                break;
            }
            for route in table.routes_beside(&tables[..rank]) {
                let policy = Policy::of(&routes[route]);
                if !policies.contains(&policy) {
                    policies.push(policy);
                }
            }
        }
        policies
    }

    /// The routes that no table of a better rank hides.
    fn routes_beside(&self, better: &[&Self]) -> impl Iterator<Item = usize> {
        let hidden = |entry: &Entry, folded: bool| {
            let path = format!("{}/", entry.prefix);
            better.iter().any(|table| if folded { table.folded.longest(&path).is_some() } else { table.longest(&path).is_some() })
        };
        let sensitive = self.sensitive.0.iter().filter(move |entry| !hidden(entry, false));
        sensitive.chain(self.folded.0.iter().filter(move |entry| !hidden(entry, true))).map(|entry| entry.route)
    }

    /// Returns the route with the longest prefix of a path.
    pub(super) fn longest(&self, path: &str) -> Option<usize> {
        let sensitive = self.sensitive.longest(path);
        if self.folded.0.is_empty() {
            return sensitive.map(|entry| entry.route);
        }
        let lower =
            if path.bytes().any(|byte| byte.is_ascii_uppercase()) { Cow::Owned(path.to_ascii_lowercase()) } else { Cow::Borrowed(path) };
        let folded = self.folded.longest(&lower);
        sensitive.into_iter().chain(folded).max_by_key(|entry| entry.prefix.len()).map(|entry| entry.route)
    }
}

/// Prefixes in order, each with the longest other one that it starts with.
#[derive(Debug, Default)]
struct Prefixes(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    /// Without its final slash: empty for `/`.
    prefix: Box<str>,
    route: usize,
    parent: Option<usize>,
}

impl Prefixes {
    fn finish(&mut self) -> Result<(), Tie> {
        self.0.sort_by(|a, b| a.prefix.cmp(&b.prefix).then(a.route.cmp(&b.route)));
        // A route that lists a host twice is not at odds with itself.
        self.0.dedup_by(|a, b| a.prefix == b.prefix && a.route == b.route);
        let mut open: Vec<usize> = Vec::new();
        for at in 0..self.0.len() {
            if at > 0 && self.0[at - 1].prefix == self.0[at].prefix {
                return Err(Tie::between(self.0[at - 1].route, self.0[at].route));
            }
            while open.last().is_some_and(|&last| !self.0[at].prefix.starts_with(&*self.0[last].prefix)) {
                open.pop();
            }
            self.0[at].parent = open.last().copied();
            open.push(at);
        }
        Ok(())
    }

    /// INVARIANT: every string between a prefix of `path` and `path` itself starts with that prefix, so that all
    /// prefixes of `path` are found from its predecessor through the parents.
    fn longest(&self, path: &str) -> Option<&Entry> {
        let mut at = self.0.partition_point(|entry| *entry.prefix <= *path).checked_sub(1);
        while let Some(entry) = at.and_then(|at| self.0.get(at)) {
            if path.strip_prefix(&*entry.prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
                return Some(entry);
            }
            at = entry.parent;
        }
        None
    }
}

impl Tie {
    fn between(a: usize, b: usize) -> Self {
        Self { first: a.min(b), second: a.max(b) }
    }
}
