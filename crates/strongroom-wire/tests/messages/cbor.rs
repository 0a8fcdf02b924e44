//! Just enough CBOR to break it: where the heads of an encoding stand, and its forbidden forms.

/// The head of a data item.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    pub at: usize,
    /// Bytes of the head itself.
    pub length: usize,
    /// 0 number, 1 negative, 2 bytes, 3 text, 4 array, 5 map, 6 tag, 7 simple.
    pub major: u8,
    pub argument: u64,
    /// Where the item ends.
    pub end: usize,
}

/// All heads of a canonical encoding, in order.
pub fn heads(bytes: &[u8]) -> Vec<Head> {
    let mut found = Vec::new();
    let end = walk(bytes, 0, &mut found);
    assert_eq!(end, bytes.len(), "canonical bytes are one item");
    found
}

fn walk(bytes: &[u8], at: usize, found: &mut Vec<Head>) -> usize {
    let (major, low) = (bytes[at] >> 5, bytes[at] & 31);
    let extra = match low {
        0..=23 => 0,
        24..=27 => 1 << (low - 24),
        _ => panic!("no canonical head has {low}"),
    };
    let argument = match extra {
        0 => u64::from(low),
        _ => bytes[at + 1..=at + extra]
            .iter()
            .fold(0, |n, b| n << 8 | u64::from(*b)),
    };
    let index = found.len();
    let length = 1 + extra;
    found.push(Head {
        at,
        length,
        major,
        argument,
        end: 0,
    });
    let mut end = at + length;
    match major {
        2 | 3 => end += usize::try_from(argument).unwrap(),
        4 => (0..argument).for_each(|_| end = walk(bytes, end, found)),
        0 | 1 | 7 => {}
        _ => panic!("no message of ours has maps or tags"),
    }
    found[index].end = end;
    end
}

/// The bytes with `range` replaced.
fn splice(bytes: &[u8], from: usize, to: usize, by: &[u8]) -> Vec<u8> {
    [&bytes[..from], by, &bytes[to..]].concat()
}

/// A head of `major` with that argument in `width` further bytes.
fn head(major: u8, argument: u64, width: usize) -> Vec<u8> {
    let low = match width {
        0 => u8::try_from(argument).unwrap(),
        1 => 24,
        2 => 25,
        4 => 26,
        _ => 27,
    };
    [&[major << 5 | low], &argument.to_be_bytes()[8 - width..]].concat()
}

/// The shortest head.
fn shortest(major: u8, argument: u64) -> Vec<u8> {
    let width = match argument {
        0..=23 => 0,
        24..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    };
    head(major, argument, width)
}

/// The same item behind every head that is longer than needed. Simple values have none.
pub fn longer(bytes: &[u8], at: &Head) -> Vec<Vec<u8>> {
    let widths = [1, 2, 4, 8]
        .into_iter()
        .filter(|width| width + 1 > at.length && at.major != 7);
    widths
        .map(|width| {
            splice(
                bytes,
                at.at,
                at.at + at.length,
                &head(at.major, at.argument, width),
            )
        })
        .collect()
}

/// The same item with indefinite length, for those that can have it.
pub fn indefinite(bytes: &[u8], at: &Head) -> Option<Vec<u8>> {
    let item = &bytes[at.at..at.end];
    let inside = match at.major {
        2 | 3 => item,
        4 => &item[at.length..],
        _ => return None,
    };
    let by = [&[at.major << 5 | 31], inside, &[0xff]].concat();
    Some(splice(bytes, at.at, at.end, &by))
}

/// An array with a null more at its end: an unknown field, or an absent one that is written out.
pub fn with_null(bytes: &[u8], at: &Head) -> Option<Vec<u8>> {
    let inside = &bytes[at.at + at.length..at.end];
    let by = [shortest(4, at.argument + 1).as_slice(), inside, &[0xf6]].concat();
    (at.major == 4).then(|| splice(bytes, at.at, at.end, &by))
}

/// An array without its last element.
pub fn without_last(bytes: &[u8], at: &Head) -> Option<Vec<u8>> {
    let count = at.argument.checked_sub(1).filter(|_| at.major == 4)?;
    let last = *elements(bytes, at).last()?;
    let by = [
        shortest(4, count).as_slice(),
        &bytes[at.at + at.length..last.0],
    ]
    .concat();
    Some(splice(bytes, at.at, at.end, &by))
}

/// An array as a map from position to element.
pub fn as_map(bytes: &[u8], at: &Head) -> Option<Vec<u8>> {
    let mut by = shortest(5, at.argument);
    for (position, (from, to)) in elements(bytes, at).into_iter().enumerate() {
        by.extend(shortest(0, position as u64));
        by.extend(&bytes[from..to]);
    }
    (at.major == 4).then(|| splice(bytes, at.at, at.end, &by))
}

/// An array with two neighbours changed about, for each pair that is not equal.
pub fn reordered(bytes: &[u8], at: &Head) -> Vec<Vec<u8>> {
    let elements = if at.major == 4 {
        elements(bytes, at)
    } else {
        Vec::new()
    };
    let pairs = elements.windows(2).map(|pair| (pair[0], pair[1]));
    pairs
        .filter(|(a, b)| bytes[a.0..a.1] != bytes[b.0..b.1])
        .map(|(a, b)| {
            splice(
                bytes,
                a.0,
                b.1,
                &[&bytes[b.0..b.1], &bytes[a.0..a.1]].concat(),
            )
        })
        .collect()
}

/// The item behind a tag (self-described CBOR).
pub fn tagged(bytes: &[u8], at: &Head) -> Vec<u8> {
    splice(bytes, at.at, at.at, &[0xd9, 0xd9, 0xf7])
}

/// Where the elements of an array stand.
fn elements(bytes: &[u8], at: &Head) -> Vec<(usize, usize)> {
    let mut next = at.at + at.length;
    let count = if at.major == 4 { at.argument } else { 0 };
    (0..count)
        .map(|_| {
            let from = next;
            next = walk(bytes, from, &mut Vec::new());
            (from, next)
        })
        .collect()
}

/// The bytes with one item replaced by others.
pub fn replaced(bytes: &[u8], at: &Head, by: &[u8]) -> Vec<u8> {
    splice(bytes, at.at, at.end, by)
}

/// The head of the `nth` item of that kind, from 0.
pub fn nth(bytes: &[u8], major: u8, nth: usize) -> Head {
    let found = heads(bytes)
        .into_iter()
        .filter(|head| head.major == major)
        .nth(nth);
    found.expect("the message has that many items of the kind")
}
