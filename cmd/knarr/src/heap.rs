// SPDX-License-Identifier: Apache-2.0
//! The allocator: mimalloc, whose free memory is given back to the kernel when work has come to rest.
//!
//! It gives back what is free a while ago, but only as it is used: after the last work nobody asks it to. Each
//! thread keeps some free pages of its own besides, so each is asked.

#![allow(unsafe_code, reason = "the allocator is a C library")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

use mimalloc::MiMalloc;

unsafe extern "C" {
    /// mimalloc: as malloc(3). A block of 16 bytes and more begins at a multiple of 16, a smaller one of 8.
    fn mi_malloc(size: usize) -> *mut u8;
    /// As calloc(3).
    fn mi_zalloc(size: usize) -> *mut u8;
    /// As realloc(3).
    fn mi_realloc(block: *mut u8, size: usize) -> *mut u8;
    /// mimalloc: frees what this thread and the process keep; `force` says without delay.
    fn mi_collect(force: bool);
}

/// mimalloc, asked for an alignment only where a block would not have it anyway: [`MiMalloc`] always asks, which costs a
/// request of the ingress 4 % of its instructions.
pub struct Heap;

/// Whether every block of this size is aligned so.
fn is_aligned_anyway(layout: Layout, size: usize) -> bool {
    layout.align() <= 16 && layout.align() <= size
}

// SAFETY: mimalloc's blocks, whichever way they were asked for, may be freed and resized by all of its functions; a block
// is asked for without its alignment only where mimalloc promises that alignment for every block of the size.
unsafe impl GlobalAlloc for Heap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_aligned_anyway(layout, layout.size()) {
            // SAFETY: as malloc(3).
            unsafe { mi_malloc(layout.size()) }
        } else {
            // SAFETY: the caller's promises are those that are asked for.
            unsafe { MiMalloc.alloc(layout) }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_aligned_anyway(layout, layout.size()) {
            // SAFETY: as calloc(3).
            unsafe { mi_zalloc(layout.size()) }
        } else {
            // SAFETY: the caller's promises are those that are asked for.
            unsafe { MiMalloc.alloc_zeroed(layout) }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are those that are asked for.
        unsafe { MiMalloc.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if is_aligned_anyway(layout, size) {
            // SAFETY: a block of mimalloc's, as the caller promises.
            unsafe { mi_realloc(block, size) }
        } else {
            // SAFETY: the caller's promises are those that are asked for.
            unsafe { MiMalloc.realloc(block, layout, size) }
        }
    }
}

/// How many times the threads have been asked to give back what they keep.
#[derive(Debug, Default)]
pub struct Heaps {
    asked: AtomicU32,
}

thread_local! {
    /// How many of these times this thread has done so.
    static DONE: Cell<u32> = const { Cell::new(0) };
}

impl Heaps {
    /// Asks all threads; the calling one does so now, others before they next wait for work.
    pub fn collect(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.waiting();
    }

    /// This thread is about to wait for work. Cheap when nothing was asked: two reads.
    pub fn waiting(&self) {
        let asked = self.asked.load(Ordering::Relaxed);
        if DONE.replace(asked) != asked {
            // SAFETY: a thread may call it at any time that it could allocate.
            unsafe { mi_collect(true) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_as_they_are_asked_for() {
        let layouts = (0..600).flat_map(|size| (0..8).map(move |power| (size + 1, 1 << power)));
        for layout in layouts.map(|(size, align)| Layout::from_size_align(size, align).unwrap()) {
            // SAFETY: a layout of some bytes; each block is freed with the layout that it has then.
            unsafe {
                let (block, zeroed) = (Heap.alloc(layout), Heap.alloc_zeroed(layout));
                let larger = Layout::from_size_align(layout.size() * 3, layout.align()).unwrap();
                let grown = Heap.realloc(block, layout, larger.size());
                for (block, layout) in [(grown, larger), (zeroed, layout)] {
                    assert!(!block.is_null() && block.addr() % layout.align() == 0, "{layout:?} at {block:?}");
                    Heap.dealloc(block, layout);
                }
            }
        }
    }

    #[test]
    fn each_thread_gives_back_once_a_time() {
        let heaps = Heaps::default();
        let kept: Vec<Vec<u8>> = (0..1000).map(|size| vec![1; size]).collect();
        heaps.collect();
        assert_eq!(DONE.get(), 1);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert_eq!(DONE.get(), 0);
                heaps.waiting();
                assert_eq!(DONE.get(), 1);
            });
        });
        assert!(
            kept.iter().enumerate().all(|(size, bytes)| bytes.len() == size && bytes.iter().all(|byte| *byte == 1))
        );
    }
}
