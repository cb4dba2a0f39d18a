//! Capture files, written: pcapng.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pcap_parser::{
    EnhancedPacketBlock, InterfaceDescriptionBlock, Linktype, OptionCode, PcapNGOption,
    SectionHeaderBlock, ToVec,
};

use super::{CaptureError, Frame, complete_checksum, header_comment};

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
        let comment = header_comment::write(&header).into_bytes();
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
