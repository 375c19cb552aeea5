//! resctrl, on trees in a temporary folder and on a kernel that behaves as its documentation says
//! (Documentation/filesystems/resctrl.rst of Linux 6.18).

// In tests, and in what only tests use, an unwrap is an assertion.
#![allow(clippy::unwrap_used)]

mod conformance;
mod disk;
mod faults;
mod fixture;
mod kernel;
mod steps;
mod text;
mod threads;
mod walk;
