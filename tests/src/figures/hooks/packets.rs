//! What each packet costs: over a cable, because packets to the loopback device are let through at once.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
};

use anyhow::{Context as _, Result};
use figure::{Figure, Goal, Series, Spread, greatest};

use super::{
    Amount, OURS,
    hook::{ASK, EGRESS, INGRESS, LEARN},
    stage::{By, PORT, Place, Shape, Stage, V4, nanoseconds},
};
use crate::servers::networks::{Networks, in_two_networks};

/// Who sends.
const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 255, 1));
const TO: SocketAddr = SocketAddr::new(IpAddr::V4(V4), PORT);

/// What a packet takes beside an empty program.
pub(super) fn take(amount: Amount) -> Result<Figure> {
    in_two_networks(|networks| measure(networks, amount))
}

fn measure(networks: &Networks, amount: Amount) -> Result<Figure> {
    networks.add(FROM, TO.ip())?;
    let mut figure = Figure::new("hooks-packets", "A packet, over an empty program", "ns");
    let stage = Stage::new(Shape::of(By::Own))?;
    let (listener, sink) = networks.at_client(|| Ok((TcpListener::bind(TO)?, UdpSocket::bind(TO)?)))?;
    let streams = [Place::Ours, Place::Empty].map(|place| -> Result<_> {
        let stream = stage.inside(place, || {
            TcpStream::connect(TO).context("connecting over the cable")
        })?;
        stream.set_nodelay(true)?;
        let (peer, _) = listener.accept()?;
        peer.set_nodelay(true)?;
        let echo = thread::spawn(move || std::io::copy(&mut &peer, &mut &peer));
        let datagrams = stage.inside(place, || Ok(UdpSocket::bind((FROM, 0))?))?;
        Ok((place, stream, echo, datagrams))
    });
    let streams: Vec<_> = streams.into_iter().collect::<Result<_>>()?;
    let cases = [
        ("TCP, leaving", EGRESS, true),
        ("TCP, arriving", INGRESS, true),
        ("UDP, leaving", EGRESS, false),
        ("UDP, arriving", INGRESS, false),
        ("TCP, leaving, is it a question?", ASK, true),
        ("TCP, arriving, is it an answer?", LEARN, true),
        ("UDP, leaving, is it a question?", ASK, false),
        ("UDP, arriving, is it an answer?", LEARN, false),
    ];
    for (case, hook, is_stream) in cases {
        let mut samples = Vec::new();
        for round in 0..=amount.rounds {
            let mut means = [0.0; 2];
            for ((place, stream, _, datagrams), mean) in streams.iter().zip(&mut means) {
                let exchange = || {
                    for _ in 0..amount.calls {
                        match (is_stream, hook.attach_type == EGRESS.attach_type) {
                            (true, _) => {
                                (&mut &*stream).write_all(b"x").context("sending")?;
                                (&mut &*stream).read_exact(&mut [0]).context("receiving")?;
                            }
                            (false, true) => drop(datagrams.send_to(b"x", TO)?),
                            (false, false) => drop(sink.send_to(b"x", datagrams.local_addr()?)?),
                        }
                    }
                    Ok(())
                };
                // The caller of a datagram's send is judged.
                let runs = stage.inside(*place, || stage.runs(*place, hook, exchange))?;
                *mean = nanoseconds(runs)?;
            }
            // The first round warms up.
            if round > 0 {
                samples.push(means[0] - means[1]);
            }
        }
        figure.series.push(Series::new(case, OURS, samples));
    }
    for (_, stream, echo, _) in streams {
        drop(stream);
        drop(echo.join());
    }
    let most = |wanted: &str| {
        let cases = figure.series.iter().filter(|series| series.case == wanted);
        greatest(cases.map(|series| Spread::of(&series.samples).map_or(f64::NAN, |spread| spread.median)))
    };
    figure.goals = vec![
        Goal::at_most(
            "a TCP packet takes at most 10 ns more than an empty program",
            most("TCP, leaving"),
            10.0,
        ),
        Goal::at_most(
            "a datagram takes at most 10 ns more than an empty program",
            most("UDP, leaving"),
            10.0,
        ),
    ];
    Ok(figure)
}
