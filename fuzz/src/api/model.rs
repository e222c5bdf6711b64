//! What a store holds and what its functions do, without an engine.

use std::collections::BTreeMap;

/// Bytes of a page.
const PAGE: u64 = 65536;
/// Calls inside calls after which nobody says how it ends: perhaps with the stack's end.
const DEEP: u32 = 40;

/// The functions that the module exports, in the order of [`Code`]'s numbers.
pub const EXPORTS: [&str; 10] =
    ["load", "store", "add", "grow", "indirect", "put", "host", "count", "peek", "poke"];
/// What the module's own memory begins with, and where.
const OWN: (u16, &[u8; 3]) = (100, b"own");

/// A memory: what is not in `bytes` is 0.
#[derive(Clone, Debug)]
pub struct Memory {
    pub pages: u64,
    pub max: u64,
    pub bytes: BTreeMap<u64, u8>,
}

/// A table of functions.
#[derive(Clone, Debug)]
pub struct Table {
    pub elements: Vec<Option<usize>>,
    pub max: usize,
}

/// A global: its type's number, and its bits.
#[derive(Clone, Debug)]
pub struct Global {
    pub ty: usize,
    pub mutable: bool,
    pub bits: u64,
}

/// What a function is.
#[derive(Clone, Copy, Debug)]
pub enum Code {
    /// Adds a number.
    Add(i32),
    /// Adds a number after a while, if it may wait.
    Later(i32),
    /// Adds to the store's data.
    Sum,
    /// Uses the instance that called.
    Script,
    /// Says no.
    Fail,
    /// An export of an instance.
    Wasm(usize, usize),
}

/// An instance: places of what it imports, its first export among the functions, and its own global.
#[derive(Clone, Debug)]
pub struct Instance {
    pub memory: usize,
    pub global: usize,
    pub table: usize,
    pub func: usize,
    pub first: usize,
    pub count: i32,
    /// Its own memory, as far as it was written.
    pub own: BTreeMap<u16, u8>,
}

impl Instance {
    fn peek(&self, at: u16) -> u8 {
        let first = OWN.1.get(usize::from(at.wrapping_sub(OWN.0))).copied().unwrap_or(0);
        self.own.get(&at).copied().unwrap_or(first)
    }
}

/// Why a call does not return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    Trap,
    Host,
    Suspend,
    Cancelled,
    /// The model does not know.
    Deep,
}

/// How a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Sync,
    Async,
    /// Async, and dropped where it first waits.
    Dropped,
    /// Async, and interrupted where it first waits.
    Interrupted,
}

/// Fuel, where it is counted: what wasm may take before it lets others run, what is beside that, and how much that is.
#[derive(Clone, Copy, Debug)]
pub struct Fuel {
    pub word: u64,
    pub reserve: u64,
    pub interval: u64,
}

/// The most fuel that there is.
pub const TANK: u64 = i64::MAX as u64;

impl Fuel {
    /// So much, and turns for others after each interval.
    pub fn new(fuel: u64, interval: u64) -> Fuel {
        let (fuel, interval) = (fuel.min(TANK), interval.min(TANK));
        Fuel { word: fuel.min(interval), reserve: fuel.saturating_sub(interval), interval }
    }

    pub fn left(&self) -> u64 {
        self.word + self.reserve
    }

    /// Takes fuel for the host; what is left.
    pub fn consume(&mut self, units: u64) -> Option<u64> {
        let left = self.left().checked_sub(units)?;
        self.word = self.word.saturating_sub(units);
        self.reserve = left - self.word;
        Some(left)
    }

    /// Takes one for wasm. `Some(true)`: others have a turn before.
    fn burn(&mut self) -> Option<bool> {
        if self.word > 0 {
            self.word -= 1;
            return Some(false);
        }
        let left = self.reserve.checked_sub(1)?;
        self.word = left.min(self.interval - 1);
        self.reserve = left - self.word;
        Some(true)
    }
}

/// What happens at the epoch deadline.
#[derive(Clone, Copy, Debug)]
pub enum Deadline {
    Trap,
    /// So much is added to the data, and the next deadline is so many ticks away.
    Continue(i32, u64),
}

/// A store.
#[derive(Clone, Debug)]
pub struct Model {
    pub fuel: Option<Fuel>,
    /// Ticks until the epoch deadline.
    pub ticks: Option<u64>,
    pub deadline: Deadline,
    /// An interrupt that nobody has seen yet.
    pub interrupted: bool,
    /// Values of rooted references, and of the global that holds one.
    pub roots: Vec<u64>,
    pub held: Option<u64>,
    /// Pages that each memory may have.
    pub limit: u64,
    pub data: i32,
    pub memories: Vec<Memory>,
    pub tables: Vec<Table>,
    pub globals: Vec<Global>,
    pub funcs: Vec<Code>,
    pub instances: Vec<Instance>,
}

impl Model {
    /// An empty store without a limit.
    pub fn new(counts: bool) -> Model {
        let (memories, tables, globals) = (Vec::new(), Vec::new(), Vec::new());
        let (funcs, instances) = (Vec::new(), Vec::new());
        Model {
            fuel: counts.then(|| Fuel::new(TANK, TANK)),
            ticks: None,
            deadline: Deadline::Trap,
            interrupted: false,
            roots: Vec::new(),
            held: None,
            limit: u64::MAX,
            data: 0,
            memories,
            tables,
            globals,
            funcs,
            instances,
        }
    }
}

