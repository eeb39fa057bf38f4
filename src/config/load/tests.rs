//! Files on disk, looked at again and again: who is in force then, and what is said.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rcgen::{KeyIdMethod, RevokedCertParams, SerialNumber, date_time_ymd};

use super::*;
use crate::pki::Certificate;

struct World {
    directory: tempfile::TempDir,
    loader: Loader,
}

/// A certificate and its key, PEM.
struct Made {
    cert: String,
    key: String,
}

fn made(name: &str) -> Made {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    Made { cert: params.self_signed(&key).expect("signed").pem(), key: key.serialize_pem() }
}

fn fingerprint(made: &Made) -> Fingerprint {
    let found: Vec<crate::pki::Located<Certificate>> = crate::pki::files::certificates(made.cert.as_bytes(), None).expect("a certificate");
    found[0].value.fingerprint
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("p.toml");
        let world = Self { directory, loader: Loader::new(&path, true) };
        let server = made("localhost");
        world.write("server.pem", &server.cert);
        world.write("server.key", &server.key);
        fs::create_dir(world.path("list")).expect("made");
        world.config("");
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).expect("written");
    }

    /// Replaces by rename.
    fn replace(&self, name: &str, content: impl AsRef<[u8]>) {
        self.write("draft", content);
        fs::rename(self.path("draft"), self.path(name)).expect("renamed");
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).expect("removed");
    }

    fn config(&self, more: &str) {
        self.replace("p.toml", format!("{CONFIG}{more}"));
    }

    fn start(&mut self) -> Loaded {
        self.loader.start().unwrap_or_else(|problems| panic!("{}", told(&problems)))
    }

    fn look(&mut self) -> Look {
        self.loader.look(&Seen::default())
    }

    fn restarted(&mut self) -> Result<Loaded, Vec<Problem>> {
        self.loader = Loader::new(&self.path("p.toml"), true);
        self.loader.start()
    }

    fn names(&self) -> Vec<String> {
        let rules = &self.loader.in_force.as_ref().expect("started").compiled.rules;
        let mut names: Vec<String> = rules.snapshot.allowlist.principals().map(|principal| principal.name.to_string()).collect();
        names.sort();
        names
    }

    fn revoked(&self) -> Vec<String> {
        let rules = &self.loader.in_force.as_ref().expect("started").compiled.rules;
        let mut ids: Vec<String> = rules.snapshot.revocation.ids().map(|(id, _)| id.to_string()).collect();
        ids.sort();
        ids
    }

    /// Relative to the directory, so that tests can say it.
    fn told(&self, problems: &[Problem]) -> String {
        told(problems).replace(&format!("{}/", self.directory.path().display()), "")
    }
}

fn told(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{} {}", problem.place(), problem.message)).collect::<Vec<_>>().join("\n")
}

const CONFIG: &str = r#"
[[listener]]
name = "edge"
address = "127.0.0.1:0"
certificates = [{ cert = "server.pem", key = "server.key" }]
[[allowlist]]
path = "list/"
role = "Contributor"
max_shrink = { share = 0.5, min = 2 }
[[route]]
name = "all"
upstream = "app"
[[upstream]]
name = "app"
endpoints = ["http://127.0.0.1:9"]
"#;

#[test]
fn a_look_names_the_files_that_are_others() {
    let mut world = World::new();
    for name in ["alice", "bob"] {
        world.write(&format!("list/{name}.pem"), &made(name).cert);
    }
    world.start();
    let changed = |world: &mut World| {
        let look = world.look();
        assert!(look.loaded.is_some() || look.changed.is_empty());
        let short = |name: &String| name.replace(&format!("{}/", world.directory.path().display()), "");
        look.changed.iter().map(short).collect::<Vec<_>>()
    };
    assert!(changed(&mut world).is_empty());
    world.replace("list/alice.pem", made("alice again").cert);
    world.replace("list/carol.pem", made("carol").cert);
    assert_eq!(changed(&mut world), ["list/alice.pem", "list/carol.pem"]);
    world.remove("list/bob.pem");
    assert_eq!(changed(&mut world), ["list/bob.pem"]);
    world.config("\n[revocation]\nids = [\"serial-dec:7\"]\n");
    assert_eq!(changed(&mut world), ["p.toml", "[revocation]"]);
}

