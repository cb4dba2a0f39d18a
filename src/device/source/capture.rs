//! Capture files, read: pcap and pcapng.
//!
//! A packet whose comment holds a virtio-net header (`header_comment.rs`) has that one. For any
//! other the header is [derived](super::derive_header) from the frame: none for a frame that a wire
//! could carry, segmentation metadata for a TCP or UDP frame that is longer. A packet that the
//! capture cut short gets none.

use std::fmt;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{
    Block, Linktype, OptionCode, PcapBlockOwned, PcapError, PcapNGOption, create_reader,
};

use super::{Frame, derive_header, header_comment};
use crate::virtio::VnetHeader;

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
            if header_comment::is_header(comment) {
                return header_comment::parse(comment).map(Some).ok_or_else(|| {
                    CaptureError::Header {
                        path: self.path.into(),
                        packet: self.frames.len() + 1,
                        comment: comment.to_owned(),
                    }
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
