//! What a client presents, read and judged. Beyond "no panic": the same question has the same answer, and
//! nobody gets in but by a listed certificate, a listed key, or the key of the authority.
#![no_main]

use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use portcullis::admission::{
    Access, AllowlistBuilder, Authority, Basis, BoundKind, Bounds, Candidate, ClientAddress, Credential, Decision, Origin, Permission, Pin,
    Principal, PrincipalId, PrincipalName, Provenance, RequestScope, RevocationBuilder, RouteAuth, RouteScope, Scope, Snapshot, StaleCrl,
    Surface, Terms, Verdict,
};
use portcullis::pki::{Certificate, Crl, PinnedCertificate};
use rustls_pki_types::{CertificateDer, UnixTime};

const PINNED: &[u8] = include_bytes!("seeds/certificate/pinned.der");
const BY_KEY: &[u8] = include_bytes!("seeds/certificate/key.der");
const REVOKED: &[u8] = include_bytes!("seeds/certificate/revoked.der");
const CA: &[u8] = include_bytes!("rules/ca.der");
const CRL: &[u8] = include_bytes!("rules/ca.crl");
/// In the middle of 2027: every seed is valid then.
const NOW: u64 = 1_814_000_000;

fuzz_target!(|bytes: &[u8]| {
    let chain = elements(bytes);
    if let Ok(certificate) = Certificate::parse(CertificateDer::from(bytes.to_vec())) {
        examine(&certificate);
    }
    let Some(candidate) = Candidate::presented(&chain) else { return };
    let route = RouteScope { name: "orders".into(), auth: RouteAuth::Required, csrf: true };
    let request = RequestScope {
        surface: Surface::Proxy,
        route: Some(&route),
        access: Access::Read,
        clearance: None,
        begins: true,
        origin: Origin::Absent,
        unsafe_method: false,
    };
    let address = ClientAddress::Settled([192, 0, 2, 1].into());
    for scope in [Scope { address, request: None, control: false }, Scope { address, request: Some(request), control: false }] {
        let (first, second) = (decide(&candidate, &scope), decide(&candidate, &scope));
        assert_eq!(first.denial(), second.denial(), "the same question, the same answer");
        let fresh = Candidate::presented(&chain).map(|candidate| decide(&candidate, &scope).denial());
        assert_eq!(fresh, Some(first.denial()), "and what was remembered of the chain changes nothing");
        judge(&candidate, &first);
    }
});

/// Nobody unlisted gets in.
fn judge(candidate: &Candidate, decision: &Decision) {
    let Verdict::Admit(admission) = &decision.verdict else { return };
    let leaf = candidate.leaf().expect("what cannot be read is never admitted");
    assert!((leaf.not_before..=leaf.not_after).contains(&NOW));
    assert!(*leaf.der != *REVOKED && leaf.twin() != Some(read(REVOKED).fingerprint));
    match &admission.basis {
        Basis::Pin => assert_eq!(&*leaf.der, PINNED),
        Basis::SpkiPin => assert_eq!(leaf.spki(), read(BY_KEY).spki()),
        Basis::Authority { chain } => {
            assert!(leaf.canonical && leaf.basic_constraints.is_none_or(|constraints| !constraints.ca));
            let issuer = chain.first().map_or(CA, |issuer| issuer);
            assert!(leaf.is_signed_by(read(issuer).spki()), "an authority's leaf is signed by it");
        }
        Basis::Renewal { .. } | Basis::ServerCertificate { .. } | Basis::WellKnownAdmin => panic!("there are none"),
    }
}

/// Everything that is computed of a certificate, and what must agree.
fn examine(certificate: &Certificate) {
    let texts = [certificate.subject.rfc2253(), certificate.issuer.rfc2253(), certificate.serial_hex()];
    assert!(texts.iter().all(|text| text.bytes().all(|byte| matches!(byte, b' '..=b'~'))), "printable ASCII");
    let pin = PinnedCertificate::read(&certificate.der).expect("a pin needs less");
    assert_eq!((pin.fingerprint, pin.extended_key_usage), (certificate.fingerprint, certificate.extended_key_usage));
    assert_ne!(certificate.twin(), Some(certificate.fingerprint));
    let _ = (certificate.sha1(), certificate.is_signed_by(certificate.spki()));
}

fn decide(candidate: &Candidate, scope: &Scope<'_>) -> Decision {
    static RULES: OnceLock<Snapshot> = OnceLock::new();
    RULES.get_or_init(rules).decide(Some(candidate), scope, UnixTime::since_unix_epoch(std::time::Duration::from_secs(NOW)))
}

/// A pin, a key, and an authority with every kind of bound; a revoked serial, and a CRL.
fn rules() -> Snapshot {
    let written = || Provenance { file: "fuzz".into(), line: 1 };
    let mut bounds = Bounds::default();
    bounds.set(BoundKind::CommonNames, &["pipeline-*"]).expect("a bound");
    bounds.set(BoundKind::OrganizationalUnits, &["DevOps"]).expect("a bound");
    bounds.set(BoundKind::DnsSans, &["?.example"]).expect("a bound");
    bounds.set_extensions(&["1.3.6.1.4.1.55555.1:team-*", "present:2.5.29.37"]).expect("bounds");
    let authority = Authority { certificates: vec![Arc::new(read(CA))], bounds, priority: 100, require_client_eku: true };
    let mut allowlist = AllowlistBuilder::default();
    for (name, credential) in [
        ("acl-client", Credential::Pin(Pin::from(&read(PINNED)))),
        ("by-key", Credential::SpkiPin(read(BY_KEY).spki_pin)),
        ("ci/pipelines", Credential::Authority(Arc::new(authority))),
    ] {
        let name: PrincipalName = name.parse().expect("a name");
        let everywhere = Permission { routes: vec!["*".parse().expect("a glob")], access: Some(Access::Read), when: vec![] };
        let terms = Arc::new(Terms { permissions: vec![everywhere], ..Terms::default() });
        let principal = Principal { id: PrincipalId::derived(&name), name, display_name: None, terms, provenance: written() };
        allowlist.add(principal, vec![(credential, written())]).expect("no conflict");
    }
    let allowlist = allowlist.finish();
    let mut revocation = RevocationBuilder::default();
    revocation.id("serial:DEAD".parse().expect("an id"), written());
    revocation.crl(Arc::new(Crl::parse(CRL).expect("a CRL")), written()).expect("a complete CRL");
    revocation.crl_policy(StaleCrl::Deny, false);
    let revocation = revocation.finish(&allowlist);
    Snapshot { generation: 1, allowlist, revocation, clock_skew: 0, bootstrap: Default::default() }
}

fn read(der: &[u8]) -> Certificate {
    Certificate::parse(CertificateDer::from(der.to_vec())).expect("a certificate of the rules")
}

/// Splits the input where its outer lengths say, so that mutations reach every member of a chain.
fn elements(bytes: &[u8]) -> Vec<CertificateDer<'_>> {
    let mut chain = Vec::new();
    let mut rest = bytes;
    while let [0x30, 0x82, high, low, ..] = *rest {
        let (element, after) = rest.split_at(rest.len().min(4 + usize::from(u16::from_be_bytes([high, low]))));
        chain.push(CertificateDer::from(element));
        rest = after;
    }
    if !rest.is_empty() {
        chain.push(CertificateDer::from(rest));
    }
    chain
}
