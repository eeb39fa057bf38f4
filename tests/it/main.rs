//! Every behaviour, through the real binary. One file per behaviour; `support` holds the parts.

#![expect(unreachable_pub, reason = "one binary: everything is reachable")]

mod adapter_lists;
mod adapters;
mod addresses;
mod admin;
mod admin_attacks;
mod agreement;
mod api;
mod attacks;
mod auth_methods;
mod bootstrap;
mod certificates;
mod challenge;
mod commands;
mod control;
mod engine;
mod explain;
mod fetched;
mod former_issuers;
mod half_close;
mod http2;
mod identity;
mod interim;
mod ledger_verifier;
mod lifetimes;
mod limits;
mod live;
mod lockout;
mod logs;
mod managing;
mod monitor;
mod notices;
mod open_streams;
mod origins;
mod paths;
mod preview;
mod reload;
mod revocation;
mod signing;
mod smuggling;
mod state;
mod strangers;
mod support;
mod tokens;
mod transcripts;
