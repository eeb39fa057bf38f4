//! What the tests of this room are made of: certificates minted on the spot, and short ways to build rules and to ask.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlIssuingDistributionPoint, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;

use super::*;
use crate::pki::{Certificate, Crl};

/// Everything is minted around this second, valid for a day on either side.
pub(super) const NOW: u64 = 1_800_000_000;
pub(super) const DAY: u64 = 86_400;

pub(super) fn at(second: u64) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(second))
}

pub(super) fn date(second: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(i64::try_from(second).unwrap()).unwrap()
}

pub(super) fn written(line: u32) -> Provenance {
    Provenance { file: "portcullis.toml".into(), line }
}

pub(super) fn parse(der: &CertificateDer<'_>) -> Certificate {
    Certificate::parse(der.clone().into_owned()).unwrap()
}

pub(super) fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = date(NOW - DAY);
    params.not_after = date(NOW + DAY);
    params
}

/// A CA with its key; a root, or below another.
pub(super) struct Ca {
    pub(super) params: CertificateParams,
    pub(super) key: KeyPair,
    pub(super) certificate: Arc<Certificate>,
}

impl Ca {
    pub(super) fn root(name: &str) -> Self {
        Self::root_with(name, |_| {})
    }

    pub(super) fn root_with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (params, key) = (ca_params(name, change), KeyPair::generate().unwrap());
        let certificate = Arc::new(parse(params.self_signed(&key).unwrap().der()));
        Self { params, key, certificate }
    }

    pub(super) fn below(&self, name: &str) -> Self {
        self.below_with(name, |_| {})
    }

    pub(super) fn below_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        self.sign_ca(KeyPair::generate().unwrap(), name, change)
    }

    /// Signs a CA with a key that exists: a cross-certificate.
    pub(super) fn sign_ca(&self, key: KeyPair, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let params = ca_params(name, change);
        let certificate = Arc::new(parse(params.signed_by(&key, &self.issuer()).unwrap().der()));
        Self { params, key, certificate }
    }

    pub(super) fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    pub(super) fn leaf(&self, name: &str) -> Certificate {
        self.leaf_with(name, |_| {})
    }

    pub(super) fn leaf_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        self.leaf_of(&KeyPair::generate().unwrap(), name, change)
    }

    pub(super) fn leaf_of(&self, key: &KeyPair, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        let mut params = params(name);
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        parse(params.signed_by(key, &self.issuer()).unwrap().der())
    }

    /// Signs a CRL: its number, when it begins and ends, and the serials on it.
    pub(super) fn crl(&self, number: u64, this_update: u64, next_update: u64, serials: &[&[u8]]) -> Arc<Crl> {
        self.crl_of(None, number, this_update, next_update, serials)
    }

    /// Signs a CRL of one distribution point.
    pub(super) fn crl_of(
        &self,
        point: Option<CrlIssuingDistributionPoint>,
        number: u64,
        this_update: u64,
        next_update: u64,
        serials: &[&[u8]],
    ) -> Arc<Crl> {
        let revoked = |serial: &&[u8]| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: date(this_update),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date(this_update),
            next_update: date(next_update),
            crl_number: number.into(),
            issuing_distribution_point: point,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Arc::new(Crl::parse(params.signed_by(&self.issuer()).unwrap().der()).unwrap())
    }
}

fn ca_params(name: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    change(&mut params);
    params
}

/// Signs itself, as `openssl req -x509` does on P-384: CA:TRUE, neither keyUsage nor EKU.
pub(super) fn self_signed(name: &str) -> (Certificate, KeyPair) {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    (self_signed_by(&key, name, |_| {}), key)
}

