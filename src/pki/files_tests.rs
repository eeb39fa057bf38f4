//! Tests of `files.rs`: files are put together here from minted certificates and keys.

use pkcs5::pbes2::Parameters;
use rcgen::{CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, SerialNumber};

use super::super::der::{self, tag};
use super::*;

struct Minted {
    der: Vec<u8>,
    pem: String,
    key: KeyPair,
}

fn mint() -> Minted {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["a.example".into()]).unwrap().self_signed(&key).unwrap();
    Minted { der: certificate.der().to_vec(), pem: block("CERTIFICATE", certificate.der()), key }
}

fn block(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn lines<T>(found: Result<Vec<Located<T>>, FileError>) -> Result<Vec<u32>, FileError> {
    found.map(|found| found.iter().map(|item| item.line).collect())
}

fn crl() -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::CrlSign];
    let crl = CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2026, 1, 2),
        next_update: rcgen::date_time_ymd(2033, 5, 18),
        crl_number: SerialNumber::from_slice(&[1]),
        issuing_distribution_point: None,
        revoked_certs: vec![],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    crl.signed_by(&Issuer::from_params(&ca, &key)).unwrap().der().to_vec()
}

fn pfx_of(minted: &Minted, password: &str) -> Vec<u8> {
    let key = p12_keystore::PrivateKey::from_der(&minted.key.serialize_der()).unwrap();
    let leaf = p12_keystore::Certificate::from_der(&minted.der).unwrap();
    let chain = p12_keystore::PrivateKeyChain::new(b"id".to_vec(), key, [leaf]);
    let mut store = p12_keystore::KeyStore::new();
    store.add_entry("own", p12_keystore::KeyStoreEntry::PrivateKeyChain(chain));
    store.writer(password).encryption_iterations(10).mac_iterations(10).write().unwrap()
}

/// `EncryptedPrivateKeyInfo` with a given cost.
fn encrypted_key(key: &KeyPair, password: &str, iterations: u32) -> Vec<u8> {
    let cheap = Parameters::generate_pbkdf2_sha256_aes256cbc(10, b"saltsalt", [7; 16]).unwrap();
    let parameters = Parameters::generate_pbkdf2_sha256_aes256cbc(iterations, b"saltsalt", [7; 16]).unwrap();
    let data = cheap.encrypt(password, &key.serialize_der()).unwrap();
    let algorithm = pkcs5::der::Encode::to_der(&pkcs5::EncryptionScheme::from(parameters)).unwrap();
    der::encode(tag::SEQUENCE, &[algorithm, der::encode(tag::OCTET_STRING, &data)].concat())
}

#[test]
fn certificates_are_found_with_their_lines() {
    let minted = mint();
    let pem = &minted.pem;
    let next = u32::try_from(pem.lines().count()).unwrap() + 1;
    for (what, bytes, expected) in [
        ("one", pem.clone().into_bytes(), vec![1]),
        ("two", format!("{pem}{pem}").into_bytes(), vec![1, next]),
        ("a byte order mark", format!("\u{feff}{pem}").into_bytes(), vec![1]),
        (
            "carriage returns and comments",
            format!("# mine\n{pem}\nthe other:\n{pem}").replace('\n', "\r\n").into_bytes(),
            vec![2, next + 3],
        ),
        ("no line feed at the end", pem.trim_end().as_bytes().to_vec(), vec![1]),
        ("the old label", pem.replace("CERTIFICATE", "X509 CERTIFICATE").into_bytes(), vec![1]),
        ("DER", minted.der.clone(), vec![0]),
    ] {
        assert_eq!(lines(certificates(&bytes, None)), Ok(expected.clone()), "{what}");
        assert_eq!(lines(pins(&bytes, None)), Ok(expected.clone()), "{what}");
        assert_eq!(lines(chain(&bytes, None)), Ok(expected), "{what}");
        assert_eq!(pins(&bytes, None).unwrap()[0].value.fingerprint, certificates(&bytes, None).unwrap()[0].value.fingerprint);
    }
}

