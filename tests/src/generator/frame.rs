//! What a frame on the cable is: where it goes, and whether that is allowed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::escape::stage::{ALLOWED_PORT, ALLOWED4, ALLOWED6};

/// Every payload of a sequence begins with this.
const TOKEN: &[u8] = b"generated-";

/// What a sequence sends in one of its steps.
pub(super) fn token(seed: u64, step: usize) -> Vec<u8> {
    format!("generated-{seed}-{step}.").into_bytes()
}

/// What a frame is to the property.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// It goes to the allowed destination: the token in it, and the port that it is from.
    Allowed(Option<Vec<u8>>, u16),
    /// The kernel sends it by itself: it looks for neighbours, and tells which groups it listens to.
    Kernel,
    /// It goes where nothing may go.
    Refused(String),
}

/// Judges a frame that the workload's side has sent. Whatever is not known to be allowed is not.
pub(super) fn judge(frame: &[u8]) -> Frame {
    look(frame).unwrap_or_else(|| Frame::Refused(format!("a frame that nobody knows: {frame:02x?}")))
}

fn look(frame: &[u8]) -> Option<Frame> {
    let token = find(frame);
    let packet = frame.get(14..)?;
    let (to, protocol, rest, hops, is_plain) = match u16::from_be_bytes([*frame.get(12)?, *frame.get(13)?]) {
        0x0806 if token.is_none() => return Some(Frame::Kernel),
        0x0800 => {
            let to: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
            let length = usize::from(*packet.first()? & 15) * 4;
            (
                IpAddr::from(Ipv4Addr::from(to)),
                *packet.get(9)?,
                packet.get(length..)?,
                *packet.get(8)?,
                length == 20,
            )
        }
        0x86dd => {
            let to: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            (
                IpAddr::from(Ipv6Addr::from(to)),
                *packet.get(6)?,
                packet.get(40..)?,
                *packet.get(7)?,
                true,
            )
        }
        _ => return None,
    };
    if is_plain && matches!(protocol, 6 | 17) && [ALLOWED4.into(), ALLOWED6.into()].contains(&to) {
        let port = |at| Some(u16::from_be_bytes([*rest.get(at)?, *rest.get(at + 1)?]));
        if port(2)? == ALLOWED_PORT {
            return Some(Frame::Allowed(token, port(0)?));
        }
    }
    if token.is_none() && is_kernels(to, protocol, rest, hops)? {
        return Some(Frame::Kernel);
    }
    let text = token.map(|token| String::from_utf8_lossy(&token).into_owned());
    Some(Frame::Refused(format!(
        "protocol {protocol} to {to}, {}: {:02x?}",
        text.unwrap_or_else(|| "nothing of a step in it".into()),
        &rest[..rest.len().min(40)]
    )))
}

/// IGMP, neighbour discovery, and multicast listener reports, on the link.
fn is_kernels(to: IpAddr, protocol: u8, rest: &[u8], hops: u8) -> Option<bool> {
    const IGMP: u8 = 2;
    const HOP_BY_HOP: u8 = 0;
    const ICMPV6: u8 = 58;
    Some(match to {
        IpAddr::V4(to) => protocol == IGMP && hops == 1 && to.is_multicast(),
        IpAddr::V6(to) => {
            let is_on_link = to.is_unicast_link_local() || to.segments()[0] == 0xff02;
            match protocol {
                ICMPV6 => is_on_link && hops == 255 && matches!(rest.first()?, 133..=136),
                // Eight bytes with the router alert stand before the report.
                HOP_BY_HOP if *rest.first()? == ICMPV6 => {
                    let is_report = matches!(rest.get(8)?, 131 | 132 | 143);
                    hops == 1 && to.is_multicast() && is_report
                }
                _ => false,
            }
        }
    })
}

fn find(frame: &[u8]) -> Option<Vec<u8>> {
    let at = frame.windows(TOKEN.len()).position(|window| window == TOKEN)?;
    let rest = &frame[at..];
    let end = rest.iter().position(|byte| *byte == b'.')?;
    Some(rest[..=end].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp4(to: Ipv4Addr, port: u16, text: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 198, 18, 7, 1]);
        frame.extend(to.octets());
        frame.extend(7_u16.to_be_bytes());
        frame.extend(port.to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(text);
        frame
    }

    #[test]
    fn only_the_allowed_address_with_its_port_is_allowed() {
        let text = token(5, 2);
        assert_eq!(
            judge(&udp4(ALLOWED4, ALLOWED_PORT, &text)),
            Frame::Allowed(Some(text.clone()), 7)
        );
        for (to, port) in [
            (ALLOWED4, 53),
            (Ipv4Addr::LOCALHOST, ALLOWED_PORT),
            (Ipv4Addr::new(198, 18, 7, 2), ALLOWED_PORT),
        ] {
            assert!(
                matches!(judge(&udp4(to, port, &text)), Frame::Refused(_)),
                "{to} {port}"
            );
        }
    }

    #[test]
    fn options_and_what_is_cut_are_refused() {
        let mut frame = udp4(ALLOWED4, ALLOWED_PORT, b"");
        frame[14] = 0x46;
        assert!(matches!(judge(&frame), Frame::Refused(_)));
        assert!(matches!(judge(&frame[..20]), Frame::Refused(_)));
    }

    #[test]
    fn discovery_is_the_kernels_unless_a_step_has_sent_it() {
        let mut frame = vec![0; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 58, 255]);
        frame.extend([0; 16]);
        frame.extend(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 2).octets());
        frame.extend([135, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(judge(&frame), Frame::Kernel);
        frame.extend(token(1, 1));
        assert!(matches!(judge(&frame), Frame::Refused(_)));
    }
}
