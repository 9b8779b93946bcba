//! Extended attributes in words: ACLs as setfacl(1) takes them, file capabilities as getcap(8) prints them. A value that is not
//! in the kernel's form (linux/posix_acl_xattr.h, `struct vfs_cap_data` of linux/capability.h) is shown as it is.

use crate::path::Shown;

/// In the order of linux/capability.h.
const CAPABILITIES: &[&str] = &[
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// The value of the attribute `name` for people.
pub(super) fn value(name: &[u8], value: &[u8]) -> String {
    let words = match name {
        b"security.capability" => capability(value),
        b"system.posix_acl_access" | b"system.posix_acl_default" => acl(value),
        _ => None,
    };
    words.unwrap_or_else(|| Shown(value).to_string())
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn capability(value: &[u8]) -> Option<String> {
    let magic = word(value, 0)?;
    let length = match magic >> 24 {
        1 => 12,
        2 => 20,
        3 => 24,
        _ => return None,
    };
    if value.len() != length {
        return None;
    }
    let set = |at: usize| Some(u64::from(word(value, at)?) | u64::from(word(value, at + 8).unwrap_or(0)) << 32);
    let (permitted, inheritable) =
        if length == 12 { (u64::from(word(value, 4)?), u64::from(word(value, 8)?)) } else { (set(4)?, set(8)?) };
    let mut out: Vec<String> = Vec::new();
    for bit in (0..64).filter(|bit| (permitted | inheritable) >> bit & 1 == 1) {
        let name = CAPABILITIES.get(bit).map_or_else(|| format!("{bit}"), |name| format!("cap_{name}"));
        let has = |set: u64, letter: &'static str| if set >> bit & 1 == 1 { letter } else { "" };
        let effective = if magic & 1 == 1 { "e" } else { "" };
        out.push(format!("{name}={effective}{}{}", has(inheritable, "i"), has(permitted, "p")));
    }
    let owner = if length == 24 { format!(" [rootid={}]", word(value, 20)?) } else { String::new() };
    Some(format!("{}{owner}", if out.is_empty() { "none".to_owned() } else { out.join(" ") }))
}

fn acl(value: &[u8]) -> Option<String> {
    if word(value, 0)? != 2 || value.len() % 8 != 4 {
        return None;
    }
    let entry = |entry: &[u8]| {
        let (tag, bits) = (u16::from_le_bytes([entry[0], entry[1]]), u16::from_le_bytes([entry[2], entry[3]]));
        let id = word(entry, 4)?;
        let who = match tag {
            0x01 => "user:".to_owned(),
            0x02 => format!("user:{id}"),
            0x04 => "group:".to_owned(),
            0x08 => format!("group:{id}"),
            0x10 => "mask:".to_owned(),
            0x20 => "other:".to_owned(),
            _ => return None,
        };
        let letter = |bit: u16, letter: char| if bits & bit == 0 { '-' } else { letter };
        Some(format!("{who}:{}{}{}", letter(4, 'r'), letter(2, 'w'), letter(1, 'x')))
    };
    let entries: Option<Vec<String>> = value[4..].chunks_exact(8).map(entry).collect();
    entries.map(|entries| entries.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn capabilities_as_getcap_prints_them() {
        let name = b"security.capability";
        // setcap cap_net_raw+ep
        assert_eq!(value(name, &words(&[0x0200_0001, 1 << 13, 0, 0, 0])), "cap_net_raw=ep");
        assert_eq!(
            value(name, &words(&[0x0300_0000, 1, 1 << 13, 1 << 7, 0, 1000])),
            "cap_chown=p cap_net_raw=i cap_bpf=p [rootid=1000]"
        );
        assert_eq!(value(name, &words(&[0x0100_0001, 1, 0])), "cap_chown=ep");
        for odd in [&b""[..], b"\x01\x00\x00\x02", b"text"] {
            assert_eq!(value(name, odd), Shown(odd).to_string());
        }
    }

    #[test]
    fn acls_as_setfacl_takes_them() {
        let name = b"system.posix_acl_access";
        let entry = |tag: u32, bits: u32| tag | bits << 16;
        let nobody = u32::MAX;
        let list = words(&[
            2,
            entry(1, 6),
            nobody,
            entry(2, 4),
            1000,
            entry(4, 4),
            nobody,
            entry(0x10, 4),
            nobody,
            entry(0x20, 0),
            nobody,
        ]);
        assert_eq!(value(name, &list), "user::rw-,user:1000:r--,group::r--,mask::r--,other::---");
        assert_eq!(value(name, &list[..list.len() - 1]), Shown(&list[..list.len() - 1]).to_string());
        assert_eq!(value(b"user.note", b"x"), "x");
    }
}
