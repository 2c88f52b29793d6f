#![doc = include_str!("PROTOCOL.md")]

pub(crate) mod bell;
pub(crate) mod expiry;
pub(crate) mod failure;
pub(crate) mod node;
pub(crate) mod reentry;
mod state;
pub(crate) mod times;
pub(crate) mod word;
