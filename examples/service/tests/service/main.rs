//! The service from outside: in this process at a free port, and as a program.

#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod herd;
mod page;
mod program;
mod readme;
mod shared;
mod support;
mod writes;
