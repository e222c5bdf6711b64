//! Loads whose value is known: from an earlier load or store of the same place.
//!
//! Needs: addresses folded, a walk in dominance order that opens and closes a scope a block.   Gives: the value that an
//! access would load, if it is known on every path.   Breaks: nothing.   Cost: O(insts + edges · regions), regions at most
//! [`REGIONS`].
//!
//! I1. `versions[r]` names what region `r` holds at the current point: equal versions mean equal contents. A write makes
//!     a new version of its region and of region 0, which stands for accesses that may alias with all.
//! I2. An entry of `contents` has the version in its key, so that it is found only while the memory is unchanged; its
//!     value is computed in a block that dominates the current one, because entries belong to scopes.
//! I3. At a merge a region keeps its version if all predecessors agree; in a loop's header, if besides nothing in the loop
//!     writes it. A predecessor not yet seen that is no back edge (irreducible graphs) changes everything.
//! I4. What traps still traps: an access goes only where the same access was made before on every path.

use core::hash::{BuildHasherDefault, Hash, Hasher};
use rustc_hash::FxHasher;
use sphex_entity::{EntityRef, ScopedMap, seeded_bug};
use sphex_ir::flow::{Cfg, Loops};
use sphex_ir::types::{self, Type};
use sphex_ir::{Block, Effects, Endian, Folder, Format, Function, InstData, Opcode, Region, SrcLoc, Value};

/// Regions told apart; further ones share the last.
pub const REGIONS: usize = 16;
/// The region of accesses without one.
const ANY: usize = 0;
/// The region of stack slots.
const SLOTS: usize = 1;
/// How many contents survive a write to the same region.
const RECENT: usize = 16;

type Versions = [u32; REGIONS];

const NOT_SEEN: u32 = u32::MAX;

/// What is known of memory's contents.
#[derive(Debug, Default)]
pub struct Memory {
    contents: ScopedMap<Key, Value, BuildHasherDefault<FxHasher>>,
    versions: Versions,
    next_version: u32,
    /// Versions at the end of each block already walked.
    at_end: Vec<Versions>,
    /// Where those of each block stand; [`NOT_SEEN`] if it was not walked yet.
    end_of: Vec<u32>,
    /// For each loop, a bit for each region written in it.
    written: Vec<u16>,
    /// Known contents noted in the current block, the newest last.
    recent: Vec<(Key, Value)>,
    next_recent: usize,
}

/// A place in memory and how it is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Key {
    opcode: Opcode,
    ty: Type,
    aux: u16,
    region: u8,
    base: u32,
    offset: u32,
    /// Of the region; 0 where nothing writes it.
    version: u32,
}

/// In two words: seven fields would be hashed one by one.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Key { opcode, ty, aux, region, base, offset, version } = *self;
        let kind =
            opcode as u32 | u32::from(ty.as_u8()) << 8 | u32::from(region) << 16 ^ u32::from(aux) << 20;
        state.write_u64(u64::from(kind) | u64::from(base) << 32);
        state.write_u64(u64::from(offset) | u64::from(version) << 32);
    }
}

/// What an access comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// It loads this value.
    Known(Value),
    /// It must be made.
    Made,
}

/// The region of an access.
fn region_of(func: &Function, inst: Value) -> usize {
    match func.insts[inst].format() {
        Format::StackLoad | Format::StackStore => SLOTS,
        _ => match func.flags(inst).region {
            Region::NONE => ANY,
            region => (region.index() + 2).min(REGIONS - 1),
        },
    }
}

/// The regions that an instruction writes, a bit for each.
fn writes(func: &Function, inst: Value) -> u16 {
    let data = &func.insts[inst];
    let effects = data.opcode.effects();
    match data.format() {
        Format::Store | Format::StackStore => match region_of(func, inst) {
            ANY => u16::MAX,
            region => 1 | 1 << region,
        },
        // It may find what others wrote to its region; other regions are not shared with those.
        _ if data.opcode == Opcode::AtomicLoad && region_of(func, inst) != ANY => {
            1 | 1 << region_of(func, inst)
        }
        _ => all_or_nothing(effects),
    }
}

/// Whether something that is no plain access may write: calls and atomic accesses write everything.
fn all_or_nothing(effects: Effects) -> u16 {
    let any = [Effects::STORE, Effects::CALL, Effects::OTHER].iter().any(|e| effects.has(*e));
    if any { u16::MAX } else { 0 }
}

