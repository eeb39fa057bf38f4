//! Which proxy is meant, as arguments say it: the one of a configuration, or one elsewhere, with what it is shown.

use std::path::{Path, PathBuf};

use http::HeaderValue;
use rustls_pki_types::CertificateDer;

use super::{Remote, Way};
use crate::cli::{Failure, input, load};
use crate::pki::{Certificate, files};
use crate::tls::KeyPair;
use crate::upstream::{Tls, Url, UrlError};
use crate::{admin, config};

/// Which proxy is meant.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Target {
    #[command(flatten)]
    pub(in crate::cli) config: load::Config,
    /// A proxy elsewhere, by the URL of a listener that serves `admin`; without it the one of this configuration, on this machine
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// Our certificate, PEM or PFX
    #[arg(long, value_name = "FILE", requires = "admin")]
    cert: Option<PathBuf>,
    /// Its key; without it the key is in the file of the certificate
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// What the proxy's certificate is verified by; without it what the system trusts
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) cacert: Option<PathBuf>,
    /// File whose first line is a bearer token, in place of a certificate or beside the one that it is bound to: the listener has to
    /// have `tokens = true`
    #[arg(long, value_name = "FILE", requires = "admin")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    password: input::CertPassword,
}

/// A proxy elsewhere, for a command that reads files here otherwise: its `--key` is the key of `--cert` then.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Elsewhere {
    /// Ask a proxy, by the URL of a listener that serves `admin`, in place of reading files here
    #[arg(long, value_name = "URL", conflicts_with_all = ["path", "state"])]
    admin: Option<String>,
    /// Our certificate, PEM or PFX
    #[arg(long, value_name = "FILE", requires = "admin")]
    cert: Option<PathBuf>,
    /// What the proxy's certificate is verified by; without it what the system trusts
    #[arg(long, value_name = "FILE", requires = "admin")]
    cacert: Option<PathBuf>,
    /// File whose first line is a bearer token, in place of a certificate or beside the one that it is bound to
    #[arg(long, value_name = "FILE", requires = "admin")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    password: input::CertPassword,
}

impl Elsewhere {
    /// Finds the way, where a proxy is meant.
    pub(in crate::cli) fn remote(&self, config: &load::Config, key: Option<&str>) -> Result<Option<Remote>, Failure> {
        let Self { admin, cert, cacert, token_file, password } = self;
        if admin.is_none() {
            return Ok(None);
        }
        let target = Target {
            config: config.clone(),
            admin: admin.clone(),
            cert: cert.clone(),
            key: key.map(PathBuf::from),
            cacert: cacert.clone(),
            token_file: token_file.clone(),
            password: password.clone(),
        };
        target.remote().map(Some)
    }
}

impl Target {
    /// Another machine's proxy is meant, maybe: the files here say nothing of it.
    pub(in crate::cli) fn is_elsewhere(&self) -> bool {
        self.admin.is_some()
    }

    /// Finds the way; calls nobody yet.
    pub(in crate::cli) fn remote(&self) -> Result<Remote, Failure> {
        let way = match &self.admin {
            Some(text) => Way::Tls(Box::new((url(text).map_err(|why| Failure::usage(format_args!("--admin {why}")))?, self.tls()?))),
            None if self.cacert.is_some() => return Err(Failure::usage("--cacert goes with --admin: the control socket is not TLS")),
            None => Way::Local(self.socket()?),
        };
        let token = self.token_file.as_deref().map(bearer).transpose()?;
        Ok(Remote { token, ..Remote::by(way)? })
    }

    fn socket(&self) -> Result<PathBuf, Failure> {
        let path = &self.config.path;
        // Leniently: a configuration that is broken just now is when a reload's answer is wanted most.
        match config::state_directory(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::file(path, format_args!("is not there: {}", config::NO_CONFIGURATION)),
            _ => Failure::file(path, error),
        })? {
            Some(state) => Ok(admin::socket_path(&state)),
            None => Err(Failure::usage("[store] path is \"\": there is no control socket; use --admin")),
        }
    }

    fn tls(&self) -> Result<Tls, Failure> {
        let password = self.cert.as_ref().map(|_| self.password.read()).transpose()?.flatten();
        let password = password.as_ref().map(|password| password.as_str());
        let ca = trusted(self.cacert.as_deref())?;
        let client = self.cert.as_ref().map(|cert| key_pair(cert, self.key.as_deref(), password)).transpose()?;
        Ok(Tls { ca, client: client.map(|pair| pair.certified), server_name: None })
    }
}

/// Reads a token, as a request shows it.
fn bearer(path: &Path) -> Result<HeaderValue, Failure> {
    let line = input::first_line(path)?;
    let mut value =
        HeaderValue::try_from(format!("Bearer {}", line.trim())).map_err(|_| Failure::file(path, "its first line is no bearer token"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Reads the URL of a proxy.
pub(in crate::cli) fn url(text: &str) -> Result<Url, String> {
    text.parse().map_err(|why| match why {
        UrlError::NotEncrypted | UrlError::UnknownScheme => format!("{text}: write it as https://HOST:PORT"),
        why => format!("{text}: {why}"),
    })
}

/// Reads what a proxy's certificate is verified by; without a file it is what the system trusts.
pub(in crate::cli) fn trusted(path: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let Some(path) = path else { return Ok(Vec::new()) };
    let found = files::certificates(&input::read(path)?, None).map_err(|error| input::file_error(path, &error))?;
    Ok(found.into_iter().map(|located| located.value.der).collect())
}

/// Reads a certificate and its key: from two files, from one, or from a PFX.
fn key_pair(cert: &Path, key: Option<&Path>, password: Option<&str>) -> Result<KeyPair, Failure> {
    let bytes = input::read(cert)?;
    let (chain, key): (Vec<Certificate>, _) = match key {
        None if !bytes.starts_with(b"-----") => {
            files::pfx(&bytes, password.unwrap_or_default()).map_err(|error| input::file_error(cert, &error))?
        }
        _ => {
            let chain = files::chain(&bytes, password).map_err(|error| input::file_error(cert, &error))?;
            let key_file = key.unwrap_or(cert);
            let key = files::private_key(&input::read(key_file)?, password).map_err(|error| input::file_error(key_file, &error))?;
            (chain.into_iter().map(|located| located.value).collect(), key)
        }
    };
    KeyPair::new(&chain, key).map_err(|error| Failure::file(cert, error))
}