#[test]
fn a_directory_is_followed_file_by_file() {
    let mut world = World::new();
    let (alice, bob, carol) = (made("alice"), made("bob"), made("carol"));
    world.write("list/alice.pem", &alice.cert);
    world.write("list/bob.crt", &bob.cert);
    world.write("list/.hidden.pem", "rubbish");
    world.write("list/notes.md", "rubbish");
    let loaded = world.start();
    assert_eq!(loaded.status.entries, 2);
    assert_eq!(world.names(), ["alice", "bob"]);
    assert!(world.look().loaded.is_none(), "nothing has changed");

    // A broken file keeps its last good content, and never another's removal from counting.
    world.write("list/bob.crt", "-----BEGIN CERTIFICATE-----\nrubbish");
    world.write("list/carol.pem", &carol.cert[..200]);
    world.remove("list/alice.pem");
    let look = world.look();
    assert!(look.loaded.is_some());
    assert_eq!(world.names(), ["bob"]);
    let said = world.told(&look.problems);
    assert!(said.contains("list/bob.crt") && said.contains("list/carol.pem"), "{said}");
    assert!(world.look().loaded.is_none(), "as bad as it was");
    assert_eq!(world.look().problems.len(), 2, "and still said");

    world.write("list/bob.crt", &bob.cert);
    world.write("list/carol.pem", &carol.cert);
    assert_eq!(world.look().problems, []);
    assert_eq!(world.names(), ["bob", "carol"]);

    // The directory itself: gone, or a file in its place.
    fs::rename(world.path("list"), world.path("elsewhere")).expect("renamed");
    let look = world.look();
    assert_eq!(world.told(&look.problems), "list/ is not there");
    world.write("list", &alice.cert);
    assert!(!world.look().problems.is_empty());
    assert_eq!(world.names(), ["bob", "carol"]);
    world.remove("list");
    fs::rename(world.path("elsewhere"), world.path("list")).expect("renamed");
    assert_eq!(world.look().problems, []);
}

#[test]
fn of_two_files_with_one_certificate_the_newcomer_is_refused() {
    let mut world = World::new();
    let (alice, bob) = (made("alice"), made("bob"));
    world.write("list/b.pem", &alice.cert);
    world.start();
    world.write("list/a.pem", &alice.cert);
    world.write("list/c.pem", &bob.cert);
    let look = world.look();
    let said = world.told(&look.problems);
    assert!(said.starts_with("list/a.pem:1 the certificate") && said.contains("list/b.pem:1"), "{said}");
    assert_eq!(world.names(), ["b", "c"]);
    world.remove("list/b.pem");
    assert_eq!(world.look().problems, []);
    assert_eq!(world.names(), ["a", "c"]);
}

#[test]
fn losing_too_much_at_once_needs_force() {
    let mut world = World::new();
    for name in ["a", "b", "c", "d"] {
        world.write(&format!("list/{name}.pem"), made(name).cert);
    }
    world.start();
    for name in ["a", "b", "c"] {
        world.remove(&format!("list/{name}.pem"));
    }
    let look = world.look();
    assert!(world.told(&look.problems).contains("would take 3 of 4 entries"), "{:?}", look.problems);
    assert_eq!(world.names().len(), 4);
    let seen = Seen { force: true, reread: true, ..Seen::default() };
    assert_eq!(world.loader.look(&seen).problems, []);
    assert_eq!(world.names(), ["d"]);
}

