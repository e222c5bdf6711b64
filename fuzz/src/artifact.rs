//! Damaged artifacts under hashes that fit: refused with a message, or loaded to something whose every table can be read.
//!
//! The bytes choose a good artifact and what becomes of it; then the hashes are made right again, so that only validation
//! stands between the damage and the runtime. An artifact is native code, so nothing of a damaged one is run: a module
//! with a start function is not instantiated. Damage of what only describes code (names, source offsets, DWARF) is another
//! matter: that module runs into a trap, and its backtrace is printed.

use std::ops::Range;
use std::sync::LazyLock;

use sphex::{Config, Engine, Error, Extern, Instance, Module, Store, StoreLimitsBuilder};
use sphex_artifact::sections::SectionId;
use sphex_artifact::{ArtifactView, Index};

use crate::observe::Trace;
use crate::random::Choices;
use crate::world;

const RICH: &str = include_str!("../seeds/rich.wat");
const PLAIN: &str = include_str!("../seeds/plain.wat");
const TRAPS: &str = include_str!("../seeds/traps.wat");

/// Sections that describe code and decide nothing about running it; those of debuggers come on top.
const DESCRIBING: [SectionId; 2] = [SectionId::AddressMap, SectionId::Names];

/// Sections that the reader looks into, `.sphex.info` more often than others.
const READ: [SectionId; 12] = [
    SectionId::Info,
    SectionId::Info,
    SectionId::Info,
    SectionId::Info,
    SectionId::Header,
    SectionId::Functions,
    SectionId::Traps,
    SectionId::AddressMap,
    SectionId::Safepoints,
    SectionId::Exceptions,
    SectionId::Names,
    SectionId::EhFrame,
];

/// A good artifact, and where what is in it.
struct Seed {
    bytes: Vec<u8>,
    index: Index,
}

static SEEDS: LazyLock<Vec<Seed>> = LazyLock::new(|| {
    let mut moving = Config::new();
    moving.compile.memory_reservation = 0;
    let mut seeds = Vec::new();
    for (text, config) in
        [(RICH, Config::new()), (RICH, moving), (PLAIN, Config::new()), (TRAPS, Config::new())]
    {
        let engine = Engine::new(&config).expect("a configuration");
        let wasm = wat::Parser::new().generate_dwarf(wat::GenerateDwarf::Full).parse_str(None, text);
        let bytes = Module::new(&engine, wasm.expect("text")).expect("a module").serialize().expect("an artifact");
        let index = Index::parse(&bytes).expect("our own artifact");
        seeds.push(Seed { bytes, index });
    }
    seeds
});

/// Damages an artifact as the bytes say and loads it: 1 if it is refused, 2 if it loads.
pub fn check(bytes: &[u8]) -> Result<usize, String> {
    let mut choices = Choices::new(bytes);
    if choices.one_in(5) {
        return check_backtrace(&mut choices);
    }
    let seed = &SEEDS[choices.below(SEEDS.len() - 1)];
    let mut artifact = seed.bytes.clone();
    for _ in 0..1 + choices.below(6) {
        let area = area(seed, &mut choices);
        damage(&mut artifact, area, &mut choices);
    }
    if choices.one_in(32) {
        let len = artifact.len() * choices.below(256) / 256;
        artifact.truncate(len);
    }
    sphex_artifact::write::rehash(&mut artifact);
    read_tables(&artifact);
    load(&artifact)
}

/// Damages only what describes code; the answer is the length of the backtrace.
fn check_backtrace(choices: &mut Choices<'_>) -> Result<usize, String> {
    let seed = &SEEDS[SEEDS.len() - 1];
    let mut areas: Vec<Range<usize>> = DESCRIBING.iter().map(|&id| seed.index.section(id)).collect();
    areas.extend(seed.index.debug_sections().iter().map(|(_, range)| range.clone()));
    let mut artifact = seed.bytes.clone();
    for _ in 0..1 + choices.below(6) {
        let area = areas[choices.below(areas.len())].clone();
        damage(&mut artifact, area, choices);
    }
    sphex_artifact::write::rehash(&mut artifact);
    let engine = Engine::default();
    // SAFETY: text and the tables that it needs are as the compiler wrote them.
    #[allow(unsafe_code)]
    let Ok(module) = (unsafe { Module::deserialize(&engine, &artifact) }) else { return Ok(1) };
    let mut store = Store::new(&engine, ());
    let run = Instance::new(&mut store, &module, &[])
        .and_then(|instance| instance.get_typed_func::<i32, i32>(&mut store, "run"))
        .and_then(|run| run.call(&mut store, 0));
    match run {
        Ok(answer) => Err(format!("run gives {answer}, and should trap")),
        Err(error) if error.trap().is_none() => Err(format!("run should trap: {error:#}")),
        Err(error) => Ok(format!("{error:?}").len().max(2)),
    }
}

/// A part of the file.
fn area(seed: &Seed, choices: &mut Choices<'_>) -> Range<usize> {
    match choices.below(16) {
        0 => 0..64,
        1 => {
            let number = |at: usize, len| {
                seed.bytes[at..][..len].iter().rev().fold(0, |n, &b| n << 8 | usize::from(b))
            };
            let start = number(40, 8);
            start..start + 64 * number(60, 2)
        }
        2 => 0..seed.bytes.len(),
        _ => seed.index.section(choices.pick(&READ)),
    }
}

