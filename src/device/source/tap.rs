//! A TAP: a network interface whose other end is a file, with virtio-net headers.
//!
//! What the kernel's own stack sends out of the interface is read here, each frame behind a header
//! with its real metadata; super-packets of up to 64 KiB come whole if the driver takes them. What
//! is written here the kernel receives, and it refuses a header that makes no sense.

use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Getter, IntegerSetter, Ioctl, Setter, Updater, ioctl};

use crate::ring::EventFd;
use crate::virtio::{Features, VnetHeader};

const DRIVER: &str = "/dev/net/tun";
/// Bytes of an interface's name, the 0 at its end not counted.
const NAME_LEN: usize = 15;

// linux/if_tun.h
const TUNSETIFF: u32 = 0x4004_54ca;
const TUNGETIFF: u32 = 0x8004_54d2;
const TUNSETOFFLOAD: u32 = 0x4004_54d0;
const TUNSETVNETHDRSZ: u32 = 0x4004_54d8;
const TUNSETVNETLE: u32 = 0x4004_54dc;
const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;
const TUN_F_CSUM: usize = 0x01;
const TUN_F_TSO4: usize = 0x02;
const TUN_F_TSO6: usize = 0x04;
const TUN_F_TSO_ECN: usize = 0x08;
/// USO4 and USO6, which the kernel takes only together.
const TUN_F_USO: usize = 0x20 | 0x40;

const USO: Features =
    Features::from_bits(Features::GUEST_USO4.bits() | Features::GUEST_USO6.bits());

