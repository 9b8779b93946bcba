//! Mounts: the table, a mount namespace of our own, overlays, tmpfs.