#[test]
fn a_list_of_its_own_names_each_entry() {
    let mut world = World::new();
    let (alice, bob) = (made("alice"), made("bob"));
    world.config(
        "[[allowlist]]\npath = \"all.pem\"\nrole = \"Reader\"\nprefix = \"p/\"\n[[allowlist]]\npath = \"some.txt\"\nrole = \"Reader\"\n",
    );
    world.write("all.pem", format!("{}{}", alice.cert, alice.cert));
    world.write("some.txt", format!("sha256:{} partner/bob\n", fingerprint(&bob)));
    world.start();
    let hex = fingerprint(&alice).to_string();
    assert_eq!(world.names(), [format!("p/all/{}", &hex[..16]), "partner/bob".to_owned()]);
    for state in ["", "rubbish", "\n \n"] {
        world.write("some.txt", state);
        assert_eq!(world.look().problems.len(), 1, "{state:?}");
        assert_eq!(world.names().len(), 2, "{state:?}");
    }
    world.write("some.txt", "none\n");
    assert_eq!(world.look().problems, []);
    assert_eq!(world.names().len(), 1);
    // Other terms for what is broken: its last good principals are under them.
    world.write("all.pem", "rubbish");
    world.config("[[allowlist]]\npath = \"all.pem\"\nrole = \"Contributor\"\nprefix = \"p/\"\n");
    let look = world.look();
    assert!(look.loaded.is_some() && look.problems.len() == 1, "{:?}", look.problems);
    let principal = look.loaded.expect("loaded").rules.snapshot.allowlist.principals().next().expect("alice");
    assert_eq!(principal.terms.permissions[0].access, Some(crate::admission::Access::Write));
}

#[test]
fn a_start_says_everything_that_is_wrong() {
    let mut world = World::new();
    world.write("list/bad.pem", format!("{}\n-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n", made("x").cert));
    world.write("server.key", made("other").key);
    world.config(
        "[[principal]]\nname = \"a\"\ncertificates = [\"missing.pem\"]\nrole = \"Reader\"\n[revocation]\nfiles = [\"revoked.txt\"]\n",
    );
    let problems = world.loader.start().expect_err("refused");
    let said = world.told(&problems);
    for wanted in
        ["list/bad.pem:", "the key belongs to another certificate", "p.toml:18:17 missing.pem: is not there", "revoked.txt: is not there"]
    {
        assert!(said.contains(wanted), "{wanted} is not in:\n{said}");
    }
}

#[test]
fn a_broken_configuration_stays_out_and_its_sources_are_followed() {
    let mut world = World::new();
    world.write("list/alice.pem", made("alice").cert);
    world.start();
    world.write("p.toml", "[[listener]\n");
    world.write("list/bob.pem", made("bob").cert);
    let look = world.look();
    assert!(look.loaded.is_some());
    assert!(world.told(&look.problems).starts_with("p.toml:1:"), "{:?}", look.problems);
    assert_eq!(world.names(), ["alice", "bob"]);
    // It reads well, and cannot be put in force.
    world.config("[[principal]]\nname = \"bob\"\nspki_pins = [\"sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\"]\n");
    let look = world.look();
    assert!(world.told(&look.problems).contains("the name bob belongs to another principal"), "{:?}", look.problems);
    world.remove("list/alice.pem");
    world.look();
    assert_eq!(world.names(), ["bob"]);
    world.config("");
    assert_eq!(world.look().problems, []);
}

#[test]
fn a_missing_certificate_file_keeps_no_other_change_from_counting() {
    let mut world = World::new();
    world.config("[[principal]]\nname = \"a\"\ncertificates = [\"a.pem\"]\nrole = \"Reader\"\n");
    world.write("a.pem", made("a").cert);
    world.start();
    assert_eq!(world.loader.in_force.as_ref().expect("started").compiled.rules.snapshot.allowlist.credentials(), 1);
    world.config("[[principal]]\nname = \"b\"\ncertificates = [\"b.pem\"]\nrole = \"Reader\"\n");
    let look = world.look();
    assert!(look.loaded.is_some() && world.told(&look.problems).contains("b.pem: is not there"), "{:?}", look.problems);
    assert_eq!(world.loader.in_force.as_ref().expect("started").compiled.rules.snapshot.allowlist.credentials(), 0);
    world.write("b.pem", made("b").cert);
    assert_eq!(world.look().problems, []);
    assert_eq!(world.loader.in_force.as_ref().expect("started").compiled.rules.snapshot.allowlist.credentials(), 1);
}

#[test]
fn a_key_of_another_certificate_keeps_the_old_pair() {
    let mut world = World::new();
    world.start();
    let other = made("localhost");
    world.write("server.key", &other.key);
    let look = world.look();
    assert!(world.told(&look.problems).contains("the key belongs to another certificate"), "{:?}", look.problems);
    world.write("server.pem", &other.cert);
    let look = world.look();
    assert!(look.loaded.is_some() && look.problems.is_empty(), "{:?}", look.problems);
}

