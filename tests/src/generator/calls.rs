//! Steps as system calls. What a call comes to does not matter, but that of plain ones.

use std::{
    io::{self, Seek as _, Write as _},
    net::IpAddr,
    os::fd::{AsFd as _, OwnedFd},
};

use super::{
    names::Name,
    step::{Call, Control, Device, Plain, SLOTS, Step, Value},
};
use crate::escape::{
    stage::{self, REFUSED4, REFUSED6},
    sys::{self, Message},
};

/// The sockets of a sequence.
#[derive(Default)]
pub(super) struct Holder {
    slots: [Option<OwnedFd>; SLOTS as usize],
}

impl Holder {
    pub(super) fn get(&self, slot: u8) -> Option<&OwnedFd> {
        self.slots.get(usize::from(slot))?.as_ref()
    }

    pub(super) fn put(&mut self, slot: u8, socket: Option<OwnedFd>) {
        if let Some(place) = self.slots.get_mut(usize::from(slot)) {
            *place = socket;
        }
    }

    /// Does one step. Most of them fail: that is their nature.
    pub(super) fn take(&mut self, step: &Step, token: &[u8]) {
        if let Err(error) = self.attempt(step, token) {
            drop(error);
        }
    }

    fn attempt(&mut self, step: &Step, token: &[u8]) -> io::Result<()> {
        let socket = |slot: u8| self.get(slot).ok_or(io::ErrorKind::NotFound);
        match step {
            Step::Socket {
                slot,
                family,
                kind,
                protocol,
            } => {
                let socket = sys::socket(*family, *kind | libc::SOCK_NONBLOCK, *protocol)?;
                self.put(*slot, Some(socket));
                Ok(())
            }
            Step::Option {
                slot,
                level,
                option,
                value,
            } => sys::setsockopt(socket(*slot)?, *level, *option, &bytes(*value)?),
            Step::Bind { slot, name } => sys::bind(socket(*slot)?, &name.bytes()?),
            Step::Connect { slot, name, by } => {
                let (socket, name) = (socket(*slot)?, name.bytes()?);
                if *by == Call::Ring {
                    sys::connect_by_ring(socket, &name)
                } else {
                    sys::connect(socket, &name)
                }
            }
            Step::Listen { slot } => sys::listen(socket(*slot)?),
            Step::Accept { slot, into } => {
                let (connection, _) = sys::accept(socket(*slot)?)?;
                sys::never_wait(&connection)?;
                self.put(*into, Some(connection));
                Ok(())
            }
            Step::Send {
                slot,
                by,
                flags,
                name,
                control,
            } => {
                let what = Sending {
                    by: *by,
                    flags: *flags,
                    name: *name,
                    control: *control,
                };
                what.send(socket(*slot)?, token)
            }
            Step::Receive { slot } => sys::recvfrom(socket(*slot)?).map(|_| ()),
            Step::Shutdown { slot, how } => sys::shutdown(socket(*slot)?, *how),
            Step::Duplicate { slot, into } => {
                let copy = socket(*slot)?.try_clone()?;
                self.put(*into, Some(copy));
                Ok(())
            }
            Step::Close { slot } => {
                self.put(*slot, None);
                Ok(())
            }
            Step::Plain { is_v6, by } => plain(*is_v6, *by, token).map(|_| ()),
        }
    }
}

/// A message, and how it is sent.
struct Sending {
    by: Call,
    flags: i32,
    name: Option<Name>,
    control: Option<Control>,
}

