//! The block that comes from the leaf and its admission: rendered once, written to each request with one
//! copy. What depends on the request (address, a node's XFCC) is added then.

use http::header::{HeaderName, HeaderValue};

use super::xfcc::{self, Element, Long};
use super::{CLIENT_CERT, CLIENT_CERT_CHAIN, Dialect, Settings, XFCC, rfc9440, text};
use crate::admission::{Admission, Basis, Clearance};
use crate::message::Fields;
use crate::pki::Certificate;

/// The longest field that we write: half of what upstreams take as a whole head.
const MAX_FIELD: usize = 16 * 1024;

/// The identity headers of one admitted client on one route.
#[derive(Debug)]
pub struct Rendered {
    fields: Fields,
    /// Ours, for a node: it may have to follow the node's.
    xfcc: Option<HeaderValue>,
    /// The client is a peer gateway: its XFCC stays, and ours follows.
    appends: bool,
    tells_address: bool,
    left_out: Vec<(Dialect, &'static str)>,
}

impl Rendered {
    /// Renders. Requests come here through `Remembered`, which takes a grant; benches and fuzz targets have none.
    /// `leaf` is `None` where nothing of it may be told (an SPKI pin proves a key and nothing else); `by`: the URI SANs of
    /// our own certificate.
    pub fn new(settings: &Settings, admission: &Admission, leaf: Option<&Certificate>, by: &[Box<str>]) -> Self {
        let mut rendered = Self {
            fields: Fields::default(),
            xfcc: None,
            appends: settings.dialects.contains(&Dialect::Xfcc) && admission.principal.terms.clearance == Clearance::Node,
            tells_address: settings.dialects.contains(&Dialect::Portcullis),
            left_out: Vec::new(),
        };
        for dialect in &settings.dialects {
            match dialect {
                Dialect::Portcullis => rendered.portcullis(admission, leaf),
                Dialect::Rfc9440 => rendered.rfc9440(admission, leaf),
                Dialect::Xfcc => rendered.xfcc(settings, admission, leaf, by),
            }
        }
        rendered.say_what_was_left_out();
        if let Some(xfcc) = rendered.xfcc.take_if(|_| !rendered.appends) {
            rendered.fields.append(XFCC, xfcc);
        }
        // It is kept for as long as a connection lives.
        rendered.fields.shrink_to_fit();
        rendered
    }

