//! Tests of `certificate.rs`: certificates are minted here, and made malformed by surgery on their bytes.

use rcgen::{
    BasicConstraints as Basic, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose as Purpose, IsCa, Issuer, KeyPair,
    PublicKeyData as _,
};

use super::*;

fn self_signed(params: CertificateParams, key: &KeyPair) -> Vec<u8> {
    params.self_signed(key).unwrap().der().to_vec()
}

fn parse(der: impl Into<Vec<u8>>) -> Result<Certificate, CertificateError> {
    Certificate::parse(CertificateDer::from(der.into()))
}

fn ecdsa_keys() -> [KeyPair; 3] {
    [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ECDSA_P521_SHA512]
        .map(|algorithm| KeyPair::generate_for(algorithm).unwrap())
}

fn plain() -> Vec<u8> {
    self_signed(CertificateParams::new(vec!["a.example".into()]).unwrap(), &KeyPair::generate().unwrap())
}

#[test]
fn everything_in_a_certificate_is_read() {
    let mut params = CertificateParams::new(vec!["a.example".into(), "192.0.2.7".into()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "alice");
    params.serial_number = Some(vec![0, 0x0a, 0xff].into());
    params.is_ca = IsCa::Ca(Basic::Constrained(2));
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    params.extended_key_usages = vec![Purpose::ClientAuth];
    params.not_before = rcgen::date_time_ymd(1960, 1, 1);
    params.not_after = rcgen::date_time_ymd(2033, 5, 18);
    params.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 55555, 1], vec![0x0c, 1, b'x'])];
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let read = parse(self_signed(params, &key)).unwrap();

    assert_eq!(read.serial_hex(), "0AFF");
    assert!(read.subject.rfc2253().contains("CN=alice"), "{}", read.subject.rfc2253());
    assert_eq!((read.not_before, read.not_after, read.version), (0, 1_999_987_200, 3));
    assert_eq!(read.sans, [San::Dns("a.example".into()), San::Ip("192.0.2.7".parse().unwrap())]);
    assert_eq!(read.basic_constraints, Some(BasicConstraints { ca: true, path_len: Some(2) }));
    assert_eq!(read.key_usage, Some(KeyUsage { key_cert_sign: true, crl_sign: false, digital_signature: false }));
    assert_eq!(read.extended_key_usage, Some(ExtendedKeyUsage { any: false, client_auth: true, server_auth: false }));
    assert_eq!(read.key, KeyKind::Ec { bits: 384 });
    assert!(read.canonical && read.is_self_issued() && read.is_signed_by(read.spki()));
    assert_eq!(read.spki(), key.subject_public_key_info());
    assert_eq!(read.spki_pin, SpkiPin::of(read.spki()));
    let ours = read.extensions.iter().find(|extension| &*extension.oid == "1.3.6.1.4.1.55555.1").unwrap();
    assert_eq!(&*ours.value, [0x0c, 1, b'x']);
}

#[test]
fn an_unknown_critical_extension_does_not_hinder_parsing() {
    let mut params = CertificateParams::new(vec!["a.example".into()]).unwrap();
    let mut odd = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![1, 2, 3]);
    odd.set_criticality(true);
    params.custom_extensions = vec![odd];
    assert!(parse(self_signed(params, &KeyPair::generate().unwrap())).unwrap().canonical);
}

#[test]
fn an_extension_that_stands_twice_makes_it_malformed() {
    let mut params = CertificateParams::new(vec!["a.example".into()]).unwrap();
    params.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]); 2];
    assert!(matches!(parse(self_signed(params, &KeyPair::generate().unwrap())), Err(CertificateError::Malformed(_))));
}

#[test]
fn a_known_extension_that_is_malformed_makes_it_malformed() {
    for last in [14, 15, 17, 19, 35, 37] {
        let mut params = CertificateParams::default();
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, last], vec![0x30, 5])];
        assert!(parse(self_signed(params, &KeyPair::generate().unwrap())).is_err(), "2.5.29.{last}");
    }
}

#[test]
fn a_version_1_certificate_is_read() {
    // Version, extensions and the signature taken away from a version 3 certificate: nobody checks the signature here.
    let der = plain();
    let signed = Signed::read(&der).unwrap();
    let mut fields = Reader::new(der::only(signed.tbs, tag::SEQUENCE).unwrap());
    fields.next().unwrap();
    let mut kept = Vec::new();
    while let Some(field) = fields.next() {
        if field.tag != 0xa3 {
            kept.extend_from_slice(field.whole);
        }
    }
    let tbs = der::encode(tag::SEQUENCE, &kept);
    let rest = &der::only(&der, tag::SEQUENCE).unwrap()[signed.tbs.len()..];
    let read = parse(der::encode(tag::SEQUENCE, &[&tbs, rest].concat())).unwrap();
    assert_eq!((read.version, read.extensions.len(), read.canonical), (1, 0, true));
}

