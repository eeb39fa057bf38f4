//! The three proxies, configured alike: client certificates of one CA, an allowlist of 1,000 looked up on each
//! request, one identity header, a plain HTTP/1.1 upstream with keep-alive, one worker, no access log.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::load;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Haproxy,
    Nginx,
    Portcullis,
}

impl Peer {
    pub(crate) const ALL: [Self; 3] = [Self::Portcullis, Self::Nginx, Self::Haproxy];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Portcullis => "portcullis",
        }
    }
}

pub(crate) struct World {
    /// Of ours: the one that is measured.
    binary: PathBuf,
    directory: tempfile::TempDir,
    upstream: SocketAddr,
    pub(crate) ca: (CertificateDer<'static>, String),
    pub(crate) server: (CertificateDer<'static>, String),
    /// The same with an RSA key.
    pub(crate) rsa: CertificateDer<'static>,
    pub(crate) clients: Vec<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
}

pub(crate) struct Running {
    child: Child,
    pub(crate) address: SocketAddr,
    /// With the RSA certificate.
    pub(crate) rsa: SocketAddr,
}

impl World {
    pub(crate) fn new(binary: PathBuf) -> Self {
        let directory = tempfile::Builder::new().prefix("side").tempdir().expect("temporary directory");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "side by side");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("key");
        let ca = params.self_signed(&key).expect("CA");
        let issuer = Issuer::from_params(&params, &key);
        let server_key = KeyPair::generate().expect("key");
        let server = CertificateParams::new(vec!["localhost".to_owned()]).expect("names").self_signed(&server_key).expect("server");
        let rsa_key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).expect("key");
        let rsa = CertificateParams::new(vec!["localhost".to_owned()]).expect("names").self_signed(&rsa_key).expect("server");
        let clients: Vec<_> = (0..16)
            .map(|number| {
                let mut params = CertificateParams::default();
                params.distinguished_name.push(DnType::CommonName, format!("client {number}"));
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
                let key = KeyPair::generate().expect("key");
                let cert = params.signed_by(&key, &issuer).expect("client");
                (cert.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).expect("key"))
            })
            .collect();
        let world = Self {
            binary,
            upstream: load::upstream(),
            ca: (ca.der().clone(), ca.pem()),
            server: (server.der().clone(), server.pem()),
            rsa: rsa.der().clone(),
            clients,
            directory,
        };
        world.write("ca.pem", &world.ca.1);
        world.write("server.pem", &world.server.1);
        world.write("server.key", &server_key.serialize_pem());
        world.write("haproxy.pem", &format!("{}{}", world.server.1, server_key.serialize_pem()));
        world.write("rsa.pem", &rsa.pem());
        world.write("rsa.key", &rsa_key.serialize_pem());
        world.write("haproxy-rsa.pem", &format!("{}{}", rsa.pem(), rsa_key.serialize_pem()));
        world.lists();
        world
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("write");
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// The allowlist, as each of the three wants it: the clients and 984 that nobody has.
    fn lists(&self) {
        let digest = |algorithm, bytes: &[u8]| {
            aws_lc_rs::digest::digest(algorithm, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let sources: Vec<Vec<u8>> =
            self.clients.iter().map(|(cert, _)| cert.to_vec()).chain((0..984u32).map(|number| number.to_be_bytes().to_vec())).collect();
        let (mut ours, mut nginx, mut haproxy) = (String::new(), String::new(), String::new());
        for (number, source) in sources.iter().enumerate() {
            let sha256 = digest(&aws_lc_rs::digest::SHA256, source);
            writeln!(ours, "sha256:{sha256} client-{number}").expect("a string");
            writeln!(nginx, "{} 1;", digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, source)).expect("a string");
            writeln!(haproxy, "{} 1", sha256.to_uppercase()).expect("a string");
        }
        self.write("allowlist.txt", &ours);
        self.write("nginx.map", &nginx);
        self.write("haproxy.map", &haproxy);
    }

    pub(crate) fn start(&self, peer: Peer) -> Running {
        let (address, rsa) = (free_address(), free_address());
        let directory = self.directory.path().display().to_string();
        let (file, text, mut command) = match peer {
            Peer::Portcullis => {
                let mut command = Command::new(&self.binary);
                command.args(["run", "-c"]).arg(self.path("portcullis.toml"));
                ("portcullis.toml", self.portcullis(address, rsa), command)
            }
            Peer::Nginx => {
                let mut command = Command::new("nginx");
                command.arg("-p").arg(&directory).arg("-c").arg(self.path("nginx.conf")).args(["-g", "daemon off;"]);
                ("nginx.conf", self.nginx(address, rsa), command)
            }
            Peer::Haproxy => {
                let mut command = Command::new("haproxy");
                command.arg("-db").arg("-f").arg(self.path("haproxy.cfg"));
                ("haproxy.cfg", self.haproxy(address, rsa), command)
            }
        };
        self.write(file, &text);
        let log = std::fs::File::create(self.path(&format!("{}.log", peer.name()))).expect("a log");
        let child = command
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", peer.name()));
        let pinned = Command::new("taskset").args(["-a", "-p", "-c", "0", &child.id().to_string()]).stdout(Stdio::null()).status();
        assert!(pinned.is_ok_and(|status| status.success()), "taskset");
        load::reachable(address);
        load::reachable(rsa);
        let running = Running { child, address, rsa };
        for pid in running.pids() {
            let _ = Command::new("taskset").args(["-a", "-p", "-c", "0", &pid.to_string()]).stdout(Stdio::null()).status();
        }
        running
    }

    fn portcullis(&self, address: SocketAddr, rsa: SocketAddr) -> String {
        format!(
            r#"
[[listener]]
name = "edge"
address = "{address}"
certificates = [{{ cert = "server.pem", key = "server.key" }}]

[[listener]]
name = "rsa"
address = "{rsa}"
certificates = [{{ cert = "rsa.pem", key = "rsa.key" }}]

[runtime]
workers = 1

[audit]
destination = "off"

[[allowlist]]
path = "allowlist.txt"
role = "Contributor"

[[route]]
name = "all"
path = "/"
upstream = "app"

[[upstream]]
name = "app"
endpoints = ["http://{}"]

[identity]
headers = ["portcullis"]
"#,
            self.upstream
        )
    }

    fn nginx(&self, address: SocketAddr, rsa: SocketAddr) -> String {
        format!(
            r#"
worker_processes 1;
pid nginx.pid;
error_log stderr error;
events {{ worker_connections 4096; multi_accept on; }}
http {{
  access_log off;
  map_hash_max_size 8192;
  map_hash_bucket_size 128;
  map $ssl_client_fingerprint $listed {{ default 0; include nginx.map; }}
  client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
  upstream app {{ server {}; keepalive 256; keepalive_requests 100000000; }}
  server {{
    listen {address} ssl http2 reuseport backlog=4096;
    ssl_certificate server.pem; ssl_certificate_key server.key;
    ssl_protocols TLSv1.3; ssl_ecdh_curve X25519; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    ssl_client_certificate ca.pem; ssl_verify_client on;
    ssl_session_cache shared:s:20m; ssl_session_tickets on;
    keepalive_requests 100000000; keepalive_timeout 300s;
    location / {{
      if ($listed = 0) {{ return 403; }}
      proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header X-Client-Fingerprint $ssl_client_fingerprint;
      proxy_buffers 16 64k; proxy_buffer_size 64k; proxy_busy_buffers_size 128k; proxy_max_temp_file_size 0;
      client_body_buffer_size 128k;
    }}
  }}
  server {{
    listen {rsa} ssl http2 reuseport backlog=4096;
    ssl_certificate rsa.pem; ssl_certificate_key rsa.key;
    ssl_protocols TLSv1.3; ssl_ecdh_curve X25519; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    ssl_client_certificate ca.pem; ssl_verify_client on;
    ssl_session_cache shared:r:20m; ssl_session_tickets on;
    keepalive_requests 100000000; keepalive_timeout 300s;
    location / {{
      if ($listed = 0) {{ return 403; }}
      proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header X-Client-Fingerprint $ssl_client_fingerprint;
      proxy_buffers 16 64k; proxy_buffer_size 64k; proxy_busy_buffers_size 128k; proxy_max_temp_file_size 0;
      client_body_buffer_size 128k;
    }}
  }}
}}
"#,
            self.upstream
        )
    }

    fn haproxy(&self, address: SocketAddr, rsa: SocketAddr) -> String {
        format!(
            r#"
global
  nbthread 1
  maxconn 4096
  tune.ssl.cachesize 100000
defaults
  mode http
  timeout client 300s
  timeout server 300s
  timeout connect 5s
  http-reuse always
frontend edge
  bind {address} ssl crt haproxy.pem ca-file ca.pem verify required alpn h2,http/1.1 curves X25519 ciphersuites TLS_AES_128_GCM_SHA256 ssl-min-ver TLSv1.3
  bind {rsa} ssl crt haproxy-rsa.pem ca-file ca.pem verify required alpn h2,http/1.1 curves X25519 ciphersuites TLS_AES_128_GCM_SHA256 ssl-min-ver TLSv1.3
  http-request set-var(txn.fp) ssl_c_der,sha2(256),hex
  http-request deny deny_status 403 unless {{ var(txn.fp),map_str(haproxy.map) -m found }}
  http-request set-header X-Client-Fingerprint %[var(txn.fp)]
  default_backend app
backend app
  server one {} pool-max-conn -1
"#,
            self.upstream
        )
    }
}

impl Running {
    /// Returns the CPU time that all processes and threads of the proxy have used.
    pub(crate) fn cpu(&self) -> Duration {
        let mut nanoseconds = 0;
        for pid in self.pids() {
            let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { continue };
            for task in tasks.flatten() {
                let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
                nanoseconds += text.split(' ').next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
            }
        }
        Duration::from_nanos(nanoseconds)
    }

    /// Returns the proportional set size of all processes of the proxy, in KiB.
    pub(crate) fn pss(&self) -> u64 {
        let of = |pid: u32| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            text.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        };
        self.pids().into_iter().filter_map(of).sum()
    }

    /// Counts the system calls of the proxy while something is done; `None` where the kernel does not let us.
    pub(crate) fn system_calls<R>(&self, during: Duration, work: impl FnOnce() -> R) -> Option<(u64, R)> {
        let pids: Vec<String> = self.pids().iter().map(ToString::to_string).collect();
        let counter = Command::new("perf")
            .args(["stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-p", &pids.join(","), "--", "sleep"])
            .arg(during.as_secs_f64().to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .ok()?;
        let done = work();
        let output = counter.wait_with_output().ok()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        text.lines().find_map(|line| line.split(',').next()?.parse::<u64>().ok()).map(|count| (count, done))
    }

    /// The process and its children: nginx works in those.
    fn pids(&self) -> Vec<u32> {
        let pid = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        std::iter::once(pid).chain(children.split_whitespace().filter_map(|child| child.parse().ok())).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}
