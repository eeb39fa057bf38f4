//! Records of TLS behind the handshake, sealed and opened where they lie (RFC 8446, 5; RFC 5246, 6.2.3.3). rustls makes the
//! keys of a connection, and those that follow them; here is only what one record takes.

use std::ops::Range;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use rustls::{AlertDescription, ConnectionTrafficSecrets, Error, SupportedCipherSuite};

/// One direction of a connection: its key, and the number of the next record.
pub(super) struct Keys {
    key: LessSafeKey,
    iv: [u8; NONCE],
    form: Form,
    /// Never the same twice with one key: the nonce is made of it.
    number: u64,
    /// From here on the key seals nothing (RFC 8446, 5.5).
    limit: u64,
}

/// How a record is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// RFC 7905, 2: the nonce is not sent.
    Tls12Chacha,
    /// RFC 5288, 3: half the nonce stands before the text.
    Tls12Gcm,
    /// RFC 8446, 5.2: the type is inside.
    Tls13,
}

impl Keys {
    /// Takes over a direction at a record.
    pub(super) fn new(suite: SupportedCipherSuite, (number, secrets): (u64, &ConnectionTrafficSecrets)) -> Result<Self, Error> {
        let (algorithm, old, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, Form::Tls12Gcm, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, Form::Tls12Gcm, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, Form::Tls12Chacha, key, iv),
            _ => return Err(unusable()),
        };
        let (form, limit) = match suite {
            SupportedCipherSuite::Tls13(suite) => (Form::Tls13, suite.common.confidentiality_limit),
            SupportedCipherSuite::Tls12(suite) => (old, suite.common.confidentiality_limit),
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).map_err(|_| unusable())?);
        let iv = iv.as_ref().try_into().map_err(|_| unusable())?;
        Ok(Self { key, iv, form, number, limit })
    }

    /// One more record may be sealed with this key, and must be its last.
    pub(super) fn is_spent(&self) -> bool {
        self.number.saturating_add(1) >= self.limit
    }

    #[cfg(test)]
    pub(super) fn spend(&mut self, left: u64) {
        self.limit = self.number + left;
    }

    /// RFC 8446, 5.2, 5.3: the number, as long as the nonce, over the connection's own.
    fn nonce(&self) -> [u8; NONCE] {
        let mut nonce = self.iv;
        for (byte, number) in nonce[NONCE - 8..].iter_mut().zip(self.number.to_be_bytes()) {
            *byte ^= number;
        }
        nonce
    }

    /// RFC 5246, 6.2.3.3: what is sealed beside the text.
    fn aad(&self, [kind, major, minor]: [u8; 3], length: usize) -> [u8; 13] {
        let mut aad = [0; 13];
        aad[..8].copy_from_slice(&self.number.to_be_bytes());
        aad[8..11].copy_from_slice(&[kind, major, minor]);
        aad[11..].copy_from_slice(&(length as u16).to_be_bytes());
        aad
    }

    /// Writes one record behind `out`; `text` appends what is in it, at most [`MAX_TEXT`].
    pub(super) fn seal(&mut self, kind: u8, out: &mut Vec<u8>, text: impl FnOnce(&mut Vec<u8>)) -> Result<(), Error> {
        if self.number >= self.limit {
            return Err(Error::EncryptError);
        }
        let (start, nonce) = (out.len(), self.nonce());
        out.extend_from_slice(&[0; HEADER]);
        if self.form == Form::Tls12Gcm {
            out.extend_from_slice(&nonce[4..]);
        }
        let begin = out.len();
        text(out);
        let length = out.len() - begin;
        if self.form == Form::Tls13 {
            out.push(kind);
        }
        let [high, low] = ((out.len() - start - HEADER + TAG) as u16).to_be_bytes();
        let outer = if self.form == Form::Tls13 { APPLICATION_DATA } else { kind };
        let header = [outer, 3, 3, high, low];
        out[start..start + HEADER].copy_from_slice(&header);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = match self.form {
            Form::Tls13 => self.key.seal_in_place_separate_tag(nonce, Aad::from(header), &mut out[begin..]),
            Form::Tls12Gcm | Form::Tls12Chacha => {
                let aad = self.aad([header[0], 3, 3], length);
                self.key.seal_in_place_separate_tag(nonce, Aad::from(aad), &mut out[begin..])
            }
        };
        let Ok(tag) = tag else {
            // Nothing in the clear is left behind.
            out.truncate(start);
            return Err(Error::EncryptError);
        };
        out.extend_from_slice(tag.as_ref());
        self.number += 1;
        Ok(())
    }

    /// Opens one record where it lies; returns its type, and where in `body` its text is. An error is the alert to send.
    pub(super) fn open(&mut self, header: [u8; HEADER], body: &mut [u8]) -> Result<(u8, Range<usize>), AlertDescription> {
        let outer = header[0];
        let (from, nonce) = match self.form {
            // RFC 8446, 5: behind the handshake nothing comes in the clear, a change_cipher_spec neither.
            Form::Tls13 if outer != APPLICATION_DATA => return Err(AlertDescription::UnexpectedMessage),
            Form::Tls13 | Form::Tls12Chacha => (0, self.nonce()),
            Form::Tls12Gcm => {
                let mut nonce = self.iv;
                nonce[4..].copy_from_slice(body.get(..8).ok_or(AlertDescription::BadRecordMac)?);
                (8, nonce)
            }
        };
        let length = (body.len() - from).checked_sub(TAG).ok_or(AlertDescription::BadRecordMac)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = match self.form {
            Form::Tls13 => self.key.open_in_place(nonce, Aad::from(header), &mut body[from..]),
            Form::Tls12Gcm | Form::Tls12Chacha => {
                let aad = self.aad([header[0], header[1], header[2]], length);
                self.key.open_in_place(nonce, Aad::from(aad), &mut body[from..])
            }
        };
        opened.map_err(|_| AlertDescription::BadRecordMac)?;
        // INVARIANT: a connection that carried 2^64 records is not one.
        self.number = self.number.checked_add(1).ok_or(AlertDescription::InternalError)?;
        let text = from..from + length;
        if self.form != Form::Tls13 {
            return if length > MAX_TEXT { Err(AlertDescription::RecordOverflow) } else { Ok((outer, text)) };
        }
        if length > MAX_TEXT + 1 {
            return Err(AlertDescription::RecordOverflow);
        }
        // RFC 8446, 5.4: zeros behind the type are padding, and there must be a type.
        let at = body[text].iter().rposition(|byte| *byte != 0).ok_or(AlertDescription::UnexpectedMessage)?;
        Ok((body[at], 0..at))
    }
}

/// A cipher that we do not know, or a key of another length: neither is rustls'.
fn unusable() -> Error {
    Error::General("there is no key to go on with".into())
}

/// What a record is (RFC 8446, 5.1).
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;
/// A record's type, version and length.
pub(super) const HEADER: usize = 5;
/// RFC 8446, 5.1; RFC 5246, 6.2.1.
pub(super) const MAX_TEXT: usize = 1 << 14;
/// RFC 8446, 5.2, allows 256 more than a text, RFC 5246, 6.2.3, 2048: longer than that is no record of either.
pub(super) const MAX_BODY: usize = MAX_TEXT + 2048;
const NONCE: usize = 12;
const TAG: usize = 16;
