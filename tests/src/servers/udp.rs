//! Servers that answer datagrams, in every shape that server programs have, and clients that ask them.

mod serve;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::{
    networks::{CLIENT4, CLIENT6, Networks, PATIENCE, SERVER4, SERVER6},
    process::{self, Process, say},
    traffic::Tally,
};
use serve::{
    WORKER, after_a_look, by_a_worker, by_ring, connected, from_the_asked, in_segments, late, many_at_once,
    plain, second_socket, threads, work, workers,
};

/// How a server answers.
pub struct Shape {
    /// What it is called.
    pub name: &'static str,
    /// Where it listens.
    listens: IpAddr,
    /// What its clients ask.
    asked: IpAddr,
    /// How many ask at the same time.
    clients: usize,
    serve: fn(UdpSocket) -> io::Result<()>,
}

const PORT: u16 = 5060;
/// Clients that ask at the same time, unless the server's socket is one client's for a moment.
const CLIENTS: usize = 4;
/// How long the server that answers late is silent, in seconds.
const SILENCE: &str = "ENFORCER_SERVERS_SILENCE";
const ANY4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const ANY6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
const ONE4: IpAddr = IpAddr::V4(SERVER4);
const ONE6: IpAddr = IpAddr::V6(SERVER6);

/// Every shape.
pub static SHAPES: &[Shape] = &[
    shape("recvfrom and sendto", ONE4, ONE4, plain),
    shape("recvfrom and sendto, any address", ANY4, ONE4, plain),
    shape("recvfrom and sendto, ipv6", ONE6, ONE6, plain),
    shape(
        "recvfrom and sendto, both families, ipv4 client",
        ANY6,
        ONE4,
        plain,
    ),
    shape(
        "recvfrom and sendto, both families, ipv6 client",
        ANY6,
        ONE6,
        plain,
    ),
    shape(
        "sendmsg from the address that was asked",
        ANY4,
        ONE4,
        from_the_asked,
    ),
    shape(
        "sendmsg from the address that was asked, ipv6",
        ANY6,
        ONE6,
        from_the_asked,
    ),
    shape(
        "sendmsg from the address that was asked, both families",
        ANY6,
        ONE4,
        from_the_asked,
    ),
    shape("recvmmsg and sendmmsg", ONE4, ONE4, many_at_once),
    shape(
        "looks at the datagram before it takes it",
        ONE4,
        ONE4,
        after_a_look,
    ),
    shape("answer of several segments", ONE4, ONE4, in_segments),
    shape("sendmsg by io_uring", ONE4, ONE4, by_ring),
    shape("workers with a socket each on one port", ONE4, ONE4, workers),
    shape("threads that share the socket", ONE4, ONE4, threads),
    shape(
        "answer by a worker that was given the socket",
        ONE4,
        ONE4,
        by_a_worker,
    ),
    alone(shape(
        "socket that is connected to its client",
        ONE4,
        ONE4,
        connected,
    )),
    alone(shape(
        "socket that is connected to its client, ipv6",
        ONE6,
        ONE6,
        connected,
    )),
    alone(shape(
        "second socket on its port, connected to its client",
        ONE4,
        ONE4,
        second_socket,
    )),
    alone(shape(
        "second socket on its port, connected to its client, ipv6",
        ONE6,
        ONE6,
        second_socket,
    )),
    shape(
        "asked by broadcast",
        ANY4,
        IpAddr::V4(Ipv4Addr::new(198, 18, 8, 255)),
        plain,
    ),
    alone(shape("answer after a silence", ONE4, ONE4, late)),
];

const fn shape(
    name: &'static str,
    listens: IpAddr,
    asked: IpAddr,
    serve: fn(UdpSocket) -> io::Result<()>,
) -> Shape {
    Shape {
        name,
        listens,
        asked,
        clients: CLIENTS,
        serve,
    }
}

/// Asked by one client at a time.
const fn alone(shape: Shape) -> Shape {
    Shape { clients: 1, ..shape }
}

impl Shape {
    /// Has clients ask a server of this shape, a process of `program` in `cgroup`, for a while.
    ///
    /// # Errors
    /// If the server cannot be started.
    pub fn run(
        &self,
        networks: &Networks,
        (program, cgroup): (&Path, &Path),
        time: Duration,
    ) -> Result<Tally> {
        let _server = Process::start(program, cgroup, &["udp", self.name])?;
        let mut number = 0;
        Ok(Tally::of(time, || {
            number += 1;
            self.ask(networks, number)
        }))
    }

    /// Clients of new ports ask together, and each waits for its answer.
    fn ask(&self, networks: &Networks, number: u32) -> Result<()> {
        let from: IpAddr = if self.asked.is_ipv4() {
            CLIENT4.into()
        } else {
            CLIENT6.into()
        };
        let patience = PATIENCE + silence()?;
        let sockets = networks.at_client(|| {
            let clients = 0..self.clients;
            let made = clients.map(|_| -> io::Result<UdpSocket> {
                let socket = UdpSocket::bind((from, 0))?;
                socket.set_broadcast(true)?;
                socket.set_read_timeout(Some(patience))?;
                Ok(socket)
            });
            Ok(made.collect::<io::Result<Vec<_>>>()?)
        })?;
        let ask = |client: usize, socket: &UdpSocket| {
            let question = format!("{number}/{client}");
            socket.send_to(question.as_bytes(), (self.asked, PORT))
        };
        for (client, socket) in sockets.iter().enumerate() {
            ask(client, socket)?;
        }
        for (client, socket) in sockets.iter().enumerate() {
            let mut answer = [0; 64];
            // As clients do: the kernel may give a datagram to a socket on the port that is just being closed. What is
            // refused is refused again.
            let answered = match socket.recv_from(&mut answer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ask(client, socket)?;
                    socket.recv_from(&mut answer)
                }
                answered => answered,
            };
            let (size, server) = answered.with_context(|| format!("{}: no answer", self.name))?;
            let expected = format!("re {number}/{client}");
            ensure!(
                answer[..size] == *expected.as_bytes(),
                "{}: another answer",
                self.name
            );
            ensure!(
                server.port() == PORT,
                "{}: the answer is from {server}",
                self.name
            );
        }
        Ok(())
    }
}

/// The server's main: `CGROUP SHAPE`.
pub(super) fn main(cgroup: &Path, name: &str) -> Result<()> {
    process::join(cgroup)?;
    if name == WORKER {
        return Ok(work()?);
    }
    let shape = SHAPES.iter().find(|shape| shape.name == name);
    let shape = shape.with_context(|| format!("no shape is called {name}"))?;
    let socket = serve::open(SocketAddr::new(shape.listens, PORT))?;
    say("ready")?;
    Ok((shape.serve)(socket)?)
}

/// How long the server that answers late is silent.
fn silence() -> Result<Duration> {
    let seconds = std::env::var(SILENCE).map_or(Ok(0.3), |text| text.parse::<f32>());
    let seconds = seconds.with_context(|| format!("{SILENCE} is no number of seconds"))?;
    Ok(Duration::try_from_secs_f32(seconds)?)
}
