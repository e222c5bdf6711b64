//! Pooled and on-demand allocation: nothing of one tenant reaches the next, what runs out says so, and a warm slot costs
//! neither a system call nor a fault.
#![cfg(feature = "compiler")]

mod alone;

use std::sync::Mutex;

use alone::{Counted, alone, count_kernel};
use sphex::{
    Allocation, Config, Engine, ErrorKind, Extern, Instance, Memory, MemoryType, Module, OnDemand,
    PoolMetrics, Pooling, RefType, Store, Table, TableType, Val,
};

fn config(allocation: Allocation, reservation: u64) -> Config {
    let mut config = Config::new();
    config.compile.memory_reservation = reservation;
    config.host.allocation = allocation;
    config
}

fn pool(change: impl FnOnce(&mut Pooling)) -> Allocation {
    let mut pooling = Pooling { instances: 4, memories: 4, ..Pooling::default() };
    change(&mut pooling);
    Allocation::Pooling(pooling)
}

fn on_demand(change: impl FnOnce(&mut OnDemand)) -> Allocation {
    let mut settings = OnDemand::default();
    change(&mut settings);
    Allocation::OnDemand(settings)
}

/// Ways to allocate that clean in different ways, under both memory plans.
fn ways() -> Vec<(String, Engine)> {
    let allocations = [
        ("on demand", on_demand(|_| {})),
        ("on demand, little kept", on_demand(|s| s.keep_resident = 8192)),
        ("on demand, nothing kept", on_demand(|s| s.keep_resident = 0)),
        ("on demand, no cache", on_demand(|s| s.cached_memories = 0)),
        ("pool", pool(|_| {})),
        ("pool, little kept", pool(|s| s.keep_resident = 8192)),
        ("pool, all kept", pool(|s| s.keep_resident = 1 << 30)),
        ("pool, none warm", pool(|s| s.warm_memories = 0)),
    ];
    let mut ways = Vec::new();
    for (name, allocation) in allocations {
        for reservation in [1 << 32, 0] {
            let engine = Engine::new(&config(allocation.clone(), reservation)).unwrap();
            ways.push((format!("{name}, {reservation} reserved"), engine));
        }
    }
    ways
}

