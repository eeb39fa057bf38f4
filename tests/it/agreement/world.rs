//! Who asks, and by which rules: every candidate, every snapshot.

use crate::support::{Identity, Leaf, TestCa, Workspace};

pub fn config(upstream: &str, rules: &str) -> String {
    format!(
        r#"
[[listener]]
name = "edge"
address = "127.0.0.1:0"
certificates = [{{ cert = "server.pem", key = "server.key" }}]

[[listener]]
name = "people"
address = "127.0.0.1:0"
client_auth = "request"
tokens = true
certificates = [{{ cert = "server.pem", key = "server.key" }}]

[[listener]]
name = "prove"
address = "127.0.0.1:0"
client_auth = "request"
serve = ["challenge"]
certificates = [{{ cert = "server.pem", key = "server.key" }}]

[monitor]
address = "unix:monitor.sock"

# A line for each cut, and each answer: there are many at once, all of one source.
[limits]
denial_lines = 10000
challenge_rate = 0

[[route]]
name = "all"
path = "/"
upstream = "app"

[[upstream]]
name = "app"
endpoints = ["{upstream}"]

{rules}"#
    )
}

/// The authorities of this test.
pub struct World {
    root: TestCa,
    other: TestCa,
    twin: TestCa,
    intermediate: TestCa,
    old_intermediate: TestCa,
    revoked_intermediate: TestCa,
}

impl World {
    pub fn new() -> Self {
        let root = TestCa::new("root");
        let signed = |leaf: Leaf| TestCa { identity: leaf.signed_with(&root.identity) };
        Self {
            intermediate: root.intermediate("intermediate"),
            old_intermediate: signed(TestCa::params("old intermediate").expired()),
            revoked_intermediate: signed(TestCa::params("revoked intermediate").serial(&[0x66])),
            other: TestCa::new("other"),
            twin: TestCa::twin("root"),
            root,
        }
    }

    pub fn write(&self, workspace: &Workspace) {
        workspace.write("root.pem", self.root.pem());
        workspace.write("other.pem", self.other.pem());
        workspace.write("twin.pem", self.twin.pem());
        workspace.write("intermediate.pem", self.intermediate.pem());
        workspace.write("fresh.crl", self.root.crl(7, &[&[0x51], &[0x66]], 24));
        workspace.write("stale.crl", self.root.crl(8, &[&[0x51]], -1));
    }

    /// Names are file names. `None` presents nothing.
    pub fn candidates(&self) -> Vec<(String, Option<Identity>)> {
        let mut all: Vec<(String, Option<Identity>)> = vec![("nothing".into(), None)];
        let mut add = |name: String, identity: Identity| all.push((name, Some(identity)));
        for number in 0..6 {
            add(format!("pin-{number}"), Leaf::new(&format!("pin {number}")).organizational_unit("Pins").self_signed());
        }
        let seed = Identity::seed("ACL Client Cert");
        add("seed-renewal".into(), Leaf::new("ACL Client Cert").no_eku().ca().key_of(&seed).self_signed());
        add("seed-child".into(), Leaf::new("child").signed_with(&seed));
        add("seed".into(), seed);
        add("pin-expired".into(), Leaf::new("pin expired").expired().self_signed());
        add("pin-early".into(), Leaf::new("pin early").not_yet_valid().self_signed());
        add("pin-server".into(), Leaf::new("pin server").server_eku_only().self_signed());
        for (ca, signer) in [("root", &self.root), ("other", &self.other), ("twin", &self.twin)] {
            add(
                format!("{ca}-job-1"),
                signer.issue(Leaf::new("job-1").organizational_unit("DevOps").dns("job-1.example.com").serial(&[0x51])),
            );
            add(
                format!("{ca}-job-2"),
                signer.issue(Leaf::new("job-2").organizational_unit("Ops").email("job-2@example.com").serial(&[0x52])),
            );
            add(format!("{ca}-visitor"), signer.issue(Leaf::new("visitor").uri("spiffe://example.com/visitor")));
            add(format!("{ca}-expired"), signer.issue(Leaf::new("job-3").expired()));
            add(format!("{ca}-early"), signer.issue(Leaf::new("job-4").not_yet_valid()));
            add(format!("{ca}-server"), signer.issue(Leaf::new("job-5").server_eku_only()));
            add(format!("{ca}-no-eku"), signer.issue(Leaf::new("job-6").no_eku()));
            let mut two = Leaf::new("job-7");
            two.params.distinguished_name.push(rcgen::DnType::CustomDnType(vec![2, 5, 4, 3]), "job-8");
            add(format!("{ca}-two-names"), signer.issue(two));
            add(format!("{ca}-ca"), signer.intermediate("job-9").identity);
        }
        for (name, ca) in [("via", &self.intermediate), ("via-old", &self.old_intermediate), ("via-revoked", &self.revoked_intermediate)] {
            let leaf = ca.issue(Leaf::new("job-10").organizational_unit("DevOps"));
            add(format!("{name}-alone"), leaf.clone());
            add(format!("{name}-with-chain"), leaf.with_chain(ca.identity.chain.clone()));
        }
        all
    }
}

