//! What lasts through the control thread: CRLs, renewals, and reloads of files while the ledger cannot be written.

use std::fs;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::control::{ChangeError, Plan};
use super::managed_tests::{begin, document, put, world};
use super::tests::reload;
use crate::gate::Renewed;
use crate::pki::{Certificate, Crl};
use crate::store::managed::{CertificateDocument, CertificateSource, Change, CrlText, Document, FilesReloaded, Invalid, Refusal, State};

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

fn ca() -> Ca {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "issuing CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let pem = params.self_signed(&key).expect("signed").pem();
    Ca { issuer: Issuer::new(params, key), pem }
}

impl Ca {
    fn crl(&self, number: u64, serials: &[u64]) -> Arc<Crl> {
        let now = time::OffsetDateTime::now_utc();
        let revoked = |serial: &u64| rcgen::RevokedCertParams {
            serial_number: (*serial).into(),
            revocation_time: now - time::Duration::days(1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = rcgen::CertificateRevocationListParams {
            this_update: now - time::Duration::days(1),
            next_update: now + time::Duration::days(30),
            crl_number: number.into(),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        let made = params.signed_by(&self.issuer).expect("signed");
        Arc::new(Crl::parse(made.der()).expect("a CRL"))
    }
}

fn put_crl(name: &'static str, crl: &Arc<Crl>) -> Plan {
    let der = CrlText::of(Arc::clone(crl));
    Box::new(move |_, _| Ok(vec![Change::crl(name, der.clone())]))
}

#[test]
fn a_crl_is_read_and_verified_before_it_comes_to_the_control_thread() {
    let authority =
        "[[principal]]\nname = \"fleet\"\nrole = \"Reader\"\n[[principal.authority]]\ncertificates = [\"ca.pem\"]\nany = true\n";
    let ca = ca();
    let world = begin(Arc::default(), authority, &|directory| fs::write(directory.join("ca.pem"), &ca.pem).expect("written"));
    let view = || world.reloader.control().view();
    let first = ca.crl(1, &[7]);
    let anchor =
        Certificate::parse(rustls_pki_types::pem::PemObject::from_pem_slice(ca.pem.as_bytes()).expect("PEM")).expect("a certificate");
    assert!(!first.is_known_to_be_signed_by(anchor.spki()));
    assert!(view().rules.snapshot.revocation.look_through(&first, &view().rules.snapshot.allowlist));
    assert!(first.is_known_to_be_signed_by(anchor.spki()), "no second look at its signature");
    let recorded = world.change(put_crl("ca", &first)).expect("made");
    // The very same: it was not read again, and this is what is in force.
    assert!(Arc::ptr_eq(&recorded.state.crl("ca").expect("kept").crl, &first));
    assert!(view().rules.snapshot.revocation.crls().any(|(crl, _)| Arc::ptr_eq(crl, &first)));
    // The entry alone makes the same state.
    let entry = world.last_entry();
    let mut replayed = State::default();
    let change = Change::read(&entry.action, entry.data).expect("read");
    replayed.replay(0, &change).expect("replayed");
    assert_eq!(replayed.crl("ca").expect("kept").crl.der, first.der);
    // A newer one takes its place, an older one does not.
    let newer = ca.crl(2, &[7, 8]);
    world.change(put_crl("ca", &newer)).expect("made");
    let refused = world.change(put_crl("ca", &first));
    let Err(ChangeError::Refused(Refusal::Invalid(wrong))) = refused else { panic!("{refused:?}") };
    assert!(matches!(&wrong[..], [Invalid { key, why }] if key == "der" && why.contains("is older than the CRL")), "{wrong:?}");
    assert_eq!(view().rules.snapshot.revocation.crls().map(|(crl, _)| crl.len()).collect::<Vec<_>>(), [2]);
    world.change(Box::new(|_, _| Ok(vec![Change::CrlRemove { name: "ca".to_owned() }]))).expect("made");
    assert_eq!(view().rules.snapshot.revocation.crls().count(), 0);
    assert_eq!(world.actions(), ["crl.put", "crl.put", "crl.remove"]);
}

#[test]
fn reloads_of_files_while_the_ledger_is_full_wait_as_one() {
    let world = world();
    world.fill(true);
    let config = world.directory.path().join("p.toml");
    let before = fs::read_to_string(&config).expect("read");
    for number in 0..20 {
        let more = format!("[[principal]]\nname = \"n/{number}\"\nfingerprints = [\"{:064x}\"]\nrole = \"Reader\"\n", number + 1);
        fs::write(&config, format!("{before}{more}")).expect("written");
        reload(&world.reloader, false).expect("runs");
        assert!(world.is_listed(&format!("n/{number}")));
    }
    assert_eq!(world.reloader.control().view().report.unrecorded, 1, "one entry, however often files change");
    assert_eq!(world.metrics.ledger_merged.get(), 19);
    let hash = world.reloader.control().view().report.status.hash.clone();
    world.fill(false);
    world.until(|view| view.report.unrecorded == 0);
    assert_eq!(world.actions(), ["files.reloaded"]);
    let entry = world.last_entry();
    let files: FilesReloaded = serde_json::from_value(entry.data).expect("read");
    assert_eq!((files.merged, files.added, files.removed, entry.after), (19, 20, 19, hash));
    assert!(files.added_names.contains(&"n/0".to_owned()) && files.removed_names.contains(&"n/18".to_owned()), "{files:?}");
    assert_eq!(files.generation, world.reloader.control().view().rules.generation);
    // Numbers of entries go on as if each had been there.
    let recorded = world.change(put(document("ci/one", 77))).expect("made");
    assert_eq!((recorded.entries[0].index, recorded.state.entries()), (1, 2));
}

#[test]
fn of_more_than_five_renewals_the_oldest_goes() {
    let key = KeyPair::generate().expect("a key");
    let now = time::OffsetDateTime::now_utc();
    let certificate = |serial: u64| {
        let mut params = CertificateParams::new(vec!["c.example".to_owned()]).expect("a name");
        params.serial_number = Some(serial.into());
        (params.not_before, params.not_after) = (now - time::Duration::days(1), now + time::Duration::days(90));
        Certificate::parse(params.self_signed(&key).expect("signed").der().clone()).expect("parsed")
    };
    let all: Vec<Certificate> = (1..=6).map(certificate).collect();
    // The first was registered; those after it are renewals, of which the second is the oldest.
    let entry = |at: usize, source| CertificateDocument {
        added: Some(format!("2020-01-0{}T00:00:00Z", at + 1)),
        ..CertificateDocument::of(&all[at], source)
    };
    let certificates =
        std::iter::once(entry(0, CertificateSource::Generated)).chain((1..6).map(|at| entry(at, CertificateSource::Renewed)));
    let renewing = Document {
        id: "p-aaaaaaaaaaaa".to_owned(),
        version: 1,
        certificates: certificates.collect(),
        renewal: Some("same-key".to_owned()),
        ..document("ci/renewing", 1)
    };
    let mut state = State::default();
    state.replay(0, &Change::put(renewing)).expect("good");
    let state = Arc::new(state);
    let world = begin(Arc::clone(&state), "", &|_| {});
    let newest = certificate(7);
    let principal = Arc::new(world.reloader.control().view().rules.snapshot.allowlist.find("ci/renewing").expect("listed"));
    let renewed = Renewed { principal, certificate: newest.der.clone(), predecessor: all[5].fingerprint, generation: 1 };
    let changes = super::renewal::plan(&renewed, &state, &world.reloader.control().view().rules.snapshot).expect("planned");
    let [Change::PrincipalPut { document }] = &changes[..] else { panic!("{changes:?}") };
    let kept: Vec<_> = document.certificates.iter().map(|entry| entry.fingerprint.clone()).collect();
    let expected: Vec<_> =
        [0, 2, 3, 4, 5].map(|at: usize| all[at].fingerprint.to_string()).into_iter().chain([newest.fingerprint.to_string()]).collect();
    assert_eq!(kept, expected, "five renewals, and what was registered");
}
