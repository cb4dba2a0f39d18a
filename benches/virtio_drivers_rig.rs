//! rcore's `virtio-drivers` at the same work: `VirtIONetRaw` in small mode, served by the same host.
//!
//! Its rings and receive buffers are cut one after the other from one shared memory, so `share` is
//! address arithmetic and nothing is copied on the way. Buffers are 2,048 bytes; which buffer a token
//! stands for is kept in an array, as the crate's own `VirtIONet` does.

use std::cell::RefCell;
use std::ptr::NonNull;
use std::rc::Rc;
use std::slice;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use virtio_drivers::device::net::VirtIONetRaw;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{BufferDirection, Hal, PhysAddr};
use vnet_rx::device::Host;
use vnet_rx::memory::{GUEST_BASE, SharedMemory};
use vnet_rx::virtio::{Features, SplitLayout};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::rig::{BATCH, Driver, Frames};

const RING: usize = 256;
const BUFFER_LEN: usize = 2048;
/// What both ends agree on: what this library's small mode negotiates, as far as the crate knows it.
const FEATURES: Features = Features::from_bits(1 << 32 | 1 << 29);
const RECEIVE_QUEUE: u16 = 0;

/// The one shared memory, from which everything is cut and to which nothing returns.
struct Region {
    memory: Arc<SharedMemory>,
    used: AtomicUsize,
}

impl Region {
    const LEN: usize = 64 << 20;

    fn get() -> &'static Self {
        static REGION: OnceLock<Region> = OnceLock::new();
        REGION.get_or_init(|| {
            let memory = SharedMemory::new(Self::LEN).expect("memory");
            BASE.store(memory.as_ptr() as usize, Ordering::Relaxed);
            Self { memory, used: AtomicUsize::new(0) }
        })
    }

    /// `len` bytes aligned to a page.
    fn cut(&self, len: usize) -> NonNull<u8> {
        let at = self.used.fetch_add(len.next_multiple_of(4096), Ordering::Relaxed);
        assert!(at + len <= Self::LEN, "the region is used up");
        NonNull::new(self.memory.as_ptr().wrapping_add(at)).expect("a mapping is not at 0")
    }
}

/// Where the region is mapped.
static BASE: AtomicUsize = AtomicUsize::new(0);

fn guest_address(at: NonNull<u8>) -> PhysAddr {
    GUEST_BASE + (at.as_ptr() as usize - BASE.load(Ordering::Relaxed)) as u64
}

struct OneRegion;

// SAFETY: `dma_alloc` returns zeroed pages of a mapping that lives as long as the process, each page
// once; addresses are inside it.
unsafe impl Hal for OneRegion {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let at = Region::get().cut(pages * 4096);
        (guest_address(at), at)
    }
    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        0
    }
    unsafe fn mmio_phys_to_virt(_: PhysAddr, _: usize) -> NonNull<u8> {
        unreachable!("there is no PCI bus")
    }
    #[inline]
    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        guest_address(buffer.cast())
    }
    #[inline]
    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

/// A device's registers, as far as the driver asks for them.
struct Registers {
    receive_queue: Rc<RefCell<Option<SplitLayout>>>,
    kicks: u64,
}

impl Transport for Registers {
    fn device_type(&self) -> DeviceType {
        DeviceType::Network
    }
    fn read_device_features(&mut self) -> u64 {
        FEATURES.bits()
    }
    fn write_driver_features(&mut self, features: u64) {
        assert_eq!(features, FEATURES.bits());
    }
    fn max_queue_size(&mut self, _: u16) -> u32 {
        RING as u32
    }
    fn notify(&mut self, _: u16) {
        self.kicks += 1;
    }
    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::DRIVER_OK
    }
    fn set_status(&mut self, _: DeviceStatus) {}
    fn set_guest_page_size(&mut self, _: u32) {}
    fn requires_legacy_layout(&self) -> bool {
        false
    }
    fn queue_set(&mut self, queue: u16, size: u32, desc: u64, avail: u64, used: u64) {
        if queue == RECEIVE_QUEUE {
            *self.receive_queue.borrow_mut() = Some(SplitLayout { size, desc, avail, used });
        }
    }
    fn queue_unset(&mut self, _: u16) {}
    fn queue_used(&mut self, _: u16) -> bool {
        false
    }
    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::empty()
    }
    fn read_config_generation(&self) -> u32 {
        0
    }
    fn read_config_space<T: FromBytes + IntoBytes>(&self, _: usize) -> virtio_drivers::Result<T> {
        Ok(T::new_zeroed())
    }
    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        _: usize,
        _: T,
    ) -> virtio_drivers::Result<()> {
        Ok(())
    }
}

