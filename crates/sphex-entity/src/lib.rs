//! Typed indices and the dense containers keyed by them.
//!
//! Needs: nothing. Gives: [`EntityRef`] and the [`entity!`](crate::entity) macro (typed `u32` indices), [`PrimaryMap`] (owns
//! its entities), [`SecondaryMap`] (dense side table), [`EntitySet`] (bit set), [`ListPool`] with [`EntityList`] (many
//! small lists in one vector) and [`ScopedMap`] (hash map whose insertions are undone scope by scope).

mod list;
mod map;
mod scoped;
mod seeded;
mod set;

pub use list::{EntityList, ListPool};
pub use map::{PrimaryMap, SecondaryMap};
pub use scoped::ScopedMap;
pub use seeded::seeded_bug;
pub use set::EntitySet;

/// A typed index into a dense table.
pub trait EntityRef: Copy + Eq + Ord + core::hash::Hash + core::fmt::Debug {
    /// Makes the reference with this index. Indices stay below `u32::MAX`, which is the reserved "none" value.
    fn new(index: usize) -> Self;
    /// The index.
    fn index(self) -> usize;
}

/// Declares a typed index: `entity! { /// Doc. pub struct Block("block"); }`.
///
/// The type is a `u32` newtype with a reserved `NONE`, prints as prefix and number, and implements [`EntityRef`].
#[macro_export]
macro_rules! entity {
    ($(#[$meta:meta])* $vis:vis struct $name:ident($prefix:literal);) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        $vis struct $name(u32);

        #[allow(dead_code)] // a user of the macro need not use every accessor
        impl $name {
            /// The reserved value that means "no entity".
            pub const NONE: Self = Self(u32::MAX);

            /// Makes the reference from its raw number.
            pub const fn from_u32(raw: u32) -> Self {
                Self(raw)
            }

            /// The raw number (`u32::MAX` for [`Self::NONE`]).
            pub const fn as_u32(self) -> u32 {
                self.0
            }

            /// Whether this is the reserved "no entity" value.
            pub const fn is_none(self) -> bool {
                self.0 == u32::MAX
            }

            /// `None` for [`Self::NONE`], else the reference itself.
            pub const fn expand(self) -> Option<Self> {
                if self.is_none() { None } else { Some(self) }
            }
        }

        impl $crate::EntityRef for $name {
            fn new(index: usize) -> Self {
                debug_assert!(index < u32::MAX as usize);
                Self(index as u32)
            }

            fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::NONE
            }
        }

        impl ::core::fmt::Display for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                if self.is_none() { write!(f, concat!($prefix, "-none")) } else { write!(f, concat!($prefix, "{}"), self.0) }
            }
        }

        impl ::core::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::core::fmt::Display::fmt(self, f)
            }
        }
    };
}