#[test]
fn a_file_that_is_not_whole_is_an_error_and_names_the_line() {
    let minted = mint();
    let pem = &minted.pem;
    let key = minted.key.serialize_pem();
    let next = u32::try_from(pem.lines().count()).unwrap() + 1;
    for (what, bytes, line, words) in [
        ("nothing", vec![], 0, "empty"),
        ("blanks", b" \r\n\t\n".to_vec(), 0, "empty"),
        ("a byte order mark alone", "\u{feff}\n".into(), 0, "empty"),
        ("text", b"hello\nworld\n".to_vec(), 0, "no certificate"),
        ("binary rubbish", vec![7, 0, 255, 3], 1, "binary"),
        ("UTF-16", vec![0xff, 0xfe, b'-', 0], 1, "UTF-16"),
        ("zeros after a crash", [pem.as_bytes(), &[0; 512]].concat(), next, "binary"),
        ("a block cut off", pem.as_bytes()[..pem.len() - 30].to_vec(), 1, "cut off"),
        ("the second cut off", format!("{pem}{}", &pem[..200]).into_bytes(), next, "cut off"),
        ("half of a boundary", format!("{pem}-----BEGIN CERT").into_bytes(), next, "boundary"),
        ("bad base64", pem.replacen("MII", "M!I", 1).into_bytes(), 2, "base64"),
        ("not a certificate", block("CERTIFICATE", &[0x30, 0]).into_bytes(), 1, "certificate"),
        ("a good one and a bad one", format!("{pem}{}", block("CERTIFICATE", &minted.der[..99])).into_bytes(), next, "certificate"),
        ("a private key", format!("{pem}{key}").into_bytes(), next, "private key"),
        ("an encrypted private key", format!("{pem}{}", block("ENCRYPTED PRIVATE KEY", &[0x30, 0])).into_bytes(), next, "private key"),
        ("OpenSSL's own form", pem.replace("CERTIFICATE", "TRUSTED CERTIFICATE").into_bytes(), 1, "openssl x509"),
        ("a CRL", format!("{pem}{}", block("X509 CRL", &crl())).into_bytes(), next, "X509 CRL"),
        ("a label of content", format!("{pem}{}", block("c2VjcmV0", &[0])).into_bytes(), next, "PEM block"),
        ("DER cut off", minted.der[..99].to_vec(), 0, "certificate"),
        ("DER and more", [&minted.der[..], &minted.der[..]].concat(), 0, "bytes after"),
        ("a key in DER", minted.key.serialize_der(), 0, "private key"),
        ("a PFX without password", pfx_of(&minted, "x"), 0, "password"),
    ] {
        let error = certificates(&bytes, None).unwrap_err();
        assert!(error.line == line && error.why.contains(words), "{what}: {error}");
        assert_eq!(pins(&bytes, None).unwrap_err(), error, "{what}");
        assert!(!error.why.contains("c2VjcmV0") && !error.why.contains("MII"), "{what}: content is never echoed");
    }
}

#[test]
fn only_a_chain_of_our_own_may_stand_beside_its_key() {
    let minted = mint();
    let both = format!("{}{}", minted.key.serialize_pem(), minted.pem);
    assert!(certificates(both.as_bytes(), None).is_err());
    assert_eq!(chain(both.as_bytes(), None).unwrap().len(), 1);
    assert!(private_key(both.as_bytes(), None).is_ok());
    assert!(chain(minted.key.serialize_pem().as_bytes(), None).is_err(), "a key alone is no chain");
}

#[test]
fn rubbish_of_any_size_is_refused() {
    for bytes in
        [vec![b'a'; 100 << 20], vec![b' '; 100 << 20], vec![0xaa; 1 << 20], vec![0x30; 1 << 20], [0x30, 0x84, 255, 255, 255, 255].to_vec()]
    {
        assert!(certificates(&bytes, None).is_err() && pins(&bytes, None).is_err() && crls(&bytes).is_err());
        assert!(private_key(&bytes, None).is_err() && pfx(&bytes, "").is_err());
    }
}

#[test]
fn a_large_bundle_read_in_parts_is_read_as_one() {
    let minted = mint();
    let commented = format!("# one more\n{}", minted.pem);
    let count = SMALL * 2 / commented.len();
    let bundle = commented.repeat(count);
    let per = u32::try_from(commented.lines().count()).unwrap();
    let expected: Vec<u32> = (0..u32::try_from(count).unwrap()).map(|index| index * per + 2).collect();
    assert_eq!(lines(pins(bundle.as_bytes(), None)), Ok(expected));
    // Whatever part it stands in, the first error is named by its line in the whole.
    for at in [1, count / 3, count - 2] {
        let mut broken = bundle.clone().into_bytes();
        broken[commented.len() * at + 60] = b'!';
        let error = pins(&broken, None).unwrap_err();
        assert_eq!(error.line, u32::try_from(at).unwrap() * per + 3, "{error}");
    }
}

