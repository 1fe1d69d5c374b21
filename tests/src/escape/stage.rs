//! What an escape knows of the cgroup and network that it tries to leave.

use std::{
    fs, io,
    io::{BufRead as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
    path::PathBuf,
    process::{Command, Stdio},
};

use super::{ARGUMENT, privileges::Privileges};

/// The workload's own addresses.
pub(crate) const INNER4: Ipv4Addr = Ipv4Addr::new(198, 18, 7, 1);
pub(crate) const INNER6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
/// Its address on the link.
pub(crate) const INNER_LINK6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// The receiver's address that no rule allows.
pub(crate) const REFUSED4: Ipv4Addr = Ipv4Addr::new(198, 18, 7, 2);
pub(crate) const REFUSED6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);
/// Its address that is allowed with [`ALLOWED_PORT`].
pub(crate) const ALLOWED4: Ipv4Addr = Ipv4Addr::new(198, 18, 7, 3);
pub(crate) const ALLOWED6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 3);
pub(crate) const ALLOWED_PORT: u16 = 9000;
/// The receiver's address on the link.
pub(crate) const LINK6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
/// The workload's device.
pub(crate) const DEVICE: &str = "inner";

/// One attempt.
pub(super) struct Stage {
    /// The escape's name.
    pub(super) escape: String,
    /// The cgroup that may be enforced.
    pub(super) cgroup: PathBuf,
    /// Identifies the attempt at the receiver, as the source or the destination of what arrives.
    pub(super) port: u16,
    /// What the attempt may do.
    pub(super) privileges: Privileges,
    /// The part of the attempt that this process plays; empty for the first.
    pub(super) role: String,
}

impl Stage {
    /// Identifies the attempt at the receiver, in what arrives.
    pub(super) fn token(&self) -> Vec<u8> {
        format!("escape-{}.", self.port).into_bytes()
    }

    /// Joins the cgroup, and gives up what the attempt is not to have.
    pub(super) fn join(&self) -> io::Result<()> {
        self.join_as_it_is()?;
        self.privileges.take()
    }

    /// Joins the cgroup with the privileges of whoever prepares.
    pub(super) fn join_as_it_is(&self) -> io::Result<()> {
        fs::write(self.cgroup.join("cgroup.procs"), "0")
    }

    /// Tells the suite that all is prepared, waits for its word, and gives up what the attempt is not to have.
    pub(super) fn ready(&self) -> io::Result<()> {
        self.told()?;
        self.privileges.take()
    }

    /// Tells the suite that this process is there, and waits for its word.
    pub(super) fn told(&self) -> io::Result<()> {
        writeln!(io::stdout(), "ready")?;
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        if line == "go\n" {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    /// Starts another process of this attempt, with `input` as its standard input, and hands on what becomes of it.
    pub(super) fn spawn(&self, role: &str, input: OwnedFd) -> io::Result<()> {
        // Also where the attempt may not look into the program's folder.
        let output = Command::new("/proc/self/exe")
            .args([ARGUMENT, &self.escape])
            .arg(&self.cgroup)
            .arg(self.port.to_string())
            .arg(role)
            .stdin(Stdio::from(input))
            .stderr(Stdio::inherit())
            .output()?;
        super::answer(String::from_utf8_lossy(&output.stdout).trim())
    }

    /// The refused IPv4 destination of this attempt.
    pub(super) fn refused4(&self) -> Vec<u8> {
        name(SocketAddr::from((REFUSED4, self.port)))
    }

    /// The same for an IPv6 socket.
    pub(super) fn refused_mapped(&self) -> Vec<u8> {
        name(SocketAddr::from((REFUSED4.to_ipv6_mapped(), self.port)))
    }

    /// The refused IPv6 destination of this attempt.
    pub(super) fn refused6(&self) -> Vec<u8> {
        name(SocketAddr::from((REFUSED6, self.port)))
    }
}

/// The allowed IPv4 destination.
pub(super) fn allowed4() -> Vec<u8> {
    name(SocketAddr::from((ALLOWED4, ALLOWED_PORT)))
}

/// The allowed IPv6 destination.
pub(super) fn allowed6() -> Vec<u8> {
    name(SocketAddr::from((ALLOWED6, ALLOWED_PORT)))
}

/// `struct sockaddr_in` or `struct sockaddr_in6`.
pub(crate) fn name(address: SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::new();
    match address {
        SocketAddr::V4(v4) => {
            bytes.extend(family(libc::AF_INET));
            bytes.extend(v4.port().to_be_bytes());
            bytes.extend(v4.ip().octets());
            bytes.extend([0; 8]);
        }
        SocketAddr::V6(v6) => {
            bytes.extend(family(libc::AF_INET6));
            bytes.extend(v6.port().to_be_bytes());
            bytes.extend([0; 4]);
            bytes.extend(v6.ip().octets());
            bytes.extend(v6.scope_id().to_ne_bytes());
        }
    }
    bytes
}

/// A family as an address begins with it.
pub(crate) fn family(family: i32) -> [u8; 2] {
    u16::try_from(family).expect("families are small").to_ne_bytes()
}

/// The workload's device by its number.
pub(crate) fn device() -> io::Result<u32> {
    Ok(nix::net::if_::if_nametoindex(DEVICE)?)
}
