//! The suite of escapes, judged by what this kernel is known to have.

use anyhow::Result;

use super::{
    kernel::Kernel,
    report::{Done, Measured},
};
use crate::escape::{self, Manner, Outcome, Privileges, Row};

/// Whether an escape is impossible on a kernel.
type IsNoneOn = fn(&Kernel) -> bool;

/// Escapes that are impossible on some kernels, and on which. On all others they have to be possible and closed.
const NONE_ON: [(&str, IsNoneOn); 22] = [
    // There is no other program than the test.
    ("another program", |_| true),
    // Debian's kernels for virtual machines have no such module from 6.1 on.
    ("smc connect", |_| true),
    // It is the loopback address, from which nothing arrives elsewhere.
    ("tcp connect to the unspecified address", |_| true),
    // Debian's 5.10 is built without it.
    ("mptcp connect", |kernel| kernel.is_before(5, 16)),
    ("mptcp connect, ipv6", |kernel| kernel.is_before(5, 16)),
    // `IORING_OP_SOCKET`.
    ("io_uring raw socket", |kernel| kernel.is_before(5, 19)),
    // Removed from the kernel.
    ("dccp connect", |kernel| !kernel.is_before(6, 16)),
    ("udp-lite sendto", |kernel| !kernel.is_before(7, 1)),
    ("udp-lite connect and send, ipv6", |kernel| {
        !kernel.is_before(7, 1)
    }),
    ("udp-lite socket of a task that is moved in", |kernel| {
        !kernel.is_before(7, 1)
    }),
    ("udp-lite socket from before", |kernel| !kernel.is_before(7, 1)),
    // The kernel takes these elsewhere than they seem to go: to itself, or nowhere.
    ("udp to 0.0.0.0 with IP_PKTINFO of the refused source", |_| true),
    ("udp connected to 0.0.0.0 from a free bind", |_| true),
    ("udp to 0.0.0.0, SO_BINDTODEVICE", |_| true),
    ("udp connected to 127.0.0.1, IP_UNICAST_IF", |kernel| {
        kernel.is_before(6, 1)
    }),
    ("udp to 127.0.0.1, IP_MULTICAST_IF", |_| true),
    ("udp to ::1 with scope id", |_| true),
    ("tcp to 127.0.0.1, IP_UNICAST_IF", |_| true),
    ("tcp to ::1, IPV6_UNICAST_IF", |_| true),
    // Whoever is root in a user namespace of its own is nobody in the network that it came from.
    ("raw socket from a user namespace of one's own", |_| true),
    // Depends on how the kernel is configured (`CONFIG_IPV6_MIP6`).
    ("udp, flow label with a routing header", |_| true),
    ("udp, IPV6_2292RTHDR as a control message", |_| true),
];

/// Every escape is closed from 6.1 on. Before, what only BPF LSM closes may be open, and is named. What root
/// cannot do is not asked of others, who may lack what it takes.
pub(super) fn escapes(kernel: &Kernel) -> Result<Done> {
    let report = escape::run(&kernel.program, Manner::default())?;
    // For the console.
    println!("{report}");
    let (mut wrong, mut remarks) = (Vec::new(), Vec::new());
    for privileges in [Privileges::Nobody, Privileges::Containerd] {
        let manner = Manner {
            privileges,
            // Refused to root, they are refused to all.
            only: Some(|escape| !escape::is_family(escape)),
            ..Manner::default()
        };
        for row in escape::run(&kernel.program, manner)?.rows {
            let (escape, who) = (row.escape, privileges.word());
            match &row.outcome {
                Outcome::Wrong(what) => wrong.push(format!("{escape}, {who}: {what}")),
                Outcome::Open(why) if !may_be_open(kernel, &row) => {
                    wrong.push(format!("{escape}, {who}, has to be closed on this kernel: {why}"));
                }
                _ => {}
            }
        }
    }
    for row in &report.rows {
        let Row { escape, outcome, .. } = row;
        match outcome {
            Outcome::Refused(_) | Outcome::Dropped | Outcome::Works => {}
            Outcome::Wrong(what) => wrong.push(format!("{escape}: {what}")),
            Outcome::Open(why) => {
                if !may_be_open(kernel, row) {
                    wrong.push(format!("{escape} has to be closed on this kernel: {why}"));
                }
                remarks.push(format!("OPEN: {escape}: {why}"));
            }
            Outcome::Unavailable(why) => {
                if !may_be_none(kernel, escape) {
                    wrong.push(format!("{escape} has to be possible on this kernel: {why}"));
                }
                remarks.push(format!("not possible here: {escape}: {why}"));
            }
        }
    }
    wrong.extend(escape::opt_in_mistakes(&kernel.program)?);
    let figures = [
        ("ways-closed", count(&report, Outcome::is_closed)),
        (
            "ways-open",
            count(&report, |outcome| matches!(outcome, Outcome::Open(_))),
        ),
        (
            "ways-not-to-be-had",
            count(&report, |outcome| matches!(outcome, Outcome::Unavailable(_))),
        ),
    ];
    let text = if wrong.is_empty() {
        format!("{} escapes", report.rows.len())
    } else {
        wrong.join("\n")
    };
    let measured = Measured {
        text,
        figures: figures.map(|(name, value)| (name.to_owned(), value)).into(),
        remarks,
    };
    Ok(if wrong.is_empty() {
        Done::Measured(measured)
    } else {
        Done::Failed(measured)
    })
}

fn may_be_open(kernel: &Kernel, row: &Row) -> bool {
    // What nothing has to close says why by itself.
    if row.is_left_open {
        return true;
    }
    kernel.is_before(6, 1) && row.closed_by.is_some_and(|program| program.starts_with("lsm_"))
}

/// Families that a kernel has or has not as it is configured, and modules that are there or not.
fn may_be_none(kernel: &Kernel, escape: &str) -> bool {
    escape::is_family(escape)
        || NONE_ON
            .iter()
            .any(|(name, is_none_on)| *name == escape && is_none_on(kernel))
}

fn count(report: &escape::Report, is: fn(&Outcome) -> bool) -> u32 {
    u32::try_from(report.count(is)).unwrap_or(u32::MAX)
}
