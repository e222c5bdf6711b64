//! The `sphex` calling convention as data, and the one function that places a signature by it.
//!
//! Needs the shapes of a signature; gives where each parameter and result is, for the code generator (which emits the
//! moves) and for the runtime (which fills [`Image`](crate::vmctx::Image)s). Registers are (class, hardware number).
//!
//! - Integer and reference parameters take the integer registers in order, floats and vectors the vector registers.
//!   What finds no register goes to the stack area, in order: 8-byte slots, 16-byte aligned ones for vectors. The area is
//!   rounded to 16 bytes; it begins at the caller's stack pointer at the call, and the callee pops it.
//! - Results use the same registers in the same order. If some find none, the caller passes a pointer to a return area
//!   as an extra last integer parameter, and they lie there by the same slot rule.
//! - The upper bits of integers narrower than 64 bits, and of vector registers that hold floats, are undefined.
//! - The vmctx register is not an argument register. Callees keep it, the frame and stack pointers and, on x86-64, rbx, r12
//!   and r13; all other registers are clobbered. Calls that may leave the instance hand the caller's vmctx over in
//!   `caller_vmctx`.

/// A register class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// General registers.
    Int,
    /// Float and vector registers.
    Vector,
}

/// A machine register: its class and hardware number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Register {
    /// Its class.
    pub class: Class,
    /// Its number in machine code.
    pub number: u8,
}

/// What the convention needs to know of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// An integer of up to 64 bits, or a reference.
    Int,
    /// A float of up to 64 bits.
    Float,
    /// A 128-bit vector (or float).
    Vector,
}

impl Shape {
    /// Where such a value goes.
    pub const fn class(self) -> Class {
        match self {
            Shape::Int => Class::Int,
            Shape::Float | Shape::Vector => Class::Vector,
        }
    }

    /// Bytes of its slot in memory, which is also the slot's alignment.
    pub const fn slot_bytes(self) -> u32 {
        match self {
            Shape::Int | Shape::Float => 8,
            Shape::Vector => 16,
        }
    }
}

/// A convention of the `sphex` family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convention {
    /// Its name.
    pub name: &'static str,
    /// Hardware numbers of the integer argument and result registers, in order; at most 8.
    pub int: &'static [u8],
    /// Hardware numbers of the vector argument and result registers, in order; at most 8.
    pub vector: &'static [u8],
    /// Holds the vmctx of the running function.
    pub vmctx: Register,
    /// Holds the caller's vmctx at the entry of a callee in another instance or in the host.
    pub caller_vmctx: Register,
    /// Frame pointer.
    pub frame: Register,
    /// Stack pointer.
    pub stack: Register,
    /// Where the stack area begins in the callee, from the frame pointer.
    pub incoming_from_frame: u32,
}

const fn int(number: u8) -> Register {
    Register { class: Class::Int, number }
}

/// x86-64: rdi rsi rdx rcx r8 r9, xmm0 to xmm7; vmctx in r15, the caller's in r14.
pub const SPHEX_X64: Convention = Convention {
    name: "sphex",
    int: &[7, 6, 2, 1, 8, 9],
    vector: &[0, 1, 2, 3, 4, 5, 6, 7],
    vmctx: int(15),
    caller_vmctx: int(14),
    frame: int(5),
    stack: int(4),
    incoming_from_frame: 16,
};

/// AArch64: x0 to x7, v0 to v7; vmctx in x28, the caller's in x9.
pub const SPHEX_AARCH64: Convention = Convention {
    name: "sphex",
    int: &[0, 1, 2, 3, 4, 5, 6, 7],
    vector: &[0, 1, 2, 3, 4, 5, 6, 7],
    vmctx: int(28),
    caller_vmctx: int(9),
    frame: int(29),
    stack: int(31),
    incoming_from_frame: 16,
};

/// The convention of the machine this crate was compiled for; `None` where Sphex has no code generator.
pub const HOST: Option<&Convention> = if cfg!(target_arch = "x86_64") {
    Some(&SPHEX_X64)
} else if cfg!(target_arch = "aarch64") {
    Some(&SPHEX_AARCH64)
} else {
    None
};

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// In a register.
    Register {
        /// The register.
        register: Register,
        /// Its position in the convention's list, which is its position in an `Image`.
        position: u8,
    },
    /// In memory, at this offset: of the stack area for a parameter, of the return area for a result.
    Memory(u32),
}

/// Where the values of a signature are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Each parameter.
    pub params: Vec<Place>,
    /// Each result; `Memory` offsets are in the return area.
    pub results: Vec<Place>,
    /// The hidden pointer to the return area, if there is one.
    pub return_pointer: Option<Place>,
    /// Bytes of the stack area, a multiple of 16; the callee pops them.
    pub stack_bytes: u32,
    /// Bytes of the return area, a multiple of 16; align it to 16.
    pub return_bytes: u32,
}

