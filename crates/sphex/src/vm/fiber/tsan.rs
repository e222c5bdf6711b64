//! What ThreadSanitizer must know of a switch. Nothing, unless built with `--cfg sphex_tsan` (see `ci/tsan.sh`).

/// ThreadSanitizer's view of a fiber and its poller.
#[cfg(not(sphex_tsan))]
#[derive(Debug)]
pub(super) struct Side;

#[cfg(not(sphex_tsan))]
impl Side {
    pub(super) fn new() -> Side {
        Side
    }

    #[inline(always)]
    pub(super) fn enter_fiber(&mut self) {}

    #[inline(always)]
    pub(super) fn leave_fiber(&mut self) {}

    #[inline(always)]
    pub(super) fn destroy(&mut self) {}
}

/// ThreadSanitizer's view of a fiber and its poller.
#[cfg(sphex_tsan)]
#[derive(Debug)]
pub(super) struct Side {
    fiber: *mut u8,
    poller: *mut u8,
}

#[cfg(sphex_tsan)]
unsafe extern "C" {
    fn __tsan_get_current_fiber() -> *mut u8;
    fn __tsan_create_fiber(flags: u32) -> *mut u8;
    fn __tsan_destroy_fiber(fiber: *mut u8);
    fn __tsan_switch_to_fiber(fiber: *mut u8, flags: u32);
}

/// A switch orders what was done before it and what comes after, as it does on the one thread that makes it. What two
/// pollers do is ordered by no switch between them: a hand-over that is missing there is seen.
#[cfg(sphex_tsan)]
const ORDERED: u32 = 0;

#[cfg(sphex_tsan)]
impl Side {
    pub(super) fn new() -> Side {
        // SAFETY: makes a record of ThreadSanitizer's; no code runs on it yet.
        Side { fiber: unsafe { __tsan_create_fiber(0) }, poller: std::ptr::null_mut() }
    }

    /// Called right before the switch to the fiber.
    #[inline(always)]
    pub(super) fn enter_fiber(&mut self) {
        // SAFETY: the fiber's record lives until `destroy`; the switch follows at once.
        unsafe {
            self.poller = __tsan_get_current_fiber();
            __tsan_switch_to_fiber(self.fiber, ORDERED);
        }
    }

    /// Called right before the switch to the poller.
    #[inline(always)]
    pub(super) fn leave_fiber(&mut self) {
        // SAFETY: the poller waits in `resume`; the switch follows at once.
        unsafe { __tsan_switch_to_fiber(self.poller, ORDERED) }
    }

    /// Called by the poller when the fiber has finished.
    #[inline(always)]
    pub(super) fn destroy(&mut self) {
        // SAFETY: the fiber never runs again.
        unsafe { __tsan_destroy_fiber(self.fiber) }
    }
}
