//! Certificates, made on the spot. `TestCa` signs; `Leaf` says what goes in; `Identity` is what a client holds.

use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::{Duration, OffsetDateTime};

/// A leaf, what comes along with it, and its key: what a client holds.
#[derive(Clone)]
pub struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key_pem: String,
    /// What it was made from: what it signs bears this name.
    params: CertificateParams,
}

impl Identity {
    /// Returns the leaf alone, PEM.
    pub fn leaf_pem(&self) -> String {
        pem_of(&self.chain[0])
    }

    /// Returns the whole chain, PEM, leaf first.
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(pem_of).collect()
    }

    /// Returns the leaf's DER.
    pub fn leaf(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    /// Returns the fingerprint of the leaf, 64 lower-case hex digits.
    pub fn fingerprint(&self) -> String {
        hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.leaf()).as_ref())
    }

    /// Returns the key for rustls.
    pub fn key(&self) -> PrivateKeyDer<'static> {
        use rustls_pki_types::pem::PemObject;
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).expect("a key made in this test")
    }

    /// Returns the key for rcgen, whatever form openssl wrote it in.
    fn signing_key(&self) -> KeyPair {
        KeyPair::try_from(&self.key()).expect("a key made in this test")
    }

    /// Writes `NAME.pem` (chain) and `NAME.key`, for curl and openssl.
    pub fn write(&self, directory: &Path, name: &str) -> (PathBuf, PathBuf) {
        let (cert, key) = (directory.join(format!("{name}.pem")), directory.join(format!("{name}.key")));
        std::fs::write(&cert, self.chain_pem()).expect("write certificate");
        std::fs::write(&key, &self.key_pem).expect("write key");
        (cert, key)
    }

    /// Makes the certificate of Azure's page with its two OpenSSL commands, as they stand there.
    pub fn seed(common_name: &str) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let run = |arguments: &[&str]| {
            let output = Command::new("openssl")
                .args(arguments)
                .current_dir(directory.path())
                .output()
                .expect("openssl is installed (make test names it)");
            assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        run(&["ecparam", "-out", "privkey_name.pem", "-name", "secp384r1", "-genkey"]);
        let subject = format!("-subj=/CN={common_name}");
        run(&["req", "-new", "-key", "privkey_name.pem", "-x509", "-nodes", "-days", "365", "-out", "cert.pem", "-sha384", &subject]);
        Self::read(common_name, &directory.path().join("cert.pem"), &directory.path().join("privkey_name.pem"))
    }

    /// Reads what openssl wrote.
    pub fn read(common_name: &str, cert: &Path, key: &Path) -> Self {
        use rustls_pki_types::pem::PemObject;
        let chain = CertificateDer::pem_file_iter(cert).expect("readable").map(|der| der.expect("PEM")).collect();
        Self { chain, key_pem: std::fs::read_to_string(key).expect("readable"), params: Leaf::new(common_name).params }
    }

    /// The same certificate in the hands of somebody without its key.
    pub fn stolen_by(&self, thief: &Identity) -> Self {
        Self { key_pem: thief.key_pem.clone(), ..self.clone() }
    }

    /// Adds certificates after the leaf.
    pub fn with_chain(mut self, more: impl IntoIterator<Item = CertificateDer<'static>>) -> Self {
        self.chain.extend(more);
        self
    }
}

/// What goes into a certificate. Starts as an ordinary client leaf, valid for a day around now.
pub struct Leaf {
    pub params: CertificateParams,
    key: Option<(KeyPair, String)>,
}

impl Leaf {
    pub fn new(common_name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = OffsetDateTime::now_utc() - Duration::hours(12);
        params.not_after = OffsetDateTime::now_utc() + Duration::hours(12);
        Self { params, key: None }
    }

    pub fn organizational_unit(mut self, unit: &str) -> Self {
        self.params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
        self
    }

    pub fn dns(mut self, name: &str) -> Self {
        self.params.subject_alt_names.push(SanType::DnsName(name.try_into().expect("IA5")));
        self
    }

    pub fn email(mut self, name: &str) -> Self {
        self.params.subject_alt_names.push(SanType::Rfc822Name(name.try_into().expect("IA5")));
        self
    }

    pub fn uri(mut self, name: &str) -> Self {
        self.params.subject_alt_names.push(SanType::URI(name.try_into().expect("IA5")));
        self
    }

    pub fn extension(mut self, oid: &[u64], der: &[u8]) -> Self {
        self.params.custom_extensions.push(CustomExtension::from_oid_content(oid, der.to_vec()));
        self
    }

