//! All that Greenroom does on sockets. It knows no product rule: who may talk to whom is a parameter.
//!
//! One room so far: [`egress`], the only way out of a rehearsal copy.
#![forbid(unsafe_code)]

pub mod egress;