/// A packet received: its buffer, where it starts in it, its length.
#[derive(Clone, Copy)]
struct Received {
    buffer: usize,
    header_len: usize,
    len: usize,
}

/// `VirtIONetRaw` and a host.
pub struct VirtioDrivers {
    net: Box<VirtIONetRaw<OneRegion, Registers, RING>>,
    host: Host,
    frames: Frames,
    buffers: NonNull<u8>,
    /// Which buffer each token stands for.
    posted: [usize; RING],
    packets: Vec<Received>,
}

impl VirtioDrivers {
    /// A rig whose frames have `size` bytes, at most 1,518.
    pub fn new(size: usize) -> Self {
        let receive_queue = Rc::new(RefCell::new(None));
        let registers = Registers { receive_queue: Rc::clone(&receive_queue), kicks: 0 };
        let net = Box::new(VirtIONetRaw::new(registers).expect("a driver"));
        let layout = receive_queue.borrow().expect("the driver has set its queues up");
        let host = Host::new(&Region::get().memory, layout, FEATURES).expect("a host");
        let mut rig = Self {
            net,
            host,
            frames: Frames::of_size(size, FEATURES),
            buffers: Region::get().cut(RING * BUFFER_LEN),
            posted: [0; RING],
            packets: Vec::with_capacity(BATCH),
        };
        (0..RING).for_each(|buffer| rig.post(buffer));
        rig
    }

    fn at(&self, buffer: usize) -> NonNull<u8> {
        assert!(buffer < RING);
        // SAFETY: the buffers lie one after the other.
        unsafe { self.buffers.add(buffer * BUFFER_LEN) }
    }

    /// The bytes of a buffer.
    ///
    /// # Safety
    /// Nobody else may use the buffer while the slice lives.
    unsafe fn slice<'a>(&self, buffer: usize) -> &'a mut [u8] {
        // SAFETY: inside the mapping, which is never unmapped; exclusive by the caller's promise.
        unsafe { slice::from_raw_parts_mut(self.at(buffer).as_ptr(), BUFFER_LEN) }
    }

    #[inline]
    fn post(&mut self, buffer: usize) {
        // SAFETY: host and driver are in one thread, and the slice ends with the call.
        let token = unsafe { self.net.receive_begin(self.slice(buffer)) }.expect("room");
        self.posted[usize::from(token)] = buffer;
    }

    /// The first `n` bytes of a packet.
    fn bytes(&self, packet: Received, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n.min(packet.len)];
        let at = guest_address(self.at(packet.buffer)) + packet.header_len as u64;
        Region::get().memory.read(at, &mut bytes).expect("inside the region");
        bytes
    }
}

impl Driver for VirtioDrivers {
    fn send(&mut self, most: usize) -> usize {
        self.frames.send(&mut self.host, most)
    }

    #[inline(never)]
    fn timed_receive(&mut self) {
        while self.packets.len() < BATCH {
            let Some(token) = self.net.poll_receive() else { break };
            let buffer = self.posted[usize::from(token)];
            // SAFETY: the buffer that was posted with this token; the slice ends with the call.
            let received = unsafe { self.net.receive_complete(token, self.slice(buffer)) };
            let (header_len, len) = received.expect("an honest host");
            self.packets.push(Received { buffer, header_len, len });
        }
    }

    fn compare(&mut self) {
        for &packet in &self.packets {
            let piece = self.bytes(packet, 24);
            self.frames.compare(0, &piece);
            self.frames.was_received(packet.len);
        }
    }

    #[inline(never)]
    fn timed_release(&mut self) {
        while let Some(packet) = self.packets.pop() {
            self.post(packet.buffer);
        }
    }

    fn check(&mut self) {
        assert_eq!(self.send(1), 1);
        self.timed_receive();
        let packet = self.packets[0];
        self.frames.compare_whole(self.bytes(packet, packet.len));
        self.timed_release();
    }
}
