//! The lock of what threads hand to each other. (`tests/shuttle.rs` gives `shelf` another.)

#[cfg(not(sphex_tsan))]
pub(crate) use std::sync::Mutex;

/// The standard library's lock, taken by trying only: that part is compiled with us, so that ThreadSanitizer sees what it
/// orders. The part that waits comes compiled without it.
#[cfg(sphex_tsan)]
#[derive(Debug, Default)]
pub(crate) struct Mutex<V>(std::sync::Mutex<V>);

#[cfg(sphex_tsan)]
impl<V> Mutex<V> {
    pub(crate) fn new(value: V) -> Mutex<V> {
        Mutex(std::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> std::sync::LockResult<std::sync::MutexGuard<'_, V>> {
        loop {
            match self.0.try_lock() {
                Ok(guard) => return Ok(guard),
                Err(std::sync::TryLockError::Poisoned(error)) => return Err(error),
                Err(std::sync::TryLockError::WouldBlock) => std::thread::yield_now(),
            }
        }
    }
}
