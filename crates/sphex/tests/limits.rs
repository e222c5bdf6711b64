//! Limiters: asked for every growth and every initial size, of wasm and of the host.
#![cfg(feature = "compiler")]

use sphex::{
    Config, Engine, Error, ErrorKind, Instance, Memory, MemoryType, Module, RefType, Resource,
    ResourceLimiter, Result, Store, StoreLimits, StoreLimitsBuilder, Table, TableType, Trap, Val,
};

/// Notes what it is asked, and answers by rule.
#[derive(Default)]
struct Witness {
    asked: Vec<String>,
    most_bytes: u64,
    fail: bool,
    panic: bool,
    trap: bool,
}

impl ResourceLimiter for Witness {
    fn memory_growing(&mut self, current: u64, desired: u64, maximum: Option<u64>) -> Result<bool> {
        self.asked.push(format!("memory {current} {desired} {maximum:?}"));
        assert!(!self.panic, "a limiter that panics");
        if self.fail {
            return Err(Error::msg("no such luck"));
        }
        Ok(desired <= self.most_bytes)
    }

    fn memory_grow_failed(&mut self, error: Error) -> Result<()> {
        self.asked.push(format!("failed: {error}"));
        if self.trap { Err(Error::msg("will not do without")) } else { Ok(()) }
    }

    fn table_growing(&mut self, current: u64, desired: u64, maximum: Option<u64>) -> Result<bool> {
        self.asked.push(format!("table {current} {desired} {maximum:?}"));
        Ok(desired <= 10)
    }

    fn table_grow_failed(&mut self, error: Error) -> Result<()> {
        self.asked.push(format!("failed: {error}"));
        Ok(())
    }

    fn tables(&self) -> usize {
        2
    }
}

const EMPTY: MemoryType =
    MemoryType { minimum: 0, maximum: None, memory64: false, shared: false, page_size_log2: 16 };

const WAT: &str = r#"(module (memory (export "memory") 1 5) (table $t (export "table") 2 20 funcref)
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "size") (result i32) (memory.size))
    (func (export "grow-table") (param i32) (result i32) (table.grow $t (ref.null func) (local.get 0))))"#;

/// Engines whose memories stay in place, and whose memories move.
fn engines() -> Vec<Engine> {
    let mut moving = Config::new();
    moving.compile.memory_reservation = 0;
    vec![Engine::default(), Engine::new(&moving).unwrap()]
}

#[test]
fn every_growth_and_every_initial_size_is_seen() {
    for engine in engines() {
        let mut store = Store::new(&engine, Witness { most_bytes: 3 << 16, ..Witness::default() });
        store.limiter(|witness| witness);
        let module = Module::new(&engine, WAT).unwrap();
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        assert_eq!(
            std::mem::take(&mut store.data_mut().asked),
            ["memory 0 65536 Some(327680)", "table 0 2 Some(20)"]
        );
        let grow = instance.get_typed_func::<i32, i32>(&mut store, "grow").unwrap();
        let grow_table = instance.get_typed_func::<i32, i32>(&mut store, "grow-table").unwrap();
        assert_eq!(grow.call(&mut store, 0).unwrap(), 1);
        assert_eq!(grow.call(&mut store, 2).unwrap(), 1);
        assert_eq!(grow.call(&mut store, 1).unwrap(), -1);
        assert_eq!(grow.call(&mut store, 3).unwrap(), -1);
        assert_eq!(grow.call(&mut store, -1).unwrap(), -1);
        assert_eq!(grow_table.call(&mut store, 8).unwrap(), 2);
        assert_eq!(grow_table.call(&mut store, 1).unwrap(), -1);
        assert_eq!(
            std::mem::take(&mut store.data_mut().asked),
            [
                "memory 65536 196608 Some(327680)",
                "memory 196608 262144 Some(327680)",
                "failed: growing a memory from 196608 to 262144 bytes: more than the store's limiter allows",
                "failed: growing a memory from 3 by 3 pages: more than its maximum of 5 pages",
                "failed: growing a memory from 3 by 4294967295 pages: more than its maximum of 5 pages",
                "table 2 10 Some(20)",
                "table 10 11 Some(20)",
                "failed: growing a table from 10 to 11 elements: more than the store's limiter allows",
            ]
        );
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        let error = memory.grow(&mut store, 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
        let error = Memory::new(&mut store, MemoryType { minimum: 4, ..EMPTY }).unwrap_err();
        assert_eq!(error.to_string(), "a memory of 262144 bytes: more than the store's limiter allows");
        let ty = TableType { element: RefType::Func, minimum: 11, maximum: None, table64: false };
        let error = Table::new(&mut store, ty, Val::FuncRef(None)).unwrap_err();
        assert_eq!(error.to_string(), "a table of 11 elements: more than the store's limiter allows");
        let ty = TableType { minimum: 1, ..ty };
        Table::new(&mut store, ty, Val::FuncRef(None)).unwrap();
        let error = Table::new(&mut store, ty, Val::FuncRef(None)).unwrap_err();
        assert_eq!(error.to_string(), "3 tables: more than the limit of 2 tables");
        assert_eq!(store.data().asked.len(), 5);
    }
}

#[test]
fn what_a_limiter_returns_or_panics_with_goes_through_wasm() {
    for engine in engines() {
        let mut store = Store::new(&engine, Witness { most_bytes: 1 << 16, ..Witness::default() });
        store.limiter(|witness| witness);
        let module = Module::new(&engine, WAT).unwrap();
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let grow = instance.get_typed_func::<i32, i32>(&mut store, "grow").unwrap();
        let size = instance.get_typed_func::<(), i32>(&mut store, "size").unwrap();
        store.data_mut().fail = true;
        let error = grow.call(&mut store, 1).unwrap_err();
        assert_eq!((error.message(), error.backtrace().unwrap().frames().len()), ("no such luck", 1));
        store.data_mut().fail = false;
        store.data_mut().trap = true;
        assert_eq!(grow.call(&mut store, 1).unwrap_err().message(), "will not do without");
        store.data_mut().panic = true;
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| grow.call(&mut store, 1)));
        let payload = panicked.unwrap_err();
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"a limiter that panics"));
        store.data_mut().panic = false;
        assert_eq!(size.call(&mut store, ()).unwrap(), 1);
        store.set_limits(StoreLimits::default());
        assert_eq!(grow.call(&mut store, 1).unwrap(), 1);
    }
}