#[test]
fn crls_are_read_from_pem_and_der() {
    let der = crl();
    let pem = block("X509 CRL", &der);
    assert_eq!(lines(crls(&der)), Ok(vec![0]));
    assert_eq!(lines(crls(format!("{pem}\n{pem}").as_bytes())).unwrap().len(), 2);
    for bytes in [Vec::new(), b"text\n".to_vec(), mint().pem.into_bytes(), mint().der, pem.as_bytes()[..80].to_vec(), der[..80].to_vec()] {
        assert!(crls(&bytes).is_err());
    }
}

#[test]
fn private_keys_are_read_in_every_form() {
    let key = KeyPair::generate().unwrap();
    let der = key.serialize_der();
    let sec1 = der::encode(tag::SEQUENCE, &[&[2, 1, 1][..], &der::encode(tag::OCTET_STRING, &[7; 32])].concat());
    let pkcs1 = der::encode(tag::SEQUENCE, &[&[2, 1, 0][..], &der::encode(tag::INTEGER, &[7; 200])].concat());
    let locked = encrypted_key(&key, "opens", 10);
    let parameters = block("EC PARAMETERS", &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]);
    for (what, bytes, password, expected) in [
        ("PKCS#8", key.serialize_pem().into_bytes(), None, "PKCS#8"),
        ("PKCS#8 DER", der.clone(), None, "PKCS#8"),
        ("SEC1 behind its parameters", format!("{parameters}{}", block("EC PRIVATE KEY", &sec1)).into_bytes(), None, "SEC1"),
        ("PKCS#1", block("RSA PRIVATE KEY", &pkcs1).into_bytes(), None, "PKCS#1"),
        ("PKCS#1 DER", pkcs1, None, "PKCS#1"),
        ("encrypted PKCS#8", block("ENCRYPTED PRIVATE KEY", &locked).into_bytes(), Some("opens"), "PKCS#8"),
        ("encrypted PKCS#8 DER", locked.clone(), Some("opens"), "PKCS#8"),
    ] {
        let read = private_key(&bytes, password).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(format!("{read:?}"), format!("PrivateKey({expected})"), "{what}: the kind and nothing else");
    }
    for (what, bytes, password, words) in [
        ("none", mint().pem.into_bytes(), None, "no private key"),
        ("two", key.serialize_pem().repeat(2).into_bytes(), None, "second"),
        ("no password", block("ENCRYPTED PRIVATE KEY", &locked).into_bytes(), None, "password"),
        ("a wrong password", block("ENCRYPTED PRIVATE KEY", &locked).into_bytes(), Some("closed"), "wrong password"),
        ("an empty password", locked.clone(), Some(""), "wrong password"),
        ("a cost of years", encrypted_key(&key, "opens", 90_000_000), Some("opens"), "cost"),
        ("rubbish", block("PRIVATE KEY", &[0x30, 0]).into_bytes(), None, "malformed"),
        ("rubbish in OpenSSH's form", block("OPENSSH PRIVATE KEY", &[0]).into_bytes(), None, "malformed"),
        ("a certificate", mint().der, None, "not a private key"),
    ] {
        let error = private_key(&bytes, password).unwrap_err();
        assert!(error.why.contains(words), "{what}: {error}");
    }
}

#[test]
fn a_pfx_opens_with_its_password_only() {
    let minted = mint();
    let bytes = pfx_of(&minted, "opens");
    let (certificates_read, key) = pfx(&bytes, "opens").unwrap();
    assert_eq!(&*certificates_read[0].der, &minted.der[..]);
    assert_eq!(format!("{key:?}"), "PrivateKey(PKCS#8)");
    assert_eq!(lines(certificates(&bytes, Some("opens"))), Ok(vec![0]));
    assert_eq!(lines(pins(&bytes, Some("opens"))), Ok(vec![0]));
    assert!(private_key(&bytes, Some("opens")).is_ok());
    for password in ["", "closed"] {
        let error = pfx(&bytes, password).unwrap_err();
        assert!(error.why.contains("wrong password"), "{error}");
        assert!(certificates(&bytes, Some(password)).is_err() && private_key(&bytes, Some(password)).is_err());
    }
    for cut in (0..bytes.len()).step_by(7) {
        assert!(pfx(&bytes[..cut], "opens").is_err(), "cut at {cut}");
    }
    let large = [&bytes[..], &vec![0; 1 << 20]].concat();
    assert!(pfx(&large, "opens").unwrap_err().why.contains("1 MiB"));
}

