//! A same-key renewal, from the gate to the ledger: judged once more on the newest state, then pinned like any other certificate.

use crate::admission::{Basis, Candidate, ClientAddress, Scope, Snapshot, Verdict};
use crate::clock::Clock;
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
    let Some(before) = kept.document.certificates.iter().find(|entry| renews && entry.fingerprint == predecessor) else {
        return Ok(Vec::new());
    };
    let surplus = surplus(&kept.document, &certificate);
    let mut document = kept.document.clone();
    document.certificates.retain(|entry| !surplus.contains(&entry.fingerprint));
    let issuer = before.issuer.clone();
    document.certificates.push(CertificateDocument { issuer, ..CertificateDocument::of(&certificate, CertificateSource::Renewed) });
    Ok(vec![Change::put(document)])
}

/// The pins that renewals made on this key, but for the newest that stay beside this one.
fn surplus(document: &Document, certificate: &Certificate) -> Vec<String> {
    let same_key = |entry: &&CertificateDocument| {
        entry.source == CertificateSource::Renewed
            && entry.certificate().is_some_and(|found| found.is_ok_and(|found| found.spki_pin == certificate.spki_pin))
    };
    let mut made: Vec<&CertificateDocument> = document.certificates.iter().filter(same_key).collect();
    // Of one form and one zone, so that text sorts as time does.
    made.sort_by(|a, b| b.added.cmp(&a.added));
    made.into_iter().skip(KEPT - 1).map(|entry| entry.fingerprint.clone()).collect()
}

/// Renewed pins on one key, the new one among them.
const KEPT: usize = 5;
