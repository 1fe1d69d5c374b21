//! Servers that answer, which has to work: to whom they received from, and to nobody else.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    os::fd::OwnedFd,
    time::Duration,
};

use super::{
    Begins, ClosedBy, Escape, Evidence, escape,
    peer::{self, Peer},
    stage::{INNER4, INNER6, REFUSED4, REFUSED6, Stage, name},
    sys::{self, Message},
    tcp, udp,
    unspecified::{source4, source6},
};

/// How long a packet may be on its way.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) static ESCAPES: &[Escape] = &[
    works("udp server answers", |stage| {
        answered(stage, V4, udp::udp, |socket, client, stage| {
            udp::send(stage, socket, client)
        })
    }),
    works("udp server answers, ipv6", |stage| {
        answered(stage, V6, udp::udp6, |socket, client, stage| {
            udp::send(stage, socket, client)
        })
    }),
    works("udp server answers, v4-mapped", |stage| {
        answered(stage, V4, udp::udp6, |socket, client, stage| {
            udp::send(stage, socket, client)
        })
    }),
    works("udp server answers by sendmsg with IP_PKTINFO", |stage| {
        answered(stage, V4, udp::udp, |socket, client, stage| {
            let source = source4(INNER4, 0);
            let control = (libc::SOL_IP, libc::IP_PKTINFO, source.as_slice());
            Message::new(&stage.token(), client, Some(control)).send(socket)
        })
    }),
    works("udp server answers by sendmsg with IPV6_PKTINFO", |stage| {
        answered(stage, V6, udp::udp6, |socket, client, stage| {
            let source = source6(INNER6, 0);
            let control = (libc::SOL_IPV6, libc::IPV6_PKTINFO, source.as_slice());
            Message::new(&stage.token(), client, Some(control)).send(socket)
        })
    }),
    works("udp server answers by sendmmsg", |stage| {
        answered(stage, V4, udp::udp, |socket, client, stage| {
            let message = || Message::new(&stage.token(), client, None);
            Message::send_all(vec![message(), message()], socket)
        })
    }),
    works("udp server answers by io_uring", |stage| {
        answered(stage, V4, udp::udp, |socket, client, stage| {
            Message::new(&stage.token(), client, None).send_by_ring(socket)
        })
    }),
    works("udp server connects to its client and answers", |stage| {
        answered(stage, V4, udp::udp, |socket, client, stage| {
            sys::connect(socket, client)?;
            sys::sendto(socket, &stage.token(), 0, None)
        })
    }),
    works("udp server on a socket from outside answers", |stage| {
        if !stage.role.is_empty() {
            return client(stage, V4);
        }
        let mut peer = Peer::start(stage, "client")?;
        let socket = server(stage, V4, udp::udp)?;
        stage.join()?;
        peer.go()?;
        let (_, client) = sys::recvfrom(&socket)?;
        udp::send(stage, &socket, &client)?;
        peer.finish()
    }),
    works(
        "accepted tcp connection answered by sendto with a name",
        |stage| {
            accepted(stage, V4, tcp::tcp, |socket, client, stage| {
                sys::sendto(socket, &stage.token(), 0, Some(client))
            })
        },
    ),
    works(
        "accepted tcp connection answered by sendto with a name, ipv6",
        |stage| {
            accepted(stage, V6, tcp::tcp6, |socket, client, stage| {
                sys::sendto(socket, &stage.token(), 0, Some(client))
            })
        },
    ),
    works(
        "accepted tcp connection answered by sendto with a name, v4-mapped",
        |stage| {
            accepted(stage, V4, tcp::tcp6, |socket, client, stage| {
                sys::sendto(socket, &stage.token(), 0, Some(client))
            })
        },
    ),
    works(
        "accepted tcp connection answered by sendmsg with a name",
        |stage| {
            accepted(stage, V4, tcp::tcp, |socket, client, stage| {
                Message::new(&stage.token(), client, None).send(socket)
            })
        },
    ),
    works("accepted tcp connection answered by write", |stage| {
        accepted(stage, V4, tcp::tcp, |socket, _, stage| {
            nix::unistd::write(socket, &stage.token())?;
            Ok(())
        })
    }),
    refused("udp server answers another port of its client", |stage| {
        asked(stage, V4, udp::udp, |socket, _, stage| {
            udp::send(stage, socket, &stage.refused4())
        })
    }),
    refused("udp server answers another port of its client, ipv6", |stage| {
        asked(stage, V6, udp::udp6, |socket, _, stage| {
            udp::send(stage, socket, &stage.refused6())
        })
    }),
    refused("another udp socket answers the server's client", |stage| {
        asked(stage, V4, udp::udp, |_, client, stage| {
            udp::send(stage, &udp::udp()?, client)
        })
    }),
    refused("tcp connects to the client of a udp server", |stage| {
        asked(stage, V4, udp::udp, |_, client, stage| {
            tcp::attempt(&tcp::from_port(stage)?, client)
        })
    }),
    Escape {
        evidence: Evidence::Success,
        ..refused(
            "tcp connects back to the client of an accepted connection",
            |stage| {
                accepted(stage, V4, tcp::tcp, |socket, _, stage| {
                    tcp::attempt(&tcp::tcp()?, &stage.refused4())?;
                    // The client is content with anything.
                    sys::sendto(socket, &stage.token(), 0, None)
                })
            },
        )
    },
];