/// Twenty and more ways to rule: a title and the rules.
pub fn snapshots(candidates: &[(String, Option<Identity>)]) -> Vec<(String, String)> {
    let fingerprint = |name: &str| {
        candidates.iter().find(|(other, _)| other == name).and_then(|(_, identity)| identity.as_ref()).expect("a candidate").fingerprint()
    };
    let pins = |more: &str| {
        format!(
            "[[principal]]\nname = \"pins\"\n{more}\ncertificates = [\"pin-0.pem\", \"pin-1.pem\", \"seed.pem\"]\nfingerprints = [\"sha256:{}\", \"sha256:{}\", \"sha256:{}\"]\n",
            fingerprint("pin-expired"),
            fingerprint("pin-early"),
            fingerprint("pin-server")
        )
    };
    let contributor = "role = \"Contributor\"";
    let authority = |name: &str, terms: &str, files: &str, bounds: &str| {
        format!("[[principal]]\nname = \"{name}\"\n{terms}\n[principal.authority]\ncertificates = [{files}]\n{bounds}\n")
    };
    let any_root = |terms: &str| authority("root", terms, "\"root.pem\"", "any = true");
    let mut all: Vec<(&str, String)> = vec![
        ("pins", pins(contributor)),
        ("pins that may read", pins("role = \"Reader\"")),
        ("pins without permission", pins("permissions = []")),
        (
            "pins denied on the route",
            pins("permissions = [{ routes = [\"*\"], access = \"write\" }, { routes = [\"all\"], access = \"deny\" }]"),
        ),
        (
            "pins of certain names",
            pins("permissions = [{ routes = [\"all\"], access = \"write\", when = { organizational_unit = [\"Pins\"] } }]"),
        ),
        ("pins, disabled", pins(&format!("{contributor}\nenabled = false"))),
        ("pins, over", pins(&format!("{contributor}\nvalid_until = 2020-01-01T00:00:00Z"))),
        ("pins, from elsewhere", pins(&format!("{contributor}\nclient_ips = [\"192.0.2.0/24\"]"))),
        ("pins, for another surface", pins(&format!("{contributor}\nserve = [\"admin\"]"))),
        ("pins identified by an absent name", pins(&format!("{contributor}\nidentifier = \"dns_san\""))),
        ("any of the root", any_root(contributor)),
        ("any of the root, EKU not required", any_root(contributor).replace("any = true", "any = true\nrequire_client_eku = false")),
        ("jobs of the root", authority("root", contributor, "\"root.pem\", \"intermediate.pem\"", "common_names = [\"job-*\"]")),
        (
            "DevOps of the root",
            authority("root", contributor, "\"root.pem\"", "organizational_units = [\"DevOps\"]\ncommon_names = [\"job-?\", \"job-10\"]"),
        ),
        (
            "DNS names of both roots",
            format!(
                "{}{}",
                any_root(contributor).replace("any = true", "dns_sans = [\"*.example.com\"]"),
                authority("other", contributor, "\"other.pem\"", "email_sans = [\"*@example.com\"]")
            ),
        ),
        ("the twin", authority("twin", contributor, "\"twin.pem\"", "any = true")),
        ("a revoked serial of the root's", format!("{}[revocation]\nids = [\"serial:52\"]\n", any_root(contributor))),
        ("a principal's own revoked ids", any_root(&format!("{contributor}\nrevoked_ids = [\"serial:66\", \"serial-dec:81\"]"))),
        ("a CRL", format!("{}[revocation]\ncrls = [\"fresh.crl\"]\n", any_root(contributor))),
        ("a stale CRL", format!("{}[revocation]\ncrls = [\"stale.crl\"]\n", any_root(contributor))),
        ("a CRL for each issuer", format!("{}[revocation]\ncrls = [\"fresh.crl\"]\nrequire_crl = true\n", any_root(contributor))),
        (
            "everybody",
            format!("{}{}{}", pins(contributor), any_root(contributor), authority("other", contributor, "\"other.pem\"", "any = true")),
        ),
    ];
    let revoked_pin = format!("{}[revocation]\nids = [\"{}\"]\n", pins(contributor), fingerprint("pin-0"));
    all.push(("a revoked pin", revoked_pin));
    all.into_iter().map(|(title, rules)| (title.to_owned(), rules)).collect()
}
