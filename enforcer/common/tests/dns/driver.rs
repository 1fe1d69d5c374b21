//! Runs a message through the parser as the kernel's program does (`enforcer-ebpf/src/hooks/names/learn.rs`).

use std::net::IpAddr;

use enforcer_common::dns::{
    Addresses, Bytes, Failure, HEADER, Header, LONGEST, MESSAGE, Name, Place, Progress, QuestionParser,
    RecordsParser, STEPS,
};

/// What lies behind the end of a message or of a question, where the kernel's program may read as well.
const JUNK: [[u8; 2]; 4] = [[0, 0], [0xff, 0xff], [0xc0, 0x0c], [1, b'a']];

/// What a message teaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Learned {
    /// The name that was asked for, as it is sent, lower case.
    pub(crate) name: Vec<u8>,
    /// Its addresses with their times to live.
    pub(crate) addresses: Vec<(IpAddr, u32)>,
}

/// What a message teaches whoever asked; `asked` are the bytes behind the header of that question.
///
/// # Panics
/// If it depends on what lies behind the ends.
pub(crate) fn learn(message: &[u8], asked: &[u8]) -> Result<Learned, Failure> {
    let outcomes = JUNK.map(|junk| learn_before(message, asked, junk));
    for outcome in &outcomes {
        assert_eq!(*outcome, outcomes[0], "what is no part of the message counts");
    }
    let [outcome, ..] = outcomes;
    outcome
}

fn learn_before(message: &[u8], asked: &[u8], junk: [u8; 2]) -> Result<Learned, Failure> {
    let header = message.first_chunk().map(Header::new).ok_or(Failure::Malformed)?;
    if let Some(failure) = header.failure() {
        return Err(failure);
    }
    if message.len() > MESSAGE {
        return Err(Failure::Oversized);
    }
    let end = u32::try_from(message.len()).expect("it was just compared");
    let bytes = Page::<MESSAGE>::new(message, junk);
    let question = Page::<512>::new(asked, junk);
    let mut name = Written([0; LONGEST as usize]);
    let mut parser = QuestionParser::new(end);
    run(LONGEST + 8, || parser.step(&bytes, &question, &mut name))?;
    if (parser.records() - HEADER) as usize > asked.len() {
        return Err(Failure::Unasked);
    }
    let mut noted = Noted(Vec::new());
    let mut records = RecordsParser::new(&header, parser.kind(), parser.records(), end);
    run(STEPS, || records.step(&bytes, &mut noted))?;
    assert_eq!(records.found() as usize, noted.0.len());
    Ok(Learned {
        name: name.0[..parser.length() as usize].to_vec(),
        addresses: noted.0.iter().map(|place| address(message, place)).collect(),
    })
}

/// As `bpf_loop`: what has not ended then is given up.
fn run(steps: u32, mut step: impl FnMut() -> Progress) -> Result<(), Failure> {
    for _ in 0..steps {
        match step() {
            Progress::More => {}
            Progress::Done => return Ok(()),
            Progress::Failed(failure) => return Err(failure),
        }
    }
    Err(Failure::Oversized)
}

fn address(message: &[u8], place: &Place) -> (IpAddr, u32) {
    let at = &message[place.at as usize..];
    let address = if place.is_v6 {
        IpAddr::from(
            *at.first_chunk::<16>()
                .expect("an address lies within the message"),
        )
    } else {
        IpAddr::from(*at.first_chunk::<4>().expect("an address lies within the message"))
    };
    (address, place.ttl)
}

/// Memory of the kernel's program, whose places are masked.
struct Page<const SIZE: usize>([u8; SIZE]);

impl<const SIZE: usize> Page<SIZE> {
    fn new(bytes: &[u8], junk: [u8; 2]) -> Self {
        let mut page = [0; SIZE];
        page.iter_mut()
            .zip(junk.iter().cycle())
            .for_each(|(byte, junk)| *byte = *junk);
        let length = bytes.len().min(SIZE);
        page[..length].copy_from_slice(&bytes[..length]);
        Self(page)
    }
}

impl<const SIZE: usize> Bytes for Page<SIZE> {
    fn byte(&self, at: u32) -> u8 {
        self.0[at as usize & (SIZE - 1)]
    }
}

struct Written([u8; LONGEST as usize]);

impl Name for Written {
    fn put(&mut self, at: u32, byte: u8, _: bool) {
        self.0[at as usize] = byte;
    }
}

struct Noted(Vec<Place>);

impl Addresses for Noted {
    fn note(&mut self, index: u32, place: Place) {
        assert_eq!(
            index as usize,
            self.0.len(),
            "addresses are noted one after the other"
        );
        assert!(
            index < enforcer_common::dns::ADDRESSES,
            "there is no room for more"
        );
        self.0.push(place);
    }
}
