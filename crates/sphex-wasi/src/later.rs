//! What a call leaves behind that would wait, where someone else waits in its place.
//!
//! Under `call_async` the engine's binding puts a [`Later`] into the context. A function that would wait then does nothing,
//! notes what for, and says [`Fault::Wait`]; when that is there it is called again, with the same arguments. What may wait
//! for a disk is left behind as a job for a pool of threads; called again, the function finds its result. So functions are
//! written once, know no executor, and hold nothing while they wait.
//!
//! What is left behind, of files and directories whose `blocks` says so: all that their file system is asked for, because
//! every such call may wait for a disk or a server. Only bytes that are in memory already are read at once (`read_now`).
//! What the descriptor itself knows is asked here: where the position is and moving it but from the end, modes, rights.

use crate::files::File;
use crate::preview1::Fault;
use crate::{Descriptor, Errno, Object, WasiCtx};
use rustix::event::PollFlags;
use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Work for another thread.
pub(crate) type Job = Box<dyn FnOnce() -> Done + Send>;

/// What such work gave: a `Result<R, Errno>`.
pub(crate) type Done = Box<dyn Any + Send>;

/// What a call waits for, and what came of that.
#[derive(Default)]
pub(crate) struct Later {
    /// The guest's descriptors, and what each is to be ready for.
    pub(crate) files: Vec<(u32, PollFlags)>,
    /// Nanoseconds after which it is to be called again at the latest.
    pub(crate) timeout: Option<u64>,
    /// What is to be done first.
    pub(crate) job: Option<Job>,
    /// Others are to have a turn first.
    pub(crate) yields: bool,
    /// Called again: the timeout that is over.
    pub(crate) slept: u64,
    /// Called again: what the job gave.
    pub(crate) done: Option<Done>,
    /// Called again: others have had their turn.
    pub(crate) yielded: bool,
}

impl WasiCtx {
    /// Begins a call that someone else waits for, or (`false`) one that waits itself.
    pub(crate) fn begin(&mut self, later: bool) {
        self.began = None;
        self.later = later.then(Mutex::default);
    }

    /// What the present call waits for, if it does not wait itself.
    pub(crate) fn later(&self) -> Option<MutexGuard<'_, Later>> {
        Some(self.later.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Does something that waits for no one, but perhaps (`blocks`) for a disk.
    pub(crate) fn pooled<R: Send + 'static>(
        &self,
        blocks: bool,
        job: impl FnOnce() -> Result<R, Errno> + Send + 'static,
    ) -> Result<R, Fault> {
        match self.done() {
            Some(done) => done,
            None if blocks => self.leave(job),
            None => Ok(job()?),
        }
    }

    /// What the job gave that the call left behind, if it is called again because of that.
    pub(crate) fn done<R: 'static>(&self) -> Option<Result<R, Fault>> {
        let done = self.later()?.done.take()?;
        // One call leaves one kind of job.
        Some(match done.downcast::<Result<R, Errno>>() {
            Ok(done) => (*done).map_err(Fault::Errno),
            Err(_) => Err(Errno::Io.into()),
        })
    }

    /// Leaves a job behind, or does it where nobody else would.
    pub(crate) fn leave<R: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<R, Errno> + Send + 'static,
    ) -> Result<R, Fault> {
        let Some(mut later) = self.later() else { return Ok(job()?) };
        later.job = Some(Box::new(move || Box::new(job())));
        Err(Fault::Wait)
    }

    /// The file of a descriptor, if using it may wait for a disk and there is someone to leave that to.
    pub(crate) fn to_pool(&self, descriptor: &Descriptor) -> Option<Arc<dyn File>> {
        match &descriptor.object {
            Object::File(file) if self.later.is_some() && file.blocks() => Some(file.clone()),
            _ => None,
        }
    }
}
