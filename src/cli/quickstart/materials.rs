//! What quickstart puts into its directory: certificates as the Azure page's two OpenSSL commands make them, an
//! allowlist, a configuration. Keys are for their owner's eyes; what is there and still good is kept.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};

use crate::cli::Failure;
use crate::clock;
use crate::pki::files;

/// The directory, laid out.
#[derive(Debug)]
pub(super) struct Materials {
    pub(super) directory: PathBuf,
    /// What was done beyond keeping what was there.
    pub(super) notes: Vec<String>,
}

/// Whom a certificate is for.
#[derive(Clone, Copy)]
enum Holder {
    /// Of the proxy: P-256, for localhost.
    Server,
    /// Of a client: P-384 with ECDSA-SHA384, self-signed, CA:TRUE, neither key usage nor EKU.
    Client(&'static str),
}

impl Materials {
    /// Lays the directory out. One that holds something else is left alone.
    pub(super) fn lay_out(directory: PathBuf) -> Result<Self, Failure> {
        let is_new = match fs::read_dir(&directory) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
                made.map_err(|error| Failure::file(&directory, error))?;
                true
            }
            Err(error) => return Err(Failure::file(&directory, error)),
        };
        if !is_new && !is_ours(&directory) {
            return Err(Failure::file(&directory, "not empty, and not made by quickstart; name another directory"));
        }
        let mut materials = Self { directory, notes: Vec::new() };
        // Before everything else: a run that is interrupted must find its own directory again.
        materials.write(CONFIG, 0o600, MARK)?;
        materials.identity("server", Holder::Server)?;
        materials.identity("client", Holder::Client("ACL Client Cert"))?;
        materials.identity("stranger", Holder::Client("Stranger"))?;
        materials.list()?;
        Ok(materials)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes the configuration: anew each time, since the ports may differ.
    pub(super) fn configure(&self, edge: SocketAddr, monitor: SocketAddr, upstream: &str) -> Result<PathBuf, Failure> {
        self.write(CONFIG, 0o600, &configuration(edge, monitor, upstream))?;
        Ok(self.path(CONFIG))
    }

    /// Makes a certificate and its key, unless both are there and the certificate lasts.
    fn identity(&mut self, name: &str, holder: Holder) -> Result<(), Failure> {
        let (certificate, key) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        if certificate.exists() && key.exists() {
            let bytes = fs::read(&certificate).map_err(|error| Failure::file(&certificate, error))?;
            let found = files::certificates(&bytes, None).map_err(|error| Failure::file(&certificate, error.why))?;
            if found.iter().all(|located| located.value.not_after > clock::wall().as_secs()) {
                return Ok(());
            }
            self.notes.push(format!("{name}.pem had expired: made a new one"));
        }
        let made = make(holder).map_err(|error| Failure::local(format_args!("cannot make {}: {error}", certificate.display())))?;
        self.write(&format!("{name}.key"), 0o600, &made.key)?;
        self.write(&format!("{name}.pem"), 0o644, &made.certificate)
    }

    /// Lists the client: a file in the allowlist directory is a principal.
    fn list(&mut self) -> Result<(), Failure> {
        let allowlist = self.path("allowlist");
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&allowlist);
        made.map_err(|error| Failure::file(&allowlist, error))?;
        let client = self.path("client.pem");
        let pem = fs::read_to_string(&client).map_err(|error| Failure::file(&client, error))?;
        self.write(LISTED, 0o644, &pem)
    }

    /// Writes a file whole, with this mode from its first byte on: beside its place, then renamed.
    fn write(&self, name: &str, mode: u32, content: &str) -> Result<(), Failure> {
        let path = self.path(name);
        // Hidden, so that an allowlist directory does not take it for a certificate.
        let temporary = path.with_file_name(format!(".{}.new", path.file_name().unwrap_or_default().display()));
        let written = match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(&temporary)
                .and_then(|mut file| file.write_all(content.as_bytes()))
                .and_then(|()| fs::rename(&temporary, &path)),
        };
        written.map_err(|error| Failure::file(&path, error))
    }
}