    pub fn serial(mut self, serial: &[u8]) -> Self {
        self.params.serial_number = Some(SerialNumber::from_slice(serial));
        self
    }

    pub fn expired(mut self) -> Self {
        self.params.not_before = OffsetDateTime::now_utc() - Duration::days(30);
        self.params.not_after = OffsetDateTime::now_utc() - Duration::days(1);
        self
    }

    pub fn not_yet_valid(mut self) -> Self {
        self.params.not_before = OffsetDateTime::now_utc() + Duration::days(1);
        self.params.not_after = OffsetDateTime::now_utc() + Duration::days(30);
        self
    }

    /// Ends in so many seconds.
    pub fn expires_in(mut self, seconds: i64) -> Self {
        self.params.not_after = OffsetDateTime::now_utc() + Duration::seconds(seconds);
        self
    }

    pub fn no_eku(mut self) -> Self {
        self.params.extended_key_usages.clear();
        self
    }

    pub fn server_eku_only(mut self) -> Self {
        self.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self
    }

    pub fn ca(mut self) -> Self {
        self.params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        self
    }

    /// Keeps the key of an earlier identity: a renewal.
    pub fn key_of(mut self, identity: &Identity) -> Self {
        self.key = Some((identity.signing_key(), identity.key_pem.clone()));
        self
    }

    pub fn p384(mut self) -> Self {
        self.key = Some(with_pem(KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("key")));
        self
    }

    fn key_pair(&mut self) -> (KeyPair, String) {
        self.key.take().unwrap_or_else(|| with_pem(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key")))
    }

    /// Signs it with its own key.
    pub fn self_signed(mut self) -> Identity {
        let (key, key_pem) = self.key_pair();
        let certificate = self.params.self_signed(&key).expect("self-signed");
        Identity { chain: vec![certificate.der().clone()], key_pem, params: self.params }
    }

    /// Signs it with the key of another identity, whatever that one is allowed to sign.
    pub fn signed_with(mut self, issuer: &Identity) -> Identity {
        let (key, key_pem) = self.key_pair();
        let issuer_key = issuer.signing_key();
        let signer = Issuer::from_params(&issuer.params, issuer_key);
        let certificate = self.params.signed_by(&key, &signer).expect("signed");
        Identity { chain: vec![certificate.der().clone()], key_pem, params: self.params }
    }
}

fn with_pem(key: KeyPair) -> (KeyPair, String) {
    let pem = key.serialize_pem();
    (key, pem)
}

/// A certificate authority of this test.
pub struct TestCa {
    pub identity: Identity,
}

impl TestCa {
    pub fn new(common_name: &str) -> Self {
        Self { identity: Self::params(common_name).self_signed() }
    }

    /// The same name on another key.
    pub fn twin(common_name: &str) -> Self {
        Self::new(common_name)
    }

    pub fn params(common_name: &str) -> Leaf {
        let mut leaf = Leaf::new(common_name).ca().no_eku();
        leaf.params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        leaf
    }

    pub fn intermediate(&self, common_name: &str) -> Self {
        Self { identity: Self::params(common_name).signed_with(&self.identity) }
    }

    pub fn issue(&self, leaf: Leaf) -> Identity {
        leaf.signed_with(&self.identity)
    }

    pub fn pem(&self) -> String {
        self.identity.leaf_pem()
    }

    /// Makes a CRL, PEM: its number, the serials on it, and how many hours it is good for (negative: stale).
    pub fn crl(&self, number: u64, serials: &[&[u8]], hours: i64) -> String {
        use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams};
        let key = self.identity.signing_key();
        let issuer = Issuer::from_params(&self.identity.params, key);
        let now = OffsetDateTime::now_utc();
        let params = CertificateRevocationListParams {
            this_update: now - Duration::hours(100),
            next_update: now + Duration::hours(hours),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: serials
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from_slice(serial),
                    revocation_time: now - Duration::hours(101),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&issuer).expect("CRL").pem().expect("PEM")
    }
}

/// A server's identity for `localhost` and 127.0.0.1.
pub fn server(names: &[&str]) -> Identity {
    let mut leaf = Leaf::new("portcullis test server").no_eku();
    for name in names {
        leaf = leaf.dns(name);
    }
    leaf.params.subject_alt_names.push(SanType::IpAddress(std::net::Ipv4Addr::LOCALHOST.into()));
    leaf.self_signed()
}

pub fn pem_of(der: &CertificateDer<'_>) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("base64")).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