/// A module, and what is seen of it before anything ran.
struct Tenant {
    module: Module,
    pages: usize,
    data: Vec<(usize, &'static [u8])>,
    elements: u64,
    filled: Vec<u64>,
    global: i64,
}

impl Tenant {
    fn new(
        engine: &Engine,
        pages: usize,
        data: &[(usize, &'static [u8])],
        elements: u64,
        global: i64,
    ) -> Tenant {
        let segments: String = data
            .iter()
            .map(|(at, bytes)| format!("(data (i32.const {at}) {:?})", std::str::from_utf8(bytes).unwrap()))
            .collect();
        let wat = format!(
            r#"(module
                (memory (export "memory") {pages} 200)
                (table (export "table") {elements} 9000 funcref)
                (table (export "externs") 3 40 externref)
                (global (export "global") (mut i64) (i64.const {global}))
                (global $v (export "v") (mut f64) (f64.const {global}))
                (elem (i32.const 1) $f $g)
                {segments}
                (func $f (export "f") (result i32) (i32.const 1))
                (func $g (result i32) (i32.const 2))
                (func (export "soil") (param $pages i32)
                    (drop (memory.grow (local.get $pages)))
                    (memory.fill (i32.const 0) (i32.const 0xee) (i32.mul (memory.size) (i32.const 65536)))
                    (drop (table.grow 0 (ref.func $g) (i32.const 5)))
                    (table.fill 0 (i32.const 0) (ref.func $g) (table.size 0))
                    (global.set 0 (i64.const -1))
                    (global.set $v (f64.const -99)))
                (func (export "touch") (param i32) (i64.store (local.get 0) (i64.const -1))))"#
        );
        let module = Module::new(engine, wat).unwrap();
        Tenant { module, pages, data: data.to_vec(), elements, filled: vec![1, 2], global }
    }

    fn expect_fresh(&self, store: &mut Store<()>, instance: Instance, way: &str) {
        let memory = instance.get_memory(&mut *store, "memory").unwrap();
        let mut expected = vec![0u8; self.pages << 16];
        for (at, bytes) in &self.data {
            expected[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        let found = memory.data(&*store).unwrap();
        assert_eq!(found.len(), expected.len(), "{way}: size of the memory");
        let wrong = found.iter().zip(&expected).position(|(a, b)| a != b);
        assert_eq!(wrong, None, "{way}: the memory differs at this byte");
        let table = instance.get_table(&mut *store, "table").unwrap();
        assert_eq!(table.size(&*store).unwrap(), self.elements, "{way}: size of the table");
        for i in 0..self.elements {
            let null = matches!(table.get(&mut *store, i).unwrap(), Val::FuncRef(None));
            assert_eq!(null, !self.filled.contains(&i), "{way}: element {i}");
        }
        let externs = instance.get_table(&mut *store, "externs").unwrap();
        assert_eq!(externs.size(&*store).unwrap(), 3);
        for i in 0..3 {
            assert!(
                matches!(externs.get(&mut *store, i).unwrap(), Val::ExternRef(None)),
                "{way}: extern {i}"
            );
        }
        let global = instance.get_global(&mut *store, "global").unwrap();
        assert_eq!(global.get(&mut *store).unwrap().i64(), Some(self.global), "{way}: the global");
        let v = instance.get_global(&mut *store, "v").unwrap().get(&mut *store).unwrap();
        assert_eq!(v.f64(), Some(self.global as f64), "{way}: the other global");
        let f = instance.get_typed_func::<(), i32>(&mut *store, "f").unwrap();
        assert_eq!(f.call(&mut *store, ()).unwrap(), 1, "{way}");
    }

    fn soil(&self, store: &mut Store<()>, instance: Instance, turn: u64) {
        let call = |store: &mut Store<()>, name: &str, value: u64| {
            instance
                .get_typed_func::<i32, ()>(&mut *store, name)
                .unwrap()
                .call(&mut *store, value as i32)
                .unwrap()
        };
        match turn % 4 {
            0 => call(store, "soil", turn % 7),
            1 => (0..20)
                .for_each(|i| call(store, "touch", ((i * 7919 * turn) % ((self.pages as u64) << 16)) & !7)),
            2 => {
                let memory = instance.get_memory(&mut *store, "memory").unwrap();
                memory.grow(&mut *store, turn % 3).unwrap();
                memory.data_mut(&mut *store).unwrap().fill(0xdd);
                let externs = instance.get_table(&mut *store, "externs").unwrap();
                let value = Val::ExternRef(Some(sphex::ExternRef::new(turn)));
                externs.fill(&mut *store, 0, value.clone(), 3).unwrap();
                externs.grow(&mut *store, 30, value).unwrap();
                let table = instance.get_table(&mut *store, "table").unwrap();
                let f = Val::FuncRef(Some(instance.get_func(&mut *store, "f").unwrap()));
                table.grow(&mut *store, 4000, f).unwrap();
            }
            _ => {}
        }
    }
}

#[test]
fn no_tenant_sees_another() {
    for (way, engine) in ways() {
        let tenants = [
            Tenant::new(&engine, 2, &[(100, b"first"), (70_000, b"second page")], 10, 7),
            Tenant::new(&engine, 2, &[(65_000, b"elsewhere")], 10, 8),
            Tenant::new(&engine, 1, &[], 3, 9),
            Tenant::new(&engine, 40, &[(200_000, b"in the middle"), (300_000, b"and later")], 5000, -1),
        ];
        let mut live: Vec<Store<()>> = Vec::new();
        for turn in 0..60u64 {
            // The same tenant again, another one, and several at a time.
            let tenant = &tenants[[0, 0, 1, 0, 2, 3, 3, 1, 2, 0][turn as usize % 10]];
            if live.len() == 3 {
                live.remove(turn as usize % 3);
            }
            let mut store = Store::new(&engine, ());
            let instance = Instance::new(&mut store, &tenant.module, &[]).unwrap();
            tenant.expect_fresh(&mut store, instance, &format!("{way}, turn {turn}"));
            tenant.soil(&mut store, instance, turn);
            live.push(store);
        }
        drop(live);
        // Each after itself, so that it gets the slot that it left.
        for tenant in &tenants {
            for turn in 0..8 {
                let mut store = Store::new(&engine, ());
                let instance = Instance::new(&mut store, &tenant.module, &[]).unwrap();
                tenant.expect_fresh(&mut store, instance, &format!("{way}, again, turn {turn}"));
                tenant.soil(&mut store, instance, turn);
            }
        }
        drop(tenants);
        if let Some(PoolMetrics { instances, memories, .. }) = engine.pool_metrics() {
            assert_eq!((instances, memories), (0, 0), "{way}: slots were lost");
        }
    }
}

#[test]
fn threads_share_a_pool() {
    let engine = Engine::new(&config(pool(|s| (s.instances, s.memories) = (8, 8)), 1 << 32)).unwrap();
    let tenants =
        [Tenant::new(&engine, 1, &[(8, b"one")], 4, 1), Tenant::new(&engine, 3, &[(140_000, b"two")], 6, 2)];
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (engine, tenants) = (&engine, &tenants);
            scope.spawn(move || {
                for turn in thread..thread + 40 {
                    let tenant = &tenants[turn as usize % 2];
                    let mut store = Store::new(engine, ());
                    let instance = Instance::new(&mut store, &tenant.module, &[]).unwrap();
                    tenant.expect_fresh(&mut store, instance, &format!("thread {thread}, turn {turn}"));
                    tenant.soil(&mut store, instance, turn);
                    // Some are dropped by the thread that comes next.
                    if turn % 5 == 0 {
                        std::thread::spawn(move || drop(store)).join().unwrap();
                    }
                }
            });
        }
    });
    let metrics = engine.pool_metrics().unwrap();
    assert_eq!((metrics.instances, metrics.memories), (0, 0));
    assert!(metrics.memories_reused > 100, "{metrics:?}");
}

fn refused(allocation: Allocation, wat: &str, before: usize) -> String {
    let engine = Engine::new(&config(allocation, 1 << 32)).unwrap();
    let module = Module::new(&engine, wat).unwrap();
    let mut store = Store::new(&engine, ());
    for _ in 0..before {
        Instance::new(&mut store, &module, &[]).unwrap();
    }
    let error = Instance::new(&mut store, &module, &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    drop(store);
    // Whatever was refused, nothing is lost.
    let metrics = engine.pool_metrics().unwrap();
    assert_eq!((metrics.instances, metrics.memories), (0, 0));
    let mut store = Store::new(&engine, ());
    for _ in 0..before {
        Instance::new(&mut store, &module, &[]).unwrap();
    }
    error.to_string()
}

#[test]
fn what_runs_out_or_does_not_fit_says_so() {
    let memory = "(module (memory 1))";
    let cases = [
        (
            refused(pool(|s| s.memories = 2), memory, 2),
            "the pool has no free slot for a memory: all 2 (Pooling::memories) are in use",
        ),
        (
            refused(pool(|s| s.instances = 3), memory, 3),
            "the pool has no free slot for an instance: all 3 (Pooling::instances) are in use",
        ),
        (
            refused(pool(|s| s.memory_bytes = 1 << 16), "(module (memory 2))", 0),
            "a memory does not fit a slot of the pool: expected at most 65536 bytes (Pooling::memory_bytes), found 131072",
        ),
        (
            refused(pool(|s| s.table_elements = 10), "(module (table 11 funcref))", 0),
            "a table does not fit the pool: expected at most 10 elements (Pooling::table_elements), found 11",
        ),
        (
            refused(pool(|s| s.instance_bytes = 4096), "(module (table 600 funcref))", 0),
            "an instance does not fit a slot of the pool: expected at most 4096 bytes (Pooling::instance_bytes), \
             found 4864",
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(found, expected);
    }
}

#[test]
fn growth_ends_where_the_slot_does() {
    for reservation in [1 << 32, 0] {
        let allocation = pool(|s| (s.memory_bytes, s.table_elements) = (3 << 16, 5));
        let engine = Engine::new(&config(allocation, reservation)).unwrap();
        let module = Module::new(
            &engine,
            r#"(module (memory 1) (table 2 funcref)
                (func (export "grow") (param i32) (result i32 i32)
                    (memory.grow (local.get 0)) (table.grow 0 (ref.null func) (local.get 0))))"#,
        )
        .unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let grow = instance.get_typed_func::<i32, (i32, i32)>(&mut store, "grow").unwrap();
        assert_eq!(grow.call(&mut store, 4).unwrap(), (-1, -1));
        assert_eq!(grow.call(&mut store, 2).unwrap(), (1, 2));
        assert_eq!(grow.call(&mut store, 1).unwrap(), (-1, 4));
        let page =
            MemoryType { minimum: 1, maximum: None, shared: false, memory64: false, page_size_log2: 16 };
        let memory = Memory::new(&mut store, page).unwrap();
        assert_eq!(memory.grow(&mut store, 2).unwrap(), 1);
        assert_eq!(memory.grow(&mut store, 1).unwrap_err().kind(), ErrorKind::Limit);
        let ty = TableType { element: RefType::Func, minimum: 6, maximum: None, table64: false };
        assert_eq!(Table::new(&mut store, ty, Val::FuncRef(None)).unwrap_err().kind(), ErrorKind::Limit);
    }
}

#[test]
fn code_compiled_for_more_than_a_slot_is_refused() {
    let wide = Engine::new(&config(Allocation::default(), 1 << 33)).unwrap();
    let artifact = wide.precompile(b"(module (memory 1))").unwrap();
    let engine = Engine::new(&config(pool(|_| {}), 1 << 32)).unwrap();
    // SAFETY: the artifact was just made.
    #[allow(unsafe_code)]
    let module = unsafe { Module::deserialize(&engine, &artifact) }.unwrap();
    let error = Instance::new(Store::new(&engine, ()), &module, &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(
        error.to_string().contains("expected at most 4328521728 bytes reserved, found 8623489024"),
        "{error}"
    );
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    for (allocation, expected) in [
        (pool(|s| s.instances = 0), "Pooling::instances: expected more than 0"),
        (pool(|s| s.instance_bytes = 1), "Pooling::instance_bytes: expected 1 KiB to 1 GiB"),
        (pool(|s| s.memory_bytes = 1 << 50), "Pooling::memory_bytes: larger than any address space"),
    ] {
        let error = Engine::new(&config(allocation, 1 << 32)).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Argument, expected));
    }
    let error = Engine::new(&config(pool(|s| s.memories = 100_000), 1 << 32)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::System);
    assert!(error.to_string().contains("Pooling::memories"), "{error}");
    assert!(error.to_string().contains("of address space are taken"), "{error}");
}

/// Imports a function, exports one that writes to its memory: what a plugin host makes and drops all day.
const PLUGIN: &str = r#"(module
    (import "host" "next" (func $next (param i32) (result i32)))
    (memory (export "memory") 2)
    (table 8 funcref)
    (global $g (mut i32) (i32.const 3))
    (elem (i32.const 0) $next $run)
    (data (i32.const 1024) "some data for the first page")
    (func $run (export "run") (param i32) (result i32)
        (global.set $g (call $next (local.get 0)))
        (memory.fill (i32.const 512) (global.get $g) (i32.const 65024))
        (i32.load (i32.const 1024))))"#;

