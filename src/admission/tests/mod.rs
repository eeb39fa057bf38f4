//! Tables of candidates, rules and the answers that product section 3 demands.

mod authorities;
mod layers;
mod pins;
mod renewal;
mod requests;
mod required_crl;
mod revocation;
mod scale;
mod tokens;