/// Bytes of an access.
fn size(opcode: Opcode, ty: Type) -> i64 {
    use Opcode::*;
    match opcode {
        Uload8 | Sload8 | Istore8 => 1,
        Uload16 | Sload16 | Istore16 => 2,
        Uload32 | Sload32 | Istore32 => 4,
        Uload8x8 | Sload8x8 | Uload16x4 | Sload16x4 | Uload32x2 | Sload32x2 => 8,
        _ => ty.bytes() as i64,
    }
}

impl Memory {
    /// Forgets another function and finds out what each loop writes.
    pub fn prepare(&mut self, func: &Function, cfg: &Cfg, loops: &Loops) {
        self.contents.clear();
        self.versions = [1; REGIONS];
        self.next_version = 1;
        self.at_end.clear();
        self.end_of.clear();
        self.end_of.resize(func.blocks.len(), NOT_SEEN);
        self.written.clear();
        self.written.resize(loops.keys().len(), 0);
        for &block in cfg.rpo() {
            let Some(l) = loops.innermost(block) else { continue };
            for &inst in &func.blocks[block].insts {
                self.written[l.index()] |= writes(func, inst);
            }
        }
        for l in loops.keys().rev() {
            if let Some(parent) = loops.get(l).parent.expand() {
                self.written[parent.index()] |= self.written[l.index()];
            }
        }
    }

    /// Enters a block (I3).
    pub fn open(&mut self, func: &Function, block: Block, cfg: &Cfg, loops: &Loops) {
        self.contents.open();
        self.recent.clear();
        self.next_recent = 0;
        if func.entry() == Some(block) && cfg.preds(block).is_empty() {
            return;
        }
        let mut merged: Option<Versions> = None;
        let (mut unseen, mut differing) = (false, 0u16);
        for pred in cfg.preds(block) {
            let Some(versions) = self.at_end.get(self.end_of[pred.index()] as usize) else {
                unseen = true;
                continue;
            };
            match &merged {
                None => merged = Some(*versions),
                Some(first) => {
                    let pairs = first.iter().zip(versions.iter()).enumerate();
                    differing |= pairs.fold(0, |bits, (r, (a, b))| bits | u16::from(a != b) << r);
                }
            }
        }
        self.versions = merged.unwrap_or([0; REGIONS]);
        if unseen || merged.is_none() {
            differing |= match loops.headed_by(block) {
                Some(_) if seeded_bug(2) => 0,
                Some(l) if loops.is_reducible() && merged.is_some() => self.written[l.index()],
                _ => u16::MAX,
            };
        }
        self.bump(differing);
    }

    /// Notes what memory is at the end of a block.
    pub fn leave(&mut self, block: Block) {
        self.end_of[block.index()] = self.at_end.len() as u32;
        self.at_end.push(self.versions);
    }

    /// Forgets the contents noted in the block that is left.
    pub fn close(&mut self) {
        self.contents.close();
    }

    fn bump(&mut self, regions: u16) {
        if regions == 0 {
            return;
        }
        self.next_version += 1;
        for (region, version) in self.versions.iter_mut().enumerate() {
            if regions >> region & 1 != 0 {
                *version = self.next_version;
            }
        }
    }

    /// Something that is no plain access: it may write all regions.
    pub fn effect(&mut self, func: &Function, inst: Value) {
        self.bump(writes(func, inst));
    }

    /// The result of an equal instruction that was passed before: one that may trap, but reads no memory.
    pub fn repeated(&mut self, func: &Function, inst: Value) -> Option<Value> {
        let data = func.insts[inst];
        let (region, version) = (data.c as u8, 0);
        if data.c > u8::MAX as u32 {
            return None;
        }
        let InstData { opcode, ty, aux, a: base, b: offset, .. } = data;
        let key = Key { opcode, ty, aux, region, base, offset, version };
        let found = self.contents.get(&key).copied();
        if found.is_none() {
            self.contents.insert(key, inst);
        }
        found
    }