/// A memory of 5 MiB: `run` gives the word at an address, and writes there.
const LARGE: &str = r#"(module
    (memory (export "memory") 80)
    (data (i32.const 1000000) "\07")
    (data (i32.const 70000) "a")
    (func (export "run") (param i32) (result i32)
        (i32.load (local.get 0))
        (i32.store (local.get 0) (i32.const -1))))"#;

#[test]
fn the_kernel_may_write_where_the_host_may() {
    use std::io::Read;
    let engine = Engine::new(&config(pool(|_| {}), 1 << 32)).unwrap();
    let module = Module::new(&engine, LARGE).unwrap();
    for turn in 0..3 {
        let mut store = Store::new(&engine, 0);
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        assert_eq!(memory.data(&store).unwrap()[1_000_000], 7, "turn {turn}");
        let bytes = match turn {
            0 => memory.data_mut(&mut store).unwrap(),
            1 => memory.data_and_store_mut(&mut store).unwrap().0,
            _ => {
                let base = memory.data_ptr(&store).unwrap();
                // SAFETY: the store is not used while the bytes are.
                #[allow(unsafe_code)]
                unsafe {
                    std::slice::from_raw_parts_mut(base, 80 << 16)
                }
            }
        };
        // Nobody has written there before.
        let target = &mut bytes[3_000_000..3_000_004];
        std::fs::File::open("/proc/self/exe").unwrap().read_exact(target).unwrap();
        assert_eq!(target, b"\x7fELF");
    }
}