/// The server's own address, and its client's.
type Ends = (IpAddr, IpAddr);
const V4: Ends = (IpAddr::V4(INNER4), IpAddr::V4(REFUSED4));
const V6: Ends = (IpAddr::V6(INNER6), IpAddr::V6(REFUSED6));

type Make = fn() -> io::Result<OwnedFd>;
type Answer = fn(&OwnedFd, &[u8], &Stage) -> io::Result<()>;

const fn works(name: &'static str, attempt: fn(&Stage) -> io::Result<()>) -> Escape {
    Escape {
        begins: Begins::Outside,
        evidence: Evidence::Success,
        ..escape(name, ClosedBy::Allowed, attempt)
    }
}

const fn refused(name: &'static str, attempt: fn(&Stage) -> io::Result<()>) -> Escape {
    Escape {
        begins: Begins::Outside,
        ..escape(name, ClosedBy::Rules, attempt)
    }
}

/// A datagram server that is asked, and does what is to be tried; the client says whether it got an answer.
fn answered(stage: &Stage, ends: Ends, make: Make, answer: Answer) -> io::Result<()> {
    if !stage.role.is_empty() {
        return client(stage, ends);
    }
    let mut peer = Peer::start(stage, "client")?;
    serve(stage, ends, make, (&mut peer, answer))?;
    peer.finish()
}

/// The same; what the client gets does not matter.
fn asked(stage: &Stage, ends: Ends, make: Make, answer: Answer) -> io::Result<()> {
    if !stage.role.is_empty() {
        return client(stage, ends);
    }
    serve(stage, ends, make, (&mut Peer::start(stage, "client")?, answer))
}

fn serve(stage: &Stage, ends: Ends, make: Make, (peer, answer): (&mut Peer, Answer)) -> io::Result<()> {
    stage.join()?;
    let socket = server(stage, ends, make)?;
    peer.go()?;
    let (_, client) = sys::recvfrom(&socket)?;
    answer(&socket, &client, stage)
}

fn server(stage: &Stage, (own, _): Ends, make: Make) -> io::Result<OwnedFd> {
    let socket = make()?;
    sys::give_up_after(&socket, PATIENCE)?;
    sys::bind(&socket, &bound_name(stage, &socket, own)?)?;
    Ok(socket)
}

/// The unspecified address of the socket's own family: a server that listens to all.
fn bound_name(stage: &Stage, socket: &OwnedFd, own: IpAddr) -> io::Result<Vec<u8>> {
    let any: IpAddr = if own.is_ipv6() || sys::is_ipv6(socket)? {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    };
    Ok(name(SocketAddr::from((any, stage.port))))
}

/// Asks, and waits for the answer.
fn client(stage: &Stage, (server, own): Ends) -> io::Result<()> {
    peer::wait_outside()?;
    let socket = UdpSocket::bind((own, 0))?;
    socket.connect((server, stage.port))?;
    socket.send(b"a question")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut data = [0; 64];
    let size = socket.recv(&mut data)?;
    if data[..size] == stage.token() {
        Ok(())
    } else {
        Err(io::Error::other("something else is the answer"))
    }
}

/// A stream server that is connected to, and does what is to be tried.
fn accepted(stage: &Stage, ends: Ends, make: Make, answer: Answer) -> io::Result<()> {
    if !stage.role.is_empty() {
        peer::wait_outside()?;
        let mut stream = TcpStream::connect_timeout(&(ends.0, stage.port).into(), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut data = vec![0; stage.token().len()];
        return io::Read::read_exact(&mut stream, &mut data);
    }
    let mut peer = Peer::start(stage, "client")?;
    stage.join()?;
    let socket = server(stage, ends, make)?;
    sys::listen(&socket)?;
    peer.go()?;
    let (connection, client) = sys::accept(&socket)?;
    answer(&connection, &client, stage)?;
    drop(connection);
    peer.finish()
}
