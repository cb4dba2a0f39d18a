//! Capture files: pcap and pcapng, read; pcapng, written.
//!
//! A virtio-net header has no place of its own in either format. In pcapng it is kept in the
//! packet's comment (`opt_comment`), which every tool keeps and shows:
//!
//! ```text
//! virtio_net_hdr flags=0x01 gso_type=0x01 hdr_len=66 gso_size=1448 csum_start=34 csum_offset=16
//! ```
//!
//! A packet with such a comment has that header. For any other the header is
//! [derived](super::derive_header) from the frame: none for a frame that a wire could carry,
//! segmentation metadata for a TCP or UDP frame that is longer. A packet that the capture cut short
//! gets none. `num_buffers` is never kept; it is the device's to fill in.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{
    Block, EnhancedPacketBlock, InterfaceDescriptionBlock, Linktype, OptionCode, PcapBlockOwned,
    PcapError, PcapNGOption, SectionHeaderBlock, ToVec, create_reader,
};

use super::{Frame, complete_checksum, derive_header};
use crate::virtio::VnetHeader;

/// The first word of a comment that holds a header.
const COMMENT: &str = "virtio_net_hdr";
/// Captures are read whole; this is more than any that makes sense here.
const MOST_BYTES: u64 = 1 << 30;

/// Which of the two formats a file is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureFormat {
    /// The classic format.
    Pcap,
    /// The format of today.
    PcapNg,
}

impl CaptureFormat {
    /// The format's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcap => "pcap",
            Self::PcapNg => "pcapng",
        }
    }
}

/// Why a capture cannot be read or written. Each names the file.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Neither format.
    #[error("{}: not a capture: the file starts like neither pcap nor pcapng", .0.display())]
    NotACapture(PathBuf),
    /// Nothing in it.
    #[error("{}: the file is empty: give a pcap or pcapng capture", .0.display())]
    Empty(PathBuf),
    /// More than can be read into memory.
    #[error("{}: {len} bytes are too many: at most {MOST_BYTES} are read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its length.
        len: u64,
    },
    /// The file ends inside a block.
    #[error("{}: the file is cut off behind packet {packets}, at byte {offset}", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Packets before the cut.
        packets: usize,
        /// Where the unfinished block starts.
        offset: usize,
    },
    /// A block that makes no sense.
    #[error("{}: damaged behind packet {packets}, at byte {offset}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Packets before the damage.
        packets: usize,
        /// Where the damaged block starts.
        offset: usize,
    },
    /// Frames of something else than Ethernet.
    #[error("{}: link type {link}: only Ethernet (1) can be replayed", path.display())]
    LinkType {
        /// The file.
        path: PathBuf,
        /// The link type found.
        link: i32,
    },
    /// A comment that starts like a header and is none.
    #[error("{}: packet {packet}: the comment {comment:?} is not a virtio-net header", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// The packet, counted from 1.
        packet: usize,
        /// The comment.
        comment: String,
    },
}

/// A capture, read whole.
#[derive(Clone, Debug)]
pub struct Capture {
    /// Where it came from.
    pub path: PathBuf,
    /// Its format.
    pub format: CaptureFormat,
    /// Its frames, in order.
    pub frames: Arc<[Frame]>,
    /// Frames whose header was recorded, not derived.
    pub recorded_headers: usize,
    /// Frames of which the capture kept only a part.
    pub cut_short: usize,
}

impl Capture {
    /// Reads a pcap or pcapng file of Ethernet frames.
    ///
    /// # Errors
    /// [`CaptureError`]; nothing of a damaged file is returned.
    pub fn read(path: &Path) -> Result<Self, CaptureError> {
        let failed = |source| CaptureError::Io { path: path.into(), source };
        let len = std::fs::metadata(path).map_err(failed)?.len();
        if len > MOST_BYTES {
            return Err(CaptureError::TooLarge { path: path.into(), len });
        }
        Self::parse(path, std::fs::read(path).map_err(failed)?)
    }

