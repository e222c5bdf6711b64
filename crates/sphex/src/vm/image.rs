//! Values at the border between host and wasm: where the convention puts them, and how they look as bits.

use sphex_artifact::convention::{Class, HOST, Place, Placement, Shape};
use sphex_artifact::vmctx::Image;

use crate::engine::Signature;

/// Integer registers of the host's convention.
pub(crate) const INT_REGISTERS: usize = match HOST {
    Some(convention) => convention.int.len(),
    None => 0,
};
/// Vector registers of the host's convention.
pub(crate) const VECTOR_REGISTERS: usize = match HOST {
    Some(convention) => convention.vector.len(),
    None => 0,
};

/// An image with nothing in it.
pub(crate) const EMPTY: Image =
    Image { int: [0; 8], vector: [[0; 2]; 8], stack: std::ptr::null_mut(), stack_bytes: 0 };

/// Hands out places in the convention's order; what `convention::place` says, in a form that the compiler folds when the
/// types are known. 64-bit scalars only. A test compares the two.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    int: usize,
    vector: usize,
    /// Bytes of slots handed out.
    pub(crate) bytes: usize,
}

/// Where a scalar is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// In this integer register of the image.
    Int(usize),
    /// In this vector register of the image.
    Vector(usize),
    /// At this offset of the area.
    Area(usize),
}

impl Cursor {
    /// No place handed out yet.
    pub(crate) const NEW: Cursor = Cursor { int: 0, vector: 0, bytes: 0 };

    /// The place of the first value.
    pub(crate) const fn first(mut self, class: Class) -> Slot {
        self.next(class)
    }

    /// The place of the next value.
    #[inline(always)]
    pub(crate) const fn next(&mut self, class: Class) -> Slot {
        match class {
            Class::Int if self.int < INT_REGISTERS => {
                self.int += 1;
                Slot::Int(self.int - 1)
            }
            Class::Vector if self.vector < VECTOR_REGISTERS => {
                self.vector += 1;
                Slot::Vector(self.vector - 1)
            }
            _ => {
                self.bytes += 8;
                Slot::Area(self.bytes - 8)
            }
        }
    }
}

/// Reads a scalar.
///
/// # Safety
///
/// `area` has the slot, if it is one of the area.
#[inline(always)]
pub(crate) unsafe fn read(image: &Image, area: *const u8, slot: Slot) -> u64 {
    match slot {
        Slot::Int(i) => image.int[i],
        Slot::Vector(i) => image.vector[i][0],
        // SAFETY: the caller's promise; slots are 8-aligned.
        Slot::Area(offset) => unsafe { area.add(offset).cast::<u64>().read() },
    }
}

/// Writes a scalar.
///
/// # Safety
///
/// `area` has the slot, if it is one of the area.
#[inline(always)]
pub(crate) unsafe fn write(image: &mut Image, area: *mut u8, slot: Slot, bits: u64) {
    match slot {
        Slot::Int(i) => image.int[i] = bits,
        Slot::Vector(i) => image.vector[i] = [bits, 0],
        // SAFETY: the caller's promise; slots are 8-aligned.
        Slot::Area(offset) => unsafe { area.add(offset).cast::<u64>().write(bits) },
    }
}

/// Reads a value of up to 128 bits from where a placement says.
///
/// # Safety
///
/// `area` is as large as the placement's area.
pub(crate) unsafe fn read_at(image: &Image, area: *const u8, place: Place, shape: Shape) -> u128 {
    match place {
        Place::Register { register, position } => match register.class {
            Class::Int => u128::from(image.int[usize::from(position)]),
            Class::Vector => {
                let [low, high] = image.vector[usize::from(position)];
                u128::from(low) | u128::from(high) << 64
            }
        },
        // SAFETY: the caller's promise; the slots of a placement are aligned to their size, areas to 16.
        Place::Memory(offset) => unsafe {
            let slot = area.add(offset as usize);
            match shape {
                Shape::Vector => slot.cast::<u128>().read_unaligned(),
                _ => u128::from(slot.cast::<u64>().read()),
            }
        },
    }
}

/// The bits of a host function's parameters, in order.
///
/// # Safety
///
/// The image is that of a call of this signature.
pub(crate) unsafe fn params<'a>(
    image: &'a Image,
    signature: &'a Signature,
) -> impl Iterator<Item = u128> + 'a {
    // SAFETY: the caller's promise.
    signature.params().map(|(place, shape)| unsafe { read_at(image, image.stack, place, shape) })
}

/// Writes a value of up to 128 bits to where a placement says.
///
/// # Safety
///
/// `area` is as large as the placement's area.
pub(crate) unsafe fn write_at(image: &mut Image, area: *mut u8, place: Place, shape: Shape, bits: u128) {
    match place {
        Place::Register { register, position } => match register.class {
            Class::Int => image.int[usize::from(position)] = bits as u64,
            Class::Vector => image.vector[usize::from(position)] = [bits as u64, (bits >> 64) as u64],
        },
        // SAFETY: the caller's promise; the slots of a placement are aligned to their size, areas to 16.
        Place::Memory(offset) => unsafe {
            let slot = area.add(offset as usize);
            match shape {
                Shape::Vector => slot.cast::<u128>().write_unaligned(bits),
                _ => slot.cast::<u64>().write(bits as u64),
            }
        },
    }
}

/// An area of slots: 16-aligned words.
pub(crate) fn area(bytes: u32) -> Vec<u128> {
    vec![0; bytes as usize / 16]
}

/// The return area's address, which the caller passed as a hidden argument.
///
/// # Safety
///
/// The image is one of a call by this placement.
pub(crate) unsafe fn return_area(image: &Image, placement: &Placement) -> *mut u8 {
    match placement.return_pointer {
        // SAFETY: the caller's promise.
        Some(place) => unsafe { read_at(image, image.stack, place, Shape::Int) as usize as *mut u8 },
        None => std::ptr::null_mut(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sphex_artifact::convention::place;

    #[test]
    fn the_cursor_agrees_with_the_convention() {
        let Some(convention) = HOST else { return };
        for seed in 0..200u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let shapes: Vec<Shape> = (0..seed % 24)
                .map(|_| {
                    state = state.rotate_left(7).wrapping_mul(0x2545_f491_4f6c_dd1d);
                    if state >> 40 & 1 == 0 { Shape::Int } else { Shape::Float }
                })
                .collect();
            let placement = place(convention, shapes.iter().copied(), []).unwrap();
            let mut cursor = Cursor::NEW;
            for (shape, place) in shapes.iter().zip(&placement.params) {
                let expected = match *place {
                    Place::Memory(offset) => Slot::Area(offset as usize),
                    Place::Register { register, position } => match register.class {
                        Class::Int => Slot::Int(position.into()),
                        Class::Vector => Slot::Vector(position.into()),
                    },
                };
                assert_eq!(cursor.next(shape.class()), expected);
            }
            assert_eq!(cursor.bytes.next_multiple_of(16), placement.stack_bytes as usize);
        }
    }
}
