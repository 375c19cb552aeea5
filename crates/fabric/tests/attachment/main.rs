//! Attachments in a world where everything goes wrong that went wrong in the field.
#![allow(clippy::unwrap_used, reason = "what cannot be done fails the test")]

mod field;
mod harness;
mod outcomes;
mod properties;
mod steps;
mod world;
