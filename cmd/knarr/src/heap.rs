// SPDX-License-Identifier: Apache-2.0
//! The allocator's free memory: given back to the kernel when work has come to rest.
//!
//! The allocator gives back what is free a while ago, but only as it is used: after the last work nobody asks it to. Each
//! thread keeps some free pages of its own besides, so each is asked.

#![allow(unsafe_code, reason = "the allocator is a C library")]

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

unsafe extern "C" {
    /// mimalloc: frees what this thread and the process keep; `force` says without delay.
    fn mi_collect(force: bool);
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
