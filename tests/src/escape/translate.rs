//! Address translation as a node has it for its NodePorts, spoken to by netlink (`linux/netfilter/nf_tables.h`): what
//! this network itself sends to one port, whatever the address, goes to the refused address.

use std::{fs, io};

use anyhow::{Context as _, Result};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

use super::stage::REFUSED4;

/// The port that is taken elsewhere.
pub(super) const NODE_PORT: u16 = 30_007;

const TABLE: &[u8] = b"escape\0";
const NEWTABLE: u8 = 0;
const NEWCHAIN: u8 = 3;
const NEWRULE: u8 = 6;

/// Lets this thread's network translate.
///
/// # Errors
/// If the kernel has no address translation.
pub(super) fn install() -> Result<()> {
    fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").context("routing loopback addresses")?;
    let chain = |name: &[u8], hook: u32, priority: i32| {
        let hook = [
            attribute(1, &hook.to_be_bytes()),
            attribute(2, &priority.to_be_bytes()),
        ]
        .concat();
        [
            attribute(1, TABLE),
            attribute(3, name),
            attribute(NESTED | 4, &hook),
            attribute(7, b"nat\0"),
        ]
        .concat()
    };
    let rule = |chain: &[u8], expressions: &[Vec<u8>]| {
        [
            attribute(1, TABLE),
            attribute(2, chain),
            attribute(NESTED | 4, &expressions.concat()),
        ]
        .concat()
    };
    const LOCAL_OUT: u32 = 3;
    const POST_ROUTING: u32 = 4;
    let messages = [
        (NEWTABLE, attribute(1, TABLE)),
        (NEWCHAIN, chain(b"out\0", LOCAL_OUT, -100)),
        (NEWCHAIN, chain(b"post\0", POST_ROUTING, 100)),
        (NEWRULE, rule(b"out\0", &destination())),
        (NEWRULE, rule(b"post\0", &masquerade())),
    ];
    batch(&messages).context("asking for address translation")
}

const NESTED: u16 = 0x8000;

/// `struct nlattr` with its value.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).expect("attributes are short");
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn expression(name: &[u8], data: &[Vec<u8>]) -> Vec<u8> {
    let data = attribute(NESTED | 2, &data.concat());
    attribute(NESTED | 1, &[attribute(1, name), data].concat())
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

/// What goes to the port.
fn to_port() -> [Vec<u8>; 2] {
    const TRANSPORT: u32 = 2;
    let value = attribute(1, &NODE_PORT.to_be_bytes());
    [
        expression(
            b"payload\0",
            &[number(1, 1), number(2, TRANSPORT), number(3, 2), number(4, 2)],
        ),
        expression(
            b"cmp\0",
            &[number(1, 1), number(2, 0), attribute(NESTED | 3, &value)],
        ),
    ]
}

fn destination() -> Vec<Vec<u8>> {
    const DNAT: u32 = 1;
    const IPV4: u32 = 2;
    let address = attribute(1, &REFUSED4.octets());
    let mut expressions = to_port().to_vec();
    expressions.push(expression(
        b"immediate\0",
        &[number(1, 1), attribute(NESTED | 2, &address)],
    ));
    expressions.push(expression(
        b"nat\0",
        &[number(1, DNAT), number(2, IPV4), number(3, 1)],
    ));
    expressions
}

fn masquerade() -> Vec<Vec<u8>> {
    let mut expressions = to_port().to_vec();
    expressions.push(expression(b"masq\0", &[]));
    expressions
}

/// One transaction; each of its messages is answered.
fn batch(messages: &[(u8, Vec<u8>)]) -> Result<()> {
    const NFTABLES: u8 = 10;
    const BEGIN: u16 = 16;
    const END: u16 = 17;
    const REQUEST: u16 = 1;
    const ACK: u16 = 4;
    const CREATE: u16 = 0x400;
    const IPV4: u8 = 2;
    let mut bytes = message((BEGIN, REQUEST, 0), [0, 0, 0, NFTABLES], &[]);
    for (number, (kind, attributes)) in messages.iter().enumerate() {
        let kind = u16::from_be_bytes([NFTABLES, *kind]);
        let header = (kind, REQUEST | ACK | CREATE, u32::try_from(number)? + 1);
        bytes.extend(message(header, [IPV4, 0, 0, 0], attributes));
    }
    bytes.extend(message((END, REQUEST, 0), [0, 0, 0, NFTABLES], &[]));
    let socket = Socket::new(NETLINK_NETFILTER).context("opening a netlink socket")?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;
    for _ in messages {
        let (answer, _) = socket.recv_from_full()?;
        let errno: [u8; 4] = answer
            .get(16..20)
            .and_then(|word| word.try_into().ok())
            .context("a short answer")?;
        match i32::from_ne_bytes(errno) {
            0 => {}
            errno => return Err(io::Error::from_raw_os_error(-errno).into()),
        }
    }
    Ok(())
}

/// `struct nlmsghdr` and `struct nfgenmsg` with what follows.
fn message((kind, flags, sequence): (u16, u16, u32), family: [u8; 4], attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(20 + attributes.len()).expect("messages are short");
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(family);
    bytes.extend(attributes);
    bytes
}