#[test]
fn a_wrong_cipher_is_shown_in_its_place() {
    let mut world = World::new();
    let config = CONFIG.replace("address = ", "ciphers = [\"TLS13_AES_128_GCM_SHA256\", \"NULL\"]\naddress = ");
    world.write("p.toml", config);
    let problems = world.loader.start().expect_err("refused");
    assert!(world.told(&problems).starts_with("p.toml:4:40 unknown cipher"), "{}", world.told(&problems));
}

#[test]
fn routes_that_tie_and_paths_that_never_match_are_said() {
    let mut world = World::new();
    world.config("[[route]]\nname = \"again\"\nupstream = \"app\"\n");
    let said = told(&world.loader.start().expect_err("refused"));
    assert!(said.contains(":17:8 route `again` ties with `all` in line 11"), "{said}");
    world.config(
        "[[route]]\nname = \"odd\"\nupstream = \"app\"\npath = \"/a/../b\"\nrules = [{ path = \"/%7euser\", access = \"read\" }]\n",
    );
    let said = told(&world.loader.start().expect_err("refused"));
    assert!(said.contains(":19:8 `/a/../b` is not in the form") && said.contains(":20:19 `/%7euser` is not in the form"), "{said}");
    world.config(
        "[[route]]\nname = \"odd\"\nupstream = \"app\"\npath = \"/o/\"\nrules = [{ path = \"/o/a*\", access = \"admin\" }, { path = \"/x\", access = \"admin\" }]\n",
    );
    let said = told(&world.loader.start().expect_err("refused"));
    assert!(said.contains("`/o/a*`: `*` stands for one whole segment") && said.contains("`/x`: it lies outside the path"), "{said}");
    world.config("[[route]]\nname = \"odd\"\nupstream = \"app\"\npath = \"/o/*\"\n");
    assert!(told(&world.loader.start().expect_err("refused")).contains("a route's path is a prefix"));
}

#[test]
fn what_cannot_be_compiled_is_shown_in_its_place() {
    let mut world = World::new();
    world.config(
        r#"[[principal]]
name = "a"
spki_pins = ["sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="]
identifier = "subject"
cors_origins = ["*"]
revoked_ids = ["zz"]
[revocation]
ids = ["sha256:12"]
"#,
    );
    world.write("ca.pem", made("ca").cert);
    let said = told(&world.loader.start().expect_err("refused"));
    for wanted in [":19:14 `subject`", ":20:17 `*`", ":21:16 `zz`", ":23:8 `sha256:12`"] {
        assert!(said.contains(wanted), "{wanted} is not in:\n{said}");
    }
}

#[test]
fn an_anchor_that_is_no_ca_is_refused_by_its_line() {
    let mut world = World::new();
    world.config("[[principal]]\nname = \"ci\"\n[principal.authority]\ncertificates = [\"ca.pem\"]\nany = true\n");
    world.write("ca.pem", format!("# a comment\n{}", made("leaf").cert));
    let problems = world.loader.start().expect_err("refused");
    let said = world.told(&problems);
    assert!(said.contains("ca.pem:2 this certificate is no CA"), "{said}");
}

#[test]
fn ids_that_vanish_stay_until_that_was_meant() {
    let mut world = World::new();
    world.config("[revocation]\nids = [\"serial:01\"]\nfiles = [\"revoked.txt\"]\n");
    world.write("revoked.txt", "serial:02\nserial:03\n");
    world.start();
    assert_eq!(world.revoked(), ["serial:01", "serial:02", "serial:03"]);

    // Written in place: half of it may be missing yet. What is new counts at once.
    world.write("revoked.txt", "serial:02\nserial:04\n");
    let look = world.look();
    assert!(look.again.is_some() && world.told(&look.problems).contains("no longer revoked"), "{:?}", look.problems);
    assert_eq!(world.revoked(), ["serial:01", "serial:02", "serial:03", "serial:04"]);

    // Empty, missing: the last good stays.
    for spoil in [Some(""), Some("# nothing\n"), None] {
        match spoil {
            Some(content) => world.write("revoked.txt", content),
            None => world.remove("revoked.txt"),
        }
        assert!(!world.look().problems.is_empty(), "{spoil:?}");
        assert_eq!(world.revoked().len(), 4, "{spoil:?}");
    }
    // Made anew after it was gone: as if written in place.
    world.write("revoked.txt", "serial:02\n");
    world.loader.look(&Seen { renamed: true, ..Seen::default() });
    assert_eq!(world.revoked().len(), 4);

    // Across a restart, too.
    world.restarted().expect("starts");
    assert_eq!(world.revoked().len(), 4);

    // Replaced by rename: meant.
    world.replace("revoked.txt", "serial:05\n");
    world.config("[revocation]\nfiles = [\"revoked.txt\"]\n");
    let look = world.loader.look(&Seen { renamed: true, ..Seen::default() });
    assert_eq!(look.problems, []);
    assert_eq!(world.revoked(), ["serial:05"]);
}