fn is_ours(directory: &Path) -> bool {
    fs::read_to_string(directory.join(CONFIG)).is_ok_and(|config| config.starts_with(MARK))
}

struct Made {
    certificate: String,
    key: String,
}

fn make(holder: Holder) -> Result<Made, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let algorithm = match holder {
        Holder::Server => {
            params = CertificateParams::new(["localhost", "127.0.0.1", "::1"].map(str::to_owned))?;
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, "localhost");
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            &rcgen::PKCS_ECDSA_P256_SHA256
        }
        Holder::Client(name) => {
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.use_authority_key_identifier_extension = true;
            &rcgen::PKCS_ECDSA_P384_SHA384
        }
    };
    let now = rcgen::date_time_ymd(1970, 1, 1) + clock::wall();
    (params.not_before, params.not_after) = (now - BACKDATED, now + LIFETIME);
    let key = KeyPair::generate_for(algorithm)?;
    Ok(Made { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
}

fn configuration(edge: SocketAddr, monitor: SocketAddr, upstream: &str) -> String {
    format!(
        r#"{MARK}
# Every key there is: config.example.toml.

[[listener]]
name = "edge"
address = "{edge}"
certificates = [{{ cert = "server.pem", key = "server.key" }}]

[[allowlist]]                 # each file in it is a principal: take one away, and its holder is out
path = "allowlist/"
role = "Contributor"

[[route]]
name = "echo"
path = "/"
upstream = "echo"
upgrades = ["websocket"]

[[upstream]]
name = "echo"
endpoints = ["{upstream}"]

[identity]                    # what the upstream is told of the client
headers = ["xfcc", "rfc9440", "portcullis"]

[monitor]                     # /metrics /livez /readyz /status
address = "{monitor}"
names = true

[audit]
destination = "access.log"    # a line of JSON for each request
expiry_notice = [7, 1]        # days: what is made here lives for 30
"#
    )
}

pub(super) const CONFIG: &str = "portcullis.toml";
pub(super) const LISTED: &str = "allowlist/acl-client.pem";
const MARK: &str = "# Made by `portcullis quickstart`, anew on each run: copy it elsewhere to change it.";
const LIFETIME: Duration = Duration::from_secs(30 * 86_400);
/// For clocks a little behind.
const BACKDATED: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::pki::Certificate;
    use crate::pki::certificate::KeyKind;

    fn certificate(materials: &Materials, name: &str) -> Certificate {
        files::certificates(&fs::read(materials.path(name)).unwrap(), None).unwrap().remove(0).value
    }

    #[test]
    fn the_client_is_as_the_azure_pages_commands_make_it() {
        let directory = tempfile::tempdir().unwrap();
        let materials = Materials::lay_out(directory.path().join("q")).unwrap();
        let client = certificate(&materials, "client.pem");
        assert_eq!(client.key, KeyKind::Ec { bits: 384 });
        assert!(client.is_self_issued() && client.basic_constraints.is_some_and(|constraints| constraints.ca));
        assert!(client.key_usage.is_none() && client.extended_key_usage.is_none());
        assert_eq!(client.not_after - client.not_before, 30 * 86_400 + 60);
        assert_ne!(client.fingerprint, certificate(&materials, "stranger.pem").fingerprint);
        assert_eq!(client.fingerprint, certificate(&materials, LISTED).fingerprint);
    }

    #[test]
    fn keys_are_for_their_owner_and_kept_by_the_next_run() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("q");
        let materials = Materials::lay_out(path.clone()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&materials.path("client.key")), mode(&materials.path("server.key"))), (0o700, 0o600, 0o600));
        let key = fs::read(materials.path("client.key")).unwrap();
        fs::remove_file(materials.path(LISTED)).unwrap();
        let again = Materials::lay_out(path).unwrap();
        assert_eq!(fs::read(again.path("client.key")).unwrap(), key);
        assert!(again.path(LISTED).exists() && again.notes.is_empty());
    }

    #[test]
    fn somebody_elses_directory_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("thesis.tex"), "").unwrap();
        let failure = Materials::lay_out(directory.path().to_owned()).unwrap_err();
        assert!(failure.message.contains("not empty"), "{failure}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
