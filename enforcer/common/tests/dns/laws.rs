//! Laws over messages of every kind.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enforcer_common::dns::{Failure, MESSAGE};
use hickory_proto::{
    op::{Edns, Message, OpCode, Query},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{
            A, AAAA, CNAME, NS,
            opt::{ClientSubnet, EdnsOption},
        },
    },
    serialize::binary::{BinEncodable, BinEncoder, NameEncoding},
};
use proptest::{collection::vec, prelude::*, sample::Index};

use crate::{asked, driver, oracle, wire};

/// An answer as name servers send it.
#[derive(Clone, Debug)]
struct Shape {
    is_v6: bool,
    /// The name that was asked for, then those of the chain.
    names: Vec<Vec<String>>,
    addresses: Vec<(u128, u32)>,
    /// Records of other owners, by where they stand among the answers.
    others: Vec<(Index, bool)>,
    servers: Vec<Vec<String>>,
    options: Option<bool>,
    is_compressed: bool,
    /// Which letters are upper case, in turn.
    case: Vec<bool>,
}

fn label() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[a-z0-9_-]{1,12}",
        1 => "[a-zA-Z0-9_-]{1,63}",
        1 => "[!-\\-/-\\[\\]-~]{1,8}",
    ]
}

/// At most 63 bytes of labels beside a suffix that several have.
fn name() -> impl Strategy<Value = Vec<String>> {
    let suffix = prop::sample::select(vec!["example.com", "edge.example.com", "example.net", "com", ""]);
    (vec(label(), 1..4), suffix).prop_map(|(mut labels, suffix)| {
        labels.extend(
            suffix
                .split('.')
                .filter(|label| !label.is_empty())
                .map(String::from),
        );
        labels
    })
}

fn shape() -> impl Strategy<Value = Shape> {
    let many = prop_oneof![4 => 1..6_usize, 1 => 6..101_usize];
    let addresses = many.prop_flat_map(|many| vec(any::<(u128, u32)>(), many));
    (
        any::<bool>(),
        vec(name(), 1..10),
        addresses,
        vec(any::<(Index, bool)>(), 0..4),
        vec(name(), 0..4),
        any::<Option<bool>>(),
        any::<bool>(),
        vec(any::<bool>(), 1..9),
    )
        .prop_map(
            |(is_v6, names, addresses, others, servers, options, is_compressed, case)| Shape {
                is_v6,
                names,
                addresses,
                others,
                servers,
                options,
                is_compressed,
                case,
            },
        )
}

fn v4(bits: u128) -> Ipv4Addr {
    Ipv4Addr::from_bits((bits >> 96) as u32)
}

impl Shape {
    fn address(&self, bits: u128) -> IpAddr {
        if self.is_v6 {
            Ipv6Addr::from_bits(bits).into()
        } else {
            v4(bits).into()
        }
    }

    fn expected(&self) -> Vec<(IpAddr, u32)> {
        let addresses = self.addresses.iter();
        addresses.map(|(bits, ttl)| (self.address(*bits), *ttl)).collect()
    }

    fn question(&self) -> Vec<u8> {
        let labels: Vec<_> = self.names[0]
            .iter()
            .map(|label| label.to_ascii_lowercase())
            .collect();
        [wire::unfinished(&labels), vec![0]].concat()
    }

    /// The name in some other case each time.
    fn name(&self, labels: &[String], turn: usize) -> Name {
        let mut upper = self.case.iter().cycle().skip(turn);
        let labels = labels.iter().map(|label| {
            let shouted = label.bytes().map(|byte| match upper.next() {
                Some(true) => byte.to_ascii_uppercase(),
                _ => byte.to_ascii_lowercase(),
            });
            shouted.collect::<Vec<u8>>()
        });
        let mut name =
            Name::from_labels(labels.collect::<Vec<_>>().iter().map(Vec::as_slice)).expect("names are short");
        name.set_fqdn(true);
        name
    }

    fn data(&self, bits: u128, is_v6: bool) -> RData {
        if is_v6 {
            RData::AAAA(AAAA(Ipv6Addr::from_bits(bits)))
        } else {
            RData::A(A(v4(bits)))
        }
    }

    fn answers(&self) -> Vec<Record> {
        let links = self.names.windows(2).enumerate().map(|(turn, link)| {
            let target = RData::CNAME(CNAME(self.name(&link[1], turn + 1)));
            Record::from_rdata(self.name(&link[0], turn), 60, target)
        });
        let last = self.names.last().expect("there is a question");
        let addresses = self.addresses.iter().enumerate().map(|(turn, (bits, ttl))| {
            Record::from_rdata(self.name(last, turn), *ttl, self.data(*bits, self.is_v6))
        });
        let mut answers: Vec<_> = links.chain(addresses).collect();
        for (index, is_v6) in &self.others {
            let owner = ["other".to_owned(), "invalid".to_owned()];
            let other = Record::from_rdata(self.name(&owner, 0), 60, self.data(7, *is_v6));
            answers.insert(index.index(answers.len() + 1), other);
            // The name that was asked for has addresses of the other type as well.
            let same = Record::from_rdata(self.name(last, 0), 60, self.data(9, !self.is_v6));
            answers.insert(index.index(answers.len() + 1), same);
        }
        answers
    }

