//! A same-key renewal, from the gate to the ledger: judged once more on the newest state, then pinned like any other certificate.

use crate::admission::{Basis, Candidate, ClientAddress, Scope, Snapshot, Verdict};
use crate::clock::{self, Clock, rfc3339};
use crate::gate::Renewed;
use crate::pki::Certificate;
use crate::store::managed::{CertificateDocument, CertificateSource, Change, Document, Refusal, State};

/// Pins the certificate, and lets go of what it puts out; nothing where it renews nobody any more.
pub(super) fn plan(renewed: &Renewed, state: &State, snapshot: &Snapshot) -> Result<Vec<Change>, Refusal> {
    let kept = state.principal(&renewed.principal.id.to_string()).ok_or(Refusal::NotFound)?;
    let Ok(certificate) = Certificate::parse(renewed.certificate.clone()) else { return Ok(Vec::new()) };
    // Whatever the address: this is about the certificate, and who holds its key was admitted.
    let scope = Scope { address: ClientAddress::Unsettled(std::net::Ipv4Addr::UNSPECIFIED.into()), request: None, control: false };
    let candidate = Candidate::presented(std::slice::from_ref(&renewed.certificate));
    let decision = snapshot.decide(candidate.as_ref(), &scope, Clock::default().now());
    let renews = matches!(&decision.verdict, Verdict::Admit(admission) if matches!(admission.basis, Basis::Renewal { .. }));
    let predecessor = renewed.predecessor.to_string();
    let mut document = kept.document();
    let Some(before) = document.certificates.iter().find(|entry| renews && entry.fingerprint == predecessor) else {
        return Ok(Vec::new());
    };
    // Those made together with this one are in the state and not yet in the snapshot.
    if !document.renews_same_key() || was_renewed_lately(&document, &certificate) {
        return Ok(Vec::new());
    }
    let (issuer, surplus) = (before.issuer.clone(), surplus(&document, &certificate));
    document.certificates.retain(|entry| !surplus.contains(&entry.fingerprint));
    document.certificates.push(CertificateDocument { issuer, ..CertificateDocument::of(&certificate, CertificateSource::Renewed) });
    Ok(vec![Change::put(document)])
}

/// The pins that renewals made on this key, but for the newest that stay beside this one.
fn surplus(document: &Document, certificate: &Certificate) -> Vec<String> {
    let mut made: Vec<&CertificateDocument> = made(document, certificate).collect();
    // Of one form and one zone, so that text sorts as time does.
    made.sort_by(|a, b| b.added.cmp(&a.added));
    made.into_iter().skip(KEPT - 1).map(|entry| entry.fingerprint.clone()).collect()
}

/// Whoever offers a thousand certificates at once has one of them pinned: the next one in an hour.
fn was_renewed_lately(document: &Document, certificate: &Certificate) -> bool {
    let now = clock::wall().as_secs();
    let times = made(document, certificate).filter_map(|entry| entry.added.as_deref().and_then(rfc3339));
    times.max().is_some_and(|last| now < last.saturating_add(INTERVAL))
}

/// The pins that renewals made on the key of a certificate.
fn made<'d>(document: &'d Document, certificate: &Certificate) -> impl Iterator<Item = &'d CertificateDocument> {
    let key = certificate.spki_pin;
    document.certificates.iter().filter(move |entry| {
        entry.source == CertificateSource::Renewed
            && entry.certificate().is_some_and(|found| found.is_ok_and(|found| found.spki_pin == key))
    })
}

/// In seconds, as for whoever judges.
const INTERVAL: u64 = 3_600;
/// Renewed pins on one key, the new one among them.
const KEPT: usize = 5;