impl Sending {
    fn send(&self, socket: &OwnedFd, token: &[u8]) -> io::Result<()> {
        let flags = self.flags | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let name = self.name.map(|name| name.bytes()).transpose()?;
        match self.by {
            Call::Sendto => return sys::sendto(socket, token, flags, name.as_deref()),
            Call::Write => return sys::sendto(socket, token, flags & !self.flags, None),
            Call::Splice => {
                let (end, mut beginning) = io::pipe()?;
                beginning.write_all(token)?;
                return sys::splice(&end, socket, token.len());
            }
            Call::Sendfile => {
                let mut file = sys::memory_file()?;
                file.write_all(token)?;
                file.rewind()?;
                return sys::sendfile(socket, &file, token.len());
            }
            Call::Sendmsg | Call::Sendmmsg | Call::Ring => {}
        }
        let value = self.control.map(|control| bytes(control.value)).transpose()?;
        let control = self
            .control
            .zip(value.as_deref())
            .map(|(control, value)| (control.level, control.kind, value));
        let message = Message::new(token, &name.unwrap_or_default(), control);
        match self.by {
            Call::Ring => message.send_by_ring(socket),
            Call::Sendmmsg => {
                let first = Message::new(token, &Name::allowed(sys::is_ipv6(socket)?).bytes()?, None);
                Message::send_all(vec![first, message], socket)
            }
            _ => message.send_with(socket, flags),
        }
    }
}

/// What has to arrive of a plain call.
pub(super) enum Sent {
    Token,
    /// Something from this port.
    From(u16),
}

/// What every program may do.
pub(super) fn plain(is_v6: bool, by: Plain, token: &[u8]) -> io::Result<Sent> {
    let family = if is_v6 { libc::AF_INET6 } else { libc::AF_INET };
    let to = Name::allowed(is_v6).bytes()?;
    if matches!(by, Plain::Tcp) {
        let socket = sys::socket(family, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
        return match sys::connect(&socket, &to) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::ECONNREFUSED)) => {
                Ok(Sent::From(sys::own_port(&socket)?))
            }
            Err(error) => Err(error),
            Ok(()) => Ok(Sent::From(sys::own_port(&socket)?)),
        };
    }
    let socket = sys::socket(family, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK, 0)?;
    let message = || Message::new(token, &to, None);
    match by {
        Plain::Sendto => sys::sendto(&socket, token, 0, Some(&to))?,
        Plain::Sendmsg => message().send(&socket)?,
        Plain::Sendmmsg => Message::send_all(vec![message(), message()], &socket)?,
        Plain::ConnectAndSend => {
            sys::connect(&socket, &to)?;
            sys::sendto(&socket, token, 0, None)?;
        }
        Plain::Duplicate => sys::sendto(&socket.as_fd().try_clone_to_owned()?, token, 0, Some(&to))?,
        Plain::Tcp => {}
    }
    Ok(Sent::Token)
}

fn index(device: Device) -> io::Result<u32> {
    Ok(match device {
        Device::None => 0,
        Device::Loopback => 1,
        Device::Cable => stage::device()?,
    })
}

fn bytes(value: Value) -> io::Result<Vec<u8>> {
    Ok(match value {
        Value::Number(number) => number.to_ne_bytes().to_vec(),
        Value::Swapped(device) => index(device)?.to_be_bytes().to_vec(),
        Value::Named(Device::None) => b"\0".to_vec(),
        Value::Named(Device::Loopback) => b"lo\0".to_vec(),
        Value::Named(Device::Cable) => stage::DEVICE.as_bytes().to_vec(),
        Value::Address(IpAddr::V4(address)) => address.octets().to_vec(),
        Value::Address(IpAddr::V6(address)) => address.octets().to_vec(),
        Value::Source(IpAddr::V4(source), device) => {
            let mut bytes = index(device)?.to_ne_bytes().to_vec();
            bytes.extend(source.octets());
            bytes.extend([0; 4]);
            bytes
        }
        Value::Source(IpAddr::V6(source), device) => {
            let mut bytes = source.octets().to_vec();
            bytes.extend(index(device)?.to_ne_bytes());
            bytes
        }
        Value::Route => {
            let mut bytes = vec![131, 7, 4];
            bytes.extend(REFUSED4.octets());
            bytes.push(0);
            bytes
        }
        Value::Header => {
            let mut bytes = vec![0, 2, 2, 1, 0, 0, 0, 0];
            bytes.extend(REFUSED6.octets());
            bytes
        }
        Value::Empty => vec![0, 0, 1, 4, 0, 0, 0, 0],
        Value::Nothing => Vec::new(),
    })
}
