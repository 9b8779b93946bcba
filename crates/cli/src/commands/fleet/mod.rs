//! Commands that are about many hosts: the control plane, the agents, and what a person says to them.

pub(super) mod agent;
pub(super) mod enrol;
pub(super) mod follow;
pub(super) mod hosts;
pub(super) mod join;
pub(super) mod on;
pub(super) mod serve;
pub(super) mod token;
