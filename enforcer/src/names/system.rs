//! The system's own files: its resolvers and its hosts file. They are read again when they are replaced or changed;
//! a file that has become unreadable or is empty changes nothing.

use std::{
    fs,
    hash::{BuildHasher as _, RandomState},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::SystemTime,
};

use enforcer_core::{model::Host, names::Listed};

use super::settings::PORT;
use crate::stamp::Stamp;

/// The C library takes this many resolvers from its file (`MAXNS` in resolv.h); applications do not ask further
/// ones.
const MOST_SERVERS: usize = 3;

/// The largest file that is read, in bytes.
const LARGEST: u64 = 16 << 20;

/// The resolvers in a resolv.conf. The zone of an address (`fe80::1%eth0`) is dropped.
pub(crate) fn name_servers(text: &str) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some("nameserver"), Some(address)) = (words.next(), words.next()) else {
            continue;
        };
        let address = address.split('%').next().unwrap_or_default();
        match address.parse::<IpAddr>() {
            Ok(ip) => {
                let server = SocketAddr::new(ip.to_canonical(), PORT);
                if !servers.contains(&server) && servers.len() < MOST_SERVERS {
                    servers.push(server);
                }
            }
            Err(_) => tracing::warn!(
                "the name server {address:?} of the system's resolv.conf is not an address: only the other servers \
                 are asked"
            ),
        }
    }
    servers
}

/// Where systemd-resolved listens for programs of the machine (`systemd-resolved.service(8)`).
pub(super) const STUBS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53)),
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 54)),
];

/// The server that the C library asks if its file names none, resolv.conf(5).
pub(super) const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT);

/// The addresses in a hosts file, hosts(5). Loopback and unspecified ones need no rule: a file that blocks a hundred
/// thousand names with them results in no entries here.
pub(super) fn listed(text: &str) -> Listed {
    let mut listed = Listed::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else {
            continue;
        };
        let address = address.to_canonical();
        if address.is_loopback() || address.is_unspecified() {
            continue;
        }
        for name in words {
            listed.entry(Host::new(name)).or_default().insert(address);
        }
    }
    listed
}

/// A file that is read again after a change.
#[derive(Debug)]
pub(super) struct Followed {
    path: PathBuf,
    seen: Option<Seen>,
    hasher: RandomState,
}

/// The last known state of a file.
#[derive(Debug)]
struct Seen {
    stamp: Result<Stamp, io::ErrorKind>,
    /// Whether any later change of the content must change the stamp.
    is_settled: bool,
    content: Result<u64, io::ErrorKind>,
}

impl Followed {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            seen: None,
            hasher: RandomState::new(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The content, if it has changed since the last call; if not, this costs one system call.
    pub(super) fn read_if_changed(&mut self) -> Option<io::Result<String>> {
        // The stamp is read before the content: a change in between is then noticed by the next call.
        let now = SystemTime::now();
        let stamp = fs::metadata(&self.path).map(|metadata| Stamp::of(&metadata));
        let stamp = stamp.map_err(|error| error.kind());
        if self
            .seen
            .as_ref()
            .is_some_and(|seen| seen.is_settled && seen.stamp == stamp)
        {
            return None;
        }
        let read = read(&self.path);
        let content = match &read {
            Ok(text) => Ok(self.hasher.hash_one(text)),
            Err(error) => Err(error.kind()),
        };
        let is_news = self.seen.as_ref().is_none_or(|seen| seen.content != content);
        self.seen = Some(Seen {
            is_settled: stamp.is_ok_and(|stamp| !stamp.is_recent(now)),
            stamp,
            content,
        });
        is_news.then_some(read)
    }
}

pub(super) fn read(path: &Path) -> io::Result<String> {
    let data = fs::metadata(path)?;
    if !data.is_file() || data.len() > LARGEST {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("not a file of at most {LARGEST} bytes"),
        ));
    }
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn name_servers_are_the_first_three_in_their_order() {
        let text = "# nameserver 192.0.2.9\n; x\nsearch bad..name lan\nnameserver 192.0.2.2\n nameserver\t192.0.2.1 \n\
                    nameserver\nnameserver dns\nnameserver 192.0.2.2\noptions timeout:1\nnameserver fe80::1%eth0\n\
                    nameserver 192.0.2.4\n";
        let servers: Vec<_> = name_servers(text).iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.2:53", "192.0.2.1:53", "[fe80::1]:53"]);
    }

    #[test]
    fn hosts_file_gives_every_address_of_every_name() {
        let text = "127.0.0.1 localhost\n192.0.2.1 DB.example.com db # 192.0.2.9 x\n2001:db8::1 db\n\n0.0.0.0 ads\n\
                    ::ffff:192.0.2.3 db\nnonsense db\n";
        let set = |list: &[&str]| {
            list.iter()
                .map(|a| a.parse().unwrap())
                .collect::<BTreeSet<IpAddr>>()
        };
        let expected = Listed::from([
            (Host::new("db.example.com"), set(&["192.0.2.1"])),
            (Host::new("db"), set(&["192.0.2.1", "192.0.2.3", "2001:db8::1"])),
        ]);
        assert_eq!(listed(text), expected);
    }

    #[test]
    fn file_is_read_once_for_each_content_wherever_it_comes_from() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        let mut followed = Followed::new(&path);
        let mut next = || {
            followed
                .read_if_changed()
                .map(|read| read.map_err(|error| error.kind()))
        };
        assert_eq!(next(), Some(Err(io::ErrorKind::NotFound)));
        assert_eq!(next(), None);
        fs::write(&path, "one").unwrap();
        assert_eq!(next(), Some(Ok("one".into())));
        assert_eq!(next(), None);
        let other = folder.path().join("other");
        fs::write(&other, "two").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(next(), Some(Ok("two".into())));
        fs::write(&path, "three").unwrap();
        assert_eq!(next(), Some(Ok("three".into())));
        fs::remove_file(&path).unwrap();
        assert_eq!(next(), Some(Err(io::ErrorKind::NotFound)));
        assert_eq!(next(), None);
    }
}
