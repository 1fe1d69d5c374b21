//! Messages put together byte by byte, so that they can be wrong.

pub(crate) const A: u16 = 1;
pub(crate) const NS: u16 = 2;
pub(crate) const CNAME: u16 = 5;
pub(crate) const AAAA: u16 = 28;
pub(crate) const OPT: u16 = 41;
pub(crate) const IN: u16 = 1;
/// Where the question's name stands.
pub(crate) const QUESTION: u16 = 12;

/// A message, as far as it is written.
#[derive(Clone)]
pub(crate) struct Wire(pub(crate) Vec<u8>);

impl Wire {
    /// An answer without records to a question for addresses of a type.
    pub(crate) fn answer(name: &[u8], kind: u16) -> Self {
        let mut wire = Self(vec![0x12, 0x34, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
        wire.0.extend(name);
        wire.0.extend(kind.to_be_bytes());
        wire.0.extend(IN.to_be_bytes());
        wire
    }

    /// Overwrites two bytes.
    pub(crate) fn set(mut self, at: usize, value: u16) -> Self {
        self.0[at..at + 2].copy_from_slice(&value.to_be_bytes());
        self
    }

    /// A record of class IN of the section whose count stands at a place of the header.
    #[expect(clippy::too_many_arguments, reason = "the parts of a record, in their order")]
    pub(crate) fn record(self, count: Section, owner: &[u8], kind: u16, data: &[u8]) -> Self {
        let length = u16::try_from(data.len()).expect("data is short");
        self.raw(count, owner, [kind, IN, 0, 60, length], data)
    }

    /// A record with its type, class, time to live in two parts, and length as they are given.
    #[expect(clippy::too_many_arguments, reason = "the parts of a record, in their order")]
    pub(crate) fn raw(mut self, count: Section, owner: &[u8], fixed: [u16; 5], data: &[u8]) -> Self {
        self.0.extend(owner);
        self.0
            .extend(fixed.iter().flat_map(|number| number.to_be_bytes()));
        self.0.extend(data);
        let at = count as usize;
        let records = u16::from_be_bytes([self.0[at], self.0[at + 1]]) + 1;
        self.set(at, records)
    }

    /// An address of the name that was asked for.
    pub(crate) fn address(self, last: u8) -> Self {
        self.record(Section::Answer, &pointer(QUESTION), A, &[192, 0, 2, last])
    }
}

/// Where the header has the count of a section.
#[derive(Clone, Copy)]
pub(crate) enum Section {
    Answer = 6,
    Authority = 8,
    Additional = 10,
}

/// A name of letters as it is sent.
pub(crate) fn name(text: &str) -> Vec<u8> {
    let labels: Vec<_> = text.split('.').filter(|label| !label.is_empty()).collect();
    let mut bytes = unfinished(&labels);
    bytes.push(0);
    bytes
}

/// Labels without an end.
pub(crate) fn unfinished<L: AsRef<[u8]>>(labels: &[L]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in labels {
        let label = label.as_ref();
        bytes.push(u8::try_from(label.len()).expect("a label has at most 63 bytes"));
        bytes.extend(label);
    }
    bytes
}

/// What stands for a name that is elsewhere.
pub(crate) fn pointer(to: u16) -> [u8; 2] {
    (0xc000 | to).to_be_bytes()
}

/// Labels, and a pointer to the rest.
pub(crate) fn leading(label: &str, to: u16) -> Vec<u8> {
    [unfinished(&[label]), pointer(to).to_vec()].concat()
}
