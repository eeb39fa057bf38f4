//! Changes to managed principals through the control thread: what is recorded when, what is in force when, and what is refused.

use std::fs;
use std::path::Path;
use std::sync::mpsc::Receiver;

use super::control::{ChangeError, Plan};
use super::journal::Journal;
use super::tests::reload;
use super::*;
use crate::admission::{Clearance, Provenance};
use crate::store::ledger::{Actor, ActorKind, Appended, Hash, NewEntry, Reader};
use crate::store::managed::{Change, Document, Invalid, PermissionDocument, Refusal, State};

/// What was appended, and whether it is to fail.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    entries: Vec<NewEntry>,
    appends: usize,
    full: bool,
}

impl Journal for Memory {
    fn size(&self) -> u64 {
        lock(&self.0).entries.len() as u64
    }

    fn append(&mut self, changes: Vec<NewEntry>, _now: Duration) -> Result<Vec<Appended>, String> {
        let mut inner = lock(&self.0);
        if inner.full {
            return Err("the disk is full".to_owned());
        }
        inner.appends += 1;
        let first = inner.entries.len() as u64;
        let appended = (first..).zip(&changes).map(|(index, _)| Appended { index, leaf: Hash::of(b"") }).collect();
        inner.entries.extend(changes);
        Ok(appended)
    }

    fn check(&self, change: &NewEntry) -> Result<(), String> {
        if change.data.to_string().contains("PRIVATE KEY-----") { Err("holds a private key".to_owned()) } else { Ok(()) }
    }

    fn publish(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn store(&mut self, _state: &Arc<State>) {}

    fn reader(&self) -> Option<Reader> {
        None
    }
}

pub(super) struct World {
    pub(super) directory: tempfile::TempDir,
    pub(super) reloader: Reloader,
    installed: Receiver<Install>,
    journal: Memory,
    pub(super) metrics: Arc<Metrics>,
}

const STATIC: &str = "[[principal]]\nname = \"static/one\"\nfingerprints = [\"1111111111111111111111111111111111111111111111111111111111111111\"]\nrole = \"Reader\"\n";

pub(super) fn world() -> World {
    begin(Arc::default(), STATIC, &|_| {})
}

pub(super) fn begin(state: Arc<State>, more: &str, make: &dyn Fn(&Path)) -> World {
    let directory = tempfile::tempdir().expect("a directory");
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    fs::write(directory.path().join("server.pem"), params.self_signed(&key).expect("signed").pem()).expect("written");
    fs::write(directory.path().join("server.key"), key.serialize_pem()).expect("written");
    make(directory.path());
    let config = format!(
        "[[listener]]\nname = \"edge\"\naddress = \"127.0.0.1:0\"\ncertificates = [{{ cert = \"server.pem\", key = \"server.key\" }}]\n{more}"
    );
    fs::write(directory.path().join("p.toml"), config).expect("written");
    let mut loader = Loader::new(&directory.path().join("p.toml"), true);
    loader.begin_with(state);
    let loaded = loader.start().unwrap_or_else(|problems| panic!("{problems:?}"));
    let metrics = Metrics::new(1);
    let (install, installed) = mpsc::channel();
    let install = move |rules| drop(install.send(rules));
    let journal = Memory::default();
    let boxed: Option<Box<dyn Journal>> = Some(Box::new(journal.clone()));
    let reloader = start(loader, &loaded, Arc::clone(&metrics), boxed, install).expect("starts");
    World { directory, reloader, installed, journal, metrics }
}

fn fingerprint(number: u32) -> String {
    format!("{number:08x}").repeat(8)
}

pub(super) fn document(name: &str, number: u32) -> Document {
    let role = Some("Reader".to_owned());
    Document { name: name.to_owned(), fingerprints: vec![fingerprint(number)], role, ..Document::default() }.normalised().expect("good")
}

pub(super) fn put(document: Document) -> Plan {
    Box::new(move |_, _| Ok(vec![Change::put(document.clone())]))
}

pub(super) fn remove(name: &str) -> Plan {
    let name = name.to_owned();
    Box::new(move |state, _| {
        let kept = state.principal_named(&name).ok_or(Refusal::NotFound)?;
        Ok(vec![Change::PrincipalRemove { id: kept.document().id.clone(), name: name.clone() }])
    })
}

impl World {
    fn ask(&self, plan: Plan) -> impl Future<Output = Result<Recorded, ChangeError>> + use<> {
        let control = self.reloader.control().clone();
        let mutation = Mutation { actor: Actor::new(ActorKind::Socket), reason: None, dry_run: false, plan, guard: None };
        async move { control.change(mutation).await }
    }

