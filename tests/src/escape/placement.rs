//! Who calls, from where, and since when.

use std::{fs, io, process::Stdio, thread};

use nix::sched::{CloneFlags, unshare};

use super::{Begins, ClosedBy, Escape, escape, kinds, packet, stage::Stage, sys, tcp, udp};

pub(super) static ESCAPES: &[Escape] = &[
    escape("nested cgroup", ClosedBy::Rules, |stage| {
        let nested = nested(stage)?;
        fs::write(nested.join("cgroup.procs"), "0")?;
        tcp::attempt(&tcp::tcp()?, &stage.refused4())
    }),
    escape("cgroup namespace", ClosedBy::Rules, |stage| {
        unshare(CloneFlags::CLONE_NEWCGROUP)?;
        tcp::attempt(&tcp::tcp()?, &stage.refused4())
    }),
    escape("thread in another cgroup", ClosedBy::Rules, |stage| {
        let nested = nested(stage)?;
        fs::write(nested.join("cgroup.type"), "threaded")?;
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                fs::write(nested.join("cgroup.threads"), "0")?;
                tcp::attempt(&tcp::tcp()?, &stage.refused4())
            });
            thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
        })
    }),
    escape("fork and exec", ClosedBy::Rules, |stage| {
        if stage.role.is_empty() {
            return stage.spawn("child", fs::File::open("/dev/null")?.into());
        }
        tcp::attempt(&tcp::tcp()?, &stage.refused4())
    }),
    escape("another program", ClosedBy::Rules, |stage| {
        let to = format!("exec 3<>/dev/tcp/{}/{}", super::stage::REFUSED4, stage.port);
        let output = std::process::Command::new("bash")
            .args(["-c", &to])
            .stderr(Stdio::piped())
            .output()?;
        let text = String::from_utf8_lossy(&output.stderr);
        if text.contains("Operation not permitted") {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        Ok(())
    }),
    before("tcp socket from before", ClosedBy::Rules, |stage| {
        let socket = tcp::tcp()?;
        stage.ready()?;
        tcp::attempt(&socket, &stage.refused4())
    }),
    before("udp socket from before", ClosedBy::Rules, |stage| {
        let socket = udp::udp()?;
        stage.ready()?;
        udp::send(stage, &socket, &stage.refused4())
    }),
    before("udp-lite socket from before", ClosedBy::Guard, |stage| {
        let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 136)?;
        stage.ready()?;
        udp::send(stage, &socket, &stage.refused4())
    }),
    before("raw icmp socket from before", ClosedBy::Guard, |stage| {
        let socket = sys::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)?;
        stage.ready()?;
        sys::sendto(&socket, &kinds::echo(stage, 8), 0, Some(&kinds::to4()))
    }),
    before(
        "icmp datagram socket of ipv6 from before",
        ClosedBy::Guard,
        |stage| {
            let socket = sys::socket(libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_ICMPV6)?;
            stage.ready()?;
            let mut to = stage.refused6();
            to[2..4].fill(0);
            sys::sendto(&socket, &kinds::echo(stage, 128), 0, Some(&to))
        },
    ),
    before(
        "raw udp socket from before",
        ClosedBy::Call("lsm_sendmsg"),
        |stage| {
            let socket = sys::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_UDP)?;
            stage.ready()?;
            sys::sendto(&socket, &kinds::datagram(stage), 0, Some(&kinds::to4()))
        },
    ),
    before(
        "packet socket from before",
        ClosedBy::Call("lsm_sendmsg"),
        |stage| {
            let socket = sys::socket(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
            stage.ready()?;
            packet::send_frame(stage, &socket)
        },
    ),
    before(
        "socket with a source route from before",
        ClosedBy::Guard,
        |stage| {
            let socket = udp::udp()?;
            let mut route = vec![131, 7, 4];
            route.extend(super::stage::REFUSED4.octets());
            route.push(0);
            sys::setsockopt(&socket, libc::SOL_IP, libc::IP_OPTIONS, &route)?;
            stage.ready()?;
            udp::send(stage, &socket, &super::stage::allowed4())
        },
    ),
    before("udp socket connected before", ClosedBy::Revocation, |stage| {
        let socket = udp::udp()?;
        sys::connect(&socket, &stage.refused4())?;
        stage.ready()?;
        sys::sendto(&socket, &stage.token(), 0, None)
    }),
];

const fn before(name: &'static str, closed_by: ClosedBy, attempt: fn(&Stage) -> io::Result<()>) -> Escape {
    Escape {
        begins: Begins::Before,
        ..escape(name, closed_by, attempt)
    }
}

fn nested(stage: &Stage) -> io::Result<std::path::PathBuf> {
    let nested = stage.cgroup.join(format!("nested-{}", stage.port));
    fs::create_dir(&nested)?;
    Ok(nested)
}
