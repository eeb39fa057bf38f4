//! CRLs: what is read of them, and which are refused.

use rcgen::{
    CertificateParams, CertificateRevocationListParams, CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData as _, RevokedCertParams, SerialNumber, date_time_ymd,
};

use super::*;

fn params(serials: &[&[u8]]) -> CertificateRevocationListParams {
    let entry = |serial: &&[u8]| RevokedCertParams {
        serial_number: SerialNumber::from_slice(serial),
        revocation_time: date_time_ymd(2026, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    CertificateRevocationListParams {
        this_update: date_time_ymd(2026, 1, 2),
        next_update: date_time_ymd(2033, 5, 18),
        crl_number: SerialNumber::from_slice(&[0x80, 1]),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(entry).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
}

fn issue(params: CertificateRevocationListParams, key: &KeyPair) -> Vec<u8> {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::CrlSign];
    params.signed_by(&Issuer::from_params(&ca, key)).unwrap().der().to_vec()
}

/// The CRL with its signed part rebuilt; what a signature check would notice, parsing does not.
fn rebuilt(crl: &[u8], change: impl Fn(usize, &[u8]) -> Vec<u8>) -> Vec<u8> {
    let signed = Signed::read(crl).unwrap();
    let mut fields = Reader::new(der::only(signed.tbs, tag::SEQUENCE).unwrap());
    let mut kept = Vec::new();
    for index in 0.. {
        let Some(field) = fields.next() else { break };
        kept.extend(change(index, field.whole));
    }
    let rest = &der::only(crl, tag::SEQUENCE).unwrap()[signed.tbs.len()..];
    der::encode(tag::SEQUENCE, &[&der::encode(tag::SEQUENCE, &kept)[..], rest].concat())
}

#[test]
fn a_crl_is_read_and_answers_for_serials() {
    let key = KeyPair::generate().unwrap();
    let crl = Crl::parse(&issue(params(&[&[9], &[1, 0], &[0x80]]), &key)).unwrap();
    assert_eq!((crl.len(), crl.this_update, crl.next_update), (3, 1_767_312_000, Some(1_999_987_200)));
    assert_eq!(crl.number.as_deref(), Some(&[0x80, 1][..]));
    assert!(crl.authority_key_id.is_some() && !crl.delta && !crl.indirect);
    for (serial, listed) in [(&[9_u8] as &[u8], true), (&[1, 0], true), (&[0x80], true), (&[1], false), (&[], false), (&[0, 9], false)] {
        assert_eq!(crl.lists(serial), listed, "{serial:?}");
    }
}

#[test]
fn a_signature_is_the_keys_own() {
    let algorithms = [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ECDSA_P521_SHA512, &rcgen::PKCS_ED25519];
    let keys = algorithms.map(|algorithm| KeyPair::generate_for(algorithm).unwrap());
    for key in &keys {
        let crl = Crl::parse(&issue(params(&[&[9]]), key)).unwrap();
        for other in &keys {
            assert_eq!(crl.is_signed_by(&other.subject_public_key_info()), std::ptr::eq(key, other));
        }
        assert!(!crl.is_signed_by(&[]));
    }
}

#[test]
fn a_distribution_point_confines_the_list() {
    let key = KeyPair::generate().unwrap();
    for (scope, covers) in
        [(None, Covers::Everything), (Some(CrlScope::UserCertsOnly), Covers::Leaves), (Some(CrlScope::CaCertsOnly), Covers::Issuers)]
    {
        let mut params = params(&[]);
        let distribution_point = CrlDistributionPoint { uris: vec!["http://crl.example/".into()] };
        params.issuing_distribution_point = Some(CrlIssuingDistributionPoint { distribution_point, scope });
        let crl = Crl::parse(&issue(params, &key)).unwrap();
        assert_eq!(crl.covers, covers);
        assert!(crl.distribution_point.is_some() && crl.is_empty());
    }
    for (value, expected) in [
        (&[0x30_u8, 3, INDIRECT, 1, 0xff] as &[u8], Some((Covers::Everything, true))),
        (&[0x30, 3, ONLY_LEAVES, 1, 0], Some((Covers::Everything, false))),
        (&[0x30, 4, ONLY_REASONS, 2, 1, 2], None),
        (&[0x30, 3, ONLY_ATTRIBUTES, 1, 0xff], None),
        (&[0x30, 6, ONLY_LEAVES, 1, 0xff, ONLY_ISSUERS, 1, 0xff], None),
        (&[0x30, 3, 0x86, 1, 0xff], None),
        (&[5, 0], None),
    ] {
        assert_eq!(scope(value).ok(), expected, "{value:x?}");
    }
}

#[test]
fn a_version_1_crl_is_read() {
    let crl = issue(params(&[&[9]]), &KeyPair::generate().unwrap());
    // Without version and extensions.
    let crl = Crl::parse(&rebuilt(&crl, |index, field| if index == 0 || field[0] == 0xa0 { vec![] } else { field.to_vec() })).unwrap();
    assert!(crl.lists(&[9]) && crl.number.is_none() && crl.authority_key_id.is_none());
}

#[test]
fn what_is_critical_and_unknown_is_refused_and_a_delta_told() {
    let crl = issue(params(&[&[9]]), &KeyPair::generate().unwrap());
    let with = |oid: &[u8], critical: bool| {
        let flag: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
        let extension = [&der::encode(tag::OID, oid), flag, &der::encode(tag::OCTET_STRING, &[2, 1, 1])].concat();
        let list = der::encode(tag::SEQUENCE, &der::encode(tag::SEQUENCE, &extension));
        Crl::parse(&rebuilt(&crl, |_, field| if field[0] == 0xa0 { der::encode(0xa0, &list) } else { field.to_vec() }))
    };
    assert!(with(&[0x2a, 3, 4], false).is_ok());
    assert!(with(&[0x2a, 3, 4], true).is_err());
    assert!(with(DELTA_INDICATOR, true).unwrap().delta);
}

#[test]
fn rubbish_is_refused_and_never_panics() {
    let crl = issue(params(&[&[9], &[8]]), &KeyPair::generate().unwrap());
    assert!(Crl::parse(&[&crl[..], &[0]].concat()).is_err());
    for cut in 0..crl.len() {
        assert!(Crl::parse(&crl[..cut]).is_err(), "cut at {cut}");
    }
    for at in 0..crl.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut changed = crl.clone();
            changed[at] ^= flip;
            if let Ok(read) = Crl::parse(&changed) {
                let _ = (read.is_signed_by(&[]), read.lists(&[9]), read.issuer.rfc2253());
            }
        }
    }
}