/// A signature whose stack or return area is larger than [`AREA_LIMIT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a signature with too many values: more than 65520 bytes of stack arguments or results")]
pub struct TooManyValues;

/// Most bytes of a stack or return area: what one return instruction of x86-64 can pop.
pub const AREA_LIMIT: u32 = 65_520;

/// Places a signature. The vmctx is not among `params`.
pub fn place(
    convention: &Convention,
    params: impl IntoIterator<Item = Shape>,
    results: impl IntoIterator<Item = Shape>,
) -> Result<Placement, TooManyValues> {
    let mut returns = Cursor::new(convention);
    let results = results.into_iter().map(|shape| returns.next(shape)).collect::<Result<Vec<_>, _>>()?;
    let mut arguments = Cursor::new(convention);
    let params = params.into_iter().map(|shape| arguments.next(shape)).collect::<Result<Vec<_>, _>>()?;
    let return_pointer = if returns.bytes > 0 { Some(arguments.next(Shape::Int)?) } else { None };
    Ok(Placement {
        params,
        results,
        return_pointer,
        stack_bytes: arguments.bytes.next_multiple_of(16),
        return_bytes: returns.bytes.next_multiple_of(16),
    })
}

/// Hands out registers, then slots.
struct Cursor<'a> {
    convention: &'a Convention,
    used: [usize; 2],
    bytes: u32,
}

impl Cursor<'_> {
    fn new(convention: &Convention) -> Cursor<'_> {
        Cursor { convention, used: [0; 2], bytes: 0 }
    }

    fn next(&mut self, shape: Shape) -> Result<Place, TooManyValues> {
        let class = shape.class();
        let (used, registers) = match class {
            Class::Int => (&mut self.used[0], self.convention.int),
            Class::Vector => (&mut self.used[1], self.convention.vector),
        };
        if let Some(&number) = registers.get(*used) {
            let position = *used as u8;
            *used += 1;
            return Ok(Place::Register { register: Register { class, number }, position });
        }
        let size = shape.slot_bytes();
        let offset = self.bytes.next_multiple_of(size);
        self.bytes = offset + size;
        if self.bytes > AREA_LIMIT { Err(TooManyValues) } else { Ok(Place::Memory(offset)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(places: &[Place]) -> String {
        let one = |place: &Place| match *place {
            Place::Register { register: Register { class: Class::Int, number }, position } => {
                format!("r{number}/{position}")
            }
            Place::Register { register, position } => format!("v{}/{position}", register.number),
            Place::Memory(offset) => format!("[{offset}]"),
        };
        places.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn places_registers_then_slots() {
        use Shape::*;
        let params = [vec![Int; 7], vec![Float; 9], vec![Vector, Int]].concat();
        let p = place(&SPHEX_X64, params.iter().copied(), [Int; 8]).unwrap();
        assert_eq!(
            show(&p.params),
            "r7/0 r6/1 r2/2 r1/3 r8/4 r9/5 [0] v0/0 v1/1 v2/2 v3/3 v4/4 v5/5 v6/6 v7/7 [8] [16] [32]"
        );
        assert_eq!(show(&p.results), "r7/0 r6/1 r2/2 r1/3 r8/4 r9/5 [0] [8]");
        assert_eq!(p.return_pointer, Some(Place::Memory(40)));
        assert_eq!((p.stack_bytes, p.return_bytes), (48, 16));

        let p = place(&SPHEX_AARCH64, params, [Vector; 9]).unwrap();
        assert_eq!(
            show(&p.params),
            "r0/0 r1/1 r2/2 r3/3 r4/4 r5/5 r6/6 v0/0 v1/1 v2/2 v3/3 v4/4 v5/5 v6/6 v7/7 [0] [16] r7/7"
        );
        assert_eq!(p.return_pointer, Some(Place::Memory(32)));
        assert_eq!((p.stack_bytes, p.return_bytes), (48, 16));
    }

    #[test]
    fn nothing_needs_no_area_and_too_much_is_refused() {
        let p = place(&SPHEX_X64, [], []).unwrap();
        assert_eq!((p.return_pointer, p.stack_bytes, p.return_bytes), (None, 0, 0));
        assert!(place(&SPHEX_X64, [Shape::Int; 6 + 8190], []).is_ok());
        assert_eq!(place(&SPHEX_X64, [Shape::Int; 6 + 8191], []), Err(TooManyValues));
        assert_eq!(place(&SPHEX_X64, [], [Shape::Vector; 8 + 4096]), Err(TooManyValues));
        // The longest signatures that wasm allows fit.
        assert!(place(&SPHEX_X64, [Shape::Vector; 1000], [Shape::Vector; 1000]).is_ok());
    }
}