fn damage(artifact: &mut [u8], area: Range<usize>, choices: &mut Choices<'_>) {
    let place = usize::from(choices.byte()) << 8 | usize::from(choices.byte());
    let Some(area) = artifact.get_mut(area).filter(|area| !area.is_empty()) else { return };
    let at = place % area.len();
    match choices.below(6) {
        0 => area[at] = choices.byte(),
        1 => area[at] ^= 1 << choices.below(8),
        2 => area[at] = area[at].wrapping_add(1),
        3 => area[at] = area[at].wrapping_sub(1),
        4 => {
            let word = choices.word().to_le_bytes();
            let at = at / 4 * 4;
            let len = (area.len() - at).min(choices.pick(&[4, 4, 8]));
            area[at..at + len].copy_from_slice(&word[..len]);
        }
        _ => {
            let from = choices.byte() as usize % area.len();
            let len = (1 + choices.below(16)).min(area.len() - at.max(from));
            area.copy_within(from..from + len, at);
        }
    }
}

/// Every lookup, at every place where a table changes and beside it.
fn read_tables(artifact: &[u8]) {
    let Ok(index) = Index::parse(artifact) else { return };
    let Some(view) = index.view(artifact) else { return };
    let _ = (view.verify_bulk(), view.description().is_ok(), view.header().build);
    let mut pcs = vec![0, 1, u32::MAX, view.text().len() as u32];
    for position in 0..view.function_count().min(200) {
        let Some(row) = view.function_row(position) else { break };
        pcs.extend([row.start, row.start.wrapping_add(row.len), row.start.wrapping_sub(1)]);
        let _ = (view.function(row.module, row.function), view.function_name(row.module, row.function));
    }
    for position in 0..200 {
        let Some(row) = view.trap_row(position) else { break };
        pcs.extend([row.pc, row.pc.wrapping_add(1)]);
    }
    for pc in pcs {
        look_up(view, pc);
    }
    let _ = (0..40).filter_map(|node| view.inline_node(node)).count();
}

fn look_up(view: ArtifactView<'_>, pc: u32) {
    let _ = (view.function_at(pc), view.trap_at(pc), view.address_at(pc), view.safepoint_at(pc));
    // Inline nodes have smaller parents: this ends.
    assert!(view.frames_at(pc).count() <= 1 + artifact_words(view));
    if let Some(handlers) = view.handlers_at(pc) {
        let _ = handlers.count();
    }
}

fn artifact_words(view: ArtifactView<'_>) -> usize {
    view.section(SectionId::AddressMap).len() / 4
}

/// Loads, and looks at everything that can be asked without running code.
fn load(artifact: &[u8]) -> Result<usize, String> {
    let engine = Engine::default();
    // SAFETY: nothing of it is run.
    #[allow(unsafe_code)]
    let module = match unsafe { Module::deserialize(&engine, artifact) } {
        Ok(module) => module,
        Err(error) if error.to_string().is_empty() => return Err("an error without a message".to_string()),
        Err(_) => return Ok(1),
    };
    let exports: Vec<String> =
        module.exports().map(|export| format!("{} {:?}", export.name, export.ty)).collect();
    let imports = module.imports().map(|import| format!("{} {:?}", import.name, import.ty)).count();
    let _ = (module.name(), module.get_export("f"), module.text_range());
    if module.serialize().map_or(true, |bytes| bytes != artifact) {
        return Err(format!(
            "{imports} imports, {} exports: not the artifact that was loaded",
            exports.len()
        ));
    }
    let start = Index::parse(artifact).ok().and_then(|index| {
        let description = index.view(artifact)?.description().ok()?;
        description.modules.first()?.start
    });
    if start.is_none() {
        instantiate(&engine, &module).unwrap_or(());
    }
    Ok(2)
}

/// Instances whose module has no start function run nothing. What the host can see of one is looked at.
fn instantiate(engine: &Engine, module: &Module) -> Result<(), Error> {
    let mut store = Store::new(engine, Trace::default());
    let limits = StoreLimitsBuilder::new().memory_size(1 << 32).table_elements(100_000);
    store.set_limits(limits.instances(4).memories(20).tables(20).build());
    // The host of the other targets knows no vectors, and damage can ask for them.
    if module.imports().any(|import| format!("{:?}", import.ty).contains("V128")) {
        return Ok(());
    }
    let imports = world::imports(&mut store, module)?;
    let instance = Instance::new(&mut store, module, &imports)?;
    for (_, item) in instance.exports(&mut store)? {
        let _ = item.ty(&store)?;
        match item {
            Extern::Func(func) => drop(func.ty(&store)?),
            Extern::Global(global) => drop(global.get(&mut store)?),
            Extern::Table(table) => {
                let size = table.size(&store)?;
                for at in (0..size.min(64)).chain([size.wrapping_sub(1)]) {
                    let _ = table.get(&mut store, at);
                }
            }
            Extern::Memory(memory) => {
                let bytes = memory.data(&store)?;
                let _ = bytes.iter().step_by(4096).take(64).chain(bytes.last()).fold(0, |a, b| a ^ b);
            }
        }
    }
    Ok(())
}
