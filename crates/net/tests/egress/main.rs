//! The egress proxy against real servers and real clients, all on loopback.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod attacks;
mod clients;
mod http;
mod life;
mod world;
