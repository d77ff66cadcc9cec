//! The allocator: musl's, behind a small store of free blocks that only the daemon's main thread uses.
//!
//! musl takes a lock for every block once a process has had a second thread, and gives memory back to the kernel eagerly: a sixth of the
//! time of a request went there. Blocks of the store are plain blocks of musl's, so that any thread may free any of them.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};
use std::ptr;

/// Largest block that is kept, in bytes.
const BLOCK_MAX: usize = 16 * 1024;
/// Free bytes kept per size, at most; but up to four blocks of every size.
const KEPT_MAX: usize = 4 * 1024;
/// Alignment of every block that musl gives.
const ALIGN: usize = 16;
/// Steps between small sizes, less the four bytes that musl adds to each: 28, 60, … 1,020.
const STEP: usize = 32;
const SMALL_SIZES: usize = 32;
/// The small sizes, then powers of two from 2,048 up to [`BLOCK_MAX`].
const SIZES: usize = SMALL_SIZES + 4;

/// The global allocator of the binary.
pub struct Store;

/// Free blocks of one size, linked through their first bytes.
#[derive(Clone, Copy)]
struct Free {
    first: *mut u8,
    count: usize,
}

thread_local! {
    static FREE: UnsafeCell<[Free; SIZES]> = const { UnsafeCell::new([Free { first: ptr::null_mut(), count: 0 }; SIZES]) };
    static USED_HERE: Cell<bool> = const { Cell::new(false) };
}

/// Lets this thread keep free blocks. For a thread that lives as long as the process: what it keeps is never given back.
pub fn keep_on_this_thread() {
    USED_HERE.set(true);
}

/// The place of a size in the store, and the size of all blocks there; `None` for blocks that are not kept.
fn place(layout: Layout) -> Option<(usize, usize)> {
    if layout.align() > ALIGN || layout.size() > BLOCK_MAX {
        return None;
    }
    let step = (layout.size() + 3) / STEP;
    if step < SMALL_SIZES {
        return Some((step, (step + 1) * STEP - 4));
    }
    let size = layout.size().max(2048).next_power_of_two();
    Some((SMALL_SIZES + size.trailing_zeros() as usize - 11, size))
}

fn used_here() -> bool {
    USED_HERE.try_with(Cell::get).unwrap_or(false)
}

fn take(place: usize) -> Option<*mut u8> {
    FREE.try_with(|free| {
        // SAFETY: the store is this thread's own and nothing below calls back into the allocator.
        let free = unsafe { &mut (*free.get())[place] };
        if free.first.is_null() {
            return None;
        }
        let block = free.first;
        // SAFETY: a block in the store begins with the address of the next one, written by `keep`.
        free.first = unsafe { block.cast::<*mut u8>().read() };
        free.count -= 1;
        Some(block)
    })
    .unwrap_or(None)
}

fn keep(place: usize, size: usize, block: *mut u8) -> bool {
    FREE.try_with(|free| {
        // SAFETY: as in `take`.
        let free = unsafe { &mut (*free.get())[place] };
        if free.count >= (KEPT_MAX / size).max(4) {
            return false;
        }
        // SAFETY: the block is free, at least 28 bytes long and aligned to 16.
        unsafe { block.cast::<*mut u8>().write(free.first) };
        free.first = block;
        free.count += 1;
        true
    })
    .unwrap_or(false)
}

// SAFETY: blocks come from `System` with the size of their place, or from the store, which holds only such blocks that were freed and
// gives each one out once; sizes and alignments that have no place go to `System` as they are.
unsafe impl GlobalAlloc for Store {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((place, size)) = place(layout) else {
            // SAFETY: the caller's promise about the layout.
            return unsafe { System.alloc(layout) };
        };
        if used_here()
            && let Some(block) = take(place)
        {
            return block;
        }
        // SAFETY: the size of a place is above 0.
        unsafe { System.alloc(Layout::from_size_align_unchecked(size, ALIGN)) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some((place, size)) = place(layout) else {
            // SAFETY: a block without a place came from `System` with this layout.
            return unsafe { System.dealloc(block, layout) };
        };
        if !(used_here() && keep(place, size, block)) {
            // SAFETY: a block of this place came from `System` with this layout.
            unsafe { System.dealloc(block, Layout::from_size_align_unchecked(size, ALIGN)) }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the new size fits a layout.
        let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        match (place(layout), place(new)) {
            (Some(old), Some(new)) if old == new => block,
            // SAFETY: a block without a place came from `System`, which may move pages instead of copying.
            (None, None) => unsafe { System.realloc(block, layout, new_size) },
            // SAFETY: the new block is as long as asked for, the old one as its layout says; both are the caller's.
            _ => unsafe {
                let moved = self.alloc(new);
                if !moved.is_null() {
                    ptr::copy_nonoverlapping(block, moved, layout.size().min(new_size));
                    self.dealloc(block, layout);
                }
                moved
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).unwrap()
    }

    #[test]
    fn every_size_fits_its_place() {
        let mut last = 0;
        for size in 1..=BLOCK_MAX {
            let (place, block) = place(layout(size)).unwrap();
            assert!(block >= size && place < SIZES && place >= last, "{size}");
            last = place;
        }
        assert_eq!(last, SIZES - 1);
        assert_eq!(place(layout(BLOCK_MAX + 1)), None);
        assert_eq!(place(Layout::from_size_align(64, 32).unwrap()), None);
    }

    proptest! {
        #[test]
        fn live_blocks_never_overlap_and_keep_their_bytes(sizes in prop::collection::vec((1usize..20_000, 1usize..20_000, any::<bool>()), 1..60)) {
            std::thread::spawn(move || {
                keep_on_this_thread();
                let mut live: Vec<(*mut u8, usize, u8)> = Vec::new();
                for (n, (size, resized, drop_one)) in sizes.into_iter().enumerate() {
                    let mark = n as u8;
                    // SAFETY: each block is used within its size and freed once with its layout.
                    unsafe {
                        let block = Store.alloc(layout(size));
                        block.write_bytes(mark, size);
                        let block = Store.realloc(block, layout(size), resized);
                        assert!((0..size.min(resized)).all(|i| block.add(i).read() == mark));
                        block.write_bytes(mark, resized);
                        live.push((block, resized, mark));
                        if drop_one {
                            let (block, size, mark) = live.swap_remove(n % live.len());
                            assert!((0..size).all(|i| block.add(i).read() == mark));
                            Store.dealloc(block, layout(size));
                        }
                    }
                }
                for (block, size, mark) in live {
                    // SAFETY: as above.
                    unsafe {
                        assert!((0..size).all(|i| block.add(i).read() == mark));
                        Store.dealloc(block, layout(size));
                    }
                }
            }).join().unwrap();
        }
    }
}
