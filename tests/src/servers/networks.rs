//! Two networks with a cable between them: a server in one, its clients in the other.

use std::{
    fs::File,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    os::fd::AsFd as _,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
};

use crate::fixture::{End, add_address, add_gateway, device_up, lay_cable, loopback_up};

/// The server's addresses.
pub const SERVER4: Ipv4Addr = Ipv4Addr::new(198, 18, 8, 1);
/// See [`SERVER4`].
pub const SERVER6: Ipv6Addr = Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, 1);
/// The clients' addresses, of which no rule speaks.
pub const CLIENT4: Ipv4Addr = Ipv4Addr::new(198, 18, 8, 2);
/// See [`CLIENT4`].
pub const CLIENT6: Ipv6Addr = Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, 2);
/// An address beside the clients', for a server that servers ask and that is registered.
pub const UPSTREAM4: Ipv4Addr = Ipv4Addr::new(198, 18, 8, 53);

/// How long a client waits for an answer.
pub const PATIENCE: Duration = Duration::from_secs(2);

const SERVER: End = End {
    device: "server",
    station: [2, 0, 0, 0, 1, 1],
};
const CLIENT: End = End {
    device: "client",
    station: [2, 0, 0, 0, 1, 2],
};

/// The two networks.
pub struct Networks {
    client: File,
    server: File,
}

/// Runs `work` in a thread that is in the server's network, and whose mounts are its own.
///
/// # Errors
/// What `work` returns; or if this process may not make namespaces.
pub fn in_two_networks<T: Send>(work: impl FnOnce(&Networks) -> Result<T> + Send) -> Result<T> {
    join(|| {
        unshare(CloneFlags::CLONE_NEWNS).context("making a mount namespace")?;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).context("keeping mounts to itself")?;
        work(&Networks::make()?)
    })
}

impl Networks {
    /// Makes two more, and leaves this thread in the server's.
    ///
    /// # Errors
    /// If this process may not make namespaces.
    pub fn make() -> Result<Self> {
        let client = enter_new_network()?;
        let server = enter_new_network()?;
        lay_cable(SERVER, CLIENT, client.as_fd())?;
        raise(SERVER.device, &[SERVER4.into(), SERVER6.into()])?;
        setns(&client, CloneFlags::CLONE_NEWNET)?;
        raise(CLIENT.device, &[CLIENT4.into(), CLIENT6.into(), UPSTREAM4.into()])?;
        setns(&server, CloneFlags::CLONE_NEWNET)?;
        Ok(Self { client, server })
    }

    /// Has this thread enter the server's network.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn enter(&self) -> Result<()> {
        setns(&self.server, CloneFlags::CLONE_NEWNET).context("entering the server's network")
    }

    /// Runs `work` in a thread that is in the clients' network. A socket that it makes stays there, whoever has it.
    ///
    /// # Errors
    /// What `work` returns.
    pub fn at_client<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        join(|| {
            setns(&self.client, CloneFlags::CLONE_NEWNET).context("entering the clients' network")?;
            work()
        })
    }

    /// Runs `work` in this thread while it is in the clients' network: a process that it starts ends with this thread.
    ///
    /// # Errors
    /// What `work` returns.
    pub fn here_at_client<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        setns(&self.client, CloneFlags::CLONE_NEWNET).context("entering the clients' network")?;
        let result = work();
        setns(&self.server, CloneFlags::CLONE_NEWNET).context("leaving the clients' network")?;
        result
    }

    /// Gives both sides an address of one more network.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn add(&self, server: IpAddr, client: IpAddr) -> Result<()> {
        add_address(SERVER.device, server)?;
        self.at_client(|| add_address(CLIENT.device, client))
    }

    /// Gives the clients' side one more address of the networks that both have.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn add_at_client(&self, address: IpAddr) -> Result<()> {
        self.at_client(|| add_address(CLIENT.device, address))
    }

    /// How many TCP connections the clients' side has accepted in all.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn accepted_at_client(&self) -> Result<u64> {
        let text = self.at_client(|| Ok(std::fs::read_to_string("/proc/thread-self/net/snmp")?))?;
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
        let mut words = || Some(lines.next()?.split(' '));
        let (names, values) = (words().context("no names")?, words().context("no values")?);
        let mut counters = names.zip(values);
        let (_, value) = counters
            .find(|(name, _)| *name == "PassiveOpens")
            .context("there is no PassiveOpens")?;
        Ok(value.parse()?)
    }

    /// Has the server's side send whatever it has no other way for to the clients' side, which lets it go no further.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn lead_to_client(&self) -> Result<()> {
        add_gateway(SERVER.device, CLIENT4.into())?;
        add_gateway(SERVER.device, CLIENT6.into())
    }

    /// A client's connection.
    ///
    /// # Errors
    /// If nobody accepts it.
    pub fn connect(&self, to: SocketAddr) -> Result<TcpStream> {
        let connect = || TcpStream::connect_timeout(&to, PATIENCE);
        self.at_client(|| Ok(limited(connect()?)?))
            .with_context(|| format!("connecting to {to}"))
    }

    /// A client's datagram socket that takes answers from the server alone.
    ///
    /// # Errors
    /// If the machine does not let it.
    pub fn datagrams(&self, to: SocketAddr) -> Result<UdpSocket> {
        let from: IpAddr = if to.is_ipv4() {
            CLIENT4.into()
        } else {
            CLIENT6.into()
        };
        self.at_client(|| {
            let socket = UdpSocket::bind((from, 0))?;
            socket.connect(to)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        })
    }
}

fn limited(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn enter_new_network() -> Result<File> {
    unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace")?;
    loopback_up()?;
    File::open("/proc/thread-self/ns/net").context("opening the network namespace")
}

fn raise(device: &str, addresses: &[IpAddr]) -> Result<()> {
    for address in addresses {
        add_address(device, *address)?;
    }
    device_up(device)
}

/// Runs `work` in a thread of its own.
fn join<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
