//! Fuel: a count of what wasm does, which ends it at the same place on every machine and in every run.
//!
//! *Needs* code compiled under [`Compile::fuel`](crate::config::Compile::fuel). *Gives* the store's methods.
//!
//! One unit is one entry of a function or one turn of a loop, as the module is written: inlining, unrolling or any other
//! work of the compiler changes nothing. Instructions on memories and tables of any length (`memory.fill`, `memory.copy`,
//! `memory.init`, `table.fill`, `table.copy`, `table.init`, `table.grow`) take one more for each whole KiB that they wrote
//! (an element has 8 bytes). What stands between two such places is bounded by the module's size. Host functions take
//! what they ask for with `consume_fuel`.
//!
//! Where not so much is left, wasm traps with [`Trap::OutOfFuel`] and the fuel is 0.

use sphex_artifact::Trap;

use crate::error::{Error, ErrorKind, Result};
use crate::store::{AsContext, AsContextMut, Caller, Store, StoreContextMut};
use crate::vm::store::StoreInner;

impl StoreInner {
    fn check_fuel(&self) -> Result<()> {
        if self.engine.config().compile.fuel {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Argument, "fuel is not counted: the engine's `Compile::fuel` is off"))
    }

    fn fuel_left(&self) -> Result<u64> {
        self.check_fuel()?;
        Ok(u64::try_from(self.fuel()).unwrap_or(0))
    }

    fn take_fuel(&mut self, units: u64) -> Result<u64> {
        let left = self.fuel_left()?;
        let left = left.checked_sub(units).ok_or_else(|| Error::from_trap(Trap::OutOfFuel))?;
        self.set_fuel(i64::try_from(left).unwrap_or(i64::MAX));
        Ok(left)
    }

    /// Takes what an instruction costs that writes so many bytes. Where that is not there, nothing is left.
    pub(crate) fn pay_for_bytes(&mut self, bytes: u64) -> Result<(), Trap> {
        let units = bytes >> 10;
        if units == 0 {
            return Ok(());
        }
        if !self.engine.config().compile.fuel {
            return Ok(());
        }
        let left = (self.fuel().max(0) as u64).checked_sub(units);
        self.set_fuel(left.map_or(0, |left| left as i64));
        left.map(|_| ()).ok_or(Trap::OutOfFuel)
    }
}

impl<T> Store<T> {
    /// Fuel that is left. A new store has as much as there can be, `i64::MAX` units.
    ///
    /// An error if the engine's [`Compile::fuel`](crate::config::Compile::fuel) is off; so for the other two.
    pub fn fuel(&self) -> Result<u64> {
        self.inner().fuel_left()
    }

    /// Sets the fuel that is left. More than `i64::MAX` is `i64::MAX`.
    pub fn set_fuel(&mut self, fuel: u64) -> Result<()> {
        self.inner().check_fuel()?;
        self.inner_mut().set_fuel(i64::try_from(fuel).unwrap_or(i64::MAX));
        Ok(())
    }

    /// Takes fuel for something that the host does; gives what is left. If there is not so much, nothing is taken and
    /// the error is the trap [`Trap::OutOfFuel`].
    ///
    /// ```
    /// use sphex::{Config, Engine, Store};
    /// let mut config = Config::new();
    /// config.compile.fuel = true;
    /// let mut store = Store::new(&Engine::new(&config)?, ());
    /// store.set_fuel(100)?;
    /// assert_eq!(store.consume_fuel(30)?, 70);
    /// assert!(store.consume_fuel(71).is_err() && store.fuel()? == 70);
    /// # Ok::<(), sphex::Error>(())
    /// ```
    pub fn consume_fuel(&mut self, units: u64) -> Result<u64> {
        self.inner_mut().take_fuel(units)
    }
}

impl<T> StoreContextMut<'_, T> {
    /// As [`Store::fuel`].
    pub fn fuel(&self) -> Result<u64> {
        self.inner().fuel_left()
    }

    /// As [`Store::consume_fuel`].
    pub fn consume_fuel(&mut self, units: u64) -> Result<u64> {
        self.inner_mut().take_fuel(units)
    }
}

impl<T> Caller<'_, T> {
    /// As [`Store::fuel`].
    pub fn fuel(&self) -> Result<u64> {
        self.as_context().inner().fuel_left()
    }

    /// As [`Store::consume_fuel`]: what a host function charges for its work.
    pub fn consume_fuel(&mut self, units: u64) -> Result<u64> {
        self.as_context_mut().consume_fuel(units)
    }
}
