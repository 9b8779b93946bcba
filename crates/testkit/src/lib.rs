//! The test world of Greenroom: what tests need and the product must never contain.
//!
//! It is a dev-dependency only. It knows nothing of Greenroom's own types, so that a test built on it
//! judges the product from outside:
//!
//! * [`lab`]: real Debian hosts in private copies, booted with systemd, killed like a power cut; fleets of them, with
//!   SSH and faults;
//! * [`tree`]: random file trees and changes to them, and a table of the kinds of file;
//! * [`crash`]: kill -9 and power cuts at random moments, and the judgement of what is left;
//! * [`oracle`]: the independent comparison of two trees;
//! * [`postgres`]: a real PostgreSQL server for one test;
//! * [`s3`]: a server that speaks S3, for one test;
//! * [`tier`]: which privilege a test needs, and the reason printed when it cannot run.

pub mod crash;
pub mod faults;
pub mod lab;
pub mod oracle;
pub mod postgres;
pub mod s3;
pub mod tier;
pub mod tree;
