//! Messages with names: each with what it teaches.

use Failure::{Empty, Malformed, Oversized, Unasked};
use Section::{Additional, Answer, Authority};
use enforcer_common::dns::{Failure, MESSAGE};

use crate::wire::{A, AAAA, CNAME, IN, NS, OPT, QUESTION, Section, Wire, leading, name, pointer, unfinished};

/// The last bytes of the addresses that a message teaches, or why it teaches none.
pub(crate) type Expected = Result<Vec<u8>, Failure>;

/// A message that answers its own question.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) message: Vec<u8>,
    pub(crate) expected: Expected,
}

const SOA: u16 = 6;
const DNAME: u16 = 39;
const RRSIG: u16 = 46;
const NSEC: u16 = 47;
const HTTPS: u16 = 65;
const CHAOS: u16 = 3;

/// All of them.
pub(crate) fn rows() -> Vec<Row> {
    [
        headers(),
        questions(),
        chains(),
        names(),
        lengths(),
        options(),
        sections(),
        many(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn row(name: &'static str, wire: Wire, expected: Expected) -> Row {
    Row {
        name,
        message: wire.0,
        expected,
    }
}

fn learned<const N: usize>(addresses: [u8; N]) -> Expected {
    Ok(addresses.to_vec())
}

/// To a question for IPv4 addresses of `www.example.com`.
fn answer() -> Wire {
    Wire::answer(&name("www.example.com"), A)
}

fn headers() -> Vec<Row> {
    let one = answer().address(1);
    vec![
        row("one_address", one.clone(), learned([1])),
        row("is_a_question", one.clone().set(2, 0x0100), Err(Unasked)),
        row("is_a_notification", one.clone().set(2, 0xa180), Err(Unasked)),
        row("is_cut_short", one.clone().set(2, 0x8380), Err(Oversized)),
        row(
            "says_that_there_is_no_such_name",
            one.clone().set(2, 0x8183),
            Err(Empty),
        ),
        row("has_no_records", answer(), Err(Empty)),
        row("has_no_question", one.clone().set(4, 0), Err(Malformed)),
        row("has_two_questions", two_questions(), Err(Malformed)),
        row("says_two_questions", one.clone().set(4, 2), Err(Malformed)),
        row("says_more_answers", one.clone().set(6, 2), Err(Malformed)),
        row("says_most_answers", one.clone().set(6, 0xffff), Err(Malformed)),
        row(
            "says_fewer_answers",
            one.clone().address(2).set(6, 1),
            learned([1]),
        ),
        row("says_an_authority", one.clone().set(8, 1), Err(Malformed)),
        row(
            "says_an_additional_record",
            one.clone().set(10, 1),
            Err(Malformed),
        ),
        row(
            "says_most_of_all",
            one.clone().set(8, 0xffff).set(10, 0xffff),
            Err(Malformed),
        ),
        row("has_bytes_behind_its_end", trailing(one, 7), learned([1])),
        row("is_as_long_as_can_be", padded(0), learned([1])),
        row("is_too_long", padded(1), Err(Oversized)),
    ]
}

fn trailing(mut wire: Wire, bytes: usize) -> Wire {
    wire.0.resize(wire.0.len() + bytes, 0xc0);
    wire
}

fn padded(more: usize) -> Wire {
    let wire = answer().address(1);
    let bytes = MESSAGE - wire.0.len() + more;
    trailing(wire, bytes)
}

fn two_questions() -> Wire {
    let mut wire = answer();
    wire.0.extend(pointer(QUESTION));
    wire.0.extend([0, 1, 0, 1]);
    wire.set(4, 2).address(1)
}

fn questions() -> Vec<Row> {
    let of = |name: &[u8]| Wire::answer(name, A).address(1);
    let labels = |lengths: [usize; 4]| {
        let labels = lengths.map(|length| vec![b'a'; length]);
        [unfinished(&labels), vec![0]].concat()
    };
    let with = |byte: u8| of(&[unfinished(&[&[b'w', byte, b'w'][..], b"example"]), vec![0]].concat());
    let long = [vec![64], vec![b'a'; 64], vec![0]].concat();
    vec![
        row("name_of_255_bytes", of(&labels([63, 63, 63, 61])), learned([1])),
        row("name_of_256_bytes", of(&labels([63, 63, 63, 62])), Err(Malformed)),
        row("label_of_63_bytes", of(&labels([63, 1, 1, 1])), learned([1])),
        row("label_of_64_bytes", of(&long), Err(Malformed)),
        row("root", of(&[0]), learned([1])),
        row("upper_case", of(&name("WWW.Example.COM")), learned([1])),
        row("dot_in_a_label", with(b'.'), Err(Malformed)),
        row("backslash_in_a_label", with(b'\\'), Err(Malformed)),
        row("nul_in_a_label", with(0), Err(Malformed)),
        row("space_in_a_label", with(b' '), Err(Malformed)),
        row("question_with_a_pointer", of(&pointer(0)), Err(Malformed)),
        row("question_without_an_end", without_end(), Err(Malformed)),
        row(
            "question_of_class_chaos",
            of(&name("a")).set(17, CHAOS),
            Err(Empty),
        ),
        row("question_for_text", of(&name("a")).set(15, 16), Err(Empty)),
        row("question_for_anything", of(&name("a")).set(15, 255), Err(Empty)),
    ]
}

fn without_end() -> Wire {
    let mut wire = answer().address(1);
    wire.0.truncate(20);
    wire
}

fn chains() -> Vec<Row> {
    let one = pointer(QUESTION);
    let (second, third) = (name("edge.example.net"), name("pop.example.org"));
    let link = |wire: Wire, from: &[u8], to: &[u8]| wire.record(Answer, from, CNAME, to);
    let last = |wire: Wire, owner: &[u8], last: u8| wire.record(Answer, owner, A, &[192, 0, 2, last]);
    let chain = link(link(answer(), &one, &second), &second, &third);
    // The chain's first target begins behind the first record's fixed part, the second's behind the second's.
    let (at, then) = (33 + 12, 33 + 12 + 6 + 12);
    let short = link(
        link(answer(), &one, &leading("edge1", 16)),
        &pointer(at),
        &leading("pop", at + 6),
    );
    let out_of_order = link(link(answer(), &second, &third), &one, &second);
    let shouted = link(answer(), &name("WWW.EXAMPLE.COM"), &name("EDGE.example.NET"));
    let dotted = [unfinished(&["edge.example", "n\0et"]), vec![0]].concat();
    vec![
        row("chain", last(chain.clone(), &third, 1), learned([1])),
        row(
            "chain_with_pointers",
            last(short.clone(), &pointer(then + 2), 1),
            learned([1]),
        ),
        row(
            "chain_to_another_name",
            last(chain.clone(), &second, 1),
            Err(Empty),
        ),
        row("chain_and_the_first_name", last(chain, &one, 1), Err(Empty)),
        row("chain_out_of_order", last(out_of_order, &third, 1), Err(Empty)),
        row(
            "chain_behind_its_address",
            link(last(answer(), &second, 1), &one, &second),
            Err(Empty),
        ),
        row(
            "address_before_the_chain",
            last(link(answer().address(1), &one, &second), &second, 2),
            learned([1, 2]),
        ),
        row(
            "chain_that_forks",
            last(link(link(answer(), &one, &second), &one, &third), &third, 1),
            Err(Empty),
        ),
        row(
            "chain_to_itself",
            link(answer(), &one, &one).address(1),
            learned([1]),
        ),
        row("chain_in_other_case", last(shouted, &second, 1), learned([1])),
        row(
            "chain_to_dots_and_nuls",
            last(link(answer(), &one, &dotted), &dotted, 1),
            learned([1]),
        ),
        row(
            "chain_to_dots_that_look_alike",
            last(link(answer(), &one, &second), &dotted, 1),
            Err(Empty),
        ),
        row("other_owner", last(answer(), &second, 1), Err(Empty)),
        row(
            "owner_that_is_longer",
            last(answer(), &leading("a", QUESTION), 1),
            Err(Empty),
        ),
        row(
            "owner_that_is_shorter",
            last(answer(), &pointer(16), 1),
            Err(Empty),
        ),
        row(
            "owner_of_one_label",
            last(answer(), &[&[15][..], b"www.example.com", &[0]].concat(), 1),
            Err(Empty),
        ),
        row(
            "other_type",
            answer().record(Answer, &one, AAAA, &[9; 16]).address(1),
            learned([1]),
        ),
        row(
            "only_other_type",
            answer().record(Answer, &one, AAAA, &[9; 16]),
            Err(Empty),
        ),
    ]
}

fn names() -> Vec<Row> {
    let owner = |owner: &[u8]| answer().address(1).record(Answer, owner, A, &[192, 0, 2, 2]);
    // The first record ends with the byte of an address, which a pointer can take for a label's length.
    let (byte, next) = (33 + 15, 33 + 16);
    let address = |last: u8, owner: &[u8]| answer().address(last).record(Answer, owner, A, &[192, 0, 2, 2]);
    let into = |last: u8| {
        answer()
            .address(last)
            .record(Answer, &pointer(QUESTION), CNAME, &pointer(byte))
    };
    let to = |name: &[u8]| {
        answer()
            .record(Answer, &pointer(QUESTION), CNAME, name)
            .address(1)
    };
    // The label of the chain's target, at 45, holds a pointer to itself.
    let within = [5, b'a', 0xc0, 45, b'b', b'c', 0];
    vec![
        row("pointer_to_itself", owner(&pointer(next)), Err(Malformed)),
        row(
            "pointer_back_to_its_label",
            owner(&leading("a", next)),
            Err(Malformed),
        ),
        row(
            "pointer_into_its_own_middle",
            owner(&leading("\u{1}a", next + 1)),
            Err(Malformed),
        ),
        row(
            "pointers_to_one_another",
            answer()
                .record(Answer, &pointer(QUESTION), CNAME, &pointer(57))
                .record(Answer, &pointer(45), A, &[1; 4]),
            Err(Malformed),
        ),
        row("pointer_forward", owner(&pointer(next + 2)), Err(Malformed)),
        row("pointer_behind_the_end", owner(&pointer(0x3fff)), Err(Malformed)),
        row("pointer_into_the_header", owner(&pointer(4)), Err(Malformed)),
        row("pointer_to_the_id", owner(&pointer(0)).set(0, 0), Err(Malformed)),
        row(
            "pointer_to_a_label_over_its_own_name",
            address(5, &pointer(byte)),
            Err(Malformed),
        ),
        row(
            "pointer_to_a_label_over_the_end",
            address(63, &pointer(byte)),
            Err(Malformed),
        ),
        row("pointer_to_a_root", address(0, &pointer(byte)), learned([0])),
        row(
            "pointer_to_reserved_bits",
            address(0x80, &pointer(byte)),
            Err(Malformed),
        ),
        row("chain_to_odd_bytes", into(5), learned([5])),
        row(
            "chain_to_a_label_over_its_own_name",
            into(14).address(2),
            Err(Malformed),
        ),
        row(
            "pointer_by_way_of_a_label",
            to(&within).record(Answer, &pointer(47), A, &[1; 4]),
            Err(Malformed),
        ),
        row("chain_to_a_label_over_the_end", into(63), Err(Malformed)),
        row("chain_without_an_end", to(&unfinished(&["edge"])), Err(Malformed)),
        row("chain_to_a_name_of_255_bytes", long_chain(59), learned([1, 2])),
        row("chain_to_a_name_of_256_bytes", long_chain(60), Err(Malformed)),
        row("label_with_reserved_bits", owner(&[0x40, 0]), Err(Malformed)),
        row(
            "label_with_other_reserved_bits",
            owner(&[0x80, 0]),
            Err(Malformed),
        ),
    ]
}

/// A chain to a name that is too long by its pointer alone: behind a label of one byte three of 63, and one of `last`.
fn long_chain(last: usize) -> Wire {
    let labels = [63, 63, 63, last].map(|length| vec![b'b'; length]);
    let name = [unfinished(&labels), vec![0]].concat();
    let longer = leading("a", QUESTION);
    Wire::answer(&name, A)
        .address(1)
        .record(Answer, &pointer(QUESTION), CNAME, &longer)
        .record(Answer, &longer, A, &[192, 0, 2, 2])
}

fn lengths() -> Vec<Row> {
    let one = pointer(QUESTION);
    let of = |kind: u16, length: u16, data: &[u8]| {
        answer()
            .address(1)
            .raw(Answer, &one, [kind, IN, 0, 60, length], data)
    };
    vec![
        row("address_of_3_bytes", of(A, 3, &[1; 3]), Err(Malformed)),
        row("address_of_5_bytes", of(A, 5, &[1; 5]), Err(Malformed)),
        row("address_of_no_bytes", of(A, 0, &[]), Err(Malformed)),
        row("address_over_the_end", of(A, 4, &[1; 3]), Err(Malformed)),
        row(
            "other_address_of_15_bytes",
            of(AAAA, 15, &[1; 15]),
            Err(Malformed),
        ),
        row(
            "other_address_of_17_bytes",
            of(AAAA, 17, &[1; 17]),
            Err(Malformed),
        ),
        row("name_over_its_data", of(CNAME, 3, &name("edge")), Err(Malformed)),
        row(
            "data_over_its_name",
            of(CNAME, 7, &[&name("edge")[..], &[0]].concat()),
            Err(Malformed),
        ),
        row("name_of_no_bytes", of(CNAME, 0, &[]), Err(Malformed)),
        row("longest_data", of(CNAME, 0xffff, &name("edge")), Err(Malformed)),
        row("signature_of_no_bytes", of(RRSIG, 0, &[]), Err(Malformed)),
        row("signature", of(RRSIG, 24, &[1; 24]), learned([1])),
        row("text", of(16, 4, b"\x03abc"), learned([1])),
        row("text_that_is_none", of(16, 4, b"\x09abc"), learned([1])),
        row("text_over_the_end", of(16, 400, b"\x03abc"), Err(Malformed)),
        row("unknown_type", of(0xff00, 3, &[0xc0, 0, 0]), learned([1])),
        row("unknown_type_of_no_bytes", of(0xff00, 0, &[]), Err(Malformed)),
        row(
            "class_chaos",
            answer()
                .address(1)
                .raw(Answer, &one, [A, CHAOS, 0, 60, 4], &[1; 4]),
            Err(Malformed),
        ),
    ]
}

fn options() -> Vec<Row> {
    let fixed = |length: usize| [OPT, 1232, 0, 0, u16::try_from(length).expect("options are short")];
    let with = |data: &[u8]| answer().address(1).raw(Additional, &[0], fixed(data.len()), data);
    let subnet = |data: &[u8]| {
        let length = u8::try_from(data.len()).expect("options are short");
        with(&[&[0, 8, 0, length], data].concat())
    };
    let none = || answer().address(1);
    vec![
        row("options", with(&[]), learned([1])),
        row(
            "options_with_a_cookie",
            with(&[&[0, 10, 0, 8][..], &[7; 8]].concat()),
            learned([1]),
        ),
        row(
            "options_with_two",
            with(&[0, 3, 0, 0, 0, 12, 0, 2, 0, 0]),
            learned([1]),
        ),
        row(
            "options_twice",
            with(&[]).raw(Additional, &[0], fixed(0), &[]),
            Err(Malformed),
        ),
        row(
            "options_of_a_name",
            none().raw(Additional, &pointer(QUESTION), fixed(0), &[]),
            Err(Malformed),
        ),
        row(
            "options_of_the_root_elsewhere",
            none().raw(Additional, &pointer(28), fixed(0), &[]),
            learned([1]),
        ),
        row(
            "options_among_the_answers",
            none().raw(Answer, &[0], fixed(0), &[]),
            Err(Malformed),
        ),
        row(
            "options_among_the_authorities",
            none().raw(Authority, &[0], fixed(0), &[]),
            Err(Malformed),
        ),
        row(
            "options_with_an_error",
            none().raw(Additional, &[0], [OPT, 1232, 0x0100, 0, 0], &[]),
            Err(Empty),
        ),
        row("options_with_half_an_option", with(&[0, 10, 0]), Err(Malformed)),
        row("option_over_the_end", with(&[0, 10, 0, 2, 0]), Err(Malformed)),
        row(
            "option_with_the_longest_length",
            with(&[0, 10, 0xff, 0xff]),
            Err(Malformed),
        ),
        row("subnet", subnet(&[0, 1, 24, 24, 192, 0, 2]), learned([1])),
        row(
            "subnet_of_ipv6",
            subnet(&[0, 2, 56, 0, 0x20, 1, 0xd, 0xb8, 0, 0, 0]),
            learned([1]),
        ),
        row("subnet_of_no_family", subnet(&[0, 0, 0, 0]), Err(Malformed)),
        row("subnet_of_no_bytes", subnet(&[]), Err(Malformed)),
        row(
            "subnet_of_33_bits",
            subnet(&[0, 1, 33, 0, 1, 2, 3, 4, 5]),
            Err(Malformed),
        ),
        row("subnet_cut_short", subnet(&[0, 1, 24, 0, 192, 0]), Err(Malformed)),
    ]
}

fn sections() -> Vec<Row> {
    let one = pointer(QUESTION);
    let served = || {
        answer()
            .address(1)
            .record(Authority, &pointer(16), NS, &leading("ns", 16))
    };
    let of = |section: Section| served().record(section, &one, A, &[192, 0, 2, 2]);
    let target = name("edge.example.net");
    let chain = answer().record(Authority, &one, CNAME, &target);
    vec![
        row("authority", served(), learned([1])),
        row("address_among_the_authorities", of(Authority), learned([1])),
        row(
            "address_among_the_additional_records",
            of(Additional),
            learned([1]),
        ),
        row(
            "only_among_the_additional_records",
            answer().record(Additional, &one, A, &[1; 4]),
            Err(Empty),
        ),
        row(
            "chain_among_the_authorities",
            chain.record(Additional, &target, A, &[1; 4]),
            Err(Empty),
        ),
        row(
            "malformed_additional_record",
            served().record(Additional, &one, A, &[1; 3]),
            Err(Malformed),
        ),
        row(
            "zone_among_the_authorities",
            answer().address(1).record(
                Authority,
                &pointer(QUESTION + 4),
                SOA,
                &[name("ns.example.com"), name("root.example.com"), vec![0; 20]].concat(),
            ),
            learned([1]),
        ),
        row(
            "denial_among_the_authorities",
            answer().address(1).record(
                Authority,
                &pointer(QUESTION + 4),
                NSEC,
                &[name("a.example.com"), vec![0, 1, 0x40]].concat(),
            ),
            learned([1]),
        ),
        row(
            "service_among_the_additional_records",
            served().record(Additional, &one, HTTPS, &[0, 1, 0]),
            learned([1]),
        ),
        row(
            "class_chaos_in_the_end",
            served().raw(Additional, &one, [A, CHAOS, 0, 60, 4], &[1; 4]),
            Err(Malformed),
        ),
        row(
            "other_tree",
            answer()
                .record(Answer, &pointer(16), DNAME, &name("example.net"))
                .address(1),
            learned([1]),
        ),
    ]
}

fn many() -> Vec<Row> {
    let of = |count: u8| (1..=count).fold(answer(), Wire::address);
    let all = |count: u8| Ok((1..=count).collect());
    vec![
        row("100_addresses", of(100), all(100)),
        row("128_addresses", of(128), all(128)),
        row("129_addresses", of(129), Err(Oversized)),
    ]
}
