//! Capture files: what is written comes back, every variant is read, and no bytes do harm.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use vnet_rx::device::source::{Capture, CaptureError, CaptureFormat, CaptureWriter, Frame};
use vnet_rx::virtio::VnetHeader;

fn parse(bytes: &[u8]) -> Result<Capture, CaptureError> {
    Capture::parse(Path::new("test.cap"), bytes.to_vec())
}

fn frames() -> Vec<Frame> {
    let header = VnetHeader {
        flags: 1,
        gso_type: 0x81,
        hdr_len: 66,
        gso_size: 1448,
        csum_start: 34,
        csum_offset: 16,
        num_buffers: 0,
    };
    (0..5).map(|i| Frame { header, bytes: vec![i; 60 + usize::from(i)] }).collect()
}

fn written() -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut writer = CaptureWriter::create(file.path()).unwrap();
    for (i, frame) in frames().iter().enumerate() {
        writer.write(frame, Duration::from_nanos(i as u64)).unwrap();
    }
    writer.finish().unwrap();
    std::fs::read(file.path()).unwrap()
}

/// A 32-bit word in either byte order.
fn word(value: u32, big: bool) -> [u8; 4] {
    if big { value.to_be_bytes() } else { value.to_le_bytes() }
}

/// A classic capture of one packet.
fn pcap(magic: u32, big: bool, link: u32, data: &[u8], original: u32) -> Vec<u8> {
    let mut file = word(magic, big).to_vec();
    let version = if big { [0, 2, 0, 4] } else { [2, 0, 4, 0] };
    file.extend(version);
    for value in [0, 0, 65535, link, 1, 2, data.len() as u32, original] {
        file.extend(word(value, big));
    }
    file.extend(data);
    file
}

/// A pcapng block.
fn block(kind: u32, body: &[u8], big: bool) -> Vec<u8> {
    let len = 12 + body.len() as u32;
    [&word(kind, big)[..], &word(len, big), body, &word(len, big)].concat()
}

/// A pcapng capture of one enhanced and one simple packet.
fn pcapng(big: bool, link: u16, comment: &str) -> Vec<u8> {
    let half = |value: u16| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let section = [&word(0x1a2b_3c4d, big)[..], &half(1), &half(0), &[0xff; 8]].concat();
    let interface = [&half(link)[..], &[0, 0], &word(0, big)].concat();
    let mut enhanced: Vec<u8> =
        [0, 0, 0, 20, 20].iter().flat_map(|&value| word(value, big)).collect();
    enhanced.extend([0xaa; 20]);
    if !comment.is_empty() {
        let padded = comment.len().next_multiple_of(4);
        enhanced.extend(half(1));
        enhanced.extend(half(comment.len() as u16));
        enhanced.extend(comment.bytes());
        enhanced.resize(enhanced.len() + padded - comment.len(), 0);
        enhanced.extend([0; 4]);
    }
    let simple = [&word(16, big)[..], &[0xbb; 16]].concat();
    [
        block(0x0a0d_0d0a, &section, big),
        block(1, &interface, big),
        block(6, &enhanced, big),
        block(3, &simple, big),
    ]
    .concat()
}

#[test]
fn frames_and_headers_come_back_as_written() {
    let capture = parse(&written()).unwrap();
    assert_eq!(capture.frames[..], frames());
    assert_eq!(capture.format, CaptureFormat::PcapNg);
    assert_eq!((capture.recorded_headers, capture.cut_short), (5, 0));
}

#[test]
fn every_classic_variant_is_read() {
    for magic in [0xa1b2_c3d4, 0xa1b2_3c4d] {
        for big in [false, true] {
            let capture = parse(&pcap(magic, big, 1, &[7; 60], 60)).unwrap();
            assert_eq!(capture.format, CaptureFormat::Pcap);
            assert_eq!(capture.frames[0].bytes, [7; 60]);
            assert_eq!((capture.recorded_headers, capture.cut_short), (0, 0));
            let cut = parse(&pcap(magic, big, 1, &[7; 60], 1500)).unwrap();
            assert_eq!(cut.cut_short, 1);
        }
    }
}