    fn message(&self) -> Vec<u8> {
        let kind = if self.is_v6 {
            RecordType::AAAA
        } else {
            RecordType::A
        };
        let mut message = Message::response(0x1234, OpCode::Query);
        message.add_query(Query::query(self.name(&self.names[0], 0), kind));
        message.add_answers(self.answers());
        for (turn, server) in self.servers.iter().enumerate() {
            let server = self.name(server, turn);
            let zone = self.name(&self.names[0][1..], turn);
            message.add_authority(Record::from_rdata(zone, 60, RData::NS(NS(server.clone()))));
            message.add_additional(Record::from_rdata(server, 60, self.data(11, turn % 2 == 0)));
            // An address of the name that was asked for counts among the answers alone.
            message.add_additional(Record::from_rdata(
                self.name(&self.names[0], turn),
                60,
                self.data(13, self.is_v6),
            ));
        }
        if let Some(has_subnet) = self.options {
            let mut edns = Edns::new();
            edns.set_max_payload(1232);
            if has_subnet {
                let subnet = ClientSubnet::new(Ipv4Addr::new(192, 0, 2, 0).into(), 24, 0);
                edns.options_mut().insert(EdnsOption::Subnet(subnet));
                edns.options_mut().insert(EdnsOption::Unknown(10, vec![7; 8]));
            }
            message.set_edns(edns);
        }
        let mut bytes = Vec::new();
        let mut encoder = BinEncoder::new(&mut bytes);
        if !self.is_compressed {
            encoder.set_name_encoding(NameEncoding::Uncompressed);
        }
        message.emit(&mut encoder).expect("messages are short");
        bytes
    }
}

