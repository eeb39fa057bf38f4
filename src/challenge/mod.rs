//! A key proven without a TLS handshake: bytes out, a signature over them in. Not who may: that is for the gate, which hears of a
//! proven key only. `admin` answers the calls; the command line signs by the same reading of the same bytes.

pub mod cert_data;
pub mod challenges;
pub mod message;
pub mod signature;
pub mod signing;
mod spent;

pub use cert_data::CertData;
pub use challenges::{Challenges, Claim, Refusal};
pub use message::Message;

#[cfg(test)]
mod tests;
