//! Physical registers, the same small type for every ISA.
//!
//! Needs: nothing. Gives: [`Reg`] (class and hardware number in one byte) and [`RegSet`] (a set of them in one word).
//! Names are an ISA's own matter: see `x64::operand::register_name`.

/// What a register holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum RegClass {
    /// Integers and addresses.
    Int = 0,
    /// Floats and vectors.
    Vector = 1,
}

/// A physical register: a class and the hardware's number within it (0..32).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Reg(u8);

impl Reg {
    /// The integer register with this hardware number.
    pub const fn int(number: u8) -> Reg {
        Reg(number & 31)
    }

    /// The vector register with this hardware number.
    pub const fn vector(number: u8) -> Reg {
        Reg(32 | (number & 31))
    }

    /// The register with this class and hardware number.
    pub const fn new(class: RegClass, number: u8) -> Reg {
        match class {
            RegClass::Int => Reg::int(number),
            RegClass::Vector => Reg::vector(number),
        }
    }

    /// The register whose [`Reg::index`] this is.
    pub const fn from_index(index: usize) -> Reg {
        Reg((index & 63) as u8)
    }

    /// The class.
    pub const fn class(self) -> RegClass {
        if self.0 < 32 { RegClass::Int } else { RegClass::Vector }
    }

    /// The hardware's number, 0..32.
    pub const fn number(self) -> u8 {
        self.0 & 31
    }

    /// A dense number over all registers, 0..64: integer registers first.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl core::fmt::Debug for Reg {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let letter = if self.class() == RegClass::Int { 'r' } else { 'v' };
        write!(f, "{letter}{}", self.number())
    }
}

/// A set of physical registers.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct RegSet(u64);

impl RegSet {
    /// No register.
    pub const EMPTY: RegSet = RegSet(0);

    /// The set of these registers.
    pub const fn of(registers: &[Reg]) -> RegSet {
        let mut set = RegSet::EMPTY;
        let mut i = 0;
        while i < registers.len() {
            set = set.with(registers[i]);
            i += 1;
        }
        set
    }

    /// This set and one more register.
    pub const fn with(self, reg: Reg) -> RegSet {
        RegSet(self.0 | 1 << reg.index())
    }

    /// This set without one register.
    pub const fn without(self, reg: Reg) -> RegSet {
        RegSet(self.0 & !(1 << reg.index()))
    }

    /// Registers in either set.
    pub const fn union(self, other: RegSet) -> RegSet {
        RegSet(self.0 | other.0)
    }

    /// Registers in both sets.
    pub const fn intersection(self, other: RegSet) -> RegSet {
        RegSet(self.0 & other.0)
    }

    /// Registers in this set and not in the other.
    pub const fn difference(self, other: RegSet) -> RegSet {
        RegSet(self.0 & !other.0)
    }

    /// Whether the register is in the set.
    pub const fn contains(self, reg: Reg) -> bool {
        self.0 >> reg.index() & 1 != 0
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many registers the set has.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Adds a register.
    pub fn insert(&mut self, reg: Reg) {
        *self = self.with(reg);
    }

    /// Removes a register.
    pub fn remove(&mut self, reg: Reg) {
        *self = self.without(reg);
    }

    /// The registers, integer ones first, by number.
    pub fn iter(self) -> impl Iterator<Item = Reg> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            if rest == 0 {
                return None;
            }
            let index = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            Some(Reg::from_index(index))
        })
    }
}

impl core::fmt::Debug for RegSet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
