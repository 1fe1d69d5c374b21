//! The parser of DNS messages, held against another: what a resolver of the host rejects teaches nothing, and what it
//! accepts in ordinary shape is learned exactly.
//!
//! ```text
//! message -> driver (as in the kernel) -> the same addresses, or none
//!        \-> oracle (hickory) ----------/
//! ```

mod driver;
mod laws;
mod oracle;
mod rows;
mod wire;

use std::{env, ffi::OsString, fs, net::IpAddr, path::PathBuf};

use enforcer_common::dns::{Failure, HEADER};
use rows::Row;

fn asked(message: &[u8]) -> &[u8] {
    &message[HEADER as usize..message.len().min(HEADER as usize + 512)]
}

/// The last byte of each address.
fn learn(message: &[u8]) -> rows::Expected {
    let learned = driver::learn(message, asked(message))?;
    let last = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    };
    Ok(learned
        .addresses
        .iter()
        .map(|(address, _)| last(*address))
        .collect())
}

#[test]
fn each_named_message_teaches_what_it_should() {
    let wrong: Vec<_> = rows::rows()
        .iter()
        .map(|row| (row.name, learn(&row.message), row.expected.clone()))
        .filter(|(_, learned, expected)| learned != expected)
        .map(|(name, learned, expected)| format!("{name}: {learned:?} and not {expected:?}"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn each_named_message_is_as_the_oracle_has_it() {
    rows::rows().iter().for_each(|row| oracle::check(&row.message));
}

#[test]
fn the_beginning_of_a_message_teaches_nothing() {
    for Row {
        name,
        message,
        expected,
    } in rows::rows()
    {
        // What lies behind the end is no part of it, and counts that are too low leave records out.
        if expected.is_err()
            || [
                "has_bytes_behind_its_end",
                "says_fewer_answers",
                "is_as_long_as_can_be",
            ]
            .contains(&name)
        {
            continue;
        }
        for end in 0..message.len() {
            let learned = driver::learn(&message[..end], asked(&message));
            assert!(learned.is_err(), "{name}: {end} bytes of it teach {learned:?}");
        }
    }
}

#[test]
fn an_answer_to_another_question_teaches_nothing() {
    let name = wire::name("www.example.com");
    let message = wire::Wire::answer(&name, wire::A).address(1).0;
    let question =
        |name: &[u8], kind: u16, class: u16| [name, &kind.to_be_bytes(), &class.to_be_bytes()].concat();
    let others = [
        question(&wire::name("www.example.org"), wire::A, wire::IN),
        question(&wire::name("ww.example.com"), wire::A, wire::IN),
        question(&wire::name("www.example.com.a"), wire::A, wire::IN),
        question(&wire::name("www.example"), wire::A, wire::IN),
        question(&name, wire::AAAA, wire::IN),
        question(&name, wire::A, 3),
        name.clone(),
        name[..5].to_vec(),
        Vec::new(),
    ];
    for other in others {
        assert_eq!(
            driver::learn(&message, &other),
            Err(Failure::Unasked),
            "{other:02x?}"
        );
    }
    let shouted = question(&wire::name("WWW.EXAMPLE.COM"), wire::A, wire::IN);
    let learned = driver::learn(&message, &shouted).expect("case makes no difference");
    assert_eq!(learned.name, name, "the name is written in lower case");
    let longer = [&shouted[..], &[0; 20]].concat();
    driver::learn(&message, &longer).expect("what was asked may have options behind its question");
}

/// The fuzz target begins with these messages. `UPDATE=1` writes them.
#[test]
fn the_named_messages_are_the_seeds() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/dns/messages");
    if env::var_os("UPDATE").is_some() {
        fs::create_dir_all(&folder).expect("the folder can be written");
        for row in rows::rows() {
            fs::write(folder.join(row.name), row.message).expect("the folder can be written");
        }
    }
    let mut kept: Vec<_> = fs::read_dir(&folder)
        .expect("the seeds are kept")
        .map(|entry| entry.expect("the folder can be read").file_name())
        .collect();
    let mut names: Vec<_> = rows::rows().iter().map(|row| OsString::from(row.name)).collect();
    kept.sort();
    names.sort();
    assert_eq!(kept, names, "UPDATE=1 writes what is missing");
    for row in rows::rows() {
        let seed = fs::read(folder.join(row.name)).expect("it was just listed");
        assert!(seed == row.message, "{} differs: UPDATE=1 writes it", row.name);
    }
}
