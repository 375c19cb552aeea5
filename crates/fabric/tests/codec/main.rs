//! The codec against bytes that other programs sent, and against bytes that nobody would send.
#![allow(clippy::unwrap_used, reason = "what cannot be read fails the test")]

mod captures;
mod golden;
mod hostile;
mod round_trips;
