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

/// The fuel of a store beside that in the word that wasm takes it from: the word holds at most one interval, so that wasm
/// traps, and the runtime looks, when an async call is to give others a turn.
#[derive(Debug)]
pub(crate) struct Tank {
    /// What is not in the word.
    reserve: i64,
    /// How much wasm may take before it lets others run.
    interval: i64,
}

impl Default for Tank {
    fn default() -> Tank {
        Tank { reserve: 0, interval: i64::MAX }
    }
}

impl StoreInner {
    fn check_fuel(&self) -> Result<()> {
        if self.engine.config().compile.fuel {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Argument, "fuel is not counted: the engine's `Compile::fuel` is off"))
    }

    /// Fuel that is left, in the word and beside it.
    pub(crate) fn all_fuel(&self) -> u64 {
        (self.fuel_word().max(0) as u64).saturating_add(self.tank.reserve as u64)
    }

    /// Puts fuel into the word, as much as `most`, and the rest beside it.
    fn fill(&mut self, fuel: u64, most: i64) {
        let fuel = i64::try_from(fuel).unwrap_or(i64::MAX);
        let word = fuel.min(most);
        self.set_fuel_word(word);
        self.tank.reserve = fuel - word;
    }

    fn fuel_left(&self) -> Result<u64> {
        self.check_fuel()?;
        Ok(self.all_fuel())
    }

    /// Takes fuel that is there. What the word does not hold is taken from the rest: a turn for others is due then, and
    /// the word is empty, so that wasm sees it.
    fn spend(&mut self, units: u64, left: u64) {
        let word = self.fuel_word().max(0);
        self.fill(left, i64::try_from(units).map_or(0, |units| word.saturating_sub(units).max(0)));
    }

    fn take_fuel(&mut self, units: u64) -> Result<u64> {
        let left = self.fuel_left()?;
        let left = left.checked_sub(units).ok_or_else(|| Error::from_trap(Trap::OutOfFuel))?;
        self.spend(units, left);
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
        match self.all_fuel().checked_sub(units) {
            Some(left) => {
                self.spend(units, left);
                Ok(())
            }
            None => {
                self.fill(0, 0);
                Err(Trap::OutOfFuel)
            }
        }
    }

    /// Wasm has taken one more from the word than was there. An error if nothing is beside it; else wasm goes on, and
    /// `true` means that an async call gives others a turn before.
    pub(crate) fn refuel(&mut self) -> Result<bool> {
        let left = self.tank.reserve - 1;
        if left < 0 {
            self.set_fuel_word(0);
            return Err(Error::from_trap(Trap::OutOfFuel));
        }
        self.fill(left as u64, self.tank.interval - 1);
        Ok(!self.fiber.is_null())
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
        let most = self.inner().tank.interval;
        self.inner_mut().fill(fuel, most);
        Ok(())
    }

    /// An async call of this store gives others a turn whenever it has used so much fuel; `None` is the default: never.
    ///
    /// What is used, and where it runs out, is the same with and without it. Calls that are not async go on. An interval
    /// of 0 is an error.
    ///
    /// ```
    /// # #[cfg(feature = "compiler")] fn main() -> sphex::Result<()> {
    /// use std::task::{Context, Poll, Waker};
    /// use sphex::{Config, Engine, Instance, Module, Store};
    ///
    /// let mut config = Config::new();
    /// config.compile.fuel = true;
    /// let engine = Engine::new(&config)?;
    /// let module = Module::new(&engine, r#"(module (func (export "spin") (loop (br 0))))"#)?;
    /// let mut store = Store::new(&engine, ());
    /// store.set_fuel(1000)?;
    /// store.fuel_async_yield_interval(Some(100))?;
    /// let instance = Instance::new(&mut store, &module, &[])?;
    /// let spin = instance.get_typed_func::<(), ()>(&mut store, "spin")?;
    /// let mut call = Box::pin(spin.call_async(&mut store, ()));
    /// let mut turns = 0;
    /// while let Poll::Pending = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
    ///     turns += 1;
    /// }
    /// assert_eq!(turns, 9);
    /// # Ok(()) }
    /// # #[cfg(not(feature = "compiler"))] fn main() {}
    /// ```
    pub fn fuel_async_yield_interval(&mut self, interval: Option<u64>) -> Result<()> {
        let inner = self.inner_mut();
        let left = inner.fuel_left()?;
        if interval == Some(0) {
            let text = "fuel_async_yield_interval: expected more than 0 units, found 0";
            return Err(Error::new(ErrorKind::Argument, text));
        }
        let most = interval.and_then(|interval| i64::try_from(interval).ok()).unwrap_or(i64::MAX);
        inner.tank.interval = most;
        inner.fill(left, most);
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