/// Why a TAP cannot be used. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// Not a name of an interface.
    #[error(
        "TAP name {0:?} is not possible: give 1 to {NAME_LEN} bytes without '/', ':' and spaces \
         (one %d stands for a free number), or none for a name of the kernel's choice"
    )]
    Name(String),
    /// No driver.
    #[error(
        "{DRIVER}: {0}: load the module (modprobe tun), or give the container the device \
         (--device {DRIVER})"
    )]
    NoDriver(io::Error),
    /// Not allowed.
    #[error(
        "TAP {0}: not permitted: be root, or work in a network namespace of your own \
         (unshare -rn), or have it made for you (ip tuntap add NAME mode tap user $USER)"
    )]
    NotPermitted(String),
    /// Somebody has it.
    #[error("TAP {0} is in use by another process: end that one, or choose another name")]
    Busy(String),
    /// Something else has the name.
    #[error("interface {0} exists and is not a TAP of one queue: choose another name")]
    NotATap(String),
    /// A descriptor that is something else.
    #[error(
        "descriptor {0} is not a TAP with virtio-net headers: set it up with TUNSETIFF and \
         IFF_TAP | IFF_NO_PI | IFF_VNET_HDR"
    )]
    NotATapFile(i32),
    /// It went away.
    #[error("TAP {0} was deleted: make it again, and open it anew")]
    Gone(String),
    /// It is down.
    #[error("TAP {0} is down: ip link set {0} up")]
    Down(String),
    /// What was to be sent makes no sense to the kernel.
    #[error("TAP {name}: the kernel refused a frame of {len} bytes with {header:?}")]
    Refused {
        /// The interface.
        name: String,
        /// Bytes of the frame.
        len: usize,
        /// Its header.
        header: VnetHeader,
    },
    /// Anything else.
    #[error("TAP {name}: {what}: {source}")]
    System {
        /// The interface.
        name: String,
        /// The step that failed.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// A TAP, set up for a driver that negotiated certain features. Never waits but in
/// [`wait`](Self::wait).
#[derive(Debug)]
pub struct Tap {
    file: OwnedFd,
    name: String,
    features: Features,
}

/// `struct ifreq`: a name and, here, 16 bits of flags.
#[derive(Clone, Copy)]
#[repr(C)]
struct IfReq {
    name: [u8; NAME_LEN + 1],
    flags: u16,
    rest: [u8; 22],
}

const _: () = assert!(size_of::<IfReq>() == 40);

impl IfReq {
    fn name(&self) -> String {
        let bytes = self.name.split(|&byte| byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    }
}

impl Tap {
    /// Opens the TAP called `name`, or makes it; it lasts until it is closed, unless it was there
    /// before. An empty name, and `%d` in one, leave the choice to the kernel. It is for a driver
    /// that would like to negotiate `wanted`, which decides mode and dialect; what comes of it is in
    /// [`features`](Self::features).
    ///
    /// # Errors
    /// [`TapError`]; nothing is left open then.
    pub fn open(name: &str, wanted: Features) -> Result<Self, TapError> {
        let mut request = IfReq {
            name: interface_name(name)?,
            flags: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR,
            rest: [0; 22],
        };
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::open(DRIVER, flags, Mode::empty()).map_err(|error| match error {
            Errno::ACCESS | Errno::PERM => TapError::NotPermitted(name.into()),
            error => TapError::NoDriver(error.into()),
        })?;
        // SAFETY: TUNSETIFF reads and writes a `struct ifreq`.
        unsafe { ioctl(&file, Updater::<TUNSETIFF, _>::new(&mut request)) }.map_err(|error| {
            let name = name.to_owned();
            match error {
                Errno::PERM | Errno::ACCESS => TapError::NotPermitted(name),
                Errno::BUSY => TapError::Busy(name),
                Errno::INVAL => TapError::NotATap(name),
                error => TapError::System { name, what: "TUNSETIFF", source: error.into() },
            }
        })?;
        Self::set_up(file, request.name(), wanted)
    }

    /// Uses a TAP that somebody has opened, in another network namespace perhaps, with
    /// `IFF_TAP | IFF_NO_PI | IFF_VNET_HDR`. The descriptor is duplicated and stays the caller's;
    /// the two share their settings. Otherwise as [`open`](Self::open).
    ///
    /// # Errors
    /// [`TapError`]; nothing is left open then.
    pub fn adopt(descriptor: RawFd, wanted: Features) -> Result<Self, TapError> {
        let no_tap = TapError::NotATapFile(descriptor);
        // SAFETY: F_DUPFD_CLOEXEC takes two integers and gives a new descriptor, or -1.
        let file = unsafe {
            match libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 0) {
                -1 => return Err(no_tap),
                copy => OwnedFd::from_raw_fd(copy),
            }
        };
        // SAFETY: TUNGETIFF writes a `struct ifreq`, which any bytes are.
        let Ok(found) = (unsafe { ioctl(&file, Getter::<TUNGETIFF, IfReq>::new()) }) else {
            return Err(no_tap);
        };
        let needed = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
        if found.flags & needed != needed {
            return Err(no_tap);
        }
        let name = found.name();
        let flags = rustix::fs::fcntl_getfl(&file);
        flags
            .and_then(|flags| rustix::fs::fcntl_setfl(&file, flags | OFlags::NONBLOCK))
            .map_err(|error| failed(&name, "O_NONBLOCK", error))?;
        Self::set_up(file, name, wanted)
    }

    fn set_up(file: OwnedFd, name: String, wanted: Features) -> Result<Self, TapError> {
        let set = |what, result: Result<(), Errno>| result.map_err(|e| failed(&name, what, e));
        let header_len = wanted.header_len() as i32;
        // SAFETY: both read an `int`.
        let (size, endian) = unsafe {
            (
                control(&file, Setter::<TUNSETVNETHDRSZ, i32>::new(header_len)),
                control(&file, Setter::<TUNSETVNETLE, i32>::new(1)),
            )
        };
        set("TUNSETVNETHDRSZ", size)?;
        set("TUNSETVNETLE", endian)?;
        let mut features = offered(wanted);
        let mut result = set_offloads(&file, features);
        if result == Err(Errno::INVAL) && features.intersects(USO) {
            // Kernels before 6.2 know nothing of USO.
            features = features.without(USO);
            result = set_offloads(&file, features);
        }
        set("TUNSETOFFLOAD", result)?;
        Ok(Self { file, name, features })
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What was wanted, less the offloads that this kernel does not have.
    pub fn features(&self) -> Features {
        self.features
    }

    /// Sleeps until a frame can be read, `wake` is signalled or `timeout` is over (`None` waits for
    /// ever); true if a frame can be read, or the TAP is gone, which reading tells.
    ///
    /// # Errors
    /// `Interrupted` when a Unix signal arrived.
    pub fn wait(&self, wake: &EventFd, timeout: Option<Duration>) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.file, PollFlags::IN), PollFd::new(wake, PollFlags::IN)];
        let timeout = timeout.map(|time| time.try_into().map_err(|_| Errno::INVAL)).transpose()?;
        poll(&mut fds, timeout.as_ref())?;
        Ok(fds.first().is_some_and(|tap| !tap.revents().is_empty()))
    }

    /// Gives the kernel a frame to receive, with its header: false if the kernel has no room for it
    /// now. `num_buffers` means nothing here.
    ///
    /// # Errors
    /// [`TapError::Refused`] when the header, or a frame of less than 14 bytes, makes no sense to
    /// the kernel; [`TapError::Down`], [`TapError::Gone`].
    pub fn send(&self, header: &VnetHeader, frame: &[u8]) -> Result<bool, TapError> {
        let bytes = header.to_bytes();
        let header_bytes = bytes.get(..self.features.header_len()).unwrap_or(&bytes);
        match rustix::io::writev(&self.file, &[IoSlice::new(header_bytes), IoSlice::new(frame)]) {
            Ok(_) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(Errno::INVAL) => {
                let (name, len) = (self.name.clone(), frame.len());
                Err(TapError::Refused { name, len, header: *header })
            }
            Err(Errno::IO) => Err(TapError::Down(self.name.clone())),
            Err(error) => Err(self.broken("writing", error.into())),
        }
    }

    /// What a failed read or write means.
    pub(in crate::device) fn broken(&self, what: &'static str, error: io::Error) -> TapError {
        match Errno::from_io_error(&error) {
            Some(Errno::BADFD) => TapError::Gone(self.name.clone()),
            _ => TapError::System { name: self.name.clone(), what, source: error },
        }
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl fmt::Display for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// An interface's name as `struct ifreq` has it, checked as the kernel would: it answers a bad name
/// and a name of something else alike.
fn interface_name(name: &str) -> Result<[u8; NAME_LEN + 1], TapError> {
    let bytes = name.as_bytes();
    let odd = |byte: &u8| matches!(byte, b'/' | b':' | 0) || byte.is_ascii_whitespace();
    let templates = name.matches('%').count();
    let fine = bytes.len() <= NAME_LEN
        && !bytes.iter().any(odd)
        && !matches!(name, "." | "..")
        && (templates == 0 || templates == 1 && name.contains("%d"));
    let mut field = [0; NAME_LEN + 1];
    match field.get_mut(..bytes.len()) {
        Some(place) if fine => place.copy_from_slice(bytes),
        _ => return Err(TapError::Name(name.into())),
    }
    Ok(field)
}

/// What a TAP can offer of `wanted`: the kernel segments no UDP into fragments, ECN comes with TSO,
/// and nothing comes without checksum offload.
fn offered(wanted: Features) -> Features {
    let tso = Features::GUEST_TSO4 | Features::GUEST_TSO6;
    let mut features = wanted.without(Features::GUEST_UFO);
    if !features.contains(Features::GUEST_CSUM) {
        features = features.without(tso | USO);
    }
    if !features.intersects(tso) {
        features = features.without(Features::GUEST_ECN);
    }
    if !features.contains(USO) {
        features = features.without(USO);
    }
    features
}

fn set_offloads(file: &OwnedFd, features: Features) -> Result<(), Errno> {
    let offloads = [
        (Features::GUEST_CSUM, TUN_F_CSUM),
        (Features::GUEST_TSO4, TUN_F_TSO4),
        (Features::GUEST_TSO6, TUN_F_TSO6),
        (Features::GUEST_ECN, TUN_F_TSO_ECN),
        (USO, TUN_F_USO),
    ];
    let named = offloads.iter().filter(|(feature, _)| features.contains(*feature));
    let bits = named.fold(0, |bits, (_, bit)| bits | bit);
    // SAFETY: TUNSETOFFLOAD takes an integer.
    unsafe { control(file, IntegerSetter::<TUNSETOFFLOAD>::new_usize(bits)) }
}

/// # Safety
/// As for [`ioctl`]: opcode and operand are what the TUN driver expects.
unsafe fn control<I: Ioctl<Output = ()>>(file: &OwnedFd, request: I) -> Result<(), Errno> {
    // SAFETY: promised by the caller.
    unsafe { ioctl(file, request) }
}

fn failed(name: &str, what: &'static str, error: Errno) -> TapError {
    TapError::System { name: name.into(), what, source: error.into() }
}