impl Memory {
    pub fn len(&self) -> u64 {
        self.pages * PAGE
    }

    /// Grows, where the store's limit allows it; gives the old size.
    pub fn grow(&mut self, delta: u64, limit: u64) -> Option<u64> {
        let old = self.pages;
        self.pages =
            old.checked_add(delta).filter(|&pages| pages <= self.max && (delta == 0 || pages <= limit))?;
        Some(old)
    }

    /// Is there a byte at each of these places? Then writes.
    pub fn write(&mut self, at: u64, bytes: &[u8]) -> bool {
        let fits = at.checked_add(bytes.len() as u64).is_some_and(|end| end <= self.len());
        if fits {
            self.bytes.extend((at..).zip(bytes.iter().copied()));
        }
        fits
    }

    pub fn read(&self, at: u64, len: usize) -> Option<Vec<u8>> {
        at.checked_add(len as u64).filter(|&end| end <= self.len())?;
        Some((at..).take(len).map(|at| self.bytes.get(&at).copied().unwrap_or(0)).collect())
    }
}

impl Model {
    /// What was asked of the store is seen when the host calls a function, whichever it is.
    pub fn enter(&mut self) -> Result<(), Stop> {
        if std::mem::take(&mut self.interrupted) {
            return Err(Stop::Trap);
        }
        match self.deadline {
            _ if self.ticks != Some(0) => Ok(()),
            Deadline::Trap => Err(Stop::Trap),
            Deadline::Continue(add, ticks) => {
                self.data = self.data.wrapping_add(add);
                self.ticks = Some(ticks);
                Ok(())
            }
        }
    }

    /// Calls a function; `caller` is the instance that does.
    pub fn call(
        &mut self,
        func: usize,
        x: i32,
        caller: Option<usize>,
        way: Way,
        depth: u32,
    ) -> Result<i32, Stop> {
        if depth > DEEP {
            return Err(Stop::Deep);
        }
        match self.funcs[func] {
            Code::Add(k) => Ok(x.wrapping_add(k)),
            Code::Later(k) => match way {
                Way::Sync => Err(Stop::Suspend),
                Way::Dropped if x & 3 != 0 => Err(Stop::Cancelled),
                Way::Interrupted if x & 3 != 0 => Err(Stop::Trap),
                _ => Ok(x.wrapping_add(k)),
            },
            Code::Sum => {
                self.data = self.data.wrapping_add(x);
                Ok(self.data)
            }
            Code::Fail => Err(Stop::Host),
            Code::Script => self.script(x, caller.ok_or(Stop::Host)?),
            Code::Wasm(instance, export) => self.wasm(instance, export, x, way, depth),
        }
    }

    /// What `script` in `super` does.
    fn script(&mut self, x: i32, caller: usize) -> Result<i32, Stop> {
        let memory = self.instances[caller].memory;
        match x & 3 {
            0 => Ok(self.memories[memory].grow(1, self.limit).map_or(-1, |old| old as i32)),
            1 => self.wasm(caller, 2, x >> 2, Way::Sync, 0),
            2 => Ok(if self.memories[memory].write((x as u32 >> 2).into(), &[7]) { x } else { -2 }),
            _ => {
                self.data = self.data.wrapping_add(1);
                Ok(self.data)
            }
        }
    }

    fn wasm(&mut self, at: usize, export: usize, x: i32, way: Way, depth: u32) -> Result<i32, Stop> {
        if let Some(fuel) = &mut self.fuel {
            match fuel.burn() {
                None => return Err(Stop::Trap),
                Some(true) if way == Way::Dropped => return Err(Stop::Cancelled),
                Some(_) => {}
            }
        }
        let instance = self.instances[at].clone();
        let memory = &mut self.memories[instance.memory];
        let address = u64::from(x as u32);
        match export {
            0 => memory.read(address, 1).map(|bytes| bytes[0].into()).ok_or(Stop::Trap),
            1 => memory.write(address, &[x as u8]).then_some(x).ok_or(Stop::Trap),
            2 => {
                let global = &mut self.globals[instance.global];
                global.bits = u64::from((global.bits as i32).wrapping_add(x) as u32);
                Ok(global.bits as i32)
            }
            3 => Ok(memory.grow(x as u64 & 3, self.limit).map_or(-1, |old| old as i32)),
            4 => {
                let element = self.tables[instance.table].elements.get(x as usize & 7).copied();
                let target = element.flatten().ok_or(Stop::Trap)?;
                self.call(target, (x as u32 >> 3) as i32, Some(at), way, depth + 1)
            }
            5 => {
                let elements = &mut self.tables[instance.table].elements;
                *elements.get_mut(x as usize & 7).ok_or(Stop::Trap)? = Some(instance.first);
                Ok(elements.len() as i32)
            }
            6 => self.call(instance.func, x, Some(at), way, depth + 1),
            8 => Ok(instance.peek(x as u16).into()),
            9 => {
                self.instances[at].own.insert(x as u16, (x >> 16) as u8);
                Ok(x)
            }
            _ => {
                self.instances[at].count = instance.count.wrapping_add(1);
                Ok(self.instances[at].count)
            }
        }
    }
}
