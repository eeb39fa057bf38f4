//! One listener's TLS policy, compiled: a rustls configuration for first tries and a twin without sessions for denied resumptions.

use super::credentials::Credentials;

/// What a listener's configuration says of TLS; plain data, made by `config`.
#[derive(Clone, Debug)]
pub struct Settings {
    pub credentials: Credentials,
    /// `require`: whoever is denied hears an alert. `request`: denials are HTTP answers.
    pub client_auth: ClientAuth,
    pub min_tls_13: bool,
    /// Empty: the defaults. rustls names.
    pub groups: Vec<String>,
    pub ciphers: Vec<String>,
    pub strict_sni: bool,
    pub send_ca_names: bool,
    /// DER of the anchors' subjects, for `send_ca_names`.
    pub ca_names: Vec<Vec<u8>>,
    pub http2: bool,
    pub resumption: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    Request,
    #[default]
    Require,
}
