//! A file of a PEM directory, as an operator may leave it: read as certificates, as pins, as CRLs, as a key.
//! Beyond "no panic": the fast reading of pins agrees with the full one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::pki::files;

fuzz_target!(|bytes: &[u8]| {
    let certificates = files::certificates(bytes, None);
    let pins = files::pins(bytes, None);
    match (&certificates, &pins) {
        (Ok(certificates), Ok(pins)) => {
            assert_eq!(certificates.len(), pins.len());
            for (certificate, pin) in certificates.iter().zip(pins) {
                assert_eq!(certificate.line, pin.line);
                assert_eq!(certificate.value.fingerprint, pin.value.fingerprint);
                assert_eq!(certificate.value.extended_key_usage, pin.value.extended_key_usage);
            }
        }
        // A pin needs less of a certificate than its full reading does, never more.
        (Ok(_), Err(error)) => panic!("read in full, but not as pins: {error}"),
        (Err(_), _) => {}
    }
    // A chain of our own may stand beside its key; nothing else differs.
    if let Ok(certificates) = certificates {
        assert_eq!(files::chain(bytes, None).map(|chain| chain.len()), Ok(certificates.len()));
    }
    let _ = files::crls(bytes).map(|crls| crls.iter().map(|crl| crl.value.lists(&[1])).collect::<Vec<_>>());
    let _ = files::private_key(bytes, None).map(|key| format!("{key:?}"));
    let _ = files::pfx(bytes, "password");
});