#[test]
fn a_write_outside_of_a_watched_memory_traps() {
    let engine = Engine::new(&config(pool(|_| {}), 1 << 32)).unwrap();
    let module = Module::new(&engine, LARGE).unwrap();
    for _ in 0..3 {
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let run = instance.get_typed_func::<i32, i32>(&mut store, "run").unwrap();
        assert_eq!(run.call(&mut store, 5_242_876).unwrap(), 0);
        for at in [5_242_877, 5_242_880, -4] {
            let trap = run.call(&mut store, at).unwrap_err().trap();
            assert_eq!(trap, Some(sphex::Trap::MemoryOutOfBounds), "{at}");
        }
    }
}

#[test]
fn a_warm_slot_costs_no_system_call_and_no_fault() {
    alone("a_warm_slot_costs_no_system_call_and_no_fault", || {
        for reservation in [1 << 32, 0] {
            let engine = Engine::new(&config(pool(|_| {}), reservation)).unwrap();
            let module = Module::new(&engine, PLUGIN).unwrap();
            let mut linker = sphex::Linker::new(&engine);
            linker.func_wrap("host", "next", |x: i32| x + 1).unwrap();
            let pre = linker.instantiate_pre(&module).unwrap();
            let (engine_of_turn, metrics) = (engine.clone(), || engine.pool_metrics().unwrap());
            let turn = move || {
                let mut store = Store::new(&engine_of_turn, ());
                let instance = pre.instantiate(&mut store).unwrap();
                let Ok(Extern::Func(run)) = instance.get_export(&mut store, "run") else { panic!("no run") };
                let run = run.typed::<i32, i32>(&store).unwrap();
                assert_eq!(run.call(&mut store, 0x41).unwrap(), 0x4242_4242);
            };
            (0..20).for_each(|_| turn());
            let counted = count_kernel(move || (0..1000).for_each(|_| turn()));
            assert_eq!(counted, Counted { system_calls: 0, last: 0, faults: 0 }, "{reservation} reserved");
            let metrics = metrics();
            assert_eq!((metrics.memories_mapped, metrics.memories_reused), (1, 2019), "{metrics:?}");
        }
        // A memory that is larger than what is kept, of which little is written, by wasm and by the host.
        let engine = Engine::new(&config(pool(|_| {}), 1 << 32)).unwrap();
        let module = Module::new(&engine, LARGE).unwrap();
        let engine_of_turn = engine.clone();
        let turn = move || {
            let mut store = Store::new(&engine_of_turn, ());
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let Ok(Extern::Func(run)) = instance.get_export(&mut store, "run") else { panic!("no run") };
            let run = run.typed::<i32, i32>(&store).unwrap();
            for (at, expected) in [(0, 0), (1_000_000, 7), (5_242_872, 0), (70_000, 0x61)] {
                assert_eq!(run.call(&mut store, at).unwrap(), expected, "{at}");
                assert_eq!(run.call(&mut store, at).unwrap(), -1, "{at}");
            }
            let Ok(Extern::Memory(memory)) = instance.get_export(&mut store, "memory") else { panic!() };
            memory.write(&mut store, 300_000, b"from the host").unwrap();
        };
        (0..20).for_each(|_| turn());
        let counted = count_kernel(move || (0..1000).for_each(|_| turn()));
        assert_eq!(counted, Counted { system_calls: 0, last: 0, faults: 0 }, "a large memory");
        assert_eq!(engine.pool_metrics().unwrap().memories_mapped, 1);
        // The counts are no idle ones.
        let pages = Mutex::new((vec![0u8; 8 << 20], 0));
        let counted = count_kernel(move || {
            let _ = std::process::id();
            let mut pages = pages.lock().unwrap();
            pages.1 += 1 << 20;
            let at = pages.1;
            pages.0[at..at + (1 << 20)].fill(1);
        });
        assert!(counted.system_calls == 1 && counted.faults > 0, "{counted:?}");
    });
}