    /// Reads a capture that is in memory; `path` is what errors call it.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn parse(path: &Path, bytes: Vec<u8>) -> Result<Self, CaptureError> {
        if bytes.is_empty() {
            return Err(CaptureError::Empty(path.into()));
        }
        let total = bytes.len();
        // With all of the file in the buffer no block is too large for it.
        let mut reader = create_reader(total + 1, Cursor::new(bytes))
            .map_err(|_| CaptureError::NotACapture(path.into()))?;
        let mut collector = Collector::new(path);
        let mut refilled = false;
        loop {
            let offset = reader.consumed();
            match reader.next() {
                Ok((read, block)) => {
                    collector.take(block)?;
                    reader.consume(read);
                    refilled = false;
                }
                Err(PcapError::Eof) => break,
                Err(PcapError::Incomplete(_) | PcapError::UnexpectedEof) => {
                    if refilled || reader.refill().is_err() {
                        let packets = collector.frames.len();
                        return Err(CaptureError::Truncated { path: path.into(), packets, offset });
                    }
                    refilled = true;
                }
                Err(_) => {
                    let packets = collector.frames.len();
                    return Err(CaptureError::Damaged { path: path.into(), packets, offset });
                }
            }
        }
        Ok(collector.finish())
    }

    /// Bytes of all frames.
    pub fn bytes(&self) -> usize {
        self.frames.iter().map(|frame| frame.bytes.len()).sum()
    }

    /// The longest frame, in bytes.
    pub fn longest(&self) -> usize {
        self.frames.iter().map(|frame| frame.bytes.len()).max().unwrap_or(0)
    }
}

impl fmt::Display for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy();
        write!(f, "{name}: {} frames, {} bytes, ", self.frames.len(), self.bytes())?;
        write!(f, "the longest {}", self.longest())
    }
}

/// What has been read of a capture so far.
struct Collector<'a> {
    path: &'a Path,
    format: CaptureFormat,
    frames: Vec<Frame>,
    recorded_headers: usize,
    cut_short: usize,
}

impl<'a> Collector<'a> {
    fn new(path: &'a Path) -> Self {
        let format = CaptureFormat::PcapNg;
        Self { path, format, frames: Vec::new(), recorded_headers: 0, cut_short: 0 }
    }

    fn take(&mut self, block: PcapBlockOwned<'_>) -> Result<(), CaptureError> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                self.format = CaptureFormat::Pcap;
                self.check_link(header.network)
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                self.check_link(interface.linktype)
            }
            PcapBlockOwned::Legacy(packet) => self.push(packet.data, packet.origlen, None),
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                self.push(packet.packet_data(), packet.origlen, None)
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let header = self.recorded(&packet.options)?;
                self.push(packet.packet_data(), packet.origlen, header)
            }
            PcapBlockOwned::NG(_) => Ok(()),
        }
    }

    fn check_link(&self, link: Linktype) -> Result<(), CaptureError> {
        if link == Linktype::ETHERNET {
            return Ok(());
        }
        Err(CaptureError::LinkType { path: self.path.into(), link: link.0 })
    }

    /// The header in a packet's comments.
    fn recorded(&self, options: &[PcapNGOption<'_>]) -> Result<Option<VnetHeader>, CaptureError> {
        let comments = options.iter().filter(|option| option.code == OptionCode::Comment);
        for comment in comments.filter_map(|option| option.as_str().ok()) {
            if comment.split_ascii_whitespace().next() == Some(COMMENT) {
                return parse_comment(comment).map(Some).ok_or_else(|| CaptureError::Header {
                    path: self.path.into(),
                    packet: self.frames.len() + 1,
                    comment: comment.to_owned(),
                });
            }
        }
        Ok(None)
    }

    fn push(
        &mut self,
        data: &[u8],
        original_len: u32,
        recorded: Option<VnetHeader>,
    ) -> Result<(), CaptureError> {
        let cut = data.len() < original_len as usize;
        self.cut_short += usize::from(cut);
        self.recorded_headers += usize::from(recorded.is_some());
        let header = match recorded {
            Some(header) => header,
            None if cut => VnetHeader::default(),
            None => derive_header(data),
        };
        self.frames.push(Frame { header, bytes: data.to_vec() });
        Ok(())
    }

    fn finish(self) -> Capture {
        Capture {
            path: self.path.into(),
            format: self.format,
            frames: self.frames.into(),
            recorded_headers: self.recorded_headers,
            cut_short: self.cut_short,
        }
    }
}

/// Reads a header from a comment, which must name every field once.
fn parse_comment(comment: &str) -> Option<VnetHeader> {
    let mut header = VnetHeader::default();
    let mut seen = 0u8;
    for word in comment.split_ascii_whitespace().skip(1) {
        let (name, value) = word.split_once('=')?;
        let value = match value.strip_prefix("0x") {
            Some(hex) => u16::from_str_radix(hex, 16).ok()?,
            None => value.parse().ok()?,
        };
        let bit = match name {
            "flags" => {
                header.flags = value.try_into().ok()?;
                0
            }
            "gso_type" => {
                header.gso_type = value.try_into().ok()?;
                1
            }
            "hdr_len" => {
                header.hdr_len = value;
                2
            }
            "gso_size" => {
                header.gso_size = value;
                3
            }
            "csum_start" => {
                header.csum_start = value;
                4
            }
            "csum_offset" => {
                header.csum_offset = value;
                5
            }
            _ => return None,
        };
        if seen & (1 << bit) != 0 {
            return None;
        }
        seen |= 1 << bit;
    }
    (seen == 0b11_1111).then_some(header)
}