    /// A load, store, stack load or stack store, whose operands are folded.
    pub fn access(&mut self, func: &mut Function, inst: Value, folder: &mut Folder) -> Access {
        let data = func.insts[inst];
        let flags = func.flags(inst);
        let region = region_of(func, inst);
        let little = flags.endian != Endian::Big;
        let version = if flags.readonly { 0 } else { self.versions[region] };
        let key = |opcode, ty, base, offset, version| Key {
            opcode,
            ty,
            aux: flags.endian as u16,
            region: region as u8,
            base,
            offset,
            version,
        };
        match data.format() {
            Format::Load => {
                let wanted = key(data.opcode, data.ty, data.a, data.b, version);
                let known = self.contents.get(&wanted).copied();
                let known = known.or_else(|| match little {
                    true => self.part(func, &wanted, func.srclocs[inst], folder),
                    false => None,
                });
                match known {
                    Some(value) => return Access::Known(value),
                    None => self.note(wanted, inst),
                }
            }
            Format::StackLoad => {
                let wanted = Key {
                    aux: 0,
                    version: self.versions[SLOTS],
                    ..key(data.opcode, data.ty, data.a, data.b, 0)
                };
                match self.contents.get(&wanted) {
                    Some(&value) => return Access::Known(value),
                    None => self.note(wanted, inst),
                }
            }
            Format::Store => {
                let value = Value::from_u32(data.a);
                let ty = func.type_of(value);
                let opcode = if data.opcode == Opcode::Store { Opcode::Load } else { data.opcode };
                let stored_as = if data.opcode == Opcode::Store { ty } else { types::INVALID };
                let place = key(opcode, stored_as, data.b, data.c, 0);
                self.write(writes(func, inst), place, size(data.opcode, ty));
                self.note(Key { version: self.versions[region], ..place }, value);
            }
            Format::StackStore => {
                let value = Value::from_u32(data.a);
                let ty = func.type_of(value);
                let place = Key { aux: 0, ..key(Opcode::StackLoad, ty, data.b, data.c, 0) };
                self.write(writes(func, inst), place, size(data.opcode, ty));
                self.note(Key { version: self.versions[SLOTS], ..place }, value);
            }
            _ => {}
        }
        Access::Made
    }

    fn note(&mut self, key: Key, value: Value) {
        self.contents.insert(key, value);
        match self.recent.get_mut(self.next_recent) {
            Some(old) => *old = (key, value),
            None => self.recent.push((key, value)),
        }
        self.next_recent = (self.next_recent + 1) % RECENT;
    }

    /// A write to a place: recent contents beside it, by the same base, are still known.
    fn write(&mut self, regions: u16, place: Key, bytes: i64) {
        let before = self.versions;
        self.bump(regions);
        let start = place.offset as i32 as i64;
        for at in 0..self.recent.len() {
            let (key, value) = self.recent[at];
            let region = key.region as usize;
            let from = key.offset as i32 as i64;
            let apart = from + size_of_key(&key) <= start || start + bytes <= from;
            let slots = region == SLOTS && place.region as usize == SLOTS;
            // Slots do not overlap each other.
            let disjoint = if key.base == place.base { apart } else { slots };
            let current = key.version == before[region] && regions >> region & 1 != 0;
            if current && disjoint && (region == place.region as usize) {
                let moved = Key { version: self.versions[region], ..key };
                self.contents.insert(moved, value);
                self.recent[at] = (moved, value);
            }
        }
    }

    /// A load of part of what was stored as a wider value, or kept narrower: the stored value cut and extended.
    fn part(&mut self, func: &mut Function, wanted: &Key, loc: SrcLoc, folder: &mut Folder) -> Option<Value> {
        use Opcode::*;
        let (narrow, store, extend) = match wanted.opcode {
            Uload8 => (types::I8, Istore8, Uextend),
            Sload8 => (types::I8, Istore8, Sextend),
            Uload16 => (types::I16, Istore16, Uextend),
            Sload16 => (types::I16, Istore16, Sextend),
            Uload32 => (types::I32, Istore32, Uextend),
            Sload32 => (types::I32, Istore32, Sextend),
            Load => match wanted.ty {
                types::I8 => (types::I8, Istore8, Uextend),
                types::I16 => (types::I16, Istore16, Uextend),
                types::I32 => (types::I32, Istore32, Uextend),
                _ => return None,
            },
            _ => return None,
        };
        let stored = Key { opcode: store, ty: types::INVALID, ..*wanted };
        let whole = Key { opcode: Load, ty: narrow, ..*wanted };
        let mut value = *self.contents.get(&stored).or_else(|| self.contents.get(&whole))?;
        if func.type_of(value) != narrow {
            value = folder.value(func, InstData::unary(Ireduce, narrow, value), loc);
        }
        if wanted.ty != narrow {
            value = folder.value(func, InstData::unary(extend, wanted.ty, value), loc);
        }
        Some(value)
    }
}

fn size_of_key(key: &Key) -> i64 {
    size(key.opcode, key.ty)
}
