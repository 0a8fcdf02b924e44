//! Checkpoints, tile paths, and what witnesses are asked and answer: no panic, and what parses
//! formats again to the same bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom_log::checkpoint::Checkpoint;
use strongroom_log::merkle::SIZE_MAX;
use strongroom_log::tiles::{Tile, entries, push_entry};
use strongroom_log::witness::{AddCheckpoint, Answer};

fuzz_target!(|data: &[u8]| {
    if let Ok(request) = AddCheckpoint::parse(data) {
        assert_eq!(request.to_string().as_bytes(), data);
    }
    for status in [200, 400, 409] {
        if let Answer::Cosigned(lines) = Answer::parse(status, data) {
            let text: String = lines.iter().map(ToString::to_string).collect();
            assert_eq!(text.as_bytes(), data);
        }
    }
    if let Some((width, bundle)) = data.split_first()
        && let Some(found) = entries(bundle, u16::from(*width))
    {
        let mut again = Vec::new();
        for entry in found {
            push_entry(&mut again, entry).expect("it had a length of two bytes");
        }
        assert_eq!(again, bundle);
    }
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    if let Ok(checkpoint) = Checkpoint::parse(text) {
        assert_eq!(checkpoint.to_string(), text);
        assert!(checkpoint.size() <= SIZE_MAX);
    }
    if let Some(tile) = Tile::parse(text) {
        assert_eq!(tile.path(), text);
        assert!(!text.contains(".."));
        let _ = tile.is_within(SIZE_MAX);
    }
});