    /// Returns what no dialect of ours could tell: counted, and named to the upstream in `X-Portcullis-Left-Out`.
    pub fn left_out(&self) -> &[(Dialect, &'static str)] {
        &self.left_out
    }

    /// Returns what a node forwards, before `remove_claimed` takes it.
    pub(super) fn keeps_xfcc_of(&self, headers: &Fields) -> Option<Vec<u8>> {
        if self.appends { xfcc::joined(headers.get_all(&XFCC)) } else { None }
    }

    /// Returns what goes with every request alike; `None`: a node's own word goes with it, too.
    pub fn in_common(&self) -> Option<&Fields> {
        (!self.appends).then_some(&self.fields)
    }

    /// Writes into headers that claim nothing any more. `client`: the effective address, as it is written.
    pub(super) fn write(&self, headers: &mut Fields, forwarded: Option<Vec<u8>>, client: Option<&HeaderValue>) {
        headers.append_all(&self.fields);
        if let Some(xfcc) = self.xfcc_behind(forwarded) {
            headers.append(XFCC, xfcc);
        }
        self.tell_client(headers, client);
    }

    /// Writes the effective address.
    pub fn tell_client(&self, headers: &mut Fields, client: Option<&HeaderValue>) {
        if let Some(client) = client.filter(|_| self.tells_address) {
            headers.append(CLIENT_IP, client);
        }
    }

    /// The newest element stands last.
    fn xfcc_behind(&self, forwarded: Option<Vec<u8>>) -> Option<HeaderValue> {
        let Some(mut elements) = forwarded else { return self.xfcc.clone() };
        if let Some(ours) = &self.xfcc {
            elements.push(b',');
            elements.extend_from_slice(ours.as_bytes());
        }
        // INVARIANT: two header values and a comma.
        HeaderValue::from_bytes(&elements).ok()
    }

    fn portcullis(&mut self, admission: &Admission, leaf: Option<&Certificate>) {
        let principal = &admission.principal;
        self.field(Dialect::Portcullis, PRINCIPAL, "principal", text::percent_encoded(&principal.name.to_string()));
        self.field(Dialect::Portcullis, ID, "id", text::percent_encoded(&principal.id.to_string()));
        self.field(Dialect::Portcullis, IDENTIFIER, "identifier", text::percent_encoded(&admission.identifier));
        self.field(Dialect::Portcullis, CLEARANCE, "clearance", principal.terms.clearance.name().to_owned());
        if let Some(access) = admission.access {
            self.field(Dialect::Portcullis, ACCESS, "access", access.name().to_owned());
        }
        if let Some(leaf) = leaf {
            self.field(Dialect::Portcullis, FINGERPRINT, "fingerprint", leaf.fingerprint.to_string());
        }
    }

    /// RFC 9440, 2.3: the chain only with the leaf, and only one that was used for validation; a pin has none.
    fn rfc9440(&mut self, admission: &Admission, leaf: Option<&Certificate>) {
        let Some(leaf) = leaf else { return };
        let with_leaf = self.field(Dialect::Rfc9440, CLIENT_CERT, "client-cert", rfc9440::item(&leaf.der));
        if let Basis::Authority { chain } = &admission.basis
            && with_leaf
            && !chain.is_empty()
        {
            self.field(Dialect::Rfc9440, CLIENT_CERT_CHAIN, "client-cert-chain", rfc9440::list(chain));
        }
    }

    fn xfcc(&mut self, settings: &Settings, admission: &Admission, leaf: Option<&Certificate>, by: &[Box<str>]) {
        let Some(leaf) = leaf else { return };
        let chain = match &admission.basis {
            Basis::Authority { chain } => &chain[..],
            Basis::Pin | Basis::Renewal { .. } | Basis::ServerCertificate { .. } | Basis::SpkiPin | Basis::WellKnownAdmin => &[],
        };
        let element = Element::of(leaf, chain, by, Long { cert: settings.xfcc_cert, chain: settings.xfcc_chain });
        self.left_out.extend(element.left_out.iter().map(|field| (Dialect::Xfcc, *field)));
        match HeaderValue::try_from(element.text) {
            Ok(value) => self.xfcc = Some(value),
            Err(_) => self.left_out.push((Dialect::Xfcc, "xfcc")),
        }
    }

    /// Adds a field, whole or not at all: an upstream must never read half of a name or certificate.
    fn field(&mut self, dialect: Dialect, name: HeaderName, field: &'static str, value: String) -> bool {
        match HeaderValue::try_from(value) {
            Ok(value) if value.len() <= MAX_FIELD => {
                self.fields.append(name, value);
                true
            }
            _ => {
                self.left_out.push((dialect, field));
                false
            }
        }
    }

    fn say_what_was_left_out(&mut self) {
        let mut fields: Vec<&str> = self.left_out.iter().map(|(_, field)| *field).collect();
        fields.dedup();
        if !fields.is_empty()
            && let Ok(value) = HeaderValue::try_from(fields.join(", "))
        {
            self.fields.append(LEFT_OUT, value);
        }
    }
}

const ACCESS: HeaderName = HeaderName::from_static("x-portcullis-access");
const CLEARANCE: HeaderName = HeaderName::from_static("x-portcullis-clearance");
const CLIENT_IP: HeaderName = HeaderName::from_static("x-portcullis-client-ip");
const FINGERPRINT: HeaderName = HeaderName::from_static("x-portcullis-fingerprint");
const ID: HeaderName = HeaderName::from_static("x-portcullis-id");
const IDENTIFIER: HeaderName = HeaderName::from_static("x-portcullis-identifier");
const LEFT_OUT: HeaderName = HeaderName::from_static("x-portcullis-left-out");
const PRINCIPAL: HeaderName = HeaderName::from_static("x-portcullis-principal");
