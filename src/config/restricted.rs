//! What restricts, as the configuration names it: ids, files, CRLs, and what is to be fetched. A part of `gather`.

use std::path::Path;
use std::time::Instant;

use super::changed::Part;
use super::error::Problem;
use super::gather::{Gathering, SourceStatus, from_source};
use super::plan::Plan;
use crate::metrics::CertificateExpiry;
use crate::store::{Good, Revoked, SourceError, Wanted};
use crate::upstream::Tls;

impl Gathering<'_, '_> {
    /// Says what is to be fetched. A URL whose `ca` was never good is not: it would have to be trusted blindly.
    pub(super) fn fetches(&mut self) -> Vec<Wanted> {
        let plan = self.plan;
        let urls = plan.file.revocation.crls.iter().filter_map(|entry| entry.value.url());
        let mut wanted = Vec::new();
        for entry in urls {
            let ca = match &entry.ca {
                None => Some(Vec::new()),
                Some(ca) => self.server_anchors(ca, "crl_ca"),
            };
            let (url, interval) = (entry.url.clone(), entry.interval);
            wanted.extend(ca.map(|ca| Wanted { url, tls: Tls { ca, ..Tls::default() }, interval }));
        }
        wanted
    }

    pub(super) fn restrictions(&mut self, revoked: &Revoked, now: Instant) {
        let found = self.sources.restrictions.look(self.round, revoked, now);
        self.found.problems.extend(found.errors.iter().map(from_source));
        for error in &found.unknown {
            let problem = self.named(error);
            self.found.unknown.push(problem);
        }
        for error in &found.unfetched {
            let problem = self.named(error);
            self.found.unfetched.push(problem);
        }
        for (path, last_good) in &found.sources {
            let errors = found.errors.iter().chain(&found.unknown).chain(&found.unfetched);
            let error = errors.into_iter().find(|error| Path::new(&*error.file).starts_with(path)).map(ToString::to_string);
            self.found.sources.push(SourceStatus { name: path.display().to_string(), last_good: *last_good, error });
        }
        for (crl, written) in &found.crls {
            self.found.expiries.extend(crl.next_update.map(|end| CertificateExpiry::new("crl", written.file.to_string(), end)));
        }
        self.found.parts.push(Part::of("[revocation]", found.hash));
        self.found.restrictions = found;
    }

    /// Tells what is wrong with a file or URL where it is named; with a line of it, there.
    fn named(&self, error: &SourceError) -> Problem {
        let file = &self.plan.file;
        let files = file.revocation.files.iter().map(|at| (file.resolve(&at.value), at.span));
        let mut named = files.chain(file.revocation.crls.iter().map(|at| (at.value.path(file), at.span)));
        let span = named.find(|(path, _)| *error.file == *path.display().to_string()).map(|(_, span)| span);
        match span.filter(|_| error.line == 0) {
            Some(span) => file.problem(span, error.to_string()),
            None => from_source(error),
        }
    }
}

/// Returns the revoked ids that stand in the configuration file itself, and what it names.
pub(super) fn revoked(path: &Path, good: &Good<Plan>) -> Revoked {
    let plan = &good.value;
    Revoked {
        file: path.to_owned(),
        hash: Some(good.hash),
        replaced: good.stamps.first().map(|stamp| (stamp.device, stamp.inode)),
        ids: plan.revoked.clone(),
        files: plan.revocation_files.clone(),
        crls: plan.crls.clone(),
    }
}