#[test]
fn numbers_say_which_limit_and_what_was_asked() {
    for engine in engines() {
        let limits = StoreLimitsBuilder::new().memory_size(100_000).table_elements(3).memories(1).tables(1);
        assert_eq!(limits.clone().build().limit(Resource::MemoryBytes), Some(100_000));
        let mut store = Store::new(&engine, ());
        store.set_limits(limits.clone().trap_on_grow_failure(true).build());
        let instance = Instance::new(&mut store, &Module::new(&engine, WAT).unwrap(), &[]).unwrap();
        let refused = [
            ("(module (memory 2))", "2 memories: more than the limit of 1 memories"),
            ("(module (table 1 funcref))", "2 tables: more than the limit of 1 tables"),
        ];
        for (text, expected) in refused {
            let error = Instance::new(&mut store, &Module::new(&engine, text).unwrap(), &[]).unwrap_err();
            assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Limit, expected));
        }
        let grow = instance.get_typed_func::<i32, i32>(&mut store, "grow").unwrap();
        let grow_table = instance.get_typed_func::<i32, i32>(&mut store, "grow-table").unwrap();
        let error = grow.call(&mut store, 1).unwrap_err();
        assert_eq!(error.trap(), Some(Trap::AllocationTooLarge));
        assert_eq!(
            error.to_string(),
            "growing a memory from 65536 to 131072 bytes: more than the limit of 100000 bytes: allocation size too \
             large"
        );
        let error = grow_table.call(&mut store, 2).unwrap_err();
        assert_eq!(
            error.to_string(),
            "growing a table from 2 to 4 elements: more than the limit of 3 elements: allocation size too large"
        );
        let mut store = Store::new(&engine, ());
        store.set_limits(limits.build());
        let error = Instance::new(&mut store, &Module::new(&engine, "(module (memory 2))").unwrap(), &[])
            .unwrap_err();
        assert_eq!(error.to_string(), "a memory of 131072 bytes: more than the limit of 100000 bytes");
    }
}

/// Grows as fast as it can, in memory and table, until it is told no.
#[test]
fn an_allocation_bomb_is_stopped() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    store.set_limits(StoreLimitsBuilder::new().memory_size(32 << 20).table_elements(1 << 16).build());
    let bomb = r#"(module (memory 1) (table $t 1 funcref) (func (export "bomb") (result i32 i32)
        (loop $m (br_if $m (i32.ne (memory.grow (i32.const 7)) (i32.const -1))))
        (loop $e (br_if $e (i32.ne (table.grow $t (ref.null func) (i32.const 1001)) (i32.const -1))))
        (memory.size) (table.size $t)))"#;
    let instance = Instance::new(&mut store, &Module::new(&engine, bomb).unwrap(), &[]).unwrap();
    let bomb = instance.get_typed_func::<(), (i32, i32)>(&mut store, "bomb").unwrap();
    let (pages, elements) = bomb.call(&mut store, ()).unwrap();
    assert!(((32 << 4) - 7..=32 << 4).contains(&pages), "{pages}");
    assert!(((1 << 16) - 1001..=1 << 16).contains(&elements), "{elements}");
}