/// What befalls a message on its way.
#[derive(Clone, Debug)]
enum Damage {
    Byte(Index, u8),
    Number(Index, u16),
    Pointer(Index, Index),
    Count(u8, u16),
    Nudge(Index, i8),
    Remove(Index, u8),
    Insert(Index, Vec<u8>),
    Copy(Index, Index, u8),
    End(Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<Index>;
    prop_oneof![
        1 => (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        1 => (at(), any::<u16>()).prop_map(|(at, number)| Damage::Number(at, number)),
        3 => (at(), at()).prop_map(|(at, to)| Damage::Pointer(at, to)),
        1 => (0..4_u8, 0..300_u16).prop_map(|(count, number)| Damage::Count(count, number)),
        3 => (at(), -3..4_i8).prop_map(|(at, by)| Damage::Nudge(at, by)),
        1 => (at(), 1..20_u8).prop_map(|(at, bytes)| Damage::Remove(at, bytes)),
        1 => (at(), vec(any::<u8>(), 1..8)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        1 => (at(), at(), 1..40_u8).prop_map(|(from, to, bytes)| Damage::Copy(from, to, bytes)),
        1 => at().prop_map(Damage::End),
    ]
}

impl Damage {
    fn befall(&self, message: &mut Vec<u8>) {
        let length = message.len();
        if length < 20 {
            return;
        }
        let pair = |message: &mut Vec<u8>, at: usize, number: u16| {
            message[at..at + 2].copy_from_slice(&number.to_be_bytes());
        };
        match self {
            Self::Byte(at, byte) => message[at.index(length)] = *byte,
            Self::Number(at, number) => pair(message, at.index(length - 1), *number),
            Self::Pointer(at, to) => {
                let to = u16::try_from(to.index(length)).expect("messages are short");
                pair(message, at.index(length - 1), 0xc000 | to & 0x3fff);
            }
            Self::Count(count, number) => pair(message, 4 + 2 * usize::from(*count), *number),
            Self::Nudge(at, by) => {
                let at = at.index(length);
                message[at] = message[at].wrapping_add_signed(*by);
            }
            Self::Remove(at, bytes) => {
                let at = at.index(length);
                message.drain(at..length.min(at + usize::from(*bytes)));
            }
            Self::Insert(at, bytes) => {
                let at = at.index(length);
                message.splice(at..at, bytes.iter().copied());
            }
            Self::Copy(from, to, bytes) => {
                let (from, to) = (from.index(length), to.index(length));
                let copied = message[from..length.min(from + usize::from(*bytes))].to_vec();
                message.splice(to..to, copied);
            }
            Self::End(at) => message.truncate(at.index(length)),
        }
    }
}

/// A part of a name, right or wrong.
#[derive(Clone, Debug)]
enum Part {
    Label(Vec<u8>),
    /// To the beginning of some part before.
    Known(Index),
    /// To any place before.
    Anywhere(Index),
}

/// A record, right or wrong.
#[derive(Clone, Debug)]
struct Patch {
    owner: Vec<Part>,
    kind: u16,
    /// The name that is its data, if it is one.
    data: Vec<Part>,
    /// What its length says too much or too little.
    lie: i8,
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let byte = prop::sample::select(vec![b'a', b'A', b'b', 1, 2, 0, 0xc0, 12, 33, 45]);
    let part = prop_oneof![
        4 => vec(byte, 1..4).prop_map(Part::Label),
        6 => any::<Index>().prop_map(Part::Known),
        1 => any::<Index>().prop_map(Part::Anywhere),
    ];
    vec(part, 0..3)
}

fn patch() -> impl Strategy<Value = Patch> {
    let kind = prop::sample::select(vec![1_u16, 1, 1, 5, 5, 5, 28, 39, 46, 6, 16, 47, 0xff00]);
    let lie = prop_oneof![30 => Just(0), 1 => -2..3_i8];
    (parts(), kind, parts(), lie).prop_map(|(owner, kind, data, lie)| Patch {
        owner,
        kind,
        data,
        lie,
    })
}

/// What a name is made of, and where each part of one begins.
struct Patchwork {
    wire: wire::Wire,
    places: Vec<usize>,
}

impl Patchwork {
    fn name(&mut self, parts: &[Part]) {
        for part in parts {
            let at = self.wire.0.len();
            let to = match part {
                Part::Label(label) => {
                    self.places.push(at);
                    self.wire.0.extend(wire::unfinished(&[label]));
                    continue;
                }
                Part::Known(to) => self.places[to.index(self.places.len())],
                Part::Anywhere(to) => to.index(at),
            };
            self.places.push(at);
            let to = u16::try_from(to).expect("messages are short");
            self.wire.0.extend(wire::pointer(to));
            return;
        }
        self.wire.0.push(0);
    }

    fn record(&mut self, patch: &Patch) {
        self.name(&patch.owner);
        let fixed = [patch.kind, wire::IN, 0, 60, 0];
        self.wire
            .0
            .extend(fixed.iter().flat_map(|number| number.to_be_bytes()));
        let begin = self.wire.0.len();
        match patch.kind {
            wire::A => self.wire.0.extend([0, 1, b'a', 0]),
            wire::AAAA => self.wire.0.extend([1; 16]),
            _ => self.name(&patch.data),
        }
        let length = (self.wire.0.len() - begin).saturating_add_signed(isize::from(patch.lie));
        let length = u16::try_from(length).expect("names are short");
        self.wire.0[begin - 2..begin].copy_from_slice(&length.to_be_bytes());
    }
}

/// Records of a few names with pointers all over.
fn patchwork() -> impl Strategy<Value = Vec<u8>> {
    (vec(patch(), 1..7), 0..2_u16).prop_map(|(patches, authorities)| {
        let wire = wire::Wire::answer(&wire::name("a.b"), wire::A);
        let mut patchwork = Patchwork {
            wire,
            places: vec![12, 14],
        };
        patches.iter().for_each(|patch| patchwork.record(patch));
        let answers = u16::try_from(patches.len())
            .expect("they are few")
            .saturating_sub(authorities);
        patchwork.wire.set(6, answers).set(8, authorities).0
    })
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn an_ordinary_answer_is_learned_exactly(shape in shape()) {
        let message = shape.message();
        let learned = driver::learn(&message, asked(&message));
        if message.len() > MESSAGE {
            prop_assert_eq!(learned, Err(Failure::Oversized));
        } else {
            let learned = learned.map_err(|failure| TestCaseError::fail(format!("{failure:?}: {message:02x?}")))?;
            prop_assert_eq!(learned.name, shape.question());
            prop_assert_eq!(learned.addresses, shape.expected());
        }
        oracle::check(&message);
    }
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn a_damaged_answer_teaches_what_the_oracle_reads(shape in shape(), damages in vec(damage(), 1..5)) {
        let mut message = shape.message();
        damages.iter().for_each(|damage| damage.befall(&mut message));
        oracle::check(&message);
    }
}

proptest! {
    #![proptest_config(cases(20_000))]

    #[test]
    fn names_that_go_on_anywhere_teach_what_the_oracle_reads(message in patchwork()) {
        oracle::check(&message);
    }
}

proptest! {
    #![proptest_config(cases(5_000))]

    #[test]
    fn bytes_behind_a_question_teach_what_the_oracle_reads(records in vec(any::<u8>(), 0..200), counts in any::<[u8; 3]>()) {
        let mut wire = wire::Wire::answer(&wire::name("a.b"), wire::A);
        wire.0.extend(records);
        let [answers, authorities, others] = counts.map(|count| u16::from(count % 4));
        oracle::check(&wire.set(6, answers).set(8, authorities).set(10, others).0);
    }

    #[test]
    fn any_bytes_teach_what_the_oracle_reads(message in vec(any::<u8>(), 0..300)) {
        oracle::check(&message);
    }
}