pub(super) fn self_signed_by(key: &KeyPair, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Certificate {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    parse(params.self_signed(key).unwrap().der())
}

/// The route that everybody in these tests asks for.
pub(super) fn route() -> RouteScope {
    RouteScope { name: "orders".into(), auth: RouteAuth::Required, csrf: true }
}

/// A reader of the route.
pub(super) fn terms() -> Terms {
    Terms { permissions: vec![permission("orders", Some(Access::Read))], ..Terms::default() }
}

pub(super) fn permission(routes: &str, access: Option<Access>) -> Permission {
    Permission { routes: vec![routes.parse().unwrap()], access, when: Vec::new() }
}

/// Rules in the making.
#[derive(Default)]
pub(super) struct World {
    pub(super) allowlist: AllowlistBuilder,
    pub(super) revocation: RevocationBuilder,
    skew: u64,
    line: u32,
}

impl World {
    pub(super) fn pin(self, name: &str, certificate: &Certificate) -> Self {
        self.principal(name, terms(), vec![Credential::Pin(certificate.into())])
    }

    pub(super) fn principal(mut self, name: &str, terms: Terms, credentials: Vec<Credential>) -> Self {
        self.line += 1;
        let name: PrincipalName = name.parse().unwrap();
        let principal =
            Principal { id: PrincipalId::derived(&name), name, display_name: None, terms: Arc::new(terms), provenance: written(self.line) };
        let credentials = credentials.into_iter().map(|credential| (credential, written(self.line))).collect();
        self.allowlist.add(principal, credentials).unwrap();
        self
    }

    pub(super) fn authority(self, name: &str, cas: &[&Ca]) -> Self {
        self.authority_with(name, cas, |_| {})
    }

    pub(super) fn authority_with(self, name: &str, cas: &[&Ca], change: impl FnOnce(&mut Authority)) -> Self {
        let authority = authority(cas, change);
        self.principal(name, terms(), vec![Credential::Authority(authority)])
    }

    pub(super) fn revoke(mut self, id: &str) -> Self {
        self.revocation.id(id.parse().unwrap(), Provenance { file: "revoked.txt".into(), line: 7 });
        self
    }

    pub(super) fn crl(mut self, crl: &Arc<Crl>) -> Self {
        self.revocation.crl(Arc::clone(crl), Provenance { file: "crl.pem".into(), line: 1 }).unwrap();
        self
    }

    /// A CRL that should be somewhere was never seen.
    pub(super) fn crl_missing(mut self) -> Self {
        self.revocation.crl_missing("https://crl.example.com/".to_owned());
        self
    }

    pub(super) fn crl_policy(mut self, stale: StaleCrl, required: bool) -> Self {
        self.revocation.crl_policy(stale, required);
        self
    }

    pub(super) fn skew(mut self, seconds: u64) -> Self {
        self.skew = seconds;
        self
    }

    pub(super) fn snapshot(self) -> Snapshot {
        let allowlist = self.allowlist.finish();
        let revocation = self.revocation.finish(&allowlist);
        Snapshot { generation: 1, allowlist, revocation, clock_skew: self.skew, bootstrap: Default::default() }
    }
}

pub(super) fn authority(cas: &[&Ca], change: impl FnOnce(&mut Authority)) -> Arc<Authority> {
    let certificates = cas.iter().map(|ca| Arc::clone(&ca.certificate)).collect();
    let mut authority = Authority { certificates, bounds: Bounds::default(), priority: 100, require_client_eku: true };
    change(&mut authority);
    Arc::new(authority)
}

/// A candidate of a leaf and the CAs that came along.
pub(super) fn candidate(leaf: &Certificate, along: &[&Ca]) -> Candidate {
    let chain: Vec<_> = std::iter::once(leaf.der.clone()).chain(along.iter().map(|ca| ca.certificate.der.clone())).collect();
    Candidate::presented(&chain).unwrap()
}

/// A read of the route from a settled address.
pub(super) fn request(route: &RouteScope) -> Scope<'_> {
    let request = RequestScope {
        surface: Surface::Proxy,
        route: Some(route),
        access: Access::Read,
        clearance: None,
        begins: true,
        origin: Origin::Absent,
        unsafe_method: false,
    };
    Scope { address: ClientAddress::Settled("192.0.2.7".parse().unwrap()), request: Some(request), control: false }
}

/// Asks for a read of the route, now.
pub(super) fn ask(snapshot: &Snapshot, leaf: &Certificate, along: &[&Ca]) -> Decision {
    ask_at(snapshot, leaf, along, NOW)
}

pub(super) fn ask_at(snapshot: &Snapshot, leaf: &Certificate, along: &[&Ca], second: u64) -> Decision {
    let (candidate, route) = (candidate(leaf, along), route());
    let ask = |decide: fn(&Snapshot, Option<&Candidate>, &Scope<'_>, UnixTime) -> Decision| {
        decide(snapshot, Some(&candidate), &request(&route), at(second))
    };
    let (decision, brief) = (ask(Snapshot::decide), ask(Snapshot::decide_in_brief));
    assert_eq!((told(&brief), brief.valid_until), (told(&decision), decision.valid_until), "told in brief, it is the same");
    if let Some(denial) = decision.denial() {
        assert_eq!(decision.steps.iter().last().and_then(|step| step.denial), Some(denial), "the last step is the one that failed");
    }
    assert!(decision.valid_until > at(second), "an answer holds for a second at least");
    decision
}

/// `admit NAME` or the code of the denial: what tables compare.
pub(super) fn told(decision: &Decision) -> String {
    match &decision.verdict {
        Verdict::Admit(admission) => format!("admit {}", admission.principal.name),
        Verdict::Deny(denial) => denial.code().to_owned(),
        Verdict::Open => "open".to_owned(),
    }
}

/// Everything that was found, for the operator.
pub(super) fn findings(decision: &Decision) -> String {
    decision.steps.iter().map(|step| format!("{}: {}\n", step.rule, step.finding)).collect()
}