#[test]
fn both_byte_orders_of_pcapng_are_read() {
    let comment = "virtio_net_hdr flags=0x01 gso_type=0x00 hdr_len=0 gso_size=0 csum_start=2 \
                   csum_offset=3";
    for big in [false, true] {
        let capture = parse(&pcapng(big, 1, comment)).unwrap();
        assert_eq!(capture.frames.len(), 2);
        assert_eq!(capture.frames[0].bytes, [0xaa; 20]);
        assert_eq!(capture.frames[0].header.csum_offset, 3);
        assert_eq!(capture.frames[1].bytes, [0xbb; 16]);
        assert_eq!(capture.recorded_headers, 1);
        assert_eq!(parse(&pcapng(big, 1, "nice packet")).unwrap().recorded_headers, 0);
    }
}

#[test]
fn a_file_cut_anywhere_is_an_error_or_a_shorter_capture() {
    for whole in [written(), pcap(0xa1b2_c3d4, false, 1, &[7; 60], 60)] {
        for len in 0..whole.len() {
            if let Ok(capture) = parse(&whole[..len]) {
                assert!(capture.frames.len() < 6, "cut at {len}");
                let rest = parse(&whole[..len + 1]);
                assert!(rest.is_err(), "only at a block's end is a cut file a capture: {len}");
            }
        }
    }
}

#[test]
fn bad_files_are_named_with_what_is_wrong() {
    let message = |result: Result<Capture, CaptureError>| result.unwrap_err().to_string();
    assert!(message(parse(b"")).contains("empty"));
    assert!(message(parse(b"GIF89a is not a capture of anything")).contains("not a capture"));
    assert!(message(parse(&pcap(0xa1b2_c3d4, false, 113, &[7; 60], 60))).contains("link type 113"));
    assert!(message(parse(&pcapng(true, 101, ""))).contains("link type 101"));
    let text = message(parse(&pcapng(false, 1, "virtio_net_hdr flags=0x01")));
    assert!(text.contains("packet 1") && text.contains("flags=0x01"), "{text}");
    let whole = written();
    let text = message(parse(&whole[..whole.len() - 3]));
    assert!(text.contains("cut off behind packet 4"), "{text}");
    let absent = message(Capture::read(Path::new("/nonexistent/file.pcap")));
    assert!(absent.contains("/nonexistent/file.pcap"), "{absent}");
    let unwritable = CaptureWriter::create(Path::new("/nonexistent/file.pcap"));
    assert!(unwritable.unwrap_err().to_string().contains("/nonexistent/file.pcap"));
}

#[test]
fn comments_must_name_every_field_once() {
    for comment in [
        "virtio_net_hdr",
        "virtio_net_hdr flags=1 gso_type=0 hdr_len=0 gso_size=0 csum_start=2",
        "virtio_net_hdr flags=256 gso_type=0 hdr_len=0 gso_size=0 csum_start=2 csum_offset=3",
        "virtio_net_hdr flags=1 flags=1 hdr_len=0 gso_size=0 csum_start=2 csum_offset=3",
        "virtio_net_hdr flags=1 gso_type=0 hdr_len=-1 gso_size=0 csum_start=2 csum_offset=3",
    ] {
        assert!(matches!(parse(&pcapng(false, 1, comment)), Err(CaptureError::Header { .. })));
    }
}

proptest! {
    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn no_damage_does_harm(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        for mut whole in [written(), pcap(0xa1b2_c3d4, false, 1, &[7; 60], 60)] {
            let at = at.index(whole.len());
            whole[at] = byte;
            if let Ok(capture) = parse(&whole) {
                prop_assert!(capture.bytes() <= whole.len());
            }
        }
    }
}
