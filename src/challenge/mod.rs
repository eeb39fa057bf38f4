//! A key proven without a TLS handshake: bytes out, a signature over them in; and tokens that say so afterwards, signed by us. Not who
//! may: that is for the decision, by way of the gate, which hears of a proven key only. `admin` answers the calls; the command line signs
//! by the same reading of the same bytes.

pub mod cert_data;
pub mod challenges;
mod jwt;
mod keyring;
pub mod message;
pub mod settings;
pub mod signature;
pub mod signing;
mod spent;
pub mod token;

pub use cert_data::CertData;
pub use challenges::{Challenges, Claim, Refusal};
pub use message::Message;
pub use settings::Settings;
pub use token::{Bearer, Issued, Order, Ours, TokenError, Tokens};

#[cfg(test)]
mod tests;