/// The comment that keeps a header.
fn comment(header: &VnetHeader) -> String {
    let VnetHeader { flags, gso_type, hdr_len, gso_size, csum_start, csum_offset, .. } = header;
    format!(
        "{COMMENT} flags=0x{flags:02x} gso_type=0x{gso_type:02x} hdr_len={hdr_len} \
         gso_size={gso_size} csum_start={csum_start} csum_offset={csum_offset}"
    )
}

/// Writes a pcapng file of Ethernet frames with nanosecond timestamps, each frame with its header
/// in a comment. [`finish`](Self::finish) tells whether all of it was written; a writer that is
/// dropped writes what it can.
#[derive(Debug)]
pub struct CaptureWriter {
    path: PathBuf,
    file: BufWriter<File>,
    complete_checksums: bool,
}

impl CaptureWriter {
    /// Starts a new file, replacing one of that name.
    ///
    /// # Errors
    /// [`CaptureError::Io`].
    pub fn create(path: &Path) -> Result<Self, CaptureError> {
        let file =
            File::create(path).map_err(|source| CaptureError::Io { path: path.into(), source })?;
        let file = BufWriter::new(file);
        let mut writer = Self { path: path.into(), file, complete_checksums: false };
        // `to_vec` fills in magic numbers and lengths.
        let mut section = SectionHeaderBlock {
            block_type: 0,
            block_len1: 0,
            bom: 0,
            major_version: 1,
            minor_version: 0,
            section_len: -1,
            options: Vec::new(),
            block_len2: 0,
        };
        let mut interface = InterfaceDescriptionBlock {
            block_type: 0,
            block_len1: 0,
            linktype: Linktype::ETHERNET,
            reserved: 0,
            snaplen: 0,
            options: Vec::new(),
            block_len2: 0,
            // Nanoseconds.
            if_tsresol: 9,
            if_tsoffset: 0,
        };
        writer.put(&mut section)?;
        writer.put(&mut interface)?;
        Ok(writer)
    }

    /// Whether to [complete](complete_checksum) the checksums of the frames that follow.
    pub fn set_complete_checksums(&mut self, complete: bool) {
        self.complete_checksums = complete;
    }

    /// Appends a frame that was seen `time` after the epoch.
    ///
    /// # Errors
    /// [`CaptureError::Io`].
    pub fn write(&mut self, frame: &Frame, time: Duration) -> Result<(), CaptureError> {
        let padded = |mut bytes: Vec<u8>| {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let len = frame.bytes.len() as u32;
        let mut data = frame.bytes.clone();
        let mut header = frame.header;
        if self.complete_checksums {
            header = complete_checksum(header, &mut data);
        }
        let data = padded(data);
        let comment = comment(&header).into_bytes();
        let option = |code, len: usize, value| PcapNGOption {
            code,
            len: len as u16,
            value: Cow::Owned(value),
        };
        let nanoseconds = time.as_nanos() as u64;
        let mut packet = EnhancedPacketBlock {
            block_type: 0,
            block_len1: 0,
            if_id: 0,
            ts_high: (nanoseconds >> 32) as u32,
            ts_low: nanoseconds as u32,
            caplen: len,
            origlen: len,
            data: &data,
            options: vec![
                option(OptionCode::Comment, comment.len(), padded(comment)),
                option(OptionCode::EndOfOpt, 0, Vec::new()),
            ],
            block_len2: 0,
        };
        self.put(&mut packet)
    }

    fn put(&mut self, block: &mut impl ToVec) -> Result<(), CaptureError> {
        let failed = |source| CaptureError::Io { path: self.path.clone(), source };
        let bytes = block.to_vec().map_err(|e| failed(std::io::Error::other(e.to_string())))?;
        self.file.write_all(&bytes).map_err(failed)
    }

    /// Writes out what is still buffered.
    ///
    /// # Errors
    /// [`CaptureError::Io`].
    pub fn finish(mut self) -> Result<(), CaptureError> {
        self.file.flush().map_err(|source| CaptureError::Io { path: self.path.clone(), source })
    }
}