    pub(super) fn change(&self, plan: Plan) -> Result<Recorded, ChangeError> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(self.ask(plan))
    }

    pub(super) fn is_listed(&self, name: &str) -> bool {
        self.reloader.control().view().rules.snapshot.allowlist.find(name).is_some()
    }

    pub(super) fn fill(&self, full: bool) {
        lock(&self.journal.0).full = full;
    }

    pub(super) fn actions(&self) -> Vec<String> {
        lock(&self.journal.0).entries.iter().map(|entry| entry.action.clone()).collect()
    }

    pub(super) fn last_entry(&self) -> NewEntry {
        lock(&self.journal.0).entries.last().cloned().expect("recorded")
    }

    pub(super) fn until(&self, done: impl Fn(&View) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !done(&self.reloader.control().view()) {
            assert!(Instant::now() < deadline, "{:?}", self.reloader.control().view().report);
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

#[test]
fn a_change_is_in_force_and_recorded_when_it_is_answered() {
    let world = world();
    let recorded = world.change(put(document("ci/one", 7))).expect("made");
    assert_eq!(recorded.entries[0].index, 0);
    assert!(world.is_listed("CI/One") && world.is_listed("static/one"));
    let install = world.installed.try_recv().expect("in force before the answer");
    assert_eq!(install.rules.generation, recorded.generation);
    let pin = fingerprint(7).parse().expect("a fingerprint");
    assert_eq!(install.rules.snapshot.allowlist.owner_of_pin(&pin).expect("listed").provenance, Provenance::ledger(0));
    let kept = recorded.state.principal_named("ci/one").expect("kept").document();
    assert_eq!((kept.version, kept.created.as_ref().map(|stamp| stamp.by.as_str())), (1, Some("socket")));
    // The entry alone makes the same state.
    let entry = lock(&world.journal.0).entries[0].clone();
    let mut replayed = State::default();
    replayed.replay(0, &Change::read(&entry.action, entry.data).expect("read")).expect("replayed");
    assert_eq!(replayed.principal_named("ci/one").expect("there").document(), kept);
    assert_eq!((replayed.hash(), replayed.entries()), (recorded.state.hash(), 1));
    world.change(remove("ci/one")).expect("made");
    assert!(!world.is_listed("ci/one"));
    assert_eq!(world.actions(), ["principal.put", "principal.remove"]);
}

#[test]
fn fifty_changes_at_once_are_recorded_without_gap_or_repeat() {
    let world = world();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut indices: Vec<u64> = runtime.block_on(async {
        let asked: Vec<_> = (0..50).map(|number| tokio::spawn(world.ask(put(document(&format!("ci/{number}"), 100 + number))))).collect();
        let mut indices = Vec::new();
        for task in asked {
            let recorded = task.await.expect("no panic").expect("made");
            indices.extend(recorded.entries.iter().map(|appended| appended.index));
        }
        indices
    });
    indices.sort_unstable();
    assert_eq!(indices, (0..50).collect::<Vec<u64>>());
    let inner = lock(&world.journal.0);
    assert_eq!(inner.entries.len(), 50);
    assert!(inner.appends < 50, "recorded together: {} appends", inner.appends);
    assert_eq!(world.reloader.control().view().state.len(), 50);
    // Each begins where the one before it ended.
    assert!(inner.entries.windows(2).all(|pair| pair[0].after == pair[1].before));
}

#[test]
fn a_full_ledger_refuses_what_widens_and_not_what_tightens() {
    let world = world();
    world.change(put(document("ci/one", 1))).expect("made");
    world.change(put(document("ci/two", 2))).expect("made");
    world.fill(true);
    let refused = world.change(put(document("ci/three", 3))).expect_err("not recorded");
    assert_eq!(refused, ChangeError::LedgerUnavailable { in_force: false, why: "the disk is full".to_owned() });
    assert!(!world.is_listed("ci/three"), "nothing in force");
    let pending = world.change(remove("ci/one")).expect_err("not recorded");
    assert_eq!(pending, ChangeError::LedgerUnavailable { in_force: true, why: "the disk is full".to_owned() });
    assert!(!world.is_listed("ci/one"), "in force though not recorded");
    assert_eq!(world.reloader.control().view().report.unrecorded, 1, "readiness drops");
    assert_eq!(world.metrics.ledger_unrecorded.get(), 1.0);
    // What waits was first, and so nothing can be added before it.
    assert!(matches!(world.change(put(document("ci/three", 3))), Err(ChangeError::LedgerUnavailable { in_force: false, .. })));
    world.fill(false);
    world.until(|view| view.report.unrecorded == 0);
    assert_eq!(world.actions(), ["principal.put", "principal.put", "principal.remove"]);
    let recorded = world.change(put(document("ci/three", 3))).expect("made");
    assert_eq!(recorded.entries[0].index, 3);
}

#[test]
fn what_can_never_be_recorded_is_never_in_force() {
    let world = world();
    let made = world.change(put(document("ci/one", 1))).expect("made");
    let mut document = made.state.principal_named("ci/one").expect("kept").document();
    // It takes away only, and so would be in force first; then it would wait for the ledger for ever, and all that widens behind it.
    let when = [("common_name".to_owned(), vec!["-----BEGIN PRIVATE KEY-----".to_owned()])].into();
    document.permissions.push(PermissionDocument { routes: vec!["*".to_owned()], access: "deny".to_owned(), when });
    assert!(Change::put(document.clone()).tightens(&made.state));
    let refused = world.change(put(document));
    let Err(ChangeError::Refused(Refusal::Invalid(wrong))) = refused else { panic!("{refused:?}") };
    assert_eq!(wrong[0].why, "cannot be recorded: holds a private key");
    assert_eq!((world.reloader.control().view().report.unrecorded, world.reloader.control().view().rules.generation), (0, made.generation));
    world.change(put(self::document("ci/two", 2))).expect("nothing waits");
}

#[test]
fn a_defect_in_one_plan_ends_no_thread() {
    let world = world();
    let broken = world.change(Box::new(|_, _| panic!("a defect, as a test makes one")));
    assert_eq!(broken.expect_err("nothing came of it"), ChangeError::Ended);
    world.change(put(document("ci/one", 1))).expect("made");
}

#[test]
fn a_static_principal_and_a_managed_one_never_share_a_name_or_a_certificate() {
    let world = world();
    let refused = |plan| match world.change(plan) {
        Err(ChangeError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(put(document("Static/One", 5))), Refusal::Static { name: "Static/One".to_owned() });
    let taken = Document { certificates: document("x", 0x1111_1111).certificates, ..document("ci/other", 6) };
    assert_eq!(refused(put(taken)), Refusal::FingerprintTaken { by: "static/one".to_owned() });
    assert_eq!(world.actions(), Vec::<String>::new());
    // The other way round: what the file says anew is refused, and its last good stays.
    world.change(put(document("ci/mine", 9))).expect("made");
    let config = world.directory.path().join("p.toml");
    let before = fs::read_to_string(&config).expect("read");
    let twice = format!("{before}[[principal]]\nname = \"CI/mine\"\nfingerprints = [\"{}\"]\nrole = \"Reader\"\n", fingerprint(10));
    fs::write(&config, &twice).expect("written");
    let report = reload(&world.reloader, false).expect("runs");
    assert!(
        report.problems.iter().any(|problem| problem.message.contains("ledger entry 0") && problem.line == 10),
        "{:?}",
        report.problems
    );
    assert!(world.is_listed("ci/mine"));
    // Once the managed one is gone the file counts, without being touched.
    world.change(remove("ci/mine")).expect("made");
    world.until(|view| view.report.problems.is_empty() && view.rules.snapshot.allowlist.find("ci/mine").is_some());
    assert_eq!(world.actions().last().map(String::as_str), Some("files.reloaded"));
}

#[test]
fn at_the_start_a_static_principal_wins_until_it_is_gone() {
    let mut state = State::default();
    for (index, name) in (0..).zip(["static/one", "ci/fine"]) {
        let document = Document {
            id: format!("p-{}", "abcdefghijkl".replace('a', &index.to_string())),
            version: 1,
            ..document(name, 50 + index as u32)
        };
        state = state.apply(index, &Change::put(document)).expect("good");
    }
    let world = begin(Arc::new(state), STATIC, &|_| {});
    let listed = |name: &str| world.reloader.control().view().rules.snapshot.allowlist.find(name);
    assert!(!listed("static/one").expect("listed").provenance.is_ledger());
    assert!(listed("ci/fine").expect("listed").provenance.is_ledger());
    let said = world.reloader.control().view().report.warnings.clone();
    let words = "static/one (ledger entry 0) admits nobody: the name static/one belongs to another principal already (";
    let warning = said.iter().find_map(|warning| warning.message.strip_prefix("the managed principal ")?.strip_prefix(words));
    assert!(warning.is_some_and(|place| place.contains("p.toml:")), "{said:?}");
    let config = world.directory.path().join("p.toml");
    let without = fs::read_to_string(&config).expect("read").replace(STATIC, "");
    fs::write(&config, without).expect("written");
    world.until(|view| view.rules.snapshot.allowlist.find("static/one").is_some_and(|principal| principal.provenance.is_ledger()));
}

#[test]
fn the_policy_that_a_files_first_admin_makes_is_told_at_once() {
    let admin = STATIC.replace("Reader", "Administrator");
    let world = begin(Arc::default(), &admin, &|_| {});
    let recorded = world.last_entry();
    assert_eq!(
        (recorded.action.as_str(), recorded.after),
        ("bootstrap.closed", world.reloader.control().view().report.status.hash.clone())
    );
}

#[test]
fn the_first_admin_closes_bootstrap_in_the_same_change() {
    let world = world();
    assert!(!world.reloader.control().view().state.bootstrap_closed());
    let admin = Document { clearance: Some("admin".to_owned()), permissions: Vec::new(), ..document("ops/admin", 77) };
    let recorded = world.change(put(admin)).expect("made");
    assert_eq!(world.actions(), ["principal.put", "bootstrap.closed"]);
    assert_eq!(recorded.entries.len(), 2);
    assert!(lock(&world.journal.0).entries[0].more, "both or neither");
    world.change(remove("ops/admin")).expect("made");
    let view = world.reloader.control().view();
    assert!(view.state.bootstrap_closed() && view.state.admins().next().is_none(), "never opened again");
    assert!(!view.rules.snapshot.allowlist.principals().any(|principal| principal.terms.clearance == Clearance::Admin));
}

#[test]
fn a_plan_sees_what_the_changes_before_it_made() {
    let world = world();
    let made = world.change(put(document("ci/one", 1))).expect("made");
    let id = made.state.principal_named("ci/one").expect("kept").document().id.clone();
    let at_version = |wanted: u64| -> Plan {
        let id = id.clone();
        Box::new(move |state, _| {
            let mut document = state.principal(&id).ok_or(Refusal::NotFound)?.document();
            if document.version != wanted {
                return Err(Refusal::VersionMismatch { is: document.version });
            }
            document.display_name = Some("one".to_owned());
            Ok(vec![Change::put(document)])
        })
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (first, second) = runtime.block_on(async { tokio::join!(world.ask(at_version(1)), world.ask(at_version(1))) });
    assert!(first.is_ok());
    assert_eq!(second.expect_err("too late"), ChangeError::Refused(Refusal::VersionMismatch { is: 2 }));
}

#[test]
fn two_changes_of_one_principal_at_once_leave_the_last() {
    let world = world();
    let made = world.change(put(document("ci/one", 1))).expect("made");
    let id = made.state.principal_named("ci/one").expect("kept").document().id.clone();
    let twice = move |_: &State, _: &_| {
        let with = |number| Document { id: id.clone(), ..document("ci/one", number) };
        Ok(vec![Change::put(with(2)), Change::put(with(3))])
    };
    world.change(Box::new(twice)).expect("made");
    let view = world.reloader.control().view();
    let pins = |number| view.rules.snapshot.allowlist.pins(&fingerprint(number).parse().expect("a fingerprint"));
    assert_eq!((pins(1), pins(2), pins(3)), (false, false, true));
    assert_eq!(view.state.principal_named("ci/one").expect("kept").document().version, 3);
    assert!(!view.report.warnings.iter().any(|warning| warning.message.contains("admits nobody")), "{:?}", view.report.warnings);
}

#[test]
fn a_revocation_and_its_end_are_in_force_when_they_are_answered() {
    let world = world();
    let id = format!("sha256:{}", "11".repeat(32));
    let revoked = || world.reloader.control().view().rules.snapshot.revocation.ids().map(|(id, _)| id.to_string()).collect::<Vec<_>>();
    let reason = Some("lost".to_owned());
    let change = Change::revoke(&id, reason);
    world.change(Box::new(move |_, _| Ok(vec![change.clone()]))).expect("made");
    assert_eq!(revoked(), std::slice::from_ref(&id));
    assert_eq!(world.reloader.control().view().state.revocation(&id).expect("kept").reason.as_deref(), Some("lost"));
    let change = Change::RevocationRemove { id: id.clone() };
    world.change(Box::new(move |_, _| Ok(vec![change.clone()]))).expect("made");
    assert!(revoked().is_empty());
    let nonsense = Change::revoke("nonsense", None);
    let refused = world.change(Box::new(move |_, _| Ok(vec![nonsense.clone()])));
    let Err(ChangeError::Refused(Refusal::Invalid(wrong))) = refused else { panic!("{refused:?}") };
    assert!(matches!(&wrong[..], [Invalid { key, .. }] if key == "id"));
}

#[test]
fn without_a_ledger_nothing_is_managed_and_a_dry_run_changes_nothing() {
    let world = world();
    let control = world.reloader.control().clone();
    let mutation =
        Mutation { actor: Actor::new(ActorKind::Socket), reason: None, dry_run: true, plan: put(document("ci/one", 1)), guard: None };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let would = runtime.block_on(control.change(mutation)).expect("would be made");
    assert!(would.state.principal_named("ci/one").is_some() && would.entries.is_empty());
    assert!(!world.is_listed("ci/one") && world.actions().is_empty());
}

#[test]
fn what_was_answered_is_there_at_the_next_start() {
    let world = world();
    let config = world.directory.path().join("p.toml");
    let mut loader = Loader::new(&config, true);
    // The other world's ledger is in memory, but its loader has the directory's own open.
    assert!(loader.start().is_err_and(|problems| problems[0].message.contains("another process has this ledger open")));
    let World { directory, reloader, .. } = world;
    drop(reloader);
    let config = directory.path().join("p.toml");
    let begin = || {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let mut loader = Loader::new(&config, true);
            match loader.start() {
                Ok(loaded) => {
                    let journal = loader.take_ledger().map(|ledger| -> Box<dyn Journal> { Box::new(ledger) });
                    return start(loader, &loaded, Metrics::new(1), journal, |_| {}).expect("starts");
                }
                // The thread that ends still has it open.
                Err(problems) => assert!(Instant::now() < deadline, "{problems:?}"),
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let reloader = begin();
    let mutation =
        Mutation { actor: Actor::new(ActorKind::Socket), reason: None, dry_run: false, plan: put(document("ci/kept", 3)), guard: None };
    let recorded = runtime.block_on(reloader.control().change(mutation)).expect("made");
    let before = reloader.control().view();
    drop(reloader);
    let after = begin().control().view();
    assert!(after.rules.snapshot.allowlist.find("ci/kept").is_some());
    assert_eq!((after.state.hash(), after.state.entries()), (recorded.state.hash(), recorded.entries[0].index + 1));
    assert_eq!(after.report.status.hash, before.report.status.hash, "the same policy");
}

#[test]
fn a_renewal_on_the_same_key_is_pinned_and_recorded() {
    use crate::gate::Renewed;
    use crate::pki::Certificate;
    use crate::store::managed::{CertificateDocument, CertificateSource};
    let world = world();
    let key = rcgen::KeyPair::generate().expect("a key");
    let now = time::OffsetDateTime::now_utc();
    let certificate = |serial: u64, name: &str| {
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.serial_number = Some(serial.into());
        (params.not_before, params.not_after) = (now - time::Duration::days(1), now + time::Duration::days(90));
        Certificate::parse(params.self_signed(&key).expect("signed").der().clone()).expect("parsed")
    };
    let (first, second, other) = (certificate(1, "c.example"), certificate(2, "c.example"), certificate(3, "d.example"));
    let certificates = vec![CertificateDocument::of(&first, CertificateSource::Generated)];
    let renewal = Some("same-key".to_owned());
    world.change(put(Document { certificates, renewal, ..document("ci/renewing", 1) })).expect("made");
    let control = world.reloader.control().clone();
    let principal = Arc::new(control.view().rules.snapshot.allowlist.find("ci/renewing").expect("listed"));
    let before = control.view();
    for renewed in [&other, &second] {
        let (principal, predecessor) = (Arc::clone(&principal), first.fingerprint);
        control.renew(Renewed { principal, certificate: renewed.der.clone(), predecessor, generation: 1 });
    }
    world.until(|view| view.rules.snapshot.allowlist.pins(&second.fingerprint));
    let view = control.view();
    assert!(view.rules.snapshot.allowlist.pins(&first.fingerprint) && !view.rules.snapshot.allowlist.pins(&other.fingerprint));
    assert_eq!(view.state.owner(&second.fingerprint).expect("kept").document().certificates.len(), 2);
    let entry = world.last_entry();
    assert_eq!((entry.actor.kind, entry.reason.as_deref()), (ActorKind::System, Some("renewed on the same key")));
    // Offered together with the second it is planned on a snapshot that knows of neither.
    let third = certificate(4, "c.example");
    let offered = Renewed { principal, certificate: third.der.clone(), predecessor: first.fingerprint, generation: 1 };
    let planned = |state: &State| super::renewal::plan(&offered, state, &before.rules.snapshot).expect("planned");
    assert_eq!(planned(&before.state).len(), 1);
    assert_eq!(planned(&view.state), []);
    let off = Document { renewal: None, ..before.state.owner(&first.fingerprint).expect("kept").document() };
    assert_eq!(planned(&before.state.apply(9, &Change::put(off)).expect("good")), []);
}