#[test]
fn a_cold_start_knows_what_was_revoked() {
    let mut world = World::new();
    world.config("[revocation]\nfiles = [\"revoked.txt\"]\n");
    world.write("revoked.txt", "serial:02\n");
    world.start();
    world.remove("revoked.txt");
    let loaded = world.restarted().expect("the last good content is known");
    assert_eq!(world.revoked(), ["serial:02"]);
    assert!(world.told(&loaded.warnings).contains("revoked.txt is not there"), "{:?}", loaded.warnings);
    // Nothing known, nothing there.
    fs::remove_dir_all(world.path("state")).expect("removed");
    let problems = world.restarted().expect_err("a restriction would be lost");
    assert!(world.told(&problems).contains("revoked.txt: is not there"), "{problems:?}");
    // What was kept is damaged.
    world.write("revoked.txt", "serial:02\n");
    world.restarted().expect("starts");
    world.write("state/restrictions.json", "{");
    let problems = world.restarted().expect_err("what was revoked is not known");
    assert!(world.told(&problems).contains("state/restrictions.json is damaged"), "{problems:?}");
}

#[test]
fn a_crl_that_vanishes_or_goes_back_stays_until_a_newer_one_comes() {
    let mut world = World::new();
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    world.write("ca.pem", params.self_signed(&key).expect("signed").pem());
    let ca = Issuer::new(params, key);
    let crl = |number: u64, serials: &[u64]| {
        let revoked_certs = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&ca).expect("signed").pem().expect("PEM")
    };
    world.config(
        "[[principal]]\nname = \"ci\"\n[principal.authority]\ncertificates = [\"ca.pem\"]\nany = true\n[revocation]\ncrls = [\"crl/\"]\n",
    );
    fs::create_dir(world.path("crl")).expect("made");
    assert!(told(&world.loader.start().expect_err("refused")).contains("holds no CRL"));
    world.write("crl/a.crl", crl(5, &[1]));
    world.start();
    let in_force = |world: &World| {
        let rules = &world.loader.in_force.as_ref().expect("started").compiled.rules;
        rules.snapshot.revocation.crls().map(|(crl, _)| crl.lists(&[1])).collect::<Vec<_>>()
    };
    assert_eq!(in_force(&world), [true]);
    world.remove("crl/a.crl");
    let look = world.look();
    assert!(world.told(&look.problems).contains("is not there any more"), "{:?}", look.problems);
    assert_eq!(in_force(&world), [true]);
    world.write("crl/a.crl", crl(4, &[]));
    let look = world.look();
    assert!(!look.problems.is_empty());
    assert_eq!(in_force(&world), [true], "the newer one counts");
    world.remove("crl/a.crl");
    world.restarted().expect("starts");
    assert_eq!(in_force(&world), [true], "across a restart, too");
    world.write("crl/b.crl", crl(6, &[2]));
    world.look();
    assert_eq!(world.look().problems, [], "done with");
    assert_eq!(in_force(&world), [false]);
}

#[test]
fn all_that_is_named_is_watched() {
    let mut world = World::new();
    world.config("[revocation]\nfiles = [\"revoked.txt\"]\n");
    world.write("revoked.txt", "none\n");
    world.start();
    let watched = world.loader.watched();
    for name in ["p.toml", "list", "server.pem", "server.key", "revoked.txt"] {
        assert!(watched.iter().any(|path| path == Path::new(&world.path(name))), "{name}: {watched:?}");
    }
}