/// Runs a tool in a directory; it has to succeed.
fn tool(directory: &std::path::Path, command: &str) {
    let out = std::process::Command::new("sh").args(["-ec", command]).current_dir(directory).output().unwrap();
    assert!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn keys_are_read_as_openssl_and_ssh_keygen_write_them() {
    let directory = tempfile::tempdir().unwrap();
    let make = |command: &str| {
        tool(directory.path(), command);
        std::fs::read(directory.path().join("key")).unwrap()
    };
    let signs = |key: &PrivateKey| {
        let der = key.der().clone_key();
        rustls::crypto::aws_lc_rs::sign::any_supported_type(&der).map(|key| key.algorithm()).map_err(|error| error.to_string())
    };
    use rustls::SignatureAlgorithm::{ECDSA, ED25519, RSA};
    for (command, kind) in [
        ("openssl ecparam -name secp384r1 -genkey -out key", ECDSA),
        ("openssl genrsa -traditional -out key 2048", RSA),
        ("openssl genpkey -algorithm ed25519 -out key", ED25519),
        (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x -keyout a -out b 2>/dev/null; cat b a > key",
            ECDSA,
        ),
        ("ssh-keygen -q -t ed25519 -N '' -f key", ED25519),
        ("rm -f key; ssh-keygen -q -t rsa -b 2048 -N '' -f key", RSA),
        ("rm -f key; ssh-keygen -q -t rsa -b 3072 -N '' -f key", RSA),
        ("rm -f key; ssh-keygen -q -t ecdsa -b 256 -N '' -f key", ECDSA),
        ("rm -f key; ssh-keygen -q -t ecdsa -b 384 -N '' -f key", ECDSA),
        ("rm -f key; ssh-keygen -q -t ecdsa -b 521 -N '' -f key", ECDSA),
    ] {
        let key = private_key(&make(&format!("rm -f key; {command}")), None).unwrap_or_else(|error| panic!("{command}: {error}"));
        assert_eq!(signs(&key), Ok(kind), "{command}");
    }
    for (command, password) in [
        ("openssl genpkey -algorithm ed25519 -aes-256-cbc -pass 'pass:p@$$ w' -out key", "p@$$ w"),
        ("openssl ecparam -name prime256v1 -genkey -out a; openssl pkcs8 -topk8 -v2 des3 -in a -passout pass:x -out key", "x"),
        (
            "openssl req -x509 -newkey rsa:2048 -passout pass:x -subj /CN=x -keyout a -out b 2>/dev/null; openssl pkcs12 -export -in b -inkey a -passin pass:x -passout pass:y -out key",
            "y",
        ),
        ("rm -f key; ssh-keygen -q -t ed25519 -N 'p@$$ w' -f key", "p@$$ w"),
        ("rm -f key; ssh-keygen -q -t ed25519 -N secret -m PEM -f key", "secret"),
        ("rm -f key; ssh-keygen -q -t rsa -b 2048 -N secret -Z aes256-cbc -f key", "secret"),
        ("rm -f key; ssh-keygen -q -t ecdsa -b 521 -N secret -Z aes128-ctr -a 1 -f key", "secret"),
        ("rm -f key; ssh-keygen -q -t ecdsa -b 256 -N secret -Z aes128-cbc -a 2 -f key", "secret"),
    ] {
        let file = make(command);
        for none in [None, Some("")] {
            assert!(private_key(&file, none).is_err(), "{command}: opened by nothing");
        }
        assert!(private_key(&file, Some(password)).is_ok_and(|key| signs(&key).is_ok()), "{command}");
        assert!(private_key(&file, Some("wrong")).unwrap_err().why.contains("wrong password"), "{command}");
    }
    for (command, words) in [
        ("rm -f key; ssh-keygen -q -t ed25519 -N secret -Z aes256-gcm@openssh.com -f key", "ssh-keygen -p -Z aes256-ctr"),
        ("rm -f key; ssh-keygen -q -t ed25519 -N secret -Z chacha20-poly1305@openssh.com -f key", "ssh-keygen -p -Z aes256-ctr"),
        ("rm -f key; ssh-keygen -q -t ed25519 -N secret -Z aes192-ctr -f key", "ssh-keygen -p -Z aes256-ctr"),
        (
            "openssl ecparam -name prime256v1 -genkey -out a; openssl ec -in a -aes128 -passout pass:secret -out key 2>/dev/null",
            "openssl pkcs8 -topk8",
        ),
    ] {
        let error = private_key(&make(command), Some("secret")).unwrap_err();
        assert!(error.why.contains(words), "{command}: {error}");
    }
}

#[test]
fn a_pfx_of_old_is_read_or_told_how_to_convert() {
    let directory = tempfile::tempdir().unwrap();
    tool(directory.path(), "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x -keyout k -out c 2>/dev/null");
    let make = |options: &str| {
        tool(directory.path(), &format!("openssl pkcs12 -export -in c -inkey k -passout 'pass:p@$$ w' {options} -out pfx"));
        std::fs::read(directory.path().join("pfx")).unwrap()
    };
    for options in ["", "-legacy", "-legacy -descert", "-certpbe NONE", "-keypbe NONE -certpbe NONE", "-nomac", "-macalg sha512"] {
        let bytes = make(options);
        let (chain, _) = pfx(&bytes, "p@$$ w").unwrap_or_else(|error| panic!("{options}: {error}"));
        assert_eq!(chain.len(), 1, "{options}");
        assert_eq!(members(&bytes, Some("p@$$ w")).unwrap().len(), 1);
    }
    for (options, method) in [
        ("-legacy -certpbe PBE-SHA1-RC4-128", "128-bit RC4"),
        ("-legacy -certpbe PBE-SHA1-RC4-40", "40-bit RC4"),
        ("-legacy -certpbe PBE-SHA1-RC2-128", "128-bit RC2"),
        ("-legacy -keypbe PBE-SHA1-2DES", "3DES with two keys"),
    ] {
        let error = pfx(&make(options), "p@$$ w").unwrap_err();
        assert!(error.why.contains(method) && error.why.contains("openssl pkcs12 -legacy"), "{options}: {error}");
        assert_eq!(pfx(&make(options), "wrong").unwrap_err().why, "the PFX does not open: wrong password?", "{options}");
    }
    // The commands that the refusal names do what it says.
    make("-legacy -certpbe PBE-SHA1-RC4-128");
    let export = "openssl pkcs12 -export -macalg sha256 -in all.pem -passout pass:new -out new";
    tool(directory.path(), &format!("openssl pkcs12 -legacy -in pfx -passin 'pass:p@$$ w' -nodes -out all.pem; {export}"));
    assert!(pfx(&std::fs::read(directory.path().join("new")).unwrap(), "new").is_ok());
}

#[test]
fn a_pfx_of_several_lists_its_members_and_not_the_issuers_that_came_along() {
    let directory = tempfile::tempdir().unwrap();
    let self_signed = |name: &str, subject: &str| {
        let key = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30";
        tool(directory.path(), &format!("{key} -subj '/CN={subject}' -keyout {name}.key -out {name}.pem 2>/dev/null"));
    };
    let issued = |name: &str, issuer: &str| {
        let request =
            format!("openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key 2>/dev/null");
        tool(directory.path(), &format!("{request} | openssl x509 -req -CA {issuer}.pem -CAkey {issuer}.key -out {name}.pem 2>/dev/null"));
    };
    self_signed("server", "server");
    issued("client", "server");
    issued("second", "server");
    self_signed("twin1", "twin");
    self_signed("twin2", "twin");
    let fingerprint = |name: &str| {
        let pem = std::fs::read(directory.path().join(format!("{name}.pem"))).unwrap();
        certificates(&pem, None).unwrap().remove(0).value.fingerprint
    };
    for (what, key, others, expected) in [
        // As RavenDB makes them: the server's key signed the client, and is no CA.
        ("a client and the server that signed it", "client", vec!["server"], vec!["client"]),
        ("two clients of one server", "client", vec!["server", "second"], vec!["client", "second"]),
        ("two of one name, each signed by itself", "twin1", vec!["twin2"], vec!["twin1", "twin2"]),
        ("a key's own certificate, though it signed another", "server", vec!["client"], vec!["server", "client"]),
        ("one alone", "server", vec![], vec!["server"]),
    ] {
        let all = others.iter().fold(format!("cat {key}.key {key}.pem"), |all, other| format!("{all} {other}.pem"));
        tool(directory.path(), &format!("{all} | openssl pkcs12 -export -passout pass:x -out pfx"));
        let bytes = std::fs::read(directory.path().join("pfx")).unwrap();
        assert_eq!(certificates(&bytes, Some("x")).unwrap().len(), others.len() + 1, "{what}: all of them");
        let mut expected: Vec<_> = expected.into_iter().map(fingerprint).collect();
        let mut listed: Vec<_> = members(&bytes, Some("x")).unwrap().iter().map(|found| found.value.fingerprint).collect();
        let mut pinned: Vec<_> = pins(&bytes, Some("x")).unwrap().iter().map(|found| found.value.fingerprint).collect();
        [&mut expected, &mut listed, &mut pinned].into_iter().for_each(|list| list.sort());
        assert_eq!(listed, expected, "{what}");
        assert_eq!(pinned, expected, "{what}");
    }
}
