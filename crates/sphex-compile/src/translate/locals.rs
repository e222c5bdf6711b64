//! The values of locals, and what each control frame has written.
//!
//! A merge costs what was written, not what was declared: a log holds the locals set since each open frame began, each
//! once per frame, with the value that it had before.
//!
//! I1. The log is divided into one section per open frame, outermost first. `stamps[x]` is the serial of the innermost
//!     frame whose section has `x` (0 or a closed frame's: none).
//! I2. An entry's `old` is the value of the local when the frame of its section began.

use sphex_ir::{Type, Value};

/// A local's first write inside a frame.
#[derive(Clone, Copy, Debug)]
struct Entry {
    local: u32,
    before: u32,
    old: Value,
}

/// Where a frame's section begins, and its serial.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mark {
    serial: u32,
    start: u32,
}

/// The values of a body's locals.
#[derive(Debug, Default)]
pub(crate) struct Locals {
    values: Vec<Value>,
    types: Vec<Type>,
    stamps: Vec<u32>,
    log: Vec<Entry>,
    serial: u32,
    current: Mark,
}

impl Locals {
    /// Forgets all of it; keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.types.clear();
        self.stamps.clear();
        self.log.clear();
        self.serial = 1;
        self.current = Mark { serial: 1, start: 0 };
    }

    /// Adds a local with its first value.
    pub(crate) fn add(&mut self, ty: Type, value: Value) {
        self.values.push(value);
        self.types.push(ty);
        self.stamps.push(0);
    }

    pub(crate) fn ty(&self, local: u32) -> Type {
        self.types[local as usize]
    }

    pub(crate) fn get(&self, local: u32) -> Value {
        self.values[local as usize]
    }

    pub(crate) fn set(&mut self, local: u32, value: Value) {
        let at = local as usize;
        if self.stamps[at] != self.current.serial {
            self.log.push(Entry { local, before: self.stamps[at], old: self.values[at] });
            self.stamps[at] = self.current.serial;
        }
        self.values[at] = value;
    }

    /// Opens a frame; gives the mark of the one around it.
    pub(crate) fn enter(&mut self) -> Mark {
        let outer = self.current;
        self.serial += 1;
        self.current = Mark { serial: self.serial, start: self.log.len() as u32 };
        outer
    }

    /// The mark of the innermost open frame.
    pub(crate) fn mark(&self) -> Mark {
        self.current
    }

    /// How many entries were written since this frame began.
    pub(crate) fn written(&self, mark: Mark) -> usize {
        self.log.len() - mark.start as usize
    }

    /// Adds the locals written since this frame began, with their values now, to `out`.
    pub(crate) fn snapshot(&self, mark: Mark, out: &mut Vec<(u32, Value)>) {
        out.extend(self.log[mark.start as usize..].iter().map(|e| (e.local, self.values[e.local as usize])));
    }

    /// Gives every local the value that it had when the innermost frame began, as if that frame had written nothing.
    pub(crate) fn restore(&mut self) {
        while self.log.len() > self.current.start as usize {
            let Some(Entry { local, before, old }) = self.log.pop() else { return };
            self.values[local as usize] = old;
            self.stamps[local as usize] = before;
        }
    }

    /// Closes the innermost frame: what it wrote, the frame around it has written.
    pub(crate) fn leave(&mut self, outer: Mark) {
        let start = self.current.start as usize;
        let mut kept = start;
        for k in start..self.log.len() {
            let entry = self.log[k];
            self.stamps[entry.local as usize] = outer.serial;
            if entry.before != outer.serial {
                self.log[kept] = entry;
                kept += 1;
            }
        }
        self.log.truncate(kept);
        self.current = outer;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sphex_ir::types;

    #[test]
    fn frames_log_each_local_once_and_restore_it() {
        let v = Value::from_u32;
        let mut locals = Locals::default();
        locals.clear();
        (0..3).for_each(|k| locals.add(types::I32, v(k)));
        let outer = locals.enter();
        locals.set(0, v(10));
        locals.set(0, v(11));
        let middle = locals.enter();
        locals.set(0, v(20));
        locals.set(1, v(21));
        assert_eq!(locals.written(locals.mark()), 2);
        assert_eq!(locals.written(middle), 3);
        locals.leave(middle);
        assert_eq!(locals.written(locals.mark()), 2);
        let mut out = Vec::new();
        locals.snapshot(locals.mark(), &mut out);
        assert_eq!(out, [(0, v(20)), (1, v(21))]);
        locals.restore();
        assert_eq!([locals.get(0), locals.get(1), locals.get(2)], [v(0), v(1), v(2)]);
        locals.set(2, v(30));
        locals.leave(outer);
        assert_eq!((locals.written(locals.mark()), locals.get(2)), (1, v(30)));
    }
}
