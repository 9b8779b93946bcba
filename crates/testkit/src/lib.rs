//! Empty until its first real content.
