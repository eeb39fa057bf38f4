//! Tables of bad files: what is said, and where.

use std::path::Path;
use std::sync::Arc;

use super::error::{Document, Problem};
use super::file::{ConfigFile, Keys};

const EXAMPLE: &str = include_str!("../../config.example.toml");

const GOOD: &str = r#"
[[listener]]
name = "edge"
address = "127.0.0.1:8443"
certificates = [{ cert = "s.pem", key = "s.key" }]
[[upstream]]
name = "orders"
endpoints = ["http://127.0.0.1:9000"]
[[route]]
name = "orders"
upstream = "orders"
"#;

fn read(text: &str) -> (Result<ConfigFile, Vec<Problem>>, Keys) {
    ConfigFile::read_with_keys(Arc::new(Document::new("p.toml", text.to_owned())), Path::new(""))
}

fn problems(text: &str) -> Vec<Problem> {
    read(text).0.err().unwrap_or_default()
}

/// The places and messages, one a line.
fn said(text: &str) -> String {
    problems(text).iter().map(|problem| format!("{}:{} {}", problem.line, problem.column, problem.message)).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_is_read_and_has_every_key() {
    let (file, keys) = read(EXAMPLE);
    let file = file.unwrap_or_else(|problems| panic!("{}", problems.iter().map(ToString::to_string).collect::<String>()));
    assert_eq!((file.listeners.len(), file.principals.len(), file.allowlists.len()), (2, 2, 2));
    let example: toml::Table = EXAMPLE.parse().expect("just read");
    // The first belongs to later versions, and has no position that is off; the others are shown with a listener.
    let is_shown_elsewhere = |table: &str, key: &str| key == "health" || table == "[monitor.certificate]";
    for (table, key) in keys.iter().filter(|(table, key)| !is_shown_elsewhere(table, key)) {
        assert!(has_key(&example, table, key), "config.example.toml does not show `{key}` of {table}");
    }
}

/// Tells whether any table of this name, as in `[[principal.permissions]]`, has a key.
fn has_key(root: &toml::Table, table: &str, key: &str) -> bool {
    let mut tables = vec![root];
    if table != "the file" {
        for part in table.trim_matches(['[', ']']).split('.') {
            tables = tables.iter().filter_map(|table| table.get(part)).flat_map(inner).collect();
        }
    }
    tables.iter().any(|table| table.contains_key(key))
}

fn inner(value: &toml::Value) -> Vec<&toml::Table> {
    match value {
        toml::Value::Table(table) => vec![table],
        toml::Value::Array(array) => array.iter().flat_map(inner).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn the_example_shows_the_defaults() {
    let (example, bare) = (read(EXAMPLE).0.expect("good"), read(GOOD).0.expect("good"));
    assert_eq!(example.limits, bare.limits);
    assert_eq!(example.audit, bare.audit);
    assert_eq!(example.store, bare.store);
    assert_eq!(example.token, bare.token);
    assert_eq!(example.workers, bare.workers);
    assert_eq!(example.allowlists[0].max_shrink, super::file::MaxShrink::default());
}

#[test]
fn everything_wrong_is_said_at_once_and_in_order() {
    let text = r#"[[listener]]
nmae = "edge"
address = "localhost:8443"
client_auth = "requires"
http2 = "yes"
http3 = true
certificates = [{ cert = "s.pem" }]

[[route]]
name = "orders"
upstream = 7
rules = [{ methods = ["get"], path = "orders", access = "reed" }]

[limits]
idle = "75"
clock_skew = "10m"
zebra = 1
"#;
    let wanted = "\
1:1 `name` is missing in [[listener]]
2:1 unknown key `nmae` in [[listener]]
3:11 `address`: `localhost:8443` is no address: write it like \"0.0.0.0:8443\", \"[::]:8443\", \"unix:PATH\" or \"systemd:NAME\"
4:15 `client_auth`: \"requires\" is none of \"require\", \"request\"; did you mean \"require\"?
5:9 `http2` must be true or false, not text
6:9 `http3` is not in this version
7:17 a certificate is a `cert` with its `key`, or a `pfx`
7:26 `s.pem`: No such file or directory (os error 2)
11:12 `upstream` must be text, not a number
12:23 `methods`: `get` is no method: write it like \"GET\"
12:38 `path`: `orders` does not start with `/`
12:57 `access`: \"reed\" is none of \"read\", \"write\", \"admin\"; did you mean \"read\"?
15:8 `idle`: `75` is no duration: write a whole number and a unit, like \"500ms\", \"10s\", \"5m\", \"2h\" or \"1d\"
16:14 `clock_skew`: must be 0ns to 300s
17:1 unknown key `zebra` in [limits]";
    assert_eq!(said(text), wanted);
    let problem = problems(text).remove(1);
    let shown = "error: unknown key `nmae` in [[listener]]\n --> p.toml:2:1\n  |\n2 | nmae = \"edge\"\n  | ^^^^\n  = did you mean `name`?";
    assert_eq!(problem.to_string(), shown);
}

#[test]
fn syntax_errors_are_said_together_with_what_else_is_wrong() {
    let text = "[[listener]]\nname = \"edge\naddress = \"nowhere\"\n[limits]\nidle = \nhead = 5\nhead = \"5s\"\n";
    let said = said(text);
    for wanted in ["2:", "3:11 `address`", "5:", "7:1 duplicate key"] {
        assert!(said.lines().any(|line| line.starts_with(wanted)), "{wanted} is not in:\n{said}");
    }
    assert!(!said.contains("missing"), "a syntax error may have swallowed it:\n{said}");
}

#[test]
fn each_mistake_has_its_words() {
    let pin = format!("fingerprints = [\"{}\"]", "ab".repeat(32));
    let cases = [
        ("[[principal]]\nname = \"a b\"\nspki_pins = []", "2:8 `name`: `a b` is no name of a principal"),
        ("[[principal]]\nname = \"a\"", "1:1 this principal has no credential: nothing could prove it"),
        ("[[principal]]\nname = \"a\"\nfingerprints = []", "1:1 this principal has no credential: its lists are empty"),
        ("[[principal]]\nname = \"a\"\nPIN\nclient_ips = []", "4:14 `client_ips` is an empty list"),
        ("[[principal]]\nname = \"a\"\nPIN\ntoken_ttl = \"31d\"", "4:13 `token_ttl`: must be 1s to"),
        ("[[principal]]\nname = \"a\"\nPIN\nexpiry_notice = [7, 0]", "4:21 `expiry_notice`: must be 1 to 3650"),
        ("[[principal]]\nname = \"a\"\nPIN\nexpiry_notice = [\"7d\"]", "4:18 `expiry_notice` must be a list of whole numbers, not text"),
        ("[[principal]]\nname = \"a\"\nPIN\nrole = \"Reader\"\nrequire_when = true", "5:16 `require_when` stands beside a role"),
        (
            "[[principal]]\nname = \"a\"\nPIN\nrequire_when = true\npermissions = [{ routes = [\"*\"], access = \"deny\" }, { routes = [\"*\"], access = \"read\" }]",
            "5:65 this permission has no `when`",
        ),
        ("[[principal]]\nname = \"a\"\nPIN\nclient_ips = [\"10.0.0.1/8\"]", "4:15 `client_ips`: `10.0.0.1/8` has bits beyond its prefix"),
        ("[[principal]]\nname = \"a\"\nPIN\nrole = \"Reader\"\npermissions = []", "4:8 `role` stands beside `permissions`"),
        ("[[principal]]\nname = \"a\"\nPIN\nrole = \"reader\"", "4:8 `role`: \"reader\" is none of \"Reader\""),
        ("[[principal]]\nname = \"a\"\nPIN\nvalid_until = 2027-01-31", "4:15 `valid_until`: `2027-01-31` has no time of day"),
        ("[[principal]]\nname = \"a\"\nPIN\nvalid_until = \"2027\"", "4:15 `valid_until` must be a date and time"),
        ("[[principal]]\nname = \"a\"\nPIN\nrenewal = \"same-key\"", "4:11 `renewal`: \"same-key\" is only for managed principals"),
        ("[[principal]]\nname = \"a\"\nPIN\npermissions = [{ routes = [\"oders\"], access = \"read\" }]", "4:28 there is no route `oders`"),
        ("[[principal]]\nname = \"a\"\nPIN\n[[principal]]\nname = \"A\"\nPIN", "5:8 principal `A` stands in line"),
        ("[[principal]]\nname = \"a\"\n[principal.authority]\ncertificates = [\"ca.pem\"]", "3:1 this authority has no bounds"),
        ("[[principal]]\nname = \"a\"\n[principal.authority]\ncertificates = []\nany = true", "4:16 `certificates` is an empty list"),
        (
            "[[principal]]\nname = \"a\"\n[principal.authority]\ncertificates = [\"ca.pem\"]\nany = true\ncommon_names = [\"x\"]",
            "5:7 `any = true` stands beside `common_names`",
        ),
        (
            "[[principal]]\nname = \"a\"\n[principal.authority]\ncertificates = [\"ca.pem\"]\ndns_sans = []",
            "5:12 `dns_sans` is an empty list",
        ),
        ("[[allowlist]]\npath = \"a/\"", "1:1 `role` is missing in [[allowlist]]"),
        ("[[allowlist]]\npath = \"a/\"\nrole = \"Administrator\"", "3:8 an allowlist gives no clearance beyond user"),
        ("[[allowlist]]\npath = \"a/\"\nrole = \"Reader\"\nmax_shrink = { share = 2 }", "4:24 `share`: must be 0.0 to 1.0"),
        ("[[route]]\nname = \"r\"\nupstream = \"order\"", "3:12 there is no upstream `order`"),
        (
            "[[route]]\nname = \"r\"\nupstream = \"orders\"\nhosts = [\"api.example.com:443\"]",
            "4:10 `hosts`: `api.example.com:443` is no host",
        ),
        ("[[route]]\nname = \"r\"\nupstream = \"orders\"\nupgrades = [\"h2c\"]", "4:13 `upgrades`: `h2c` is never passed on"),
        ("[[upstream]]\nname = \"u\"\nendpoints = []", "3:13 `endpoints` is an empty list"),
        (
            "[[upstream]]\nname = \"u\"\nendpoints = [\"http://a\"]\nbalance = \"least-requests\"",
            "4:11 `balance`: \"least-requests\" is not in this",
        ),
        ("[[upstream]]\nname = \"u\"\nendpoints = [\"http://a\"]\nhealth = {}", "4:10 `health` is not in this version"),
        ("[identity]\nheaders = [\"aws\"]", "2:12 `headers`: \"aws\" is not in this version"),
        ("[identity]\nassertion = true", "2:13 `assertion` is not in this version"),
        ("[token]\nttl = \"0s\"", "2:7 `ttl`: must be 1s to 2592000s"),
        ("[token]\nmax_ttl = \"31d\"", "2:11 `max_ttl`: must be 1s to 2592000s"),
        ("[token]\nmax_ttl = \"5m\"\nttl = \"10m\"", "3:7 `ttl` is longer than `max_ttl`"),
        ("[token]\nissuer = \"\"", "2:10 `issuer`: "),
        ("[revocation]\ncrls = [\"http://a/b.crl\"]", "2:9 `crls`: `http://a/b.crl`: over http whoever stands in between can withhold"),
        ("[revocation]\ncrls = [{ url = \"https://u:p@a/b\" }]", "2:17 `url`: credentials in a URL would stand in logs"),
        ("[revocation]\ncrls = [{ ca = \"ca.pem\" }]", "2:9 `url` is missing in [[revocation.crls]]"),
        ("[revocation]\ncrls = [{ url = \"https://a/b\", interval = \"0s\" }]", "2:43 `interval`: must be 1s to 2592000s"),
        ("[revocation]\ncrls = [\"https://a/b\", { url = \"https://a//b\" }]", "2:32 this URL stands twice"),
        ("[revocation]\ncrls = [7]", "2:9 `crls` must be a list of texts or tables, not a number"),
        ("[trust]\nproxy_from = \"10.0.0.0/8\"", "2:14 `proxy_from` must be a list of texts, not text"),
        ("[monitor]\naddress = \"127.0.0.1:8443\"", "2:11 this address is taken by another listener"),
        ("[runtime]\nworkers = -1", "2:11 `workers`: must be 0 to 1024"),
        ("[runtimes]\nworkers = 1", "1:2 unknown key `runtimes` in the file"),
        (
            "[[listener]]\nname = \"a\"\naddress = \"unix:s\"\ncertificates = [{ pfx = \"s.pfx\" }]\nserve = [\"console\"]",
            "5:10 `serve`: \"console\" is not in this version",
        ),
        (
            "[[listener]]\nname = \"a\"\naddress = \"unix:s\"\ncertificates = [{ pfx = \"s.pfx\" }]\nserve = [\"proxy\", \"admin\"]",
            "2:8 listener `a` serves \"admin\" beside \"proxy\", and nothing tells them apart",
        ),
        (
            "[[listener]]\nname = \"a\"\naddress = \"unix:s\"\ncertificates = [{ pfx = \"s.pfx\" }]\nserve = [\"admin\"]\ncontrol_hosts = [\"a.test\"]",
            "6:18 `control_hosts` stands on a listener that serves no \"proxy\"",
        ),
        (
            "[[listener]]\nname = \"a\"\naddress = \"unix:s\"\ncertificates = [{ pfx = \"s.pfx\" }]\ncontrol_hosts = [\"a.test\"]",
            "5:18 `control_hosts` stands on a listener that serves only \"proxy\"",
        ),
        (
            "[[listener]]\nname = \"a\"\naddress = \"unix:s\"\ncertificates = [{ pfx = \"s.pfx\" }]\ncontrol_hosts = [\"*.a.test\"]",
            "5:18 `control_hosts`: `*.a.test` is no host: write a name without port and without `*`",
        ),
        (
            "[[listener]]\nname = \"a\"\naddress = \"unix:s\"\ncertificates = [{ pfx = \"s.pfx\" }]\nproxy_protocol = \"require\"",
            "2:8 `proxy_protocol = \"require\"`, and nobody may speak PROXY",
        ),
    ];
    for (text, wanted) in cases {
        let text = format!("{}\n{GOOD}", text.replace("PIN", &pin));
        assert!(said(&text).lines().any(|line| line.starts_with(wanted)), "`{wanted}` is not in:\n{}\n{text}", said(&text));
    }
    assert!(said(GOOD).is_empty());
    assert_eq!(said(""), "1:1 there is no [[listener]]");
}

#[test]
fn no_text_panics_the_reader() {
    // Every prefix of the example, and the example with each line taken out: whatever is said, it is said.
    for (at, _) in EXAMPLE.char_indices().step_by(97) {
        let _ = problems(&EXAMPLE[..at]).iter().map(ToString::to_string).collect::<String>();
    }
    for text in ["\u{feff}a = 1", "=", "[[", "[a]\n[a]", "a = [[[[", "\0", "a.b.c = 1\na = 2", "listener = 1", "[[listener]]\n[listener]"] {
        let _ = problems(text).iter().map(ToString::to_string).collect::<String>();
    }
}