#[test]
fn the_twin_of_every_ecdsa_certificate_verifies_too() {
    for issuer_key in ecdsa_keys() {
        for leaf_key in ecdsa_keys() {
            let mut ca = CertificateParams::default();
            ca.is_ca = IsCa::Ca(Basic::Unconstrained);
            let spki = issuer_key.subject_public_key_info();
            let issuer = Issuer::from_params(&ca, &issuer_key);
            let leaf = CertificateParams::new(vec!["a.example".into()]).unwrap().signed_by(&leaf_key, &issuer).unwrap();
            let leaf = parse(leaf.der().to_vec()).unwrap();
            let twin = parse(Signed::read(&leaf.der).unwrap().twin().unwrap()).unwrap();
            assert!(leaf.is_signed_by(&spki) && twin.is_signed_by(&spki) && twin.canonical);
            assert_ne!(leaf.fingerprint, twin.fingerprint);
            assert_eq!((leaf.twin(), twin.twin()), (Some(twin.fingerprint), Some(leaf.fingerprint)));
        }
    }
}

#[test]
fn other_signatures_have_no_twin() {
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let read = parse(self_signed(CertificateParams::default(), &key)).unwrap();
    assert_eq!((read.twin(), read.key, read.canonical), (None, KeyKind::Ed25519, true));
    assert!(read.is_signed_by(read.spki()));
}

#[test]
fn a_certificate_spelled_otherwise_is_not_canonical() {
    let der = plain();
    let content = der::only(&der, tag::SEQUENCE).unwrap();
    let signed = Signed::read(&der).unwrap();
    let (algorithm, bit_string) = content[signed.tbs.len()..].split_at(content[signed.tbs.len() + 1] as usize + 2);
    let signature = &bit_string[3..];
    let with = |algorithm: &[u8], bit_string: &[u8]| der::encode(tag::SEQUENCE, &[signed.tbs, algorithm, bit_string].concat());
    let long_length = [&[0x30, 0x83, 0], &der[2..]].concat();
    let padded_r = {
        let numbers = der::only(signature, tag::SEQUENCE).unwrap();
        let mut reader = Reader::new(numbers);
        let (r, s) = (reader.next().unwrap(), reader.next().unwrap());
        let r = der::encode(tag::INTEGER, &[&[0, 0], r.content].concat());
        der::encode(tag::BIT_STRING, &[&[0], &der::encode(tag::SEQUENCE, &[&r, s.whole].concat())[..]].concat())
    };
    let with_null = {
        let inner = der::only(algorithm, tag::SEQUENCE).unwrap();
        der::encode(tag::SEQUENCE, &[inner, &[5, 0]].concat())
    };
    assert!(parse(with(algorithm, bit_string)).unwrap().canonical, "the surgery itself changes nothing");
    for (what, der) in [
        ("a length with a leading zero", long_length),
        ("a padded r", with(algorithm, &padded_r)),
        ("an outer algorithm with NULL parameters", with(&with_null, bit_string)),
        ("unused bits in the signature", with(algorithm, &[&bit_string[..2], &[1], signature].concat())),
    ] {
        // Either refused outright or marked: never taken for the same thing under another fingerprint.
        assert!(parse(der).is_ok_and(|read| !read.canonical) || what.contains("unused"), "{what}");
    }
    assert_eq!(parse([&der[..], &[0]].concat()).unwrap_err(), malformed("bytes after its end"));
}

#[test]
fn rubbish_is_refused_and_never_panics() {
    assert_eq!(parse(vec![0x30; MAX_BYTES + 1]).unwrap_err(), CertificateError::TooLarge(MAX_BYTES + 1));
    let der = plain();
    for cut in 0..der.len() {
        assert!(parse(&der[..cut]).is_err(), "cut at {cut}");
    }
    for at in 0..der.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut changed = der.clone();
            changed[at] ^= flip;
            if let Ok(read) = parse(changed) {
                let _ = (read.twin(), read.subject.rfc2253(), read.issuer.rfc2253(), read.serial_hex(), read.is_signed_by(read.spki()));
            }
        }
    }
}

#[test]
fn an_rsa_key_is_measured_by_its_modulus() {
    for (bytes, bits) in [(256, 2048), (255, 2040), (512, 4096)] {
        let number = der::encode_integer(&vec![0x80; bytes]);
        let key = der::encode(tag::SEQUENCE, &[&number[..], &[2, 3, 1, 0, 1]].concat());
        for (oid, kind) in [(RSA, KeyKind::Rsa { bits }), (RSA_PSS, KeyKind::RsaPss { bits })] {
            let algorithm = der::encode(tag::SEQUENCE, &[&der::encode(tag::OID, oid)[..], &[5, 0]].concat());
            let bits = der::encode(tag::BIT_STRING, &[&[0], &key[..]].concat());
            assert_eq!(KeyKind::read(&der::encode(tag::SEQUENCE, &[algorithm, bits].concat())), kind);
        }
    }
    assert_eq!(KeyKind::read(&[]), KeyKind::Other);
}
